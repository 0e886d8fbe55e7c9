"""What a mapping rule says, compiled: which topics it takes and what becomes of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from connector.mapping.templates import VALUE_VARIABLES, Template, parse_template
from connector.mapping.topics import TopicPattern, parse_pattern

AUTO_TIME = "auto"
ARRIVAL_TIME = "arrival"
DEFAULT_INPUT = "{topic}:{path}"
"""How an input ID is made where no rule says otherwise; a payload without a path is just `{topic}`."""


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


@dataclass(frozen=True, slots=True)
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
    """`auto`, `arrival`, or the dotted path of the field that has the time."""
    shared_inputs: bool = False
    values: Mapping[str, ValueRule] = field(default_factory=lambda: MappingProxyType({}))
    other_values: bool = True
    """Whether values that `values` does not name are mapped too."""

    @property
    def time_path(self) -> str | None:
        """The dotted path of the field that has the time, where the rule names one."""
        return None if self.time in (AUTO_TIME, ARRIVAL_TIME) else self.time

    @property
    def says_metadata(self) -> bool:
        """Whether signals of this rule get metadata at all: without, Clarify's are left alone."""
        return bool(self.name or self.description or self.unit or self.value_type or self.labels)


def everything() -> Rule:
    """The rule that applies where nothing is configured: every topic, every numeric or boolean value."""
    return Rule(pattern=parse_pattern("#"))


def template_for(pattern: TopicPattern, text: str) -> Template:
    """A template that may use the pattern's named levels and what every value knows."""
    return parse_template(text, (*pattern.names, *VALUE_VARIABLES))
