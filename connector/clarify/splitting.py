"""Splits a data frame that is larger than one request into parts that fit.

A part has as many whole rows as possible, because each part repeats the names of its series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from connector.clarify import iso8601
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import TooLarge

_AIM: Final = 0.97
"""The share of the limit that parts aim at, because rows differ in length."""
_SURELY: Final = 1.2
"""The share of the limit above which an estimate is trusted, so that no part is encoded for nothing."""
_SAMPLE: Final = 200
"""The number of rows that are encoded for an estimate."""


def split(frame: DataFrame, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The frame in parts of at most `most_bytes`, at least one part. A part is (number of times, encoded data).

    Raises TooLarge if a single value does not fit. Only a limit far below Clarify's limit makes this possible.
    """
    return _Splitter(frame, most_bytes).parts(0, len(frame), list(frame.columns))


class _Splitter:
    def __init__(self, frame: DataFrame, most_bytes: int) -> None:
        self._times = iso8601.texts(frame.times_us)
        self._series = frame.columns
        self._most = most_bytes

    def parts(self, first: int, end: int, keys: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """The parts of the rows from `first` to before `end`, with the series `keys`."""
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
        """The estimated size of the rows in bytes, from the first rows. The estimate is fast, but not exact."""
        some = min(_SAMPLE, end - first)
        return len(self._encoded(first, first + some, keys)) * (end - first) / some if some else 0.0
