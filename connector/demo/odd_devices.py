"""Odd messages that real devices send: each kind of odd message, in turn.

The comments say how the connector handles each message. Its dead letters give the full reason.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Said = tuple[str, bytes]
"""(topic, payload)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The time and the number from which a message is made."""

    time: str
    """The true time, in ISO 8601."""
    x: float
    """Any number from 0 to 100 with one decimal."""


def _json(**content: object) -> bytes:
    return json.dumps(content).encode()


ODDITIES: Final[Mapping[str, Callable[[Moment], Said]]] = MappingProxyType(
    {
        # The connection broke in the middle of the message: a dead letter.
        "cut JSON": lambda now: ("plant/hall-1/pump/pump-cut", _json(ts=now.time, temperature=now.x)[:-9]),
        # A sensor is broken: its value is a dead letter, the other value is inserted.
        "NaN": lambda now: ("plant/hall-1/pump/pump-nan", b'{"temperature": NaN, "pressure": %.1f}' % now.x),
        "infinity": lambda now: ("plant/hall-2/pump/pump-inf", b'{"temperature": -Infinity, "flow": %.1f}' % now.x),
        # Somebody deletes a retained message: a dead letter.
        "empty": lambda _: ("plant/hall-2/status", b""),
        # Text is no measurement: a dead letter.
        "text": lambda _: ("plant/hall-2/status", b"going down for maintenance"),
        "JSON text": lambda _: ("plant/hall-3/status", b'"door open"'),
        # Numbers written as text are numbers.
        "numbers as text": lambda now: ("plant/hall-2/scale", _json(ts=now.time, weight=str(now.x), tare="0.250")),
        # A comma is not a decimal point: a dead letter, not a wrong number.
        "decimal comma": lambda now: ("plant/hall-3/scale", str(now.x).replace(".", ",").encode()),
        # The clock was never set, or is far ahead: a dead letter.
        "clock at 1970": lambda now: ("plant/hall-3/pump/pump-1970", _json(ts="1970-01-01T00:00:42Z", flow=now.x)),
        "clock in 2099": lambda now: ("plant/hall-3/meter/meter-2099", _json(time=4_085_942_400, energy=now.x)),
        "unreadable time": lambda now: ("plant/hall-3/pump/pump-late", _json(ts="yesterday", flow=now.x)),
        # Characters that are illegal in an input ID: replaced, with a hash that keeps similar topics apart.
        "illegal characters": lambda now: ("plant/Halle 3/Prüfstand №7/Öl °C", b"%.1f" % now.x),
        # The first value of the key is a dead letter, the last one is inserted.
        "duplicate key": lambda now: ("plant/hall-1/mixer", b'{"speed": %.1f, "speed": 12}' % now.x),
        "bare number": lambda now: ("plant/hall-1/level", b"%.1f" % now.x),
        "bare boolean": lambda now: ("plant/hall-1/door", b"true" if now.x > 50 else b"false"),
        # This press and pump-01 want the input hall-1/pump-01/temperature: the later gets another input and a warning.
        "colliding topic": lambda now: ("plant/hall-1/press/pump-01", _json(temperature=now.x)),
        # Compressed: a dead letter.
        "not UTF-8": lambda now: ("plant/hall-2/camera", gzip.compress(b"%.1f" % now.x, mtime=0)),
        # A dead letter, and no crash.
        "nested too deeply": lambda _: ("plant/hall-2/parser", b"[" * 2_000 + b"1" + b"]" * 2_000),
        # No value at all: a dead letter.
        "only nulls": lambda _: ("plant/hall-1/spare", b'{"temperature": null, "pressure": null}'),
        # The byte order mark that some controllers write is dropped.
        "byte order mark": lambda now: ("plant/hall-3/plc", b"\xef\xbb\xbf" + _json(torque=now.x)),
    }
)
"""Name → the function that makes the message."""


class OddDevices:
    """Odd devices, which send their messages one after the other."""

    def __init__(self, random: Random, interval: float) -> None:
        self.interval = interval
        self._random = random
        self._turn = 0

    def speak(self, now_us: int) -> list[Said]:
        """The next odd message."""
        makers = tuple(ODDITIES.values())
        make = makers[self._turn % len(makers)]
        self._turn += 1
        time = (_EPOCH + timedelta(microseconds=now_us)).isoformat()
        return [make(Moment(time, round(self._random.uniform(0, 100), 1)))]
