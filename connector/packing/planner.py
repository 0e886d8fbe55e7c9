"""The planner: chooses the waiting samples that make the next frame.

The planner runs when a request may be sent. It looks at all samples that wait, and depends on nothing else: the same
tables and the same time give the same plan. The frame has at most `max_bytes`, exact to the byte: sizes are computed
from the digits.

    bytes = envelope + times + keys + digits + commas + 5 · (R · C - samples)      R rows, C series

Groups. Tables with the same times make a *group*: they cost each other no nulls.

The oldest group is always in the frame, so that no group starves. The whole group is taken if it fits, else its oldest
rows.

The remaining room is for the groups with the greatest worth: the fit of the group to the frame, times its age. A group
of r rows and c series added to a frame of R rows and C series costs 5 · (r · C + R · c) bytes of nulls. The group uses
√(r · c) of the capacity of a frame with its proportion. The cost for this use is least if r : c = R : C. So a frame is
filled with whole backlogs of few series, not with small parts of many series; and groups of the same proportion are
compared by their age alone.

Groups that are too large for the remaining room stay for a later frame. Only if much room remains, one of them is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from math import floor, log2, sqrt
from types import MappingProxyType
from typing import Final, Protocol

from connector.packing.encoder import encode_values, time_bytes, value_bytes
from connector.packing.frame import ENVELOPE, NULL, Texts
from connector.packing.pending import Pending, TableRows
from connector.packing.table import Table

_KEY_BYTES: Final = len('"":[],')
"""Bytes of a series beside its name and its cells."""
_QUOTES: Final = len('"",')
_LEAST_TIME: Final = len("2026-11-01T00:00:00Z")
_MAX_MISFITS: Final = 24
"""After this number of groups that did not fit, the frame counts as full."""
_GROWN: Final = 1.04
"""The proportions are ranked again when rows plus series of the frame have grown by this factor."""
_FULL: Final = 0.9
"""A frame that is filled less than this share has room for a part of a group that did not fit."""
_WORTH_CUTTING: Final = 0.25
"""The least share of the rows of a group for which it is cut: for less it is not worth to send its keys twice."""
_PATIENCE_SECONDS: Final = 1.0
"""Added to each age, so that the age of a group that has just come is not zero."""
_BLOCK_ROWS: Final = 1024
"""Rows whose size is computed at a time."""
_WORTH_KEEPING: Final = 16
"""From so many rows on, the text of the values is kept for the frame."""
_STEPS: Final = 8
"""Number of classes of proportions between one proportion and its double."""


_AlikeGroups = list[int]
"""The numbers of groups of about the same proportion of rows to series, the oldest last."""


class FramePlan(list[TableRows]):
    """The rows of the next frame, for each table."""

    def __init__(
        self,
        rows: Sequence[TableRows] = (),
        size: int = 0,
        left: int | None = None,
        texts: Mapping[Table, Texts] = MappingProxyType({}),
    ) -> None:
        super().__init__(rows)
        self.size = size
        """The length of the frame in bytes."""
        self.left = left
        """The rank of the oldest record with samples that stay; None if the frame takes all samples."""
        self.texts = texts
        """The values of some tables, as the frame will have them."""


class Planner(Protocol):
    """Plans the next frame, as `plan_frame` does."""

    def __call__(self, pending: Pending, max_bytes: int, now: float, /) -> FramePlan:
        """Returns the plan of a frame of at most `max_bytes`; `now` is in seconds of the clock of `pending`."""


class _Group:
    """Tables with the same times."""

    __slots__ = ("rows", "series", "tables")

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self.rows = tables[0].rows
        self.series = sum(table.width for table in tables)

    @property
    def key_bytes(self) -> int:
        """Bytes of the names and brackets of its series, with a comma after each."""
        return sum(_KEY_BYTES * table.width + sum(map(len, table.inputs)) for table in self.tables)

    def part(self, rows: int) -> list[TableRows]:
        """The first rows of each of its tables."""
        return [(table, rows) for table in self.tables]


class _Size:
    """The exact size of the frame that is being filled."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._times: set[int] = set()
        self._samples = 0
        self.texts: dict[Table, Texts] = {}
        """The values of the tables with many rows, whose size was computed by writing them."""
        self._fixed = ENVELOPE - 2  # no comma after the last time and the last series
        self.series = 0

    @property
    def rows(self) -> int:
        """Rows of the frame so far."""
        return len(self._times)

    @property
    def total(self) -> int:
        """The length of the frame so far, in bytes."""
        return _total(self.rows, self.series, self._samples, self._fixed)

    def take(self, group: _Group, rows: int) -> bool:
        """Add the first rows of this group if the frame then has at most `max_bytes`. Returns whether they fit."""
        whole = rows == group.rows
        times = group.tables[0].times if whole else group.tables[0].times[:rows]
        distinct = set(times)
        new = distinct - self._times if self._times else distinct
        cells = len(distinct) * group.series
        total_rows, series = self.rows + len(new), self.series + group.series
        samples = self._samples + cells
        fixed = self._fixed + group.key_bytes + len(new) * _QUOTES
        if _total(total_rows, series, samples, fixed + len(new) * _LEAST_TIME + cells) > self.max_bytes:
            return False  # known without the digits of the values
        kept = None if len(distinct) == rows else {time_us: row for row, time_us in enumerate(times)}.values()
        fixed += time_bytes(new)
        texts: dict[Table, Texts] = {}
        for table in group.tables:
            width, values = table.width, table.values
            if kept is not None:
                fixed += sum(value_bytes(values[row * width : (row + 1) * width]) for row in kept)
                continue
            if not whole:
                values = values[: rows * width]
            if rows < _WORTH_KEEPING:
                fixed += value_bytes(values)
            else:
                texts[table] = [encode_values(values[i::width].tolist()) for i in range(width)]
                fixed += sum(map(len, texts[table])) - width * (rows - 1)
        if _total(total_rows, series, samples, fixed) > self.max_bytes:
            return False
        if self._times:
            self._times |= new
        else:
            self._times = new
        self.series, self._samples, self._fixed = series, samples, fixed
        self.texts |= texts
        return True

    def most_rows(self, group: _Group) -> int:
        """Returns the number of rows of the group that fit, from the first row on.

        The number may be a little too low if a time appears twice.
        """
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
    """The length in bytes: a cell is `null,` or digits and a comma, and the last cell of a series has no comma."""
    return fixed + NULL * (rows * series - samples) + samples - series


class _Candidates:
    """The groups that may still go into the frame, in classes of about the same proportion of rows to series."""

    def __init__(self, pending: Pending, now: float) -> None:
        self._pending = pending
        self._now = now
        self._tables, self._rows, self._ranks, self._members = pending.groups()
        self._classes = self._in_classes()

    def __bool__(self) -> bool:
        return any(self._classes)

    def pop_oldest(self) -> _Group:
        """Remove and return the group that has waited longest."""
        return self.pop(min(filter(None, self._classes), key=lambda groups: self._ranks[groups[-1]]))

    def pop(self, groups: _AlikeGroups) -> _Group:
        """Remove and return the oldest of these groups."""
        return self._group(groups.pop())

    def oldest_ranks(self) -> Iterator[int]:
        """The rank of the oldest group of each class."""
        return (self._ranks[groups[-1]] for groups in self._classes if groups)

    def ranked(self, size: _Size) -> list[tuple[float, int, _AlikeGroups]]:
        """A heap of (negative worth, number, class), for the classes that are not empty."""
        heap = [(-self.worth(groups, size), i, groups) for i, groups in enumerate(self._classes) if groups]
        heapify(heap)
        return heap

    def worth(self, groups: _AlikeGroups, size: _Size) -> float:
        """Returns the worth of the oldest of these groups: its fit to the frame, times its age."""
        number = groups[-1]
        age = max(0.0, self._now - self._pending.arrived(self._ranks[number])) + _PATIENCE_SECONDS
        table = self._tables[number]
        proportion = sqrt(self._rows[number] * size.series / (self._series(number, table) * size.rows))
        return age / (proportion + 1 / proportion)

    def _group(self, number: int) -> _Group:
        return _Group(self._members.get(number) or [self._tables[number]])

    def _series(self, number: int, table: Table) -> int:
        members = self._members.get(number)
        return table.width if members is None else sum(table.width for table in members)

    def _in_classes(self) -> list[_AlikeGroups]:
        """All groups in classes. The logarithm is computed once for each pair of rows and series."""
        known: dict[int, _AlikeGroups] = {}
        classes: dict[int, _AlikeGroups] = {}
        members = self._members
        for number, table in enumerate(self._tables):
            rows, series = self._rows[number], table.width
            if members and number in members:
                series = self._series(number, table)
            groups = known.get(rows << 32 | series)
            if groups is None:
                groups = classes.setdefault(floor(_STEPS * log2(rows / series)), [])
                known[rows << 32 | series] = groups
            groups.append(number)
        for groups in classes.values():
            groups.sort(key=self._ranks.__getitem__, reverse=True)
        return list(classes.values())


def plan_frame(pending: Pending, max_bytes: int, now: float) -> FramePlan:
    """The plan of the next frame: empty if nothing waits, else with at least one sample.

    The frame has at most `max_bytes`, unless a single sample alone is longer. A table with rows that are too long for a
    frame is split in `pending`. `now` is on the clock by which the samples arrived, in seconds.
    """
    candidates = _Candidates(pending, now)
    if not candidates:
        return FramePlan()
    size = _Size(max_bytes)
    oldest = candidates.pop_oldest()
    if size.take(oldest, oldest.rows):
        parts = oldest.part(oldest.rows)
        misfits = _fill(parts, size, candidates)
    else:
        parts = _first_part(pending, size, oldest)
        misfits = [oldest]
    left = min(_left(parts, misfits, candidates, pending), default=None)
    return FramePlan(parts, size.total, left, size.texts)


def _left(parts: list[TableRows], misfits: list[_Group], candidates: _Candidates, pending: Pending) -> Iterator[int]:
    """Ranks of records with samples that stay; the oldest such record is among them."""
    yield from candidates.oldest_ranks()
    if misfits:
        going = dict(parts)
        for table in (table for group in misfits for table in group.tables):
            if (rows := going.get(table, 0)) < table.rows:
                yield pending.rank(table.token(rows))


def _fill(parts: list[TableRows], size: _Size, candidates: _Candidates) -> list[_Group]:
    """Fill the frame with the groups of the greatest worth. Returns the groups that did not fit, or not as a whole."""
    misfits: list[_Group] = []
    ranked: list[tuple[float, int, _AlikeGroups]] = []
    rank_at = 0.0
    while len(misfits) < _MAX_MISFITS:
        if size.rows + size.series >= rank_at:
            ranked = candidates.ranked(size)
            rank_at = (size.rows + size.series) * _GROWN
        if not ranked:
            break
        _, i, groups = ranked[0]
        group = candidates.pop(groups)
        if size.take(group, group.rows):
            parts += group.part(group.rows)
        else:
            misfits.append(group)
        if groups:
            heapreplace(ranked, (-candidates.worth(groups, size), i, groups))
        else:
            heappop(ranked)
    for group in misfits:
        if size.total >= _FULL * size.max_bytes:
            break
        rows = size.most_rows(group)
        if rows >= group.rows * _WORTH_CUTTING and size.take(group, rows):
            parts += group.part(rows)
            break
    return misfits


def _first_part(pending: Pending, size: _Size, group: _Group) -> list[TableRows]:
    """Returns the part of a too large group that makes a frame alone.

    The part has fewer series if sending the names again would cost more than sending the times again, else fewer rows.
    """
    parts: list[TableRows] = []
    group.tables.sort(key=lambda table: pending.rank(table.token(0)))
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
