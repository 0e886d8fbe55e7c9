"""All samples that wait, in tables.

A *table* holds inputs whose samples come together: each row has one time, one token, and one value for each input.
Inputs that are seen together for the first time become a table. When a record has only some inputs of a table, the
table is split. So tables get finer until every record fills whole tables, and no table has a hole: a device that always
sends the same values ends as one table, and a device that sends single values ends as one table for each input.

An input is in one table at any time, and the rows of a table stay in their order of arrival. So a later value never
leaves before an earlier one.

A *token* is a number that leads back to a record (see `ledger.progress`). Tokens rise with the order of arrival. A
*bundle* is one sample that stands for the values of several records, such as the mean over a window; its token is
negative. The *rank* of a token is its place in the order of arrival.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from connector.packing.frame import RowBlock, Texts
from connector.packing.last_values import LastValue, LastValues, last_of
from connector.packing.overwrites import Overwrite
from connector.packing.table import FEW_BYTES, LANDMARKS, ROW_BYTES, Table, pack_row, times_of, unpack_row, values_of
from connector.records import Mapped, Part, Rows, Sample

_MOST_OVERWRITES: Final = 1_000
_SPREAD: Final = 1_000_003
_FORGET_ABOVE: Final = 10_000
"""Empty tables that are kept in any case, since most of them fill again soon."""

TableRows: TypeAlias = tuple[Table, int]
"""A table, and how many of its rows, from the oldest arrival on. A bare tuple: a frame may have 100,000 of them."""


class RowCount(NamedTuple):
    """Rows that left a table."""

    inputs: tuple[str, ...]
    rows: int


class TableGroups(NamedTuple):
    """Tables in which samples wait, grouped by equal times. Most tables are alone in their group, and there may be
    100,000 of them: nothing is made for each of these."""

    first: list[Table]
    """The first table of each group."""
    rows: list[int]
    """The number of rows of each group."""
    ranks: list[int]
    """The rank of the oldest row of each group."""
    members: dict[int, list[Table]]
    """Position in `first` → all tables of the group; only groups of more than one table."""


class Pending:
    """The samples that wait. Not safe for threads: the caller holds a lock."""

    def __init__(self) -> None:
        self.waiting = 0
        """Samples in the tables."""
        self._table_of: dict[str, Table] = {}
        """Input ID → the table that holds the input."""
        self._tables: list[Table] = []
        """All tables, also empty ones, in the order in which they were made; `_all` leaves out those in `_split`."""
        self._split: set[Table] = set()
        """Tables of which others were made."""
        self._arrival_ranks: array[int] = array("q")
        """The rank of the first record of each chunk that was added."""
        self._arrivals: array[float] = array("d")
        """When that chunk arrived, on the caller's clock, in seconds; same places as in `_arrival_ranks`."""
        self._ranks: dict[int, int] = {}
        """Token of a bundle → rank."""
        self._next_rank = 0
        self.forgotten = LastValues()
        """The last values of the tables that were forgotten."""
        self.overwritten: list[Overwrite] = []
        """Values that replace values of rows that were taken out before; the caller empties the list."""

    def add(self, token: int, parts: Iterable[Part], now: float) -> None:
        """Add the samples of a chunk; `now` is in seconds of the caller's clock.

        `token` is the token of the first record, `token + 1` of the second record, and so on. Tokens must rise from
        call to call. A negative token belongs to a bundle; its rank is its place in the order of arrival.
        """
        if token < 0:
            self._add_bundle(token, parts, now)
            return
        added, last = 0, -1
        for index, part in parts:
            if type(part) is Rows:
                self._add_rows(token, part)
                added += len(part.inputs) * len(part.indexes)
                last = max(last, part.indexes[-1])
            elif part.samples:
                self._add_samples(token + index, part.samples)
                added += len(part.samples)
                last = max(last, index)
        if added:
            self.waiting += added
            self._arrival_ranks.append(token)
            self._arrivals.append(now)
            self._next_rank = token + last + 1

    def rank(self, token: int) -> int:
        """The place of a record or bundle in the order of arrival; the rank of a record is its token."""
        return token if token >= 0 else self._ranks[token]

    def first_ranks(self, tables: Sequence[Table]) -> list[int]:
        """The rank of the first row of each table; no table may be empty."""
        return [self.rank(table.token(0)) for table in tables]

    def tables(self) -> Iterator[Table]:
        """The tables in which samples wait, always in the same order."""
        return (table for table in self._all() if table.rows)

    def groups(self) -> TableGroups:
        """The tables in which samples wait, grouped by equal times. Forgets empty tables if there are very many."""
        found: list[Table] = []
        counts: list[int] = []
        tokens: list[int] = []
        numbers: dict[int, int] = {}
        """A number out of three of the times → the first group with this number."""
        others: dict[bytes, int] = {}
        """All times → the group, for the groups that have a number of an earlier group."""
        members: dict[int, list[Table]] = {}
        for table in self._all():
            stored = table.stored
            if type(stored) is bytes:  # not `isinstance`: there may be 100,000 tables
                if not stored:
                    continue
                rows = len(stored) // ROW_BYTES
                if rows > 2:
                    first, token, middle, last = LANDMARKS[rows](stored)
                else:
                    first, token, _ = unpack_row(stored[:ROW_BYTES])
                    middle = last = times_of(stored)[-1]
            else:
                rows, times = table.rows, table.times
                first, token, middle, last = times[0], table.token(0), times[rows // 2], times[-1]
            number = numbers.setdefault(first * _SPREAD + middle * 31 + last, len(found))
            if number < len(found) and not table.has_times_of(found[number]):
                number = others.setdefault(table.times.tobytes(), len(found))
            if number == len(found):
                found.append(table)
                counts.append(rows)
                tokens.append(token)
            else:
                members.setdefault(number, [found[number]]).append(table)
        ranks = tokens if not self._ranks else [self.rank(token) for token in tokens]
        for number, alike in members.items():
            ranks[number] = min(self.first_ranks(alike))
        if len(self._tables) > 2 * len(found) + _FORGET_ABOVE + sum(map(len, members.values())):
            self._forget_empty()
        return TableGroups(found, counts, ranks, members)

    def arrived(self, rank: int) -> float:
        """Returns the time of arrival of the record with this rank, in seconds of the caller's clock.

        A sample of this record must be waiting.
        """
        return self._arrivals[bisect_right(self._arrival_ranks, rank) - 1]

    def oldest(self) -> float | None:
        """Returns the time of arrival of the oldest waiting sample, in seconds; None if no sample waits."""
        ranks = self.first_ranks(list(self.tables()))
        return self.arrived(min(ranks)) if ranks else None

    def take(self, plan: Iterable[TableRows], texts: Mapping[Table, Texts] = MappingProxyType({})) -> list[RowBlock]:
        """Take the planned rows out of the tables; `texts` has the values of some tables, if they are written."""
        taken = []
        for table, rows in plan:
            recent = table.recent
            recent_times = times_of(recent)
            block = table.take(rows)
            times = block.times
            if (
                recent_times
                and times
                and (
                    times[0] <= recent_times[-1]
                    or (len(times) + len(recent_times) > 2 and min(times) <= max(recent_times))
                )
            ):
                self._overwrite(block, recent_times, values_of(recent))
            taken.append(replace(block, texts=texts[table]) if table in texts else block)
        self.waiting -= sum(block.samples for block in taken)
        if self._ranks:
            self._forget_bundles(token for block in taken for token in block.tokens)
        return taken

    def _overwrite(self, block: RowBlock, times: Sequence[int], values: Sequence[float]) -> None:
        """Note the values of a block that replace values in the rows with these times, which were taken out before."""
        width, last = len(block.inputs), {time_us: row for row, time_us in enumerate(times)}
        if last.keys().isdisjoint(block.times):
            return
        for row, time_us in enumerate(block.times):
            before = last.pop(time_us, None)  # a further row with this time replaces a row of the same block
            if before is None:
                continue
            for i, input_id in enumerate(block.inputs):
                old, new = values[before * width + i], block.values[row * width + i]
                if old != new and len(self.overwritten) < _MOST_OVERWRITES:
                    self.overwritten.append(Overwrite(input_id, time_us, old, new, block.tokens[row]))

    def forget_before(self, rank: int | None) -> None:
        """Forget the times of arrival before this rank, because no sample of these records waits; None forgets all."""
        gone = len(self._arrivals) if rank is None else bisect_right(self._arrival_ranks, rank) - 1
        if gone * 2 > len(self._arrivals):
            del self._arrival_ranks[:gone], self._arrivals[:gone]

    def take_row_counts(self) -> list[RowCount]:
        """Returns, for each table, the number of rows that were taken out since the last call."""
        found = [RowCount(table.inputs, table.sent) for table in self._all()]
        for table in self._tables:
            table.sent = 0
        return found

    def last(self, input_id: str) -> LastValue | None:
        """Returns the last value of an input, whether it waits or was taken out; None if it is not kept."""
        table = self._table_of.get(input_id)
        found = None if table is None else dict(last_of(table)).get(input_id)
        return found or self.forgotten.of(input_id)

    def every_table(self) -> list[Table]:
        """Returns all tables, also those in which no sample waits."""
        return list(self._all())

    def drop(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the samples for whose token `lost` returns True; returns token → number of its dropped samples."""
        dropped: Counter[int] = Counter()
        for table in self._all():
            tokens = table.tokens
            kept = [i for i, token in enumerate(tokens) if not lost(token)]
            if len(kept) < len(tokens):
                for token in tokens:
                    if lost(token):
                        dropped[token] += table.width
                table.keep(kept)
        self.waiting -= dropped.total()
        if self._ranks:
            self._forget_bundles(dropped)
        return dropped

    def split(self, table: Table, inputs: Collection[str]) -> Table:
        """Divide a table in two; returns the table with `inputs`, and the other table has the other inputs."""
        parts = table.part(inputs), table.part([found for found in table.inputs if found not in inputs])
        self._split.add(table)
        for part in parts:
            self._tables.append(part)
            self._table_of.update(dict.fromkeys(part.inputs, part))
        return parts[0]

    # -- details ----------------------------------------------------------------------------------

    def _all(self) -> list[Table]:
        if self._split:
            self._tables = [table for table in self._tables if table not in self._split]
            self._split.clear()
        return self._tables

    def _add_rows(self, token: int, rows: Rows) -> None:
        inputs = rows.inputs
        table = self._table_of.get(inputs[0])
        first, last = token + rows.indexes[0], token + rows.indexes[-1]
        tokens: Sequence[int] = range(first, last + 1)
        if len(tokens) > len(rows.indexes):  # other records stand between
            tokens = [token + index for index in rows.indexes]
        values = rows.values()
        if table is not None and (table.names == inputs or table.width == len(inputs) == 1):
            table.extend(rows.times, tokens, values)
            return
        width, places = len(inputs), {input_id: i for i, input_id in enumerate(inputs)}
        for table in self._filled_by(inputs):
            some = array("d", bytes(8 * len(tokens) * table.width))
            for i, input_id in enumerate(table.inputs):
                some[i :: table.width] = values[places[input_id] :: width]
            table.extend(rows.times, tokens, some)

    def _add_samples(self, token: int, samples: Sequence[Sample]) -> None:
        table = self._table_of.get(samples[0][0])
        if table is not None and table.width == len(samples):
            if table.width == 1:
                _, time_us, value = samples[0]
                stored = table.stored
                if type(stored) is bytes and len(stored) < FEW_BYTES:  # `append`, written out
                    table.stored = stored + pack_row(time_us, token, value)
                else:
                    table.append(time_us, token, (value,))
                return
            inputs, times, values = zip(*samples, strict=True)
            if inputs == table.names and times.count(times[0]) == table.width:
                table.append(times[0], token, values)
                return
        self._add_one_by_one(token, samples)

    def _add_bundle(self, token: int, parts: Iterable[Part], now: float) -> None:
        """Add a bundle, which is a single sample."""
        self._ranks[token] = self._next_rank
        self._arrival_ranks.append(self._next_rank)
        self._arrivals.append(now)
        for _, part in parts:
            if isinstance(part, Mapped):
                self.waiting += len(part.samples)
                self._add_one_by_one(token, part.samples)

    def _forget_bundles(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if token < 0:
                del self._ranks[token]

    def _add_one_by_one(self, token: int, samples: Sequence[Sample]) -> None:
        """Add the samples of a record that do not fill exactly one table. Samples form a row while they have the same
        time and no input appears twice."""
        table_of = self._table_of
        row: dict[str, float] = {}
        row_us = 0
        for input_id, time_us, value in samples:
            table = table_of.get(input_id)
            if table is not None and table.width == 1 and input_id not in row:
                table.append(time_us, token, (value,))
                continue
            if row and (time_us != row_us or input_id in row):
                self._add_row(token, row_us, row)
                row = {}
            row_us = time_us
            row[input_id] = value
        if row:
            self._add_row(token, row_us, row)

    def _add_row(self, token: int, time_us: int, row: dict[str, float]) -> None:
        for table in self._filled_by(row):
            table.append(time_us, token, [row[input_id] for input_id in table.inputs])

    def _filled_by(self, inputs: Collection[str]) -> list[Table]:
        """Tables that hold exactly these inputs. Inputs that are seen for the first time get a new table, and a table
        that has other inputs as well is split."""
        table_of = self._table_of
        strangers = tuple(input_id for input_id in inputs if input_id not in table_of)
        if strangers:
            table = Table(strangers)
            self._tables.append(table)
            table_of.update(dict.fromkeys(strangers, table))
        found = []
        for table in dict.fromkeys(table_of[input_id] for input_id in inputs):
            some = [input_id for input_id in table.inputs if input_id in inputs]
            found.append(table if len(some) == table.width else self.split(table, frozenset(some)))
        return found

    def _forget_empty(self) -> None:
        self.forgotten.note(table for table in self._tables if not table.rows)
        for table in self._tables:
            if not table.rows:
                for input_id in table.inputs:
                    del self._table_of[input_id]
        self._tables = [table for table in self._tables if table.rows]
