"""Local times → UTC: zones by name, offset or abbreviation, and the hours that a zone's clocks repeat or skip.

A zone may have a word behind it for summer or winter time: `Europe/Oslo S`, `America/Chicago CST`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time
MICROSECOND: Final = timedelta(microseconds=1)
_HOUR_US: Final = 3_600_000_000
_MINUTE_US: Final = 60_000_000
_MOST_KNOWN: Final = 5_000
_WHOLE_MINUTES_FROM: Final = 1980
"""Since this year, the clocks of all zones change at the begin of a minute."""

RepeatedHour = Literal["first", "nearest", "reject"]


class RepeatedHours:
    """What is said about local times that a change of the clocks makes twice, and the first decision by that."""

    __slots__ = ("decided", "how")

    def __init__(self, how: RepeatedHour = "first") -> None:
        self.how = how
        self.decided = ""
        """The first local time that was there twice, with its zone, if `how` is `first`; empty if there was none."""


_HOURS: Final = {
    "UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "WET": 0, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "SAST": 2, "JST": 9, "KST": 9, "AWST": 8, "ACST": 9.5, "ACDT": 10.5, "AEST": 10, "AEDT": 11,
    "NZST": 12, "NZDT": 13, "EDT": -4, "MDT": -6, "PDT": -7,
}  # fmt: skip
"""Abbreviation that stands for one offset only → hours east of UTC. CST, IST, BST, EST … are names of several zones."""
_UTC: Final = frozenset({"UTC", "Z", "GMT", "UT", "UCT", "ZULU", "ETC/UTC", "ETC/GMT"})
_EUROPEAN_WINTER: Final = frozenset({"WET", "CET", "MEZ", "EET"})
"""Names of winter time that some devices also write in summer, as the name of the zone."""
_SUMMER: Final = {
    "S": True, "SUMMER": True, "DST": True, "TRUE": True, "1": True,
    "W": False, "WINTER": False, "STD": False, "FALSE": False, "0": False,
}  # fmt: skip
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?([+-])(?:(\d\d?)(?::([0-5]\d))?|(\d\d)([0-5]\d))", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*", re.ASCII)


class TimeError(ValueError):
    """The value of a time field cannot be read as a time."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone, and what is said about summer or winter time."""

    text: str
    rules: tzinfo | None
    """None for a fixed offset."""
    offset_us: int = 0
    """The fixed offset, in µs east of UTC."""
    summer: bool | None = None
    """Whether the time is said to be summer time; None if nothing is said."""
    name: str = ""
    """The abbreviation that the time is said to have; empty if none is said."""
    known: dict[int, int] = field(default_factory=dict, compare=False, repr=False)
    """Minute of the local time since 1970 → its offset (µs), if it is certain: a zone's rules take microseconds."""

    @property
    def is_utc(self) -> bool:
        """Whether times of this zone are UTC."""
        return self.rules is None and not self.offset_us

    def to_utc(self, local: datetime, repeated: RepeatedHours | None = None, near_us: int = 0) -> int:
        """Returns the µs since the epoch for a local time of this zone.

        `repeated` decides about a time that a change of the clocks makes twice, if nothing is said about summer time;
        `nearest` is the time nearest to `near_us` (µs). Raises `TimeError` for a time that the zone does not have, and
        for a time that it has twice if nothing decides.
        """
        try:
            return self._to_utc(local, repeated, near_us)
        except OverflowError:
            raise TimeError(f"{local} is outside of the range of times") from None

    def _to_utc(self, local: datetime, repeated: RepeatedHours | None, near_us: int) -> int:
        wall_us = (local - NAIVE_EPOCH) // MICROSECOND
        if self.rules is None:
            if self.name in _EUROPEAN_WINTER and _is_european_summer(local):
                raise TimeError(
                    f"{self.name} in summer may be winter time (+{self.offset_us // _HOUR_US:02d}:00), or the name of "
                    "a zone with summer time; set zone in the rule, by its name (Europe/Berlin) or offset (+01:00), "
                    "with a format that has this name as text"
                )
            return wall_us - self.offset_us
        minute = wall_us // _MINUTE_US
        if (known := self.known.get(minute)) is not None:
            return wall_us - known
        later = local.replace(fold=1)
        first, second = _offset(self.rules, local), _offset(self.rules, later)
        if first < second:
            raise TimeError(
                f"{local} does not exist in {self.text}: the clocks are put forward there. If the device has no "
                "summer time, set zone to its offset, such as '+01:00'"
            )
        twice = first != second
        if self.summer is None and not self.name:
            if not twice and local.year >= _WHOLE_MINUTES_FROM:
                if len(self.known) >= _MOST_KNOWN:
                    self.known.clear()
                self.known[minute] = first
            fitting = [wall_us - first] + [wall_us - second] * twice
        else:
            fitting = [
                wall_us - offset for offset, at in [(first, local), (second, later)][: 1 + twice] if self._is(at)
            ]
            if not fitting:
                raise TimeError(
                    f"{local} has no time as in {self.text!r}: check the zone, and the letter or name with it"
                )
        if len(fitting) == 1:
            return fitting[0]
        if repeated is None or repeated.how == "reject":
            raise TimeError(
                f"{local} is there twice in {self.text}: the clocks are put back there. Let the device send UTC or "
                "an offset" + (", or set repeated_hour in the rule" if repeated is not None else " with the time")
            )
        if repeated.how == "first":
            repeated.decided = repeated.decided or f"{local} in {self.text}"
            return fitting[0]
        return min(fitting, key=lambda time_us: abs(time_us - near_us))

    def _is(self, local: datetime) -> bool:
        """Whether a local time has the summer or winter time that is said, or the abbreviation."""
        assert self.rules is not None  # noqa: S101 - asked only for a zone with rules
        if self.name:
            return self.rules.tzname(local) == self.name
        offset = _offset(self.rules, local)
        least = min(_offset(self.rules, datetime(local.year, month, 1)) for month in (1, 7))  # noqa: DTZ001
        return (offset > least) == self.summer


def _offset(rules: tzinfo, local: datetime) -> int:
    offset = rules.utcoffset(local)
    assert offset is not None  # noqa: S101 - ZoneInfo has one for every time
    return offset // MICROSECOND


def _is_european_summer(local: datetime) -> bool:
    berlin = ZoneInfo("Europe/Berlin")
    return bool(berlin.dst(local)) and bool(berlin.dst(local.replace(fold=1)))


@lru_cache(maxsize=4096)
def zone_of(text: str) -> Zone:
    """Returns the zone of a text: `Europe/Oslo`, `+02:00`, `UTC+2`, or an abbreviation that stands for one offset.

    An offset may also be a number of hours, minutes or seconds: `2`, `120` and `7200` are the same. Behind the name of
    a zone, a letter (`S`, `W`), a word (`summer`, `true` …) or the abbreviation says whether it is summer time. Raises
    `TimeError`.
    """
    text = text.strip()
    if len(text) > 64:
        raise TimeError(f"zone: {text[:40]!r}… is too long for a time zone")
    name, _, said = text.partition(" ")
    said = said.strip().upper()
    offset_us = 0 if text.upper() in _UTC else _fixed(text)
    if offset_us is not None:
        return Zone(text, None, offset_us)
    rules = _rules(name)
    if rules is not None and not said:
        return Zone(text, rules)
    if rules is not None and said in _SUMMER:
        return Zone(text, rules, summer=_SUMMER[said])
    if rules is not None and said.isascii() and said.isalpha():
        return Zone(text, rules, name=said)
    raise TimeError(f"zone: {text!r} is no IANA time zone, such as Europe/Oslo, and no offset, such as +02:00")


def abbreviated(name: str, zone: Zone | None) -> Zone:
    """Returns the zone that is written behind a time: a name, an abbreviation, an offset, or a letter for summer time.

    `zone` is the zone of the rule.

    Raises `TimeError` for an abbreviation that may stand for several zones.
    """
    if "/" in name:
        return zone_of(name)
    upper = name.upper()
    if zone is not None and zone.rules is not None and (upper in _SUMMER or upper not in _HOURS):
        return zone_of(f"{zone.text.partition(' ')[0]} {upper}")
    if upper in _HOURS:
        return Zone(upper, None, round(_HOURS[upper] * _HOUR_US), name=upper)
    if (offset_us := _fixed(name)) is not None:
        return Zone(name, None, offset_us)
    what = "says whether it is summer time, but not where" if upper in _SUMMER else "may stand for several zones"
    raise TimeError(f"{name!r} {what}; set zone in the rule to the device's time zone, such as Europe/Amsterdam")


def named_zone(text: str) -> Zone:
    """Returns the zone of a text in a payload, where an abbreviation stands for its offset. Raises `TimeError`."""
    text = text.strip()
    return abbreviated(text, None) if text.upper() in _HOURS or (text.isupper() and text.isalpha()) else zone_of(text)


def _fixed(text: str) -> int | None:
    """Returns an offset in µs; None for a text that is no offset."""
    found = _OFFSET.fullmatch(text)
    if found is not None:
        minutes = int(found[2] or found[4]) * 60 + int(found[3] or found[5] or 0)
        if minutes <= 14 * 60:
            return (-minutes if found[1] == "-" else minutes) * 60_000_000
    if len(text) > 10 or not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    for seconds, least, most in ((3600, 0, 14), (60, 60, 840), (1, 3600, 50_400)):  # hours, minutes, seconds
        if least <= abs(number) <= most and number * seconds % 900 == 0:  # every zone has a multiple of 15 min
            return int(number * seconds) * 1_000_000
    return None


def _rules(name: str) -> tzinfo | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None
