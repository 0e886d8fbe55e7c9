"""Overwrites: values that another value of the same input and time replaced, which nobody may have meant.

Clarify keeps one value for an input and a time: the one that comes last. Where the two values are equal, a message came
twice, and nothing is lost. Where they differ, two things share an input, or the times are too coarse. Seen are values
that meet in one frame, and values that meet one of the last rows of the same inputs in the frame before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from connector.packing.frame import Frame, RowBlock


class Overwrite(NamedTuple):
    """A value that a later, different one replaced."""

    input_id: str
    time_us: int
    before: float
    after: float
    token: int
    """Of the record with the later value."""


def overwrites(frame: Frame) -> Iterator[Overwrite]:
    """The values that others in this frame replaced; none where the values are equal."""
    if frame.superseded:
        for block in frame.blocks:
            if len(set(block.times)) < len(block.times):
                yield from _in_block(block)


def _in_block(block: RowBlock) -> Iterator[Overwrite]:
    width = len(block.inputs)
    last: dict[int, int] = {}
    for row, time_us in enumerate(block.times):
        before = last.get(time_us)
        last[time_us] = row
        if before is not None:
            yield from between(block, before, row, width)


def between(block: RowBlock, before: int, after: int, width: int) -> Iterator[Overwrite]:
    """The values of row `before` that row `after`, of the same time, replaced with others."""
    for i, input_id in enumerate(block.inputs):
        old, new = block.values[before * width + i], block.values[after * width + i]
        if old != new:
            yield Overwrite(input_id, block.times[after], old, new, block.tokens[after])
