"""Every fault that a test can order does what it says, as an HTTP client sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.sandbox_server import SandboxServer, sandbox_fixture

sandbox = sandbox_fixture("module", rate_limiter="off")


@pytest.fixture(autouse=True)
def _faults_end_with_their_test(sandbox: SandboxServer) -> Iterator[None]:
    yield
    sandbox.clear_faults()


def insert(sandbox: SandboxServer, key: str, **headers: str) -> httpx.Response:
    return sandbox.insert({"times": ["2026-05-01T12:00:00Z"], "series": {key: [1]}}, **headers)


def order(sandbox: SandboxServer, kind: str, **more: Any) -> None:
    sandbox.faults([{"method": "insert", "times": 1, "kind": kind, **more}])


def test_cut(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "cut")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        insert(sandbox, key)
    assert key not in sandbox.signals()
    assert insert(sandbox, key).status_code == 200


def test_answer_lost(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "answer_lost")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        insert(sandbox, key)
    assert len(sandbox.samples(key)) == 1


def test_half_answer(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "half_answer")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        insert(sandbox, key)
    assert len(sandbox.samples(key)) == 1


def test_half_of_an_empty_answer_is_none(sandbox: SandboxServer) -> None:
    order(sandbox, "half_answer")
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.rpc("integration.insert", {}, request_id=None)


@pytest.mark.parametrize("kind", ["cut", "answer_lost", "half_answer"])
def test_broken_connections_leave_others_alone(sandbox: SandboxServer, key: str, kind: str) -> None:
    headers = {"authorization": sandbox.authorization(), "content-type": "application/json"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "integration.insert", "params": {}}
    with (
        httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, verify=False) as one,
        httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, verify=False) as other,
    ):
        assert one.post("rpc", json=call).status_code == other.post("rpc", json=call).status_code == 200
        order(sandbox, kind)
        with pytest.raises(httpx.RemoteProtocolError):
            one.post("rpc", json=call)
        assert other.post("rpc", json=call).status_code == 200
        assert one.post("rpc", json=call).status_code == 200
    assert sandbox.log() == ""


def test_timeout(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "timeout", seconds=0.2)
    begin = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        insert(sandbox, key)
    assert time.monotonic() - begin >= 0.19
    assert key not in sandbox.signals()


def test_latency(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "latency", seconds=0.2)
    begin = time.monotonic()
    assert insert(sandbox, key).status_code == 200
    assert time.monotonic() - begin >= 0.19
    assert len(sandbox.samples(key)) == 1


@pytest.mark.parametrize(
    ("status", "retry_after"), [(429, 7), (429, None), (503, 0), (500, None), (413, None), (403, None)]
)
def test_status(sandbox: SandboxServer, key: str, status: int, retry_after: int | None) -> None:
    order(sandbox, "status", status=status, retry_after=retry_after)
    answer = insert(sandbox, key)
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == (None if retry_after is None else str(retry_after))
    assert key not in sandbox.signals()


def test_rpc_error(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "rpc_error", code=-32015)
    order(sandbox, "rpc_error", code=-32021, message="Partial failure", data={"partialResult": {"x": 1}})
    assert insert(sandbox, key).json()["error"]["code"] == -32015
    answer = insert(sandbox, key)
    assert answer.status_code == 200
    assert answer.json() == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32021, "message": "Partial failure", "data": {"partialResult": {"x": 1}}},
    }
    assert key not in sandbox.signals()


def test_an_error_after_the_request_was_carried_out(sandbox: SandboxServer, key: str) -> None:
    order(sandbox, "status", status=503, carried_out=True)
    order(sandbox, "rpc_error", code=-32015, carried_out=True)
    assert insert(sandbox, f"{key}/status").status_code == 503
    assert insert(sandbox, f"{key}/rpc").json()["error"]["code"] == -32015
    assert {f"{key}/status", f"{key}/rpc"} <= sandbox.signals().keys()


def test_revoke_tokens(sandbox: SandboxServer, key: str) -> None:
    token = sandbox.authorization()
    assert insert(sandbox, key, authorization=token).status_code == 200
    order(sandbox, "revoke_tokens")
    assert insert(sandbox, key, authorization=token).status_code == 401
    assert insert(sandbox, key, authorization=token).status_code == 401
    assert insert(sandbox, key).status_code == 200


def test_faults_of_the_token_endpoint(sandbox: SandboxServer) -> None:
    sandbox.faults(
        [
            {"method": "token", "times": 1, "kind": "status", "status": 503, "retry_after": 1},
            {"method": "token", "times": 1, "kind": "cut"},
            {"method": "token", "times": 1, "kind": "half_answer"},
        ]
    )
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        sandbox.authorization()
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            sandbox.authorization()
    assert sandbox.authorization().startswith("Bearer ")


def test_rules_until_cleared_and_by_method(sandbox: SandboxServer, key: str) -> None:
    sandbox.faults([{"method": "save", "kind": "status", "status": 500}])
    assert insert(sandbox, key).status_code == 200
    save = {"integration": sandbox.integration, "inputs": {key: {}}}
    for _ in range(3):
        assert sandbox.rpc("integration.SaveSignals", save).status_code == 500
    sandbox.clear_faults()
    assert sandbox.rpc("integration.SaveSignals", save).status_code == 200


def test_faults_are_counted(sandbox: SandboxServer, key: str) -> None:
    before = sandbox.stats()
    order(sandbox, "status", status=500)
    insert(sandbox, key)
    insert(sandbox, key)
    after = sandbox.stats()
    assert after["faults"]["status"] - before["faults"].get("status", 0) == 1
    assert after["refusals"]["500"] - before["refusals"].get("500", 0) == 1
    assert after["samples"] - before["samples"] == 1
    assert after["samplesStored"] - before["samplesStored"] == 1
    assert after["requests"]["integration.insert"] - before["requests"].get("integration.insert", 0) == 2


def test_bad_rules_are_refused_with_a_reason(sandbox: SandboxServer) -> None:
    with pytest.raises(RuntimeError, match=r"400 (.|\n)*seconds"):
        sandbox.faults([{"kind": "latency"}])
    with pytest.raises(RuntimeError, match="400"):
        sandbox.faults([{"kind": "fire"}])
