"""The rate of each signal's samples, compared with the limits of Clarify.

The limits are one sample a minute on average, and one sample a second in bursts (source: docs.clarify.io, integration
limits). Tables count the rows that leave; `RateWatch` reads these counters at the end of each window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from typing import Final, NamedTuple

from connector.packing.pending import Pending

_FIRST_WINDOW: Final = 60.0
_WINDOW: Final = 600.0
"""Length of a window in seconds, after the first one."""
AVERAGE_SECONDS: Final = 60.0
"""Clarify asks for at most one sample of a signal in this time (seconds), on average."""
BURST_SECONDS: Final = 1.0
"""Clarify asks for at most one sample of a signal in this time (seconds), in bursts."""
_EXAMPLES: Final = 5
"""Signals that are named as the fastest."""


class SignalRate(NamedTuple):
    """The rate of one signal's samples."""

    input_id: str
    per_second: float


@dataclass(frozen=True, slots=True)
class SampleRates:
    """The rates of all signals in one window."""

    seconds: float
    """Length of the window."""
    signals: int
    """Signals with a sample in this window."""
    over_average: int
    """Signals with more than one sample a minute."""
    over_burst: int
    """Signals with more than one sample a second."""
    fastest: tuple[SignalRate, ...]
    """Some of the fastest signals."""


class RateWatch:
    """Reads the counters of the tables at the end of each window.

    Not safe for threads: the caller holds the lock of the tables.
    """

    def __init__(self, report: Callable[[SampleRates], None]) -> None:
        self._report = report
        self._began: float | None = None
        self._window = _FIRST_WINDOW

    def look(self, pending: Pending, now: float) -> None:
        """If the window is over: report its rates and begin the next window. `now` is in seconds."""
        if self._began is None:
            self._began = now
        seconds = now - self._began
        if seconds < self._window:
            return
        counted = [(found.rows, found.inputs) for found in pending.take_row_counts() if found.rows]
        self._began, self._window = now, _WINDOW
        self._report(
            SampleRates(
                seconds,
                sum(len(inputs) for _, inputs in counted),
                # the edges of a window allow for one sample more than the rate
                sum(len(inputs) for rows, inputs in counted if rows > seconds / AVERAGE_SECONDS + 1),
                sum(len(inputs) for rows, inputs in counted if rows > seconds / BURST_SECONDS + 1),
                tuple(SignalRate(inputs[0], rows / seconds) for rows, inputs in nlargest(_EXAMPLES, counted)),
            )
        )
