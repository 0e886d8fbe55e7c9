"""Instants and durations: exact both ways, and clear about what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clarify import iso8601

FIRST = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


@given(st.integers(FIRST, LAST))
def test_text_is_lossless(instant: int) -> None:
    assert iso8601.microseconds(iso8601.text(instant)) == instant


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_datetimes_are_lossless(moment: datetime) -> None:
    try:
        same = datetime.fromisoformat(iso8601.text(iso8601.microseconds(moment)))
    except ValueError:  # the first hours of year 1, east of Greenwich, are in the year 0
        assert moment.year == 1
    else:
        assert same == moment


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2026-05-01T06:00:00Z", "2026-05-01T06:00:00Z"),
        ("2026-05-01T06:00:10.500+00:00", "2026-05-01T06:00:10.5Z"),
        ("2026-05-01 08:00:00.000001+02:00", "2026-05-01T06:00:00.000001Z"),
        ("2026-05-01T06:00:00.1234569Z", "2026-05-01T06:00:00.123456Z"),
        (datetime(2026, 5, 1, 8, tzinfo=timezone(timedelta(hours=2))), "2026-05-01T06:00:00Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (FIRST, "0001-01-01T00:00:00Z"),
        (LAST, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_shortest_text_in_utc(instant: iso8601.Instant, expected: str) -> None:
    assert iso8601.text(iso8601.microseconds(instant)) == expected


@pytest.mark.parametrize(
    ("instant", "rule"),
    [
        (datetime(2026, 5, 1), "no time zone"),  # noqa: DTZ001
        ("2026-05-01T06:00:00", "no time zone"),
        ("yesterday", "no ISO 8601 time"),
        ("", "no ISO 8601 time"),
        (True, "is no time"),
        (1.5, "is no time"),
        (None, "is no time"),
        (LAST + 1, "outside the years"),
        (FIRST - 1, "outside the years"),
        ("0001-01-01T00:00:00+01:00", "outside the years"),
    ],
)
def test_refused_instants(instant: iso8601.Instant, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        iso8601.microseconds(instant)


@pytest.mark.parametrize("text", ["PT5M", "P2W", "P1DT12H", "PT0.5S", "PT24H", "P1W2DT3H4M5.25S"])
def test_durations_stay_as_they_are(text: str) -> None:
    assert iso8601.duration_text(text) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(minutes=5), "PT5M"),
        (timedelta(days=2), "P2D"),
        (timedelta(days=1, hours=12, seconds=1), "P1DT12H1S"),
        (timedelta(milliseconds=250), "PT0.25S"),
        (timedelta(0), None),
        ("PT0S", None),
        ("P0DT0H0M0.0S", None),
    ],
)
def test_durations_as_text_and_zero_as_not_set(value: str | timedelta, expected: str | None) -> None:
    assert iso8601.duration_text(value) == expected


@pytest.mark.parametrize(
    "value", ["P1M", "P1Y", "5 minutes", "PT", "P", "P1DT", "-PT5M", "PT5", "", "pt5m", timedelta(seconds=-1)]
)
def test_refused_durations(value: str | timedelta) -> None:
    with pytest.raises(ValueError, match=r"no fixed duration|below zero"):
        iso8601.duration_text(value)
