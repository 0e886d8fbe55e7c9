"""Makes of a rule's section what the mapper uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from connector.clarify.iso8601 import duration
from connector.formats.catalogue import Compression
from connector.formats.format import Format
from connector.formats.section import FormatSection
from connector.formats.sparkplug.rule import SPARKPLUG_INPUT, SPARKPLUG_VARIABLES
from connector.formats.sparkplug.section import SparkplugFormatSection
from connector.formats.text.sections import JsonFormatSection
from connector.mapping.documents.senml import resolve
from connector.mapping.rules.conditions import parse_conditions
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.rules import (
    ARRIVAL_TIME,
    AUTO_TIME,
    RECEIVED_TIME,
    Labels,
    Publishing,
    Quality,
    Rule,
    ValueRule,
    template_for,
)
from connector.mapping.rules.signal_fields import conversion_of, thinning_of
from connector.mapping.rules.templates import ITEM_VARIABLES, VALUE_VARIABLES, Template
from connector.mapping.rules.topics import TopicPattern, parse_pattern
from connector.mapping.rules.values import Conversion, States
from connector.records import Overwrite

if TYPE_CHECKING:
    from connector.mapping.rules.section import PublishSection, RuleSection, ValueSection


_NOT_FOR_SPARKPLUG = ("key", "headers", "when", "prepare", "select", "iterate", "parallel", "item_name", "device")


def check_sparkplug_rule(section: RuleSection) -> None:
    """Raises ValueError for what is only for single payloads, and for a topic without births."""
    for name in _NOT_FOR_SPARKPLUG:
        if getattr(section, name):
            raise ValueError(f"{name} is not for format sparkplug_b")
    if section.quality is not None:
        raise ValueError("quality is not for format sparkplug_b, which has bad_quality: a setting of the format")
    if section.compression != "none":
        raise ValueError("compression is not for format sparkplug_b: payloads say themselves if they are")
    if section.time.compile().kind not in (AUTO_TIME, ARRIVAL_TIME, RECEIVED_TIME):
        raise ValueError("time: with format sparkplug_b only auto (that of each metric), arrival and received")
    if section.time.correct_clock is not None:
        raise ValueError("time: correct_clock is not for format sparkplug_b; use time: arrival for wrong clocks")
    if any(value.path is not None for value in section.values.values()):
        raise ValueError("values: path is not for format sparkplug_b; the key is the name of the metric")
    levels = (section.topic or "#").split("/")
    if not {"#", "**"} & set(levels[:2]) and len(levels) > 2 and levels[2][:1] not in ("+", "#", "{", "*"):
        raise ValueError(
            f"topic: level 3 is {levels[2]!r}, but births, data and deaths are all needed; write + in its place"
        )


BuildFormat: TypeAlias = Callable[[FormatSection, Compression], Format]
"""Makes the format of a rule; raises ValueError."""


def compile_rule(section: RuleSection, build: BuildFormat | None, number: int | None) -> Rule:
    """The rule as the mapper uses it; a bad template raises `ValueError`. `number` is its place in the file."""
    pattern = parse_pattern(section.topic or "#")
    key = parse_pattern(section.key) if section.key is not None else None
    headers = tuple((name, parse_pattern(text)) for name, text in section.headers.items())
    names: list[str] = []
    for where, found in (("topic", pattern), ("key", key), *((f"headers.{name}", p) for name, p in headers)):
        for name in found.names if found else ():
            if name in (*VALUE_VARIABLES, *ITEM_VARIABLES):
                raise ValueError(f"{where}: {{{name}}} has a meaning of its own in templates; name the level otherwise")
            if name in names:
                raise ValueError(f"{where}: {{{name}}} is a level of the topic already; name it otherwise")
            names.append(name)
    if isinstance(section.format, SparkplugFormatSection):
        check_sparkplug_rule(section)
        names += SPARKPLUG_VARIABLES
    templates = _Templates(tuple(names), items=bool(section.iterate or section.parallel))
    return _Compiler(section, templates, headers).rule(build, number)


class _Templates:
    """Makes templates that know the levels of one rule."""

    def __init__(self, names: tuple[str, ...], *, items: bool) -> None:
        self._names = names
        self._items = items

    def of(self, field: str, text: str | None) -> Template | None:
        """The template, None where there is none. Raises ValueError with the field's name."""
        if text is None:
            return None
        try:
            return template_for(self._names, text, items=self._items)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None

    def labels(self, field: str, texts: Mapping[str, str]) -> Labels:
        """Those of several texts, by their keys."""
        found = []
        for key, text in texts.items():
            template = self.of(f"{field}.{key}", text)
            assert template is not None  # noqa: S101 - there is a text
            found.append((key, template))
        return tuple(found)


class _Compiler:
    """Compiles one section."""

    def __init__(
        self, section: RuleSection, templates: _Templates, headers: tuple[tuple[str, TopicPattern], ...]
    ) -> None:
        self._section = section
        self._templates = templates
        self._headers = headers

    def rule(self, build: BuildFormat | None, number: int | None) -> Rule:
        """The rule as the mapper uses it."""
        section, templates = self._section, self._templates
        sparkplug = section.format.rule() if isinstance(section.format, SparkplugFormatSection) else None
        values: dict[str, ValueRule] = {}
        expressions: list[tuple[Path, str]] = []
        found: dict[str, ValueRule] = {}
        for name, value in section.values.items():
            path = _value_path(name, value)
            if not path.plain:
                expressions.append((path, name))
                found[name] = replace(self._value(name, value), named=None)
            elif path.dotted in values:
                raise ValueError(f"values.{name}: another value has the path {path.dotted!r} already")
            else:
                values[path.dotted] = self._value(name, value)
        quality = section.quality
        where = quality.path if quality is not None and quality.path else "@"
        if quality is not None and quality.bad == "signal":
            if where in found:
                raise ValueError(f"quality: a value is called {where!r} already; name it otherwise")
            expressions.append((parse_path(where), where))
            found[where] = self._quality()
        other = section.other_values or ("filter" if any(not path.plain for path, _ in expressions) else "map")
        rule = Rule(
            pattern=parse_pattern(section.topic or "#"),
            number=number,
            key=parse_pattern(section.key) if section.key is not None else None,
            headers=self._headers,
            when=() if section.when is None else parse_conditions(section.when),
            skip=section.skip,
            format=None if sparkplug else self._format(build),
            sparkplug=sparkplug,
            prepare=resolve if section.prepare == "senml" else None,
            select=None if section.select is None else parse_path(section.select),
            iterate=tuple(map(parse_path, section.iterate)),
            parallel=tuple(map(parse_path, section.parallel)),
            item_name=None if section.item_name is None else parse_path(section.item_name),
            input=templates.of("input", section.input or (SPARKPLUG_INPUT if sparkplug else None)),
            name=templates.of("name", section.name),
            description=templates.of("description", section.description),
            unit=templates.of("unit", section.unit),
            value_type="enum" if section.is_enum else section.type,
            enum_values=section.all_enum_values,
            labels=templates.labels("labels", section.labels),
            annotations=templates.labels("annotations", section.annotations),
            sample_interval=_iso(section.sample_interval),
            gap_detection=_iso(section.gap_detection),
            conversion=conversion_of(section, None),
            time=section.time.compile(),
            device=templates.of("device", section.device),
            quality=None if quality is None else Quality(parse_path(where), tuple(quality.good), quality.bad),
            thinning=thinning_of(section.thin),
            align=None if section.align is None else section.align.grid(),
            shared_inputs=section.shared_inputs,
            values=values,
            expressions=tuple(expressions),
            other_values=other == "map",
            publish=self._publishing(section.publish),
        )
        if not found:
            return rule
        of_found = replace(
            rule, values=found, expressions=(), quality=None, other_values=True, inherit=True, time=rule.time
        )
        return replace(rule, found=of_found)

    def _format(self, build: BuildFormat | None) -> Format | None:
        section = self._section
        plain = section.format is None or section.format.type == "json"
        if build is None or (plain and section.compression == "none"):
            return None
        return build(section.format or JsonFormatSection(), section.compression)

    def _value(self, name: str, section: ValueSection) -> ValueRule:
        where = f"values.{name}."
        templates = self._templates
        return ValueRule(
            named=None if section.path is None else name,
            skip=section.skip,
            input=templates.of(where + "input", section.input),
            name=templates.of(where + "name", section.name),
            description=templates.of(where + "description", section.description),
            unit=templates.of(where + "unit", section.unit),
            value_type="enum" if section.is_enum else section.type,
            enum_values=section.all_enum_values,
            labels=templates.labels(where + "labels", section.labels),
            annotations=templates.labels(where + "annotations", section.annotations),
            sample_interval=_iso(section.sample_interval),
            gap_detection=_iso(section.gap_detection),
            conversion=conversion_of(self._section, section),
            thinning=thinning_of(section.thin) if section.thin else thinning_of(self._section.thin),
            publish=section.publish,
        )

    def _quality(self) -> ValueRule:
        """A quality as a signal of its own: under its own path if the input says one, else behind that of the value."""
        text = self._section.input
        own = text is None or "{path}" in text or "{field}" in text
        states = States({}, learn=True)
        return ValueRule(
            input=None if own else self._templates.of("input", f"{text}/quality"),
            unit=self._templates.of("unit", ""),
            value_type="numeric",
            conversion=Conversion(states=states),
            publish=False,
        )

    def _publishing(self, section: bool | PublishSection) -> Publishing | None:
        if isinstance(section, bool):
            return Publishing() if section else None
        labels = section.labels
        return Publishing(
            name=self._templates.of("publish.name", section.name),
            description=self._templates.of("publish.description", section.description),
            labels=None if labels is None else self._templates.labels("publish.labels", labels),
            visible=section.visible,
            overwrite=Overwrite(section.overwrite),
        )


def _value_path(name: str, section: ValueSection) -> Path:
    """Where a value is. Without `path` the key is the place, whatever signs are in it."""
    return Path(name, tuple(name.split("."))) if section.path is None else parse_path(section.path)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else duration(timedelta(seconds=seconds))


def first_message(error: ValueError) -> str:
    """What is wrong, of the first thing that is."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return (
        f"{where}: {first['msg'].removeprefix('Value error, ')}"
        if where
        else first["msg"].removeprefix("Value error, ")
    )
