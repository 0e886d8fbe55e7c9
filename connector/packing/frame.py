"""Row blocks → the exact bytes of one data frame, with the number of samples of each record in it.

A data frame is a matrix: every series has a cell for every time, and a cell without a value costs five bytes (`null,`).
Most cells of most frames are null. So a series is written as its values with runs of nulls between them, and series
with the same times share these runs. If one input has two values at the same time, the later arrival is in the frame;
the earlier arrival counts as superseded.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from operator import itemgetter, lt
from typing import Any, Final, NamedTuple, TypeAlias

from connector.packing.encoder import encode_times, encode_values

ENVELOPE: Final = len('{"times":[],"series":{}}')
NULL: Final = len("null,")

Texts: TypeAlias = Sequence[bytes]
"""The values of each input of a row block, as `encode_values` writes them."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of inputs whose samples came together. Each row has one time, one token, and one value for each input."""

    inputs: tuple[str, ...]
    times: array[int]
    """One for each row, in µs since the epoch, in order of arrival: not sorted, and a time may appear twice."""
    tokens: array[int]
    """One for each row: a number that leads back to the record of the row (see `ledger.progress`)."""
    values: array[float]
    """The rows one after the other; each row has one value for each input."""
    texts: Texts | None = None
    """The values of each input as JSON, if they were written already."""

    @property
    def samples(self) -> int:
        """The number of values."""
        return len(self.values)


@dataclass(slots=True)
class Column:
    """Samples of one input, in order of arrival: three arrays of the same length."""

    times: array[int]
    """µs since the epoch."""
    values: array[float]
    tokens: array[int]
    """One for each sample: a number that leads back to its record (see `ledger.progress`)."""

    def head(self, n: int) -> Column:
        """The first `n` samples, as a column of their own."""
        return Column(self.times[:n], self.values[:n], self.tokens[:n])

    def tail(self, n: int) -> Column:
        """All but the first `n` samples."""
        return Column(self.times[n:], self.values[n:], self.tokens[n:])

    def where(self, keep: Callable[[int], bool]) -> Column:
        """The samples for whose token `keep` returns True; the column itself if these are all samples."""
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

    blocks: Sequence[RowBlock]
    """The content. An input is in one block only."""
    body: bytes
    """The JSON text `{"times":[…],"series":{…}}`, encoded."""
    times: Sequence[int]
    """The times of the rows, in µs since the epoch, rising."""
    series: int
    samples: int
    """Cells that are not null."""
    superseded: Counter[int]
    """Token → how many values of its record were replaced by a later value of the same input and time."""

    @property
    def rows(self) -> int:
        """The number of times."""
        return len(self.times)

    @property
    def density(self) -> float:
        """The share of cells with a value, 0 to 1."""
        cells = self.rows * self.series
        return self.samples / cells if cells else 0.0

    @cached_property
    def inserted(self) -> Counter[int]:
        """Token → how many values of its record the frame carries."""
        found = values_of_rows((len(block.inputs), block.tokens) for block in self.blocks)
        if not self.superseded:
            return found
        found.subtract(self.superseded)
        return +found

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Input ID → samples: for a frame that has to be divided."""
        return {
            input_id: Column(block.times, block.values[i :: len(block.inputs)], block.tokens)
            for block in self.blocks
            for i, input_id in enumerate(block.inputs)
        }


class KeptColumns(NamedTuple):
    """Columns after samples were dropped from them."""

    columns: dict[str, Column]
    dropped: Counter[int]
    """Token → samples that were dropped."""


def without(columns: Mapping[str, Column], lost: Callable[[int], bool]) -> KeptColumns:
    """The columns without the samples for whose token `lost` returns True."""
    kept: dict[str, Column] = {}
    dropped: Counter[int] = Counter()
    for input_id, column in columns.items():
        left = column.where(lambda token: not lost(token))
        if left is not column:
            dropped.update(token for token in column.tokens if lost(token))
        if left.times:
            kept[input_id] = left
    return KeptColumns(kept, dropped)


def build_frame(columns: Mapping[str, Column]) -> Frame:
    """Encode columns as one frame. The times of the columns may differ, and a time may appear twice in a column."""
    return encode_frame([RowBlock((key,), found.times, found.tokens, found.values) for key, found in columns.items()])


def encode_frame(blocks: Sequence[RowBlock]) -> Frame:
    """Encode row blocks as one frame. An input may be in one block only."""
    places: dict[bytes, _RowPlaces] = {}
    placed: list[_RowPlaces] = []
    for block in blocks:
        key = block.times.tobytes()
        place = places.get(key)
        if place is None:
            place = places[key] = _RowPlaces(block.times)
        placed.append(place)
    if len(places) == 1:
        times = placed[0].times
    else:
        times = sorted(set(chain.from_iterable(place.times for place in places.values())))
        index = {time_us: row for row, time_us in enumerate(times)}
        for place in places.values():
            place.leave_room(index)
    parts = [b'{"times":[', encode_times(times), b'],"series":{']
    superseded: Counter[int] = Counter()
    samples = series = 0
    for block, place in zip(blocks, placed, strict=True):
        width = len(block.inputs)
        for i, input_id in enumerate(block.inputs):
            parts.append(b'%b"%b":[' % (b"," if series else b"", input_id.encode()))
            series += 1
            if block.texts is None:
                place.write(block.values if width == 1 else block.values[i::width], parts)
            else:
                place.write_texts(block.texts[i], parts)
            parts.append(b"]")
        samples += width * len(place.times)
        for token in (block.tokens[row] for row in place.replaced):
            superseded[token] += width
    parts.append(b"}}")
    blocks = [block if block.texts is None else replace(block, texts=None) for block in blocks]
    return Frame(blocks, b"".join(parts), times, series, samples, superseded)


class _RowPlaces:
    """The places in the frame of row blocks that have the same times."""

    def __init__(self, times: array[int]) -> None:
        self._pick: Callable[[list[Any]], tuple[Any, ...]] | None = None
        """Returns the values of the rows that are in the frame, in the order of the frame; None if all are, in this
        order."""
        self.replaced: Collection[int] = ()
        """The rows of a block that a later row with the same time replaced."""
        self._cells: list[bytes] | None = None
        """The text of a series: runs of nulls at even places, room for values at odd places; None without nulls."""
        if in_order(times):
            self.times = times.tolist()
            """Those in the frame, rising."""
            return
        last = {time_us: row for row, time_us in enumerate(times)}  # the later arrival wins
        self.times = sorted(last)
        kept = [last[time_us] for time_us in self.times]
        self._pick = itemgetter(*kept) if len(kept) > 1 else lambda values: (values[kept[0]],)
        if len(kept) < len(times):
            self.replaced = set(range(len(times))).difference(kept)

    def leave_room(self, index: Mapping[int, int]) -> None:
        """Write nulls at the other times of the frame; `index` has the row of each time."""
        if len(self.times) == len(index):
            return
        at = [index[time_us] for time_us in self.times]
        gaps = [at[0], *(after - before - 1 for before, after in pairwise(at)), len(index) - 1 - at[-1]]
        runs = {gap: b"," + b"null," * gap for gap in set(gaps)}
        self._cells = [b""] * (2 * len(at) + 1)
        self._cells[::2] = [runs[gap] for gap in gaps]
        self._cells[0] = b"null," * gaps[0]
        self._cells[-1] = b",null" * gaps[-1]

    def write(self, values: array[float], parts: list[bytes]) -> None:
        """Append the cells of one series to `parts`; `values` has a value for each row of a block."""
        every = values.tolist()
        self._write(encode_values(every if self._pick is None else self._pick(every)), parts)

    def write_texts(self, encoded: bytes, parts: list[bytes]) -> None:
        """The same with the values of all rows, as `encode_values` writes them."""
        self._write(encoded if self._pick is None else b",".join(self._pick(encoded.split(b","))), parts)

    def _write(self, encoded: bytes, parts: list[bytes]) -> None:
        if self._cells is None:
            parts.append(encoded)
        else:
            self._cells[1::2] = encoded.split(b",")
            parts.append(b"".join(self._cells))


def in_order(times: array[int]) -> bool:
    """Whether each time is later than the one before it."""
    return all(map(lt, times, times[1:]))


def values_of_rows(rows: Iterable[tuple[int, array[int]]]) -> Counter[int]:
    """Token → the number of its values; `rows` has (number of inputs, tokens) of row blocks."""
    of_width: defaultdict[int, list[array[int]]] = defaultdict(list)
    for width, tokens in rows:
        of_width[width].append(tokens)
    found: Counter[int] = Counter()
    for width, some in of_width.items():
        counts = Counter(chain.from_iterable(some))
        if width > 1:
            counts = Counter({token: n * width for token, n in counts.items()})
        found = found + counts if found else counts
    return found
