"""The client of Clarify that a connector has."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from connector.clarify import ClarifyError, Retryable
from connector.config.model import Config
from connector.runtime import client as runtime_client
from connector.threads.watched import STILL_SECONDS
from tests.credentials import credentials
from tests.otlp_receiver import OtlpReceiver
from tests.ports import free_port


@pytest.mark.parametrize(("timeout", "exchange"), [("20s", 170.0), ("300s", 730.0)])
def test_a_call_of_clarify_says_how_long_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: str, exchange: float
) -> None:
    """Else a slow Clarify would make /healthz fail although each exchange keeps to its bound."""
    said: list[float] = []
    monkeypatch.setattr(runtime_client, "moves", said.append)
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(credentials() | {"apiUrl": f"http://127.0.0.1:{free_port()}/v1/"}))
    source = {"type": "mqtt", "url": "mqtt://127.0.0.1", "topics": ["t"]}
    config = Config.model_validate(
        {"clarify": {"credentials": file, "timeout": timeout, "allow_insecure": True}, "sources": [source]}
    )
    client = runtime_client.open_client(config)
    with pytest.raises(Retryable):
        client.call("clarify.selectItems", {})
    client.close()
    assert said == [STILL_SECONDS + 4 * exchange]


def test_a_changed_ca_file_counts_from_the_next_request_on(tmp_path: Path) -> None:
    """Of another authority, then broken, then of the server's."""
    ours, file = trustme.CA(), tmp_path / "ca.pem"
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.issue_cert("127.0.0.1").configure_cert(tls)
    trustme.CA().cert_pem.write_to_path(str(file))
    with OtlpReceiver(tls=tls) as server:
        found = tmp_path / "credentials.json"
        found.write_text(json.dumps(credentials() | {"apiUrl": f"{server.endpoint}/v1/"}))
        source = {"type": "mqtt", "url": "mqtt://127.0.0.1", "topics": ["t"]}
        config = Config.model_validate({"clarify": {"credentials": found, "ca_file": file}, "sources": [source]})
        client = runtime_client.open_client(config)
        with pytest.raises(Retryable, match="not trusted"):
            client.call("clarify.selectItems", {})
        file.write_text("no certificate")
        with capture_logs() as log:
            for _ in range(2):
                with pytest.raises(Retryable, match="not trusted"):
                    client.call("clarify.selectItems", {})
            ours.cert_pem.write_to_path(str(file))
            with pytest.raises(ClarifyError, match=r"^(?!.*trusted)"):
                client.call("clarify.selectItems", {})
        client.close()
    assert [(line["event"], line["file"]) for line in log] == [
        ("credentials_not_reloaded", str(file)), ("credentials_reloaded", str(file)),
    ]  # fmt: skip
