"""Serves the pages of a connector, and bounds the memory, the descriptors and the CPU time that visitors can use.

One thread has an event loop, in which each visit is a task: asyncio does the network and TLS, h11 does HTTP. A visit
is one connection with one request. The bounds of a visit begin when the connection is accepted, so the bounds hold for
TLS handshakes and headers, too. For this reason, connections are accepted here, and not by a ready-made server
(docs/decisions, 0007). Each page is made in a separate thread, once for all visits that wait for this page.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import h11
import structlog

from connector.config.address import Address, is_localhost
from connector.config.observe import ObserveSection, PagesTlsSection
from connector.observe.posted import TOO_LARGE, read_body, refusal
from connector.observe.token import PagesToken
from connector.settings import SettingsError
from connector.threads.watched import WatchedThread, moves

_log = structlog.get_logger(__name__)

VISITS: Final = 64
"""The largest number of open connections.

One more connection ends the oldest connection of the larger group: connections that have not sent their request, or
connections that have. So neither silent visitors nor slow readers take all places.
"""
SECONDS: Final = 10.0
"""The longest time of a connection, from its acceptance to its end."""
PAGE_SECONDS: Final = 8.0
"""The longest time that a visit waits for a page. Then the answer is 503, with the advice to try again."""
POST_SECONDS: Final = 18.0
"""The longest time that the answer to a POST may take, after its body has come."""
HEADER_BYTES: Final = 16 * 1024
"""The longest request line and headers, in bytes."""
VISITS_A_SECOND: Final = 100
"""The number of connections that are accepted in a second. Further connections wait in the system's queue."""
_BURST: Final = 2_000
"""The number of connections that are accepted at once after a quiet time."""
_QUEUE: Final = 128
_CHUNK: Final = 64 * 1024
"""The bytes of a page that wait for a slow reader, besides the bytes in the system's buffers."""
_SHARE: Final = 0.05
"""The largest share of the time that is spent on making a kept page."""
_PARAMETERS: Final = 20
"""The largest number of parameters in a query."""
_AT_ONCE: Final = 16
"""The largest number of pages with a query that are made at the same time."""
_PAUSE: Final = 1.0
_RENEW_SECONDS: Final = 10.0
_MOVE_SECONDS: Final = 5.0

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""(name, value) of each header that a page has beside those of all pages."""
Said: TypeAlias = tuple[int, str, bytes] | tuple[int, str, bytes, Headers]
"""(status, content type, body), and the page's own headers, if it has any."""
Page: TypeAlias = Callable[[], Said]
"""Makes a page."""
AskedPage: TypeAlias = Callable[[Mapping[str, str]], Said]
"""Makes a page with a query: takes the parameters of the query."""
PostedPage: TypeAlias = Callable[[bytes], Said]
"""Answers a POST: takes the body, which is said to be JSON."""
_Body: TypeAlias = Callable[[], Awaitable[bytes | None]]
"""Reads the body of a request; None if the body is too long."""


class _Answer(NamedTuple):
    status: int
    kind: str
    body: bytes
    more: Headers = ()


class _Made(NamedTuple):
    """A page that is being made, or that was made and is good until `good_until` (monotonic seconds)."""

    answer: asyncio.Future[_Answer]
    good_until: float


class ObserveServer:
    """Serves pages in the background."""

    def __init__(
        self,
        listen: str | ObserveSection,
        pages: Mapping[str, Page],
        keep: Mapping[str, float] | None = None,
        asked: Mapping[str, AskedPage] | None = None,
        without_token: Collection[str] = (),
        posted: Mapping[str, PostedPage] | None = None,
    ) -> None:
        """Bind the address. Visitors wait until `start`.

        `listen` is the section `observe` with an address, or only its `listen`. `pages` has the pages by path, and
        `asked` has the pages with a query; the latter are made for each visit. `keep` has seconds by path: a page in
        `keep` is made again only if the kept page is older than these seconds, and older than twenty times the time for
        making the page. The pages in `without_token` have no data, and need no token. `posted` has the pages that take
        a POST, and nothing else; `posted.py` says from whom. Raises OSError if the address
        cannot be used, and SettingsError if the certificate cannot be used.
        """
        section = ObserveSection(listen=listen) if isinstance(listen, str) else listen
        address = Address.of(section.listen or "")
        self._warnings = section.page_warnings
        self._pages = dict(pages)
        self._asked = dict(asked or {})
        self._posted = dict(posted or {})
        self._keep = dict(keep or {})
        self._without_token = frozenset(without_token)
        self.token = PagesToken(section.token) if section.token else None
        """What a visitor must send; None without a token."""
        self._hosts = None if address.path else {address.host, *(name.lower() for name in section.hosts)}
        self._certificate = _Certificate(section.tls) if section.tls else None
        self._made: dict[str, _Made] = {}
        self._being_made = 0
        """The number of pages with a query or a body that are being made."""
        self._visits: dict[asyncio.Task[None], bool] = {}
        """Visit → whether the request of the visit has come. The oldest visit comes first."""
        self._path = address.path
        self._listener = (
            _listen_on_path(address.path, 0o660 if section.socket_access == "group" else 0o600)
            if address.path
            else _listen_on_port(address)
        )
        self._listener.setblocking(False)
        self.port: int = 0 if address.path else self._listener.getsockname()[1]
        """The TCP port; 0 for a Unix socket."""
        self._stop: Callable[[], None] = lambda: None
        self._closing = False
        self._moving: asyncio.Task[None] | None = None
        self.thread = WatchedThread("observe", "", self._run)

    def start(self) -> None:
        """Begin to serve. Log a warning for each setting that may let unwanted visitors read the pages."""
        for warning in self._warnings:
            _log.warning("pages_open", warning=f"observe: {warning}")
        self.thread.start()

    def close(self) -> None:
        """Stop serving, within a second or two. Visits that are not answered yet are cut off."""
        self._closing = True
        self._stop()
        if self.thread.is_alive():
            self.thread.join(_PAUSE * 2)
        if self._path is not None:  # before another connector can find that nobody serves there
            with suppress(OSError):
                self._path.unlink()
        self._listener.close()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):  # closed
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_say_failure)
        serving = asyncio.current_task()
        assert serving is not None  # noqa: S101 - for mypy
        self._stop = _from_outside(loop, serving.cancel)
        self._moving = loop.create_task(_move())  # kept: the loop itself holds a task weakly
        allowed, at = float(_BURST), loop.time()
        while not self._closing:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue  # the visitor is gone already
            except OSError as error:  # too many open files, no memory: other threads may free some
                _log.warning("pages_cannot_accept", error=os.strerror(error.errno or 0))
                await asyncio.sleep(_PAUSE)
                continue
            while len(self._visits) >= VISITS:
                many = sum(self._visits.values()) > VISITS // 2
                next(visit for visit, asked in self._visits.items() if asked is many).cancel()
                await asyncio.sleep(0)
            visit = loop.create_task(self._visit(connection))
            self._visits[visit] = False
            visit.add_done_callback(self._visits.pop)
            now = loop.time()
            allowed, at = min(float(_BURST), allowed + (now - at) * VISITS_A_SECOND) - 1, now
            await asyncio.sleep(0 if allowed >= 0 else 1 / VISITS_A_SECOND)

    async def _visit(self, connection: socket.socket) -> None:
        """One connection, from its acceptance to its end."""
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(SECONDS) as bound:
                loop = asyncio.get_running_loop()
                reader = asyncio.StreamReader(HEADER_BYTES)
                protocol = asyncio.StreamReaderProtocol(reader)
                tls: dict[str, Any] = {}
                if self._certificate is not None:
                    tls = {"ssl": self._certificate.context(), "ssl_shutdown_timeout": _PAUSE}
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, **tls)
                await self._exchange(reader, asyncio.StreamWriter(transport, protocol, reader, loop), bound)
        except (OSError, TimeoutError) as error:
            _log.debug("page_visit_cut", why=type(error).__name__)  # caused by the visitor
        except Exception:  # noqa: BLE001 - a bug of ours costs one visit
            _log.exception("page_visit_failed")
        finally:
            if transport is not None:
                transport.abort()
            else:
                connection.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bound: asyncio.Timeout
    ) -> None:
        http = h11.Connection(h11.SERVER, HEADER_BYTES)

        async def body() -> bytes | None:
            found = await read_body(http, reader, writer)
            bound.reschedule(asyncio.get_running_loop().time() + POST_SECONDS + SECONDS - PAGE_SECONDS)
            return found

        try:
            while (request := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await reader.read(_CHUNK))
            if not isinstance(request, h11.Request):
                return  # the visitor left without a request
            visit = asyncio.current_task()
            assert visit is not None  # noqa: S101 - for mypy
            self._visits[visit] = True
            answer = await self._answer(request, body)
            head = request.method == b"HEAD"
        except h11.RemoteProtocolError as error:
            answer, head = _Answer(error.error_status_hint, "text/plain", b"this is no request for a page\n"), False
        _log.debug("page_visit", status=answer.status)
        writer.write(http.send(_response(answer)) or b"")
        for start in range(0, 0 if head else len(answer.body), _CHUNK):
            writer.write(http.send(h11.Data(data=answer.body[start : start + _CHUNK])) or b"")
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _answer(self, request: h11.Request, body: _Body) -> _Answer:
        headers = dict(request.headers)
        target = request.target.decode("latin-1")
        path, _, query = target.partition("?")
        if not self._knows(headers.get(b"host", b"localhost").decode("latin-1")):
            return _Answer(421, "text/plain", b"this host name is unknown here; observe.hosts lists further names\n")
        if not self._admits(path, headers.get(b"authorization", b"")):
            more = (("WWW-Authenticate", "Bearer"),)
            return _Answer(401, "text/plain", b"the bearer token of observe.token is needed\n", more)
        if path in self._posted:
            return await self._posted_page(path, request, body)
        if path not in self._pages and path not in self._asked:
            return _Answer(404, "text/plain", f"see {' '.join(sorted({*self._pages, *self._asked}))}\n".encode())
        if request.method not in (b"GET", b"HEAD"):
            return _Answer(405, "text/plain", b"only GET\n", (("Allow", "GET, HEAD"),))
        return await self._page(path) if path in self._pages else await self._asked_page(path, query)

    def _admits(self, path: str, authorization: bytes) -> bool:
        """Whether a visitor with this header may have the page."""
        return self.token is None or path in self._without_token or self.token.admits(authorization)

    def _knows(self, host: str) -> bool:
        """Whether `host` is a name of this server.

        The check stops DNS rebinding: somebody points the name of another page at this address, and a browser with that
        page sends the other name here.
        """
        if self._hosts is None:
            return True
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        name = name.lower()
        if is_localhost(name) or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    async def _page(self, path: str) -> _Answer:
        """The kept page, or the page that is being made for all visits that wait for the page."""
        made = self._made.get(path)
        if made is None or (made.answer.done() and time.monotonic() >= made.good_until):
            try:
                made = self._made[path] = self._make(path)
            except RuntimeError:  # the system gives no thread
                return _BUSY
        return await _waited_for(made.answer, PAGE_SECONDS)

    async def _asked_page(self, path: str, query: str) -> _Answer:
        """The page for this query, made for this visit."""
        page = self._asked[path]
        try:
            parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS))
        except ValueError:
            return _Answer(400, "text/plain", b"the query has too many parameters\n")
        return await self._made_for_one(path, lambda: page(parameters))

    async def _posted_page(self, path: str, request: h11.Request, body: _Body) -> _Answer:
        """The answer to a POST, for this visit. The body is read only if the page takes the request."""
        if request.method != b"POST":
            return _Answer(405, "text/plain", b"only POST\n", (("Allow", "POST"),))
        refused = refusal(dict(request.headers))
        content = None if refused else await body()
        if content is None:
            return _Answer((refused or TOO_LARGE)[0], "text/plain", (refused or TOO_LARGE)[1])
        page, given = self._posted[path], content
        return await self._made_for_one(path, lambda: page(given), POST_SECONDS)

    async def _made_for_one(self, path: str, page: Page, seconds: float = PAGE_SECONDS) -> _Answer:
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

        def done(found: _Answer, _seconds: float) -> None:
            self._being_made -= 1
            if not answer.done():
                answer.set_result(found)

        if self._being_made >= _AT_ONCE:
            return _BUSY
        try:
            _make_in_thread(path, page, done)
        except RuntimeError:
            return _BUSY
        self._being_made += 1
        return await _waited_for(answer, seconds)

    def _make(self, path: str) -> _Made:
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

        def done(found: _Answer, seconds: float) -> None:
            keep = max(self._keep[path], seconds / _SHARE) if path in self._keep else 0.0
            self._made[path] = _Made(answer, time.monotonic() + keep)
            if not answer.done():
                answer.set_result(found)

        _make_in_thread(path, self._pages[path], done)
        return _Made(answer, 0.0)


_BUSY: Final = _Answer(503, "text/plain", b"too busy for this page; try again\n")


async def _waited_for(answer: asyncio.Future[_Answer], seconds: float) -> _Answer:
    try:
        return await asyncio.wait_for(asyncio.shield(answer), seconds)
    except TimeoutError:
        return _Answer(503, "text/plain", b"this page takes longer than usual; try again\n")


def _make_in_thread(path: str, page: Page, done: Callable[[_Answer, float], None]) -> None:
    """Make a page in a thread of its own; then the loop calls `done` with the answer and the seconds that it took.

    Raises RuntimeError if the system gives no thread.
    """
    loop = asyncio.get_running_loop()

    def make() -> None:
        started = time.monotonic()
        try:
            found = _Answer(*page())
        except Exception:  # noqa: BLE001 - a bug of ours costs one page
            _log.exception("page_failed", page=path)
            found = _Answer(500, "text/plain", b"this page could not be made; the log says why\n")
        _from_outside(loop, partial(done, found, time.monotonic() - started))()

    threading.Thread(target=make, name=f"page {path}", daemon=True).start()


class _Certificate:
    """The certificate of the pages, which is read again after its files were renewed."""

    def __init__(self, section: PagesTlsSection) -> None:
        """Read the certificate. Raises SettingsError if the certificate cannot be used."""
        self._section = section
        self._looked = time.monotonic()
        self._stamp = self._stamped()
        try:
            self._context = self._read()
        except OSError as error:  # ssl.SSLError is a subclass
            raise SettingsError(f"observe.tls: the certificate cannot be used: {_why(error)}") from None

    def context(self) -> ssl.SSLContext:
        """The TLS context for the next connection."""
        if time.monotonic() - self._looked >= _RENEW_SECONDS:
            self._looked = time.monotonic()
            try:
                if (stamp := self._stamped()) != self._stamp:
                    self._context, self._stamp = self._read(), stamp
                    _log.info("pages_certificate_renewed")
            except OSError as error:
                _log.warning("pages_certificate_not_renewed", error=_why(error), effect="the old certificate is used")
        return self._context

    def _stamped(self) -> tuple[tuple[int, int], ...]:
        found = (path.stat() for path in (self._section.cert_file, self._section.key_file) if path.exists())
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)

    def _read(self) -> ssl.SSLContext:
        password = self._section.key_password
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(  # without a password OpenSSL would ask for one at the terminal
            self._section.cert_file, self._section.key_file, password.get_secret_value() if password else ""
        )
        return context


async def _move() -> None:
    """Say that the event loop moves, from time to time, for ever."""
    while True:
        moves()
        await asyncio.sleep(_MOVE_SECONDS)


def json_page(status: int, content: object) -> tuple[int, str, bytes]:
    """A page with `content` as JSON: (status, content type, body)."""
    return status, "application/json", json.dumps(content, indent=1).encode() + b"\n"


def _response(answer: _Answer) -> h11.Response:
    reason = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else ""
    headers: Iterable[tuple[str, str]] = (
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", f"{answer.kind}; charset=utf-8"),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *answer.more,
    )
    return h11.Response(status_code=answer.status, reason=reason, headers=list(headers))


def _from_outside(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> Callable[[], None]:
    """A function for other threads that makes the loop call `call`. After the end of the loop, nothing is called."""

    def send() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call)

    return send


def _say_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a failure in one line, because asyncio's own log has tracebacks and no bound."""
    error = context.get("exception")
    _log.warning("page_visit_failed", message=context.get("message"), error=type(error).__name__ if error else None)


def _why(error: OSError) -> str:
    """The reason why a file cannot be used, without the place in OpenSSL's own code."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "no PEM files of a certificate and its key, or key_password is wrong or missing"
    return error.strerror or type(error).__name__


def _listen_on_port(address: Address) -> socket.socket:
    six = ":" in address.host
    return socket.create_server(
        (address.host, address.port),
        family=socket.AF_INET6 if six else socket.AF_INET,
        backlog=_QUEUE,
        dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
    )


def _listen_on_path(path: Path, mode: int) -> socket.socket:
    """A listening Unix socket, which replaces a socket that another connector has left behind.

    Raises OSError if a process serves at this path, or if the file at this path is no socket.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PAUSE)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # its connector was killed
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(mode)  # before the socket listens: nobody could connect until now
        listener.listen(_QUEUE)
    except OSError:
        listener.close()
        raise
    return listener
