"""Rollups: where buckets begin, and what is in them. For arbitrary ones see tests/property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from connector.sandbox.rollups import Rollup, RollupError, numeric, parse_rollup, state_rate, states

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def us(text: str) -> int:
    return (datetime.fromisoformat(text + "Z") - EPOCH) // timedelta(microseconds=1)


def rollup(text: str, zone: str = "UTC", first_day: int = 1, origin: str | None = None) -> Rollup:
    found = parse_rollup(
        text, time_zone=zone, first_day_of_week=first_day, origin_us=None if origin is None else us(origin)
    )
    assert found is not None
    return found


def shown(time_us: int) -> str:
    return (EPOCH + timedelta(microseconds=time_us)).isoformat()[:16]


def starts(found: Rollup, gte: str, lt: str) -> list[str]:
    buckets = list(found.buckets(us(gte), us(lt)))
    assert all(one[1] == following[0] for one, following in pairwise(buckets))
    return [shown(start) for start, _ in buckets]


# -- what can be asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length_us"),
    [
        ("PT5M", 5 * MINUTE),
        ("P0DT0H5M0.000000S", 5 * MINUTE),
        ("PT0.5S", SECOND // 2),
        ("PT0.000001S", 1),
        ("PT1.2345678S", 1_234_567),
        ("PT90S", 90 * SECOND),
        ("PT1H30M", 90 * MINUTE),
        ("P1D", DAY),
        ("P2W", 14 * DAY),
        ("P1W2DT3H", 9 * DAY + 3 * HOUR),
        ("P0W0DT1S", SECOND),
    ],
)
def test_fixed_lengths(text: str, length_us: int) -> None:
    found = rollup(text)
    assert found.shortest_us == length_us
    ((start, end),) = found.buckets(us("2026-05-01T00:00:00"), us("2026-05-01T00:00:00") + 1)
    assert end - start == length_us
    assert not found.is_window


@pytest.mark.parametrize(
    ("text", "days"),
    [("P1M", 28), ("P2M", 56), ("P1Y", 365), ("P12M", 365), ("P1Y2M", 421), ("P10Y", 3650), ("P0Y1M", 28)],
)
def test_lengths_by_the_calendar(text: str, days: int) -> None:
    found = rollup(text)
    assert found.shortest_us == days * DAY
    buckets = islice(found.buckets(us("1999-06-01T00:00:00"), us("2999-01-01T00:00:00")), 50)
    assert all(end - start >= days * DAY for start, end in buckets)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("P1M2D", "'P1M2D' mixes months and days: give years and months, or weeks"),
        ("P1YT1M", "mixes years and minutes"),
        ("P1Y1M1W", "mixes months and weeks"),
        ("P0Y1D", "mixes years and days"),
        ("PT0S", "'PT0S' is nothing"),
        ("P0M", "is nothing"),
        ("P0D", "is nothing"),
        ("PT0.0000001S", "is nothing"),
        ("-PT5M", "'-PT5M' has a sign"),
        ("-P1M", "has a sign"),
        ("P9999Y", "longer than 4000 years"),
        ("P48001M", "longer than 4000 years"),
        ("P99999999D", "longer than 4000 years"),
        ("", "'' is neither window nor a duration such as PT5M"),
        ("hour", "neither"),
        ("P", "neither"),
        ("PT", "neither"),
        ("P1DT", "neither"),
        ("P1H", "neither"),
        ("PT1D", "neither"),
        ("P1D1W", "neither"),
        ("PT1.S", "neither"),
        ("PT.5S", "neither"),
        ("PT1.5M", "neither"),
        ("pt5m", "neither"),
        ("PT5M\n", "neither"),
        ("PT-5M", "neither"),
        ("PT\u0665M", "neither"),
        ("Window", "neither"),
        ("9" * 5000, "'9{40}…' is neither"),
    ],
)
def test_no_lengths(text: str, said: str) -> None:
    with pytest.raises(RollupError, match=said):
        parse_rollup(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "Europe", "\0", "x" * 5000, "\ud800"])
def test_no_zones(zone: str) -> None:
    with pytest.raises(RollupError, match="no time zone such as Europe/Oslo"):
        parse_rollup("P1D", time_zone=zone)


@pytest.mark.parametrize("first_day", [-1, 0, 8])
def test_no_days_of_the_week(first_day: int) -> None:
    with pytest.raises(RollupError, match=rf"must be 1 \(Monday\) to 7 \(Sunday\), not {first_day}"):
        parse_rollup("P1D", first_day_of_week=first_day)


def test_data_as_it_is() -> None:
    assert parse_rollup(None) is None


# -- where buckets begin --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "gte", "hours"),
    [
        (rollup("P1D", "Europe/Oslo"), "2026-03-28T12:00:00", [24, 23, 24]),
        (rollup("P1D", "Europe/Oslo"), "2026-10-24T12:00:00", [24, 25, 24]),
        (rollup("P1D", "America/New_York"), "2026-03-07T12:00:00", [24, 23, 24]),
        (rollup("P1D", "America/New_York"), "2026-10-31T12:00:00", [24, 25, 24]),
        (rollup("P1D", "Australia/Lord_Howe"), "2026-04-03T20:00:00", [24, 24.5, 24]),
        (rollup("P1D"), "2026-03-28T12:00:00", [24, 24, 24]),
        (rollup("P1D", "Asia/Kolkata"), "2026-03-28T12:00:00", [24, 24, 24]),
        (rollup("P1W", "Europe/Oslo"), "2026-03-20T12:00:00", [168, 167, 168]),
        (rollup("PT12H", "Europe/Oslo"), "2026-03-28T12:00:00", [12, 11, 12]),
        (rollup("PT12H", "Europe/Oslo"), "2026-10-24T11:00:00", [12, 13, 12]),
        (rollup("PT2H", "Europe/Oslo"), "2026-03-28T23:00:00", [2, 1, 2]),
        (rollup("PT2H", "Europe/Oslo"), "2026-10-24T22:00:00", [2, 3, 2]),
        (rollup("PT1H", "Europe/Oslo"), "2026-03-28T23:00:00", [1, 1, 1]),
        (rollup("PT1H", "Europe/Oslo"), "2026-10-24T23:00:00", [1, 1, 1]),
        (rollup("PT2H", "Antarctica/Troll"), "2026-03-28T22:00:00", [2, 2, 2]),
        # From 23:30 to what would be 02:00: at 01:00 the clock goes to 03:00. The next edge is 04:30.
        (rollup("PT150M", "Antarctica/Troll"), "2026-03-29T00:00:00", [1.5, 1.5, 2.5]),
    ],
)
def test_buckets_over_a_change_of_the_clock(found: Rollup, gte: str, hours: list[float]) -> None:
    buckets = list(islice(found.buckets(us(gte), us(gte) + 100 * DAY), len(hours)))
    assert [(end - start) / HOUR for start, end in buckets] == hours
    assert all(one[1] == following[0] for one, following in pairwise(buckets))


def test_narrow_buckets_in_a_zone_that_has_no_summer_time_any_more() -> None:
    found = rollup("PT40M", "Asia/Tokyo")
    for change in ("1950-05-06T15:00:00", "1950-09-09T14:00:00"):
        buckets = found.buckets(us(change) - DAY, us(change) + DAY)
        assert {end - start for start, end in buckets} == {40 * MINUTE}


def test_days_in_oslo_begin_at_midnight_there() -> None:
    days = rollup("P1D", "Europe/Oslo")
    assert starts(days, "2026-03-28T12:00:00", "2026-03-30T12:00:00") == [
        "2026-03-27T23:00", "2026-03-28T23:00", "2026-03-29T22:00",
    ]  # fmt: skip
    assert starts(days, "2026-10-24T12:00:00", "2026-10-26T12:00:00") == [
        "2026-10-23T22:00", "2026-10-24T22:00", "2026-10-25T23:00",
    ]  # fmt: skip


def test_the_day_that_samoa_left_out() -> None:
    assert starts(rollup("P1D", "Pacific/Apia"), "2011-12-29T00:00:00", "2012-01-01T00:00:00") == [
        "2011-12-28T10:00", "2011-12-29T10:00", "2011-12-30T10:00", "2011-12-31T10:00",
    ]  # fmt: skip


def test_buckets_that_are_wider_than_half_an_hour_follow_a_clock_that_changes_by_half_an_hour() -> None:
    hours = rollup("PT1H", "Australia/Lord_Howe")
    assert shown(hours.start_of(us("2026-01-01T00:30:00"))) == "2026-01-01T00:00"  # 11:00 there
    assert shown(hours.start_of(us("2026-07-01T00:10:00"))) == "2026-06-30T23:30"  # 10:00 there
    half = rollup("PT30M", "Australia/Lord_Howe")
    assert shown(half.start_of(us("2026-07-01T00:10:00"))) == "2026-07-01T00:00"


@pytest.mark.parametrize(
    ("found", "time", "start"),
    [
        (rollup("PT5M"), "2026-05-01T06:07:08", "2026-05-01T06:05"),
        (rollup("PT5M"), "1969-12-31T23:58:00", "1969-12-31T23:55"),
        (rollup("PT5H"), "1950-01-01T00:00:00", "1949-12-31T20:00"),
        (rollup("PT30M", "Asia/Kolkata"), "2026-05-01T06:10:00", "2026-05-01T06:00"),
        (rollup("PT1H", "Asia/Kolkata"), "2026-05-01T06:10:00", "2026-05-01T05:30"),
        (rollup("P1D", "Asia/Kolkata"), "2026-05-01T06:10:00", "2026-04-30T18:30"),
        (rollup("P1D"), "1969-12-31T23:59:59", "1969-12-31T00:00"),
        (rollup("P1D", "Europe/Oslo"), "1950-06-01T12:00:00", "1950-05-31T23:00"),
        (rollup("P1W"), "2026-05-01T00:00:00", "2026-04-27T00:00"),
        (rollup("P1W"), "1969-12-31T00:00:00", "1969-12-29T00:00"),
        # Counted from the first day of its kind in 2000: Monday was the 3rd, Saturday the 1st, Sunday the 2nd.
        (rollup("P2W"), "2000-01-10T00:00:00", "2000-01-03T00:00"),
        (rollup("P2W", first_day=6), "2000-01-10T00:00:00", "2000-01-01T00:00"),
        (rollup("P2W", first_day=7), "2000-01-10T00:00:00", "2000-01-02T00:00"),
        (rollup("P10D"), "2000-01-02T00:00:00", "1999-12-24T00:00"),
        (rollup("P1M"), "2024-02-29T23:59:59", "2024-02-01T00:00"),
        (rollup("P1M", first_day=7), "2024-02-29T23:59:59", "2024-02-01T00:00"),
        (rollup("P1M", "Europe/Oslo"), "2026-03-31T22:00:00", "2026-03-31T22:00"),
        (rollup("P1M", "Europe/Oslo"), "2026-03-31T21:59:59", "2026-02-28T23:00"),
        (rollup("P5M"), "2000-05-31T00:00:00", "2000-01-01T00:00"),
        (rollup("P5M"), "1999-12-31T00:00:00", "1999-08-01T00:00"),
        (rollup("P1Y"), "1969-06-01T00:00:00", "1969-01-01T00:00"),
        (rollup("P4Y"), "1970-06-01T00:00:00", "1968-01-01T00:00"),
        (rollup("P1Y6M"), "2002-06-01T00:00:00", "2001-07-01T00:00"),
        # An origin wins over the day of the week.
        (rollup("PT1H", origin="2026-01-01T00:10:00"), "2026-05-01T06:05:00", "2026-05-01T05:10"),
        (rollup("P1W", first_day=3, origin="2026-05-01T06:00:00"), "2026-05-20T00:00:00", "2026-05-15T06:00"),
        (rollup("P1D", "Europe/Oslo", origin="2026-01-01T05:00:00"), "2026-07-01T12:00:00", "2026-07-01T04:00"),
        (rollup("P1D", origin="2026-01-01T05:00:00"), "1960-07-01T04:00:00", "1960-06-30T05:00"),
        (rollup("P1M", origin="2026-01-15T06:00:00"), "2026-03-15T05:59:59", "2026-02-15T06:00"),
        (rollup("P1Y", origin="2024-02-29T00:00:00"), "2026-02-28T12:00:00", "2026-02-28T00:00"),
        (rollup("P1Y", origin="2024-02-29T00:00:00"), "2028-02-28T12:00:00", "2027-02-28T00:00"),
        # 02:30 of a night in which the clock shows that twice: the origin is the second.
        (rollup("P1D", "Europe/Oslo", origin="2026-10-25T01:30:00"), "2026-10-25T01:00:00", "2026-10-24T00:30"),
        (rollup("P1D", "Europe/Oslo", origin="2026-10-25T01:30:00"), "2026-10-25T01:30:00", "2026-10-25T01:30"),
        # Here it is the first, and the time is 02:10 of the second hour.
        (rollup("P1D", "Europe/Oslo", origin="2026-10-25T00:30:00"), "2026-10-25T01:10:00", "2026-10-25T00:30"),
        (rollup("P1D", "Europe/Oslo", origin="2026-10-25T00:30:00"), "2026-10-25T00:10:00", "2026-10-24T00:30"),
        (rollup("PT40M", "Europe/Oslo", origin="2026-10-25T01:30:00"), "2026-10-25T01:29:00", "2026-10-25T00:50"),
        # 02:30 where the clock goes from 02:00 to 03:00: the bucket begins then.
        (rollup("P1D", "Europe/Oslo", origin="2026-01-01T01:30:00"), "2026-03-29T12:00:00", "2026-03-29T01:00"),
    ],
)
def test_starts(found: Rollup, time: str, start: str) -> None:
    assert shown(found.start_of(us(time))) == start
    ((first, end),) = found.buckets(us(time), us(time) + 1)
    assert shown(first) == start
    assert first <= us(time) < end
    assert found.start_of(end) == end


@pytest.mark.parametrize("first_day", range(1, 8))
def test_weeks_begin_on_each_day(first_day: int) -> None:
    for zone in ("UTC", "Europe/Oslo"):
        for year in (1950, 2000, 2026):
            (start, *_) = rollup("P1W", zone, first_day).buckets(
                us(f"{year}-05-01T12:00:00"), us(f"{year}-05-09T00:00:00")
            )
            noon = EPOCH + timedelta(microseconds=start[0] + 12 * HOUR)
            assert noon.isoweekday() == first_day


def test_months_and_leap_years() -> None:
    assert starts(rollup("P1M"), "2024-01-31T00:00:00", "2024-03-01T00:00:01") == [
        "2024-01-01T00:00", "2024-02-01T00:00", "2024-03-01T00:00",
    ]  # fmt: skip
    quarter = rollup("P3M", "Europe/Oslo")
    assert starts(quarter, "2026-05-01T00:00:00", "2026-07-01T00:00:00") == ["2026-03-31T22:00", "2026-06-30T22:00"]
    assert starts(rollup("P1M", origin="2026-01-31T06:00:00"), "2026-02-10T00:00:00", "2026-04-01T00:00:00") == [
        "2026-01-31T06:00", "2026-02-28T06:00", "2026-03-31T06:00",
    ]  # fmt: skip
    lengths = [
        (end - start) // DAY
        for year in ("1900", "2000", "2023", "2024")
        for start, end in rollup("P1M").buckets(us(f"{year}-02-01T00:00:00"), us(f"{year}-02-01T00:00:01"))
    ]
    assert lengths == [28, 29, 28, 29]


def test_windows_with_no_length_have_no_buckets() -> None:
    for found in (rollup("PT1H"), rollup("P1M"), rollup("window")):
        assert list(found.buckets(5, 5)) == []
        assert list(found.buckets(6, 5)) == []


def test_buckets_are_found_one_by_one() -> None:
    many = rollup("PT0.000001S").buckets(us("0001-01-01T00:00:00"), us("9999-12-31T00:00:00"))
    first = us("0001-01-01T00:00:00")
    assert list(islice(many, 3)) == [(first, first + 1), (first + 1, first + 2), (first + 2, first + 3)]


@pytest.mark.parametrize("text", ["PT1H", "P1D", "P1W", "P1M", "P1Y", "P100Y"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "Pacific/Apia", "America/New_York"])
def test_time_has_no_end(text: str, zone: str) -> None:
    """Also where datetime has one: the buckets that a lead or lag asks for can be there."""
    found = rollup(text, zone)
    for time in ("0001-01-01T00:00:00", "9999-12-31T23:59:59"):
        at = us(time)
        buckets = list(islice(found.buckets(at - 2 * found.shortest_us, at + 5 * found.shortest_us), 6))
        assert len(buckets) == 6
        assert all(one[1] == following[0] for one, following in pairwise(buckets))
        assert any(start <= at < end for start, end in buckets)
        assert all(found.start_of(start) == start for start, _ in buckets)
        assert all(found.shortest_us - DAY <= end - start <= found.shortest_us * 1.2 for start, end in buckets)


# -- what is in them ------------------------------------------------------------------------------


def test_the_whole_window_is_one_bucket() -> None:
    whole = rollup("window")
    assert whole.is_window
    assert whole.shortest_us == 0
    assert list(whole.buckets(5, 10)) == [(5, 10)]
    with pytest.raises(RollupError, match="starts where the window does"):
        whole.start_of(5)
    found = numeric([(4, 1.0), (5, 2.0), (9, 4.0), (10, 8.0)], whole, 5, 10)
    assert found == {
        "count": {5: 2.0}, "min": {5: 2.0}, "max": {5: 4.0}, "sum": {5: 6.0}, "avg": {5: 3.0},
        "first": {5: 2.0}, "last": {5: 4.0},
    }  # fmt: skip


def test_aggregates() -> None:
    minute = rollup("PT1M")
    samples = [(-1, 99.0), (0, 3.0), (1, -1.0), (MINUTE - 1, 4.0), (3 * MINUTE, 7.5), (4 * MINUTE, 99.0)]
    assert numeric(samples, minute, 0, 4 * MINUTE) == {
        "count": {0: 3.0, 3 * MINUTE: 1.0},
        "min": {0: -1.0, 3 * MINUTE: 7.5},
        "max": {0: 4.0, 3 * MINUTE: 7.5},
        "sum": {0: 6.0, 3 * MINUTE: 7.5},
        "avg": {0: 2.0, 3 * MINUTE: 7.5},
        "first": {0: 3.0, 3 * MINUTE: 7.5},
        "last": {0: 4.0, 3 * MINUTE: 7.5},
    }
    # A window that begins within a bucket has only its part, under the bucket's start.
    assert numeric(samples, minute, 1, 2)["sum"] == {0: -1.0}
    assert set(map(len, numeric([], minute, 0, MINUTE).values())) == {0}


def test_aggregates_of_days_as_long_as_they_are() -> None:
    hourly = [(us("2026-03-28T23:00:00") + hour * HOUR, 1.0) for hour in range(72)]
    found = numeric(hourly, rollup("P1D", "Europe/Oslo"), hourly[0][0], hourly[0][0] + 71 * HOUR)
    assert list(found["count"].values()) == [23, 24, 24]
    assert list(map(shown, found["count"])) == ["2026-03-28T23:00", "2026-03-29T22:00", "2026-03-30T22:00"]


def test_sums_of_unlike_and_of_huge_values() -> None:
    whole = rollup("window")
    found = numeric([(0, 1e16), (1, 1.0), (2, -1e16)], whole, 0, 3)
    assert found["sum"] == {0: 1.0}
    assert numeric([(time, 0.1) for time in range(3)], whole, 0, 3)["avg"] == {0: 0.1}
    assert numeric([(time, 1.5e308) for time in range(3)], whole, 0, 3)["avg"] == {0: 1.5e308}


SAMPLES = [(-30 * SECOND, 2.0), (30 * SECOND, 1.0), (90 * SECOND, 0.0), (150 * SECOND, 1.9)]


@pytest.mark.parametrize(
    ("text", "lt_s", "gap_s", "seconds"),
    [
        ("PT1M", 180, None, {2: {0: 30}, 1: {0: 30, 60: 30, 120: 30}, 0: {60: 30, 120: 30}}),
        ("PT1M", 180, 10, {1: {0: 10, 120: 10}, 0: {60: 10}}),
        ("PT1M", 180, 40, {2: {0: 10}, 1: {0: 30, 60: 10, 120: 30}, 0: {60: 30, 120: 10}}),
        ("PT1M", 45, None, {2: {0: 30}, 1: {0: 15}}),
        ("PT1M", 0, None, {}),
        ("window", 180, None, {2: {0: 30}, 1: {0: 90}, 0: {0: 60}}),
        ("window", 240, 50, {2: {0: 20}, 1: {0: 100}, 0: {0: 50}}),
    ],
)
def test_seconds_in_states(text: str, lt_s: int, gap_s: int | None, seconds: dict[int, dict[int, float]]) -> None:
    gap = None if gap_s is None else gap_s * SECOND
    assert states(SAMPLES, rollup(text), 0, lt_s * SECOND, gap_us=gap) == {
        state: {start * SECOND: spent for start, spent in buckets.items()} for state, buckets in seconds.items()
    }


def test_a_state_holds_for_forty_days_if_nothing_else_is_said() -> None:
    found = states([(0, 1.0)], rollup("window"), 0, 100 * DAY, gap_us=None)
    assert found == {1: {0: 40 * 86_400}}
    later = states([(0, 1.0)], rollup("P1D"), 39 * DAY, 100 * DAY, gap_us=None)
    assert later == {1: {39 * DAY: 86_400}}
    assert states([(0, 1.0)], rollup("P1D"), 40 * DAY, 100 * DAY, gap_us=None) == {}


def test_states_that_fill_too_many_buckets() -> None:
    with pytest.raises(RollupError, match="more than 2000000 buckets"):
        states([(0, 1.0)], rollup("PT0.000001S"), 0, DAY, gap_us=None)


def test_how_often_a_state_is_entered() -> None:
    minute = rollup("PT1M")
    assert state_rate(SAMPLES, minute, 0, 180 * SECOND, 1) == {0: 1, MINUTE: 0, 2 * MINUTE: 1}
    assert state_rate(SAMPLES, minute, 0, 180 * SECOND, 2) == {0: 0, MINUTE: 0, 2 * MINUTE: 0}
    assert state_rate(SAMPLES, minute, -60 * SECOND, 180 * SECOND, 2) == {-MINUTE: 1, 0: 0, MINUTE: 0, 2 * MINUTE: 0}
    assert state_rate(SAMPLES, rollup("window"), 0, 180 * SECOND, 1) == {0: 2}
    staying = [(0, 1.0), (1, 1.5), (2, 0.0), (3, 1.0), (4, 1.0), (MINUTE, 1.0)]
    assert state_rate(staying, minute, 0, 2 * MINUTE, 1) == {0: 2, MINUTE: 0}
    assert state_rate(staying, minute, 1, 2, 1) == {0: 0}
