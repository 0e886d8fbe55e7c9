"""When was it measured: every common notation, exact to the microsecond, and nothing taken for a time by accident."""

from __future__ import annotations

import pytest

from connector.mapping.time.times import TimeError, format_time, is_time_name, parse_time

EXACT = 1_712_120_512_123_456
"""2024-04-03T05:01:52.123456Z in µs; as digits it begins like the ISO date 1712-12-05."""


@pytest.mark.parametrize(
    "written",
    [
        "2024-04-03T05:01:52.123456Z",
        "2024-04-03 05:01:52.123456",
        "2024-04-03T07:01:52.123456+02:00",
        "2024-04-03T05:01:52,123456Z",
        "20240403T050152.123456Z",
        "2024-04-03T05:01:52.123456789Z",
        " 2024-04-03T05:01:52.123456Z\n",
        EXACT,
        str(EXACT),
        EXACT * 1000,
        EXACT * 1000 + 999,
        str(EXACT * 1000),
        EXACT / 1e6,
        str(EXACT / 1e6),
        EXACT / 1e3,
        "1712120512123.456",
        float(EXACT),
    ],
)
def test_every_notation_of_one_moment_is_the_same_microsecond(written: object) -> None:
    assert parse_time(written) == EXACT


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-04-03", 1_712_102_400_000_000),
        ("2024-04-03T05:01Z", 1_712_120_460_000_000),
        (1_712_120_512, 1_712_120_512_000_000),
        ("1712120512", 1_712_120_512_000_000),
        ("+1712120512", 1_712_120_512_000_000),
        ("1712120512123", 1_712_120_512_123_000),
        (1_712_120_512_123, 1_712_120_512_123_000),
        ("1.712120512e9", 1_712_120_512_000_000),
        (0, 0),
        (-1, -1_000_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
    ],
)
def test_other_notations(written: object, expected: int) -> None:
    assert parse_time(written) == expected


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("yesterday", "'yesterday' is neither ISO 8601 nor an epoch number"),
        ("", "neither ISO 8601"),
        ("01/05/2026 06:00:00", "epoch number; its rule can say: time: {format: "),
        ("nan", "neither ISO 8601"),
        ("1_700_000_000", "neither ISO 8601"),
        ("2024-13-01T00:00:00Z", "neither ISO 8601"),
        ("\ud800", "neither ISO 8601"),
        ("x" * 101, "too long"),
        ("9" * 64, "no epoch time"),
        (float("nan"), "no epoch time"),
        (float("inf"), "no epoch time"),
        (1e300, "no epoch time"),
        (10**20, "no epoch time"),
        (None, "None is neither text nor a number"),
        (True, "True is neither text nor a number"),
        ({"a": list(range(10_000))}, "an object or a list is neither"),
    ],
)
def test_what_is_no_time_is_refused_in_few_words(written: object, said: str) -> None:
    with pytest.raises(TimeError) as refused:
        parse_time(written)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 150
    assert str(refused.value).encode("utf-8")


@pytest.mark.parametrize("name", ["ts", "time", "Timestamp", "TIMESTAMP_MS", "@timestamp", "measuredAt", "unixTime"])
def test_time_names(name: str) -> None:
    assert is_time_name(name)


@pytest.mark.parametrize("name", ["t", "uptime", "times", "runtime", "temperature", ""])
def test_names_that_only_resemble_a_time(name: str) -> None:
    assert not is_time_name(name)


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (EXACT, "2024-04-03T05:01:52.123456Z"),
        (EXACT - 456, "2024-04-03T05:01:52.123Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_written_as_short_as_they_are_exact(time_us: int, text: str) -> None:
    assert format_time(time_us) == text
