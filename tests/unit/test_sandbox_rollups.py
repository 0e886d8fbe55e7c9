"""Rollups: where buckets begin, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import fsum, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.rollups import Rollup, RollupError, numeric, parse_rollup, state_rate, states

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
HOUR = 3600 * SECOND


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def rollup(text: str, zone: str = "UTC", first_day: int = 1, origin: str | None = None) -> Rollup:
    found = parse_rollup(
        text, time_zone=zone, first_day_of_week=first_day, origin_us=us(origin) if origin is not None else None
    )
    assert found is not None
    return found


def starts(found: Rollup, gte: str, lt: str) -> list[str]:
    return [(EPOCH + timedelta(microseconds=s)).isoformat()[:16] for s, _ in found.buckets(us(gte), us(lt))]


def test_days_follow_the_local_clock_over_its_changes() -> None:
    days = rollup("P1D", "Europe/Oslo")
    spring = list(days.buckets(us("2026-03-28T12:00:00Z"), us("2026-03-30T12:00:00Z")))
    assert [(end - start) // HOUR for start, end in spring] == [24, 23, 24]
    autumn = list(days.buckets(us("2026-10-24T12:00:00Z"), us("2026-10-26T12:00:00Z")))
    assert [(end - start) // HOUR for start, end in autumn] == [24, 25, 24]
    assert starts(days, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z") == [
        "2026-03-27T23:00", "2026-03-28T23:00", "2026-03-29T22:00",
    ]  # fmt: skip


def test_hours_have_one_length() -> None:
    hours = rollup("PT1H", "Europe/Oslo")
    found = list(hours.buckets(us("2026-10-24T22:00:00Z"), us("2026-10-25T05:00:00Z")))
    assert {end - start for start, end in found} == {HOUR}
    half = rollup("PT30M", "Asia/Kolkata")
    assert half.start_of(us("2026-05-01T06:10:00Z")) == us("2026-05-01T06:00:00Z")


def test_weeks_months_years_and_origins() -> None:
    assert starts(rollup("P1W"), "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z") == ["2026-04-27T00:00"]
    for first_day in range(1, 8):
        (start,) = starts(rollup("P1W", first_day=first_day), "2026-05-01T00:00:00Z", "2026-05-01T01:00:00Z")
        assert datetime.fromisoformat(start).isoweekday() == first_day
    assert starts(rollup("P1M"), "2024-01-31T00:00:00Z", "2024-03-01T00:00:01Z") == [
        "2024-01-01T00:00", "2024-02-01T00:00", "2024-03-01T00:00",
    ]  # fmt: skip
    quarter = rollup("P3M", "Europe/Oslo")
    assert starts(quarter, "2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z") == ["2026-03-31T22:00", "2026-06-30T22:00"]
    assert starts(rollup("P1Y"), "1969-06-01T00:00:00Z", "1970-06-01T00:00:00Z") == [
        "1969-01-01T00:00", "1970-01-01T00:00",
    ]  # fmt: skip
    mid_month = rollup("P1M", origin="2026-01-31T06:00:00Z")
    assert starts(mid_month, "2026-02-10T00:00:00Z", "2026-04-01T00:00:00Z") == [
        "2026-01-31T06:00", "2026-02-28T06:00", "2026-03-31T06:00",
    ]  # fmt: skip
    shifted = rollup("PT1H", origin="2026-01-01T00:10:00Z")
    assert shifted.start_of(us("2026-05-01T06:05:00Z")) == us("2026-05-01T05:10:00Z")
    assert rollup("P0DT0H5M0.000000S").fixed_us == 300 * SECOND
    assert rollup("PT0.5S").fixed_us == SECOND // 2
    assert rollup("P1W2DT3H").fixed_us == (9 * 24 + 3) * HOUR


@pytest.mark.parametrize(
    ("text", "said"),
    [("P1M1D", "go with nothing else"), ("", "neither window nor"), ("PT0S", "longer than nothing"),
     ("-PT5M", "neither"), ("P0M", "longer than nothing"), ("P9999Y", "4000 years"), ("hour", "neither")],
)  # fmt: skip
def test_no_rollups(text: str, said: str) -> None:
    with pytest.raises(RollupError, match=said):
        parse_rollup(text)


def test_zones_and_days() -> None:
    with pytest.raises(RollupError, match="no time zone"):
        parse_rollup("P1D", time_zone="Mars/Olympus")
    with pytest.raises(RollupError, match="no time zone"):
        parse_rollup("P1D", time_zone="../../etc/passwd")
    with pytest.raises(RollupError, match="firstDayOfWeek"):
        parse_rollup("P1D", first_day_of_week=0)
    assert parse_rollup(None) is None


def test_the_whole_window_is_one_bucket() -> None:
    whole = rollup("window")
    assert whole.is_window
    assert list(whole.buckets(5, 10)) == [(5, 10)]
    found = numeric([(4, 1.0), (5, 2.0), (9, 4.0), (10, 8.0)], whole, 5, 10)
    assert found == {
        "count": {5: 2.0}, "min": {5: 2.0}, "max": {5: 4.0}, "sum": {5: 6.0}, "avg": {5: 3.0},
        "first": {5: 2.0}, "last": {5: 4.0},
    }  # fmt: skip


def test_seconds_in_states() -> None:
    minute = rollup("PT1M")
    samples = [(-30 * SECOND, 2.0), (30 * SECOND, 1.0), (90 * SECOND, 0.0), (150 * SECOND, 1.9)]
    assert states(samples, minute, 0, 180 * SECOND, gap_us=None) == {
        2: {0: 30.0},
        1: {0: 30.0, 60 * SECOND: 30.0, 120 * SECOND: 30.0},
        0: {60 * SECOND: 30.0, 120 * SECOND: 30.0},
    }
    assert states(samples, minute, 0, 180 * SECOND, gap_us=10 * SECOND) == {
        1: {0: 10.0, 120 * SECOND: 10.0},
        0: {60 * SECOND: 10.0},
    }
    assert states(samples, rollup("window"), 0, 180 * SECOND, gap_us=None)[1] == {0: 90.0}
    assert state_rate(samples, minute, 0, 180 * SECOND, 1) == {0: 1.0, 60 * SECOND: 0.0, 120 * SECOND: 1.0}
    assert state_rate(samples, minute, 0, 180 * SECOND, 2) == {0: 0.0, 60 * SECOND: 0.0, 120 * SECOND: 0.0}


ROLLUPS = st.builds(
    rollup,
    st.sampled_from(["PT7S", "PT1M", "PT1H", "PT90M", "PT5H", "P1D", "P1W", "P1M", "P5M", "P1Y"]),
    st.sampled_from(["UTC", "Europe/Oslo", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.integers(1, 7),
    st.sampled_from([None, "2026-03-29T01:30:00Z", "1999-12-31T23:59:59Z"]),
)
TIMES = st.integers(-(10**15), 4 * 10**15)


@settings(max_examples=300)
@given(found=ROLLUPS, time_us=TIMES, buckets=st.integers(0, 20))
def test_buckets_follow_each_other_and_hold_their_times(found: Rollup, time_us: int, buckets: int) -> None:
    end = time_us + buckets * found.shortest_us + 1
    edges = list(found.buckets(time_us, end))
    assert edges[0][0] <= time_us < edges[0][1]
    assert edges[-1][0] < end <= edges[-1][1]
    assert all(one[1] == following[0] for one, following in pairwise(edges))
    for start, stop in edges:
        assert start < stop
        for inside in (start, (start + stop) // 2, stop - 1):
            assert found.start_of(inside) == start


@settings(max_examples=150)
@given(
    found=ROLLUPS,
    start=TIMES,
    steps=st.lists(st.tuples(st.integers(1, 3 * 10**12), st.floats(-1e6, 1e6)), max_size=30),
)
def test_aggregates_are_those_of_each_bucket(found: Rollup, start: int, steps: Sequence[tuple[int, float]]) -> None:
    samples, time_us = [], start
    for step, value in steps:
        time_us += step
        samples.append((time_us, value))
    gte, lt = start + 10**12, time_us - 10**11
    got = numeric(samples, found, gte, lt)
    naive: dict[int, list[float]] = {}
    for at, value in samples:
        if gte <= at < lt:
            naive.setdefault(found.start_of(at), []).append(value)
    assert got["count"] == {key: len(values) for key, values in naive.items()}
    assert got["min"] == {key: min(values) for key, values in naive.items()}
    assert got["last"] == {key: values[-1] for key, values in naive.items()}
    assert got["first"] == {key: values[0] for key, values in naive.items()}
    assert all(isclose(got["sum"][key], fsum(values), abs_tol=1e-6) for key, values in naive.items())
