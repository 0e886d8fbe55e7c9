"""Web sites that a browser on this machine shows can neither order faults nor read the page."""

from __future__ import annotations

import httpx
import pytest

from tests.sandbox_server import SandboxServer, sandbox_fixture

RULE = b'[{"method": "insert", "times": 1, "kind": "cut"}]'
JSON = {"content-type": "application/json"}


sandbox = sandbox_fixture(scope="module", rate_limiter="off", credentials_kind="basic-auth")


def ask(sandbox: SandboxServer, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    url = httpx.URL(sandbox.url).copy_with(path=path)
    return httpx.request(
        method, url, content=body, headers=headers, trust_env=False, verify=False, timeout=60
    ).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"host": "evil.example"},
        {"host": "evil.example:8090", "origin": "http://evil.example:8090"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sandbox/faults"),
        ("DELETE", "/sandbox/faults"),
        ("GET", "/sandbox/stats"),
        ("GET", "/"),
        ("GET", "/sandbox/page/signals"),
    ],
)
def test_another_site_gets_nothing(sandbox: SandboxServer, method: str, path: str, headers: dict[str, str]) -> None:
    assert ask(sandbox, method, path, JSON | headers, RULE if method == "POST" else b"") in (400, 403)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_cannot_order_faults(sandbox: SandboxServer, kind: str) -> None:
    assert ask(sandbox, "POST", "/sandbox/faults", {"content-type": kind}, RULE) == 415


def test_this_machine_can_and_nothing_above_was_ordered(sandbox: SandboxServer) -> None:
    host = httpx.URL(sandbox.url).netloc.decode()
    assert sandbox.stats()["faults"] == {}
    assert ask(sandbox, "POST", "/sandbox/faults", JSON, RULE) == 204
    assert ask(sandbox, "DELETE", "/sandbox/faults", {"origin": f"http://{host}"}) == 204
    assert ask(sandbox, "GET", "/sandbox/stats", {"host": "localhost:1"}) == 200
    assert ask(sandbox, "GET", "/", {}) == 200
