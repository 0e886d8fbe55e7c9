"""The server of one TLS connection, whose records a test can cut, change and hold back."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Self

import trustme

from connector.sources.mqtt.tls import TlsSocket

NAME: Final = "localhost"
Client = Any
"""A `TlsSocket` or an `SSLSocket`."""
Wrap = Callable[[socket.socket, ssl.SSLContext, str], Client]


def with_ours(sock: socket.socket, context: ssl.SSLContext, host: str) -> TlsSocket:
    """The client under test."""
    return TlsSocket(sock, context, host, 10)


def with_pythons(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """The client that it must behave as."""
    sock.settimeout(10)
    return context.wrap_socket(sock, server_hostname=host)


WRAPS: Final[dict[str, Wrap]] = {"ours": with_ours, "Python's": with_pythons}


@cache
def authority() -> trustme.CA:
    """The authority of all servers."""
    return trustme.CA()


@cache
def server_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    """That of a server with this version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(NAME).configure_cert(context)
    context.minimum_version = context.maximum_version = version
    return context


@cache
def client_context() -> ssl.SSLContext:
    """That of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


class TlsServer:
    """Both ends of a connection: `connect` gives the client's."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.theirs, self.sock = socket.socketpair()
        """The client's end, and ours."""
        self.failure: ssl.SSLError | None = None
        """What ended the handshake."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server_context(version).wrap_bio(self._incoming, self._outgoing, server_side=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
        self.theirs.close()

    def connect(
        self, wrap: Wrap = with_ours, context: ssl.SSLContext | None = None, host: str = NAME, *, blocks: bool = False
    ) -> Client:
        """The client, after the handshake."""
        thread = threading.Thread(target=self._shake_hands)
        thread.start()
        try:
            client = wrap(self.theirs, context or client_context(), host)
            client.setblocking(blocks)
        finally:
            thread.join()
        return client

    def records(self, *messages: bytes) -> bytes:
        """These messages, each encrypted as a record of its own."""
        for message in messages:
            self._tls.write(message)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The record that ends the connection in order."""
        with contextlib.suppress(ssl.SSLWantReadError):  # the client's
            self._tls.unwrap()
        return self._outgoing.read()

    def received(self) -> bytes:
        """What the client has sent since the last call."""
        self.sock.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data += self._tls.read(65_536)
                except ssl.SSLWantReadError:
                    self._incoming.write(self.sock.recv(65_536))
        self.sock.setblocking(True)
        return data

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self._outgoing.read())
                self._incoming.write(self.sock.recv(65_536))
            except ssl.SSLError as error:
                self.failure = error
                return
            else:
                self.sock.sendall(self._outgoing.read())
                return


def come(client: Client, size: int = 65_536) -> bytes | None:
    """What a read brings: None if nothing has come."""
    try:
        data: bytes = client.recv(size)
    except (BlockingIOError, ssl.SSLWantReadError):  # paho makes the first out of the second
        return None
    return data


def sent(client: Client, data: bytes) -> int | None:
    """How much a write took: None if nothing fits."""
    try:
        return int(client.send(data))
    except (BlockingIOError, ssl.SSLWantWriteError):
        return None
