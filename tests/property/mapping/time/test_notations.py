"""Each notation of a time, written by the standard library and read back, over its whole range."""
# ruff: noqa: DTZ001 - local times

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from connector.mapping.time.reader import COUNTED, UNITS, in_unit, time_reader
from connector.mapping.time.times import TimeError, parse_time
from connector.mapping.time.zones import EPOCH, RepeatedHours, named_zone, zone_of
from tests.property.fuzz import FUZZ

MICROSECOND = timedelta(microseconds=1)
ZONES = [
    "Europe/Oslo", "Europe/Dublin", "Europe/London", "America/New_York", "America/St_Johns", "Australia/Lord_Howe",
    "Africa/Casablanca", "Asia/Kolkata", "Asia/Gaza", "Pacific/Apia", "America/Sao_Paulo",
]  # fmt: skip
PATTERNS = [
    "%d.%m.%Y %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%m/%d/%y %H:%M",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%d-%b-%Y %I:%M:%S %p",
    "%y%j",
]
moments = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
changes = st.sampled_from(
    [datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1), datetime(2026, 11, 1, 6), datetime(2026, 4, 4, 15)]
).flatmap(lambda change: st.integers(-10_800, 10_800).map(lambda s: change.replace(tzinfo=UTC) + timedelta(seconds=s)))
"""Moments near changes of clocks."""


def us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


@settings(max_examples=400, deadline=None)
@given(moment=moments | changes, zone=st.sampled_from(ZONES))
def test_local_times_are_read_back_with_folds(moment: datetime, zone: str) -> None:
    local = moment.astimezone(ZoneInfo(zone))
    naive = local.replace(tzinfo=None, fold=0)
    first = us(naive.replace(tzinfo=ZoneInfo(zone)))
    second = us(naive.replace(tzinfo=ZoneInfo(zone), fold=1))
    assert parse_time(naive.isoformat(), zone_of(zone)) == first
    reject = time_reader(zone=zone_of(zone), repeated=RepeatedHours("reject"))
    if first == second:
        assert reject(naive.isoformat()) == us(moment)
        return
    with pytest.raises(TimeError, match="is there twice"):
        reject(naive.isoformat())
    assert us(moment) in (first, second)
    assert zone_of(zone).to_utc(naive, RepeatedHours("nearest"), us(moment) + 60_000_000) == us(moment)
    assert parse_time(naive.isoformat(), zone_of(f"{zone} {local.fold == 0}")) == us(moment), "clocks go back in autumn"
    name = local.tzname()
    if name and name.isalpha():
        assert parse_time(naive.isoformat(), zone_of(f"{zone} {name}")) == us(moment)
        named = time_reader(("%Y-%m-%d %H:%M:%S.%f %Z",), zone=zone_of(zone))
        assert named(naive.strftime("%Y-%m-%d %H:%M:%S.%f ") + name) == us(moment)


@settings(max_examples=200, deadline=None)
@given(naive=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)) | changes.map(lambda at: at.replace(tzinfo=None)),
       zone=st.sampled_from(ZONES))  # fmt: skip
def test_a_local_time_is_refused_exactly_if_no_clock_shows_it(naive: datetime, zone: str) -> None:
    rules = ZoneInfo(zone)
    back = naive.replace(tzinfo=rules).astimezone(UTC).astimezone(rules).replace(tzinfo=None, fold=0)
    if back == naive:
        parse_time(naive.isoformat(), zone_of(zone))
        return
    with pytest.raises(TimeError, match="does not exist"):
        parse_time(naive.isoformat(), zone_of(zone))


@settings(max_examples=300, deadline=None)
@given(moment=moments, notation=st.sampled_from([*COUNTED, "2000-01-01", "1904-01-01"]), as_text=st.booleans(),
       zone=st.none() | st.sampled_from(ZONES))  # fmt: skip
def test_numbers_since_any_day_are_read_back(moment: datetime, notation: str, as_text: bool, zone: str | None) -> None:
    assume(notation != "gps")
    moment = moment.replace(microsecond=0)
    counted = COUNTED.get(notation)
    first, unit = counted or (date.fromisoformat(notation), "ns")
    shown = moment.astimezone(ZoneInfo(zone)) if zone else moment
    local = shown.replace(tzinfo=None, fold=0)
    if zone:
        assume(us(local.replace(tzinfo=ZoneInfo(zone))) == us(moment))
    since_us = (local - datetime(first.year, first.month, first.day)) // MICROSECOND
    times, parts = UNITS[unit]
    number: object = since_us * parts // times if since_us * parts % times == 0 else since_us * parts / times
    formats, epoch = ((notation,), None) if counted else (("auto",), first)
    read = time_reader(formats, unit, zone_of(zone) if zone else None, epoch)
    found = read(str(number) if as_text else number)
    assert abs(found - us(moment)) <= (1 if isinstance(number, float) else 0), "days have 53 bits, too"


@settings(max_examples=200, deadline=None)
@given(moment=st.datetimes(datetime(1981, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)))
@example(moment=datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC))
@example(moment=datetime(2017, 1, 1, tzinfo=UTC))
def test_gps_time_is_ahead_of_utc_by_the_leap_seconds(moment: datetime) -> None:
    leaps = [
        (1981, 7), (1982, 7), (1983, 7), (1985, 7), (1988, 1), (1990, 1), (1991, 1), (1992, 7), (1993, 7), (1994, 7),
        (1996, 1), (1997, 7), (1999, 1), (2006, 1), (2009, 1), (2012, 7), (2015, 7), (2017, 1),
    ]  # fmt: skip
    ahead = sum(datetime(year, month, 1, tzinfo=UTC) <= moment for year, month in leaps)
    gps = (moment - datetime(1980, 1, 6, tzinfo=UTC)) // MICROSECOND + ahead * 1_000_000
    assert time_reader(("gps",), "us")(gps) == us(moment)


@settings(max_examples=200, deadline=None)
@given(moment=moments, hours=st.integers(-12, 14))
def test_texts_of_mail_unix_and_scripts_are_read_back(moment: datetime, hours: int) -> None:
    moment = moment.replace(microsecond=0)
    local = moment.astimezone(timezone(timedelta(hours=hours)))
    assert parse_time(format_datetime(local)) == us(moment)
    assert parse_time(format_datetime(moment, usegmt=True)) == us(moment)
    assert parse_time(moment.ctime()) == us(moment)
    assert parse_time(moment.strftime("%a %b %e %H:%M:%S UTC %Y")) == us(moment)
    assert parse_time(local.strftime("%a %b %d %Y %H:%M:%S GMT%z (Some Zone)")) == us(moment)
    assert parse_time(local.strftime("%Y-%m-%d %H:%M:%S ") + f"UTC{hours:+d}") == us(moment)
    assert parse_time(f"/Date({us(moment) // 1000}+0200)/") == us(moment)
    since_1601 = (us(moment) + 11_644_473_600_000_000) * 10
    assert parse_time(since_1601) == parse_time(str(since_1601)) == us(moment)
    ticks = (moment.replace(tzinfo=None) - datetime(1, 1, 1)) // MICROSECOND * 10
    assert parse_time(ticks) == parse_time(str(ticks)) == us(moment)


@settings(max_examples=100, deadline=None)
@given(quarters=st.integers(-48, 56), moment=moments)
def test_an_offset_is_the_same_in_every_notation(quarters: int, moment: datetime) -> None:
    minutes = 15 * quarters
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    written = [local.strftime("%z"), f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:], "UTC" + local.strftime("%z")]
    if minutes == 0 or abs(minutes) >= 60:
        written += [str(minutes), str(minutes * 60), repr(minutes / 60)]
    for text in written:
        assert parse_time(local.replace(tzinfo=None).isoformat(), named_zone(text)) == us(moment), text


@settings(max_examples=300, deadline=None)
@given(
    moment=moments,
    pattern=st.sampled_from(PATTERNS),
    spoiled=st.integers(-1, 20),
    with_what=st.sampled_from("09 :x\u0661"),
)
def test_a_pattern_takes_what_strptime_takes(moment: datetime, pattern: str, spoiled: int, with_what: str) -> None:
    text = moment.strftime(pattern)
    if 0 <= spoiled < len(text):
        text = text[:spoiled] + with_what + text[spoiled + 1 :]
    text = text.strip()
    try:
        expected = us(datetime.strptime(text, pattern).replace(tzinfo=UTC))
    except ValueError:
        with pytest.raises(TimeError):
            time_reader((pattern,))(text)
    else:
        assert time_reader((pattern,))(text) == expected


@settings(max_examples=100, deadline=None)
@given(seconds=st.integers(0, 4 * 10**9), nanos=st.integers(0, 999_999_999))
def test_parts_are_added_exactly(seconds: int, nanos: int) -> None:
    assert in_unit(seconds, "s") + in_unit(nanos, "ns") == (seconds * 10**9 + nanos) // 1000


@FUZZ
@given(written=st.text(max_size=110) | st.from_regex(r"[A-Z][a-z]{2},? [0-9A-Za-z :+-]{5,40}", fullmatch=True)
       | st.from_regex(r"20\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d ?[A-Z+0-9:-]{0,6}", fullmatch=True)
       | st.floats() | st.integers() | st.recursive(st.none() | st.booleans(), st.lists),
       zone=st.text(max_size=70) | st.sampled_from(ZONES) | st.from_regex(r"[+-]?\d{1,5}(:\d\d)?", fullmatch=True),
       pattern=st.sampled_from([*PATTERNS, "%H %Z", "auto", "excel", "filetime", "iso8601"]),
       unit=st.none() | st.sampled_from(list(UNITS)))  # fmt: skip
def test_fuzz_of_times_and_zones(written: object, zone: str, pattern: str, unit: str | None) -> None:
    try:
        time_us = time_reader((pattern,), unit, named_zone(zone))(written)
    except TimeError as error:
        said = json.dumps(str(error))
    else:
        said = ""
        assert type(time_us) is int
    assert len(said) < 1000
