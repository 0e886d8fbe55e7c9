"""Instants and durations: exact both ways, and clear about what they refuse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clarify import ArgumentError, DataFrame, iso8601

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


# -- times without a zone -------------------------------------------------------------------------

TWICE, NEVER, CLEAR = "2026-10-25T02:30:00", "2026-03-29T02:30:00", "2026-10-25T03:30:00"


@pytest.fixture
def in_oslo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Oslo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def forms(text: str) -> dict[str, Any]:
    """A time without a zone in all forms that a frame takes."""
    values = pd.DataFrame({"a": [1.0]})
    return {
        "text": lambda: DataFrame([text], {"a": [1.0]}),
        "datetime": lambda: DataFrame([datetime.fromisoformat(text)], {"a": [1.0]}),
        "timestamp": lambda: DataFrame([pd.Timestamp(text)], {"a": [1.0]}),
        "index": lambda: DataFrame.from_pandas(values.set_index(pd.DatetimeIndex([text]))),
        "index of texts": lambda: DataFrame.from_pandas(values.set_index(pd.Index([text]))),
        "column": lambda: DataFrame.from_pandas(values.assign(when=pd.to_datetime([text]))),
        "series": lambda: DataFrame.from_pandas(pd.Series([1.0], pd.DatetimeIndex([text]), name="a")),
        "nanoseconds": lambda: DataFrame.from_pandas(values.set_index(pd.DatetimeIndex([text]).as_unit("ns"))),
        "dict": lambda: DataFrame.from_dict({"time": [text], "a": [1.0]}),
    }


@pytest.mark.parametrize("form", forms(CLEAR))
def test_hours_that_the_clock_repeats_or_skips(in_oslo: None, form: str) -> None:
    assert forms(CLEAR)[form]().times == [datetime(2026, 10, 25, 2, 30, tzinfo=UTC)]
    for text, said in ((TWICE, "twice"), (NEVER, "never shows this time")):
        with pytest.raises(ArgumentError, match=f"{text}.*has no zone, .*{said}.*tz_localize"):
            forms(text)[form]()


def test_a_day_of_hours_is_not_merged(in_oslo: None) -> None:
    hours = pd.date_range("2026-10-24T22:00", periods=25, freq="h", tz="UTC").tz_convert("Europe/Oslo")
    values = pd.DataFrame({"a": range(25)}, index=hours.tz_localize(None))
    with pytest.raises(ArgumentError, match=r"times\[2\]: '2026-10-25T02:00:00' has no zone"):
        DataFrame.from_pandas(values)
    values.index = values.index.tz_localize("Europe/Oslo", ambiguous="infer")  # what the text advises
    frame = DataFrame.from_pandas(values)
    assert len(set(frame.times)) == 25
    assert frame.times[2:4] == [datetime(2026, 10, 25, hour, tzinfo=UTC) for hour in (0, 1)]


def test_the_second_of_two_times_can_be_said(in_oslo: None) -> None:
    second = datetime.fromisoformat(TWICE).replace(fold=1)
    assert iso8601.text(iso8601.read(second)) == "2026-10-25T01:30:00Z"
    with pytest.raises(ArgumentError, match="never shows"):
        iso8601.read(datetime.fromisoformat(NEVER).replace(fold=1))


def test_dates_and_times_of_numpy(in_oslo: None) -> None:
    """A day begins where this computer is; numpy counts in UTC, in a list as in an array."""
    assert iso8601.text(iso8601.read(date(2026, 5, 1))) == "2026-04-30T22:00:00Z"
    moments = np.array([TWICE], dtype="datetime64[s]")
    for times in (moments, list(moments)):
        assert DataFrame(times, {}).times == [datetime.fromisoformat(TWICE + "Z")]


@pytest.mark.parametrize("name", ["time", "Timestamp", "date"])
@pytest.mark.parametrize("seconds", [1777615200, 1777615200.5])
def test_an_epoch_column_is_known_by_its_name(name: str, seconds: float) -> None:
    columns = {"a": [1.0], name: [seconds]}
    frame = DataFrame.from_pandas(pd.DataFrame(columns))
    assert frame == DataFrame.from_dict(columns)
    assert frame.times_us == (round(seconds * 1e6),)
    with_texts = pd.DataFrame({**columns, "when": ["2026-05-01T06:00:00Z"]})
    assert DataFrame.from_pandas(with_texts).columns.keys() == {"a", name}  # what looks like times goes first
