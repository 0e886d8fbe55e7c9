"""What a malicious Clarify, schema registry, MQTT broker or Kafka broker answers. No answer says that data was
taken, or that there is no such schema.

A liar that says it took data cannot be told from one that did. Everything else must cost no data, and end when the liar
is gone.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

Lie = Callable[[random.Random], Iterator[bytes]]
"""The pieces of one answer; the proxy pauses for a moment after each, and resets the connection after the last."""

_BOMB: Final = gzip.compress(gzip.compress(bytes(64 * 1024 * 1024)))
_QOS_2: Final = b"\x34\x09" + struct.pack(">H", 2) + b"m0" + struct.pack(">H", 7) + b"lie"
_CONNACK: Final = {4: b"\x20\x02\x01\x00", 5: b"\x20\x03\x01\x00\x00"}


def _http(*headers: str, body: bytes = b"", status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def _forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def _one_by_one(text: bytes) -> Iterator[bytes]:
    yield from (text[i : i + 1] for i in range(len(text)))


HTTP: Final[Sequence[Lie]] = (
    lambda _: iter((_http("Content-Encoding: gzip, gzip", body=_BOMB),)),
    lambda _: iter((_http("Content-Encoding: gzip", body=gzip.compress(bytes(128 * 1024 * 1024))),)),
    lambda _: _forever(b"HTTP/1.1 102 Processing\r\n\r\n"),
    lambda _: _one_by_one(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000),
    lambda _: iter((_http("Retry-After: Mon, 01 Jan 99999 00:00:00 GMT", "Date: 1e400", status="503 Later"),)),
    lambda _: iter((_http("Retry-After: 999999999999", status="429 Too Many Requests"),)),
    lambda _: iter((_http("Content-Type: application/json", body=b"[" * 100_000),)),
    lambda _: iter((_http(body=b'{"jsonrpc": "2.0", "id": "another", "result": {}}'),)),
    lambda _: iter((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",)),
    lambda _: iter((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,)),
    lambda _: iter((_http("Location: file:///etc/passwd", status="307 Over there"),)),
    lambda dice: iter((dice.randbytes(50_000),)),
)
MQTT: Final[Sequence[Lie]] = tuple(
    lie
    for connack in _CONNACK.values()
    for lie in (
        lambda _, connack=connack: _forever(connack),
        lambda _, connack=connack: (piece for pieces in ((connack,), _forever(_QOS_2 * 5_000)) for piece in pieces),
        lambda _, connack=connack: iter((connack, b"\x30\xff\xff\xff\xff\x7f")),
        lambda dice, connack=connack: iter((connack, dice.randbytes(50_000))),
    )
)
KAFKA: Final[Sequence[Lie]] = (
    lambda _: iter((struct.pack(">ii", 2**31 - 1, 1) + bytes(100_000),)),
    lambda _: _forever(struct.pack(">i", 0)),
    lambda _: _one_by_one(struct.pack(">ii", 20_000, 1) + bytes(20_000)),
    lambda dice: iter((struct.pack(">ii", 50_000, 1) + dice.randbytes(50_000),)),
    lambda dice: iter((dice.randbytes(50_000),)),
)
