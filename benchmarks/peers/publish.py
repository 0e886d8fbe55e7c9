"""The messages that all programs get: a machine's JSON of a time and four values, about 100 bytes.

As a process of its own: `python -m benchmarks.peers.publish PORT FIRST COUNT RATE PROPERTIES` (yes or no).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.flood import flood

VALUES: Final = 4
TOPICS: Final = [b"plant/line%d/m%d/telemetry" % (line, machine) for line in range(1, 11) for machine in range(1, 51)]
_FIRST_MS: Final = 1_780_000_000_000


def _property(number: int, *texts: bytes) -> bytes:
    return bytes([number]) + b"".join(len(text).to_bytes(2, "big") + text for text in texts)


PROPERTIES: Final = (
    _property(0x03, b"application/json") + _property(0x26, b"site", b"north") + _property(0x26, b"unit", b"line-1")
)
"""A content type and two user properties."""


def payload(i: int, time_ms: int) -> bytes:
    """The message `i`."""
    return b'{"ts": %d, "temp": %d.%d, "hum": %d.%d, "pressure": %d.%d, "rpm": %d}' % (
        *(time_ms, 20 + i % 9, i % 10, 40 + i % 7, i % 9 + 1, 1000 + i % 40, i % 9 + 1, 1400 + i % 200),
    )


def aligned(first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """(topic, payload): each machine once a second, all at the same time."""
    for i in range(first, first + count):
        yield TOPICS[i % len(TOPICS)], payload(i, _FIRST_MS + i // len(TOPICS) * 1000)


def apart(i: int) -> bytes:
    """A payload whose time no other message has, for records whose names do not tell machines apart."""
    return payload(i, _FIRST_MS + i * 2)


def paced(count: int, rate: float) -> Iterator[tuple[bytes, bytes]]:
    """(topic, payload): so many a second, each at the time when it is due, from a clock of its own."""
    began = time.perf_counter()
    for i in range(count):
        time.sleep(max(0.0, began + i / rate - time.perf_counter()))
        yield TOPICS[i % len(TOPICS)], payload(i, time.time_ns() // 1_000_000)


def main(port: int, first: int, count: int, rate: float, properties: bytes | None) -> None:
    """Publish, and print the seconds that it took. With rate 0: as fast as the broker takes them."""
    if rate:
        print(flood(port, paced(count, rate), pause=1e-6, properties=properties))
    else:
        messages = list(aligned(first, count))
        print(flood(port, messages, properties=properties))


if __name__ == "__main__":
    to_port, number, many = map(int, sys.argv[1:4])
    main(to_port, number, many, float(sys.argv[4]), PROPERTIES if sys.argv[5] == "yes" else None)
