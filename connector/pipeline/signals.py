"""The signals for the status page: their last values that Clarify has stored, and why they have their input IDs.

The values are read from frames, so a signal costs a step for each frame, and no step for each message. The memory is
bounded: signals beyond the bound are only counted.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from connector.mapping.signals.explained import Explained
from connector.mapping.signals.input_ids import Origin
from connector.packing.frame import RowBlock
from connector.pipeline.intake import SharedMapper
from connector.records import at_integration, of_integration

MOST_SIGNALS: Final = 100_000
"""Signals of an integration whose last values are kept: about 12 MB."""
_MOST_ALIKE: Final = 100
"""Signals of a topic whose IDs have the ID of another one."""


class LastValue(NamedTuple):
    """The last value of a signal that was stored."""

    time_us: int
    """The time of the value, in µs since the epoch."""
    value: float
    stored: float
    """When Clarify stored the value, in seconds since the epoch."""


class LastValues:
    """The last values of one integration. One thread calls `note`; any thread calls the other methods."""

    def __init__(self, most: int = MOST_SIGNALS) -> None:
        self._most = most
        self._places: dict[str, int] = {}
        self._times = array("q")
        self._values = array("d")
        self._stored = array("d")
        self.full = False
        """Whether there were more signals than are kept."""

    def __len__(self) -> int:
        return len(self._places)

    def note(self, blocks: Iterable[RowBlock], now: float) -> None:
        """Note the last row of each block; `now` is in seconds since the epoch."""
        places, times, values, stored = self._places, self._times, self._values, self._stored
        for block in blocks:
            if not block.times:
                continue
            time_us, row = block.times[-1], block.values[-len(block.inputs) :]
            for input_id, value in zip(block.inputs, row, strict=True):
                place = places.get(input_id)
                if place is None:
                    if len(places) >= self._most:
                        self.full = True
                        continue
                    times.append(time_us)
                    values.append(value)
                    stored.append(now)
                    places[input_id] = len(places)  # last: another thread looks for the place first
                else:
                    times[place], values[place], stored[place] = time_us, value, now

    def of(self, input_id: str) -> LastValue | None:
        """Returns the last value of a signal; None if none was stored since the start."""
        place = self._places.get(input_id)
        return None if place is None else LastValue(self._times[place], self._values[place], self._stored[place])

    def silent(self, most: int) -> list[tuple[str, LastValue]]:
        """Returns the signals without a value for the longest time, the longest first; at most `most`."""
        stored = self._stored
        longest = heapq.nsmallest(most, list(self._places.items()), key=lambda item: stored[item[1]])
        return [(one, LastValue(self._times[i], self._values[i], stored[i])) for one, i in longest]


class Signals:
    """The signals of all integrations. Input IDs are written by `at_integration`. Safe for threads."""

    def __init__(self, shared: SharedMapper) -> None:
        self._shared = shared
        self._last: dict[str, LastValues] = {}
        """Integration → the last values that it has stored."""

    def stored(self, blocks: Iterable[RowBlock], integration: str, now: float) -> None:
        """Note what an integration has stored; `now` is in seconds since the epoch."""
        last = self._last.get(integration)
        if last is None:
            last = self._last[integration] = LastValues()
        last.note(blocks, now)

    def last(self, written: str) -> LastValue | None:
        """Returns the last stored value of a signal; None if none was stored since the start."""
        integration, input_id = of_integration(written)
        values = self._last.get(integration)
        return None if values is None else values.of(input_id)

    def silent(self, most: int) -> list[tuple[str, LastValue]]:
        """Returns the signals without a value for the longest time, the longest first; at most `most`."""
        found = [
            (at_integration(integration, one), last)
            for integration, values in list(self._last.items())
            for one, last in values.silent(most)
        ]
        return sorted(found, key=lambda pair: pair[1].stored)[:most]

    def known(self) -> int:
        """Returns the number of signals that the mapping remembers."""
        return self._shared.known_signals()

    def heard(self) -> int:
        """Returns the number of signals with a value since the start, as far as they are kept."""
        return sum(map(len, list(self._last.values())))

    @property
    def full(self) -> bool:
        """Whether there were more signals than are kept."""
        return any(values.full for values in list(self._last.values()))

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
