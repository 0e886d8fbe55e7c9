"""The signals for the status page: their last values, and why they have their input IDs.

Nothing is kept for this page alone, but the last values of tables that were forgotten. So a message costs no step.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from connector.mapping.signals.explained import Explained
from connector.mapping.signals.input_ids import Origin
from connector.packing.last_values import LastValue, last_of
from connector.packing.pending import Pending
from connector.pipeline.intake import SharedMapper
from connector.pipeline.under_way import UnderWay
from connector.records import at_integration, of_integration

_MOST_ALIKE: Final = 100
"""Signals of a topic whose IDs have the ID of another one."""
_AT_ONCE: Final = 2_000
"""Tables that are looked at while the lock is held."""


class Signals:
    """The signals of all integrations. Input IDs are written by `at_integration`. Safe for threads."""

    def __init__(self, shared: SharedMapper, under_way: UnderWay) -> None:
        self._shared = shared
        self._under_way = under_way

    def last(self, written: str) -> LastValue | None:
        """Returns the last value of a signal that came since the start; None if there is none, or it is not kept."""
        integration, input_id = of_integration(written)
        lane = self._under_way.lanes.get(integration)
        if lane is None:
            return None
        with self._under_way.changed:
            return lane.pending.last(input_id)

    def lasts(self) -> dict[str, LastValue]:
        """Returns signal → its last value, for every signal with a value since the start that is kept.

        The lock is held for short times only, since there may be very many signals.
        """
        return {
            at_integration(integration, input_id): last
            for integration, lane in self._under_way.lanes.items()
            for input_id, last in self._lasts_of(lane.pending)
        }

    def _lasts_of(self, pending: Pending) -> Iterator[tuple[str, LastValue]]:
        with self._under_way.changed:
            tables = pending.every_table()
            forgotten = pending.forgotten.items()
        yield from forgotten  # first: the value in a table is newer
        for start in range(0, len(tables), _AT_ONCE):
            with self._under_way.changed:
                found = [pair for table in tables[start : start + _AT_ONCE] for pair in last_of(table)]
            yield from found

    @property
    def full(self) -> bool:
        """Whether there were more signals than are kept."""
        return any(lane.pending.forgotten.full for lane in self._under_way.lanes.values())

    def known(self) -> int:
        """Returns the number of signals that the mapping remembers."""
        return self._shared.known_signals()

    def claims(self) -> list[tuple[str, Origin]]:
        """Returns (input ID, its origin) for every signal that the mapping remembers."""
        return self._shared.claims()

    def of_topic(self, source: str, topic: str, most: int) -> list[Explained]:
        """Returns at most `most` signals of a topic, of this run and of earlier ones, and why they have their IDs."""
        return self._shared.signals_of(source, topic, "", most)

    def explained(self, written: str) -> list[tuple[Origin, Explained]]:
        """Returns the origin of a signal, and why the signal has its ID; empty if the mapping does not remember it."""
        origins = [origin for one, origin in self.claims() if one == written]
        return [
            (origin, found)
            for origin in origins
            for found in self._shared.signals_of(origin.source, origin.topic, written, _MOST_ALIKE)
            if found.written == written
        ]


def longest_silent(lasts: dict[str, LastValue], most: int) -> list[tuple[str, LastValue]]:
    """Returns the signals whose last values are the oldest, the oldest first; at most `most`."""
    return heapq.nsmallest(most, lasts.items(), key=lambda pair: pair[1].time_us)
