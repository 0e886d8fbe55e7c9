"""What a Kafka with TLS and SASL needs: certificates, users, an endpoint that hands out tokens, and its settings."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.ports import free_port
from tests.secrets_used import KAFKA_PASSWORD as PASSWORD

USER = "alice"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_MODULES = "org.apache.kafka.common.security"


class Security:
    """Listeners SASL_SSL (all of MECHANISMS), SASL_PLAINTEXT (the same) and SSL (client certificates), with files.

    Beside them PLAINTEXT stays open, for the test itself: it is the broker's superuser, everybody else may do what no
    access rule forbids.
    """

    def __init__(self, folder: Path) -> None:
        """Certificates go to `folder`; the token endpoint starts."""
        self.ports = {"SASL_SSL": free_port(), "SASL_PLAINTEXT": free_port(), "SSL": free_port()}
        authority = self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.cert_file, self.key_file = _issue(authority, folder / "client", USER)
        server_cert, server_key = _issue(authority, folder / "server", "127.0.0.1", "localhost")
        (folder / "server.pem").write_bytes(server_key.read_bytes() + server_cert.read_bytes())
        self.tokens = TokenEndpoint()
        self.scram_users = tuple(f"{kind}=[name={USER},password={PASSWORD}]" for kind in MECHANISMS[1:3])
        self.properties = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "server.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
        }
        logins = {
            "plain": f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "scram-sha-256": f"{_MODULES}.scram.ScramLoginModule required;",
            "scram-sha-512": f"{_MODULES}.scram.ScramLoginModule required;",
            "oauthbearer": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";',
        }
        for listener in ("sasl_ssl", "sasl_plaintext"):
            for mechanism, login in logins.items():
                self.properties[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = login

    def another_certificate(self, stem: Path) -> tuple[Path, Path]:
        """Another certificate for our user, and its key, as files whose names begin with `stem`."""
        return _issue(self._authority, stem, USER)

    def bootstrap(self, listener: str) -> str:
        """Where SASL_SSL, SASL_PLAINTEXT or SSL listens."""
        return f"127.0.0.1:{self.ports[listener]}"

    def client(self, listener: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """librdkafka's settings for a client that is let in."""
        settings = {"bootstrap.servers": self.bootstrap(listener), "security.protocol": listener}
        if listener.endswith("SSL"):
            settings["ssl.ca.location"] = str(self.ca_file)
        if listener == "SSL":
            return settings | {
                "ssl.certificate.location": str(self.cert_file),
                "ssl.key.location": str(self.key_file),
            }
        if mechanism == "OAUTHBEARER":
            return settings | {
                "sasl.mechanism": mechanism,
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": self.tokens.url,
                "sasl.oauthbearer.client.id": USER,
                "sasl.oauthbearer.client.secret": PASSWORD,
            }
        return settings | {"sasl.mechanism": mechanism, "sasl.username": USER, "sasl.password": PASSWORD}

    def close(self) -> None:
        """End the token endpoint."""
        self.tokens.close()


class TokenEndpoint:
    """An OAuth 2 token endpoint (client credentials) whose tokens Kafka takes: unsigned, which only a test may."""

    def __init__(self, lifetime: float = 300) -> None:
        """`lifetime` of a token, in seconds; it and `down` may be changed at any time."""
        self.lifetime = lifetime
        self.down = False
        self.given = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, name="tokens", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0))).decode()
        kind, _, basic = request.headers.get("Authorization", "").partition(" ")
        named = base64.b64decode(basic).decode() if kind == "Basic" else ""
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        named = named or f"{fields.get('client_id')}:{fields.get('client_secret')}"
        if self.down:
            _reply(request, 503, {"error": "temporarily_unavailable"})
        elif named != f"{USER}:{PASSWORD}" or fields.get("grant_type") != "client_credentials":
            _reply(request, 401, {"error": "invalid_client"})
        else:
            self.given += 1
            _reply(request, 200, {"access_token": self._token(), "token_type": "Bearer", "expires_in": self.lifetime})

    def _token(self) -> str:
        now = time.time()
        parts = ({"alg": "none"}, {"sub": USER, "iat": now, "exp": now + self.lifetime, "scope": "all"})
        return "".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") + "." for part in parts)


def _reply(request: BaseHTTPRequestHandler, status: int, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _issue(authority: trustme.CA, stem: Path, *names: str) -> tuple[Path, Path]:
    """A certificate (with its chain) and its key as files; Kafka reads no key but PKCS 8."""
    issued = authority.issue_cert(*names, common_name=names[0])
    key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    files = stem.with_suffix(".crt"), stem.with_suffix(".key")
    files[0].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
