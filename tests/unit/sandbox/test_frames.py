"""Reading a data frame: what is accepted, at which times it lands, and that every problem is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.frames import Frame, read_frame
from connector.sandbox.problems import Problems

NOON = 1_777_636_800_000_000  # 2026-05-01T12:00:00Z in µs
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(data: object, *, ordered: bool = False) -> Frame:
    problems = Problems()
    frame = read_frame(data, problems, ordered=ordered)
    assert not problems, problems.messages
    return frame


def problems_of(data: object, *, ordered: bool = False) -> dict[str, list[str]]:
    problems = Problems()
    read_frame(data, problems, ordered=ordered)
    return dict(problems.messages)


def read_time(text: str) -> int:
    [time] = read({"times": [text], "series": {}}).times
    return time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T12:00:00Z", NOON),
        ("2026-05-01T14:00:00+02:00", NOON),
        ("2026-05-01T06:30:00-05:30", NOON),
        ("2026-05-01T12:00:00.5Z", NOON + 500_000),
        ("2026-05-01T12:00:00.123456+00:00", NOON + 123_456),
        ("2026-05-01T12:00:00.1234569Z", NOON + 123_456),
        ("2026-05-01T12:00:00.999999999Z", NOON + 999_999),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
    ],
)
def test_times_become_microseconds_and_finer_digits_are_cut(text: str, expected: int) -> None:
    assert read_time(text) == expected


@given(
    moment=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),  # noqa: DTZ001
    offset=st.integers(-23 * 60, 23 * 60),
)
def test_every_time_that_datetime_writes_is_read_back(moment: datetime, offset: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert read_time(moment.isoformat()) == (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "entry",
    [
        "2026-05-01T12:00:00",  # no zone
        "2026-05-01 12:00:00Z",
        "2026-05-01t12:00:00z",
        "2026-05-01",
        "20260501T120000Z",
        "2026-W18-5T12:00:00Z",
        "2026-05-01T12:00Z",
        "2026-05-01T12:00:00,5Z",
        "2026-05-01T12:00:00.Z",
        "2026-05-01T24:00:00Z",
        "2026-05-01T12:00:60Z",
        "2026-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-05-01T12:00:00+0200",
        "2026-05-01T12:00:00Z\n",
        "2026-05-01T12:00:00Z\n2026-05-01T12:00:01Z",
        "\u0662026-05-01T12:00:00Z",
        "",
        1_777_636_800,
        None,
        True,
    ],
)
def test_what_is_not_rfc_3339_is_named_with_its_index(entry: object) -> None:
    times = ["2026-05-01T12:00:00Z", entry, "2026-05-01T12:00:01Z"]
    assert problems_of({"times": times, "series": {}}) == {"data.times": ["not an RFC 3339 date-time at index 1"]}


def test_values_are_floats_or_null() -> None:
    frame = read({"times": ["2026-05-01T12:00:00Z"] * 4, "series": {"a": [1, 2.5, None, 2**64 - 1]}})
    assert frame.series["a"] == [1.0, 2.5, None, 1.8446744073709552e19]
    assert [type(value) for value in frame.series["a"]] == [float, float, type(None), float]


@pytest.mark.parametrize("value", [True, False, "1", "", [], {}, [1]])
def test_anything_else_is_no_value(value: object) -> None:
    data = {"times": ["2026-05-01T12:00:00Z", "2026-05-01T12:00:01Z"], "series": {"a": [1, value]}}
    assert problems_of(data) == {"data.series.a": ["neither a number nor null at index 1"]}


@pytest.mark.parametrize("key", ["a", "a" * 128, "Plant-7_x:y.z#1+/", "9"])
def test_good_input_keys(key: str) -> None:
    assert list(read({"times": [], "series": {key: []}}).series) == [key]


@pytest.mark.parametrize("key", ["", "a" * 129, "a b", "ä", "a%", "a\n", "a,b", "a\\b"])
def test_bad_input_keys_are_named(key: str) -> None:
    [(path, [message])] = problems_of({"times": [], "series": {key: []}}).items()
    assert path == f"data.series.{key}"
    assert "not a valid input key" in message


def test_all_problems_of_a_frame_are_reported() -> None:
    data = {
        "times": ["2026-05-01T12:00:00Z", "yesterday"],
        "series": {"short": [1], "right": [1, None], "text": ["x", 1], "no list": 5},
        "unit": "bar",
    }
    found = problems_of(data)
    assert found["data.times"] == ["not an RFC 3339 date-time at index 1"]
    assert found["data.series.short"] == ["not same length as times"]
    assert found["data.series.text"] == ["neither a number nor null at index 0"]
    assert len(found["data.series.no list"]) == 2
    assert found["data.unit"] == ["unknown field"]
    assert "data.series.right" not in found


def test_a_message_names_a_few_indexes_and_counts_the_others() -> None:
    data = {"times": ["x"] * 300_000, "series": {}}
    assert problems_of(data) == {"data.times": ["not an RFC 3339 date-time at index 0, 1, 2, 3, 4 and 299995 more"]}


@pytest.mark.parametrize("data", [None, [], "frame", 5])
def test_data_must_be_an_object(data: object) -> None:
    assert list(problems_of(data)) == ["data"]


@pytest.mark.parametrize("data", [{}, {"times": None, "series": None}, {"times": {}, "series": []}])
def test_times_and_series_are_required(data: object) -> None:
    assert sorted(problems_of(data)) == ["data.series", "data.times"]


def test_an_empty_frame_is_fine() -> None:
    assert read({"times": [], "series": {}}) == Frame([], {})


def test_order_matters_only_when_asked_for() -> None:
    times = [f"2026-05-01T12:00:0{second}Z" for second in (1, 2, 2, 1)]
    data = {"times": times, "series": {"a": [1, 2, 3, 4]}}
    assert len(read(data).times) == 4
    assert problems_of(data, ordered=True) == {"data.times": ["not later than its predecessor at index 2, 3"]}


@pytest.mark.parametrize(
    ("nulls_count", "expected"), [(False, [2.0, 5.0]), (True, [None, 5.0])], ids=["ignored", "count"]
)
def test_of_repeated_times_the_last_value_wins(nulls_count: bool, expected: list[float | None]) -> None:
    frame = Frame([10, 20, 10, 10], {"a": [1.0, 5.0, 2.0, None]})
    assert frame.without_repeats(nulls_count=nulls_count) == Frame([10, 20], {"a": expected})


def test_a_frame_without_repeats_stays_what_it_is() -> None:
    frame = Frame([20, 10], {"a": [1.0, 5.0]})
    assert frame.without_repeats(nulls_count=False) is frame
