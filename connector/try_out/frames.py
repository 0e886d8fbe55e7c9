"""Samples → the frames that the connector would send. Commands use `connector.packing` only through this module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from connector.packing.frame import Frame, encode_frame
from connector.packing.overwrites import Overwrite, overwrites
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped, Sample, at_integration, of_integration

_BYTES_A_SAMPLE: Final = 12
"""The estimated size of a sample in a frame, as in the pipeline: good enough to see that a full request waits."""
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """The limits of a frame: the size in bytes, the number of waiting samples, and the longest wait in seconds."""

    max_bytes: int
    max_waiting_samples: int
    max_delay: float


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The beginning of a frame, for people: a cell is None where the frame has a null."""

    times_us: list[int]
    inputs: list[str]
    cells: list[list[float | None]]
    """A row for each time, with a cell for each input."""


@dataclass(frozen=True, slots=True)
class FrameSummary:
    """The size and the times (in µs) of one frame."""

    rows: int
    series: int
    samples: int
    superseded: int
    """The number of values that a later value of the same input and time replaces."""
    bytes: int
    first_us: int
    last_us: int
    table: FrameTable | None = None

    @property
    def null_share(self) -> float:
        """The share of the cells that are null, from 0 to 1."""
        cells = self.rows * self.series
        return 1 - self.samples / cells if cells else 0.0


class _Waiting:
    """The waiting samples, and the frames made from the samples. The caller passes the time, in seconds."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = Pending()
        self._token = 0
        self.oldest: float | None = None
        """The arrival of the sample that has waited longest, in seconds; None if no sample waits."""

    @property
    def samples(self) -> int:
        """The number of waiting samples."""
        return self._pending.waiting

    def add(self, mapped: Mapped, now: float) -> None:
        """Adds the samples of one record, which arrived at `now`."""
        if mapped.samples:
            self._pending.add(self._token, [(0, mapped)], now)
            self._token += 1
            if self.oldest is None:
                self.oldest = now

    def take(self, now: float) -> Frame:
        """Takes and returns the next frame. At least one sample must wait."""
        plan = plan_frame(self._pending, self._max_bytes, now)
        blocks = self._pending.take(plan, plan.texts)
        self._pending.forget_before(plan.left)
        self.oldest = None if plan.left is None else self._pending.arrived(plan.left)
        return encode_frame(blocks)

    def take_overwritten(self) -> list[Overwrite]:
        """Returns the values that replaced a value of an earlier frame, since the last call."""
        found, self._pending.overwritten = self._pending.overwritten, []
        return found


@dataclass(slots=True)
class Packer:
    """Packs samples as densely as possible: as if all samples waited together, up to the connector's limit.

    With `aligned`, times are first cut to whole seconds. A comparison of the frames then shows the saving.
    """

    limits: FrameLimits
    shown_frames: int = 0
    shown_rows: int = 0
    shown_series: int = 0
    aligned: bool = False
    frames: list[FrameSummary] = field(default_factory=list)
    overwritten: Counter[str] = field(default_factory=Counter)
    """Input ID → the number of values that another value of the same time replaced."""
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    """Integration → its waiting samples: no frame has samples of two integrations."""

    def add(self, mapped: Mapped) -> None:
        """Adds the samples of one record, and packs a frame if enough samples wait."""
        for integration, own in _by_integration(_cut_to_seconds(mapped) if self.aligned else mapped):
            waiting = self._waiting.setdefault(integration, _Waiting(self.limits.max_bytes))
            waiting.add(own, 0.0)
            while self._full(waiting.samples):
                self._pack_one(integration, waiting)

    def finish(self) -> None:
        """Packs the remaining samples."""
        for integration, waiting in self._waiting.items():
            while waiting.samples:
                self._pack_one(integration, waiting)

    @property
    def waiting(self) -> int:
        """The number of samples that are in no frame yet."""
        return sum(waiting.samples for waiting in self._waiting.values())

    def _full(self, waiting: int) -> bool:
        return waiting * 2 >= self.limits.max_waiting_samples or waiting * _BYTES_A_SAMPLE >= self.limits.max_bytes * 2

    def _pack_one(self, integration: str, waiting: _Waiting) -> None:
        table = len(self.frames) < self.shown_frames
        frame = waiting.take(0.0)
        self.overwritten.update(
            at_integration(integration, one.input_id) for one in (*overwrites(frame), *waiting.take_overwritten())
        )
        self.frames.append(_summary(frame, (self.shown_rows, self.shown_series) if table else None))


@dataclass(slots=True)
class LivePace:
    """Counts the requests that the connector would make if the samples came at the pace of their arrival."""

    limits: FrameLimits
    requests: int = 0
    _now: float = float("-inf")
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    """Integration → its waiting samples."""

    def add(self, mapped: Mapped, arrival: float) -> None:
        """Adds the samples of a record that arrived at `arrival`, in seconds on any clock."""
        self._now = max(self._now, arrival)
        for waiting in self._waiting.values():
            if waiting.oldest is not None and self._now - waiting.oldest >= self.limits.max_delay:
                self._send_all(waiting)
        for integration, own in _by_integration(mapped):
            waiting = self._waiting.setdefault(integration, _Waiting(self.limits.max_bytes))
            waiting.add(own, self._now)
            if waiting.samples * _BYTES_A_SAMPLE >= self.limits.max_bytes:
                self._send_one(waiting)

    def finish(self) -> None:
        """Counts the requests for the remaining samples."""
        for waiting in self._waiting.values():
            self._send_all(waiting)

    def _send_all(self, waiting: _Waiting) -> None:
        while waiting.samples:
            self._send_one(waiting)

    def _send_one(self, waiting: _Waiting) -> None:
        waiting.take(self._now)
        self.requests += 1


def _by_integration(mapped: Mapped) -> Iterator[tuple[str, Mapped]]:
    """Yields each integration with its samples, whose input IDs are then as Clarify knows them."""
    found: dict[str, list[Sample]] = {}
    for written, time_us, value in mapped.samples:
        integration, input_id = of_integration(written)
        found.setdefault(integration, []).append((input_id, time_us, value))
    for integration, samples in found.items():
        yield integration, Mapped(samples)


def _cut_to_seconds(mapped: Mapped) -> Mapped:
    return Mapped([(name, time_us - time_us % _SECOND_US, value) for name, time_us, value in mapped.samples])


def _summary(frame: Frame, shown: tuple[int, int] | None) -> FrameSummary:
    times = sorted({time_us for block in frame.blocks for time_us in block.times})
    return FrameSummary(
        rows=frame.rows,
        series=frame.series,
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
