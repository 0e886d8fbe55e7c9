"""The sandbox over HTTP: authentication, limits, versions, notifications, throttling."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.sandbox_server import SandboxServer, sandbox_fixture

FRAME = {"times": ["2026-05-01T12:00:00Z"], "series": {"a": [1]}}
EMPTY: dict[str, Any] = {"times": [], "series": {}}

sandbox = sandbox_fixture("module", rate_limiter="off", credentials_kind="basic-auth")


def frame(key: str) -> dict[str, Any]:
    return {"times": ["2026-05-01T12:00:00Z"], "series": {key: [1]}}


def padded(sandbox: SandboxServer, size: int, key: str) -> bytes:
    """An insert of exactly `size` bytes."""
    params = {"integration": sandbox.integration, "data": frame(key)}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "integration.insert", "params": params})
    return body.encode().ljust(size)


def request_token(sandbox: SandboxServer, **form: str) -> httpx.Response:
    return httpx.post(f"{sandbox.url}oauth/token", data=form, trust_env=False, verify=False)


# Routes


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "v1/rpc", 405),
        ("HEAD", "v1/rpc", 405),
        ("OPTIONS", "v1/rpc", 405),
        ("PUT", "v1/rpc", 405),
        ("GET", "v1/oauth/token", 405),
        ("POST", "v1/rpc/", 404),
        ("POST", "v1rpc", 404),
        ("POST", "v1/", 404),
        ("GET", "nothing", 404),
    ],
)
def test_other_methods_and_paths(sandbox: SandboxServer, method: str, path: str, status: int) -> None:
    root = sandbox.url.removesuffix("v1/")
    answer = httpx.request(
        method, root + path, headers={"authorization": sandbox.authorization()}, trust_env=False, verify=False
    )
    assert answer.status_code == status


def test_without_the_switch_there_are_no_faults_to_order() -> None:
    with SandboxServer(faults=False, rate_limiter="off") as server:
        assert server.insert(EMPTY).status_code == 200
        with pytest.raises(RuntimeError, match="404"):
            server.faults([{"kind": "cut"}])
        with pytest.raises(RuntimeError, match="404"):
            server.stats()


# Authentication


@pytest.mark.parametrize("kind", ["client-credentials", "basic-auth"])
def test_both_kinds_of_credentials(kind: str) -> None:
    with SandboxServer(rate_limiter="off", credentials_kind=kind) as server:
        assert server.credentials()["credentials"]["type"] == kind
        assert server.credentials()["apiUrl"] == server.url
        assert server.credentials_path.stat().st_mode & 0o777 == 0o600
        assert server.insert(FRAME).json()["result"]["signalsByInput"]["a"]["created"] is True


def test_a_token_answer_and_its_jwt() -> None:
    with SandboxServer(public_url="http://sandbox.example:80/v1", token_seconds=77) as server:
        assert server.credentials()["apiUrl"] == "http://sandbox.example:80/v1/"
        client = server.credentials()["credentials"]
        form = {"client_id": client["clientId"], "client_secret": client["clientSecret"]}
        answer = request_token(server, grant_type="client_credentials", audience="x", **form)
        grant = answer.json()
        token = grant.pop("access_token")
        assert grant == {"scope": "invoke:integration", "expires_in": 77, "token_type": "Bearer"}
        assert len(token.split(".")) == 3
        claims = token.split(".")[1]
        decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert decoded["aud"] == "http://sandbox.example:80/v1/"
        assert decoded["https://clfy.io/roles"] == [f"iM:{server.integration}"]


def test_wrong_clients_get_a_json_401() -> None:
    with SandboxServer() as server:
        answer = request_token(server, grant_type="client_credentials", client_id="x", client_secret="y")
        assert answer.status_code == 401
        assert answer.json() == {"error": "access_denied", "error_description": "Unauthorized"}


def test_rpc_without_credentials_is_401(sandbox: SandboxServer) -> None:
    for header in ("", "Bearer abc", "Basic abc"):
        answer = sandbox.insert(FRAME, authorization=header)
        assert answer.status_code == 401
        assert answer.json()["error"] == "access_denied"


def test_an_expired_token_is_401() -> None:
    with SandboxServer(rate_limiter="off", token_seconds=2) as server:
        token = server.authorization()
        assert server.insert(EMPTY, authorization=token).status_code == 200
        deadline = time.monotonic() + 10
        while server.insert(EMPTY, authorization=token).status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.insert(EMPTY).status_code == 200


# Versions, IDs, notifications


def test_versions(sandbox: SandboxServer) -> None:
    unknown = sandbox.insert(EMPTY, x_api_version="7.0")
    assert unknown.status_code == 400
    assert "Version matching X-API-Version header not found" in unknown.text
    save = {"integration": sandbox.integration, "inputs": {}}
    method = "integration.signals.save"
    assert sandbox.rpc(method, save).json()["error"]["code"] == -32601
    assert sandbox.rpc(method, save, x_api_version="1.2").json()["result"] == {"signalsByInput": {}}


@pytest.mark.parametrize("request_id", [0, "", "clarify-1", 1.5, [1], {"a": None}])
def test_ids_are_echoed(sandbox: SandboxServer, request_id: object) -> None:
    params = {"integration": sandbox.integration, "data": EMPTY}
    answer = sandbox.rpc("integration.Insert", params, request_id=request_id)
    assert answer.json() == {"jsonrpc": "2.0", "id": request_id, "result": {"signalsByInput": {}}}
    assert answer.headers["content-type"] == "application/json"


def test_a_notification_is_executed_and_answered_with_204(sandbox: SandboxServer) -> None:
    params = {"integration": sandbox.integration, "data": frame("notified")}
    answer = sandbox.rpc("integration.insert", params, request_id=None)
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(sandbox.samples("notified")) == 1
    assert sandbox.rpc("integration.insert", {}, request_id=None).status_code == 204
    assert sandbox.rpc("no.such.method", {}, request_id=None).status_code == 204


@pytest.mark.parametrize(
    ("body", "code"), [(b"{", -32700), (b"[]", -32600), (b'[{"jsonrpc": "2.0"}]', -32600), (b"{}", -32600)]
)
def test_what_is_no_call_is_one_rpc_error_with_http_200(sandbox: SandboxServer, body: bytes, code: int) -> None:
    answer = sandbox.post(body)
    assert answer.status_code == 200
    assert answer.json()["id"] is None
    assert answer.json()["error"]["code"] == code


# Bodies


def test_the_size_limit_is_exact(sandbox: SandboxServer) -> None:
    limit = 8 * 1024 * 1024
    assert "result" in sandbox.post(padded(sandbox, limit, "largest")).json()
    refused = sandbox.post(padded(sandbox, limit + 1, "too large"))
    assert refused.status_code == 413
    assert "8388608" in refused.text
    assert "largest" in sandbox.signals()


def test_oversize_as_an_rpc_error_or_a_reset() -> None:
    with SandboxServer(rate_limiter="off", max_body_bytes=500, oversize="-32600") as server:
        answer = server.post(padded(server, 501, "a"))
        assert answer.status_code == 200
        assert answer.json()["error"]["code"] == -32600
        server.restart(oversize="reset")
        with pytest.raises(httpx.TransportError):
            server.post(padded(server, 100_000, "a"))
        assert "result" in server.post(padded(server, 500, "b")).json()
        assert list(server.signals()) == ["b"]


def test_after_an_oversize_request_the_connection_can_be_used_again(sandbox: SandboxServer) -> None:
    headers = {"authorization": sandbox.authorization(), "content-type": "application/json"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, verify=False) as client:
        assert client.post("rpc", content=padded(sandbox, 9_000_000, "x")).status_code == 413
        assert client.post("rpc", content=padded(sandbox, 400, "x")).status_code == 200


def test_gzip_is_refused_unless_accepted(sandbox: SandboxServer) -> None:
    body = gzip.compress(padded(sandbox, 2000, "zipped"))
    assert sandbox.post(body, content_encoding="gzip").status_code == 415
    with SandboxServer(rate_limiter="off", gzip="accept", max_body_bytes=2000) as server:
        body = gzip.compress(padded(server, 2000, "zipped"))
        assert "result" in server.post(body, content_encoding="gzip").json()
        assert len(server.samples("zipped")) == 1
        bomb = gzip.compress(padded(server, 2001, "bomb"))
        assert server.post(bomb, content_encoding="gzip").status_code == 413
        assert server.post(body[:-1], content_encoding="gzip").status_code == 400
        assert server.post(body + b"x", content_encoding="gzip").status_code == 400
        assert server.post(b"plain", content_encoding="gzip").status_code == 400
        assert server.post(body, content_encoding="br").status_code == 415
        assert "result" in server.post(padded(server, 400, "plain")).json()


def test_the_content_type_must_be_json(sandbox: SandboxServer) -> None:
    assert sandbox.insert(EMPTY, content_type="text/plain").status_code == 415
    assert sandbox.insert(EMPTY, content_type="application/json; charset=utf-8").status_code == 200


def test_a_large_frame_is_stored_completely(sandbox: SandboxServer) -> None:
    times = [f"2026-05-0{1 + n // 86_400}T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z" for n in range(200_000)]
    values = [n / 8 for n in range(200_000)]
    before = sandbox.stats()["samples"]
    assert "result" in sandbox.insert({"times": times, "series": {"large": values}}).json()
    assert [value for _, value in sandbox.samples("large")] == values
    assert sandbox.stats()["samples"] - before == 200_000


# Throttling: the numbers are small, so that the tests are short


def insert_together(server: SandboxServer, count: int) -> list[tuple[object, float]]:
    """Send `count` inserts at once; each one's HTTP status, RPC code or "cut", and how long it took."""
    header = server.authorization()

    def insert(number: int) -> tuple[object, float]:
        begin = time.monotonic()
        try:
            answer = server.insert(frame(f"k{number}"), authorization=header)
            outcome: object = answer.status_code
            if answer.status_code == 200:
                outcome = answer.json().get("error", {}).get("code", 200)
        except httpx.TransportError:
            outcome = "cut"
        return outcome, time.monotonic() - begin

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(insert, range(count)))


def test_the_excess_is_delayed() -> None:
    with SandboxServer(requests_per_second=4, credentials_kind="basic-auth") as server:
        begin = time.monotonic()
        outcomes = insert_together(server, 4)
        assert time.monotonic() - begin >= 0.74  # three intervals from the first to the last
        assert [status for status, _ in outcomes] == [200] * 4
        delayed = server.stats()["delayed"]
        assert delayed >= 1
        save = {"integration": server.integration, "inputs": {}}
        assert server.rpc("integration.saveSignals", save).status_code == 200
        assert server.stats()["delayed"] == delayed, "another method has turns of its own"


@pytest.mark.parametrize(("switch", "seen"), [("503", 503), ("504", 504), ("drop", "cut"), ("-32015", -32015)])
def test_what_waits_too_long_times_out_and_is_not_stored(switch: str, seen: object) -> None:
    with SandboxServer(
        requests_per_second=0.5, queue_seconds=0.3, timeout_answer=switch, credentials_kind="basic-auth"
    ) as server:
        outcomes = insert_together(server, 3)
        assert sorted(str(outcome) for outcome, _ in outcomes) == sorted(["200", str(seen), str(seen)])
        assert all(seconds >= 0.29 for outcome, seconds in outcomes if outcome == seen)
        assert server.stats()["timeouts"] == 2
        assert len(server.signals()) == 1


def test_a_request_that_takes_too_long_in_total_times_out_but_is_stored() -> None:
    with SandboxServer(
        rate_limiter="off", queue_seconds=0, total_seconds=0.000001, credentials_kind="basic-auth"
    ) as server:
        assert server.insert(frame("late")).status_code == 503
        deadline = time.monotonic() + 10
        while not server.samples("late"):
            assert time.monotonic() < deadline
        assert server.stats()["timeouts"] == 1


@pytest.mark.parametrize("switch", ["plain", "retry-after"])
def test_429_instead_of_throttling(switch: str) -> None:
    with SandboxServer(requests_per_second=0.01, too_many_requests=switch, credentials_kind="basic-auth") as server:
        assert server.insert(frame("a")).status_code == 200
        refused = server.insert(frame("b"))
        assert refused.status_code == 429
        if switch == "plain":
            assert "retry-after" not in refused.headers
        else:
            assert 50 <= int(refused.headers["retry-after"]) <= 100
        assert list(server.signals()) == ["a"]


# Odd clients


def test_a_client_that_leaves_within_its_request_does_no_harm(sandbox: SandboxServer) -> None:
    head = (
        f"POST /v1/rpc HTTP/1.1\r\nHost: sandbox\r\nAuthorization: {sandbox.authorization()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"jsonrpc"')
    assert sandbox.insert(EMPTY).status_code == 200
    assert "Traceback" not in sandbox.log()


def test_chunked_bodies_count_towards_the_limit(sandbox: SandboxServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 1024 * 1024

    headers = {"authorization": sandbox.authorization(), "content-type": "application/json"}
    answer = httpx.post(f"{sandbox.url}rpc", content=chunks(), headers=headers, trust_env=False, verify=False)
    assert answer.status_code == 413
