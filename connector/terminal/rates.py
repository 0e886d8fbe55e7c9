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


class RateMeter:
    """Turns counters into rates."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, tuple[float, float, float, float]]] = deque()
        self.history: deque[Rates] = deque(maxlen=_HISTORY)
        """The rates of the last readings, the newest last."""

    def note(self, at: float, messages_in: float, samples_in: float, samples_out: float, frames: float) -> Rates:
        """Return the rates at `at` (seconds), from the counters then and some seconds ago."""
        now = (messages_in, samples_in, samples_out, frames)
        marks = self._marks
        if marks and any(new < old for new, old in zip(now, marks[-1][1], strict=True)):
            marks.clear()  # the connector was restarted, and counts from 0
        marks.append((at, now))
        while len(marks) > 2 and marks[1][0] <= at - _SECONDS:
            marks.popleft()
        begin, then = marks[0]
        rates = Rates()
        if at > begin:
            rates = Rates(*((new - old) / (at - begin) for new, old in zip(now, then, strict=True)))
        self.history.append(rates)
        return rates
