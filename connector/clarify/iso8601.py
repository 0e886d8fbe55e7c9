"""Instants and durations between Python and the API's text.

Inside, an instant is an integer: microseconds since 1970-01-01T00:00:00Z, which is what Clarify stores.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

Instant = datetime | str | int
"""A datetime with a time zone, ISO 8601 text with one, or an int of microseconds (not seconds) since 1970."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - for formatting, where "Z" is added as text
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

# Fixed durations of RFC 3339, appendix A: no years and months, because their length varies.
_DURATION: Final = re.compile(r"P(?=.)([0-9]+W)?([0-9]+D)?(T(?=.)([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?\Z")


def microseconds(instant: Instant) -> int:
    """The instant as microseconds since 1970; digits beyond that are cut off.

    ValueError for text that is no time, a time without a zone, and years outside 1 to 9999.
    """
    if isinstance(instant, str):
        try:
            moment = datetime.fromisoformat(instant)
        except ValueError:
            raise ValueError(f"{instant!r} is no ISO 8601 time such as 2026-05-01T06:00:00Z") from None
        return _since_epoch(moment, instant)
    if isinstance(instant, datetime):
        return _since_epoch(instant, instant.isoformat())
    if type(instant) is not int:
        raise ValueError(
            f"{instant!r} is no time: give a datetime with time zone, ISO 8601 text, "
            "or an int of microseconds since 1970"
        )
    if not _FIRST <= instant <= _LAST:
        raise ValueError(f"{instant} microseconds since 1970 is outside the years 1 to 9999")
    return instant


def _since_epoch(moment: datetime, shown: str) -> int:
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{shown!r} has no time zone: add one, such as Z or +02:00, or tzinfo")
    elapsed = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= elapsed <= _LAST:
        raise ValueError(f"{shown!r} is outside the years 1 to 9999 in UTC")
    return elapsed


def text(instant: int) -> str:
    """Microseconds since 1970 as RFC 3339 text in UTC, as short as possible: 2026-05-01T06:00:10.5Z."""
    seconds, fraction = divmod(instant, 1_000_000)
    moment = (_NAIVE_EPOCH + timedelta(seconds=seconds)).isoformat()
    if fraction == 0:
        return moment + "Z"
    return f"{moment}.{fraction:06d}".rstrip("0") + "Z"


def duration(value: str | timedelta) -> str | None:
    """A fixed duration as ISO 8601 text such as PT5M; None for zero, by which the API means "not set".

    ValueError for years and months, other text, and durations below zero.
    """
    if isinstance(value, timedelta):
        return _duration_text(value)
    if not _DURATION.match(value):
        raise ValueError(
            f"{value!r} is no fixed duration such as PT10S, PT5M or P1DT12H (weeks, days, hours, minutes, seconds)"
        )
    return value if re.search("[1-9]", value) else None


def _duration_text(value: timedelta) -> str | None:
    if value < timedelta(0):
        raise ValueError(f"{value} is below zero")
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
