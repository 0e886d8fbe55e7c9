"""How often each signal has samples, against what Clarify asks for: one a minute on average, one a second in bursts.

Counted by the tables as their rows leave, over windows. Source: docs.clarify.io, integration limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from connector.packing.pending import Pending

_FIRST_WINDOW: Final = 60.0
_WINDOW: Final = 600.0
AVERAGE_SECONDS: Final = 60.0
"""Clarify asks for at most one sample of a signal in so many seconds, on average."""
BURST_SECONDS: Final = 1.0
"""And in bursts."""
_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """What was seen in one window."""

    seconds: float
    signals: int
    """With a sample in this window."""
    over_average: int
    """Signals with more than one sample a minute."""
    over_burst: int
    """Signals with more than one sample a second."""
    fastest: tuple[tuple[str, float], ...]
    """(input ID, samples a second) of some of the fastest."""


class RateWatch:
    """Looks at the tables' counters when a window is over. The pipeline's lock is around it."""

    def __init__(self, report: Callable[[Rates], None]) -> None:
        self._report = report
        self._began: float | None = None
        self._window = _FIRST_WINDOW

    def look(self, pending: Pending, now: float) -> None:
        """Report and begin anew if the window is over."""
        if self._began is None:
            self._began = now
        seconds = now - self._began
        if seconds < self._window:
            return
        counted = [(rows, inputs) for inputs, rows in pending.sent_rows() if rows]
        self._began, self._window = now, _WINDOW
        self._report(
            Rates(
                seconds,
                sum(len(inputs) for _, inputs in counted),
                # one more than the rate allows may fall into a window
                sum(len(inputs) for rows, inputs in counted if rows > seconds / AVERAGE_SECONDS + 1),
                sum(len(inputs) for rows, inputs in counted if rows > seconds / BURST_SECONDS + 1),
                tuple((inputs[0], rows / seconds) for rows, inputs in nlargest(_EXAMPLES, counted)),
            )
        )
