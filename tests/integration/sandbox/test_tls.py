"""The sandbox with TLS: our client, Clarify's JavaScript client, and files that do not fit."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from connector.clarify import NO_RETRIES, Client, DataFrame, Item
from connector.sandbox.cli import sandbox as command
from tests.brokers import USED
from tests.node_packages import need_node
from tests.sandbox_server import SandboxServer
from tests.secret_search import SearchedCommands

NOON_US = 1_777_636_800_000_000  # 2026-05-01T12:00:00Z


@dataclass(frozen=True)
class Files:
    """A certificate for 127.0.0.1 and localhost, with its key and the authority that signed it."""

    ca: Path
    cert: Path
    key: Path


def make_files(folder: Path) -> Files:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    files = Files(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(files.ca)
    issued.private_key_pem.write_to_path(files.key)
    files.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def sandbox(files: Files) -> Iterator[SandboxServer]:
    with SandboxServer(faults=False, rate_limiter="off", tls_cert=files.cert, tls_key=files.key) as server:
        yield server
        assert server.log() == ""


@pytest.fixture
def suffix() -> str:
    return uuid.uuid4().hex[:8]


def frame(key: str) -> DataFrame:
    return DataFrame(series={key: [1.5]}, times=["2026-05-01T12:00:00Z"])


# Our client


def failure(credentials: dict[str, Any], key: str, verify: Path | None = None) -> str:
    """What our client says about an insert that fails."""
    with Client(credentials, verify=verify, retries=NO_RETRIES) as client:
        response = client.insert(frame(key))
    assert response.result is None
    assert response.error is not None
    return str(response.error.message)


def test_the_credentials_name_https_and_our_client_inserts(sandbox: SandboxServer, files: Files, suffix: str) -> None:
    assert sandbox.credentials()["apiUrl"] == f"https://127.0.0.1:{sandbox.port}/v1/"
    with Client(sandbox.credentials(), verify=files.ca) as client:
        assert client.insert(frame(f"a_{suffix}")).error is None
    assert sandbox.samples(f"a_{suffix}") == [(NOON_US, 1.5)]


def test_an_untrusted_certificate_is_named_as_the_reason(sandbox: SandboxServer, suffix: str, tmp_path: Path) -> None:
    other = make_files(tmp_path)
    for verify in (None, other.ca):
        message = failure(sandbox.credentials(), f"b_{suffix}", verify)
        assert message.startswith("oauth/token: The server's certificate is not trusted (")
        assert "check apiUrl, or name the CA file to trust" in message
    assert f"b_{suffix}" not in sandbox.signals()


def test_plain_http_to_the_tls_port_fails_as_a_connection(sandbox: SandboxServer, suffix: str) -> None:
    credentials = sandbox.credentials() | {"apiUrl": f"http://127.0.0.1:{sandbox.port}/v1/"}
    message = failure(credentials, f"c_{suffix}")
    assert message.startswith("oauth/token: The connection failed (")
    assert message.endswith(": if the server speaks TLS, apiUrl must begin with https://. Try again later.")
    assert f"c_{suffix}" not in sandbox.signals()


def test_the_page_is_served_with_tls(sandbox: SandboxServer, files: Files) -> None:
    trusted = ssl.create_default_context(cafile=files.ca)
    answer = httpx.get(f"https://localhost:{sandbox.port}/", verify=trusted, trust_env=False)
    assert answer.status_code == 200
    assert answer.text.startswith("<!doctype html>")


# The files


def refused(*arguments: object) -> tuple[int, str]:
    result = SearchedCommands().invoke(command, ["--listen", "127.0.0.1:0", *map(str, arguments)])
    return result.exit_code, result.output.strip().splitlines()[-1]


def test_one_file_without_the_other_is_a_usage_error(files: Files) -> None:
    message = "Error: --tls-cert and --tls-key go together: {} is missing"
    assert refused("--tls-cert", files.cert) == (2, message.format("--tls-key"))
    assert refused("--tls-key", files.key) == (2, message.format("--tls-cert"))


def test_files_that_do_not_fit_are_explained(files: Files, tmp_path: Path) -> None:
    other = make_files(tmp_path)
    missing = tmp_path / "missing.pem"
    assert refused("--tls-cert", missing, "--tls-key", files.key) == (
        1,
        f"Error: cannot read the TLS certificate {missing}: No such file or directory",
    )
    assert refused("--tls-cert", files.cert, "--tls-key", missing) == (
        1,
        f"Error: cannot read the TLS private key {missing}: No such file or directory",
    )
    assert refused("--tls-cert", files.cert, "--tls-key", other.key) == (
        1,
        f"Error: the TLS key {other.key} does not belong to the certificate {files.cert}",
    )
    code, message = refused("--tls-cert", files.key, "--tls-key", files.cert)
    assert code == 1
    assert message.startswith(f"Error: there is no certificate in PEM form in {files.key}: ")


def test_an_encrypted_key_is_refused_without_asking_for_its_password(files: Files, tmp_path: Path) -> None:
    key = load_pem_private_key(files.key.read_bytes(), password=None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    code, message = refused("--tls-cert", files.cert, "--tls-key", locked)
    assert (code, message) == (1, f"Error: the TLS key {locked} is encrypted: decrypt it with openssl pkey")


def test_a_damaged_file_is_explained(files: Files, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    code, message = refused("--tls-cert", damaged, "--tls-key", files.key)
    assert code == 1
    assert message.startswith(f"Error: the TLS files {damaged} and {files.key} cannot be used: ")


# Clarify's JavaScript client


def run_js(sandbox: SandboxServer, ca_file: Path | None, suffix: str) -> subprocess.CompletedProcess[str]:
    node, folder = need_node()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    if ca_file is not None:
        environment["NODE_EXTRA_CA_CERTS"] = str(ca_file)
    USED["Clarify's JavaScript client"] = USED.get("Clarify's JavaScript client", 0) + 1
    return subprocess.run(
        [node, "insert.mjs", str(sandbox.credentials_path), suffix],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.timeout(300)
def test_the_javascript_client_saves_and_inserts(sandbox: SandboxServer, files: Files, suffix: str) -> None:
    with Client(sandbox.credentials(), verify=files.ca) as client:
        signal = client.insert(frame(f"flow_{suffix}")).raise_for_error().result.signals_by_input[f"flow_{suffix}"].id
        published = client.publish_signals([signal], [Item(name=f"Flow {suffix}")]).raise_for_error().result
    done = run_js(sandbox, files.ca, suffix)
    assert done.returncode == 0, done.stderr
    got: dict[str, Any] = json.loads(done.stdout)
    item = published.items_by_signal[signal].id
    assert got["selected"]["items"][item]["name"] == f"Flow {suffix}"
    assert got["selected"]["data"]["series"].keys() == {item}
    number, mode, new = (f"{name}_{suffix}" for name in ("number", "mode", "new"))

    signals = sandbox.signals()
    saved, inserted = got["saved"]["signalsByInput"], got["inserted"]["signalsByInput"]
    assert saved.keys() == {number, mode}
    assert all(result["created"] is True for result in saved.values())
    assert {key: result["created"] for key, result in inserted.items()} == {number: False, mode: False, new: True}
    for key in (number, mode, new):
        assert inserted[key]["id"] == signals[key].id
    assert got["refused"]["name"] == "RPCError"
    assert got["refused"]["code"] == -32602
    assert got["refused"]["type"] == "invalidParams"

    assert signals[number].attributes["name"] == "Flow é <b>"
    assert signals[number].attributes["engUnit"] == "m3/h"
    assert signals[number].attributes["labels"] == {"hall": ["1", "3"]}
    assert signals[number].annotations == {"made": "by node"}
    assert signals[mode].attributes["valueType"] == "enum"
    assert signals[mode].attributes["enumValues"] == {"0": "off", "1": "on"}
    begin = NOON_US
    assert sandbox.samples(number) == [(begin, 1.5), (begin + 1, -2.0)]
    assert sandbox.samples(mode) == [(begin, 0.0), (begin + 1_000_000, 1.0)]
    assert sandbox.samples(new) == [(begin + 1, 1e300), (begin + 1_000_000, 0.1)]


@pytest.mark.timeout(300)
def test_the_javascript_client_does_not_trust_an_unknown_authority(sandbox: SandboxServer, suffix: str) -> None:
    done = run_js(sandbox, None, suffix)
    assert done.returncode != 0
    assert "certificate" in done.stderr
    assert f"number_{suffix}" not in sandbox.signals()
