"""Histograms of delays, fine enough for quantiles, and the account of an objective for freshness.

A histogram counts in buckets that are at most 2.5 % wide, from 1 ms to 115 days. So a quantile, which is the middle of
its bucket, is right to 1.3 %. The page of the metrics shows few of these bounds, and the quantiles beside them: 1,600
buckets of each stage and source would be too many for a scrape.

Delays are counted in bulk. Of more than 4,096 delays at a time, evenly spaced ones stand for all.
"""

from __future__ import annotations

import math
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

_PARTS: Final = (*range(100, 200, 2), *range(200, 500, 5), *range(500, 1000, 10))
BOUNDS: Final[Sequence[int]] = [10 ** (decade + 1) * part for decade in range(10) for part in _PARTS]
"""The upper bounds of the buckets, in µs, rising; the first bucket begins at 0, and the last one has no bound."""
_SHOWN_US: Final = [
    *(1_000 * ms for ms in (5, 10, 25, 50, 100, 250, 500)),
    *(100_000 * tenths for tenths in (10, 25, 50, 100, 200, 300, 600, 1200)),
    *(1_000_000 * seconds for seconds in (300, 600, 1800, 3600, 10_800, 36_000, 108_000)),
]
"""The bounds for the metrics, in µs. Each is one of `BOUNDS`, so its number is exact."""
PICKED: Final = 4096
"""The most delays that are counted one by one."""
WINDOW_SECONDS: Final = 300.0
"""A quantile is of the delays since the window before the present one began."""


def step_for(n: int, most: int = PICKED) -> int:
    """Returns the distance between the picked ones of `n` delays: at most `most` are picked, each for so many."""
    return -(-n // most) or 1


class Histogram:
    """The number of delays in each bucket. Safe for threads."""

    __slots__ = ("_counts", "_earlier", "_lock", "sum_us")

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * (len(BOUNDS) + 1)))
        self._earlier: deque[tuple[float, array[int]]] = deque()
        """The begin (seconds) of the present window and of the one before, each with the counts at that time."""
        self._lock = threading.Lock()
        self.sum_us = 0

    def add(self, delay_us: int, n: int = 1) -> None:
        """Count `n` equal delays, in µs; a delay below 0, from a clock that is ahead, counts as 0."""
        with self._lock:
            self._counts[bisect_left(BOUNDS, delay_us)] += n
            self.sum_us += max(0, delay_us) * n

    def add_picked(self, delays: Sequence[int], n: int, step: int, width: int = 1) -> None:
        """Count `n` times `width` delays, of which every `step`-th is in `delays` (µs), from the first one on."""
        if not delays:
            return
        self.add(delays[-1], width * (n - step * (len(delays) - 1)))
        rising = sorted(delays[:-1])
        start, end, each = 0, len(rising), step * width
        with self._lock:
            counts = self._counts
            while start < end:
                bucket = bisect_left(BOUNDS, rising[start])
                after = end if bucket == len(BOUNDS) else bisect_right(rising, BOUNDS[bucket], start)
                counts[bucket] += (after - start) * each
                start = after
            self.sum_us += each * (sum(rising) if not rising or rising[0] >= 0 else sum(max(0, one) for one in rising))

    def shown(self) -> list[tuple[float, int]]:
        """Returns (bound in seconds, number of delays since the start that are not longer) for few bounds, rising.

        The last bound is infinite.
        """
        with self._lock:
            sums = list(accumulate(self._counts))
        return [*((bound / 1e6, sums[bisect_left(BOUNDS, bound)]) for bound in _SHOWN_US), (math.inf, sums[-1])]

    def quantiles(self, shares: Sequence[float], now: float) -> list[float]:
        """Returns the quantile for each share (0 to 1) of the last five to ten minutes, in seconds; empty without any.

        `now` is in seconds of any rising clock. The windows move on when this method is called.
        """
        with self._lock:
            counts, earlier = self._counts[:], self._earlier
            if not earlier or now >= earlier[-1][0] + WINDOW_SECONDS:
                earlier.append((now, counts if earlier else array("q", bytes(8 * len(counts)))))
            if len(earlier) > 2:
                earlier.popleft()
            begin = earlier[0][1]
        sums = list(accumulate(new - old for new, old in zip(counts, begin, strict=True)))
        return [_middle(bisect_left(sums, max(1.0, share * sums[-1]))) for share in shares] if sums[-1] else []


def _middle(bucket: int) -> float:
    """Returns the middle of a bucket, in seconds."""
    low, high = BOUNDS[bucket - 1] if bucket else 0, BOUNDS[min(bucket, len(BOUNDS) - 1)]
    return (low + high) / 2e6


@dataclass(slots=True)
class Freshness:
    """The samples of a source that Clarify had within its objective, and those that came later."""

    objective: float
    """The longest time, in seconds, from the time of a sample until Clarify has stored the sample."""
    kept: int = 0
    missed: int = 0

    @property
    def share(self) -> float | None:
        """The share of the samples that kept the objective, 0 to 1; None without a sample."""
        return self.kept / (self.kept + self.missed) if self.kept or self.missed else None
