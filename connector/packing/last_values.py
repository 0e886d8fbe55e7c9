"""The last values of signals whose tables were forgotten: for a person who looks at a signal. Bounded memory.

A table of waiting samples also has its last rows that were sent, so most last values cost nothing. Empty tables are
forgotten if there are very many; then their last values come here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from connector.packing.table import Table, times_of, values_of

MOST_SIGNALS: Final = 100_000
"""Signals whose last values are kept: about 9 MB."""


class LastValue(NamedTuple):
    """The last value of a signal."""

    time_us: int
    """The time of the value, in µs since the epoch."""
    value: float


def last_of(table: Table) -> Iterator[tuple[str, LastValue]]:
    """Yields (input, its last value) for the inputs of a table, whether the value waits or was sent."""
    rows = table.stored if table.rows else table.recent
    times = times_of(rows)
    if times:
        time_us = times[-1]
        for input_id, value in zip(table.inputs, values_of(rows)[-table.width :], strict=True):
            yield input_id, LastValue(time_us, value)


class LastValues:
    """The last values of forgotten tables. Not safe for threads: the caller holds a lock."""

    def __init__(self, most: int = MOST_SIGNALS) -> None:
        self._most = most
        self._places: dict[str, int] = {}
        self._times = array("q")
        self._values = array("d")
        self.full = False
        """Whether there were more signals than are kept."""

    def note(self, tables: Iterable[Table]) -> None:
        """Note the last values of tables that are forgotten."""
        places, times, values = self._places, self._times, self._values
        for table in tables:
            for input_id, (time_us, value) in last_of(table):
                place = places.get(input_id)
                if place is not None:
                    times[place], values[place] = time_us, value
                elif len(places) < self._most:
                    places[input_id] = len(times)
                    times.append(time_us)
                    values.append(value)
                else:
                    self.full = True

    def of(self, input_id: str) -> LastValue | None:
        """Returns the last value of a signal; None if it is not kept."""
        place = self._places.get(input_id)
        return None if place is None else LastValue(self._times[place], self._values[place])

    def items(self) -> list[tuple[str, LastValue]]:
        """Returns (input, its last value) for every signal that is kept."""
        return [(one, LastValue(self._times[place], self._values[place])) for one, place in self._places.items()]
