"""Proxies and certificates that the environment names: what a person is told, and what is tried again."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from connector.clarify import ArgumentError, ClarifyError, NotAllowed, Refused, Retryable, Timeouts
from connector.clarify.transport import Answer, Transport, failure
from tests.hostile.http_server import HostileServer, Peer, Script, answers, with_body
from tests.ports import free_port
from tests.secrets_used import fresh

CLARIFY = "https://api.clarify.io/v1/rpc"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)


def line(verify: Path | None = None) -> Transport:
    return Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0, verify=verify)


def post(sent_by: Transport, url: str = CLARIFY) -> Answer:
    return sent_by.post(url, b"{}", {}, method="x.y", stores=True)


def error_of(url: str = CLARIFY) -> ClarifyError:
    with closing(line()) as sent_by, pytest.raises(ClarifyError) as caught:
        post(sent_by, url)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (403, Refused, "refuses the connection to api.clarify.io (HTTP 403). Allow api.clarify.io at the proxy"),
        (407, Refused, "(HTTP 407). The proxy wants a valid user name and password: put both into HTTPS_PROXY"),
        (405, Refused, "refuses the connection to api.clarify.io (HTTP 405)"),
        (429, Retryable, "does not reach the server (HTTP 429)"),
        (503, Retryable, "does not reach the server (HTTP 503). Try again later."),
    ],
)
def test_a_proxy_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ClarifyError], said: str
) -> None:
    with HostileServer(answers(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)) as proxy:
        password = fresh("proxy-password")
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{password}@127.0.0.1:{proxy.port}")
        error = error_of()
    assert type(error) is kind
    assert f"The proxy 127.0.0.1:{proxy.port} " in str(error)
    assert said in str(error)
    assert password not in str(error)
    assert not getattr(error, "outcome_unknown", False)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (407, Refused, "HTTP 407 No from the proxy 127.0.0.1:"),
        (403, NotAllowed, "HTTP 403 No through the proxy 127.0."),
    ],
)
def test_a_proxy_that_answers_for_a_plain_server_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ClarifyError], said: str
) -> None:
    with HostileServer(answers(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
        with closing(line()) as sent_by:
            error = failure(post(sent_by, "http://clarify.test/"), method="x.y", stores=True, hide=str)
    assert type(error) is kind
    assert said in str(error)


def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    error = error_of()
    assert isinstance(error, Retryable)
    assert "The proxy cannot be reached (ConnectError: [Errno 111] Connection refused" in str(error)
    assert f"through the proxy 127.0.0.1:{port}" in str(error)
    assert "check the proxy, HTTPS_PROXY and NO_PROXY" in str(error)
    assert "apiUrl" not in str(error)


def test_a_proxy_without_tls_that_is_reached_by_https(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with HostileServer(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
        assert "the proxy or the server does not speak TLS; HTTPS_PROXY mostly begins with http://" in str(error_of())


@pytest.mark.parametrize("address", ["ftp://127.0.0.1:1", "http://[::1", "socks9://x"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    password = fresh("proxy-password")
    monkeypatch.setenv("HTTPS_PROXY", address.replace("//", f"//user:{password}@"))
    with pytest.raises(ArgumentError, match=r"that the environment names \(HTTPS_PROXY\) cannot be used") as caught:
        line()
    assert password not in str(caught.value)


def _resets(peer: Peer) -> None:
    peer.request()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _ends(peer: Peer) -> None:
    peer.request()


@pytest.mark.parametrize("ends", [_resets, _ends])
def test_a_connection_that_ends_after_an_answer_says_nothing_of_tls(ends: Script) -> None:
    hint = "if the server speaks TLS"

    def once(peer: Peer) -> None:
        peer.request()
        peer.send(with_body(b"{}"))
        ends(peer)

    with HostileServer(ends) as server:
        assert hint in str(error_of(server.url))
    with HostileServer(once) as server, closing(line()) as sent_by:
        post(sent_by, server.url)
        with pytest.raises(Retryable, match="connection failed") as caught:
            post(sent_by, server.url)
    assert hint not in str(caught.value)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return path, context


def test_authorities_of_the_environment_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: tuple[Path, ssl.SSLContext]
) -> None:
    path, context = authority
    monkeypatch.setenv("HOME", str(path.parent))
    with HostileServer(answers(with_body(b"{}")), tls=context, scheme="https") as server:
        with closing(line(Path("~/ca.pem"))) as sent_by:
            assert post(sent_by, server.url).status == 200
        assert "is not trusted" in str(error_of(server.url))
        for bundle in (str(path), "~/ca.pem"):
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
            with closing(line()) as sent_by:
                assert post(sent_by, server.url).status == 200
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))  # a folder without certificates
        assert "is not trusted" in str(error_of(server.url))


def test_authorities_of_the_environment_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")
    with pytest.raises(ArgumentError, match=r"environment names \(REQUESTS_CA_BUNDLE\) cannot be used.*No such file"):
        line()


def test_ssl_cert_file_has_precedence(monkeypatch: pytest.MonkeyPatch, authority: tuple[Path, ssl.SSLContext]) -> None:
    path, context = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")
    with HostileServer(answers(with_body(b"{}")), tls=context, scheme="https") as server, closing(line()) as sent_by:
        assert post(sent_by, server.url).status == 200


def test_all_clients_share_the_usual_authorities_and_read_named_ones_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each connector has a client for each integration; a file that the environment names may change meanwhile."""
    line().close()
    read: list[object] = []
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **said: read.append(said["cafile"]) or make(**said))
    line().close()
    assert read == []
    authorities = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authorities)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        with monkeypatch.context() as named:
            named.setenv(name, str(authorities))
            line().close()
            line().close()
    assert read == [str(authorities)] * 4
