"""The notations of times that a rule names: each is compiled once, to a function that reads a value."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from connector.mapping.time.times import ReadTime, micros, moment_of, moment_of_text, number_of, parse_time, short
from connector.mapping.time.zones import EPOCH, MICROSECOND, NAIVE_EPOCH, RepeatedHours, TimeError, Zone, abbreviated

AUTO: Final = "auto"
ISO: Final = "iso8601"
GPS: Final = "gps"
UNITS: Final = {
    "100ns": (1, 10), "ns": (1, 1_000), "us": (1, 1), "ms": (1_000, 1), "s": (1_000_000, 1), "min": (60_000_000, 1),
    "h": (3_600_000_000, 1), "days": (86_400_000_000, 1), "weeks": (7 * 86_400_000_000, 1),
}  # fmt: skip
"""Unit of a number → its µs, as a fraction."""
COUNTED: Final = {
    "excel": (date(1899, 12, 30), "days"),
    "filetime": (date(1601, 1, 1), "100ns"),
    "dotnet": (date(1, 1, 1), "100ns"),
    GPS: (date(1980, 1, 6), "s"),
}
"""Notation of a number → (the day from which it counts, its unit without a setting)."""
_LEAP_SECONDS: Final = tuple(
    int((datetime(year, month, 1) - datetime(1980, 1, 6)).total_seconds()) * 1_000_000 + seconds * 1_000_000  # noqa: DTZ001
    for seconds, (year, month) in enumerate(
        [(1981, 7), (1982, 7), (1983, 7), (1985, 7), (1988, 1), (1990, 1), (1991, 1), (1992, 7), (1993, 7), (1994, 7),
         (1996, 1), (1997, 7), (1999, 1), (2006, 1), (2009, 1), (2012, 7), (2015, 7), (2017, 1)]
    )
)  # fmt: skip
"""GPS time (µs) of each leap second's begin: from its end on, UTC is one second further behind (IERS, Bulletin C)."""
_SHORTEST_FRACTION: Final = re.compile(r"(\.\d{6})\d+")
_LETTERS: Final = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,5}(?![A-Za-z])", re.ASCII)

_DIGITS: Final = {
    "%Y": r"(?P<Y>\d\d\d\d)", "%y": r"(?P<y>\d\d)", "%m": r"(?P<m>1[0-2]|0[1-9]|[1-9])",
    "%d": r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9])", "%H": r"(?P<H>2[0-3]|[0-1]\d|\d)", "%M": r"(?P<M>[0-5]\d|\d)",
    "%S": r"(?P<S>[0-5]\d|\d)", "%f": r"(?P<f>\d{1,6})",
}  # fmt: skip
"""Directive of `strptime` → the digits that it takes."""

_Notation: TypeAlias = Callable[[object, Zone | None], int | datetime]
"""(value, zone of the rule) → the µs since the epoch, or the local time if the value says no zone."""


class TimeReader:
    """Reads times in one of several notations, which are tried in order."""

    def __init__(
        self, formats: Sequence[str], unit: str | None, epoch: date | None, zone: Zone | None, repeated: RepeatedHours
    ) -> None:
        """See `time_reader`."""
        if GPS in formats and (len(formats) > 1 or zone is not None):
            raise ValueError("format: gps excludes other formats and zone: GPS time is the same everywhere")
        self._formats = tuple(formats)
        self._notations = tuple(_notation(written, unit, epoch) for written in formats)
        self._zone = zone
        self._repeated = repeated
        self._gps = GPS in formats

    def read(self, value: object) -> int:
        """Returns the µs since the epoch. Raises `TimeError`."""
        return self.finished(self.moment(value, self._zone), self._zone, 0)

    def moment(self, value: object, zone: Zone | None) -> int | datetime:
        """Returns the µs since the epoch, or the local time of a value that says no zone. Raises `TimeError`."""
        problem: TimeError | None = None
        for notation in self._notations:
            try:
                return notation(value, zone)
            except TimeError as error:
                problem = error
        assert problem is not None  # noqa: S101 - there is at least one notation
        if len(self._formats) > 1:
            raise TimeError(f"{short(value)} is in none of the formats {', '.join(self._formats)}")
        raise problem

    def finished(self, moment: int | datetime, zone: Zone | None, near_us: int) -> int:
        """Returns the µs since the epoch of a moment; `near_us` is the time to which repeated hours may be near."""
        if isinstance(moment, datetime):
            return micros(moment, zone, self._repeated, near_us)
        if self._gps:
            since_us = moment - _GPS_US
            return moment - bisect_right(_LEAP_SECONDS, since_us) * 1_000_000
        return moment


def time_reader(
    formats: Sequence[str] = (AUTO,),
    unit: str | None = None,
    zone: Zone | None = None,
    epoch: date | None = None,
    repeated: RepeatedHours | None = None,
) -> ReadTime:
    """Returns the function that reads times in one of `formats`, which are tried in order.

    A format is `auto`, `iso8601`, a name of `COUNTED`, or a pattern of `strptime`. `unit` is the unit of numbers, and
    `epoch` the day from which they count (default: 1970-01-01). `zone` is the zone of times without a zone, and of
    numbers with a unit; `repeated` decides about the times that it has twice (default: the first one). Raises
    ValueError for an unknown format or unit.
    """
    if tuple(formats) == (AUTO,) and unit is None and zone is None and epoch is None:
        return parse_time
    read = TimeReader(formats, unit, epoch, zone, repeated or RepeatedHours()).read
    if tuple(formats) != (AUTO,) or unit is None or zone is not None or epoch is not None:
        return read
    times, parts = UNITS[unit]

    def counted(value: object) -> int:  # the most frequent notation of a rule
        return value * times // parts if type(value) is int and 0 <= value < 10**19 else read(value)

    return counted


def in_unit(number: float, unit: str) -> int:
    """Returns the µs of a number of units. Raises `TimeError` for NaN and for numbers beyond all times."""
    if not abs(number) < 1e20:  # also NaN
        raise TimeError(f"{number!r} is no time in {unit}")
    times, parts = UNITS[unit]
    whole = int(number)  # converted alone: the product of a float would be rounded
    return whole * times // parts + round((number - whole) * times / parts)


def plain_number(value: object) -> float | None:
    """Returns a value as a number, also from a text; None for anything else."""
    if type(value) is int or type(value) is float:
        return value
    return number_of(value.strip()) if type(value) is str and len(value) <= 64 else None


def _notation(written: str, unit: str | None, epoch: date | None) -> _Notation:
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit: {unit!r} is none of {', '.join(UNITS)}")
    if written == ISO:
        return _iso
    if written in COUNTED:
        if epoch is not None:
            raise ValueError(f"epoch: format {written} has its own; remove format or epoch")
        first, usual = COUNTED[written]
        return _counted(first, unit or usual, 1_000 if written == "excel" else 1)
    if written == AUTO:
        if unit is None and epoch is None:
            return _auto
        counted = _counted(epoch or date(1970, 1, 1), unit or "s")
        return lambda value, zone: counted(value, zone) if plain_number(value) is not None else moment_of(value, zone)
    return _pattern(written)


def _auto(value: object, zone: Zone | None) -> int | datetime:
    if zone is not None and not zone.is_utc and plain_number(value) is not None:
        raise TimeError(
            f"{short(value)} is an epoch number, and the rule has a zone: if the device counts from 1970 in local "
            "time, set unit (s, ms, us or ns), too; if the number is UTC, as epoch numbers should be, remove zone"
        )
    return moment_of(value, zone)


def _iso(value: object, zone: Zone | None) -> int | datetime:
    if isinstance(value, datetime):
        return value
    if type(value) is not str:
        raise TimeError(f"{short(value)} is no text in the format {ISO}")
    return moment_of_text(value, zone)


def _counted(first: date, unit: str, least_us: int = 1) -> _Notation:
    """`least_us` are the µs that a number can tell apart: Excel's and OLE's days are exact to a millisecond."""
    start = datetime(first.year, first.month, first.day)  # noqa: DTZ001 - the zone is of the rule
    start_us = (start - NAIVE_EPOCH) // MICROSECOND

    def read(value: object, zone: Zone | None) -> int | datetime:
        if isinstance(value, datetime):
            return value
        number = plain_number(value)
        if number is None:
            raise TimeError(f"{short(value)} is no number of {unit} since {first}")
        since_us = start_us + in_unit(number, unit)
        if least_us > 1:
            since_us = round(since_us / least_us) * least_us
        if zone is None or zone.is_utc:
            return since_us
        try:
            return NAIVE_EPOCH + timedelta(microseconds=since_us)
        except OverflowError:
            raise TimeError(f"{short(value)} {unit} since {first} are outside of the range of times") from None

    return read


def _pattern(written: str) -> _Notation:
    if "%" not in written:
        raise ValueError(
            f"format: {written!r} is none of {AUTO}, {ISO}, {', '.join(COUNTED)}, nor a pattern such as "
            "%d.%m.%Y %H:%M:%S"
        )
    try:
        datetime.strptime(datetime.now(UTC).strftime(written), written)  # noqa: DTZ007 - only whether it can be read
    except (ValueError, re.error) as error:
        raise ValueError(f"format: {written!r} cannot be read: {error}") from None
    read = _with_abbreviation if "%Z" in written.replace("%%", "") else _strptime
    digits = _of_digits(written)

    def notation(value: object, zone: Zone | None) -> int | datetime:
        if isinstance(value, datetime):
            return value
        if type(value) is int:  # 20260501060000
            value = str(value)
        if type(value) is not str or len(value) > 200:
            raise TimeError(f"{short(value)} is no text in the format {written}")
        text = _SHORTEST_FRACTION.sub(r"\1", value.strip())  # strptime's %f reads at most six digits
        if digits is not None and (found := digits.fullmatch(text)):
            return _from_digits(found.groupdict(), text, written)
        return read(text, written, zone)

    return notation


def _of_digits(written: str) -> re.Pattern[str] | None:
    """Returns an expression that takes what `strptime` takes, ten times as fast; None for a pattern with words."""
    parts = re.findall(r"%.|\s+|[^%\s]+", written)
    if len(set(parts) & set(_DIGITS)) != sum(part[0] == "%" for part in parts):
        return None
    return re.compile(
        "".join(_DIGITS.get(part) or (r"\s+" if part.isspace() else re.escape(part)) for part in parts),
        re.ASCII | re.IGNORECASE,
    )


def _from_digits(found: dict[str, str], text: str, written: str) -> datetime:
    short_year = int(found.get("y") or 0)
    year = found.get("Y") or (1900 if "y" not in found else 1900 + short_year if short_year > 68 else 2000 + short_year)
    try:
        return datetime(  # noqa: DTZ001 - the pattern has no zone
            int(year),
            int(found.get("m") or 1),
            int(found.get("d") or 1),
            int(found.get("H") or 0),
            int(found.get("M") or 0),
            int(found.get("S") or 0),
            int((found.get("f") or "").ljust(6, "0")),
        )
    except ValueError:
        raise TimeError(f"{short(text)} is not in the format {written}") from None


def _strptime(text: str, written: str, _zone: Zone | None) -> datetime:
    try:
        return datetime.strptime(text, written)  # noqa: DTZ007 - it may have its zone
    except ValueError:
        raise TimeError(f"{short(text)} is not in the format {written}") from None


def _with_abbreviation(text: str, written: str, zone: Zone | None) -> int:
    """strptime's `%Z` knows only the names of the machine's own zone: the name is replaced by one that it knows."""
    for found in _LETTERS.finditer(text):
        try:
            local = _strptime(text[: found.start()] + "UTC" + text[found.end() :], written, zone)
        except TimeError:
            continue
        return abbreviated(found[0], zone).to_utc(local)
    raise TimeError(f"{short(text)} is not in the format {written}")


_GPS_US: Final = (datetime(1980, 1, 6, tzinfo=UTC) - EPOCH) // MICROSECOND
