"""Forecasts the time of the next loss, if everything goes on as now. Pure functions; the time is an argument.

A source describes each possible loss as a horizon: the room that is left (bytes, messages, seconds), and the speed at
which the room shrinks. The room divided by this speed is the time to the loss.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WINDOW_SECONDS: Final = 300.0
"""Rates are means over this time."""
SHORTEST_SECONDS: Final = 60.0
"""The shortest time for a rate: a shorter burst is no trend."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """One way in which data could be lost."""

    cause: str
    """A name for metrics, such as `journal` or `retention`."""
    room: float
    """The room that is left, in any unit; at 0 or less, data is lost now."""
    shrinking: float
    """The decrease of the room, in the same unit a second; at 0 or less, the room does not shrink."""
    text: str
    """The event that causes the loss, for people."""


@dataclass(frozen=True, slots=True)
class Threat:
    """A possible loss, with the time to it."""

    cause: str
    seconds: float
    """Seconds to the loss; infinite if no loss is to be expected."""
    text: str


def seconds_to_loss(room: float, shrinking: float) -> float:
    """Returns the seconds until no room is left; infinite if the room does not shrink."""
    if shrinking <= 0:
        return math.inf
    return max(0.0, room) / shrinking


def threats(horizons: Iterable[Horizon]) -> list[Threat]:
    """Returns the soonest threat of each cause, sorted by their time."""
    soonest: dict[str, Threat] = {}
    for horizon in horizons:
        found = Threat(horizon.cause, seconds_to_loss(horizon.room, horizon.shrinking), horizon.text)
        known = soonest.get(horizon.cause)
        if known is None or found.seconds < known.seconds:
            soonest[horizon.cause] = found
    return sorted(soonest.values(), key=lambda threat: threat.seconds)


class Trend:
    """Measures the growth of a number over the last minutes."""

    def __init__(self, window: float = WINDOW_SECONDS, shortest: float = SHORTEST_SECONDS) -> None:
        self._window = window
        self._shortest = shortest
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, now: float, value: float) -> None:
        """Record the number at `now` (seconds of any clock). The times of the calls must rise."""
        seen = self._seen
        seen.append((now, value))
        while len(seen) > 2 and seen[1][0] <= now - self._window:
            seen.popleft()

    @property
    def growth(self) -> float:
        """The mean growth a second; 0 until the numbers cover the shortest time."""
        if len(self._seen) < 2:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end - start >= self._shortest else 0.0

    def forget(self) -> None:
        """Forget all numbers, and begin again."""
        self._seen.clear()


def readable_duration(seconds: float) -> str:
    """Returns a text for people, such as `40 min`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
