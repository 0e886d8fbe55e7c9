"""A publisher at full speed: MQTT packets over a plain socket, QoS 1, without a library between."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from typing import Final

from tests.hostile import mqtt_broker

_CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05flood"
_CONNECT_5: Final = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x05flood"
_PUBLISH_QOS_1: Final = 0x32
_PUBACK_LENGTH: Final = 4
_WINDOW: Final = 2_000
"""Messages that may wait for the broker's acknowledgement."""


def packet(topic: bytes, payload: bytes, number: int) -> bytes:
    """A PUBLISH with this packet identifier (1 to 65,535)."""
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", number) + payload
    return mqtt_broker.packet(_PUBLISH_QOS_1, body)


def flood(
    port: int, messages: Iterable[tuple[bytes, bytes]], *, pause: float = 0.0, properties: bytes | None = None
) -> float:
    """Publish these (topic, payload) to a broker on this machine, with a pause after each if wanted; seconds until the
    broker has acknowledged all. With `properties` (less than 128 bytes), each message has them, and the protocol is
    MQTT 5 instead of 3.1.1. Raises ConnectionError if the broker closes the connection."""
    before = b"" if properties is None else bytes([len(properties)]) + properties
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(_CONNECT if properties is None else _CONNECT_5)
        if len(answer := sock.recv(2)) != 2 or len(sock.recv(answer[1], socket.MSG_WAITALL)) != answer[1]:
            raise ConnectionError("the broker did not take us")
        sent = acknowledged = 0
        waiting = bytearray()
        for topic, payload in messages:
            sent += 1
            waiting += packet(topic, before + payload, (sent - 1) % 65_535 + 1)
            if pause:
                time.sleep(pause)
            if pause or len(waiting) > 65_536:
                sock.sendall(waiting)
                waiting.clear()
            while sent - acknowledged >= _WINDOW:
                if waiting:
                    sock.sendall(waiting)
                    waiting.clear()
                acknowledged += _acknowledgements(sock)
        sock.sendall(waiting)
        while acknowledged < sent:
            acknowledged += _acknowledgements(sock)
        sock.sendall(b"\xe0\x00")
    return time.perf_counter() - began


def _acknowledgements(sock: socket.socket) -> int:
    """How many came; part of one is waited for."""
    found = sock.recv(65_536)
    while found and len(found) % _PUBACK_LENGTH:
        found += sock.recv(_PUBACK_LENGTH - len(found) % _PUBACK_LENGTH)
    if not found:
        raise ConnectionError("the broker closed the connection")
    return len(found) // _PUBACK_LENGTH
