"""Times and values as JSON text, in the shortest form that is read back as the same time or value.

Times are RFC 3339 in UTC, with a fraction only if it is not zero. Whole numbers are written without `.0`. The length
of a text can be computed without making the text.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import orjson

_SECOND: Final = 1_000_000
_WHOLE_SECOND: Final = len("2026-11-01T00:00:00Z")


class TimeTexts:
    """µs since the epoch → RFC 3339 text. Keeps the text of the last second, since times mostly follow closely."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._text = ""

    def __call__(self, time_us: int) -> str:
        second, fraction = divmod(time_us, _SECOND)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        if fraction == 0:
            return self._text + "Z"
        if fraction % 1000 == 0:
            return f"{self._text}.{fraction // 1000:03d}".rstrip("0") + "Z"
        return f"{self._text}.{fraction:06d}".rstrip("0") + "Z"


def time_bytes(times: Iterable[int]) -> int:
    """The total length of the texts of these times (µs since the epoch), without quotes and commas."""
    length = 0
    for time_us in times:
        fraction = time_us % _SECOND
        length += _WHOLE_SECOND
        if fraction:
            length += 7
            while fraction % 10 == 0:
                fraction //= 10
                length -= 1
    return length


def encode_values(values: array[float]) -> bytes:
    """Values as JSON, separated by commas: `1,2.5,3`."""
    encoded = orjson.dumps(values.tolist()).replace(b".0,", b",")
    return encoded[1:-3] if encoded.endswith(b".0]") else encoded[1:-1]


def value_bytes(values: array[float]) -> int:
    """The total length of these values as JSON, without commas."""
    return len(encode_values(values)) - len(values) + 1 if values else 0
