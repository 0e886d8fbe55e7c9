"""Operations on the columns of a frame that Clarify refuses: divide, join, and set samples aside.

The order within a column is the order of arrival. No operation changes it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from connector.clarify.errors import NamedInFrame
from connector.packing.frame import Column
from connector.records import Sample

Columns: TypeAlias = Mapping[str, Column]
"""Input ID → samples."""


class SeparatedColumns(NamedTuple):
    """The samples of a frame in two parts."""

    named: Columns
    """The samples that the server named as bad."""
    others: Columns


class RecordSamples(NamedTuple):
    """The samples of one record."""

    token: int
    """Leads back to the record (see `ledger.progress`)."""
    samples: list[Sample]


def values_in(columns: Columns) -> int:
    """The number of values, including values that a later value of the same time replaces."""
    return sum(len(column.times) for column in columns.values())


def split_columns(columns: Columns, n: int) -> tuple[Columns, Columns]:
    """(the first `n` values, counted column after column; all other values)."""
    first: dict[str, Column] = {}
    rest: dict[str, Column] = {}
    for input_id, column in columns.items():
        size = len(column.times)
        if size <= n:
            first[input_id] = column
        elif n > 0:
            first[input_id], rest[input_id] = column.head(n), column.tail(n)
        else:
            rest[input_id] = column
        n -= min(n, size)
    return first, rest


def joined(first: Columns, second: Columns) -> Columns:
    """The values of both. In a column that both have, the values of `first` come before the values of `second`."""
    both = dict(first)
    for input_id, column in second.items():
        mine = both.get(input_id)
        if mine is None:
            both[input_id] = column
        else:
            both[input_id] = Column(mine.times + column.times, mine.values + column.values, mine.tokens + column.tokens)
    return both


def rows_of(columns: Columns) -> list[int]:
    """The times of the rows of a frame of these columns, in µs since the epoch, rising."""
    return sorted(set().union(*(column.times for column in columns.values())))


def without_named(columns: Columns, named: NamedInFrame) -> SeparatedColumns:
    """Separate the samples that the server named from the others.

    A named cell stands for every value of its input at its time.
    """
    rows = rows_of(columns)
    lost_rows = {rows[index] for index in named.rows}
    lost_cells: dict[str, set[int]] = {}
    for input_id, index in named.cells:
        lost_cells.setdefault(input_id, set()).add(rows[index])
    bad: dict[str, Column] = {}
    good: dict[str, Column] = {}
    for input_id, column in columns.items():
        if input_id in named.series:
            bad[input_id] = column
            continue
        lost = lost_rows | lost_cells.get(input_id, set())
        for taken, is_bad in ((bad, True), (good, False)):
            found = _at(column, [i for i, time_us in enumerate(column.times) if (time_us in lost) is is_bad])
            if found is not None:
                taken[input_id] = found
    return SeparatedColumns(bad, good)


def by_record(columns: Columns) -> Iterator[RecordSamples]:
    """The samples of each record, the tokens rising. Needs only a few bytes of memory for each sample."""
    inputs = list(columns)
    starts: list[int] = []
    tokens = array("q")
    for column in columns.values():
        starts.append(len(tokens))
        tokens.extend(column.tokens)

    def sample(at: int) -> Sample:
        number = bisect_right(starts, at) - 1
        column = columns[inputs[number]]
        return inputs[number], column.times[at - starts[number]], column.values[at - starts[number]]

    for token, places in groupby(sorted(range(len(tokens)), key=tokens.__getitem__), key=tokens.__getitem__):
        yield RecordSamples(token, [sample(at) for at in places])


def _at(column: Column, indexes: Sequence[int]) -> Column | None:
    """The samples with these indexes; None if there are none."""
    if len(indexes) == len(column.times):
        return column
    if not indexes:
        return None
    return Column(
        array("q", (column.times[i] for i in indexes)),
        array("d", (column.values[i] for i in indexes)),
        array("q", (column.tokens[i] for i in indexes)),
    )
