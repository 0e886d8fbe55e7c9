"""Forecast: does the load fit through Clarify's limits, and for how long does what waits last? No clock of its own.

A frame of what waits now says how many samples a request carries at the present packing. It carries more the more
waits: while everything goes at once, rows come to the same series, so samples grow like the frame; once a frame is
full, a backlog of f times the size fills frames of √f times the samples, since each has fewer series with longer
backlogs (see the planner). So the load is sustainable if the samples a request that the columns' bound allows, times
the requests a second, are at least what comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, sqrt
from typing import Final

_INFLOW_SECONDS: Final = 30.0
"""The inflow is a mean in which what came so long ago counts 1/e."""
_LEAST_BYTES: Final = 6.5
"""A sample in a dense frame, digits, comma and its part of the row's time."""
_FULL: Final = 0.9
_SECOND_US: Final = 1_000_000
_TIME_BYTES: Final = len('"2026-11-01T00:00:00.123Z",')
_ALIGNED_BYTES: Final = len('"2026-11-01T00:00:00Z",')
_NULL: Final = len("null,")


@dataclass(frozen=True, slots=True)
class FrameSize:
    """What the forecast has to know of a frame."""

    bytes: int
    rows: int
    series: int
    samples: int
    waiting: int
    """Samples that waited when it was planned, those in it included."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """How it stands."""

    inflow: float
    """Samples a second that come in."""
    capacity: float
    """Samples a second that leave at the present packing."""
    most: float
    """Samples a second that would leave if as much waited as may."""
    backlog_seconds: float
    """How long what waits lasts at the present packing, if nothing comes."""

    @property
    def factor(self) -> float:
        """How many times the inflow could be carried; below 1 it cannot be."""
        return self.most / self.inflow if self.inflow > 0 else float("inf")

    @property
    def sustainable(self) -> bool:
        """Whether what comes in can be carried at all."""
        return self.factor >= 1


class Forecast:
    """What comes in and what leaves. The caller's lock is around it."""

    def __init__(self, max_bytes: int, max_waiting: int) -> None:
        """`max_bytes` is a frame's limit, `max_waiting` how many samples may wait."""
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._level = 0.0
        """Samples that came in, those of long ago counted less."""
        self._since: float | None = None
        self._at = 0.0
        self._last: FrameSize | None = None
        self.full_requests = 0
        """Requests that were full, since the start."""
        self.aligned_saves = 0.0
        """How many of them alignment to whole seconds would have saved."""

    def came(self, samples: int, now: float) -> None:
        """So many samples came in."""
        if self._since is None:
            self._since = self._at = now
        self._level = self._level * exp((self._at - now) / _INFLOW_SECONDS) + samples
        self._at = now

    def left(self, frame: FrameSize, times: Iterable[int] = ()) -> None:
        """This frame left; `times` are those of its rows, in µs."""
        self._last = frame
        if frame.bytes >= _FULL * self._max_bytes:
            self.full_requests += 1
            aligned = len({time_us // _SECOND_US for time_us in times})
            nulls = _NULL * (frame.rows * frame.series - frame.samples)
            nulls_aligned = _NULL * max(0, aligned * frame.series - frame.samples)
            size = frame.bytes - nulls - frame.rows * _TIME_BYTES + nulls_aligned + aligned * _ALIGNED_BYTES
            self.aligned_saves += max(0.0, 1 - size / frame.bytes)

    def outlook(self, waiting: int, requests_per_second: float, now: float) -> Outlook | None:
        """How it stands with so many samples waiting; None before the first frame has left."""
        frame = self._last
        if frame is None or self._since is None or requests_per_second <= 0:
            return None
        used = max(1e-6, min(1.0, frame.bytes / self._max_bytes))
        a_request, filled_at = float(frame.samples), float(max(frame.waiting, 1))
        if frame.samples >= frame.waiting:  # all that waited went: as much again fits until the frame is full
            a_request = filled_at = frame.samples / used
        dense = self._max_bytes / _LEAST_BYTES
        most = min(max(a_request, dense), a_request * sqrt(max(1.0, self._max_waiting / filled_at)))
        elapsed = max(1.0, now - self._since)
        inflow = self._level * exp((self._at - now) / _INFLOW_SECONDS)
        inflow /= _INFLOW_SECONDS * (1 - exp(-elapsed / _INFLOW_SECONDS))
        capacity = a_request * requests_per_second
        return Outlook(inflow, capacity, most * requests_per_second, waiting / max(capacity, 1e-9))
