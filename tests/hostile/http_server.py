"""A server of raw sockets that answers HTTP as its script says, and knows when the client has hung up.

    with HostileServer(header_byte_every(3.0)) as server:
        ...  # a client asks server.url
        server.wait_until_hung_up()

A script is a function of a `Peer`, which is one connection. Every script stops when the client hangs up or when the
server is closed.
"""

from __future__ import annotations

import gzip
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeAlias

from tests.waiting import wait_until

MIB: Final = 1024 * 1024
_SLICE = 0.02  # seconds between two looks at the client and at the end of the test
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class HungUp(Exception):  # noqa: N818
    """The client has closed the connection, or the test is over."""


class Peer:
    """A client's connection."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self._closing = closing
        sock.settimeout(_SLICE)

    def request(self) -> bytes:
        """The head and the body of the next request."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.read()
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += self.read()
        return head + b"\r\n\r\n" + body

    def read(self, most: int = 64 * 1024) -> bytes:
        """Some bytes; raises HungUp at the end."""
        while True:
            self._look()
            try:
                received = self.sock.recv(most)
            except TimeoutError:
                continue
            except OSError:
                raise HungUp from None
            if not received:
                raise HungUp
            return received

    def send(self, data: bytes) -> None:
        """Send all of it; raises HungUp if the client does not want the rest."""
        rest = memoryview(data)
        while rest:
            self._look()
            try:
                rest = rest[self.sock.send(rest) :]
            except TimeoutError:
                continue
            except OSError:
                raise HungUp from None

    def pause(self, seconds: float) -> None:
        """Do nothing, and read nothing; raises HungUp as soon as the client hangs up."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._look()
            self._closing.wait(min(left, _SLICE))
        self._look()

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _look(self) -> None:
        poll = select.poll()
        poll.register(self.sock, _GONE)
        if self._closing.is_set() or poll.poll(0):
            raise HungUp


Script: TypeAlias = Callable[[Peer], None]


class HostileServer:
    """Listens on a port of its own, and runs `script` for each connection."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, scheme: str = "http") -> None:
        """With `tls`, connections speak TLS. `scheme` is that of `url`; https without `tls` is a script's own TLS."""
        self._script = script
        self._tls = tls
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_SLICE)
        self._threads: list[threading.Thread] = []
        self._hung_up = 0
        self._lock = threading.Lock()
        self.connections = 0
        """Connections that were accepted."""
        self.port: Final[int] = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    def wait_until_hung_up(self) -> None:
        """Wait until the client has closed each of its connections, before the script came to its end.

        On a busy machine a client may come to its deadline before it connects.
        """
        wait_until(lambda: self._hung_up == self.connections, 0, "the client still holds a connection open")

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            with self._lock:
                self.connections += 1
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                sock.settimeout(60)
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._script(Peer(sock, self._closing))
        except (HungUp, OSError):
            if not self._closing.is_set():
                with self._lock:
                    self._hung_up += 1
        finally:
            sock.close()


HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LONG: Final = 60.0
"""Seconds after which a script gives up: a client without a bound waits as long."""


def answers(data: bytes) -> Script:
    """A script that answers each request with these bytes."""

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(data)

    return script


def answers_and_closes(data: bytes) -> Script:
    """A script that answers one request with these bytes, and closes the connection."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return script


def with_body(body: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """An answer with a length; `headers` are lines that end with CR LF."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


def repeats(start: bytes, again: bytes, seconds: float) -> Script:
    """A script that answers with `start`, and then sends `again` every so many seconds."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(start)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            peer.pause(seconds)
            peer.send(again)

    return script


def floods(start: bytes, again: bytes) -> Script:
    """A script that answers with `start`, and then sends `again` as fast as it can."""
    return repeats(start, again, 0.0)


def header_byte_every(seconds: float) -> Script:
    """A header that grows by a byte."""
    return repeats(HEAD + b"X-Slow: ", b"a", seconds)


def processing_for_ever(seconds: float) -> Script:
    """102 Processing, and never an answer."""
    return repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n", seconds)


def body_byte_every(seconds: float) -> Script:
    """A body with a length, a byte at a time."""
    return repeats(HEAD + b"Content-Length: 1000000\r\n\r\n", b" ", seconds)


def chunk_every(seconds: float) -> Script:
    """A body in chunks of one byte."""
    return repeats(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", seconds)


def trailer_byte_every(seconds: float) -> Script:
    """A body that has ended but for its trailer."""
    return repeats(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a", seconds)


def silent(peer: Peer) -> None:
    """Neither reads nor writes."""
    peer.pause(LONG)


def reads_slowly(seconds: float) -> Script:
    """A script that takes some bytes of the request every so many seconds, and never answers."""

    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            peer.read(4096)
            peer.pause(seconds)

    return script


def tls_byte_every(seconds: float) -> Script:
    """A script that begins a TLS record of 16 KiB, and sends it a byte at a time."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            peer.pause(seconds)
            peer.send(b"\x00")

    return script


def reset_in_the_body(peer: Peer) -> None:
    """Half of a body, and a reset."""
    peer.request()
    peer.send(HEAD + b'Content-Length: 100\r\n\r\n{"')
    peer.reset()


def reset_in_the_headers(peer: Peer) -> None:
    """Half of the headers, and a reset."""
    peer.request()
    peer.send(HEAD)
    peer.reset()


def gzip_bomb(mebibytes: int) -> bytes:
    """A gzip stream that inflates to so many MiB: a thousandth of it. It has no checksum at its end."""
    zeros = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = zeros.compress(bytes(MIB)) + zeros.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + block * mebibytes


def gzip_of_gzip_bomb(mebibytes: int) -> bytes:
    """A gzip stream of a gzip bomb: a few kB."""
    return gzip.compress(gzip_bomb(mebibytes))


EMPTY_BLOCK: Final = b"\x00\x00\x00\xff\xff"
"""A block of a deflate stream that inflates to nothing."""
