"""The planner: which waiting samples make the next frame.

It runs when a request slot is open, over all that waits, and depends on nothing else: the same tables and the same
time give the same plan. Its frame is at most `max_bytes` long, to the byte: sizes are computed from the digits.

    bytes = envelope + times + keys + digits + commas + 5 · (R · C - samples)      R rows, C series

Tables that have the same times make a *group*: they cost each other no nulls. The group that has waited longest
always goes, whole if it fits and else from its oldest rows on, so that nothing starves. What room is left goes to the
groups that fit the frame best, times their age. A group of r rows and c series costs a frame of R rows and C series
5 · (r · C + R · c) bytes of nulls; it takes up √(r · c) of what a frame can hold of its like, so what it costs for
that is least where r : c = R : C. That is how a frame is filled with whole backlogs of few series rather than with
slivers of many, and why groups of one proportion are compared by their age alone. Groups that are too large for what
room is left stay for a later frame; only if much is left, one of them is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from math import floor, log2, sqrt
from typing import Final

from connector.packing.encoder import time_bytes, value_bytes
from connector.packing.frame import ENVELOPE, NULL
from connector.packing.pending import Pending, Table

Part = tuple[Table, int]
"""A table, and how many of its rows go, from the oldest arrival on."""

_KEY_BYTES: Final = len('"":[],')
_QUOTES: Final = len('"",')
_LEAST_TIME: Final = len("2026-11-01T00:00:00Z")
_REFUSALS: Final = 24
"""Groups that did not fit, after which the frame counts as full."""
_GROWN: Final = 1.04
"""Kinds are ranked anew when the frame has grown by this factor."""
_FULL: Final = 0.9
"""A frame that is filled less than this has room for a part of a group that did not fit."""
_WORTH_CUTTING: Final = 0.25
"""Share of a group's rows that has to fit; less is not worth paying its keys twice."""
_PATIENCE_SECONDS: Final = 1.0
"""Added to each age, so that what has just come counts at all."""
_BLOCK_ROWS: Final = 1024
_STEPS: Final = 8
"""Kinds between one proportion and its double."""


_Kind = list[int]
"""Groups of about the same proportion of rows to series, by number, the oldest last."""


class Plan(list[Part]):
    """What goes into the next frame."""

    def __init__(self, parts: Sequence[Part] = (), size: int = 0, left: int | None = None) -> None:
        super().__init__(parts)
        self.size = size
        """The frame's length in bytes."""
        self.left = left
        """The rank of the oldest record that is not in it, or not all of it; None if this is all that waits."""


class _Group:
    """Tables that have the same times."""

    __slots__ = ("rows", "series", "tables")

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self.rows = len(tables[0].times)
        self.series = sum(table.width for table in tables)

    @property
    def key_bytes(self) -> int:
        """Bytes of its series' names and brackets, with a comma behind each."""
        return sum(_KEY_BYTES * table.width + sum(map(len, table.inputs)) for table in self.tables)

    def part(self, rows: int) -> list[Part]:
        """The first rows of its tables."""
        return [(table, rows) for table in self.tables]


class _Size:
    """The exact size of the frame that is being filled."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._times: set[int] = set()
        self._samples = 0
        self._fixed = ENVELOPE - 2  # the commas behind the last time and the last series are not written
        self.series = 0

    @property
    def rows(self) -> int:
        """Times in it."""
        return len(self._times)

    @property
    def total(self) -> int:
        """Its length so far, in bytes."""
        return _total(self.rows, self.series, self._samples, self._fixed)

    def take(self, group: _Group, rows: int) -> bool:
        """Take the first rows of this group in if the frame then has at most `max_bytes`; says whether it did."""
        whole = rows == group.rows
        times = group.tables[0].times if whole else group.tables[0].times[:rows]
        distinct = set(times)
        new = distinct - self._times
        cells = len(distinct) * group.series
        total_rows, series = self.rows + len(new), self.series + group.series
        samples = self._samples + cells
        fixed = self._fixed + group.key_bytes + len(new) * _QUOTES
        if _total(total_rows, series, samples, fixed + len(new) * _LEAST_TIME + cells) > self.max_bytes:
            return False  # without looking at the digits
        kept = None if len(distinct) == rows else {time_us: row for row, time_us in enumerate(times)}.values()
        fixed += time_bytes(new)
        for table in group.tables:
            if kept is not None:
                fixed += sum(value_bytes(table.values[row * table.width : (row + 1) * table.width]) for row in kept)
            else:
                fixed += value_bytes(table.values if whole else table.values[: rows * table.width])
        if _total(total_rows, series, samples, fixed) > self.max_bytes:
            return False
        self._times |= new
        self.series, self._samples, self._fixed = series, samples, fixed
        return True

    def most_rows(self, group: _Group) -> int:
        """How many of the group's first rows fit; where a time stands twice, perhaps some fewer."""
        left = self.max_bytes - self.total - group.key_bytes - NULL * self.rows * group.series + group.series
        rows, block = 0, min(_BLOCK_ROWS, group.rows)
        while block and rows < group.rows:
            block = min(block, group.rows - rows)
            new = [time_us for time_us in group.tables[0].times[rows : rows + block] if time_us not in self._times]
            size = time_bytes(new) + len(new) * (_QUOTES + NULL * self.series)
            size += (block - len(new)) * -(NULL - 1) * group.series + len(new) * group.series
            for table in group.tables:
                size += value_bytes(table.values[rows * table.width : (rows + block) * table.width])
            if size <= left:
                left -= size
                rows += block
            else:
                block //= 2
        return rows


def _total(rows: int, series: int, samples: int, fixed: int) -> int:
    """A cell is `null,` or digits and a comma; the last one of a series has no comma."""
    return fixed + NULL * (rows * series - samples) + samples - series


class _Choice:
    """The groups that may go into the frame."""

    def __init__(self, pending: Pending, now: float) -> None:
        self._pending = pending
        self._now = now
        self._tables, self._together = pending.groups()
        self._ranks = pending.first_ranks(self._tables)
        for number, tables in self._together.items():
            self._ranks[number] = min(pending.first_ranks(tables))
        self._kinds = self._by_kind()

    def __bool__(self) -> bool:
        return any(self._kinds)

    def pop_oldest(self) -> _Group:
        """The group that has waited longest."""
        return self.pop(min(filter(None, self._kinds), key=lambda kind: self._ranks[kind[-1]]))

    def pop(self, kind: _Kind) -> _Group:
        """The oldest group of this kind."""
        return self._group(kind.pop())

    def oldest_ranks(self) -> Iterator[int]:
        """The rank of the oldest group of each kind."""
        return (self._ranks[kind[-1]] for kind in self._kinds if kind)

    def ranked(self, size: _Size) -> list[tuple[float, int, _Kind]]:
        """The kinds with what they are worth, as a heap."""
        heap = [(-self.worth(kind, size), i, kind) for i, kind in enumerate(self._kinds) if kind]
        heapify(heap)
        return heap

    def worth(self, kind: _Kind, size: _Size) -> float:
        """How well the oldest group of this kind fits this frame, times its age."""
        number = kind[-1]
        age = max(0.0, self._now - self._pending.arrived(self._ranks[number])) + _PATIENCE_SECONDS
        table = self._tables[number]
        proportion = sqrt(len(table.times) * size.series / (self._series(number, table) * size.rows))
        return age / (proportion + 1 / proportion)

    def _group(self, number: int) -> _Group:
        return _Group(self._together.get(number) or [self._tables[number]])

    def _series(self, number: int, table: Table) -> int:
        together = self._together.get(number)
        return table.width if together is None else sum(table.width for table in together)

    def _by_kind(self) -> list[_Kind]:
        """Groups that are like an earlier one have its kind: the logarithm is needed seldom."""
        like: dict[int, _Kind] = {}
        kinds: dict[int, _Kind] = {}
        together = self._together
        for number, table in enumerate(self._tables):
            rows, series = len(table.times), table.width
            if together and number in together:
                series = self._series(number, table)
            kind = like.get(rows << 32 | series)
            if kind is None:
                kind = kinds.setdefault(floor(_STEPS * log2(rows / series)), [])
                like[rows << 32 | series] = kind
            kind.append(number)
        for kind in kinds.values():
            kind.sort(key=self._ranks.__getitem__, reverse=True)
        return list(kinds.values())


def plan_frame(pending: Pending, max_bytes: int, now: float) -> Plan:
    """The next frame's plan out of what waits: empty if nothing waits, else of at least one sample. Its frame has at
    most `max_bytes`, unless a single sample alone has more. A table of which not even a row fits is split.

    `now` is on the clock by which the samples arrived, in seconds.
    """
    choice = _Choice(pending, now)
    if not choice:
        return Plan()
    size = _Size(max_bytes)
    oldest = choice.pop_oldest()
    if size.take(oldest, oldest.rows):
        parts = oldest.part(oldest.rows)
        refused = _fill(parts, size, choice)
    else:
        parts = _first_part(pending, size, oldest)
        refused = [oldest]
    return Plan(parts, size.total, min(_left(parts, refused, choice, pending), default=None))


def _left(parts: list[Part], refused: list[_Group], choice: _Choice, pending: Pending) -> Iterator[int]:
    """Ranks of records that are left, the oldest among them."""
    yield from choice.oldest_ranks()
    if refused:
        going = dict(parts)
        for table in (table for group in refused for table in group.tables):
            if (rows := going.get(table, 0)) < len(table.tokens):
                yield pending.rank(table.tokens[rows])


def _fill(parts: list[Part], size: _Size, choice: _Choice) -> list[_Group]:
    """Fill the frame with what is worth most; gives back the groups that did not fit, or not all of them."""
    refused: list[_Group] = []
    ranked: list[tuple[float, int, _Kind]] = []
    rank_at = 0.0
    while len(refused) < _REFUSALS:
        if size.rows + size.series >= rank_at:
            ranked = choice.ranked(size)
            rank_at = (size.rows + size.series) * _GROWN
        if not ranked:
            break
        _, i, kind = ranked[0]
        group = choice.pop(kind)
        if size.take(group, group.rows):
            parts += group.part(group.rows)
        else:
            refused.append(group)
        if kind:
            heapreplace(ranked, (-choice.worth(kind, size), i, kind))
        else:
            heappop(ranked)
    for group in refused:
        if size.total >= _FULL * size.max_bytes:
            break
        rows = size.most_rows(group)
        if rows >= group.rows * _WORTH_CUTTING and size.take(group, rows):
            parts += group.part(rows)
            break
    return refused


def _first_part(pending: Pending, size: _Size, group: _Group) -> list[Part]:
    """What goes of a group that is too large for a frame: fewer series where their names are most of what is paid
    twice, else fewer rows."""
    parts: list[Part] = []
    group.tables.sort(key=lambda table: pending.rank(table.tokens[0]))
    if group.key_bytes > group.rows * (_LEAST_TIME + _QUOTES):
        for table in group.tables:
            if not size.take(_Group([table]), group.rows):
                break
            parts.append((table, group.rows))
    if parts:
        return parts
    if (rows := size.most_rows(group)) and size.take(group, rows):
        return group.part(rows)
    table = group.tables[0]
    while not size.take(_Group([table]), 1):
        if table.width == 1:
            return [(table, 1)]  # a single sample always goes: the configuration keeps max_bytes large enough
        table = pending.split(table, table.inputs[: table.width // 2])
    return [(table, 1)]
