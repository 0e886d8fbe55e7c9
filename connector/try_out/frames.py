"""Samples → the frames that would leave: all use of `connector.packing` by the commands is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from connector.packing.frame import Frame, build_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped

_BYTES_A_SAMPLE: Final = 12
"""As in the pipeline: enough to see that a request's worth waits."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How large a frame may be, how much may wait, and for how long (in seconds)."""

    max_bytes: int
    max_waiting_samples: int
    max_delay: float


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The beginning of a frame, for people: a cell is None where the frame has a null."""

    times_us: list[int]
    inputs: list[str]
    cells: list[list[float | None]]
    """A row for each time."""


@dataclass(frozen=True, slots=True)
class FrameSummary:
    """What one frame is."""

    rows: int
    series: int
    samples: int
    superseded: int
    """Values that a later one of the same input and time replaces."""
    bytes: int
    first_us: int
    last_us: int
    table: FrameTable | None = None

    @property
    def null_share(self) -> float:
        """Part of its cells that are null, 0 to 1."""
        cells = self.rows * self.series
        return 1 - self.samples / cells if cells else 0.0


@dataclass(slots=True)
class Packer:
    """Packs all samples as densely as it can: as if they waited together, up to what the connector lets wait."""

    limits: FrameLimits
    shown_frames: int
    shown_rows: int
    shown_series: int
    frames: list[FrameSummary] = field(default_factory=list)
    _pending: Pending = field(default_factory=Pending)

    def add(self, mapped: Mapped) -> None:
        """Take the samples of one record in."""
        self._pending.add(0, [mapped], 0.0)
        while self._full():
            self._pack_one()

    def finish(self) -> None:
        """Pack what is left."""
        while self._pending.waiting:
            self._pack_one()

    def _full(self) -> bool:
        waiting = self._pending.waiting
        return waiting * 2 >= self.limits.max_waiting_samples or (
            waiting * _BYTES_A_SAMPLE >= self.limits.max_bytes * 2
        )

    def _pack_one(self) -> None:
        columns = self._pending.take(plan_frame(self._pending.columns, self.limits.max_bytes))
        table = len(self.frames) < self.shown_frames
        self.frames.append(_summary(build_frame(columns), (self.shown_rows, self.shown_series) if table else None))


@dataclass(slots=True)
class LivePace:
    """Counts the requests that the same samples take when they come one after another, as they came."""

    limits: FrameLimits
    requests: int = 0
    _pending: Pending = field(default_factory=Pending)
    _now: float = float("-inf")
    _oldest: float | None = None

    def add(self, mapped: Mapped, arrival: float) -> None:
        """The samples of a record that arrived at this time, in seconds on any clock."""
        self._now = max(self._now, arrival)
        if self._oldest is not None and self._now - self._oldest >= self.limits.max_delay:
            self.finish()
        self._pending.add(0, [mapped], self._now)
        if self._oldest is None and mapped.samples:
            self._oldest = self._now
        if self._pending.waiting * _BYTES_A_SAMPLE >= self.limits.max_bytes:
            self._send_one()

    def finish(self) -> None:
        """Send what is left."""
        while self._pending.waiting:
            self._send_one()

    def _send_one(self) -> None:
        self._pending.take(plan_frame(self._pending.columns, self.limits.max_bytes))
        self._oldest = self._pending.oldest()
        self.requests += 1


def requests_when_aligned() -> int | None:
    """Requests if times were aligned; None as long as the connector does not align."""
    return None


def _summary(frame: Frame, shown: tuple[int, int] | None) -> FrameSummary:
    times = sorted({time_us for column in frame.columns.values() for time_us in column.times})
    return FrameSummary(
        rows=frame.rows,
        series=len(frame.columns),
        samples=frame.samples,
        superseded=frame.superseded.total(),
        bytes=len(frame.body),
        first_us=times[0],
        last_us=times[-1],
        table=None if shown is None else _table(frame, times[: shown[0]], shown[1]),
    )


def _table(frame: Frame, times: list[int], series: int) -> FrameTable:
    inputs = sorted(frame.columns)[:series]
    values = {name: dict(zip(frame.columns[name].times, frame.columns[name].values, strict=True)) for name in inputs}
    return FrameTable(times, inputs, [[values[name].get(time_us) for name in inputs] for time_us in times])
