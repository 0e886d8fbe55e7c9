"""Pieces of a frame that Clarify does not take: cut in two, joined again, and without what is to be set aside.

A piece is columns, as a frame has them. The order within a column is the order of arrival, and no operation
changes it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from connector.clarify import NamedInFrame
from connector.packing.frame import Column

Columns: TypeAlias = Mapping[str, Column]


def values_in(columns: Columns) -> int:
    """How many values these columns hold, those that a later one replaces included."""
    return sum(len(column.times) for column in columns.values())


def cut(columns: Columns, n: int) -> tuple[Columns, Columns]:
    """The first `n` values, column by column, and the others."""
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
    """The values of both; in a column that both have, those of the first stand before those of the second."""
    both = dict(first)
    for input_id, column in second.items():
        mine = both.get(input_id)
        if mine is None:
            both[input_id] = column
        else:
            both[input_id] = Column(mine.times + column.times, mine.values + column.values, mine.tokens + column.tokens)
    return both


def rows_of(columns: Columns) -> list[int]:
    """The times of the rows of these columns' frame, in µs."""
    return sorted(set().union(*(column.times for column in columns.values())))


def without_named(columns: Columns, named: NamedInFrame) -> tuple[Columns, Columns]:
    """(what is named, the others). A cell stands for every value of its input at its time."""
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
    return bad, good


def by_record(columns: Columns) -> Iterator[tuple[int, list[tuple[str, int, float]]]]:
    """Token → the samples of its record, (input ID, time in µs, value); the tokens rising. Takes a few bytes a sample,
    however many there are."""
    inputs = list(columns)
    starts: list[int] = []
    tokens = array("q")
    for column in columns.values():
        starts.append(len(tokens))
        tokens.extend(column.tokens)

    def sample(at: int) -> tuple[str, int, float]:
        number = bisect_right(starts, at) - 1
        column = columns[inputs[number]]
        return inputs[number], column.times[at - starts[number]], column.values[at - starts[number]]

    for token, places in groupby(sorted(range(len(tokens)), key=tokens.__getitem__), key=tokens.__getitem__):
        yield token, [sample(at) for at in places]


def _at(column: Column, indexes: Sequence[int]) -> Column | None:
    """The values at these places; None if there are none."""
    if len(indexes) == len(column.times):
        return column
    if not indexes:
        return None
    return Column(
        array("q", (column.times[i] for i in indexes)),
        array("d", (column.values[i] for i in indexes)),
        array("q", (column.tokens[i] for i in indexes)),
    )
