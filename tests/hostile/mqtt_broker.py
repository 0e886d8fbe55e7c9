"""An MQTT broker on a raw socket that follows a script: it may break any rule of the protocol.

A script is a function that is called with each connection, in a thread of its own. A second thread reads the packets
of the client, so a script that floods the client cannot block itself. Scripts end when the client has closed the
connection: `Session.send` raises `GoneError` then.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

_TLS = b"\x16\x03"
"""The beginning of TLS, which is no packet of MQTT: a client asks whether the port speaks TLS."""
_PATIENCE: Final = 60.0
_KEPT: Final = 100_000
"""Packets of a client that are kept for the test; later ones are read and forgotten."""


class GoneError(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True)
class Packet:
    """A packet of the client."""

    kind: int
    flags: int
    body: bytes

    @property
    def mid(self) -> int:
        """The packet id, of the kinds whose body begins with one."""
        return int.from_bytes(self.body[:2], "big")


# -- packets, as bytes -------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A variable byte integer."""
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def packet(first: int, body: bytes = b"") -> bytes:
    """A packet with this first byte, with its true length."""
    return bytes([first]) + number(len(body)) + body


def text(value: bytes) -> bytes:
    """A string with its length."""
    return len(value).to_bytes(2, "big") + value


def connack(v5: bool, code: int = 0, *, present: bool = False, properties: bytes = b"") -> bytes:
    """CONNACK."""
    return packet(CONNACK << 4, bytes([present, code]) + _properties(v5, properties))


def suback(v5: bool, mid: int, codes: Sequence[int], properties: bytes = b"") -> bytes:
    """SUBACK."""
    return packet(SUBACK << 4, mid.to_bytes(2, "big") + _properties(v5, properties) + bytes(codes))


def with_mid(first: int, mid: int) -> bytes:
    """A packet that has only a packet id."""
    return packet(first, mid.to_bytes(2, "big"))


def publish(
    v5: bool,
    topic: bytes,
    payload: bytes = b"1",
    *,
    qos: int = 1,
    mid: int = 1,
    dup: bool = False,
    properties: bytes = b"",
) -> bytes:
    """PUBLISH."""
    first = PUBLISH << 4 | dup << 3 | qos << 1
    return packet(first, text(topic) + (mid.to_bytes(2, "big") if qos else b"") + _properties(v5, properties) + payload)


def _properties(v5: bool, properties: bytes) -> bytes:
    return number(len(properties)) + properties if v5 else b""


# -- connections -------------------------------------------------------------------------------------------------------


class Session:
    """One connection of a client."""

    def __init__(self, sock: socket.socket, index: int, *, websocket: bool, reads: bool) -> None:
        self.index = index
        """0 for the first connection that the broker accepted, then 1, and so on."""
        self.v5 = True
        self.received: list[Packet] = []
        self.closed = threading.Event()
        """The client has closed the connection, or reset it."""
        self._sock = sock
        self._websocket = websocket
        self._behind = bytearray()
        self._news = threading.Condition()
        if websocket:
            self._upgrade()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, kind: int, count: int = 1) -> Packet:
        """The packet of this kind that came as the `count`-th. Raises `GoneError`, also after a minute."""
        until = time.monotonic() + _PATIENCE
        with self._news:
            while True:
                found = [one for one in self.received if one.kind == kind]
                if len(found) >= count:
                    return found[count - 1]
                if self.closed.is_set() or time.monotonic() > until:
                    raise GoneError
                self._news.wait(0.1)

    def has(self, kind: int) -> list[Packet]:
        """The packets of this kind that came so far."""
        with self._news:
            return [one for one in self.received if one.kind == kind]

    def accept(self, **more: object) -> None:
        """Wait for CONNECT, and send CONNACK; the arguments are those of `connack`."""
        self.wait_for(CONNECT)
        self.send(connack(self.v5, **more))  # type: ignore[arg-type]

    def grant(self, qos: int = 1) -> None:
        """Wait for SUBSCRIBE, and grant everything."""
        asked = self.wait_for(SUBSCRIBE)
        self.send(suback(self.v5, asked.mid, [qos] * filters_in(asked, v5=self.v5)))

    def begin(self) -> None:
        """Be honest as far as SUBACK."""
        self.accept()
        self.grant()

    def serve(self) -> None:
        """Answer the client as an honest broker does, until the client goes."""
        answered = 0
        while not self.closed.is_set():
            with self._news:
                new = self.received[answered:]
                answered += len(new)
                if not new:
                    self._news.wait(0.1)
            for one in new:
                if one.kind == PINGREQ:
                    self.send(packet(PINGRESP << 4))
                elif one.kind == UNSUBSCRIBE:
                    self.send(packet(UNSUBACK << 4, one.body[:2] + (b"\0\0" if self.v5 else b"")))

    def send(self, data: bytes) -> None:
        """Send these bytes as they are; in one frame over a websocket. Raises `GoneError`."""
        self.send_raw(frame(data) if self._websocket else data)

    def send_raw(self, data: bytes) -> None:
        """Send these bytes below the websocket. Raises `GoneError`."""
        try:
            self._sock.sendall(data)
        except OSError:
            self.closed.set()
            raise GoneError from None

    def flood(self, data: bytes, times: int) -> int:
        """Send these bytes as often as this, or until the client goes. Returns how often they were sent."""
        at_once = max(1, 262_144 // len(data))
        for sent in range(0, times, at_once):
            try:
                self.send(data * min(at_once, times - sent))
            except GoneError:
                return sent
        return times

    def wait_closed(self) -> None:
        """Wait until the client goes, for a minute at most."""
        self.closed.wait(_PATIENCE)

    def close(self) -> None:
        """Close the connection without a word."""
        with contextlib.suppress(OSError):  # the client was faster
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _upgrade(self) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += self._sock.recv(4096)
        lines = dict(line.split(": ", 1) for line in asked.decode().split("\r\n")[1:] if ": " in line)
        accept = base64.b64encode(
            hashlib.sha1(lines["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )
        self._sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )

    def _read(self) -> None:
        while True:
            try:
                data = self._sock.recv(65_536)
            except OSError:
                data = b""
            with self._news:
                if not data or (data.startswith(_TLS) and not self.received):
                    self.closed.set()
                    self._news.notify_all()
                    return
                self._behind += data
                while self._next():
                    continue
                self._news.notify_all()

    def _next(self) -> bool:
        """Take one packet out of `_behind`. Returns False if none is complete."""
        data, start = self._behind, 0
        if self._websocket:
            data = self._next_frame()
            if not data:
                return False
        length = at = 0
        while True:
            if len(data) < start + at + 2:
                return False
            length |= (data[start + at + 1] & 0x7F) << (7 * at)
            at += 1
            if not data[start + at] & 0x80:
                break
        begin = start + at + 1
        if len(data) < begin + length:
            return False
        one = Packet(data[start] >> 4, data[start] & 15, bytes(data[begin : begin + length]))
        if one.kind == CONNECT:
            self.v5 = one.body[6] == 5
        if len(self.received) < _KEPT:
            self.received.append(one)
        if not self._websocket:
            del self._behind[: begin + length]
        return True

    def _next_frame(self) -> bytearray:
        """The payload of the next frame that is no control frame, which has one packet; empty if none is complete."""
        data = self._behind
        while len(data) >= 2:
            opcode, length, start = data[0] & 15, data[1] & 0x7F, 2
            if length == 126:
                length, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + 4 + length:
                break
            mask = data[start : start + 4]
            payload = bytearray(byte ^ mask[i % 4] for i, byte in enumerate(data[start + 4 : start + 4 + length]))
            del data[: start + 4 + length]
            if opcode < 8:
                return payload
        return bytearray()


def frame(data: bytes, opcode: int = 2) -> bytes:
    """One frame of a websocket."""
    return frame_header(len(data), opcode) + data


def frame_header(length: int, opcode: int = 2) -> bytes:
    """The beginning of a frame that says it has this length."""
    if length < 126:
        return bytes([0x80 | opcode, length])
    if length < 65_536:
        return bytes([0x80 | opcode, 126]) + length.to_bytes(2, "big")
    return bytes([0x80 | opcode, 127]) + length.to_bytes(8, "big")


def filters_in(subscribe: Packet, *, v5: bool) -> int:
    """How many filters a SUBSCRIBE names."""
    at = 2 + (1 + subscribe.body[2] if v5 else 0)
    found = 0
    while at < len(subscribe.body):
        at += 2 + int.from_bytes(subscribe.body[at : at + 2], "big") + 1
        found += 1
    return found


Script = Callable[[Session], None]


class HostileBroker:
    """Listens on a free port of 127.0.0.1 and plays `script` with every client."""

    def __init__(self, script: Script, *, websocket: bool = False, reads: bool = True, port: int = 0) -> None:
        """Without `reads` the broker never reads from its clients."""
        self.sessions: list[Session] = []
        self.failures: list[BaseException] = []
        """What scripts raised, except `GoneError`."""
        self._script = script
        self._websocket = websocket
        self._reads = reads
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # not every system can
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for session in self.sessions:
            session.close()
        assert not self.failures, self.failures

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._play, args=(sock,), daemon=True).start()

    def _play(self, sock: socket.socket) -> None:
        try:
            session = Session(sock, len(self.sessions), websocket=self._websocket, reads=self._reads)
            self.sessions.append(session)
            self._script(session)
        except (GoneError, OSError):
            pass
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.failures.append(error)
        finally:
            with contextlib.suppress(OSError):  # the client was faster
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
