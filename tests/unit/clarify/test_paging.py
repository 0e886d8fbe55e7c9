"""Pages and windows: everything is asked for once, and no bucket is cut in two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.clarify.iso8601 import microseconds
from connector.clarify.paging import bounds, pages, read_rollup, windows
from connector.sandbox.rollups import parse_rollup

DAY = 86_400_000_000
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def us(text: str) -> int:
    return microseconds(text)


def test_pages() -> None:
    assert list(pages(0, 2500, 1000)) == [(0, 1000), (1000, 1000), (2000, 500)]
    assert list(pages(5, 1000, 1000)) == [(5, 1000)]
    assert list(islice(pages(0, None, 50), 3)) == [(0, 50), (50, 50), (100, 50)]
    with pytest.raises(ValueError, match="below zero"):
        list(pages(-1, 10, 50))


def test_bounds() -> None:
    now = microseconds(NOW)
    assert bounds(None, None, NOW) == (now - 7 * DAY, now + 7 * DAY)
    assert bounds("2026-05-01T00:00:00Z", None, NOW) == (us("2026-05-01T00:00:00Z"), us("2026-06-10T00:00:00Z"))
    assert bounds(None, "2026-05-01T00:00:00Z", NOW)[0] == us("2026-03-22T00:00:00Z")
    with pytest.raises(ValueError, match=r"ends .* before it begins"):
        bounds("2026-05-02T00:00:00Z", "2026-05-01T00:00:00Z", NOW)


@pytest.mark.parametrize(
    ("rollup", "data_frame", "days"),
    [
        (None, True, 40),
        ("PT30S", True, 40),
        ("PT1M", True, 400),
        (timedelta(hours=24), True, 1900),
        ("P30D", True, 3660),
        ("P30D", False, 1900),
        ("P1M", True, 1900),
        ("P2M", True, 3660),
    ],
)
def test_the_longest_windows(rollup: str | timedelta | None, data_frame: bool, days: int) -> None:
    start = us("2000-01-03T00:00:00Z")
    found = list(windows(start, start + 4000 * DAY, read_rollup(rollup), data_frame=data_frame))
    assert max(stop - first for first, stop in found) <= days * DAY
    assert len(found) == len(list(range(0, 4000, days))) or rollup in ("P1M", "P2M", "P30D")
    assert found[0][0] == start
    assert found[-1][1] == start + 4000 * DAY
    assert all(one[1] == next_one[0] for one, next_one in pairwise(found))
    whole = list(windows(start, start + 4000 * DAY, read_rollup("window"), data_frame=data_frame))
    assert whole == [(start, start + 4000 * DAY)]


def test_windows_begin_at_the_edges_of_buckets() -> None:
    rollup = read_rollup("P1M", time_zone="Europe/Oslo")
    found = list(windows(us("2020-01-15T00:00:00Z"), us("2026-05-01T00:00:00Z"), rollup, data_frame=True))
    assert [first for first, _ in found][1:] == [us("2025-02-28T23:00:00Z")]
    days = read_rollup("P1D", time_zone="Europe/Oslo")
    edges = [first for first, _ in windows(us("2026-03-20T05:00:00Z"), us("2026-04-05T00:00:00Z"), days,
                                           data_frame=True, size="P5DT1H")]  # fmt: skip
    assert edges[1:] == [us("2026-03-24T23:00:00Z"), us("2026-03-29T22:00:00Z"), us("2026-04-03T22:00:00Z")]
    weeks = read_rollup("P1W", first_day=7)
    assert weeks is not None
    assert weeks.edge_before(us("2026-05-01T12:00:00Z")) == us("2026-04-26T00:00:00Z")
    shifted = read_rollup("P2M", origin="2026-01-15T06:00:00Z")
    assert shifted is not None
    assert shifted.edge_before(us("2026-05-01T12:00:00Z")) == us("2026-03-15T06:00:00Z")
    assert shifted.edge_before(us("2025-12-31T00:00:00Z")) == us("2025-11-15T06:00:00Z")


@settings(max_examples=200)
@given(
    text=st.sampled_from(["PT40M", "PT1H", "PT90M", "P1D", "P10D", "P2W", "P1M", "P5M", "P1Y"]),
    zone=st.sampled_from(["UTC", "Europe/Oslo", "America/St_Johns"]),
    first_day=st.integers(1, 7),
    origin=st.sampled_from([None, "2026-01-31T06:00:00Z", "2026-03-29T01:30:00Z"]),
    time_us=st.integers(10**15, 3 * 10**15),
)
@example("PT90M", "America/St_Johns", 1, "2026-01-31T06:00:00Z", 1_647_151_200_000_000)  # 02:30, which never was
def test_edges_are_those_of_the_sandbox(text: str, zone: str, first_day: int, origin: str | None, time_us: int) -> None:
    """Two programs, written after the same description, agree where buckets begin."""
    ours = read_rollup(text, time_zone=zone, first_day=first_day, origin=origin)
    origin_us = None if origin is None else us(origin)
    theirs = parse_rollup(text, time_zone=zone, first_day_of_week=first_day, origin_us=origin_us)
    assert ours is not None
    assert theirs is not None
    edge = ours.edge_before(time_us)
    assert edge <= time_us
    assert theirs.start_of(edge) == edge


@given(
    start=st.integers(0, 2 * 10**15),
    length=st.integers(0, 5000 * DAY),
    rollup=st.sampled_from([None, "PT1S", "PT7M", "PT1H", "P1D", "P1W", "P1M", "P1Y"]),
    size=st.sampled_from([None, "PT5H", "P3D", "P40D"]),
)
def test_windows_follow_each_other(start: int, length: int, rollup: str | None, size: str | None) -> None:
    end = start + min(length, 200 * DAY if size else length)
    found = list(windows(start, end, read_rollup(rollup), data_frame=True, size=size))
    assert found[0][0] == start
    assert found[-1][1] == end
    assert all(one[1] == next_one[0] and one[0] < one[1] for one, next_one in pairwise(found))


@pytest.mark.parametrize("text", ["", "P", "PT", "5m", "P1M1D", "P0D", "PT0S", "-PT5M", "hour"])
def test_no_rollups(text: str) -> None:
    with pytest.raises(ValueError, match="is no rollup"):
        read_rollup(text)


def test_zones_and_days() -> None:
    with pytest.raises(ValueError, match="'Mars/Olympus' is no time zone"):
        read_rollup("PT1H", time_zone="Mars/Olympus")
    with pytest.raises(ValueError, match="firstDayOfWeek is 1"):
        read_rollup("P1W", first_day=8)
    with pytest.raises(ValueError, match="longer than zero"):
        read_rollup(timedelta(0))
