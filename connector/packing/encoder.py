"""Times and values as JSON text, in the shortest form that is read back as the same time or value.

Times are RFC 3339 in UTC, with a fraction only if it is not zero. Whole numbers are written without `.0`. The length
of a text can be computed without making the text.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson

_WHOLE_SECOND: Final = len("2026-11-01T00:00:00Z")


_THREE: Final = tuple(f"{n:03d}" for n in range(1000))
_MILLIS: Final = ("Z", *(f".{n:03d}".rstrip("0") + "Z" for n in range(1, 1000)))
"""The end of the text of a time, by its milliseconds, if it has no smaller part."""
_BY_REST: Final = {1000 * ms: text for ms, text in enumerate(_MILLIS)}
"""The same by the µs since the begin of the second."""
_MICROS: Final = tuple(f"{n:03d}".rstrip("0") + "Z" for n in range(1000))
"""The end of the text of a time after its milliseconds, by the microseconds after them."""
_MILLIS_BYTES: Final = tuple(_WHOLE_SECOND - 1 + len(text) for text in _MILLIS)
_MICROS_BYTES: Final = tuple(_WHOLE_SECOND + 3 + len(text) for text in _MICROS)


def time_texts(times: Iterable[int]) -> list[str]:
    """The RFC 3339 text of each time, in µs since the epoch; fast if times of one second follow each other."""
    found: list[str] = []
    add = found.append
    begin_us: int | None = None
    whole = ""
    for time_us in times:
        if begin_us is None or not 0 <= (rest := time_us - begin_us) < 1_000_000:
            second, rest = divmod(time_us, 1_000_000)
            begin_us = time_us - rest
            whole = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        micros = rest % 1000
        add(f"{whole}.{_THREE[rest // 1000]}{_MICROS[micros]}" if micros else whole + _MILLIS[rest // 1000])
    return found


def encode_times(times: Sequence[int]) -> bytes:
    """Times that rise, in µs since the epoch, as JSON texts, separated by commas: `"2026-11-01T00:00:00Z","…"`."""
    parts: list[str] = []
    start = 0
    while start < len(times):
        second = times[start] // 1_000_000
        begin_us = second * 1_000_000
        end = bisect_left(times, begin_us + 1_000_000, start)
        try:
            ends = [_BY_REST[time_us - begin_us] for time_us in times[start:end]]
        except KeyError:  # microseconds
            parts += time_texts(times[start:end])
        else:
            whole = time_texts((begin_us,))[0][:-1]
            parts.append(whole + f'","{whole}'.join(ends))
        start = end
    return b'"%b"' % '","'.join(parts).encode() if parts else b""


def time_bytes(times: Iterable[int]) -> int:
    """The total length of the texts of these times (µs since the epoch), without quotes and commas."""
    millis, micros = _MILLIS_BYTES, _MICROS_BYTES
    return sum([micros[rest] if (rest := time_us % 1000) else millis[time_us // 1000 % 1000] for time_us in times])


def encode_values(values: Sequence[float]) -> bytes:
    """Values, in a list or a tuple, as JSON, separated by commas: `1,2.5,3`."""
    encoded = orjson.dumps(values).replace(b".0,", b",")
    return encoded[1:-3] if encoded.endswith(b".0]") else encoded[1:-1]


def value_bytes(values: array[float]) -> int:
    """The total length of these values as JSON, without commas."""
    return len(encode_values(values.tolist())) - len(values) + 1 if values else 0
