"""Histograms of delays: exact on the metrics page, fine enough for quantiles, and bounded work for any number."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Any

import pytest

from connector.ledger.delays import BOUNDS, PICKED, WINDOW_SECONDS, Freshness, Histogram, step_for


def filled(delays: list[int]) -> Histogram:
    histogram = Histogram()
    step = step_for(len(delays))
    histogram.add_picked(delays[::step], len(delays), step)
    return histogram


@pytest.mark.parametrize(("median", "spread"), [(0.02, 1.0), (1.5, 0.3), (40.0, 2.0), (90_000.0, 0.5)])
def test_quantiles_are_right_to_two_percent(median: float, spread: float) -> None:
    chance = random.Random(1)
    delays = [round(chance.lognormvariate(math.log(median), spread) * 1e6) for _ in range(20_000)]
    histogram = Histogram()
    for start in range(0, len(delays), PICKED):
        part = delays[start : start + PICKED]
        histogram.add_picked(part, len(part), 1)
    shares = (0.5, 0.9, 0.99)
    truth = [sorted(delays)[round(share * len(delays)) - 1] / 1e6 for share in shares]
    assert histogram.quantiles(shares, 0.0) == pytest.approx(truth, rel=0.013, abs=0.0005)
    for bound, n in histogram.shown():
        assert n == sum(delay / 1e6 <= bound for delay in delays), bound


def test_of_very_many_delays_evenly_spaced_ones_stand_for_all() -> None:
    delays = [1_000_000 + n for n in range(100_001)]
    histogram = filled(delays)
    assert histogram.shown()[-1] == (math.inf, 100_001)
    assert histogram.quantiles([0.99], 0.0) == pytest.approx([1.099], rel=0.013)
    assert histogram.sum_us == pytest.approx(sum(delays), rel=0.001)


def test_a_delay_before_its_begin_counts_as_none_and_a_very_long_one_has_no_bound() -> None:
    histogram = filled([-5_000_000, -1, 0, 999, BOUNDS[-1] + 1])
    assert [n for _, n in histogram.shown()] == [4] * 22 + [5]
    assert histogram.sum_us == 999 + BOUNDS[-1] + 1
    assert Histogram().quantiles([0.5], 0.0) == []


def test_quantiles_forget_what_was_long_ago() -> None:
    histogram = filled([60_000_000] * 100)
    assert histogram.quantiles([0.5], 0.0) == pytest.approx([60.0], rel=0.013)
    for window in range(1, 4):
        histogram.add(1_000_000, 10)
        found = histogram.quantiles([0.5], window * WINDOW_SECONDS)
        assert found == pytest.approx([60.0 if window < 2 else 1.0], rel=0.013)


def test_the_windows_move_on_for_one_reader_at_a_time() -> None:
    """The page of the metrics and the status page ask in threads of their own."""
    histogram = filled([1_000_000])

    class Watched(deque[Any]):
        def append(self, window: Any) -> None:
            assert histogram._lock.locked()
            super().append(window)

        def popleft(self) -> Any:
            assert histogram._lock.locked()
            return super().popleft()

    histogram._earlier = Watched()
    for window in range(4):
        assert histogram.quantiles([0.5], window * WINDOW_SECONDS) or window > 1


def test_the_share_of_an_objective() -> None:
    assert Freshness(60.0).share is None
    assert Freshness(60.0, 3, 1).share == 0.75
