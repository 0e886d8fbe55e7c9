"""The vendor's own client, as it is on PyPI, works against the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyclarify import Client, DataFrame, Signal

from connector.sandbox.signal_view import default_attributes
from tests.sandbox_server import SandboxServer, sandbox_fixture

NOON = 1_777_636_800_000_000
TIMES = ["2026-05-01T12:00:00Z", "2026-05-01T12:00:01.5Z"]


sandbox = sandbox_fixture("module", [{"error_style": style} for style in ("documented", "live")], rate_limiter="off")


@pytest.fixture(scope="module", params=["1.1", "1.2"])
def client(sandbox: SandboxServer, request: pytest.FixtureRequest) -> Client:
    return Client(str(sandbox.credentials_path), api_version=request.param)


def error_paths(sandbox: SandboxServer, response: Any) -> dict[str, list[str]]:
    """Messages by path, from either shape of error data."""
    assert response.result is None
    assert response.error.code == -32602
    data = response.error.data.model_dump()
    if data.get("pathErrors"):
        assert data.get("trace") is None
        return {entry["path"].removeprefix("params."): [entry["error"]] for entry in data["pathErrors"]}
    assert data["trace"]
    return data["params"]


def test_an_insert_is_stored(sandbox: SandboxServer, client: Client, key: str) -> None:
    frame = DataFrame(series={f"{key}/a": [1, 2.5], f"{key}/b": [None, -3]}, times=TIMES)
    response = client.insert(frame)
    assert response.error is None
    signals = sandbox.signals()
    for name in (f"{key}/a", f"{key}/b"):
        assert response.result.signalsByInput[name].created is True
        assert response.result.signalsByInput[name].id == signals[name].id
    assert sandbox.samples(f"{key}/a") == [(NOON, 1.0), (NOON + 1_500_000, 2.5)]
    assert sandbox.samples(f"{key}/b") == [(NOON + 1_500_000, -3.0)]
    again = client.insert(frame)
    assert again.result.signalsByInput[f"{key}/a"].created is False
    assert again.result.signalsByInput[f"{key}/a"].id == signals[f"{key}/a"].id


def test_the_newest_value_wins(sandbox: SandboxServer, client: Client, key: str) -> None:
    client.insert(DataFrame(series={key: [1, 2]}, times=TIMES))
    client.insert(DataFrame(series={key: [9, None]}, times=TIMES))
    assert [value for _, value in sandbox.samples(key)] == [9.0, 2.0]


def test_datetimes_with_an_offset_and_an_empty_frame(sandbox: SandboxServer, client: Client, key: str) -> None:
    moment = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert client.insert(DataFrame(series={key: [1]}, times=[moment])).error is None
    assert sandbox.samples(key) == [(NOON + 123_456, 1.0)]
    assert client.insert(DataFrame(series={}, times=[])).result.signalsByInput == {}


def test_a_wrong_length_is_an_error_with_its_path(sandbox: SandboxServer, client: Client, key: str) -> None:
    response = client.insert(DataFrame(series={f"{key}/a": [1, 2, 3], f"{key}/b": [1, 2]}, times=TIMES))
    assert error_paths(sandbox, response) == {f"data.series.{key}/a": ["not same length as times"]}
    assert f"{key}/b" not in sandbox.signals()


def test_another_integration_is_not_permitted(sandbox: SandboxServer, client: Client) -> None:
    response = client.save_signals(input_ids=["a"], signals=[Signal(name="A")], integration="a" * 20)
    assert response.error.code == -32003
    assert response.error.message == "Operation not permitted"


def test_metadata_is_upserted(sandbox: SandboxServer, client: Client, key: str) -> None:
    first = Signal(
        name="Mill feed",
        description="Ore",
        labels={"line": ["3"]},
        engUnit="t/h",
        gapDetection=timedelta(minutes=5),
        annotations={"acme/line": "3", "acme/area": "7"},
    )
    saved = client.save_signals(signals_by_input={key: first}).result.signalsByInput[key]
    assert (saved.created, saved.updated) == (True, False)
    stored = sandbox.signals()[key]
    assert stored.id == saved.id
    assert stored.attributes["labels"] == {"line": ["3"]}
    assert stored.attributes["gapDetection"] == "PT5M"

    second = Signal(name="Mill feed", valueType="enum", enumValues={"0": "off"}, annotations={"acme/line": "4"})
    saved = client.save_signals(signals_by_input={key: second}).result.signalsByInput[key]
    assert (saved.id, saved.created, saved.updated) == (stored.id, False, True)
    stored = sandbox.signals()[key]
    reset = {"name": "Mill feed", "valueType": "enum", "enumValues": {"0": "off"}}
    assert stored.attributes == default_attributes(key) | reset
    assert stored.annotations == {"acme/line": "4", "acme/area": "7"}


def test_create_only_keeps_what_is_there(sandbox: SandboxServer, client: Client, key: str) -> None:
    client.insert(DataFrame(series={key: [1, 2]}, times=TIMES))
    saved = client.save_signals(
        input_ids=[key, f"{key}/new"], signals=[Signal(name="A"), Signal(name="B")], create_only=True
    ).result.signalsByInput
    assert (saved[key].created, saved[key].updated) == (False, False)
    assert (saved[f"{key}/new"].created, saved[f"{key}/new"].updated) == (True, False)
    assert sandbox.signals()[key].attributes["name"] == key


def test_bad_metadata_is_an_error_with_its_path(sandbox: SandboxServer, client: Client, key: str) -> None:
    response = client.save_signals(signals_by_input={key: Signal(name="n" * 129, enumValues={"x": "on"})})
    assert error_paths(sandbox, response).keys() == {
        f"signalsByInput.{key}.name",
        f"signalsByInput.{key}.enumValues.x",
    }


def test_an_unknown_version_is_refused(sandbox: SandboxServer) -> None:
    response = Client(str(sandbox.credentials_path), api_version="0.9").insert(DataFrame(series={}, times=[]))
    assert response.error.code == 400
    assert "Version matching X-API-Version header not found" in response.error.data


def test_a_revoked_token_is_refused_and_a_new_one_works(sandbox: SandboxServer, key: str) -> None:
    client = Client(str(sandbox.credentials_path))
    frame = DataFrame(series={key: [1, 2]}, times=TIMES)
    assert client.insert(frame).error is None
    sandbox.faults([{"method": "insert", "times": 1, "kind": "revoke_tokens"}])
    assert client.insert(frame).error.code == 401
    assert client.insert(frame).error.code == 401  # PyClarify keeps its token
    assert Client(str(sandbox.credentials_path)).insert(frame).error is None
