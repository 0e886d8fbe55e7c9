"""Alignment: times moved to a common grid, on request, so that devices whose clocks do not agree share rows.

A frame of samples that have few times in common is mostly nulls; on a grid it is dense. It moves what was measured, so
it is never done by itself, how far is bounded, and what it did is counted. Two samples of one input that end on one
time are a collision: the later one stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from connector.records import Sample

_MAX_INPUTS: Final = 200_000
"""Whose last times are remembered, to notice collisions."""


@dataclass(slots=True)
class Shifts:
    """What alignment did, over all rules."""

    aligned: int = 0
    """Samples whose time was moved."""
    left: int = 0
    """Samples that stayed where they were, because they would have been moved too far."""
    collisions: int = 0
    """Samples that ended on the time of the one before them of the same input, though they had another."""
    greatest_us: int = 0
    """The farthest that one was moved, in µs."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a rule aligns."""

    step_us: int
    how: Literal["nearest", "floor"] = "nearest"
    max_shift_us: int | None = None
    """Samples that would be moved farther keep their time; None: no bound but the step's."""

    def place(self, time_us: int) -> int:
        """Where this time belongs on the grid; `nearest` takes the later one of two that are as near."""
        if self.how == "floor":
            return time_us - time_us % self.step_us
        moved = time_us + self.step_us // 2
        return moved - moved % self.step_us


@dataclass(slots=True)
class Aligner:
    """Aligns samples and counts what that does. For one thread at a time."""

    shifts: Shifts = field(default_factory=Shifts)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Input → (time on the grid, its own time) of its last sample."""

    def align(self, samples: list[Sample], grid: Grid) -> list[Sample]:
        """These samples with their times on the grid."""
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
