"""Tag lists in use: the row of each signal, and the account of rows and of keys that have no row.

A row is looked up when an input ID is made for an origin, never for a sample. What a row says has precedence over the
rule. A new list replaces the old one as a whole, between two records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from connector.mapping.documents.places import shown
from connector.mapping.plans import Plan, value_rule, variables, wanted_id
from connector.mapping.rules.rules import Rule, ValueRule
from connector.mapping.rules.templates import Template, constant
from connector.mapping.rules.values import PLAIN, Conversion, States, ValueRejectedError
from connector.mapping.signals.input_ids import legal_id
from connector.mapping.tags.read import Notation
from connector.mapping.tags.section import Unknown
from connector.mapping.tags.tag import Tag, TagList
from connector.records import Reason

_MOST_UNKNOWN: Final = 10_000
_MOST_LEARNED: Final = 200_000
_MOST_CONFLICTS: Final = 100


@dataclass(frozen=True, slots=True)
class UnknownTag:
    """A key of the data that the list does not have."""

    topic: str
    """The topic of the first message with this key."""
    input_id: str
    """The input ID of the signal; empty if the value gets none."""


@dataclass(slots=True)
class TagListInUse:
    """One file of tags, for all rules that name it, with the account of its use. For one thread at a time."""

    file: Path
    notation: Notation
    tags: TagList = field(default_factory=TagList)
    learns: bool = False
    """Whether every key is mapped and noted, to write the list: `unknown` of the rules does not count."""
    used: dict[str, str] = field(default_factory=dict)
    """Key of a row that a record has used → the input ID of its first signal; empty if it has none."""
    unknown: dict[str, UnknownTag] = field(default_factory=dict)
    """The keys of the data that the list does not have; at most 10,000 (200,000 if it learns)."""
    unknown_beyond: bool = False
    """Whether there are more unknown keys than are kept."""
    conflicts: dict[str, str] = field(default_factory=dict)
    """Key → a text for people: its row cannot be used as it is written. At most 100."""
    _row_of: dict[str, str] = field(default_factory=dict)
    """Input ID → the key of the first row that it has used."""

    def unused(self) -> list[str]:
        """Returns the keys of the rows that no record has used, in the order of the list."""
        return [key for key in self.tags.tags if key not in self.used]

    def replace(self, tags: TagList) -> None:
        """Use another list from now on."""
        self.tags = tags
        self.used = {key: input_id for key, input_id in self.used.items() if key in tags.tags}
        self.unknown = {key: found for key, found in self.unknown.items() if key not in tags.tags}
        self.unknown_beyond = False
        self.conflicts.clear()
        self._row_of = {input_id: key for key, input_id in self.used.items() if input_id}

    def note_unknown(self, key: str, topic: str, input_id: str) -> None:
        """Note a key of the data that the list does not have."""
        if key in self.unknown or len(self.unknown) < (_MOST_LEARNED if self.learns else _MOST_UNKNOWN):
            self.unknown[key] = UnknownTag(topic, input_id)
        else:
            self.unknown_beyond = True

    def note_used(self, tag: Tag, input_id: str) -> None:
        """Note that a signal has this row. One row for several signals, or several for one, is a conflict."""
        first = self.used.get(tag.key) or input_id
        self.used[tag.key] = first
        row = self._row_of.setdefault(input_id, tag.key)
        if first != input_id:
            self._conflict(
                tag.key,
                f"line {tag.line} is for several signals, such as {first!r} and {input_id!r}: all get its name, unit "
                "and scale; put a variable that tells the values apart into tags.key, such as {path}",
            )
        if row != tag.key:
            self._conflict(
                tag.key,
                f"line {tag.line} and the line of {row!r} are for one signal, {input_id!r}: its name changes with each "
                "of them; put the variables of tags.key into input, too",
            )

    def note_ignored_scale(self, tag: Tag) -> None:
        """Note that a row has a scale or an offset for a signal whose rule has states."""
        self._conflict(
            tag.key,
            f"line {tag.line} has a scale or an offset, which is not used: the rule makes states of this signal",
        )

    def _conflict(self, key: str, text: str) -> None:
        if len(self.conflicts) < _MOST_CONFLICTS:
            self.conflicts.setdefault(key, text)


class TagSource:
    """The tag list of one rule: an `AttributeSource`."""

    def __init__(self, file: Path, notation: Notation, key: Template | None, unknown: Unknown) -> None:
        """`key` is the template of the key; None: the input ID. The list is empty until `lists_of` gives it."""
        self.list = TagListInUse(file, notation)
        self.unknown = unknown
        self.variables: Collection[str] = frozenset() if key is None else frozenset(key.variables)
        self._key = key

    def refined(self, plan: Plan, path: str, value: ValueRule) -> ValueRule:
        """Returns the settings `value`, with what the row of this signal says in their place."""
        if not value.is_measured:
            return value
        key = self.key_of(plan, path, value)
        tag = self.list.tags.tags.get(key)
        if tag is not None:
            self.list.used.setdefault(tag.key, "")
            return self._with(tag, value, plan.rule, value_rule(plan.rule, path))
        if self.unknown != "filter" or self.list.learns:
            return value
        conversion = value.conversion or plan.rule.conversion
        if conversion is not None and conversion.states is not None:  # its texts get no further
            self.list.note_unknown(key, plan.topic, "")
        return replace(value, skip=True)

    def check(self, plan: Plan, path: str) -> None:
        """Note a value that gets no input ID for want of a row. Raises `ValueRejectedError` for a dead letter."""
        value = value_rule(plan.rule, path)
        if self.unknown == "map" or self.list.learns or value is None or not value.is_measured:
            return
        key = self.key_of(plan, path, value)
        if key in self.list.tags.tags:
            return
        self.list.note_unknown(key, plan.topic, "")
        if self.unknown == "dead_letter":
            name = self.list.file.name
            raise ValueRejectedError(
                Reason.UNKNOWN_TAG, f"{key!r} is not in the tag list {name}; add a row, or set tags.unknown"
            )

    def note(self, plan: Plan, path: str, value: ValueRule, input_id: str) -> None:
        """Note the input ID that a value has got."""
        if not value.is_measured:
            return
        key = self.key_of(plan, path, value)
        tag = self.list.tags.tags.get(key)
        if tag is None:
            self.list.note_unknown(key, plan.topic, input_id)
        else:
            self.list.note_used(tag, input_id)

    def key_of(self, plan: Plan, path: str, value: ValueRule) -> str:
        """Returns the key of a value."""
        if self._key is None:
            return legal_id(wanted_id(plan, value, path))
        return self._key.render(variables(plan, shown(path) if value.named is None else value.named)).strip()

    def _with(self, tag: Tag, value: ValueRule, rule: Rule, own: ValueRule | None) -> ValueRule:
        """`own` are the settings of the rule itself."""
        said: dict[str, Any] = {
            "value_type": tag.value_type,
            "enum_values": tuple({str(number): text for text, number in reversed([*tag.states.items()])}.items()),
            "sample_interval": tag.sample_interval,
            "gap_detection": tag.gap_detection,
            "skip": tag.skip,
            **{name: constant(text) for name in ("name", "description", "unit") if (text := getattr(tag, name))},
        }
        labels = tuple((key, constant(text)) for key, text in tag.labels)
        conversion = self._conversion(tag, value.conversion or rule.conversion)
        if not tag.unit and own is not None and (tag.scale, tag.offset) != (None, None):
            value = replace(value, unit=own.unit)  # a message's unit is that of the number in the payload
        return replace(
            value,
            **{name: found for name, found in said.items() if found},
            labels=(*value.labels, *labels),
            conversion=conversion,
        )

    def _conversion(self, tag: Tag, by_rule: Conversion | None) -> Conversion | None:
        found = by_rule or PLAIN
        if tag.states:
            old = found.states
            states = States(tag.states, old is not None and old.learn, "reject" if old is None else old.unknown)
            return replace(found, scale=1.0, offset=0.0, states=states)
        if tag.scale is None and tag.offset is None:
            return by_rule
        if found.states is not None and (found.states.known or found.states.learn):
            self.list.note_ignored_scale(tag)
            return by_rule
        scale = found.scale if tag.scale is None else tag.scale
        return replace(found, scale=scale, offset=found.offset if tag.offset is None else tag.offset)


def lists_of(rules: Iterable[Rule]) -> list[TagListInUse]:
    """Returns the tag lists of rules. Rules that name one file in one notation share one list from now on."""
    found: dict[tuple[Path, Notation], TagListInUse] = {}
    for rule in rules:
        if rule.tags is not None:
            known = rule.tags.list
            rule.tags.list = found.setdefault((known.file, known.notation), known)
    return list(found.values())
