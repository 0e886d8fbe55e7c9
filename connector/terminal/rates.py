"""Rates of counters, for a screen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = 5.0
"""Rates are means over this time."""
_HISTORY: Final = 60


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates per second, as means over the last seconds."""

    messages_in: float = 0.0
    samples_in: float = 0.0
    samples_out: float = 0.0
    frames: float = 0.0


class Meter:
    """Turns one counter into a rate."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()
        """(time in seconds, count), the oldest first."""

    def note(self, at: float, count: float) -> float | None:
        """Return the rate per second at `at` (seconds), as a mean over the last seconds; None at the first call."""
        marks = self._marks
        if marks and count < marks[-1][1]:
            marks.clear()  # the connector was restarted, and counts from 0
        if not marks or at > marks[-1][0]:
            marks.append((at, count))
        while len(marks) > 2 and marks[1][0] <= at - _SECONDS:
            marks.popleft()
        begin, before = marks[0]
        return (count - before) / (at - begin) if at > begin else None


class RateMeter:
    """Turns the counters of a connector into rates."""

    def __init__(self) -> None:
        self._meters = (Meter(), Meter(), Meter(), Meter())
        self.history: deque[Rates] = deque(maxlen=_HISTORY)
        """The rates of the last readings, the newest last."""

    def note(self, at: float, messages_in: float, samples_in: float, samples_out: float, frames: float) -> Rates:
        """Return the rates at `at` (seconds), from the counters then and some seconds ago."""
        counts = (messages_in, samples_in, samples_out, frames)
        rates = Rates(*(meter.note(at, n) or 0.0 for meter, n in zip(self._meters, counts, strict=True)))
        self.history.append(rates)
        return rates
