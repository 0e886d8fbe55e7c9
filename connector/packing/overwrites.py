"""Overwrites: values that a different, later value of the same input and time replaced, perhaps by mistake.

Clarify keeps one value for an input and a time: the last one that comes. If the two values are equal, a message came
twice, and nothing is lost. If the values differ, two things share an input, or the times are too coarse. An overwrite
is noticed if both values are in one frame, or if the earlier value is in one of the last rows of its table that were
taken out before.
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
    """The token of the record with the later value."""


def overwrites(frame: Frame) -> Iterator[Overwrite]:
    """Yields the values that a different value of the same frame replaced."""
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
    """Yields the values of row `before` that a different value of row `after`, with the same time, replaced."""
    for i, input_id in enumerate(block.inputs):
        old, new = block.values[before * width + i], block.values[after * width + i]
        if old != new:
            yield Overwrite(input_id, block.times[after], old, new, block.tokens[after])
