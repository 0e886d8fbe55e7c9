"""Times as text that are certain without a setting, beside ISO 8601: HTTP and mail, Unix, JavaScript, .NET, meters."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from connector.mapping.time.zones import TimeError, Zone, abbreviated

_MONTHS: Final = {
    month: number
    for number, month in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905
}
_ZONE: Final = r"(?P<zone>[A-Za-z]{1,5}|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?)"
_CLOCK: Final = r"(?P<clock>\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)"
_DOTNET: Final = re.compile(r"\\?/Date\((-?\d{1,15})(?:[+-]\d{4})?\)\\?/", re.ASCII)
_COMMA: Final = re.compile(r"(\d{10}),(\d{1,9})", re.ASCII)
_ISO: Final = re.compile(
    rf"(?P<day>\d{{4}}-\d\d-\d\d)[T ]{_CLOCK} ?(?:{_ZONE}|(?P<place>[A-Z][a-z]+/[A-Z][A-Za-z_/-]+))", re.ASCII
)
_JAVA: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))\[[\w/+-]{1,40}\]", re.ASCII)
_METER: Final = re.compile(r"(\d{12})(?P<zone>[SW])", re.ASCII)
_WORDS: Final = (
    # Fri, 01 May 2026 06:00:00 GMT
    re.compile(
        rf"(?:[A-Za-z]{{3,9}},? )?(?P<d>\d\d?)[ -](?P<m>[A-Za-z]{{3}})[ -](?P<y>\d{{4}}) {_CLOCK}(?: ?{_ZONE})?",
        re.ASCII,
    ),
    # Fri May  1 08:00:00 CEST 2026
    re.compile(
        rf"[A-Za-z]{{3}} (?P<m>[A-Za-z]{{3}})  ?(?P<d>\d\d?) {_CLOCK}(?: {_ZONE})? (?P<y>\d{{4}})",
        re.ASCII,
    ),
    # Fri May 01 2026 08:00:00 GMT+0200 (Central European Summer Time)
    re.compile(
        rf"[A-Za-z]{{3}} (?P<m>[A-Za-z]{{3}}) (?P<d>\d\d?) (?P<y>\d{{4}}) {_CLOCK}(?: {_ZONE})?(?: \([^()]{{1,60}}\))?",
        re.ASCII,
    ),
)


_FEWEST_DIGITS: Final = 4
"""The fewest digits of a text that is a time."""


def other_text(text: str, zone: Zone | None) -> int | datetime:
    """Returns the µs since the epoch of a text in one of these notations; a time without a zone stays local.

    `zone` is the zone of the rule, for letters and abbreviations that need one. Raises `TimeError`.
    """
    if found := _DOTNET.fullmatch(text):
        return int(found[1]) * 1_000  # the offset says how to show the time, and does not change it
    if found := _COMMA.fullmatch(text):
        return int(found[1]) * 1_000_000 + int(found[2].ljust(6, "0")[:6])
    try:
        local, name = _local(text)
    except (ValueError, KeyError):
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise TimeError(f"{shown!r} is neither ISO 8601 nor an epoch number{_remedy(text)}") from None
    return local if name is None else abbreviated(name, zone).to_utc(local)


def _remedy(text: str) -> str:
    """What to do about a time in a notation of its own; empty for a text that is no time."""
    if sum(map(str.isdecimal, text)) < _FEWEST_DIGITS:
        return ""
    return "; its rule can say: time: {format: '%d/%m/%Y %H:%M', zone: …}"


def _local(text: str) -> tuple[datetime, str | None]:
    """(time, the zone that is written with it, or None). Raises ValueError or KeyError for any other text."""
    if found := _METER.fullmatch(text):
        day = "-".join(found[1][at : at + 2] for at in (0, 2, 4))
        return datetime.fromisoformat(f"20{day} {found[1][6:8]}:{found[1][8:10]}:{found[1][10:]}"), found["zone"]
    if found := _JAVA.fullmatch(text):
        return datetime.fromisoformat(found[1]), None
    if found := _ISO.fullmatch(text):
        return datetime.fromisoformat(f"{found['day']} {found['clock']}"), found["zone"] or found["place"]
    found = next(filter(None, (words.fullmatch(text) for words in _WORDS)), None)
    if found is None:
        raise ValueError
    day = f"{found['y']}-{_MONTHS[found['m'].lower()]:02d}-{int(found['d']):02d}"
    return datetime.fromisoformat(f"{day} {found['clock']}"), found["zone"]
