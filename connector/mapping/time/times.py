"""The time of a value: recognises the time field of a payload, and reads it as µs since the epoch.

These notations can be read: ISO 8601 (a time without a zone is UTC), the texts of `texts.py`, and epoch numbers, also
as text, in seconds, milliseconds, microseconds or nanoseconds, or ticks of Windows (FILETIME) or .NET. Their size tells
numbers apart. Clarify stores microseconds, so finer digits are cut off. A binary number with a fraction is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from connector.mapping.time.texts import other_text
from connector.mapping.time.zones import EPOCH, MICROSECOND, NAIVE_EPOCH, RepeatedHours, TimeError, Zone

__all__ = ["EPOCH", "TimeError"]

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

_READING_TIME_NAMES: Final = re.compile(r"(?i:time|date|stamp|instant)|(?<=[a-z_])(At|_at)$")
_NO_READING_NAMES: Final = re.compile(
    r"(?i)last|start|begin|end|boot|up|since|until|expire|next|first|due|build|install|modif|chang|valid|life|run"
)
"""Parts of names of times that are other times than that of the values beside them."""
_TIME_IN_PATH: Final = re.compile(r"(?:^|\.)(\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^.]*|\d{10}(?:\d{3})?)(?=\.|$)", re.ASCII)

_DAY_AND_CLOCK: Final = re.compile(
    r"(\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{2,4})\D{1,3}\d\d?:\d\d", re.ASCII
)
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d|\d{4}[./]\d\d?[./]\d\d?|\d\d?[./]\d\d?[./]\d{4})(?!\d)", re.ASCII)
_YEAR_2100_US: Final = 4_102_444_800_000_000
LEAST_EPOCH: Final = 1_000_000_000
"""2001-09-09: without a setting, a smaller number is no epoch time."""
_LEAST_MS: Final = 10**11
_MOST_MS: Final = 10**14
"""A whole number from the first one to below the second one counts as ms."""
_FILETIME_EPOCH_US: Final = 11_644_473_600 * 1_000_000
"""From 1601-01-01 to 1970-01-01."""
_TICKS_EPOCH_US: Final = 62_135_596_800 * 1_000_000
"""From 0001-01-01 to 1970-01-01."""
_FILETIMES: Final = 125_911_584_000_000_000, 157_469_184_000_000_000
"""2000 to 2100 in steps of 100 ns since 1601; as nanoseconds since 1970, such a number is a time of 1973 or 1974."""
_TICKS: Final = 630_822_816_000_000_000, 662_380_416_000_000_000
"""2000 to 2100 in steps of 100 ns since the year 1; as nanoseconds since 1970, a time of 1989 or 1990."""
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_PARTS: Final = frozenset({"year", "month", "day"})
ReadTime = Callable[[object], int]
"""Reads a time: a value of the payload → µs since the epoch. Raises `TimeError`."""
YEAR_US: Final = 366 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """The bounds of plausible times: a time outside of them comes from a clock that was never set."""

    oldest_us: int = (datetime(2000, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
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


def unknown_time(obj: Mapping[str, object]) -> str | None:
    """Returns the key of a time that has no known name, but probably is that of the values beside it; else None."""
    return next(
        (
            key
            for key, value in obj.items()
            if type(value) in (str, int, float)
            and _READING_TIME_NAMES.search(key)
            and not _NO_READING_NAMES.search(key)
            and looks_like_moment(value)
        ),
        None,
    )


def time_in_path(path: str, arrival_us: int) -> str | None:
    """Returns the part of a path that is a time: a date with a time of day, or an epoch number within two years."""
    found = _TIME_IN_PATH.search(path)
    if found is None:
        return None
    if found[1].isdecimal() and abs(parse_time(int(found[1])) - arrival_us) > 2 * YEAR_US:
        return None
    return found[1]


def is_epoch(value: object) -> bool:
    """Whether a number, or a text of digits, is an epoch time in any unit, from 2001-09-09 to the year 2100."""
    if type(value) is str:
        if not (10 <= len(value) <= 30 and _NUMBER.fullmatch(value)):
            return False
    elif (type(value) is not int and type(value) is not float) or not LEAST_EPOCH <= value < 1e20:
        return False
    if float(value) >= 1e17 and float(value) < 1e18:
        return False  # ticks of Windows or .NET are read as times only where the name is certainly one
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


def parse_time(value: object, zone: Zone | None = None) -> int:
    """Returns the µs since the epoch for a time in any of the notations above. Raises `TimeError`.

    `zone` is the zone of times without a zone; None is UTC. Of a time that is there twice, the first one counts.
    """
    if type(value) is int and _LEAST_MS <= value < _MOST_MS:  # the most frequent notation
        return value * 1_000
    moment = moment_of(value, zone)
    return moment if type(moment) is int else micros(moment, zone, None if zone is None else RepeatedHours())  # type: ignore[arg-type]


def read_times(read: ReadTime, values: Sequence[object]) -> list[int]:
    """Returns the same as `read` for each of the values, faster if all of them are ms. Raises `TimeError`."""
    if read is parse_time and {*map(type, values)} == {int}:
        numbers: Sequence[int] = values  # type: ignore[assignment]
        if min(numbers) >= _LEAST_MS and max(numbers) < _MOST_MS:
            return [number * 1_000 for number in numbers]
    return list(map(read, values))


def moment_of(value: object, zone: Zone | None) -> int | datetime:
    """Returns the µs since the epoch for a time that says its zone, or is an epoch number; else the local time.

    Raises `TimeError`.
    """
    if type(value) is str:
        return moment_of_text(value, zone)
    if type(value) is int or type(value) is float:
        return from_number(value)
    if isinstance(value, datetime):  # the payload's format has a type for times
        return value
    raise TimeError(f"{short(value)} is neither text nor a number")


def moment_of_text(text: str, zone: Zone | None) -> int | datetime:
    """Returns the same for a text."""
    if len(text) > 100:
        raise TimeError(f"{text[:40]!r}… is too long for a time")
    text = text.strip()
    number = number_of(text)
    if number is not None:
        # Before ISO 8601: fromisoformat takes "1712120512123" for the year 1712.
        return from_number(number)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return other_text(text, zone)


def number_of(text: str) -> float | None:
    """Returns the number of a text; None for another text. Whole numbers stay exact."""
    found = None if text[4:5] == "-" else _NUMBER.fullmatch(text)
    if found is None:
        return None
    return float(text) if found[1] or found[2] else int(text)  # a float's 53 bits hold microseconds until 2255


def micros(moment: datetime, zone: Zone | None, repeated: RepeatedHours | None = None, near_us: int = 0) -> int:
    """Returns the µs since the epoch; a time without a zone is in `zone` (None: UTC). Raises `TimeError`.

    `repeated` and `near_us` are as for `Zone.to_utc`.
    """
    if moment.tzinfo is None:
        if zone is not None:
            return zone.to_utc(moment, repeated, near_us)
        return (moment - NAIVE_EPOCH) // MICROSECOND
    try:
        return (moment - EPOCH) // MICROSECOND
    except OverflowError:
        raise TimeError(f"{moment} is outside of the range of times") from None


def from_number(number: float) -> int:
    """Returns the µs since the epoch for an epoch number, or for ticks of Windows or .NET, which its size tells apart.

    Raises `TimeError`.
    """
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
    if _FILETIMES[0] <= whole < _FILETIMES[1]:
        return whole // 10 - _FILETIME_EPOCH_US
    if _TICKS[0] <= whole < _TICKS[1]:
        return whole // 10 - _TICKS_EPOCH_US
    return whole // 1_000


def short(value: object) -> str:
    """Returns a short text for a value, for the readers of dead letters."""
    text = "an object or a list" if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def format_time(time_us: int) -> str:
    """Returns the shortest exact RFC 3339 text in UTC for a time in µs since the epoch."""
    moment = EPOCH + timedelta(microseconds=time_us)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = time_us % 1_000_000
    return f"{text}.{fraction:06d}".rstrip("0") + "Z" if fraction else text + "Z"
