"""A time from several places of a record: added parts, a template, a zone in a field, a step for each item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from connector.mapping.plans import header_of, key_of, nearest, template_text
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import parse_variable_path
from connector.mapping.rules.templates import HEADER, INDEX, ITEM, ITEM_FIELD, KEY, PAYLOAD, Template
from connector.mapping.time.reader import TimeReader, in_unit, plain_number
from connector.mapping.time.times import short
from connector.mapping.time.zones import TimeError, Zone, named_zone
from connector.records import Record

HERTZ: Final = {"hz": 1, "khz": 1_000}
"""Unit of a rate → its readings in a second."""


class Place(NamedTuple):
    """Where a time is read: a record, and in a rule with `iterate` one of its items."""

    record: Record
    variables: dict[str, str]
    """The variables of the topic's plan."""
    whole: object
    """The whole payload."""
    value: object
    """The item; without `iterate`, the part of the payload that is mapped."""
    outer: tuple[object, ...]
    """The objects around it, from the inside out."""
    name: str
    nth: int
    """The place of the item in its list, from 0."""
    known: dict[tuple[int, int], tuple[object, object]]
    """(`id` of a path, `id` of an object) → (the object, what the path finds there): see `found_at`."""

    def found_at(self, path: Path) -> object:
        """Returns the value at the path in the item, or else in the nearest object around it; else `MISSING`.

        An expression searches each object around the items only once: many items cost no more than their number.
        """
        if path.expression is None:
            return nearest(path, self.value, self.outer)
        found = path.find(self.value)
        for around in self.outer:
            if found is not MISSING:
                break
            place = id(path), id(around)
            if place not in self.known:
                self.known[place] = around, path.find(around)  # with the object, whose id is then not used again
            found = self.known[place][1]
        return found


Written: TypeAlias = Callable[[Place], object]
"""Returns the value with the time, a text or a number; `MISSING` if there is none."""


@dataclass(frozen=True, slots=True)
class Part:
    """A further part of a time, such as its nanoseconds."""

    path: Path
    unit: str


@dataclass(frozen=True, slots=True)
class Step:
    """The time from one item to the next."""

    us: float = 0.0
    path: Path | None = None
    """The field with the step, or with the rate; None if the step is always `us`."""
    unit: str = "s"

    def number(self, place: Place) -> float:
        """Returns the number in the field; without a field, the µs of the step. Raises `TimeError`."""
        if self.path is None:
            return self.us
        number = _number_at(place, self.path, "step")
        if self.unit in HERTZ and not number > 0:
            raise TimeError(f"step: a rate of {number!r} {self.unit} gives no times")
        return number

    def after(self, nth: int, number: float) -> int:
        """Returns the µs from the first item to the n-th, for the number of `number`. Raises `TimeError`."""
        if self.path is None:
            return round(nth * number)
        readings = HERTZ.get(self.unit)
        return in_unit(nth * number, self.unit) if readings is None else round(nth * 1_000_000 / (number * readings))


class ComposedTime:
    """Reads the time of an item, or of a whole payload."""

    def __init__(
        self,
        written: Written,
        reader: TimeReader,
        zone: Zone | Template | None,
        parts: tuple[Part, ...],
        step: Step | None,
        fields: tuple[Path, ...] | None = None,
    ) -> None:
        """`written` finds the time, and `reader` reads its notation. `parts` are added to it, `step` for each item.

        `fields` are all fields of the time; items without any of them have one start. None: each item has its own.
        """
        self._fields = fields
        self._written = written
        self._reader = reader
        self._zone = zone if isinstance(zone, Zone) else None
        self._zone_text = None if zone is None or isinstance(zone, Zone) else texts_of(zone)
        self._parts = parts
        self._step = step

    def time_us(self, place: Place) -> int | None:
        """Returns the time in µs since the epoch; None if the record has none. Raises `TimeError`."""
        step = self._step
        if step is None:
            return self._start_us(place)
        value = place.value
        if self._fields is None or not place.outer or any(path.find(value) is not MISSING for path in self._fields):
            start_us = self._start_us(place)
            return None if start_us is None else start_us + step.after(place.nth, step.number(place))
        list_of = id(self), id(place.outer[0])
        if list_of not in place.known:
            start_us = self._start_us(place)
            place.known[list_of] = place.outer[0], None if start_us is None else (start_us, step.number(place))
        start: Any = place.known[list_of][1]
        return None if start is None else int(start[0] + step.after(place.nth, start[1]))

    def _start_us(self, place: Place) -> int | None:
        written = self._written(place)
        if written is MISSING:
            return None
        zone = self._zone
        if self._zone_text is not None:
            text = self._zone_text(place)
            if text is MISSING:
                raise TimeError("the zone is not there, or empty")
            zone = named_zone(str(text))
        moment = self._reader.moment(written, zone)
        for part in self._parts:
            more_us = in_unit(_number_at(place, part.path, "plus"), part.unit)
            moment = _later(moment, more_us)
        return self._reader.finished(moment, zone, place.record.time_us)


def texts_of(template: Template) -> Written:
    """Returns the function that makes the text of a template, or `MISSING` if a variable without a default is empty."""
    paths = {name: parse_variable_path(name) for name in template.variables if name.startswith((PAYLOAD, ITEM_FIELD))}
    needed = template.required

    def written(place: Place) -> object:
        texts = {name: _text(place, name, paths.get(name)) for name in template.variables}
        if any(not texts[name].strip() for name in needed):
            return MISSING
        return template.render(texts)

    return written


def _text(place: Place, name: str, path: Path | None) -> str:
    if path is not None:
        return template_text(path.find(place.whole) if name.startswith(PAYLOAD) else place.found_at(path))
    if name == ITEM:
        return place.name
    if name == INDEX:
        return str(place.nth)
    if name == KEY:
        return key_of(place.record)
    if name.startswith(HEADER):
        return header_of(place.record, name.removeprefix(HEADER)) or ""
    return place.variables.get(name, "")


def _number_at(place: Place, path: Path, what: str) -> float:
    found = place.found_at(path)
    number = plain_number(found)
    if number is None:
        shown = "is not there" if found is MISSING else f"is {short(found)}, and no number"
        raise TimeError(f"{what}: {path.text!r} {shown}")
    return number


def _later(moment: int | datetime, more_us: int) -> int | datetime:
    if not isinstance(moment, datetime):
        return moment + more_us
    try:
        return moment + timedelta(microseconds=more_us)
    except OverflowError:
        raise TimeError(f"{moment} and {more_us} µs are outside of the range of times") from None
