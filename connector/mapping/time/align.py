"""Alignment: moves times to a common grid, so that devices with different clocks share rows. Only on request.

A frame of samples with few common times is mostly nulls; on a grid, the frame is dense. Alignment changes the measured
times, so a rule must ask for it, the shift is bounded, and the effect is counted. If two samples of one input get the
same time, this is a collision: the later sample stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from connector.records import Sample

_MAX_INPUTS: Final = 200_000
"""The most inputs whose last times are remembered, to notice collisions."""


@dataclass(slots=True)
class Shifts:
    """The effect of alignment, over all rules."""

    aligned: int = 0
    """Number of samples whose time was moved."""
    left: int = 0
    """Number of samples that kept their time, because they would have been moved too far."""
    collisions: int = 0
    """Number of samples that were moved to the same time as the sample before of the same input."""
    greatest_us: int = 0
    """The largest shift, in µs."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of a rule."""

    step_us: int
    how: Literal["nearest", "floor"] = "nearest"
    max_shift_us: int | None = None
    """The largest shift; a sample that would be moved farther keeps its time. None: only the step bounds the shift."""

    def place(self, time_us: int) -> int:
        """Returns the time on the grid for a time in µs; `nearest` takes the later of two equally near times."""
        if self.how == "floor":
            return time_us - time_us % self.step_us
        moved = time_us + self.step_us // 2
        return moved - moved % self.step_us


@dataclass(slots=True)
class Aligner:
    """Aligns samples and counts the effect. For one thread at a time."""

    shifts: Shifts = field(default_factory=Shifts)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Input → (time on the grid, its own time) of its last sample."""

    def align(self, samples: list[Sample], grid: Grid) -> list[Sample]:
        """Returns the samples with their times on the grid."""
        shifts, last = self.shifts, self._last
        if len(last) > _MAX_INPUTS:
            last.clear()
        aligned: list[Sample] = []
        for sample in samples:
            input_id, time_us, value = sample
            placed = grid.place(time_us)
            shift = abs(placed - time_us)
            if grid.max_shift_us is not None and shift > grid.max_shift_us:
                shifts.left += 1
                aligned.append(sample)
                continue
            before = last.get(input_id)
            if before is not None and before[0] == placed and before[1] != time_us:
                shifts.collisions += 1
            last[input_id] = placed, time_us
            if shift:
                shifts.aligned += 1
                shifts.greatest_us = max(shifts.greatest_us, shift)
                aligned.append((input_id, placed, value))
            else:
                aligned.append(sample)
        return aligned
