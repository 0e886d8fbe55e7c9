"""The cells of times: text → µs since 1970. The order of day and month is told apart by all times of the file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Final
from zoneinfo import ZoneInfo

from connector.commands.clarify.times import at_zone, is_compact, read_time
from connector.mapping.time.reader import AUTO, TimeReader
from connector.mapping.time.times import TimeError, moment_of_text
from connector.mapping.time.zones import RepeatedHours, zone_of

_EXCEL: Final = "excel"
_SPACES: Final = str.maketrans("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}", "   ")
_DATE: Final = re.compile(
    r"(?P<a>\d{1,4})(?P<sign>[./-]) ?(?P<b>\d{1,2})(?P=sign) ?(?P<c>\d{1,4})\.?"
    r"(?:(?:,? +|T)(?P<h>\d{1,2})[:.](?P<m>\d\d)(?:[:.](?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.? ?[Mm]\.?)?)?",
    re.ASCII,
)
"""`01.05.2026 06:00`, `5/1/2026 6:00:00 AM`, `2026/05/01 6:00`, `1.5.2026 6.00`, `2026. 05. 01. 6:00`."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,9}([.,]\d*)?", re.ASCII)
"""A number that is too small for a time since 2001 in seconds."""
_SERIALS: Final = range(1, 100_000)
"""Days since 1899-12-30, until the year 2173."""


class Times:
    """How the times of a file are written."""

    def __init__(self, zone: ZoneInfo | None, formats: tuple[str, ...]) -> None:
        """`zone` is that of times without one; `formats` are notations that a person named, or none.

        Raises ValueError for an unknown format.
        """
        self._zone = zone
        self._rules = None if zone is None else zone_of(zone.key)
        self._formats = formats
        self._reader = TimeReader(formats, None, None, self._rules, RepeatedHours("reject")) if formats else None
        self._certain: dict[bool, tuple[int, str]] = {}
        """Whether the day is first → (line, text) of the first time that says so for certain."""
        self.are_local = bool(formats) and formats != ("iso8601",)
        """Whether a time of the file is written as in one language, so that the decimal sign may be a comma."""

    def learn(self, line: int, text: str) -> bool:
        """Learn from one time of the file. Return whether later times cannot teach more."""
        found = None if self._reader is not None else _DATE.fullmatch(text.strip().translate(_SPACES))
        if found is None:
            return True
        self.are_local = self.are_local or len(found["a"]) < 4
        if found["sign"] == "." or not (len(found["a"]) <= 2 and len(found["c"]) == 4):
            return True
        for day_first, day, month in ((True, found["a"], found["b"]), (False, found["b"], found["a"])):
            if int(day) > 12 >= int(month):
                self._certain.setdefault(day_first, (line, text.strip()))
        return bool(self._certain)

    def read(self, text: str) -> int:
        """Return the µs since 1970 of a time. Raises ValueError, with the reason for people."""
        text = text.strip()
        if self._reader is not None:
            return self._in_format(self._reader, text)
        if text[4:5] != "-" or len(text) < 16 or text[10:11] not in " T" or text[13:14] != ":":
            if _NUMBER.fullmatch(text) and not is_compact(text):
                raise ValueError(_too_small(text))
            plain = text.translate(_SPACES)
            if found := _DATE.fullmatch(plain):
                return at_zone(self._date(found, text), self._zone, text)
        try:
            return read_time(text, self._zone)
        except TimeError:
            raise
        except ValueError as error:
            return self._in_words(text, error)

    def _in_format(self, reader: TimeReader, text: str) -> int:
        is_serial = self._formats == (_EXCEL,)
        plain = text.replace(",", ".") if is_serial else text.translate(_SPACES)
        if is_serial and self._rules is None:
            raise ValueError(f"{text[:40]!r} has no time zone: use --time-zone")
        if AUTO in self._formats and _NUMBER.fullmatch(plain) and not is_compact(plain):
            raise ValueError(_too_small(text))
        moment = reader.moment(plain, self._rules)
        if not isinstance(moment, datetime):
            time_us = reader.finished(moment, None, 0)
            return _on_the_second(time_us, plain) if is_serial else time_us
        if is_serial:
            start = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time
            since_us = _on_the_second((moment - start) // timedelta(microseconds=1), plain)
            moment = start + timedelta(microseconds=since_us)
        return at_zone(moment, self._zone, text)

    def _in_words(self, text: str, problem: ValueError) -> int:
        """Return the time of a text such as `01-May-2026 06:00`."""
        if re.fullmatch(r"[\d.,+-]*", text):
            raise problem
        try:
            moment = moment_of_text(text, self._rules)
        except TimeError:
            raise problem from None
        return at_zone(moment, self._zone, text) if isinstance(moment, datetime) else moment

    def _date(self, found: re.Match[str], text: str) -> datetime:
        first, second, third = found["a"], found["b"], found["c"]
        if len(first) == 4 and len(third) <= 2:
            year, month, day = first, second, third
        elif len(first) <= 2 and len(third) == 4:
            day, month = (first, second) if self._is_day_first(found, text) else (second, first)
            year = third
        else:
            raise ValueError(f"{text!r} has a year of two digits: use --date-format {_pattern(found, '%d', '%m')!r}")
        hour = int(found["h"] or 0)
        if found["half"]:
            if not 1 <= hour <= 12:
                raise ValueError(f"{text!r} is no time: the hours before AM and PM are 1 to 12")
            hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
        try:
            return datetime(  # noqa: DTZ001 - the zone is that of the file
                int(year), int(month), int(day), hour, int(found["m"] or 0), int(found["s"] or 0),
                int((found["f"] or "")[:6].ljust(6, "0")),
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"{text!r} is no time: {error}") from None

    def _is_day_first(self, found: re.Match[str], text: str) -> bool:
        if found["sign"] == ".":  # in every language that writes points, the day is first
            return True
        if len(self._certain) == 1:
            return True in self._certain
        if self._certain:
            (day_line, day), (month_line, month) = self._certain[True], self._certain[False]
            raise ValueError(
                f"{text!r} may begin with the day ({day!r} on line {day_line}) or with the month ({month!r} on line "
                f"{month_line}): write all times in one way"
            )
        raise ValueError(
            f"{text!r} may begin with the day or with the month: use --date-format {_pattern(found, '%d', '%m')!r} or "
            f"{_pattern(found, '%m', '%d')!r}"
        )


def _pattern(found: re.Match[str], first: str, second: str) -> str:
    sign = found["sign"]
    date_part = f"{first}{sign}{second}{sign}{'%Y' if len(found['c']) == 4 else '%y'}"
    if found["h"] is None:
        return date_part
    clock = ("%I" if found["half"] else "%H") + ":%M" + (":%S" if found["s"] else "") + (".%f" if found["f"] else "")
    return f"{date_part} {clock}" + (" %p" if found["half"] else "")


def _too_small(text: str) -> str:
    number = float(text.replace(",", "."))
    if floor(number) in _SERIALS:
        day = datetime(1899, 12, 30, tzinfo=UTC) + timedelta(days=number)
        return (
            f"{text!r} may be the serial date of a spreadsheet ({day:%Y-%m-%d %H:%M}): use --date-format excel, or "
            "write the time as text"
        )
    return f"{text!r} is no number of seconds after 2001: write an earlier time as 1999-05-01T06:00Z"


def _on_the_second(time_us: int, text: str) -> int:
    """Return the nearest whole second, if the digits of a serial date do not tell it apart from the time."""
    digits = len(text.partition(".")[2])
    rounded = round(time_us / 1_000_000) * 1_000_000
    return rounded if abs(rounded - time_us) <= 43_200_000_000 / 10**digits else time_us
