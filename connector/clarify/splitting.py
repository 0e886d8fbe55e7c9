"""A data frame that is larger than one request, in parts that are not.

Rows stay together as long as possible, since a part with few rows pays for its series' names again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from connector.clarify import iso8601
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import TooLarge

_AIM: Final = 0.97
"""Share of the limit that parts are made for: rows are not all of one length."""
_SURELY: Final = 1.2
"""Share of the limit above which an estimate is believed, so that nothing is encoded in vain."""
_SAMPLE: Final = 200
"""Rows that are encoded for an estimate."""


def split(frame: DataFrame, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The frame in parts of at most `most_bytes`, each as (its times, its encoding); at least one part.

    TooLarge if a single value does not fit, which takes a limit that is far below Clarify's.
    """
    return _Splitter(frame, most_bytes).parts(0, len(frame), list(frame.columns))


class _Splitter:
    def __init__(self, frame: DataFrame, most_bytes: int) -> None:
        self._times = iso8601.texts(frame.times_us)
        self._series = frame.columns
        self._most = most_bytes

    def parts(self, first: int, end: int, keys: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """The rows from `first` to before `end` of these series."""
        size = self._estimate(first, end, keys)
        if size <= self._most * _SURELY:
            encoded = self._encoded(first, end, keys)
            if len(encoded) <= self._most:
                yield end - first, encoded
                return
            size = len(encoded)
            del encoded
        parts = size / (self._most * _AIM)
        rows = end - first
        if rows > 1:
            step = max(1, min(rows - 1, int(rows / parts)))
            for start in range(first, end, step):
                yield from self.parts(start, min(end, start + step), keys)
        elif len(keys) > 1:
            step = max(1, min(len(keys) - 1, int(len(keys) / parts)))
            for start in range(0, len(keys), step):
                yield from self.parts(first, end, keys[start : start + step])
        else:
            raise TooLarge(f"A single value takes more than the {self._most} bytes of a request.")

    def _encoded(self, first: int, end: int, keys: Sequence[str]) -> bytes:
        series = {key: self._series[key][first:end] for key in keys}
        return orjson.dumps({"times": self._times[first:end], "series": series})

    def _estimate(self, first: int, end: int, keys: Sequence[str]) -> float:
        """About how large these rows are, from the first of them: not worth much, but cheap."""
        some = min(_SAMPLE, end - first)
        return len(self._encoded(first, first + some, keys)) * (end - first) / some if some else 0.0
