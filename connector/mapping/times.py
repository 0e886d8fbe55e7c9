"""When a value was measured: recognising a payload's time field and reading it as µs since the epoch.

Understood: ISO 8601 text (a time without a zone is UTC), and epoch numbers or their text in seconds,
milliseconds, microseconds or nanoseconds, told apart by their size. What is finer than a microsecond, which
is what Clarify stores, is cut off; a number with a fraction is rounded, since it is binary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

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
    }
)
"""Field names (in small letters) that are taken as the time of the values beside them."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
YEAR_US: Final = 366 * 86_400 * 1_000_000


class TimeError(ValueError):
    """The field is a time by its name, but cannot be read as one."""


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Times outside are taken for a clock that was never set, not for measurements."""

    oldest_us: int = (datetime(2000, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
    newest_after_arrival_us: int = 10 * YEAR_US


def is_time_name(name: str) -> bool:
    """Whether a field of this name is taken as the time of the values beside it."""
    return name.lower() in TIME_NAMES


def parse_time(value: object) -> int:
    """Any understood form → µs since the epoch; raises `TimeError`."""
    if type(value) is str:
        return _from_text(value)
    if type(value) is int or type(value) is float:
        return _from_number(value)
    shown = "an object or a list" if isinstance(value, dict | list) else repr(value)
    raise TimeError(f"{shown} is neither text nor a number")


def _from_text(text: str) -> int:
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
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // _MICROSECOND


def _from_number(number: float) -> int:
    size = abs(number)
    if not size < 1e20:  # also NaN
        raise TimeError(f"{number!r} is no epoch time in any unit")
    whole = int(number)  # by itself: the product of a float would be rounded once more
    if size < 1e11:
        return whole * 1_000_000 + round((number - whole) * 1_000_000)
    if size < 1e14:
        return whole * 1_000 + round((number - whole) * 1_000)
    if size < 1e17:
        return round(number)
    return whole // 1_000


def format_time(time_us: int) -> str:
    """µs since the epoch → RFC 3339 text in UTC, as short as it is exact."""
    moment = EPOCH + timedelta(microseconds=time_us)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = time_us % 1_000_000
    return f"{text}.{fraction:06d}".rstrip("0") + "Z" if fraction else text + "Z"
