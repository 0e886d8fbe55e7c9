"""A part of a file's values, which fits into one request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from connector.clarify import DataFrame
from connector.clarify.limits import REQUEST_BYTES

MOST_BYTES: Final = REQUEST_BYTES * 97 // 100
"""Estimated bytes of a request at which a block is full; the client splits a block whose estimate was too low."""
_TIME: Final = len('"2026-05-01T06:00:00Z",')
_MILLISECONDS: Final = len(".000")
_MICROSECONDS: Final = len(".000000")
_NULL: Final = len("null,")
_NAME: Final = len('"":[],')


@dataclass(slots=True)
class Block:
    """Some lines of the file, as columns."""

    last_line: int = 0
    cells: int = 0
    replaced: int = 0
    """Values that another value for the same time has replaced."""
    times: dict[int, int] = field(default_factory=dict)
    """Time in µs → row of the time."""
    series: dict[str, list[float | None]] = field(default_factory=dict)
    """Input ID → values of the first rows; later rows have no value."""
    _bytes: int = 0
    """Bytes of the times, the names and the values in a request, without those of `null`."""

    def add(self, time_us: int, found: Iterable[tuple[str, float, int]]) -> None:
        """Add (input ID, value, number of its characters) of one time. The last value for a time counts."""
        row = self.times.get(time_us)
        if row is None:
            row = self.times[time_us] = len(self.times)
            self._bytes += _TIME
            if time_us % 1_000_000:
                self._bytes += _MICROSECONDS if time_us % 1_000 else _MILLISECONDS
        for input_id, value, length in found:
            self.cells += 1
            self._bytes += length + 1
            values = self.series.get(input_id)
            if values is None:
                values = self.series[input_id] = []
                self._bytes += len(input_id) + _NAME
            if row == len(values):
                values.append(value)
            elif row > len(values):
                values.extend([None] * (row - len(values)))
                values.append(value)
            else:
                self.replaced += values[row] not in (None, value)
                values[row] = value

    @property
    def is_full(self) -> bool:
        """Whether the values fill a request."""
        return self._bytes + (len(self.times) * len(self.series) - self.cells) * _NULL >= MOST_BYTES

    def frame(self) -> DataFrame:
        """Return the values as a data frame."""
        rows = len(self.times)
        return DataFrame.from_us(
            self.times, {key: values + [None] * (rows - len(values)) for key, values in self.series.items()}
        )
