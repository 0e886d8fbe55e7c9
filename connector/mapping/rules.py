"""What a mapping rule says, compiled: which topics it takes and what becomes of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from connector.mapping.templates import HEADER, KEY, VALUE_VARIABLES, Template, parse_template
from connector.mapping.topics import TopicPattern, parse_pattern
from connector.records import Overwrite

AUTO_TIME = "auto"
ARRIVAL_TIME = "arrival"
CREATE_TIME = "create_time"
APPEND_TIME = "append_time"
RECEIVED_TIME = "received"
_RECORD_TIMES = (ARRIVAL_TIME, CREATE_TIME, APPEND_TIME, RECEIVED_TIME)
DEFAULT_INPUT = "{topic}:{path}"
"""How an input ID is made where no rule says otherwise; a payload without a path is just `{topic}`."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """As what a rule's signals are published."""

    name: Template | None = None
    description: Template | None = None
    labels: tuple[tuple[str, Template], ...] | None = None
    visible: bool = True
    overwrite: Overwrite = Overwrite.UNEDITED


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What a rule says of one value, found by its path in the payload."""

    skip: bool = False
    input: Template | None = None
    name: Template | None = None
    description: Template | None = None
    unit: str | None = None
    value_type: str | None = None
    enum_values: tuple[tuple[str, str], ...] = ()
    publish: bool = True
    """Whether it is published where the rule publishes."""


@dataclass(frozen=True)
class Rule:
    """One rule of the mapping."""

    pattern: TopicPattern
    skip: bool = False
    input: Template | None = None
    name: Template | None = None
    description: Template | None = None
    unit: str | None = None
    value_type: str | None = None
    enum_values: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, Template], ...] = ()
    time: str = AUTO_TIME
    """`auto`, one of the record's own times, or the dotted path of the field that has the time."""
    key: TopicPattern | None = None
    """The rule takes only records whose key is like this."""
    shared_inputs: bool = False
    values: Mapping[str, ValueRule] = field(default_factory=lambda: MappingProxyType({}))
    other_values: bool = True
    """Whether values that `values` does not name are mapped too."""
    publish: Publishing | None = None

    @property
    def time_path(self) -> str | None:
        """The dotted path of the field that has the time, where the rule names one."""
        return None if self.time in (AUTO_TIME, *_RECORD_TIMES) else self.time

    @cached_property
    def record_variables(self) -> frozenset[str]:
        """What its templates use that differs from record to record of a topic: `key`, `header.NAME`."""
        templates = [self.input, self.name, self.description, *(template for _, template in self.labels)]
        for value in self.values.values():
            templates += [value.input, value.name, value.description]
        if self.publish is not None:
            templates += [self.publish.name, self.publish.description]
            templates += [template for _, template in self.publish.labels or ()]
        used = {name for template in templates if template for name in template.variables}
        return frozenset(name for name in used if name == KEY or name.startswith(HEADER))

    @property
    def says_metadata(self) -> bool:
        """Whether signals of this rule get metadata at all: without, Clarify's are left alone."""
        return bool(self.name or self.description or self.unit or self.value_type or self.labels)


def everything() -> Rule:
    """The rule that applies where nothing is configured: every topic, every numeric or boolean value."""
    return Rule(pattern=parse_pattern("#"))


def template_for(names: tuple[str, ...], text: str) -> Template:
    """A template that may use these named levels and what every value knows."""
    return parse_template(text, (*names, *VALUE_VARIABLES))
