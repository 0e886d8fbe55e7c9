"""The time of a value: recognises the time field of a payload, and reads it as µs since the epoch.

These notations can be read: ISO 8601 (a time without a zone is UTC), and epoch numbers, also as text, in seconds,
milliseconds, microseconds or nanoseconds, which are told apart by their size. Clarify stores microseconds, so finer
digits are cut off. A binary number with a fraction is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

TIME_NAMES: Final = frozenset(
    {
        "time",
        "timestamp",
        "ts",
        "datetime",
        "date_time",
        "@timestamp",
        "timestamp_ms",
        "timestampms",
        "time_ms",
        "ts_ms",
        "epoch",
        "unixtime",
        "unix_time",
        "eventtime",
        "event_time",
        "measured_at",
        "measuredat",
        "observed_at",
        "recorded_at",
        "sampled_at",
        "sourcetimestamp",
        "source_timestamp",
        "created_at",
        "received_at",
        "time_stamp",
        "tstamp",
        "timeunixnano",
        "unixtimestamp",
        "unix_timestamp",
        "epoch_ms",
        "epochms",
        "observedat",
        "recordedat",
        "sampledat",
        "measured_time",
        "measurement_time",
        "measurementtime",
        "sampletime",
        "sample_time",
        "source_time",
        "sourcetime",
        "phenomenontime",
        "phenomenon_time",
        "zeitstempel",
    }
)
"""Names of fields (in small letters) that are the time of the values beside them."""
_POSSIBLE_TIME_NAMES: Final = frozenset(
    {"t", "at", "date", "dt", "datum", "gmt", "origin", "stamp", "utc", "when", "zeit"}
)
"""Names of fields (in small letters) that are a time only if their value is one: `t` may be a temperature."""
_OTHER_TIME_NAMES: Final = re.compile(
    r"(?i:time|date|stamp|seen|since|until|epoch|nano|changed|modified|expires)|(?<=[a-z_])(At|_at)$"
)
"""Parts of the names of fields that may be another time: `last_seen`, `startTimeUnixNano`."""

_DAY_AND_CLOCK: Final = re.compile(
    r"(\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{2,4})\D{1,3}\d\d?:\d\d", re.ASCII
)
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d|\d{4}[./]\d\d?[./]\d\d?|\d\d?[./]\d\d?[./]\d{4})(?!\d)", re.ASCII)
_YEAR_2100_US: Final = 4_102_444_800_000_000
LEAST_EPOCH: Final = 1_000_000_000
"""2001-09-09: without a setting, a smaller number is no epoch time."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_PARTS: Final = frozenset({"year", "month", "day"})
YEAR_US: Final = 366 * 86_400 * 1_000_000


class TimeError(ValueError):
    """The value of a time field cannot be read as a time."""


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """The bounds of plausible times: a time outside of them comes from a clock that was never set."""

    oldest_us: int = (datetime(2000, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
    newest_after_arrival_us: int = 10 * YEAR_US


def is_time_name(name: str) -> bool:
    """Whether a field with this name is the time of the values beside it."""
    return name.lower() in TIME_NAMES


def is_possible_time_name(name: str) -> bool:
    """Whether a field with this name is a time if its value is one (see `looks_like_moment`)."""
    return name.lower() in _POSSIBLE_TIME_NAMES


def looks_like_moment(value: object) -> bool:
    """Whether a value is a date with a time of day, or an epoch number from 2001 to 2100."""
    if type(value) is str and _DAY_AND_CLOCK.match(value.strip()):
        return True
    return is_epoch(value)


def is_other_time(name: str, value: object) -> bool:
    """Whether a number is no reading but another epoch time, by the name of its field and by its size."""
    return may_be_other_time(name) and is_epoch(value)


def may_be_other_time(name: str) -> bool:
    """Whether a number in a field with this name may be another time than that of the values beside it."""
    folded = name.lower()
    return folded in TIME_NAMES or folded in _POSSIBLE_TIME_NAMES or _OTHER_TIME_NAMES.search(name) is not None


def is_epoch(value: object) -> bool:
    """Whether a number, or a text of digits, is an epoch time in any unit, from 2001-09-09 to the year 2100."""
    if type(value) is str:
        if not (10 <= len(value) <= 30 and _NUMBER.fullmatch(value)):
            return False
    elif (type(value) is not int and type(value) is not float) or not LEAST_EPOCH <= value < 1e20:
        return False
    try:
        return LEAST_EPOCH * 1_000_000 <= parse_time(value) < _YEAR_2100_US
    except TimeError:
        return False


def looks_like_time(value: object) -> bool:
    """Whether a value is a date, with or without a time of day, or an epoch number from 2001 to 2100."""
    if type(value) is str:
        return _DATE.match(value.strip()) is not None
    return is_epoch(value)


def has_time_in_parts(obj: Mapping[str, object]) -> bool:
    """Whether an object has its time in separate fields: year, month and day."""
    return len(_PARTS.intersection(key.lower() for key in obj)) == len(_PARTS)


def parse_time(value: object) -> int:
    """Returns the µs since the epoch for a time in any of the notations above. Raises `TimeError`."""
    if type(value) is int and 10**11 <= value < 10**14:  # the most frequent notation: ms
        return value * 1_000
    if type(value) is str:
        return _from_text(value)
    if type(value) is int or type(value) is float:
        return _from_number(value)
    if isinstance(value, datetime):  # the payload's format has a type for times
        return _micros(value, UTC)
    shown = "an object or a list" if isinstance(value, dict | list) else repr(value)
    raise TimeError(f"{shown} is neither text nor a number")


def _micros(moment: datetime, zone: tzinfo) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return (moment - EPOCH) // _MICROSECOND
    except OverflowError:
        raise TimeError(f"{moment} is outside of the range of times") from None


def _from_text(text: str, zone: tzinfo = UTC) -> int:
    if len(text) > 64:
        raise TimeError(f"{text[:40]!r}… is too long for a time")
    text = text.strip()
    number = None if text[4:5] == "-" else _NUMBER.fullmatch(text)
    if number:
        # Before ISO 8601: fromisoformat takes "1712120512123" for the year 1712. Whole numbers stay exact; a
        # float's 53 bits hold microseconds until 2255.
        return _from_number(float(text) if number[1] or number[2] else int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise TimeError(f"{shown!r} is neither ISO 8601 nor an epoch number") from None
    return _micros(moment, zone)


def _from_number(number: float) -> int:
    size = abs(number)
    if not size < 1e20:  # also NaN
        raise TimeError(f"{number!r} is no epoch time in any unit")
    whole = int(number)  # converted alone: the product of a float would be rounded again
    if size < 1e11:
        return whole * 1_000_000 + round((number - whole) * 1_000_000)
    if size < 1e14:
        return whole * 1_000 + round((number - whole) * 1_000)
    if size < 1e17:
        return round(number)
    return whole // 1_000


ReadTime = Callable[[object], int]
"""Reads a time: a value of the payload → µs since the epoch. Raises `TimeError`."""

UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}
"""Unit of an epoch number → its µs; 0 for nanoseconds, which are divided."""
ISO: Final = "iso8601"
AUTO: Final = "auto"
EXCEL: Final = "excel"
_EXCEL_EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - the rule sets the zone
_SHORTEST_FRACTION: Final = re.compile(r"(\.\d{6})\d+")


def time_reader(formats: tuple[str, ...] = (AUTO,), unit: str | None = None, zone: str | None = None) -> ReadTime:
    """Returns the function that reads times in one of `formats`, which are tried in order.

    A format is `auto`, `iso8601`, `excel` (days since 1899-12-30) or a pattern of `strptime`. `unit` is the unit of
    epoch numbers. `zone` is the zone of times without a zone; if clocks go back, the first of two equal times counts.
    Raises ValueError for an unknown format, unit or zone.
    """
    for written in formats:
        _check_format(written)
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit: {unit!r} is none of {', '.join(UNITS)}")
    if formats == (AUTO,) and unit is None and zone is None:
        return parse_time
    try:
        where: tzinfo = ZoneInfo(zone) if zone else UTC
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"zone: {zone!r} is no IANA time zone, such as Europe/Oslo") from None

    def read(value: object) -> int:
        problem: TimeError | None = None
        for written in formats:
            try:
                return _read_as(written, value, unit, where)
            except TimeError as error:
                problem = error
        assert problem is not None  # noqa: S101 - there is at least one format
        if len(formats) > 1:
            raise TimeError(f"{_short(value)} is in none of the formats {', '.join(formats)}")
        raise problem

    return read


def _check_format(written: str) -> None:
    if written in (AUTO, ISO, EXCEL):
        return
    if "%" not in written:
        raise ValueError(
            f"format: {written!r} is neither {AUTO}, {ISO} nor {EXCEL}, nor a pattern such as %d.%m.%Y %H:%M:%S"
        )
    try:
        datetime.strptime(datetime.now(UTC).strftime(written), written)  # noqa: DTZ007 - only whether it can be read
    except (ValueError, re.error) as error:
        raise ValueError(f"format: {written!r} cannot be read: {error}") from None


def _read_as(written: str, value: object, unit: str | None, zone: tzinfo) -> int:  # noqa: PLR0911 - one a notation
    if isinstance(value, datetime):
        return _micros(value, zone)
    if written == EXCEL:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 3e6:
            raise TimeError(f"{_short(value)} is no number of days since 1899-12-30")
        return _micros(_EXCEL_EPOCH + timedelta(days=value), zone)
    if written in (AUTO, ISO):
        if type(value) is str:
            if written == AUTO and unit and _NUMBER.fullmatch(value.strip()) and value[4:5] != "-":
                return _in_unit(float(value) if set(value) & set(".eE") else int(value), unit)
            return _from_text(value, zone)
        if (type(value) is int or type(value) is float) and written == AUTO:
            return _in_unit(value, unit) if unit else _from_number(value)
        if written == AUTO:
            return parse_time(value)
    if not isinstance(value, str):
        raise TimeError(f"{_short(value)} is no text in the format {written}")
    try:
        # strptime's %f reads at most six digits; finer digits are cut off
        moment = datetime.strptime(_SHORTEST_FRACTION.sub(r"\1", value.strip()), written)  # noqa: DTZ007 - has its zone
    except ValueError:
        raise TimeError(f"{_short(value)} is not in the format {written}") from None
    return _micros(moment, zone)


def _in_unit(number: float, unit: str) -> int:
    if not abs(number) < 1e20:  # also NaN
        raise TimeError(f"{number!r} is no epoch time in {unit}")
    factor = UNITS[unit]
    whole = int(number)
    return whole * factor + round((number - whole) * factor) if factor else whole // 1_000


def _short(value: object) -> str:
    text = "an object or a list" if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def format_time(time_us: int) -> str:
    """Returns the shortest exact RFC 3339 text in UTC for a time in µs since the epoch."""
    moment = EPOCH + timedelta(microseconds=time_us)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = time_us % 1_000_000
    return f"{text}.{fraction:06d}".rstrip("0") + "Z" if fraction else text + "Z"
