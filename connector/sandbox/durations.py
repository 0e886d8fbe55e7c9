"""Reads the length of a bucket in a rollup: an ISO 8601 duration, as microseconds or as months of the calendar.

Source: docs api/1.1/types/fields. A length is either microseconds or months, never both. Weeks and days have a fixed
length here: 168 and 24 hours. rollups.py decides how a change of the local clock changes their length.
"""

from __future__ import annotations

import re
from typing import Final

_SECOND: Final = 1_000_000
_UNITS: Final = {
    "weeks": 7 * 86_400 * _SECOND,
    "days": 86_400 * _SECOND,
    "hours": 3600 * _SECOND,
    "minutes": 60 * _SECOND,
    "seconds": _SECOND,
}
_MOST_YEARS: Final = 4000
_DURATION: Final = re.compile(
    r"(?P<sign>[-+]?)P(?=[0-9T])(?:(?P<years>[0-9]{1,9})Y)?(?:(?P<months>[0-9]{1,9})M)?"
    r"(?:(?P<weeks>[0-9]{1,9})W)?(?:(?P<days>[0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,9})H)?(?:(?P<minutes>[0-9]{1,12})M)?"
    r"(?:(?P<seconds>[0-9]{1,15})(?:\.(?P<fraction>[0-9]{1,20}))?S)?)?"
)
_MOST_SHOWN: Final = 40


class DurationError(ValueError):
    """The text is not a valid length of a bucket; the message gives the reason."""


def read_length(text: str) -> tuple[int, int]:
    """The length as (µs, months); one of the two numbers is 0.

    Digits finer than a microsecond are cut off. Raises DurationError.
    """
    shown = repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise DurationError(f"{shown} is neither window nor a duration such as PT5M, P1DT12H or, by the calendar, P1M")
    if found["sign"]:
        raise DurationError(f"{shown} has a sign: a bucket's length is written without")
    fixed = [name for name in _UNITS if found[name] is not None]
    calendar = [name for name in ("years", "months") if found[name] is not None]
    if fixed and calendar:
        raise DurationError(
            f"{shown} mixes {calendar[-1]} and {fixed[0]}: give years and months, or weeks, days, hours, minutes and "
            "seconds"
        )
    micros = int((found["fraction"] or "")[:6].ljust(6, "0"))
    length_us = sum(int(found[name]) * _UNITS[name] for name in fixed) + micros
    months = int(found["years"] or 0) * 12 + int(found["months"] or 0)
    if not length_us and not months:
        raise DurationError(f"{shown} is nothing: a bucket has a length, of a microsecond or more")
    if length_us > _MOST_YEARS * 366 * _UNITS["days"] or months > _MOST_YEARS * 12:
        raise DurationError(f"{shown} is longer than {_MOST_YEARS} years")
    return length_us, months
