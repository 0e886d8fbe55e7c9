"""Times on the command line: ISO 8601, `now`, or so long ago (`-7d`) or ahead (`2h`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_RELATIVE: Final = re.compile(r"([+-]?)(\d+(?:\.\d+)?)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_time(text: str, option: str) -> datetime:
    """The time that is meant. Raises click.UsageError."""
    now = datetime.now(UTC)
    if text == "now":
        return now
    found = _RELATIVE.fullmatch(text)
    try:
        if found is not None:
            length = timedelta(**{_UNITS[found[3]]: float(found[2])})
            return now - length if found[1] == "-" else now + length
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text!r} is no time such as 2026-05-01T06:00:00Z, -7d or now") from None
    return moment if moment.tzinfo else moment.astimezone()
