"""What a mapping rule says, compiled: which records it takes and what becomes of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from connector.formats.format import Format
from connector.formats.sparkplug.rule import SparkplugRule
from connector.mapping.rules.conditions import Condition
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.templates import (
    HEADER,
    ITEM,
    ITEM_FIELD,
    ITEM_VARIABLES,
    KEY,
    PAYLOAD,
    VALUE_VARIABLES,
    Template,
    is_dynamic,
    parse_template,
)
from connector.mapping.rules.topics import TopicPattern, parse_pattern
from connector.mapping.rules.values import Conversion
from connector.mapping.thinning.thinning import Thinning
from connector.mapping.time.align import Grid
from connector.mapping.time.times import ReadTime, parse_time
from connector.records import Overwrite

AUTO_TIME = "auto"
ARRIVAL_TIME = "arrival"
CREATE_TIME = "create_time"
APPEND_TIME = "append_time"
RECEIVED_TIME = "received"
RECORD_TIMES = (ARRIVAL_TIME, CREATE_TIME, APPEND_TIME, RECEIVED_TIME)
FIELD_TIME = "field"
HEADER_TIME = "header"
DEFAULT_INPUT = "{topic}:{path}"
"""How an input ID is made where no rule says otherwise; a payload without a path is just `{topic}`."""
ITEM_INPUT = "{topic}:{item}.{path}"
"""The same in a rule with `iterate`; a name that is empty leaves out its dot or colon."""

Labels = tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Publishing:
    """As what a rule's signals are published."""

    name: Template | None = None
    description: Template | None = None
    labels: Labels | None = None
    visible: bool = True
    overwrite: Overwrite = Overwrite.UNEDITED


@dataclass(frozen=True, slots=True)
class TimeSource:
    """Where the time of a record's values comes from, and how it is written."""

    kind: str = AUTO_TIME
    """`auto`, one of the record's own times, `field` or `header`."""
    path: Path | None = None
    header: str = ""
    read: ReadTime = parse_time
    or_arrival: bool = False
    """A field or header that is not there: take the record's own time."""
    correct_above_us: int | None = None
    """Correct clocks that are off by more than this."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What is done with the quality that stands beside a value."""

    path: Path
    good: frozenset[str]
    """The good ones as text, in small letters; whole numbers without a fraction."""
    use: Literal["keep", "drop", "null", "reject", "signal"]
    """What becomes of the values where it is not good; `signal`: they are kept, and the quality is a signal too."""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What a rule says of one value."""

    named: str | None = None
    """What it is called in templates, where that is not its path."""
    skip: bool = False
    input: Template | None = None
    name: Template | None = None
    description: Template | None = None
    unit: Template | None = None
    value_type: str | None = None
    enum_values: tuple[tuple[str, str], ...] = ()
    labels: Labels = ()
    """Beside those of the rule."""
    annotations: Labels = ()
    sample_interval: str | None = None
    gap_detection: str | None = None
    conversion: Conversion | None = None
    thinning: Thinning | None = None
    publish: bool = True
    """Whether it is published where the rule publishes."""

    @property
    def says_metadata(self) -> bool:
        """Whether it says any metadata of its own."""
        return _says_metadata(self)


@dataclass(frozen=True)
class Rule:
    """One rule of the mapping."""

    pattern: TopicPattern
    number: int | None = None
    """Its place in the configuration, from 0; for whoever reads a reject."""
    key: TopicPattern | None = None
    """The rule takes only records whose key is like this."""
    headers: tuple[tuple[str, TopicPattern], ...] = ()
    """The rule takes only records that have these headers."""
    when: tuple[Condition, ...] = ()
    """The rule takes only payloads that are like this."""
    skip: bool = False
    format: Format | None = None
    """None: JSON."""
    sparkplug: SparkplugRule | None = None
    """Its messages are Sparkplug B, whose meaning depends on those before them."""
    prepare: Callable[[object, int], object] | None = None
    """Resolves what a notation leaves to be resolved, such as SenML's base values; it gets the arrival in µs too."""
    select: Path | None = None
    """The part of the payload that is mapped."""
    iterate: tuple[Path, ...] = ()
    """Where the items are, each level within the one before."""
    parallel: tuple[Path, ...] = ()
    """Arrays of the same length whose n-th elements make one item."""
    item_name: Path | None = None
    """Where an item has its name."""
    outer_names: tuple[Path | None, ...] = ()
    """Where the items around it have theirs, from the outside in: one for each path of `iterate` but the last."""
    input: Template | None = None
    name: Template | None = None
    description: Template | None = None
    unit: Template | None = None
    value_type: str | None = None
    enum_values: tuple[tuple[str, str], ...] = ()
    labels: Labels = ()
    annotations: Labels = ()
    sample_interval: str | None = None
    gap_detection: str | None = None
    conversion: Conversion | None = None
    time: TimeSource = TimeSource()
    device: Template | None = None
    """Whose clock it is; None: a device a topic."""
    quality: Quality | None = None
    thinning: Thinning | None = None
    align: Grid | None = None
    """Where the times of its samples are moved to."""
    shared_inputs: bool = False
    drops_text: bool = False
    """A message that is only text is left out and no dead letter."""
    values: Mapping[str, ValueRule] = field(default_factory=lambda: MappingProxyType({}))
    """By their path in the payload (in the item, in a rule that iterates)."""
    expressions: tuple[tuple[Path, str], ...] = ()
    """What JMESPath finds, and its name in `found`; a quality that is a signal of its own, too."""
    found: Rule | None = None
    """This rule for what the expressions find: its values are by their names."""
    inherit: bool = False
    """What a value rule says holds for all below its path."""
    other_values: bool = True
    """Whether values that `values` does not name are mapped too."""
    publish: Publishing | None = None

    @property
    def time_path(self) -> str | None:
        """The dotted path of the field that has the time, where the rule names one."""
        path = self.time.path
        return path.dotted if path is not None and path.plain else None

    @property
    def iterates(self) -> bool:
        """Whether its values are those of items in the payload."""
        return bool(self.iterate or self.parallel)

    @cached_property
    def positions(self) -> frozenset[str]:
        """The lists of which the rule names values by their place in the list: `vals` for the value `vals.0.v`."""
        found: set[str] = set()
        for path in self.values:
            parts = path.split(".")
            found.update(".".join(parts[:at]) for at, part in enumerate(parts) if part.isdecimal())
        return frozenset(found)

    @cached_property
    def parents(self) -> frozenset[str]:
        """The objects of which the rule names values: `motor` for the value `motor.rpm`."""
        return frozenset(
            ".".join(parts[:at]) for path in self.values for parts in [path.split(".")] for at in range(1, len(parts))
        )

    @property
    def is_plain(self) -> bool:
        """Whether a record needs nothing but to be decoded and walked."""
        return not (
            self.format
            or self.sparkplug
            or self.prepare
            or self.select
            or self.iterates
            or self.expressions
            or self.quality
            or self.when
            or self.headers
            or self.dynamic
        )

    @cached_property
    def dynamic(self) -> tuple[str, ...]:
        """What its templates use that differs within one topic: `key`, `header.NAME`, `payload.PATH`, `item` …"""
        templates = [self.name, self.description, self.unit, self.device]
        templates += [template for _, template in (*self.labels, *self.annotations)]
        for value in (*self.values.values(), *(self.found.values.values() if self.found else ())):
            templates += [value.name, value.description, value.unit]
            templates += [template for _, template in (*value.labels, *value.annotations)]
        if self.publish is not None:
            templates += [self.publish.name, self.publish.description]
            templates += [template for _, template in self.publish.labels or ()]
        used = {name for template in templates if template for name in template.variables}
        return tuple(sorted({*filter(is_dynamic, used), *self.identity}))

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """Those of them that tell signals apart: what its input IDs use. A device that is called otherwise in a label
        is still the same."""
        templates = [self.input, *(value.input for value in self.values.values())]
        templates += [value.input for value in (self.found.values.values() if self.found else ())]
        used = {name for template in templates if template for name in template.variables}
        if self.key is not None:
            used.add(KEY)
        used.update(HEADER + name for name, pattern in self.headers if pattern.names)
        if self.iterates and self.input is None:
            used.add(ITEM)
        return tuple(sorted(filter(is_dynamic, used)))

    def told_apart_by(self, value: ValueRule) -> frozenset[str]:
        """What this value's input ID is made of: each of these has to be there, or two devices become one signal. Items
        of a list without `item_name` are readings of the same signals, so they need no name."""
        template = value.input or self.input
        if template is not None:
            return frozenset(template.required)
        named = () if self.item_name is None and not any(self.outer_names) else (ITEM,)
        return frozenset(named if self.key is None else (KEY, *named))

    @cached_property
    def _told_apart_by(self) -> frozenset[str]:
        values = (ValueRule(), *self.values.values(), *(self.found.values.values() if self.found else ()))
        return frozenset().union(*map(self.told_apart_by, values))

    @cached_property
    def name_paths(self) -> frozenset[str]:
        """The places in payload or item whose text tells devices apart, as the walk calls them: it is a name there, and
        no number that went wrong."""
        inside = ITEM_FIELD if self.iterates else PAYLOAD
        paths = [self.paths[name] for name in self.identity if name.startswith(inside)]
        if self.item_name is not None:
            paths.append(self.item_name)
        return frozenset(path.dotted for path in paths if path.parts and (self.iterates or self.select is None))

    def lacking(self, texts: Mapping[str, str]) -> frozenset[str]:
        """Which of these dynamic variables are empty, though an input ID is made of them; with the levels that a key or
        header names."""
        empty = {name for name, text in texts.items() if not text.strip()}
        if not empty:
            return frozenset()
        if self.key is not None and KEY in empty:
            empty.update(self.key.names)
        for name, pattern in self.headers:
            if HEADER + name in empty:
                empty.update(pattern.names)
        return self._told_apart_by & empty

    @cached_property
    def paths(self) -> Mapping[str, Path]:
        """The places in payload and item that its templates use, by the variable's name."""
        return {name: parse_variable_path(name) for name in self.dynamic if name.startswith((PAYLOAD, ITEM_FIELD))}

    @property
    def says_metadata(self) -> bool:
        """Whether signals of this rule get metadata at all: without, Clarify's are left alone."""
        return _says_metadata(self)


def _says_metadata(said: Rule | ValueRule) -> bool:
    return bool(
        said.name
        or said.description
        or said.unit
        or said.value_type
        or said.labels
        or said.annotations
        or said.sample_interval
        or said.gap_detection
    )


def parse_variable_path(name: str) -> Path:
    """Where in payload or item a variable looks. Raises ValueError."""
    return parse_path(name.removeprefix(PAYLOAD).removeprefix(ITEM_FIELD))


def everything() -> Rule:
    """The rule that applies where nothing is configured: every topic, every numeric or boolean value."""
    return Rule(pattern=parse_pattern("#"))


def template_for(names: tuple[str, ...], text: str, *, items: bool = False) -> Template:
    """A template that may use these named levels and what every value knows; with `items`, what an item knows."""
    template = parse_template(text, (*names, *VALUE_VARIABLES, *(ITEM_VARIABLES if items else ())))
    for name in template.variables:
        if name.startswith((PAYLOAD, ITEM_FIELD)):
            parse_variable_path(name)
    return template
