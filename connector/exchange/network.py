"""The network below httpx: no step of an exchange takes longer than the time that the whole exchange has left.

httpx has a time-out for each step: one connect, one read, one write. A server that sends a byte before each time-out
keeps an exchange alive for ever. So each step here gets the smaller of its own time-out and the time that is left.
No thread watches the exchange, and httpx closes the socket after a step that ends with a time-out.

`getaddrinfo` takes no time-out. So a separate thread resolves a name, and the exchange waits for this thread only until
the deadline. Each name has at most one thread, so a dead name server cannot pile up threads.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Final, TypeAlias, TypeVar

import httpcore

T = TypeVar("T")
Address: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

_RECORD: Final = 64 * 1024  # bytes that a tunnel reads at once

_ends: ContextVar[float] = ContextVar("ends", default=inf)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound the time of all exchanges in the block, together, to `seconds`. An outer deadline stays in force."""
    ends = time.monotonic() + seconds
    token = _ends.set(min(ends, _ends.get()))
    try:
        yield
    finally:
        _ends.reset(token)


def _left(bound: float | None) -> float | None:
    """Seconds that a step may take: the smaller of `bound` and the time that the exchange has left; None without both.

    Raises TimeoutError if no time is left.
    """
    left = _ends.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the exchange has passed")
    if bound is not None:
        left = min(bound, left)
    return left if left < inf else None


@contextmanager
def _raised(timeout: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Turn the errors of sockets into the errors that httpx knows."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except (OSError, UnicodeError) as error:  # UnicodeError: an impossible host name
        raise failed(str(error)) from error


class BoundedNetwork(httpcore.NetworkBackend):
    """Opens connections whose steps keep to the `deadline` of the exchange."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that accepts a connection. `timeout` is in seconds, for each address."""
        with _raised(httpcore.ConnectTimeout, httpcore.ConnectError):
            sock = _connected(host, port, timeout, local_address)
            try:
                for option in socket_options or ():
                    sock.setsockopt(*option)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                sock.close()
                raise
        return _Stream(sock)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        """Not used: addresses are URLs with a host."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Not used: httpx does not repeat a connection here."""
        raise NotImplementedError


class _Stream(httpcore.NetworkStream):
    """One connection."""

    def __init__(self, sock: socket.socket | _Tunnel) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _raised(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(_left(timeout))
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _raised(httpcore.WriteTimeout, httpcore.WriteError):
            _send_all(self._sock, buffer, timeout)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            with _raised(httpcore.ConnectTimeout, httpcore.ConnectError):
                if not isinstance(self._sock, socket.socket) or isinstance(self._sock, ssl.SSLSocket):
                    return _Stream(_Tunnel(self._sock, ssl_context, server_hostname, timeout))
                self._sock.settimeout(_left(timeout))
                return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        """The state of an idle connection (`is_readable`: closed by the server), or its TLS object for httpx."""
        if info == "is_readable":
            return _is_readable(self._sock.fileno())
        if info == "ssl_object":
            return None if type(self._sock) is socket.socket else self._sock
        return None


class _Tunnel:
    """TLS within TLS, for a proxy that is reached by https: `ssl` wraps a socket only once."""

    def __init__(
        self,
        sock: socket.socket | _Tunnel,
        context: ssl.SSLContext,
        server_hostname: str | None,
        timeout: float | None,
    ) -> None:
        self._sock = sock
        self._timeout = timeout
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._run(self._tls.do_handshake)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def recv(self, most: int) -> bytes:
        try:
            return self._run(lambda: self._tls.read(most))
        except ssl.SSLZeroReturnError:
            return b""

    def send(self, data: memoryview) -> int:
        return self._run(lambda: self._tls.write(data))

    def selected_alpn_protocol(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def _run(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._send_waiting()
                self._sock.settimeout(_left(self._timeout))
                received = self._sock.recv(_RECORD)
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                self._send_waiting()
                return result

    def _send_waiting(self) -> None:
        _send_all(self._sock, self._outgoing.read(), self._timeout)


def _send_all(sock: socket.socket | _Tunnel, data: bytes, timeout: float | None) -> None:
    """Send `data`; each pause lasts at most `timeout` seconds."""
    rest = memoryview(data)
    while rest:
        sock.settimeout(_left(timeout))
        rest = rest[sock.send(rest) :]


def _is_readable(descriptor: int) -> bool:
    if descriptor < 0:  # closed
        return True
    poll = select.poll()  # select() fails for descriptors over 1,023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _connected(host: str, port: int, timeout: float | None, local_address: str | None) -> socket.socket:
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in _addresses(host, port, _left(timeout)):
        sock = socket.socket(family, kind, protocol)
        try:
            if local_address is not None:
                sock.bind((local_address, 0))
            sock.settimeout(_left(timeout))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


_lock = threading.Lock()
_under_way: dict[tuple[str, int], Future[Sequence[Address]]] = {}


def _addresses(host: str, port: int, seconds: float | None) -> Sequence[Address]:
    """The addresses of a host. Raises TimeoutError after `seconds`, and OSError if the name cannot be resolved."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name
    key = (host, port)
    with _lock:
        found = _under_way.get(key)
        if found is None:
            found = Future()
            thread = threading.Thread(target=_resolve, args=(key, found), name=f"resolve {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread is left
                raise OSError(str(error)) from error
            _under_way[key] = found
    return found.result(seconds)


def _resolve(key: tuple[str, int], found: Future[Sequence[Address]]) -> None:
    try:
        found.set_result(socket.getaddrinfo(*key, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        found.set_exception(error)
    finally:
        with _lock:  # waits until `_addresses` has noted the look-up
            del _under_way[key]
