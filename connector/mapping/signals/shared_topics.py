"""Topics that several devices share, which only several messages together show.

The message `{"device": "pump-7", "pressure": 4.2}` alone says nothing about other devices: on a topic for one device,
`pump-7` is no part of the input ID. If the next message of the topic is about `pump-8`, the values of both become one
signal, and neither message is wrong. So the first 64 messages of a topic are watched, and after them every 32nd:

| observation | for a field whose name is one of a thing (`device`, `tagName`, `mmsi`) | for any other text field |
|---|---|---|
| one input has two values at one time, and the field differs | at once | the second time |
| a text comes again after another text | at once | after four times, in at least half of the messages |
| five different texts | yes, unless the field is called `id` | no |

A shared topic never changes an input ID: a replica that has not seen the other messages would use another ID. The
finding is reported once, with the rule to write. `signals.on_identity` decides whether samples wait for this rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json import dumps
from typing import Final, Literal

from connector.mapping.documents.field_names import meaning
from connector.mapping.documents.places import shown
from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan, template_text
from connector.mapping.rules.paths import Path
from connector.mapping.rules.templates import ITEM_FIELD, PAYLOAD
from connector.mapping.rules.values import NUMBER_TEXT
from connector.mapping.time.times import looks_like_time, may_be_other_time
from connector.records import Sample

OnIdentity = Literal["warn", "hold", "reject"]

_WATCHED: Final = 64
"""The number of a topic's first messages that are all watched."""
_EVERY: Final = 32
"""After the first messages, one of this number of messages is watched."""
_MOST_TEXTS: Final = 64
_MOST_FIELDS: Final = 16
_MOST_SAMPLES: Final = 256
_MOST_TOPICS: Final = 10_000
_MOST_PLACES: Final = 1_000
_MEMBER: Final = "*"
"""Stands for each member of an object that is an object itself."""
_LONGEST_TEXT: Final = 200
_WATCH_BYTES: Final = 3_000
_MANY_TEXTS: Final = 5
_MANY_RETURNS: Final = 4
_SHOWN: Final = 3
_QUALITIES: Final = frozenset(
    ("q", "qc", "quality", "quality_code", "qualitycode", "status_code", "statuscode", "success", "valid", "good")
)


@dataclass(frozen=True, slots=True)
class SharedTopic:
    """A topic whose messages are about several things, while the mapping makes one signal of them."""

    source: str
    topic: str
    fields: tuple[str, ...]
    """The places of the fields that tell the things apart."""
    examples: tuple[str, ...]
    """Some of the texts in these fields."""
    why: str

    def __str__(self) -> str:
        return (
            f"messages of topic {self.topic!r} are about several things that become one signal: {self.why} "
            f"(such as {', '.join(map(repr, self.examples))})"
        )

    @property
    def remedy(self) -> str:
        """The rule to write, for people."""
        names = "/".join("{payload." + place + "}" for place in self.fields)
        return (
            f'write a rule {{topic: {dumps(self.topic)}, input: "{{topic}}/{names}/{{path}}"}}; '
            "or, if all messages are about one thing, a rule for this topic with shared_inputs: true"
        )


@dataclass(slots=True)
class _Field:
    """The observations about one field of a topic's messages."""

    named: bool
    unique: bool
    texts: dict[str, None] = field(default_factory=dict)
    last: str = ""
    changes: int = 0
    returns: int = 0
    """Number of times that an earlier text came again after another text."""
    collisions: int = 0

    def note(self, text: str) -> None:
        if self.last and text != self.last:
            self.changes += 1
            if text in self.texts:
                self.returns += 1
        self.last = text
        if len(self.texts) < _MOST_TEXTS:
            self.texts[text] = None

    def verdict(self, messages: int) -> str:
        """Returns the reason why this field tells things apart, for people; empty if there is no reason yet."""
        if self.collisions >= (1 if self.named else 2):
            return "one input has two values at one time"
        if self.returns >= (1 if self.named else _MANY_RETURNS) and (self.named or 2 * self.changes >= messages):
            return "the field's texts take turns"
        if self.named and not self.unique and len(self.texts) >= _MANY_TEXTS:
            return f"the field has {len(self.texts)} different texts"
        return ""


class Watch:
    """Watches the messages of one topic under one rule."""

    __slots__ = ("_fields", "_only_qualities", "_qualities", "_samples", "found", "left", "messages")

    def __init__(self, *, only_qualities: bool = False) -> None:
        """`only_qualities` says that the rule tells things apart already, so that only qualities are watched."""
        self._only_qualities = only_qualities
        self._fields: dict[str, _Field] = {}
        self._samples: dict[tuple[str, int], tuple[float, dict[str, str]]] = {}
        self._qualities: dict[str, set[str]] = {}
        self.left = 0
        """Number of messages to skip until the next watched message."""
        self.messages = 0
        self.found: SharedTopic | None = None

    @property
    def looks_closely(self) -> bool:
        """Whether the next message is to be searched for more than texts and qualities: of the later ones, a fourth."""
        return self.messages < _WATCHED or not self.messages % 4

    def look(self, document: object, samples: Iterable[Sample]) -> tuple[dict[str, _Field], list[tuple[str, set[str]]]]:
        """Watch a message and its samples.

        Returns (place → field, for the fields that tell things apart; (key, texts) of the fields of qualities that have
        got a second text now).
        """
        self.messages += 1
        self.left = 0 if self.messages < _WATCHED else _EVERY - 1
        if self._only_qualities:
            return {}, self._note_qualities(document)
        texts: dict[str, str] = {}
        for place, text, named, unique in _texts(document):
            known = self._fields.get(place)
            if known is None:
                if len(self._fields) >= _MOST_FIELDS:
                    continue
                known = self._fields[place] = _Field(named, unique)
            known.note(text)
            texts[place] = text
        self._collide(texts, samples)
        if self.messages == _WATCHED:
            self._samples.clear()
        return (
            {place: one for place, one in self._fields.items() if one.verdict(self.messages)},
            self._note_qualities(document),
        )

    def _collide(self, texts: dict[str, str], samples: Iterable[Sample]) -> None:
        collided: set[str] = set()
        for input_id, time_us, value in samples:
            if len(self._samples) >= _MOST_SAMPLES:
                self._samples.clear()
            before, other = self._samples.setdefault((input_id, time_us), (value, texts))
            if before != value:
                collided.update(place for place, text in texts.items() if other.get(place, text) != text)
        for place in collided:
            self._fields[place].collisions += 1

    def _note_qualities(self, document: object) -> list[tuple[str, set[str]]]:
        found = []
        for key, value in _quality_fields(document):
            known = self._qualities.setdefault(key, set())
            text = template_text(value)
            if text and text not in known and len(known) < _SHOWN:
                known.add(text)
                if len(known) == 2:
                    found.append((key, known))
        return found


class SharedTopics:
    """Watches topics. For one thread at a time."""

    def __init__(self, observations: Observations, on_identity: OnIdentity = "warn") -> None:
        self.on_identity: OnIdentity = on_identity
        self._observations = observations
        self.topics: dict[tuple[str, str], SharedTopic] = {}
        """(source, topic) → the shared topic, for a bounded number of topics.

        The caller adds the shared topics of earlier runs, so that no held value passes after a restart.
        """
        self._quality_looks: dict[tuple[str, str], int] = {}
        """(source, topic) → number of messages that were searched for a quality."""
        self.grew = False
        """Whether a shared topic was found since the caller last reset this flag."""

    def look(self, plan: Plan, document: object, samples: Iterable[Sample]) -> int:
        """Watch a message of the plan's topic and its samples; returns the additional bytes in memory."""
        watch = plan.watch
        grown = 0
        if watch is None:
            tells_apart = not is_watchable(plan)
            if tells_apart and (plan.rule.quality is not None or next(_quality_fields(document), None) is None):
                plan.watched = False
                return 0
            watch = plan.watch = Watch(only_qualities=tells_apart)
            grown = _WATCH_BYTES
        fields, qualities = watch.look(document, samples)
        if fields and watch.found is None:
            watch.found = self._shared(plan, watch, fields)
        if qualities and plan.rule.quality is None:
            self._unused(plan, qualities)
        return grown

    def _shared(self, plan: Plan, watch: Watch, fields: dict[str, _Field]) -> SharedTopic:
        named = {place: one for place, one in fields.items() if one.named} or fields
        why = next(iter(named.values())).verdict(watch.messages)
        examples = tuple(next(iter(named.values())).texts)[:_SHOWN]
        listed = " and ".join(map(repr, named))
        found = SharedTopic(
            plan.source, plan.topic, tuple(named), examples, f"field {listed} tells them apart, since {why}"
        )
        effect = {"warn": "until then, their values are one signal", "hold": "their values wait as dead letters"}
        text = f"{found}; {effect.get(self.on_identity, 'their values are dead letters')}"
        if self._observations.add(Observation("shared_topic", plan.source, plan.topic, text, found.remedy)):
            self.topics[plan.source, plan.topic] = found
            self.grew = True
        return found

    def local_time(self, plan: Plan, hours: float) -> None:
        """Report that times of the plan's topic are `hours` ahead of their arrival, like local times without a zone."""
        self._observations.add(
            Observation(
                "local_time",
                plan.source,
                plan.topic,
                f"times of {plan.topic!r} are {hours:g} h ahead of their arrival, like local times without a zone",
                f"set the zone in a rule: {{topic: {dumps(plan.topic)}, time: {{field: ..., zone: Europe/Oslo}}}}; for "
                "an epoch number that is counted in local time, also unit: s",
            )
        )

    def held(self, plan: Plan) -> SharedTopic | None:
        """Returns the shared topic of the plan if its values have to wait for a rule; else None."""
        if self.on_identity == "warn":
            return None
        if plan.watch is not None and plan.watch.found is not None:
            return plan.watch.found
        found = self.topics.get((plan.source, plan.topic)) if self.topics else None
        return found if found is not None and is_watchable(plan) else None

    def unused_time(self, plan: Plan, place: str) -> None:
        """Report that values of the plan's topic have the time of arrival, although there is a time at `place`."""
        at = shown(place)
        self._observations.add(
            Observation(
                "time_not_read",
                plan.source,
                plan.topic,
                f"values of {plan.topic!r} have the time of arrival: the time at {at!r} is not in an object around "
                "these values, or its name may mean another time",
                f"if this is the time of the values, write a rule {{topic: {dumps(plan.topic)}, time: PATH}} with its "
                "path (event[0].time: in a list, by its place); if not, set time: arrival in the rule",
            )
        )

    def look_for_quality(self, plan: Plan, path: Path, document: object) -> None:
        """Report a quality that is not at `path`, where the rule looks for it, but deeper in the document."""
        at = (plan.source, plan.topic)
        if self._quality_looks.get(at, 0) >= _WATCHED or (
            at not in self._quality_looks and len(self._quality_looks) >= _MOST_TOPICS
        ):
            return
        self._quality_looks[at] = self._quality_looks.get(at, 0) + 1
        place = _place_below(document, path.text) if path.plain else None
        if place is None:
            return
        self._observations.add(
            Observation(
                "quality_not_found",
                plan.source,
                plan.topic,
                f"the rule of topic {plan.topic!r} says that the quality is at {path.text!r}, but messages have it at "
                f"{shown(place)!r}: bad values are stored, too",
                f"write the place as the path of the quality, or iterate: {_items_above(place)} in this rule, if each "
                "value has a quality of its own",
            )
        )

    def _unused(self, plan: Plan, qualities: list[tuple[str, set[str]]]) -> None:
        for key, texts in qualities:
            self._observations.add(
                Observation(
                    "quality_not_read",
                    plan.source,
                    f"{plan.topic}: {key}",
                    f"field {key!r} of topic {plan.topic!r} seems to be the quality of the values "
                    f"({', '.join(sorted(texts))}), and no rule reads this field: bad values are stored, too",
                    f"write a rule {{topic: {dumps(plan.topic)}, {_quality_rule(key)}}}; with bad: keep if the field "
                    "is no quality",
                )
            )


def _quality_rule(place: str) -> str:
    """Returns the part of a rule that reads the quality at `place`; after a dot, the quality is in items."""
    items, dot, inside = place.partition(".")
    if items == _MEMBER:
        return f'iterate: "@", quality: {{path: {inside}, good: [...], bad: drop}}'
    quality = f"quality: {{path: {inside if dot else place}, good: [...], bad: drop}}"
    return f"iterate: {dumps(items)}, item_name: ..., {quality}" if dot else quality


def _place_below(document: object, path: str) -> str | None:
    """Returns the place that ends with `path`, in the objects in a document; None if there is none."""
    left = [("", document)]
    for place, value in left:  # the list grows in this loop
        inner = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
        for key, one in inner:
            at = f"{place}.{key}" if place else str(key)
            if place and at.endswith(f".{path}"):
                return at
            if len(left) < _MOST_PLACES:
                left.append((at, one))
    return None


def _items_above(place: str) -> str:
    """Returns the path of the list or object whose items have the quality at `place`."""
    above = place.split(".")[:-2]
    return dumps(".".join(above) or "@")


def may_name(document: object) -> bool:
    """Whether a field of a message could tell several things apart, or could be a quality."""
    return next(_texts(document), None) is not None or next(_quality_fields(document), None) is not None


def is_watchable(plan: Plan) -> bool:
    """Whether messages of the plan's topic may be about several things that the rule does not tell apart."""
    rule = plan.rule
    return not rule.shared_inputs and not any(name.startswith((PAYLOAD, ITEM_FIELD)) for name in rule.identity)


def _texts(document: object) -> Iterator[tuple[str, str, bool, bool]]:
    """Yields the fields of an object and its inner objects that may name a thing.

    (place, text, whether the field's name is one of a thing, whether the text may differ in each message)
    """
    if type(document) is not dict:
        return
    for key, value in document.items():
        if type(value) is dict:
            for inner, text in value.items():
                if (found := _text(inner, text)) is not None:
                    yield (f"{key}.{inner}", *found)
        elif (found := _text(key, value)) is not None:
            yield (key, *found)


def _text(key: str, value: object) -> tuple[str, bool, bool] | None:
    kind = type(value)
    if (kind is not str and kind is not int) or may_be_other_time(key):
        return None
    means = meaning(key)
    if means.describes or (kind is int and not means.names_by_number):
        return None
    text = template_text(value).strip()
    if not text or len(text) > _LONGEST_TEXT or looks_like_time(text):
        return None
    if kind is str and NUMBER_TEXT.fullmatch(text) and not (means.names and means.names_by_digits):
        return None
    return text, means.names, means.identifier and "".join(filter(str.isalpha, key)).lower() in ("id", "uuid", "guid")


def _quality_fields(document: object) -> Iterator[tuple[str, object]]:
    """Yields (key, value) of the fields that seem to be qualities, in an object and in its inner objects."""
    if type(document) is list:
        yield from _qualities_of("@", document)
    if type(document) is not dict:
        return
    for key, value in document.items():
        if _is_quality(key, value):
            yield key, value
        elif type(value) is list:
            yield from _qualities_of(key, value)
        elif type(value) is dict:
            yield from ((f"{_MEMBER}.{inner}", one) for inner, one in value.items() if _is_quality(inner, one))


def _qualities_of(key: str, items: list[object]) -> Iterator[tuple[str, object]]:
    for item in items[:_MOST_FIELDS]:
        if type(item) is dict:
            for inner, value in item.items():
                if _is_quality(inner, value):
                    yield f"{key}.{inner}", value
                elif type(value) is dict:  # OPC UA: {"Value": {"Value": 21.5, "StatusCode": {"Symbol": "Bad"}}}
                    for last, one in value.items():
                        if last.lower() == "statuscode" and type(one) in (dict, int):
                            yield f"{key}.{inner}.{last}", one if type(one) is int else str(next(iter(one.values()), 0))
                            yield f"{key}.{inner}.{last}", "(not there)"


def _is_quality(key: str, value: object) -> bool:
    return type(value) in (str, int, bool) and key.replace("-", "_").lower() in _QUALITIES
