"""TLS whose records are decrypted in memory.

Brokers send each message as a TLS record of its own, and Python's `SSLSocket` asks the system twice for each record.
Here one question brings many records. OpenSSL does everything else, as for `SSLSocket`: the handshake, the checks of
the certificate and the host name, new keys, and alerts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Final

_READ_AHEAD: Final = 64 * 1024
_RECORD: Final = 16 * 1024
"""The most bytes of data in a TLS record."""
_MOST_ANSWERS: Final = 64 * 1024
"""The most bytes of answers to requests of TLS that may wait for the other side."""


class TlsSocket:
    """A client's connection with TLS, and those methods of a socket that paho and `websocket.py` call.

    For the thread that owns the connection. Reading and writing raise `BlockingIOError` or `TimeoutError` as the
    socket below does, and other `OSError`, among them `ssl.SSLError`.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str, seconds: float) -> None:
        """Make the handshake over `sock`, which is connected, within `seconds`.

        `host` is the name in the server's certificate. Raises `OSError` and `ValueError` as `SSLSocket` does, and
        closes `sock` then.
        """
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain = memoryview(bytearray(_READ_AHEAD))
        """What was decrypted by the present call of `recv`."""
        self._is_dry = True
        """Whether `_incoming` has no whole record."""
        self._is_over = False
        """Whether nothing more can be read, because of `_error` or because the other side has closed."""
        self._error: ssl.SSLError | None = None
        self._unsent = b""
        """The encrypted bytes that the system has not taken yet. `_outgoing` has the bytes that come after them."""
        self._encrypted = 0
        """The bytes of data in the record that `send` has made and not reported yet."""
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
            self._shake_hands(time.monotonic() + seconds)
            sock.settimeout(seconds)
        except BaseException:
            sock.close()
            raise

    def recv(self, size: int) -> bytes:
        """What has come, at most `size` bytes and at most 64 KiB; empty if the other side has closed the connection."""
        size = min(size, _READ_AHEAD)
        while not self._is_over:
            if data := self._decrypted(size):
                return data
            if not self._is_over:
                self._read_ahead()
        if self._error is not None:
            raise self._error
        return b""

    def pending(self) -> int:
        """About the bytes that can be read without asking the system; 0 if there are none."""
        return 1 if self._is_over else self._tls.pending() + (0 if self._is_dry else self._incoming.pending)

    def send(self, data: bytes | bytearray) -> int:
        """Send the beginning of `data`, and return its length in bytes.

        After `BlockingIOError`, `send` must be called again with the same data: a part of them may be on the way.
        """
        if not self._encrypted:
            try:
                self._encrypted = self._tls.write(memoryview(data)[:_RECORD])
            except ssl.SSLWantReadError:  # the other side has begun another handshake
                self._send_answers()
                raise BlockingIOError from None
        self._flush()
        sent, self._encrypted = self._encrypted, 0
        return sent

    def sendall(self, data: bytes) -> None:
        """Send all, for a socket that blocks."""
        while data:
            data = data[self.send(data) :]

    def fileno(self) -> int:
        """The descriptor; -1 after `close`."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As for a socket."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float) -> None:
        """As for a socket: for each question to the system."""
        self._sock.settimeout(seconds)

    def close(self) -> None:
        """Close the connection without a word, as `SSLSocket` does."""
        self._sock.close()

    def _shake_hands(self, until: float) -> None:
        while True:
            self._sock.settimeout(max(0.001, until - time.monotonic()))
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                self._send_answers()  # the alert, which the log of the other side shows
                raise
            else:
                return self._flush()
            if time.monotonic() > until:
                raise TimeoutError("the TLS handshake timed out")
            self._read_ahead()

    def _decrypted(self, size: int) -> bytes:
        """Up to `size` bytes of what was read ahead; each read of OpenSSL brings one record at most."""
        read, plain, end = self._tls.read, self._plain, 0
        try:
            while end < size:
                count: int = read(size - end, plain[end:size])  # type: ignore[assignment] # the stub knows no buffers
                if not count:
                    self._is_over = True
                    break
                end += count
        except ssl.SSLWantReadError:
            self._is_dry = True
        except ssl.SSLError as error:  # raised after what came before
            self._is_over, self._error = True, error
        if self._outgoing.pending or self._unsent:
            self._send_answers()
        return plain[:end].tobytes()

    def _read_ahead(self) -> None:
        if len(self._unsent) + self._outgoing.pending > _MOST_ANSWERS:
            raise BlockingIOError  # the other side asks and does not read: `send` will find that nothing is taken
        if data := self._sock.recv(_READ_AHEAD):
            self._incoming.write(data)
            self._is_dry = False
        else:  # closed, maybe without a word of TLS
            self._is_over = True
            self._incoming.write_eof()  # for the handshake

    def _send_answers(self) -> None:
        """Send what TLS itself has to say. What does not go now goes with the next read or write."""
        with contextlib.suppress(OSError):  # full; or closed, and the next read or write says so
            self._flush()

    def _flush(self) -> None:
        while self._unsent or self._outgoing.pending:
            self._unsent = self._unsent or self._outgoing.read()
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
