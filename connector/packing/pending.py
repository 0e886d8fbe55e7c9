"""Pending: every sample that waits, in tables.

A *table* holds inputs whose samples come together: each of its rows has one time, one token and a value for each of
its inputs. Inputs that are seen together for the first time become a table; when a record has only some of them, the
table is split. So tables get finer until every record fills whole tables: none has a hole, a device that always
sends the same values is one table, and one that sends single values ends as one table an input. An input is in one
table at any time and its rows stay in the order of their arrival, so that a later value never leaves before an
earlier one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from connector.packing.frame import Slab
from connector.records import Mapped, Part, Rows, Sample

_FORGET_ABOVE: Final = 10_000
"""Empty tables that are kept in any case, since most of them fill again soon."""


class Table:
    """Inputs whose samples come together. `values` has the rows one after the other."""

    __slots__ = ("_key", "_keyed", "inputs", "sent", "times", "tokens", "values", "width")

    def __init__(self, inputs: tuple[str, ...]) -> None:
        self.inputs = inputs
        self.width = len(inputs)
        self.times: array[int] = array("q")
        """µs since the epoch, a row each, in order of arrival."""
        self.tokens: array[int] = array("q")
        """Which record each row came from (see progress); rising."""
        self.values: array[float] = array("d")
        self.sent = 0
        """Rows taken out since somebody last asked for their number."""
        self._key = 0
        self._keyed = -1

    @property
    def key(self) -> int:
        """The same for tables that have the same times; seldom the same for others."""
        if self._keyed != len(self.times):
            self._key = hash(self.times.tobytes())
            self._keyed = len(self.times)
        return self._key

    def append(self, time_us: int, token: int, values: Iterable[float]) -> None:
        """A row, with the values in the order of the inputs."""
        self.times.append(time_us)
        self.tokens.append(token)
        self.values.extend(values)

    def extend(self, times: Iterable[int], tokens: Iterable[int], values: array[float]) -> None:
        """Several rows."""
        self.times.extend(times)
        self.tokens.extend(tokens)
        self.values.extend(values)

    def head(self, rows: int) -> Slab:
        """The first rows, as they would leave."""
        return Slab(self.inputs, self.times[:rows], self.tokens[:rows], self.values[: rows * self.width])

    def take(self, rows: int) -> Slab:
        """Take the first rows out."""
        if rows == len(self.times):
            taken = Slab(self.inputs, self.times, self.tokens, self.values)
            self.times, self.tokens, self.values = array("q"), array("q"), array("d")
        else:
            taken = self.head(rows)
            self.times, self.tokens = self.times[rows:], self.tokens[rows:]
            self.values = self.values[rows * self.width :]
        self._keyed = -1
        self.sent += rows
        return taken

    def keep(self, kept: Sequence[int]) -> None:
        """Keep only these rows."""
        width, values = self.width, self.values
        self.times = array("q", [self.times[i] for i in kept])
        self.tokens = array("q", [self.tokens[i] for i in kept])
        self.values = array("d")
        for i in kept:
            self.values.extend(values[i * width : (i + 1) * width])
        self._keyed = -1

    def part(self, inputs: Collection[str]) -> Table:
        """A table of only these of its inputs, with all of its rows."""
        chosen = [i for i, input_id in enumerate(self.inputs) if input_id in inputs]
        found = Table(tuple(self.inputs[i] for i in chosen))
        found.times, found.tokens = self.times[:], self.tokens[:]
        found.values = array("d", bytes(8 * len(self.times) * len(chosen)))
        for j, i in enumerate(chosen):
            found.values[j :: len(chosen)] = self.values[i :: self.width]
        found.sent = self.sent
        return found


class Pending:
    """The samples that wait. Not safe for threads by itself: the pipeline's lock is around it."""

    def __init__(self) -> None:
        self.waiting = 0
        """Samples in the tables."""
        self._homes: dict[str, Table] = {}
        """Input → the table that it is in."""
        self._tables: dict[Table, None] = {}
        """All tables, in the order in which they came into being."""
        self._first_tokens: array[int] = array("q")
        self._arrivals: array[float] = array("d")
        """When the records from the token beside it on arrived, on the caller's clock, in seconds."""
        self._ranks: dict[int, int] = {}
        """Token of a bundle → its rank among the records' tokens."""
        self._next_rank = 0

    def add(self, token: int, parts: Iterable[Part], now: float) -> None:
        """Add the samples of a chunk; `token` leads back to its record 0, `token + 1` to record 1. Tokens rise from
        call to call; a negative one is that of a bundle (see progress), which ranks where it is added."""
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
            self._first_tokens.append(token)
            self._arrivals.append(now)
            self._next_rank = token + last + 1

    def rank(self, token: int) -> int:
        """The order in which records and bundles came: a record's rank is its token."""
        return token if token >= 0 else self._ranks[token]

    def first_ranks(self, tables: Sequence[Table]) -> list[int]:
        """The rank of the first row of each of these tables."""
        if self._ranks:
            return [self.rank(table.tokens[0]) for table in tables]
        return [table.tokens[0] for table in tables]

    def tables(self) -> Iterator[Table]:
        """The tables in which something waits, always in the same order."""
        return (table for table in self._tables if table.times)

    def groups(self) -> tuple[list[Table], dict[int, list[Table]]]:
        """The tables in which something waits, of those that have the same times the first; and for each of these,
        by its position in the list, all that have its times. Most have no company, and there may be a hundred
        thousand: nothing is made for each of them."""
        found: list[Table] = []
        numbers: dict[int, int] = {}
        together: dict[int, list[Table]] = {}
        for table in self._tables:
            rows = len(table.times)
            if not rows:
                continue
            key = table._key if table._keyed == rows else table.key
            number = numbers.setdefault(key, len(found))
            if number == len(found) or found[number].times != table.times:
                found.append(table)
            else:
                together.setdefault(number, [found[number]]).append(table)
        if len(self._tables) > 2 * len(found) + _FORGET_ABOVE + sum(map(len, together.values())):
            self._forget_empty()
        return found, together

    def arrived(self, rank: int) -> float:
        """When the record of a waiting sample arrived, on the caller's clock, in seconds."""
        return self._arrivals[bisect_right(self._first_tokens, rank) - 1]

    def oldest(self) -> float | None:
        """When the sample that has waited longest arrived, on the caller's clock; None if nothing waits."""
        ranks = self.first_ranks([table for table in self._tables if table.tokens])
        return self.arrived(min(ranks)) if ranks else None

    def take(self, plan: Iterable[tuple[Table, int]]) -> list[Slab]:
        """Take the first rows of each table named by the plan out."""
        taken = [table.take(rows) for table, rows in plan]
        self.waiting -= sum(slab.samples for slab in taken)
        if self._ranks:
            self._forget_bundles(token for slab in taken for token in slab.tokens)
        return taken

    def forget_before(self, rank: int | None) -> None:
        """Nothing that waits came from a record before this one (None: nothing waits): when those arrived need not be
        known any more."""
        gone = len(self._arrivals) if rank is None else bisect_right(self._first_tokens, rank) - 1
        if gone * 2 > len(self._arrivals):
            del self._first_tokens[:gone], self._arrivals[:gone]

    def sent_rows(self) -> list[tuple[tuple[str, ...], int]]:
        """(inputs, rows of them taken out since the last call)."""
        found = [(table.inputs, table.sent) for table in self._tables]
        for table in self._tables:
            table.sent = 0
        return found

    def drop(self, lost: Callable[[int], bool]) -> Counter[int]:
        """Drop the samples whose token is `lost`; how many of each such token those were."""
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
        """Give these of the table's inputs a table of their own, which is returned; the others have another."""
        parts = table.part(inputs), table.part([found for found in table.inputs if found not in inputs])
        del self._tables[table]
        for part in parts:
            self._tables[part] = None
            self._homes.update(dict.fromkeys(part.inputs, part))
        return parts[0]

    # -- details ----------------------------------------------------------------------------------

    def _add_rows(self, token: int, rows: Rows) -> None:
        inputs = rows.inputs
        table = self._homes.get(inputs[0])
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
        table = self._homes.get(samples[0][0])
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
        """A bundle is a single sample."""
        self._ranks[token] = self._next_rank
        self._first_tokens.append(self._next_rank)
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
        """Add a record that does not fill one table: a row is what has one time, each input once."""
        homes = self._homes
        row: dict[str, float] = {}
        row_us = 0
        for input_id, time_us, value in samples:
            table = homes.get(input_id)
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
        """The tables of these inputs, which have no others: what is seen together for the first time has a new one, and
        a table that has others is split."""
        homes = self._homes
        strangers = tuple(input_id for input_id in inputs if input_id not in homes)
        if strangers:
            table = Table(strangers)
            self._tables[table] = None
            homes.update(dict.fromkeys(strangers, table))
        found = []
        for table in dict.fromkeys(homes[input_id] for input_id in inputs):
            some = [input_id for input_id in table.inputs if input_id in inputs]
            found.append(table if len(some) == table.width else self.split(table, frozenset(some)))
        return found

    def _forget_empty(self) -> None:
        for table in [table for table in self._tables if not table.times]:
            del self._tables[table]
            for input_id in table.inputs:
                del self._homes[input_id]
