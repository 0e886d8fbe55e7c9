"""A frame: columns → the exact bytes of one data frame, with the account of what is in it.

Cells that have no value cost five bytes (`null,`); the size of a frame is known before it is sent, because
it is the size of these bytes. Times are RFC 3339, as short as they are exact; a whole number is written
without `.0`. Where one input has two values at the same time, the later arrival is in the frame and the
earlier one counts as superseded.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

ENVELOPE = len('{"times":[],"series":{}}')
NULL = len("null,")


@dataclass(slots=True)
class Column:
    """Samples of one input that wait, in order of arrival: three arrays of the same length."""

    times: array[int]
    """µs since the epoch."""
    values: array[float]
    tokens: array[int]
    """Which record each came from (see progress)."""
    since: float
    """When the first of them arrived, on the caller's clock, in seconds."""

    def head(self, n: int) -> Column:
        """The first `n` samples, as a column of their own."""
        return Column(self.times[:n], self.values[:n], self.tokens[:n], self.since)

    def tail(self, n: int) -> Column:
        """All but the first `n` samples."""
        return Column(self.times[n:], self.values[n:], self.tokens[n:], self.since)

    def where(self, keep: Callable[[int], bool]) -> Column:
        """The samples whose token `keep` agrees to; the column itself if that is all of them."""
        kept = [i for i, token in enumerate(self.tokens) if keep(token)]
        if len(kept) == len(self.tokens):
            return self
        return Column(
            array("q", (self.times[i] for i in kept)),
            array("d", (self.values[i] for i in kept)),
            array("q", (self.tokens[i] for i in kept)),
            self.since,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One data frame, ready to be sent."""

    columns: Mapping[str, Column]
    body: bytes
    """`{"times":[…],"series":{…}}`, encoded."""
    rows: int
    samples: int
    """Values in it: cells that are not null."""
    inserted: Counter[int]
    """Token → values of that record that the frame carries."""
    superseded: Counter[int]
    """Token → values of that record that a later one of the same input and time replaced."""

    @property
    def density(self) -> float:
        """Share of the cells that have a value, 0 to 1."""
        cells = self.rows * len(self.columns)
        return self.samples / cells if cells else 0.0


class TimeTexts:
    """µs since the epoch → RFC 3339 text, remembering the last second's text: rows are mostly neighbours."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._text = ""

    def __call__(self, time_us: int) -> str:
        second, fraction = divmod(time_us, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        if fraction == 0:
            return self._text + "Z"
        if fraction % 1000 == 0:
            return f"{self._text}.{fraction // 1000:03d}".rstrip("0") + "Z"
        return f"{self._text}.{fraction:06d}".rstrip("0") + "Z"


def encode_cells(cells: list[float] | list[float | None]) -> bytes:
    """A column's cells as JSON, brackets included, in the shortest form that reads back the same."""
    encoded = orjson.dumps(cells).replace(b".0,", b",")
    return encoded[:-3] + b"]" if encoded.endswith(b".0]") else encoded


def without(columns: Mapping[str, Column], lost: Callable[[int], bool]) -> tuple[dict[str, Column], Counter[int]]:
    """These columns without the samples whose token is `lost`, and how many of each such token those were."""
    kept: dict[str, Column] = {}
    dropped: Counter[int] = Counter()
    for input_id, column in columns.items():
        left = column.where(lambda token: not lost(token))
        if left is not column:
            dropped.update(token for token in column.tokens if lost(token))
        if left.times:
            kept[input_id] = left
    return kept, dropped


def build_frame(columns: Mapping[str, Column]) -> Frame:
    """Encode these columns as one frame. Columns may differ in their times and repeat them."""
    rows, superseded = _rows(columns)
    text = TimeTexts()
    parts = [b'{"times":', orjson.dumps([text(time_us) for time_us in rows]), b',"series":{']
    index = {time_us: i for i, time_us in enumerate(rows)}
    rows_array = array("q", rows)
    inserted: Counter[int] = Counter()
    samples = 0
    for number, (input_id, column) in enumerate(columns.items()):
        if column.times == rows_array:
            encoded = encode_cells(column.values.tolist())
            samples += len(rows)
        else:
            cells: list[float | None] = [None] * len(rows)
            for time_us, value in zip(column.times, column.values, strict=True):
                cells[index[time_us]] = value  # the later arrival stands
            encoded = encode_cells(cells)
            samples += len(set(column.times))
        inserted.update(column.tokens)
        parts += (b',"' if number else b'"', input_id.encode(), b'":', encoded)
    parts.append(b"}}")
    inserted.subtract(superseded)
    return Frame(columns, b"".join(parts), len(rows), samples, +inserted, superseded)


def _rows(columns: Mapping[str, Column]) -> tuple[list[int], Counter[int]]:
    """The sorted union of all times, and the tokens of values that a later arrival replaced."""
    union: set[int] = set()
    superseded: Counter[int] = Counter()
    for column in columns.values():
        distinct = set(column.times)
        if len(distinct) < len(column.times):
            last: dict[int, int] = {}
            for time_us, token in zip(column.times, column.tokens, strict=True):
                if time_us in last:
                    superseded[last[time_us]] += 1
                last[time_us] = token
        union |= distinct
    return sorted(union), superseded
