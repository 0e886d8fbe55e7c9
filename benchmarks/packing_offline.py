"""How few frames what waits can be packed into, when there is time to try: the yardstick for the planner.

Sizes follow the planner's formula with average digits, as if no two devices shared a time. Methods: the devices in
several orders, each frame filled until it is full; frames begun at one end of the proportions of rows to series and
filled with what is most alike; and both with devices cut by time where a frame has room. The best of all counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import log, sqrt
from typing import NamedTuple

from connector.packing.encoder import time_bytes, value_bytes
from connector.packing.frame import ENVELOPE, NULL, RowBlock

_REFUSALS = (24, 1000)


class Load(NamedTuple):
    """What waits of one device."""

    rows: int
    series: int
    digits: float
    keys: int

    def cut(self, rows: int) -> tuple[Load, Load]:
        """The first rows, and the others."""
        share = rows / self.rows
        return (
            Load(rows, self.series, self.digits * share, self.keys),
            Load(self.rows - rows, self.series, self.digits * (1 - share), self.keys),
        )


class _Frame:
    def __init__(self, limit: int, time_length: float) -> None:
        self.limit = limit
        self.time_length = time_length
        self.rows = self.series = self.samples = 0
        self.fixed = float(ENVELOPE)

    def size_with(self, load: Load) -> float:
        rows, series = self.rows + load.rows, self.series + load.series
        samples = self.samples + load.rows * load.series
        fixed = self.fixed + load.rows * self.time_length + load.digits + load.keys
        return fixed + samples + NULL * (rows * series - samples)

    def take(self, load: Load) -> bool:
        if self.size_with(load) > self.limit:
            return False
        self.fixed += load.rows * self.time_length + load.digits + load.keys
        self.rows += load.rows
        self.series += load.series
        self.samples += load.rows * load.series
        return True

    def most_rows(self, load: Load) -> int:
        low, high = 0, load.rows
        while low < high:
            middle = (low + high + 1) // 2
            if self.size_with(load.cut(middle)[0]) <= self.limit:
                low = middle
            else:
                high = middle - 1
        return low


def loads_of(blocks: Sequence[RowBlock]) -> list[Load]:
    """One load a block."""
    return [
        Load(
            len(block.times), len(block.inputs), value_bytes(block.values), sum(len(name) + 6 for name in block.inputs)
        )
        for block in blocks
    ]


def best_offline(blocks: Sequence[RowBlock], limit: int) -> dict[str, int]:
    """Frames needed by each method; the smallest is the yardstick."""
    loads = loads_of(blocks)
    some = [time_us for block in blocks for time_us in block.times[:100]]
    length = time_bytes(some) / len(some) + 3
    orders: dict[str, Callable[[Load], float]] = {
        "by_rows": lambda load: -load.rows,
        "by_series": lambda load: -load.series,
        "by_samples": lambda load: -load.rows * load.series,
        "by_proportion": lambda load: -load.rows / load.series,
        "by_proportion_reversed": lambda load: load.rows / load.series,
    }
    found = {name: len(_in_order(sorted(loads, key=key), limit, length)) for name, key in orders.items()}
    for name, end in (("tallest_first", 1), ("flattest_first", -1)):
        for refusals in _REFUSALS:
            for fill in (0.0, 0.9):
                frames = _alike(loads, limit, length, end, refusals, fill)
                found[f"{name}_{refusals}_{fill:g}"] = frames
    found["annealed"] = _annealed(sorted(loads, key=orders["by_proportion"]), limit, length)
    return found


def _in_order(loads: Sequence[Load], limit: int, length: float) -> list[_Frame]:
    frames = [_Frame(limit, length)]
    waiting = list(reversed(loads))
    while waiting:
        load = waiting.pop()
        if frames[-1].take(load):
            continue
        rows = frames[-1].most_rows(load)
        if rows > load.rows * 0.1:
            first, load = load.cut(rows)
            assert frames[-1].take(first)
        waiting.append(load)
        frames.append(_Frame(limit, length))
    return frames


def _alike(loads: Sequence[Load], limit: int, length: float, end: int, refusals: int, fill: float) -> int:
    left = sorted(loads, key=lambda load: end * load.rows / load.series)
    count = 0
    while left:
        frame = _Frame(limit, length)
        count += 1
        first = left.pop()
        if not frame.take(first):
            taken, rest = first.cut(frame.most_rows(first))
            assert frame.take(taken)
            left.append(rest)
            continue
        refused: list[Load] = []
        while left and len(refused) < refusals:
            ratio = frame.rows / frame.series
            best = min(left, key=lambda load: _mismatch(load.rows / load.series / ratio))
            left.remove(best)
            if not frame.take(best):
                refused.append(best)
        for i, load in enumerate(refused):
            if frame.size_with(Load(0, 0, 0, 0)) >= fill * limit:
                break
            rows = frame.most_rows(load)
            if rows > load.rows * 0.25:
                taken, refused[i] = load.cut(rows)
                assert frame.take(taken)
                break
        left = sorted([*left, *refused], key=lambda load: end * load.rows / load.series)
    return count


def _mismatch(x: float) -> float:
    return sqrt(x) + 1 / sqrt(x)


def _annealed(start: list[Load], limit: int, length: float, steps: int = 1500) -> int:
    """Move devices about in the order, and keep what needs less: simulated annealing."""
    chance = random.Random(1)

    def cost(order: list[Load]) -> float:
        frames = _in_order(order, limit, length)
        return len(frames) - 1 + frames[-1].size_with(Load(0, 0, 0, 0)) / limit

    now, best = list(start), cost(start)
    current = best
    heat = 0.15
    for _ in range(steps):
        tried = list(now)
        load = tried.pop(chance.randrange(len(tried)))
        tried.insert(chance.randrange(len(tried) + 1), load)
        value = cost(tried)
        if value < current or log(chance.random() or 1e-9) < (current - value) / heat:
            now, current = tried, value
        best = min(best, current)
        heat = max(0.01, heat * 0.998)
    return int(best) + 1
