"""A frame: slabs of samples → the exact bytes of one data frame, with the account of what is in it.

A data frame is a matrix: each of its series has a cell for each of its times, and a cell without a value costs five
bytes (`null,`). Most frames are mostly nulls, so a series is written as its values with runs of nulls between them;
series that have the same times share where these runs are. Where one input has two values at the same time, the
later arrival is in the frame and the earlier one counts as superseded.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import lt
from typing import Final

from connector.packing.encoder import TimeTexts, encode_values

ENVELOPE: Final = len('{"times":[],"series":{}}')
NULL: Final = len("null,")


@dataclass(frozen=True, slots=True)
class Slab:
    """Rows of inputs whose samples came together: one time and one token a row, a value for each input."""

    inputs: tuple[str, ...]
    times: array[int]
    """µs since the epoch, in order of arrival: unsorted, and a time may stand twice."""
    tokens: array[int]
    """Which record each row came from (see progress)."""
    values: array[float]
    """The rows one after the other: for each row, a value for each input."""

    @property
    def samples(self) -> int:
        """How many values it has."""
        return len(self.values)


@dataclass(slots=True)
class Column:
    """Samples of one input, in order of arrival: three arrays of the same length."""

    times: array[int]
    """µs since the epoch."""
    values: array[float]
    tokens: array[int]
    """Which record each came from (see progress)."""

    def head(self, n: int) -> Column:
        """The first `n` samples, as a column of their own."""
        return Column(self.times[:n], self.values[:n], self.tokens[:n])

    def tail(self, n: int) -> Column:
        """All but the first `n` samples."""
        return Column(self.times[n:], self.values[n:], self.tokens[n:])

    def where(self, keep: Callable[[int], bool]) -> Column:
        """The samples whose token `keep` agrees to; the column itself if that is all of them."""
        kept = [i for i, token in enumerate(self.tokens) if keep(token)]
        if len(kept) == len(self.tokens):
            return self
        return Column(
            array("q", (self.times[i] for i in kept)),
            array("d", (self.values[i] for i in kept)),
            array("q", (self.tokens[i] for i in kept)),
        )


@dataclass(frozen=True)
class Frame:
    """One data frame, ready to be sent."""

    slabs: Sequence[Slab]
    """What is in it; each input in one slab only."""
    body: bytes
    """`{"times":[…],"series":{…}}`, encoded."""
    times: Sequence[int]
    """Of its rows, in µs, rising."""
    series: int
    samples: int
    """Values in it: cells that are not null."""
    inserted: Counter[int]
    """Token → values of that record that the frame carries."""
    superseded: Counter[int]
    """Token → values of that record that a later one of the same input and time replaced."""

    @property
    def rows(self) -> int:
        """How many times it has."""
        return len(self.times)

    @property
    def density(self) -> float:
        """Share of the cells that have a value, 0 to 1."""
        cells = self.rows * self.series
        return self.samples / cells if cells else 0.0

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Its samples by input, for when it has to be taken apart."""
        return {
            input_id: Column(slab.times, slab.values[i :: len(slab.inputs)], slab.tokens)
            for slab in self.slabs
            for i, input_id in enumerate(slab.inputs)
        }


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
    return encode_frame([Slab((key,), found.times, found.tokens, found.values) for key, found in columns.items()])


def encode_frame(slabs: Sequence[Slab]) -> Frame:
    """Encode these slabs as one frame. No input may be in two of them."""
    times = sorted({time_us for same in _by_times(slabs) for time_us in same})
    index = {time_us: row for row, time_us in enumerate(times)}
    text = TimeTexts()
    parts = [b'{"times":["', '","'.join([text(time_us) for time_us in times]).encode(), b'"],"series":{']
    inserted: Counter[int] = Counter()
    superseded: Counter[int] = Counter()
    samples = series = 0
    timelines: dict[bytes, _Timeline] = {}
    for slab in slabs:
        width = len(slab.inputs)
        key = slab.times.tobytes()
        timeline = timelines.get(key)
        if timeline is None:
            timeline = timelines[key] = _Timeline(slab.times, index)
        kept = timeline.kept
        for i, input_id in enumerate(slab.inputs):
            values = slab.values if width == 1 else slab.values[i::width]
            if kept is not None:
                values = array("d", [values[row] for row in kept])
            parts.append(b'%b"%b":[' % (b"," if series else b"", input_id.encode()))
            series += 1
            timeline.write(values, parts)
            parts.append(b"]")
        samples += width * timeline.rows
        _count(inserted, slab.tokens, width)
        for token in (slab.tokens[row] for row in timeline.replaced):
            superseded[token] += width
    parts.append(b"}}")
    if superseded:
        inserted.subtract(superseded)
        inserted = +inserted
    return Frame(slabs, b"".join(parts), times, series, samples, inserted, superseded)


class _Timeline:
    """Where the values of slabs that have the same times stand among the frame's rows."""

    def __init__(self, times: array[int], index: Mapping[int, int]) -> None:
        self.kept: list[int] | None = None
        """Which of a slab's rows are in the frame, in the order of the frame; None if they are all, in order."""
        self.replaced: Collection[int] = ()
        """Which of a slab's rows were replaced by a later one of the same time."""
        self.rows = len(times)
        if not in_order(times):
            last = {time_us: row for row, time_us in enumerate(times)}  # the later arrival stands
            self.kept = [last[time_us] for time_us in sorted(last)]
            self.rows = len(self.kept)
            if self.rows < len(times):
                self.replaced = set(range(len(times))).difference(self.kept)
            at = [index[time_us] for time_us in sorted(last)]
        else:
            at = [index[time_us] for time_us in times]
        self._pieces: list[bytes] | None = None
        """Runs of nulls, with room for the values between them; None if there are none."""
        if self.rows < len(index):
            gaps = [at[0], *(after - before - 1 for before, after in pairwise(at)), len(index) - 1 - at[-1]]
            runs = {gap: b"," + b"null," * gap for gap in set(gaps)}
            self._pieces = [b""] * (2 * self.rows + 1)
            self._pieces[::2] = [runs[gap] for gap in gaps]
            self._pieces[0] = b"null," * gaps[0]
            self._pieces[-1] = b",null" * gaps[-1]

    def write(self, values: array[float], parts: list[bytes]) -> None:
        """Append a series' cells to `parts`."""
        encoded = encode_values(values)
        if self._pieces is None:
            parts.append(encoded)
        else:
            self._pieces[1::2] = encoded.split(b",")
            parts.append(b"".join(self._pieces))


def in_order(times: array[int]) -> bool:
    """Whether the times rise from row to row."""
    return all(map(lt, times, times[1:]))


def _by_times(slabs: Sequence[Slab]) -> list[array[int]]:
    """The slabs' times, those that are the same once."""
    return list({slab.times.tobytes(): slab.times for slab in slabs}.values())


def _count(counts: Counter[int], tokens: array[int], width: int) -> None:
    if width == 1:
        counts.update(tokens)
        return
    for token in tokens:
        counts[token] += width
