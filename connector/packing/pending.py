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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from connector.packing.frame import RowBlock
from connector.packing.overwrites import Overwrite
from connector.records import Mapped, Part, Rows, Sample

_MOST_OVERWRITES: Final = 1_000
_RECENT_ROWS: Final = 16
"""Rows of a table that are remembered after they were taken out, for values that replace them."""
_FORGET_ABOVE: Final = 10_000
"""Empty tables that are kept in any case, since most of them fill again soon."""
_NO_TIMES: Final[array[int]] = array("q")

TableRows: TypeAlias = "tuple[Table, int]"
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
    members: dict[int, list[Table]]
    """Position in `first` → all tables of the group; only groups of more than one table."""


class Table:
    """Inputs whose samples come together, and the rows that wait. `values` has the rows one after the other."""

    __slots__ = (
        "_key",
        "_keyed",
        "inputs",
        "recent_times",
        "recent_values",
        "sent",
        "times",
        "tokens",
        "values",
        "width",
    )

    def __init__(self, inputs: tuple[str, ...]) -> None:
        self.inputs = inputs
        self.width = len(inputs)
        self.times: array[int] = array("q")
        """One for each row, in µs since the epoch, in order of arrival."""
        self.tokens: array[int] = array("q")
        """One for each row; rising."""
        self.values: array[float] = array("d")
        self.sent = 0
        """Rows taken out since `take_row_counts` was last called."""
        self.recent_times = _NO_TIMES
        """The times, in µs, of the last rows that were taken out at once, a bounded number; empty before the first."""
        self.recent_values = self.values
        """The values of these rows."""
        self._key = 0
        self._keyed = -1

    @property
    def key(self) -> int:
        """A hash of the times: equal for tables with the same times, and seldom equal for others."""
        if self._keyed != len(self.times):
            self._key = hash(self.times.tobytes())
            self._keyed = len(self.times)
        return self._key

    def append(self, time_us: int, token: int, values: Iterable[float]) -> None:
        """Add one row, with the values in the order of the inputs."""
        self.times.append(time_us)
        self.tokens.append(token)
        self.values.extend(values)

    def extend(self, times: Iterable[int], tokens: Iterable[int], values: array[float]) -> None:
        """Add several rows."""
        self.times.extend(times)
        self.tokens.extend(tokens)
        self.values.extend(values)

    def head(self, rows: int) -> RowBlock:
        """A copy of the first rows."""
        return RowBlock(self.inputs, self.times[:rows], self.tokens[:rows], self.values[: rows * self.width])

    def take(self, rows: int) -> RowBlock:
        """Take the first rows out."""
        if rows == len(self.times):
            taken = RowBlock(self.inputs, self.times, self.tokens, self.values)
            self.times, self.tokens, self.values = array("q"), array("q"), array("d")
        else:
            taken = self.head(rows)
            self.times, self.tokens = self.times[rows:], self.tokens[rows:]
            self.values = self.values[rows * self.width :]
        self._keyed = -1
        self.sent += rows
        if rows:
            self.recent_times = taken.times[-_RECENT_ROWS:]
            self.recent_values = taken.values[-_RECENT_ROWS * self.width :]
        return taken

    def keep(self, kept: Sequence[int]) -> None:
        """Keep only the rows with these indexes."""
        width, values = self.width, self.values
        self.times = array("q", [self.times[i] for i in kept])
        self.tokens = array("q", [self.tokens[i] for i in kept])
        self.values = array("d")
        for i in kept:
            self.values.extend(values[i * width : (i + 1) * width])
        self._keyed = -1

    def part(self, inputs: Collection[str]) -> Table:
        """A new table with these inputs of the table, and all of its rows."""
        chosen = [i for i, input_id in enumerate(self.inputs) if input_id in inputs]
        found = Table(tuple(self.inputs[i] for i in chosen))
        found.times, found.tokens = self.times[:], self.tokens[:]
        found.values = array("d", bytes(8 * len(self.times) * len(chosen)))
        for j, i in enumerate(chosen):
            found.values[j :: len(chosen)] = self.values[i :: self.width]
        found.sent = self.sent
        return found


class Pending:
    """The samples that wait. Not safe for threads: the caller holds a lock."""

    def __init__(self) -> None:
        self.waiting = 0
        """Samples in the tables."""
        self._table_of: dict[str, Table] = {}
        """Input ID → the table that holds the input."""
        self._tables: dict[Table, None] = {}
        """All tables, also empty ones, in the order in which they were made."""
        self._arrival_ranks: array[int] = array("q")
        """The rank of the first record of each chunk that was added."""
        self._arrivals: array[float] = array("d")
        """When that chunk arrived, on the caller's clock, in seconds; same places as in `_arrival_ranks`."""
        self._ranks: dict[int, int] = {}
        """Token of a bundle → rank."""
        self._next_rank = 0
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
        if self._ranks:
            return [self.rank(table.tokens[0]) for table in tables]
        return [table.tokens[0] for table in tables]

    def tables(self) -> Iterator[Table]:
        """The tables in which samples wait, always in the same order."""
        return (table for table in self._tables if table.times)

    def groups(self) -> TableGroups:
        """The tables in which samples wait, grouped by equal times. Forgets empty tables if there are very many."""
        found: list[Table] = []
        numbers: dict[int, int] = {}
        members: dict[int, list[Table]] = {}
        for table in self._tables:
            rows = len(table.times)
            if not rows:
                continue
            key = table._key if table._keyed == rows else table.key
            number = numbers.setdefault(key, len(found))
            if number == len(found) or found[number].times != table.times:
                found.append(table)
            else:
                members.setdefault(number, [found[number]]).append(table)
        if len(self._tables) > 2 * len(found) + _FORGET_ABOVE + sum(map(len, members.values())):
            self._forget_empty()
        return TableGroups(found, members)

    def arrived(self, rank: int) -> float:
        """Returns the time of arrival of the record with this rank, in seconds of the caller's clock.

        A sample of this record must be waiting.
        """
        return self._arrivals[bisect_right(self._arrival_ranks, rank) - 1]

    def oldest(self) -> float | None:
        """Returns the time of arrival of the oldest waiting sample, in seconds; None if no sample waits."""
        ranks = self.first_ranks([table for table in self._tables if table.tokens])
        return self.arrived(min(ranks)) if ranks else None

    def take(self, plan: Iterable[TableRows]) -> list[RowBlock]:
        """Take the planned rows out of the tables."""
        taken = []
        for table, rows in plan:
            recent_times, recent_values = table.recent_times, table.recent_values
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
                self._overwrite(block, recent_times, recent_values)
            taken.append(block)
        self.waiting -= sum(block.samples for block in taken)
        if self._ranks:
            self._forget_bundles(token for block in taken for token in block.tokens)
        return taken

    def _overwrite(self, block: RowBlock, times: array[int], values: array[float]) -> None:
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
        found = [RowCount(table.inputs, table.sent) for table in self._tables]
        for table in self._tables:
            table.sent = 0
        return found

    def drop(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the samples for whose token `lost` returns True; returns token → number of its dropped samples."""
        dropped: Counter[int] = Counter()
        for table in self._tables:
            kept = [i for i, token in enumerate(table.tokens) if not lost(token)]
            if len(kept) < len(table.tokens):
                for token in table.tokens:
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
        del self._tables[table]
        for part in parts:
            self._tables[part] = None
            self._table_of.update(dict.fromkeys(part.inputs, part))
        return parts[0]

    # -- details ----------------------------------------------------------------------------------

    def _add_rows(self, token: int, rows: Rows) -> None:
        inputs = rows.inputs
        table = self._table_of.get(inputs[0])
        tokens = [token + index for index in rows.indexes]
        values = rows.values()
        if table is not None and table.inputs == inputs:
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
                table.append(time_us, token, (value,))
                return
            inputs, times, values = zip(*samples, strict=True)
            if inputs == table.inputs and times.count(times[0]) == table.width:
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
                table.times.append(time_us)
                table.tokens.append(token)
                table.values.append(value)
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
            self._tables[table] = None
            table_of.update(dict.fromkeys(strangers, table))
        found = []
        for table in dict.fromkeys(table_of[input_id] for input_id in inputs):
            some = [input_id for input_id in table.inputs if input_id in inputs]
            found.append(table if len(some) == table.width else self.split(table, frozenset(some)))
        return found

    def _forget_empty(self) -> None:
        for table in [table for table in self._tables if not table.times]:
            del self._tables[table]
            for input_id in table.inputs:
                del self._table_of[input_id]
