"""The forecast says in time, and correctly, that a load does not fit; a simulation with the planner checks this."""

from __future__ import annotations

import random

import pytest

from connector.packing.encoder import time_texts
from connector.packing.forecast import Forecast, FrameSize, Outlook
from connector.packing.frame import encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped

START = 1_790_000_000_000_000
SECOND = 1_000_000
MAX_BYTES = 200_000


def run(devices: int, values: int, seconds: int, *, max_waiting: int, same_clock: bool = False) -> tuple[Outlook, bool]:
    """A fleet at 1 Hz and one slot a second. Returns the outlook halfway, and whether more samples wait at the end than
    may wait."""
    chance = random.Random(1)
    pending, forecast = Pending(), Forecast(MAX_BYTES, max_waiting)
    inputs = [[f"d{device}/v{value}" for value in range(values)] for device in range(devices)]
    token = 0
    halfway: Outlook | None = None
    for second in range(seconds):
        batch = []
        for names in inputs:
            time_us = START + second * SECOND + (0 if same_clock else chance.randrange(SECOND))
            batch.append(Mapped([(name, time_us, 20.5) for name in names]))
        pending.add(token, enumerate(batch), float(second))
        forecast.received(devices * values, float(second))
        token += devices
        waiting = pending.waiting
        plan = plan_frame(pending, MAX_BYTES, float(second))
        frame = encode_frame(pending.take(plan))
        size = FrameSize(len(frame.body), frame.rows, frame.series, frame.samples, waiting)
        forecast.sent(size, frame.times)
        if second == seconds // 2:
            halfway = forecast.outlook(pending.waiting, 1.0, float(second))
    assert halfway is not None
    return halfway, pending.waiting > max_waiting


@pytest.mark.parametrize(("devices", "values"), [(20, 5), (60, 5), (100, 5), (100, 1), (150, 5), (250, 5), (400, 5)])
def test_the_forecast_agrees_with_what_happens(devices: int, values: int) -> None:
    outlook, too_much = run(devices, values, 120, max_waiting=20_000)
    assert outlook.inflow == pytest.approx(devices * values, rel=0.05)
    if outlook.factor > 1.3:
        assert not too_much
    if outlook.factor < 0.7:
        assert too_much


def test_a_fleet_far_too_large_is_known_early() -> None:
    outlook, too_much = run(800, 5, 40, max_waiting=20_000)
    assert not outlook.sustainable
    assert outlook.factor < 0.7
    assert too_much


def test_a_common_clock_lets_much_more_through() -> None:
    own, _ = run(100, 5, 20, max_waiting=20_000)
    common, too_much = run(100, 5, 20, max_waiting=20_000, same_clock=True)
    assert common.factor > 3 * own.factor
    assert not too_much


def test_the_backlog_is_told_in_seconds_at_the_present_packing() -> None:
    forecast = Forecast(1000, 10_000)
    forecast.received(400, 0.0)
    forecast.sent(FrameSize(bytes=1000, rows=10, series=10, samples=50, waiting=400))
    outlook = forecast.outlook(350, 0.5, 1.0)
    assert outlook is not None
    assert outlook.capacity == 25.0
    assert outlook.backlog_seconds == 14.0


def test_nothing_is_said_before_anything_has_left() -> None:
    forecast = Forecast(1000, 10_000)
    assert forecast.outlook(0, 1.0, 0.0) is None
    forecast.received(1, 0.0)
    assert forecast.outlook(1, 1.0, 0.0) is None


def test_an_inflow_that_ends_is_forgotten() -> None:
    forecast = Forecast(1000, 10_000)
    for second in range(60):
        forecast.received(100, float(second))
    forecast.sent(FrameSize(500, 10, 10, 50, 50))
    early, late = forecast.outlook(0, 1.0, 60.0), forecast.outlook(0, 1.0, 260.0)
    assert early is not None
    assert late is not None
    assert early.inflow == pytest.approx(100, rel=0.1)
    assert late.inflow < 1
    assert late.factor > 100


def test_what_alignment_would_save_is_counted_for_full_requests_only() -> None:
    forecast = Forecast(10_000, 10_000)
    # 40 rows in one second, of 40 series that have one sample each
    times = {START + n * 1000 for n in range(40)}
    fixed = 40 * len('"d10/v0":[],')
    size = 40 * (len(time_texts([START + 1000])[0]) + 3) + 40 * 40 * 5 + fixed
    forecast.sent(FrameSize(size, 40, 40, 40, 40), times)
    assert forecast.full_requests == 1
    assert 0.9 < forecast.aligned_saves < 1
    forecast.sent(FrameSize(100, 1, 1, 1, 1), {START})
    assert forecast.full_requests == 1
