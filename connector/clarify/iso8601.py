"""Converts instants and durations between Python and the API's text.

The client stores an instant as an integer: microseconds since 1970-01-01T00:00:00Z, as Clarify does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import isfinite
from typing import Final

from connector.clarify.errors import ArgumentError

Instant = datetime | date | str | int | float
"""A datetime, a date, ISO 8601 text, or a number since 1970 (see `read`)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - for formatting, where "Z" is added as text
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

_SECONDS: Final = tuple(f"{second:02d}Z" for second in range(60))
_EXACT_SECONDS: Final = 2.0**33
"""The largest number of seconds for which a float is exact to the microsecond: the year 2242."""
_NO_TIME: Final = "is no time: give a datetime, ISO 8601 text such as 2026-05-01T06:00:00Z, or a number since 1970"

# Fixed durations of RFC 3339, appendix A. Years and months are excluded, because their length varies.
_DURATION: Final = re.compile(r"P(?=.)([0-9]+W)?([0-9]+D)?(T(?=.)([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?\Z")


def microseconds(instant: Instant) -> int:
    """The instant in µs since 1970; finer digits are cut off. An int is in µs.

    Raises ArgumentError for text that is no time, a time without a zone, and years outside 1 to 9999.
    """
    if isinstance(instant, str):
        return _since_epoch(_parsed(instant), instant)
    if isinstance(instant, datetime):
        return _since_epoch(instant, instant.isoformat())
    if type(instant) is not int:
        raise ArgumentError(f"{instant!r} {_NO_TIME}")
    return _checked(instant)


def read(instant: object) -> int:
    """The instant in µs since 1970, read as leniently as Clarify's own Python client reads times.

    A time without a zone is in the zone of this computer. A time of numpy is in UTC. A date is the start of the day.
    The size of a number decides whether the number is in seconds (up to 2e10), milliseconds, microseconds or
    nanoseconds since 1970. Raises ArgumentError for a value that is no time, for years outside 1 to 9999, and for a
    time without a zone in an hour that the clock of this computer repeats or skips. `fold=1` of a datetime means the
    second of two times.
    """
    if instant != instant:  # noqa: PLR0124 - NaT of numpy and pandas, and NaN
        raise ArgumentError(f"{instant} is no time: leave out values without a time")
    if isinstance(instant, str):
        instant = _parsed(instant)
    if isinstance(instant, datetime):
        return _since_epoch(instant, instant.isoformat()) if instant.tzinfo else _local(instant)
    if isinstance(instant, date):
        return read(datetime.combine(instant, time.min))
    if isinstance(instant, bool) or not isinstance(instant, int | float):
        to_datetime64 = getattr(instant, "astype", None)  # numpy's times
        if to_datetime64 is None:
            raise ArgumentError(f"{instant!r} {_NO_TIME}")
        return _checked(int(to_datetime64("datetime64[us]").astype("int64")))
    if not isfinite(instant):
        raise ArgumentError(f"{instant!r} {_NO_TIME}")
    whole = int(instant)
    for largest, factor in ((2 * 10**10, 1_000_000), (10**14, 1000), (10**17, 1)):
        if abs(whole) <= largest:
            return _checked(whole * factor + round((instant - whole) * factor))
    return _checked(whole // 1000)


def _local(naive: datetime) -> int:
    """The µs since 1970 of a time of this computer. Raises ArgumentError if the clock leaves a doubt."""
    # The datetimes of pandas are of a class of their own; without fractions, a float is exact.
    whole = datetime.combine(naive.date(), naive.time().replace(microsecond=0, fold=0))
    try:
        found, later = whole.timestamp(), whole.replace(fold=1).timestamp()
    except (ValueError, OverflowError):
        raise ArgumentError(f"{naive.isoformat()!r} is outside the years 1 to 9999 in UTC") from None
    if found != later:
        is_shown = datetime.fromtimestamp(found) == whole  # noqa: DTZ006 - the clock of this computer
        if not is_shown or not naive.fold:
            raise ArgumentError(
                f"{naive.isoformat()!r} has no zone, and the clock of this computer "
                f"{'shows this time twice' if is_shown else 'never shows this time'}: "
                "give the times a zone, such as +01:00, or in pandas with tz_localize"
            )
        found = later
    return _checked(round(found) * 1_000_000 + naive.microsecond)


def read_all(instants: Iterable[object]) -> list[int]:
    """`read` for each instant, but faster. Raises ArgumentError with the index of the first value that is no time."""
    listed = list(instants)
    kinds = set(map(type, listed))
    if kinds == {str}:
        try:
            found = _since_epoch_all(list(map(datetime.fromisoformat, listed)))  # type: ignore[arg-type]
        except ValueError:
            found = None
        if found is not None:
            return found
    if kinds == {datetime}:
        found = _since_epoch_all(listed)  # type: ignore[arg-type]
        if found is not None:
            return found
    times = []
    for index, instant in enumerate(listed):
        try:
            times.append(read(instant))
        except ValueError as error:
            raise ArgumentError(f"times[{index}]: {error}") from None
    return times


def _since_epoch_all(moments: Sequence[datetime]) -> list[int] | None:
    """The moments in µs since 1970; None if a moment has no zone, or is too far away for a float to be exact."""
    if None in {moment.tzinfo for moment in moments}:
        return None
    seconds = [moment.timestamp() for moment in moments]
    if not seconds or -_EXACT_SECONDS < min(seconds) <= max(seconds) < _EXACT_SECONDS:
        return [round(second * 1_000_000) for second in seconds]
    return None


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError(f"{text!r} is no ISO 8601 time such as 2026-05-01T06:00:00Z") from None


def _checked(instant: int) -> int:
    if not _FIRST <= instant <= _LAST:
        raise ArgumentError(f"{instant} microseconds since 1970 is outside the years 1 to 9999")
    return instant


def _since_epoch(moment: datetime, shown: str) -> int:
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ArgumentError(f"{shown!r} has no time zone: add one, such as Z or +02:00, or tzinfo")
    elapsed = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= elapsed <= _LAST:
        raise ArgumentError(f"{shown!r} is outside the years 1 to 9999 in UTC")
    return elapsed


def text(instant: int) -> str:
    """µs since 1970 as RFC 3339 text in UTC, as short as possible: 2026-05-01T06:00:10.5Z."""
    return texts((instant,))[0]


def texts(instants: Iterable[int]) -> list[str]:
    """`text` for each instant. The text before the seconds is made once for each minute, for speed."""
    minutes: dict[int, str] = {}
    found = []
    for instant in instants:
        minute, rest = divmod(instant, 60_000_000)
        start = minutes.get(minute)
        if start is None:
            moment = _NAIVE_EPOCH + timedelta(minutes=minute)
            start = minutes[minute] = f"{moment:%Y-%m-%dT%H:%M:}".rjust(17, "0")
        second, fraction = divmod(rest, 1_000_000)
        if fraction:
            found.append(f"{start}{second:02d}.{fraction:06d}".rstrip("0") + "Z")
        else:
            found.append(start + _SECONDS[second])
    return found


def to_datetime(instant: int) -> datetime:
    """µs since 1970 as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


def duration(value: str | timedelta) -> timedelta | None:
    """A fixed duration; None for zero. Errors are those of `duration_text`."""
    text = duration_text(value)
    found = None if text is None or isinstance(value, timedelta) else _DURATION.match(text)
    if found is None:
        return (value or None) if isinstance(value, timedelta) else None
    units = zip(("weeks", "days", "hours", "minutes", "seconds"), found.group(1, 2, 4, 5, 6), strict=True)
    try:
        return timedelta(**{unit: float(number[:-1]) for unit, number in units if number}) or None
    except OverflowError:
        raise ArgumentError(f"{value!r} is too long for a duration") from None


def duration_text(value: str | timedelta) -> str | None:
    """A fixed duration as ISO 8601 text such as PT5M; None for zero, which means "not set" in the API.

    Raises ArgumentError for years and months, other text, and durations below zero.
    """
    if isinstance(value, timedelta):
        return _duration_text(value)
    if not _DURATION.match(value):
        raise ArgumentError(
            f"{value!r} is no fixed duration such as PT10S, PT5M or P1DT12H (weeks, days, hours, minutes, seconds)"
        )
    return value if re.search("[1-9]", value) else None


def _duration_text(value: timedelta) -> str | None:
    if value < timedelta(0):
        raise ArgumentError(f"{value} is below zero")
    if not value:
        return None
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    date = f"{value.days}D" if value.days else ""
    time = f"{hours}H" if hours else ""
    time += f"{minutes}M" if minutes else ""
    if value.microseconds:
        time += f"{seconds}.{value.microseconds:06d}".rstrip("0") + "S"
    elif seconds:
        time += f"{seconds}S"
    return f"P{date}T{time}" if time else f"P{date}"
