"""Times: the source of a value's time, and the grid to which times are moved."""

from __future__ import annotations

from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.rules import COMPOSED_TIME, FIELD_TIME, HEADER_TIME, TimeSource
from connector.mapping.rules.section import AlignSection, TimeSection
from connector.mapping.rules.templates import INDEX, ITEM, ITEM_FIELD, Template
from connector.mapping.time.align import Grid
from connector.mapping.time.composed import ComposedTime, Part, Place, Step, Written, texts_of
from connector.mapping.time.reader import TimeReader, time_reader
from connector.mapping.time.zones import RepeatedHours, zone_of

_NO_LEVELS = RuleTemplates((), items=False)
_ONLY_OF_VALUES = ("path", "field")


def time_source_of(section: TimeSection, templates: RuleTemplates = _NO_LEVELS) -> TimeSource:
    """Returns the section `time` in the form for the mapper. Durations become microseconds.

    Raises ValueError for a bad template.
    """
    zone = None if section.zone is None or section.zone_in_record else zone_of(section.zone)
    template = _of_record("time.template", section.template, templates)
    path = None if section.field is None else parse_path(section.field)
    or_arrival = section.missing == "arrival"
    above_us = None if section.correct_clock is None else round(section.correct_clock * 1_000_000)
    said = f"time field {path.text!r}" if path is not None else f"header {section.header!r}"
    if template is not None:
        said = f"time from {template.text!r}"
    where = section.field or section.header or template
    repeated = RepeatedHours(section.repeated_hour)
    if not (template or section.plus or section.step or section.zone_in_record) and not (
        section.repeated_hour == "nearest" and where
    ):
        return TimeSource(
            kind=FIELD_TIME if section.field else HEADER_TIME if section.header else section.take,
            path=path,
            header=section.header or "",
            read=time_reader(section.format, section.unit, zone, section.epoch, repeated),
            or_arrival=or_arrival,
            correct_above_us=above_us,
            said=said if where else "",
            repeated=None if zone is None else repeated,
        )
    reader = TimeReader(section.format, section.unit, section.epoch, zone, repeated)
    if section.header is not None:
        template = _of_record("time.header", f"{{header.{section.header}}}", templates)
    zone_text = _of_record("time.zone", section.zone, templates) if section.zone_in_record else None
    parts = tuple(Part(parse_path(part.path), part.unit) for part in section.plus)
    step = _step_of(section)
    further = [part.path for part in parts] + ([step.path] if step is not None and step.path is not None else [])
    variables = [name for each in (template, zone_text) if each is not None for name in each.variables]
    in_item = any(name in (ITEM, INDEX) or name.startswith(ITEM_FIELD) for name in variables)
    fields = None if in_item else (*further, *([] if path is None else [path]))
    return TimeSource(
        kind=COMPOSED_TIME,
        path=path,
        read=reader.read,
        or_arrival=or_arrival,
        correct_above_us=above_us,
        composed=ComposedTime(
            texts_of(template) if template is not None else _field(path), reader, zone_text or zone, parts, step, fields
        ),
        variables=frozenset(variables),
        further=tuple(further),
        is_key=template is not None and ITEM in template.variables,
        said=said,
        repeated=None if section.zone is None else repeated,
    )


def _of_record(field: str, text: str | None, templates: RuleTemplates) -> Template | None:
    template = templates.of(field, text)
    for name in template.variables if template is not None else ():
        if name in _ONLY_OF_VALUES:
            raise ValueError(f"{field}: {{{name}}} differs from value to value, and the time is that of all of them")
    return template


def _field(path: Path | None) -> Written:
    assert path is not None  # noqa: S101 - a composed time without a template has a field

    def written(place: Place) -> object:
        return place.found_at(path)

    return written


def _step_of(section: TimeSection) -> Step | None:
    step = section.step
    if step is None:
        return None
    if step.path is None:
        return Step((step.every or 0.0) * 1_000_000)
    return Step(path=parse_path(step.path), unit=step.unit or "s")


def grid_of(section: AlignSection | None) -> Grid | None:
    """Returns the section `align` in the form for the aligner. Durations become microseconds."""
    if section is None:
        return None
    most = None if section.max_shift is None else round(section.max_shift * 1_000_000)
    return Grid(round(section.to * 1_000_000), section.how, most)
