"""When would something be lost, if everything went on as it does now? Pure functions; the time is an argument.

A source names what stands between it and a loss as horizons: room that is left (bytes, messages, seconds), and how fast
it shrinks. The room divided by the shrinking is the time to the loss.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WINDOW_SECONDS: Final = 300.0
"""Rates are means over this long."""
SHORTEST_SECONDS: Final = 60.0
"""Less than this says nothing: a burst is not a trend."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """One way in which something would be lost."""

    cause: str
    """A name for metrics, such as `journal` or `retention`."""
    room: float
    """What is left, in any unit; 0 or less: it is lost now."""
    shrinking: float
    """How fast that gets less, in the same unit a second; 0 or less: it does not."""
    text: str
    """For people: what happens then."""


@dataclass(frozen=True, slots=True)
class Threat:
    """The same as a time."""

    cause: str
    seconds: float
    text: str


def seconds_to_loss(room: float, shrinking: float) -> float:
    """Seconds until nothing is left: 0 where nothing is left and it shrinks, infinite where it does not shrink."""
    if shrinking <= 0:
        return math.inf
    return max(0.0, room) / shrinking


def threats(horizons: Iterable[Horizon]) -> list[Threat]:
    """The soonest of each cause, the soonest first."""
    soonest: dict[str, Threat] = {}
    for horizon in horizons:
        found = Threat(horizon.cause, seconds_to_loss(horizon.room, horizon.shrinking), horizon.text)
        known = soonest.get(horizon.cause)
        if known is None or found.seconds < known.seconds:
            soonest[horizon.cause] = found
    return sorted(soonest.values(), key=lambda threat: threat.seconds)


class Trend:
    """How fast a number grows, over the last minutes."""

    def __init__(self, window: float = WINDOW_SECONDS, shortest: float = SHORTEST_SECONDS) -> None:
        self._window = window
        self._shortest = shortest
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, now: float, value: float) -> None:
        """The number is this now. Times rise."""
        seen = self._seen
        seen.append((now, value))
        while len(seen) > 2 and seen[1][0] <= now - self._window:
            seen.popleft()

    @property
    def growth(self) -> float:
        """Per second, as a mean; 0 as long as too little was seen."""
        if len(self._seen) < 2:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end - start >= self._shortest else 0.0

    def forget(self) -> None:
        """What was seen means nothing any more."""
        self._seen.clear()


def readable_duration(seconds: float) -> str:
    """For people, such as `40 min`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
