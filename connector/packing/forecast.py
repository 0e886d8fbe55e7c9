"""The forecast: does the load fit through the limits of Clarify, and how long will it take to send the backlog?

The last frame shows how many samples one request carries at the present packing. A request carries more samples the
more samples wait:

- While one frame holds everything that waits, more rows come to the same series, and the samples grow with the size of
  the frame.
- Once frames are full, a backlog that is f times as large fills frames with √f times as many samples, because each
  frame has fewer series with longer backlogs (see `planner`).

So the load is sustainable if the samples of a request while as much waits as may, times the requests a second, are at
least the inflow. No clock: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, sqrt
from typing import Final

_INFLOW_SECONDS: Final = 30.0
"""The inflow is a moving mean: samples that came in this time (seconds) ago count 1/e."""
_LEAST_INFLOW: Final = 1e-3
"""An inflow below this (samples a second) counts as none: a mean of what came long ago never becomes 0 by itself."""
_LEAST_BYTES: Final = 6.5
"""Bytes of a sample in a dense frame: its digits, its comma and its part of the time of the row."""
_FULL: Final = 0.9
"""A request counts as full from this share of its greatest length on."""
_SECOND_US: Final = 1_000_000
_TIME_BYTES: Final = len('"2026-11-01T00:00:00.123Z",')
_ALIGNED_BYTES: Final = len('"2026-11-01T00:00:00Z",')
_NULL: Final = len("null,")


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size of a frame, as far as the forecast needs it."""

    bytes: int
    rows: int
    series: int
    samples: int
    waiting: int
    """Samples that waited when the frame was planned, including the samples of the frame."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast at one moment. Rates are in samples a second."""

    inflow: float
    """The rate at which samples come in."""
    capacity: float
    """The rate at which samples can leave at the present packing."""
    most: float
    """The rate at which samples could leave if as many samples waited as may wait."""
    backlog_seconds: float
    """Seconds to send everything that waits at the present packing, if no more samples come in."""

    @property
    def factor(self) -> float:
        """`most` divided by `inflow`: below 1 the load is too high."""
        return self.most / self.inflow if self.inflow > 0 else float("inf")

    @property
    def sustainable(self) -> bool:
        """Whether samples can leave as fast as they come in."""
        return self.factor >= 1


class Forecast:
    """Counts samples that come in and frames that leave. Not safe for threads: the caller holds a lock."""

    def __init__(self, max_bytes: int, max_waiting: int) -> None:
        """`max_bytes` is the greatest length of a frame, `max_waiting` the most samples that may wait."""
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._level = 0.0
        """Number of samples that came in; older samples count less (see `_INFLOW_SECONDS`)."""
        self._since: float | None = None
        self._at = 0.0
        self._last: FrameSize | None = None
        self.full_requests = 0
        """Full requests since the start."""
        self.aligned_saves = 0.0
        """Number of full requests that alignment to whole seconds would have saved."""

    def received(self, samples: int, now: float) -> None:
        """Note the number of samples that came in at `now`, in seconds."""
        if self._since is None:
            self._since = self._at = now
        self._level = self._level * exp((self._at - now) / _INFLOW_SECONDS) + samples
        self._at = now

    def sent(self, frame: FrameSize, times: Iterable[int] = ()) -> None:
        """Note that a frame was sent; `times` are the times of its rows, in µs."""
        self._last = frame
        if frame.bytes >= _FULL * self._max_bytes:
            self.full_requests += 1
            aligned = len({time_us // _SECOND_US for time_us in times})
            nulls = _NULL * (frame.rows * frame.series - frame.samples)
            nulls_aligned = _NULL * max(0, aligned * frame.series - frame.samples)
            size = frame.bytes - nulls - frame.rows * _TIME_BYTES + nulls_aligned + aligned * _ALIGNED_BYTES
            self.aligned_saves += max(0.0, 1 - size / frame.bytes)

    def outlook(self, waiting: int, requests_per_second: float, now: float) -> Outlook | None:
        """Returns the forecast for this number of waiting samples; None before the first frame was sent."""
        frame = self._last
        if frame is None or self._since is None or requests_per_second <= 0:
            return None
        used = max(1e-6, min(1.0, frame.bytes / self._max_bytes))
        a_request, filled_at = float(frame.samples), float(max(frame.waiting, 1))
        if frame.samples >= frame.waiting:  # all samples were sent: more samples fit until the frame is full
            a_request = filled_at = frame.samples / used
        dense = self._max_bytes / _LEAST_BYTES
        most = min(max(a_request, dense), a_request * sqrt(max(1.0, self._max_waiting / filled_at)))
        elapsed = max(1.0, now - self._since)
        inflow = self._level * exp((self._at - now) / _INFLOW_SECONDS)
        inflow /= _INFLOW_SECONDS * (1 - exp(-elapsed / _INFLOW_SECONDS))
        if inflow < _LEAST_INFLOW:
            inflow = 0.0
        capacity = a_request * requests_per_second
        return Outlook(inflow, capacity, most * requests_per_second, waiting / max(capacity, 1e-9))
