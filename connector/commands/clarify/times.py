"""The forms of a time on the command line: `now`, `-7d`, ISO 8601 with or without a zone, numbers since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from connector.clarify import iso8601

_RELATIVE: Final = re.compile(r"([+-])(\d{1,9})(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NUMBER: Final = re.compile(r"[+-]?\d{1,25}(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_COMPACT: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""The forms of a date without separators. A text of this form can also be a number since 1970."""


def read_time(text: str, zone: ZoneInfo | None) -> int:
    """Return the µs since 1970 for an ISO 8601 text, or for a number in s, ms, µs or ns.

    A time without a zone is in `zone`. Raises ValueError, with the reason for people, if the text is not a time, if
    the time has no zone and `zone` is None, and if the time does not exist or exists twice as clocks are changed.
    """
    if _NUMBER.fullmatch(text):
        if is_compact(text):
            raise ValueError(f"{text!r} can be a date or a number since 1970: write a date as 2026-05-01")
        return iso8601.read(float(text) if "." in text or "e" in text.lower() else int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is no time such as 2026-05-01T06:00:00Z or 1777615200") from None
    return at_zone(moment, zone, text)


def at_zone(moment: datetime, zone: ZoneInfo | None, text: str) -> int:
    """Return the µs since 1970 of a time; a time without a zone is in `zone`. Raises ValueError as `read_time`.

    `text` is the time as it was written, for errors.
    """
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} has no time zone: add a zone, such as Z, or use --time-zone")
        moment = _local(moment, zone, text)
    return iso8601.microseconds(moment)


def read_moment(text: str, zone: ZoneInfo | None, now: datetime) -> int:
    """Return the same as `read_time`; `text` can also be `now`, or relative to `now` as `-7d` (s, m, h, d, w)."""
    if text == "now":
        return iso8601.microseconds(now)
    relative = _RELATIVE.fullmatch(text)
    if relative is None:
        return read_time(text, zone) if zone is not None else iso8601.read(_number_or_text(text))
    sign, number, unit = relative.groups()
    try:
        return iso8601.microseconds(now + timedelta(**{_UNITS[unit]: int(sign + number)}))
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None


def _number_or_text(text: str) -> float | str:
    if not _NUMBER.fullmatch(text):
        return text
    if is_compact(text):
        raise ValueError(f"{text!r} can be a date or a number since 1970: write a date as 2026-05-01")
    return float(text)


def is_compact(text: str) -> bool:
    """Return whether a text is a date without separators, such as 20260501, which can also be a number since 1970."""
    form = _COMPACT.get(len(text))
    if form is None or not text.startswith(("19", "20")):
        return False
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only to see whether the text is a date
    except ValueError:
        return False
    return True


def _local(moment: datetime, zone: ZoneInfo, text: str) -> datetime:
    first, second = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before != after:
        assert before is not None  # noqa: S101 - a time with a zone has an offset
        assert after is not None  # noqa: S101
        what = "does not exist" if before < after else "exists twice"
        raise ValueError(
            f"{text!r} {what} in {zone.key}, as clocks are changed: write the time with an offset, "
            f"such as {first.isoformat()}"
        )
    return first


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


class ZoneParameter(click.ParamType[ZoneInfo]):
    """The parameter type of a time zone, named as in the IANA database."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        """Return the time zone of this name; a name that is unknown ends the command with a usage error."""
        if isinstance(value, ZoneInfo):
            return value
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is no time zone such as Europe/Oslo", param, ctx)


def read_moment_option(text: str, option: str) -> datetime:
    """Return the time of an option; a time without a zone is in this computer's zone. Raises click.UsageError."""
    now = datetime.now(UTC)
    try:
        moment = read_moment(text, None, now)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None
    return iso8601.to_datetime(moment)
