"""The client of Clarify that a connector has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.clarify import Retryable
from connector.config.model import Config
from connector.runtime import client as runtime_client
from connector.threads.watched import STILL_SECONDS
from tests.credentials import credentials
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
