"""paho's websocket, within bounds.

paho keeps a frame until the frame is complete, whatever length the frame claims, and copies all bytes so far at each
read. If the answer to its request comes byte by byte, paho waits for ever. Here each piece of a frame is handed on at
once, and the answer to the request has a deadline.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

from paho.mqtt.client import WebsocketConnectionError, _WebsocketWrapper

from connector.sources.mqtt.packets import PROTOCOL_ERROR, BreachError

_ANSWER_BYTES: Final = 16 * 1024
_CONTROL_BYTES: Final = 125
_FRAMES_WITHOUT_DATA: Final = 1000
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA


class _Answering:
    """The connection while the request is answered, for `_WebsocketWrapper._do_handshake`."""

    def __init__(self, sock: Any, seconds: float) -> None:
        self.send = sock.sendall
        self._sock = sock
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._left = _ANSWER_BYTES

    def recv(self, size: int) -> bytes:
        """Read as from a socket. Raises `TimeoutError` after the deadline, `WebsocketConnectionError` if too long."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._left < size:
            raise WebsocketConnectionError(f"the answer to the websocket's request has more than {_ANSWER_BYTES} bytes")
        self._sock.settimeout(left)
        data: bytes = self._sock.recv(size)
        self._left -= len(data)
        return data


class BoundedWebsocket(_WebsocketWrapper):
    """A websocket that keeps no more than the header of a frame and a control frame.

    `recv` raises `BlockingIOError` if no bytes have come yet, and `BreachError` if the server breaks a rule of
    websockets or of MQTT over websockets.
    """

    def __init__(self, sock: Any, host: str, port: int, is_ssl: bool, path: str, seconds: float) -> None:
        """Request the websocket, and wait at most `seconds` for the answer.

        Raises `OSError`, and `WebsocketConnectionError`, which is a `ValueError`.
        """
        self._seconds = seconds
        self._head = bytearray()
        """The header of the next frame, or a whole control frame."""
        self._left = 0
        """The bytes of the present frame that have not come yet."""
        self._without_data = 0
        try:
            super().__init__(sock, host, port, is_ssl, path, None)
        except BaseException:
            sock.close()
            raise

    def _do_handshake(self, extra_headers: Any) -> None:
        sock: Any = self._socket
        self._socket = _Answering(sock, self._seconds)  # type: ignore[assignment]
        try:
            super()._do_handshake(extra_headers)
        except IndexError:
            raise WebsocketConnectionError("the answer to the websocket's request cannot be read") from None
        finally:
            self._socket = sock

    def _recv_impl(self, length: int) -> bytes:
        try:
            while not self._left:
                if not self._next_frame():
                    return b""
            data: bytes = self._socket.recv(min(length, self._left))
        except ConnectionError:
            data = b""
        self.connected = bool(data)
        self._left -= len(data)
        return data

    def _next_frame(self) -> bool:
        """Read the header of a frame, or a whole control frame. Returns False if the other side has closed."""
        head = self._head
        if not self._fill(2):
            return False
        opcode, size = head[0] & 0x0F, head[1]
        if size & 0x80 or head[0] & 0x70:
            raise BreachError(PROTOCOL_ERROR, "the broker sent a websocket frame that is masked or has reserved bits")
        if opcode >= _CLOSE:
            if size > _CONTROL_BYTES or opcode > _PONG:
                raise BreachError(PROTOCOL_ERROR, "the broker sent a control frame of a websocket that is not allowed")
            if not self._fill(2 + size):
                return False
            payload, self._head = head[2:], bytearray()
            if opcode == _PING:
                self._pong(payload)
            self._count(0)
            return opcode != _CLOSE
        if opcode not in (_BINARY, _CONTINUATION):
            raise BreachError(PROTOCOL_ERROR, "the broker sent a websocket frame that is not binary")
        if size >= 126:
            bytes_of_size = 2 if size == 126 else 8
            if not self._fill(2 + bytes_of_size):
                return False
            size = int.from_bytes(head[2:], "big")
        self._head = bytearray()
        self._left = size
        self._count(size)
        return True

    def _send_impl(self, data: bytes | bytearray) -> int:
        """Send `data` in one frame. Raises `BlockingIOError` until all is sent: at 0, paho would drop the packet."""
        if not self._requested_size:
            self._flush()  # the rest of a pong
            self._sendbuffer = self._create_frame(_BINARY, bytearray(data))
            self._requested_size = len(data)
        self._flush()
        sent, self._requested_size = self._requested_size, 0
        return sent

    def _flush(self) -> None:
        while self._sendbuffer:
            self._sendbuffer = self._sendbuffer[self._socket.send(self._sendbuffer) :]

    def _fill(self, size: int) -> bool:
        """Read until `_head` has `size` bytes. Returns False if the other side has closed the connection."""
        while len(self._head) < size:
            data = self._socket.recv(size - len(self._head))
            if not data:
                return False
            self._head += data
        return True

    def _count(self, size: int) -> None:
        self._without_data = 0 if size else self._without_data + 1
        if self._without_data > _FRAMES_WITHOUT_DATA:
            raise BreachError(PROTOCOL_ERROR, "the broker sent websocket frames without data for ever")

    def _pong(self, payload: bytearray) -> None:
        """Answer a ping, unless the other side does not read: then an answer would help nobody."""
        if self._sendbuffer:  # the answer must not be inside another frame
            return
        self._sendbuffer = self._create_frame(_PONG, payload)
        with contextlib.suppress(OSError):  # full: the rest goes before the next frame; closed: the next read says so
            self._flush()
