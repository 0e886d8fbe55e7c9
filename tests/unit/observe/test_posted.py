"""Requests with a body: taken from the page itself, bounded, and refused from other web sites."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from connector.config.observe import ObserveSection
from connector.observe import http
from connector.observe.http import ObserveServer, json_page
from connector.observe.posted import BODY_BYTES
from tests.secrets_used import fresh

CLIENT = httpx.Client(timeout=60, trust_env=False, verify=False)
JSON = {"Content-Type": "application/json"}
TOKEN = fresh("posted")
KNOWN = {**JSON, "Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server() -> Iterator[ObserveServer]:
    section = ObserveSection.model_validate({"listen": "127.0.0.1:0", "token": TOKEN})
    posted = {"/try.json": lambda body: json_page(200, len(body))}
    found = ObserveServer(section, {"/healthz": lambda: json_page(200, {})}, posted=posted)
    found.start()
    yield found
    found.close()


def post(server: ObserveServer, content: bytes | Iterator[bytes] = b"{}", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return CLIENT.post(f"http://127.0.0.1:{server.port}/try.json", content=content, headers={**KNOWN, **named})


def test_a_body_of_the_page_itself_is_taken_whole(server: ObserveServer) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert post(server, b"x" * BODY_BYTES, **own).json() == BODY_BYTES
    assert post(server, iter([b"ab", b"c"])).json() == 3, "in pieces, of a program"
    with socket.create_connection(("127.0.0.1", server.port), 30) as visitor:
        head = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json"
        visitor.sendall(
            f"POST /try.json HTTP/1.1\r\n{head}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert visitor.recv(4096).startswith(b"HTTP/1.1 100"), "curl waits for this before a long body"
        visitor.sendall(b"{}")
        assert b"200 OK" in visitor.recv(4096)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "text/plain; application/json"}, 415),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_what_another_site_can_send_is_refused(server: ObserveServer, headers: dict[str, str], status: int) -> None:
    assert post(server, **headers).status_code == status


def test_a_page_that_takes_a_body_takes_nothing_else_and_the_others_take_none(server: ObserveServer) -> None:
    url = f"http://127.0.0.1:{server.port}"
    answer = CLIENT.get(f"{url}/try.json", headers=KNOWN)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert CLIENT.options(f"{url}/try.json", headers=KNOWN).status_code == 405, "no leave for other sites"
    assert CLIENT.post(f"{url}/healthz", json={}, headers=KNOWN).status_code == 405


def test_a_body_that_is_too_long_is_refused_also_if_it_does_not_say_so(server: ObserveServer) -> None:
    head = f"POST /try.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    kind = "Content-Type: application/json\r\n"
    piece = b"%x\r\n%s\r\n" % (BODY_BYTES + 1, b"x" * (BODY_BYTES + 1))
    long = [f"Content-Length: {BODY_BYTES + 1}\r\n\r\n".encode(), b"Transfer-Encoding: chunked\r\n\r\n" + piece]
    for rest in long:
        with socket.create_connection(("127.0.0.1", server.port), 30) as visitor:
            visitor.sendall((head + kind).encode() + rest)
            assert b"HTTP/1.1 413" in visitor.recv(4096)


def test_a_body_that_never_ends_is_cut_off(server: ObserveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.3)
    head = f"POST /try.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 30) as visitor:
        began = time.monotonic()
        visitor.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert visitor.recv(4096) == b""
        assert time.monotonic() - began < 20
