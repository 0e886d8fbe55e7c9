"""Recognises times that follow no standard: the patterns of loggers, and the time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from connector.mapping.time.times import EPOCH

_PATTERNS: Final = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%y %H:%M:%S",
    "%d.%m.%y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d-%H:%M:%S",
)
_ZONES: Final = ("Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "America/Los_Angeles",
                 "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "America/Sao_Paulo")  # fmt: skip
_NEAR: Final = timedelta(minutes=20)
"""The greatest distance between a local time and the arrival, if the zone is right."""


@dataclass(frozen=True, slots=True)
class WrittenTime:
    """The pattern (as for `strptime`) and the zone of the times of a field."""

    format: str
    zone: str
    guessed: bool
    """Whether the zone is a guess: no zone brings the times near the arrival."""
    ambiguous: bool
    """Whether day and month might be exchanged."""


def written_time(texts: Sequence[object], arrival_us: int) -> WrittenTime | None:
    """Returns the pattern and the zone of `texts`; None unless all texts are times in one pattern without a zone.

    `arrival_us` is the time of arrival, in µs.
    """
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    fitting = [pattern for pattern in _PATTERNS if all(_read(str(text), pattern) is not None for text in texts)]
    if not fitting:
        return None
    newest = max(moment for text in texts if (moment := _read(str(text), fitting[0])) is not None)
    zone = _zone(newest, EPOCH + timedelta(microseconds=arrival_us))
    ambiguous = any(_turned(fitting[0]) == other for other in fitting[1:])
    if zone is not None:
        return WrittenTime(fitting[0], zone, False, ambiguous)
    return WrittenTime(fitting[0], "Europe/Berlin" if ".%m." in fitting[0] else "UTC", True, ambiguous)


def _read(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text.strip(), pattern)  # noqa: DTZ007 - the zone is not known yet
    except ValueError:
        return None


def _turned(pattern: str) -> str:
    return pattern.replace("%d/%m", "%m/%d")


def _zone(local: datetime, arrival: datetime) -> str | None:
    """Returns the zone in which `local` is near the arrival; None if there is no such zone."""
    if abs(local.replace(tzinfo=UTC) - arrival) <= _NEAR:
        return "UTC"
    return next((name for name in _ZONES if abs(local.replace(tzinfo=ZoneInfo(name)) - arrival) <= _NEAR), None)
