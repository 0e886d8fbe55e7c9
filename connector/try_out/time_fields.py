"""Finds the field of a payload that has the time of the measurement, and the unit of this time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from connector.mapping.time.times import TimeError, is_time_name, parse_time
from connector.mapping.time.zones import zone_of

_NEAR_US: Final = 30 * 86_400 * 1_000_000
"""The greatest distance between a time and the arrival, in µs, if the name of the field does not mean a time."""
_MAX_DEPTH: Final = 6
_DAY_ALONE: Final = re.compile(r"\d{4}-?\d\d-?\d\d")


@dataclass(frozen=True, slots=True)
class TimeField:
    """A field with the time of the values."""

    path: str
    unit: str
    """`ISO 8601`, `ISO 8601 without a zone` or `epoch` in seconds, milliseconds, microseconds or nanoseconds."""
    known: bool
    """Whether `time: auto` finds the field by the name."""
    example: str


def find_time(documents: Sequence[object], arrival_us: int) -> TimeField | None:
    """Returns the time field that all objects among `documents` have; None if there is no such field.

    A field with a known name comes before a field that only has the values of a time. `arrival_us` is the time of
    arrival, in µs.
    """
    candidates: dict[str, tuple[int, TimeField]] = {}
    objects = [document for document in documents if isinstance(document, dict)]
    for document in objects:
        for path, name, value in _leaves(document, "", 0):
            found = _time_field(path, name, value, arrival_us)
            if found is not None:
                count, first = candidates.get(path, (0, found))
                candidates[path] = (count + 1, first)
    everywhere = [found for count, found in candidates.values() if count == len(objects)]
    return min(everywhere, key=lambda found: (not found.known, found.path.count(".")), default=None)


def _time_field(path: str, name: str, value: object, arrival_us: int) -> TimeField | None:
    known = is_time_name(name)
    if isinstance(value, str) and _DAY_ALONE.fullmatch(value.strip()):
        return None  # all values of a day would have the same time
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not known and isinstance(value, str) and not value[:4].isdigit():
        return None
    try:
        time_us = parse_time(value, zone_of("Europe/Amsterdam"))  # some meters write times that need a zone
    except TimeError:
        return None
    if not known and abs(time_us - arrival_us) > _NEAR_US:
        return None
    return TimeField(path, _unit(value), known, str(value)[:40])


def _unit(value: str | float) -> str:
    try:
        size = abs(float(value))
    except ValueError:
        return "ISO 8601" if _has_zone(str(value)) else "ISO 8601 without a zone, taken as UTC"
    for bound, unit in ((1e11, "seconds"), (1e14, "milliseconds"), (1e17, "microseconds")):
        if size < bound:
            return f"epoch in {unit}"
    return "epoch in nanoseconds"


def _has_zone(text: str) -> bool:
    tail = text.strip()[10:]
    return tail.endswith(("Z", "z")) or "+" in tail or "-" in tail


def _leaves(node: dict[str, object], path: str, depth: int) -> Iterator[tuple[str, str, object]]:
    for key, value in node.items():
        at = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            if depth < _MAX_DEPTH:
                yield from _leaves(value, at, depth + 1)
        elif not isinstance(value, list):
            yield at, str(key), value
