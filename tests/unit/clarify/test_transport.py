"""One exchange: bounds, what httpx's errors become, Retry-After, and TLS with an authority of one's own."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from connector.clarify import Retryable, Timeouts, TooLarge
from connector.clarify.transport import ANSWER_BYTES, Transport, retry_after

URL = "https://api.clarify.io/v1/rpc"


def transport(
    handler: Callable[[httpx.Request], httpx.Response], clock: Callable[[], float] = lambda: 0.0
) -> Transport:
    return Transport(timeouts=Timeouts(), headers={}, clock=clock, transport=httpx.MockTransport(handler))


def exchange(handler: Callable[[httpx.Request], httpx.Response], *, stores: bool = True, url: str = URL) -> Retryable:
    with closing(transport(handler)) as line, pytest.raises(Retryable) as caught:
        line.post(url, b"{}", {"Authorization": "Bearer tok"}, method="x.y", stores=stores)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "said", "unknown"),
    [
        (httpx.ConnectError, "connection failed (ConnectError: it broke): check apiUrl and the network", False),
        (httpx.ConnectTimeout, "No connection in time", False),
        (httpx.PoolTimeout, "No connection in time", False),
        (httpx.ProxyError, "connection failed", False),
        (httpx.UnsupportedProtocol, "connection failed", False),
        (httpx.LocalProtocolError, "connection failed", False),
        (httpx.ReadTimeout, "No answer in time", True),
        (httpx.WriteTimeout, "No answer in time", True),
        (httpx.ReadError, "connection failed", True),
        (httpx.WriteError, "connection failed", True),
        (httpx.CloseError, "connection failed", True),
        (httpx.RemoteProtocolError, "connection failed", True),
        (httpx.DecodingError, "connection failed", True),
    ],
)
def test_errors_on_the_line_are_worth_another_try(kind: type[httpx.RequestError], said: str, unknown: bool) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("it broke", request=request)

    error = exchange(fail)
    assert said in str(error)
    assert kind.__name__ in str(error)
    assert error.outcome_unknown is unknown
    assert (error.code, error.method, error.retry_after) == (None, "x.y", None)
    # httpx's error holds the request, and the request the secret.
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not exchange(fail, stores=False).outcome_unknown


@pytest.mark.parametrize("kind", [httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError])
def test_a_server_of_tls_is_guessed_however_it_ends_a_plain_connection(kind: type[httpx.RequestError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("it broke", request=request)

    hint = "if the server speaks TLS, apiUrl must begin with https://"
    assert hint in str(exchange(fail, url=URL.replace("https", "http")))
    assert hint not in str(exchange(fail))


def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer tok'", request=request)

    assert "tok" not in str(exchange(fail))


def test_an_answer_is_bounded_in_size() -> None:
    bomb = gzip.compress(bytes(ANSWER_BYTES + 1))

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bomb, headers={"Content-Encoding": "gzip"})

    error = exchange(answer)
    assert "longer than 67108864 bytes" in str(error)
    assert error.outcome_unknown
    with closing(transport(answer)) as line, pytest.raises(TooLarge, match="Ask for less data in one request"):
        line.post(URL, b"", {}, method="clarify.dataFrame", stores=False)


def test_an_answer_is_bounded_in_time() -> None:
    now = 0.0

    def trickle() -> Iterator[bytes]:
        nonlocal now
        while True:
            now += 10.0
            yield b"."

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    with closing(transport(answer, clock=lambda: now)) as line, pytest.raises(Retryable) as caught:
        line.post(URL, b"", {}, method="x.y", stores=True)
    assert "did not end within 170 s" in str(caught.value)
    assert caught.value.outcome_unknown


def test_a_redirect_is_not_followed() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(307, headers={"Location": "https://evil.example/rpc"})

    with closing(transport(answer)) as line:
        assert line.post(URL, b"", {}, method="x.y", stores=True).location == "https://evil.example/rpc"
    assert seen == [URL]


def test_a_closed_transport_says_so() -> None:
    line = transport(lambda request: httpx.Response(200))
    line.close()
    line.close()
    with pytest.raises(RuntimeError, match="closed"):
        line.post(URL, b"", {}, method="x.y", stores=True)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        (" 1.5 ", None, 1.5),
        ("0", None, 0.0),
        ("-1", None, None),
        ("soon", None, None),
        ("", None, None),
        ("9" * 400, None, None),
        ("Fri, 01 May 2026 06:00:30 GMT", None, 30.0),
        ("Fri, 01 May 2026 05:00:00 GMT", None, 0.0),
        ("Fri, 01 May 2026 05:00:30 GMT", "Fri, 01 May 2026 05:00:10 GMT", 20.0),
        ("Fri, 01 May 2026 06:00:30 -0000", "not a date", 30.0),
        ("Fri, 99 May 2026 06:00:30 GMT", None, None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, date: str | None, expected: float | None) -> None:
    assert retry_after(value, date, datetime(2026, 5, 1, 6, tzinfo=UTC)) == expected


@pytest.mark.parametrize("name", ["connect", "read", "write", "answer"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_timeouts_must_be_bounds(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"timeout {name}"):
        Timeouts(**{name: seconds})


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"CA file {path} cannot be used"):
        Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0, verify=path)


class _Once(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        peers: set[tuple[str, int]] = self.server.peers  # type: ignore[attr-defined]
        peers.add(self.client_address)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[HTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), _Once)
    server.peers = set()  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_a_ca_file_is_trusted_and_the_connection_kept(
    tls_server: HTTPServer, authority: trustme.CA, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    url = f"https://localhost:{tls_server.server_port}/"
    with closing(Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0, verify=path)) as line:
        for body in (b"one", b"two", b"three"):
            assert line.post(url, body, {}, method="x.y", stores=True).body == body
    assert len(tls_server.peers) == 1  # type: ignore[attr-defined]


def test_an_unknown_authority_is_not_trusted(tls_server: HTTPServer) -> None:
    url = f"https://localhost:{tls_server.server_port}/"
    line = Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0)
    with closing(line), pytest.raises(Retryable, match=r"not trusted.*CA file") as caught:
        line.post(url, b"", {}, method="x.y", stores=True)
    assert not caught.value.outcome_unknown


def test_nobody_listens() -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but not listening: refused, and nobody else gets the port
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        line = Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0)
        with closing(line), pytest.raises(Retryable, match="ConnectError") as caught:
            line.post(url, b"", {}, method="x.y", stores=True)
    assert not caught.value.outcome_unknown
