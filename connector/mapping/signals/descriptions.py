"""Descriptions of signals from messages: names and units that come in another message than the values.

A message of a rule with `describes` has no values. What it says is remembered, by source, signal and topic of the
message. It counts whenever it comes: for signals that come later, and for signals that are there already. It never
changes an input ID. What a topic says about a signal replaces what it said before; where several topics say the same
attribute, the last one that said something new counts.

What the configuration itself says about a signal has precedence, and the description has precedence over a preset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from connector.mapping.documents.items import PayloadItem, items_of
from connector.mapping.documents.places import shown
from connector.mapping.documents.walk import leaves, shortened
from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan, default_id, header_of, key_of, nearest, template_text, variables
from connector.mapping.rules.describes import Describes
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import Rule, ValueRule
from connector.mapping.rules.templates import HEADER, INDEX, ITEM, KEY, Template, constant
from connector.records import Mapped, Record

_MOST: Final = 100_000
_MOST_CHARACTERS: Final = 32 * 1024 * 1024
"""The bounds for all descriptions; above, further signals are not described, and a notice says so."""
_MOST_ASKED: Final = 500_000
"""More than the signals of all plans that the mapper remembers."""
_STATE: Final = re.compile(r"0|[1-9]\d{0,3}")
_MOST_STATES: Final = 256
_LONGEST_STATE: Final = 128


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one topic says about a signal; empty attributes say nothing."""

    name: str = ""
    description: str = ""
    unit: str = ""
    labels: dict[str, str] = {}
    states: dict[str, str] = {}
    """Number → name."""

    def over(self, other: Description) -> Description:
        """Returns what both say; this description has precedence."""
        return Description(
            self.name or other.name,
            self.description or other.description,
            self.unit or other.unit,
            {**other.labels, **self.labels},
            self.states or other.states,
        )


_NOTHING: Final = Description()


class Described(NamedTuple):
    """A description with its place."""

    source: str
    signal: str
    topic: str
    """The topic of the message."""
    said: bytes
    """A `Description` in JSON."""


class Descriptions:
    """All descriptions. `known` comes from earlier runs, in the order in which the messages came."""

    def __init__(
        self, known: Iterable[Described], observations: Observations, most: int = _MOST, most_asked: int = _MOST_ASKED
    ) -> None:
        """At most `most` descriptions are remembered; `most_asked` bounds the values that may be described later."""
        self._most = most
        self._most_asked = most_asked
        self._observations = observations
        self._said: dict[tuple[str, str], dict[str, Description]] = {}
        """(source, signal) → topic → what this topic says, the last one last."""
        self._asked: dict[tuple[str, str], dict[Plan, str]] = {}
        """(source, signal) → the plans with a value that is this signal, which may be described later, and the path of
        the value."""
        self._count = self._characters = 0
        self._new: list[Described] = []
        self._affected: dict[Plan, None] = {}
        for described in known:
            said = msgspec.json.decode(described.said, type=Description)
            self._keep((described.source, described.signal), described.topic, said)

    def __len__(self) -> int:
        return self._count

    def for_signals_of(self, rule: Rule) -> Rule:
        """Returns the rule, whose signals may be described by messages; births describe those of Sparkplug."""
        if rule.describes or rule.skip or rule.sparkplug:
            return rule
        found = None if rule.found is None else self.for_signals_of(rule.found)
        return replace(rule, found=found, attribute_sources=(self, *rule.attribute_sources))

    def forget_plans(self) -> None:
        """Forget which plans may be described: the mapper has forgotten all plans."""
        self._asked.clear()

    def take_new(self) -> list[Described]:
        """Returns the descriptions since the last call. The caller must store them before it commits their records."""
        found, self._new = self._new, []
        return found

    def take_affected(self) -> list[Plan]:
        """Returns the plans with a signal whose description has changed since the last call."""
        found = list(self._affected)
        self._affected.clear()
        return found

    # -- what signals are called -------------------------------------------------------------------

    def refined(self, plan: Plan, path: str, value: ValueRule) -> ValueRule:
        """Returns the settings of a value with what messages say about its signal."""
        signal = _known_as(plan, path, value)
        if not signal:
            return value
        if len(self._asked) >= self._most_asked:
            self._forget_texts()
        self._asked.setdefault((plan.source, signal), {})[plan] = path
        said = _NOTHING
        for more in self._said.get((plan.source, signal), {}).values():
            said = more.over(said)
        rule = plan.rule
        changes: dict[str, Any] = {
            name: constant(text)
            for name in ("name", "description", "unit")
            if (text := getattr(said, name)) and not _is_written(rule, value, path, name)
        }
        conversion = value.conversion or rule.conversion
        if conversion is not None and conversion.changes_units:
            changes.pop("unit", None)  # the unit of the number in the payload, which is not that of the sample
        known = {key for key, _ in (*rule.labels, *value.labels)}
        labels = tuple((key, constant(text)) for key, text in said.labels.items() if key not in known)
        if labels:
            changes["labels"] = (*value.labels, *labels)
        if said.states and not (value.enum_values or rule.enum_values or value.value_type or rule.value_type):
            changes |= {"value_type": "enum", "enum_values": tuple(said.states.items())}
        return replace(value, **changes) if changes else value

    def _forget_texts(self) -> None:
        """Forget the values that never became a sample. The mapper bounds the number of all others."""
        self._asked = {at: kept for at, plans in self._asked.items() if (kept := _with_samples(plans))}

    # -- what messages say -------------------------------------------------------------------------

    def take(self, plan: Plan, record: Record, named: Mapping[str, str], document: object) -> Mapped:
        """Remember what a document says; `named` has the named levels of the record's key and headers.

        Raises `PayloadError`.
        """
        rule = plan.rule
        assert rule.describes is not None  # noqa: S101 - called only for such rules
        whole = document
        if rule.prepare is not None:
            document = rule.prepare(document, record.received_us or record.time_us)
        selected = document if rule.select is None else rule.select.find(document)
        items = items_of(rule, selected) if rule.iterates else iter((PayloadItem((), 0, selected, (document,)),))
        texts = {**plan.variables, **named, KEY: key_of(record)}
        found: dict[str, Description] = {}
        for item in items:
            signal, said = _described(rule.describes, record, texts, document, item)
            if signal:
                found[signal] = said.over(found.get(signal, _NOTHING))
            else:
                self._say_without_signal(plan, item.value)
        for signal, said in found.items():
            self._hear(plan, signal, said)
        return Mapped(filtered=leaves(whole), skipped=True, why="metadata")

    def _hear(self, plan: Plan, signal: str, said: Description) -> None:
        at = plan.source, signal
        if self._said.get(at, {}).get(plan.topic) == said:
            return
        if not self._keep(at, plan.topic, said):
            self._observations.add(
                Observation(
                    "metadata_not_remembered",
                    plan.source,
                    plan.rule.pattern.text,
                    f"what messages say about {signal!r} is not remembered: there is room for {self._count} "
                    "descriptions",
                    "let the topic of the rule with describes match fewer topics",
                )
            )
            return
        self._new.append(Described(*at, plan.topic, msgspec.json.encode(said)))
        self._affected.update(dict.fromkeys(self._asked.get(at, ())))

    def _keep(self, at: tuple[str, str], topic: str, said: Description) -> bool:
        """Remember what a topic says; returns False without room."""
        by_topic = self._said.get(at, {})
        before = by_topic.get(topic)
        grows = _size(said) + len(at[1]) + len(topic) if before is None else _size(said) - _size(before)
        if (before is None and self._count >= self._most) or self._characters + grows > _MOST_CHARACTERS:
            return False
        self._said[at] = by_topic
        by_topic.pop(topic, None)
        by_topic[topic] = said
        self._count += before is None
        self._characters += grows
        return True

    def _say_without_signal(self, plan: Plan, item: object) -> None:
        self._observations.add(
            Observation(
                "metadata_without_signal",
                plan.source,
                plan.rule.pattern.text,
                f"topic {plan.topic!r} describes something of which no signal is known, the first of its kind: "
                f"{shortened(orjson.dumps(item, default=str).decode())}",
                "if it has values, write their names and units into a rule; else nothing is to be done",
            )
        )


def _described(
    describes: Describes, record: Record, texts: Mapping[str, str], document: object, item: PayloadItem
) -> tuple[str, Description]:
    """(signal, what an item says about it); the signal is empty if the item does not name it."""
    known = {**texts, ITEM: item.name, INDEX: str(item.place)}
    for name, (outwards, path) in describes.places.items():
        around = (item.value, *item.outer)[outwards:] if outwards >= 0 else (document,)
        known[name] = _text(nearest(path, around[0], around[1:])) if around else ""
    for name in describes.headers:
        known[name] = header_of(record, name.removeprefix(HEADER)) or ""
    return _rendered(describes.signal, known), Description(
        **{name: _rendered(template, known) for name, template in describes.texts.items()},
        labels={key: text for key, template in describes.labels if (text := _rendered(template, known))},
        states={} if describes.states is None else dict(_states(describes.states, item, document)),
    )


def _rendered(template: Template, known: Mapping[str, str]) -> str:
    """Returns the text with single spaces; empty if a variable without a default is empty."""
    if not all(known[name].strip() for name in template.required):
        return ""
    return " ".join(template.render(known).split())


def _text(value: object) -> str:
    """Returns the text of a value, and of a list the first text in it: an expression often finds a list of one."""
    if isinstance(value, list):
        return next((text for each in value if (text := template_text(each))), "")
    return template_text(value)


def _states(path: Path, item: PayloadItem, document: object) -> Iterator[tuple[str, str]]:
    found = nearest(path, item.value, (*item.outer, document))
    if found is MISSING or not isinstance(found, dict | list):
        return
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    for number, text in list(pairs)[:_MOST_STATES]:
        if _STATE.fullmatch(str(number)) and isinstance(text, str) and 0 < len(text) <= _LONGEST_STATE:
            yield str(number), text


def _known_as(plan: Plan, path: str, value: ValueRule) -> str:
    """Returns the text by which messages mean the signal of a value; empty if the record lacks a part of it."""
    template = plan.rule.described_as
    if template is None:
        return default_id(plan, shown(path))
    return _rendered(template, variables(plan, shown(path) if value.named is None else value.named))


def _is_written(rule: Rule, value: ValueRule, path: str, name: str) -> bool:
    """Whether the configuration itself, and not a preset, says this attribute of the signal."""
    if rule.written is None:
        return getattr(value, name) is not None or getattr(rule, name) is not None
    return name in rule.written or f"{value.named or path}.{name}" in rule.written


def _with_samples(plans: Mapping[Plan, str]) -> dict[Plan, str]:
    return {plan: path for plan, path in plans.items() if plan.ids.get(path) is not None}


def _size(said: Description) -> int:
    texts = (*said.labels, *said.labels.values(), *said.states.values())
    return len(said.name) + len(said.description) + len(said.unit) + sum(map(len, texts))
