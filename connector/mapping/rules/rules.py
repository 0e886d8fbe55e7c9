"""The compiled rules of the mapping: the records that a rule takes, and the treatment of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol

from connector.formats.format import Format
from connector.formats.sparkplug.rule import SparkplugRule
from connector.mapping.rules.conditions import Condition
from connector.mapping.rules.decoding import DecodeStep
from connector.mapping.rules.describes import Describes
from connector.mapping.rules.paths import Path, parse_members
from connector.mapping.rules.templates import (
    HEADER,
    ITEM,
    ITEM_FIELD,
    ITEM_VARIABLES,
    KEY,
    PAYLOAD,
    VALUE_VARIABLES,
    Labels,
    Template,
    is_dynamic,
    parse_template,
)
from connector.mapping.rules.topics import TopicPattern, parse_pattern
from connector.mapping.rules.values import Conversion
from connector.mapping.thinning.thinning import Thinning
from connector.mapping.time.align import Grid
from connector.mapping.time.times import ReadTime, parse_time
from connector.mapping.time.zones import RepeatedHours
from connector.records import Overwrite

if TYPE_CHECKING:
    from connector.mapping.documents.combine import Combined
    from connector.mapping.plans import Plan
    from connector.mapping.tags.source import TagSource
    from connector.mapping.time.composed import ComposedTime

AUTO_TIME = "auto"
ARRIVAL_TIME = "arrival"
CREATE_TIME = "create_time"
APPEND_TIME = "append_time"
RECEIVED_TIME = "received"
RECORD_TIMES = (ARRIVAL_TIME, CREATE_TIME, APPEND_TIME, RECEIVED_TIME)
FIELD_TIME = "field"
HEADER_TIME = "header"
COMPOSED_TIME = "composed"
LEARNED: Final = "learned"
"""The `expect_every` of a rule whose signals teach how often they come."""
DEFAULT_INPUT = "{topic}:{path}"
"""The default template of input IDs; for a value without a path, the input ID is only `{topic}`."""
ITEM_INPUT = "{topic}:{item}.{path}"
"""The default template in a rule with `iterate`; without an item or a path, its colon or dot is left out, too."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """The settings for the items that are published for a rule's signals; None stands for the signal's metadata."""

    name: Template | None = None
    description: Template | None = None
    labels: Labels | None = None
    visible: bool = True
    overwrite: Overwrite = Overwrite.UNEDITED


@dataclass(frozen=True, slots=True)
class TimeSource:
    """The source of the times of a record's values, and the notation of these times."""

    kind: str = AUTO_TIME
    """`auto`, one of `RECORD_TIMES`, `field`, `header` or `composed`."""
    path: Path | None = None
    header: str = ""
    read: ReadTime = parse_time
    or_arrival: bool = False
    """Whether the record's own time is used if the field or header is missing."""
    correct_above_us: int | None = None
    """Clocks that are off by more than this (µs) are corrected; None: no clock is corrected."""
    composed: ComposedTime | None = None
    """Reads a time that is made of more than one field or header."""
    variables: frozenset[str] = frozenset()
    """The variables of the templates of a composed time."""
    further: tuple[Path, ...] = ()
    """The fields that a composed time has beside `path`."""
    is_key: bool = False
    """Whether the key of an item is its time, and so no part of its name."""
    said: str = ""
    """Where the time is, for the readers of dead letters."""
    repeated: RepeatedHours | None = None
    """What decides about local times that are there twice; None: there are none."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality beside the values, and its effect."""

    path: Path
    good: frozenset[str]
    """The good qualities as texts in small letters; whole numbers have no decimal point."""
    use: Literal["keep", "drop", "null", "reject", "signal"]
    """The effect on values whose quality is not good; `signal` keeps the values and makes a signal of the quality."""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """The settings of a rule for one value."""

    named: str | None = None
    """The name of the value in templates; None if this is its path."""
    skip: bool = False
    input: Template | None = None
    name: Template | None = None
    description: Template | None = None
    unit: Template | None = None
    value_type: str | None = None
    enum_values: tuple[tuple[str, str], ...] = ()
    labels: Labels = ()
    """Further labels, beside the labels of the rule."""
    annotations: Labels = ()
    sample_interval: str | None = None
    gap_detection: str | None = None
    conversion: Conversion | None = None
    thinning: Thinning | None = None
    publish: bool = True
    """Whether the value's signal is published, if the rule publishes signals."""
    is_measured: bool = True
    """Whether the value is a measurement; False for the quality of other values, which has no row in a tag list."""

    @property
    def says_metadata(self) -> bool:
        """Whether these settings have any metadata."""
        return _says_metadata(self)


class AttributeSource(Protocol):
    """A place beside the rule that says something about signals: a tag list, other messages."""

    def refined(self, plan: Plan, path: str, value: ValueRule) -> ValueRule:
        """Returns the settings `value` of the value at `path`, with what this source says in their place.

        Returns `value` itself if the source says nothing. The input ID must stay: `input` of the result is not used.
        Called once for each path of a plan, and again after `Naming.renew`.
        """


@dataclass(frozen=True)
class Rule:
    """One rule of the mapping."""

    pattern: TopicPattern
    number: int | None = None
    """The rule's place in the configuration, from 0, for the readers of rejects; None if it is not in the file."""
    key: TopicPattern | None = None
    """If set, the rule takes only records whose key matches the pattern."""
    headers: tuple[tuple[str, TopicPattern], ...] = ()
    """(name, pattern): the rule takes only records whose headers match."""
    when: tuple[Condition, ...] = ()
    """The rule takes only payloads that fulfil all conditions."""
    skip: bool = False
    format: Format | None = None
    """The format of the payloads; None for JSON."""
    single_items: bool = False
    """Whether the format writes a list of one item as this item, at any place below the root."""
    sparkplug: SparkplugRule | None = None
    """The settings for Sparkplug B, if the messages are Sparkplug B: their meaning depends on earlier messages."""
    decode: tuple[DecodeStep, ...] = ()
    """The fields that hold payloads themselves, decoded before everything else, also before `when`."""
    prepare: Callable[[object, int], object] | None = None
    """(document, time of arrival in µs) → the document to map; for SenML, the records with resolved base values."""
    combine: Callable[[object, tuple[object, ...]], Combined] | None = None
    """(document or item, the objects around it) → the same with values made of several fields."""
    select: Path | None = None
    """The path of the part of the payload that is mapped; None for the whole payload."""
    iterate: tuple[Path, ...] = ()
    """The paths of the items; each path leads on from an item of the path before."""
    parallel: tuple[Path, ...] = ()
    """The paths of arrays with the same length; their n-th elements make one item."""
    item_name: Path | None = None
    """The path of an item's name."""
    outer_names: tuple[Path | None, ...] = ()
    """The paths of the names of the items around an item, from the outside in: one for each `iterate` but the last."""
    to: Template | None = None
    """The name of the integration that gets the values; None: the default integration."""
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
    """The template of the device whose clock is measured; None: each topic is a device."""
    quality: Quality | None = None
    thinning: Thinning | None = None
    expect_every: float | Literal["learned"] | None = None
    """The longest time between two samples of a signal, in seconds; None: silence of a signal is not noticed."""
    align: Grid | None = None
    """The grid for the times of the samples; None if times stay as they are."""
    shared_inputs: bool = False
    drops_text: bool = False
    """Whether a message that is only text is left out, instead of becoming a dead letter."""
    values: Mapping[str, ValueRule] = field(default_factory=lambda: MappingProxyType({}))
    """Path in the payload (or in the item, in a rule with items) → the settings of this value."""
    expressions: tuple[tuple[Path, str], ...] = ()
    """(JMESPath expression, name of its value in `found`), also for a quality that has its own signal."""
    found: Rule | None = None
    """The rule for the values that the expressions find; its `values` are by their names."""
    inherit: bool = False
    """Whether the settings of a value also hold for all values below its path."""
    other_values: bool = True
    """Whether values that `values` does not name are mapped, too."""
    publish: Publishing | None = None
    tags: TagSource | None = None
    """The tag list, which is one of the `attribute_sources`, too; None if the rule has none."""
    describes: Describes | None = None
    """If set, the messages describe signals and have no values."""
    described_as: Template | None = None
    """The text by which messages describe a signal of this rule; None: the default input ID of the signal."""
    written: frozenset[str] | None = None
    """For a rule of a preset: the attributes that the configuration itself sets, `unit` for the rule and `PATH.unit`
    for a value. None for any other rule: all of its attributes are in the configuration."""
    attribute_sources: tuple[AttributeSource, ...] = ()
    """The places that say more about the signals, the weakest first: a later one has precedence, and all have
    precedence over the rule."""

    @cached_property
    def time_paths(self) -> frozenset[str]:
        """The dotted paths of the fields with the time, which are no values; only plain paths."""
        inside = ITEM_FIELD if self.iterates else PAYLOAD
        paths = [*self.time.further, *([] if self.time.path is None else [self.time.path])]
        if self.iterates or self.select is None:
            paths += [parse_variable_path(name) for name in self.time.variables if name.startswith(inside)]
        return frozenset(path.dotted for path in paths if path.plain)

    @property
    def inside(self) -> bool:
        """Whether the rule maps parts of the payload, without the root."""
        return self.iterates or self.select is not None

    @property
    def iterates(self) -> bool:
        """Whether the rule maps items of the payload one by one."""
        return bool(self.iterate or self.parallel)

    @cached_property
    def positions(self) -> frozenset[str]:
        """The paths of lists whose values the rule names by their place: `vals` for the value `vals.0.v`."""
        found: set[str] = set()
        for path in self.values:
            parts = path.split(".")
            found.update(".".join(parts[:at]) for at, part in enumerate(parts) if part.isdecimal())
        return frozenset(found)

    @cached_property
    def parents(self) -> frozenset[str]:
        """The paths of objects whose values the rule names: `motor` for the value `motor.rpm`."""
        return frozenset(
            ".".join(parts[:at]) for path in self.values for parts in [path.split(".")] for at in range(1, len(parts))
        )

    @property
    def is_plain(self) -> bool:
        """Whether a record only needs to be decoded and walked."""
        return not (
            self.format
            or self.sparkplug
            or self.decode
            or self.prepare
            or self.combine
            or self.select
            or self.iterates
            or self.expressions
            or self.quality
            or self.describes
            or self.when
            or self.headers
            or self.time.composed
            or self.dynamic
        )

    @cached_property
    def dynamic(self) -> tuple[str, ...]:
        """The variables of templates that may differ within a topic: `key`, `header.NAME`, `payload.PATH`, `item` …"""
        templates = [self.name, self.description, self.unit, self.device, self.described_as]
        templates += [template for _, template in (*self.labels, *self.annotations)]
        for value in (*self.values.values(), *(self.found.values.values() if self.found else ())):
            templates += [value.name, value.description, value.unit]
            templates += [template for _, template in (*value.labels, *value.annotations)]
        if self.publish is not None:
            templates += [self.publish.name, self.publish.description]
            templates += [template for _, template in self.publish.labels or ()]
        used = {name for template in templates if template for name in template.variables}
        if self.tags is not None:
            used.update(self.tags.variables)
        return tuple(sorted({*filter(is_dynamic, used), *self.identity}))

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The dynamic variables that tell signals apart: the variables of the input IDs.

        The variables of the integration count, too: it has input IDs of its own. Variables of labels do not count: a
        device with another label is still the same device.
        """
        templates = [self.to, self.input, *(value.input for value in self.values.values())]
        templates += [value.input for value in (self.found.values.values() if self.found else ())]
        used = {name for template in templates if template for name in template.variables}
        if self.key is not None:
            used.add(KEY)
        used.update(HEADER + name for name, pattern in self.headers if pattern.names)
        if self.iterates and self.input is None:
            used.add(ITEM)
        return tuple(sorted(filter(is_dynamic, used)))

    def told_apart_by(self, value: ValueRule) -> frozenset[str]:
        """Returns the variables that the input ID of a value needs: without one of them, two devices become one signal.

        Without `item_name`, the items of a list are readings of the same signals, so they need no name.
        """
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
        """The dotted paths in payload or item whose text tells devices apart: this text is a name and no bad number."""
        inside = ITEM_FIELD if self.iterates else PAYLOAD
        paths = [self.paths[name] for name in self.identity if name.startswith(inside)]
        if self.item_name is not None:
            paths.append(self.item_name)
        return frozenset(path.dotted for path in paths if path.parts and (self.iterates or self.select is None))

    def lacking(self, texts: Mapping[str, str]) -> frozenset[str]:
        """Returns the variables that input IDs need and that are empty in `texts`.

        If a key or a header is empty, its named levels count as empty, too.
        """
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
        """Variable of a template → its path in the payload or item."""
        return {name: parse_variable_path(name) for name in self.dynamic if name.startswith((PAYLOAD, ITEM_FIELD))}

    @property
    def says_metadata(self) -> bool:
        """Whether the rule sets any metadata for its signals; if not, the metadata in Clarify is not changed."""
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
    """Returns the path in the payload or item that a variable names. Raises ValueError."""
    return parse_members(name.removeprefix(PAYLOAD).removeprefix(ITEM_FIELD))


def everything(tags: TagSource | None = None) -> Rule:
    """Returns the built-in rule, for a mapping without rules: every topic, every numeric or boolean value."""
    return Rule(pattern=parse_pattern("#"), tags=tags, attribute_sources=() if tags is None else (tags,))


def template_for(names: tuple[str, ...], text: str, *, items: bool = False, more: tuple[str, ...] = ()) -> Template:
    """Returns a template that may use the named levels and the variables of values; with `items`, of items, too.

    It may also use variables that begin with one of `more`. Raises ValueError.
    """
    template = parse_template(text, (*names, *VALUE_VARIABLES, *(ITEM_VARIABLES if items else ())), more)
    for name in template.variables:
        if name.startswith((PAYLOAD, ITEM_FIELD)):
            parse_variable_path(name)
    return template
