"""Topics → patterns with named levels: finds topics of one kind, and the levels that distinguish devices.

Topics of one kind have the same number of levels, the same format and mostly the same fields. A level is variable if
the topics of the kind have different values there. The first level is variable only if the values look alike
(`sensor-001`, `sensor-002`): otherwise two systems on one broker would become one group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from connector.mapping.rules.templates import VALUE_VARIABLES
from connector.try_out.observed import TopicSeen

_ALIKE: Final = 0.5
"""The smallest share of fields that two topics of one kind have in common."""
_DIGITS: Final = re.compile(r"\d+")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-9a-fA-F]{12,}|\d{9,}")
_STEM: Final = re.compile(r"([a-z]+)[-_ ]?\d+", re.IGNORECASE)
_NOT_LITERAL: Final = frozenset("{}+#")
_MANY: Final = 50
_MAX_KINDS: Final = 100
"""The greatest number of kinds, of one length and format, that a topic is compared with."""
_RESERVED: Final = ("header", "item", "payload")
"""Names that may have another meaning in templates."""


@dataclass(frozen=True, slots=True)
class Level:
    """A variable level of a pattern."""

    name: str
    values: tuple[str, ...]

    @property
    def looks_like_an_id(self) -> bool:
        """Whether most values look like IDs that are new with each message: UUIDs, hashes, long numbers."""
        alike = sum(_IDENTIFIER.fullmatch(value) is not None for value in self.values)
        return alike * 2 > len(self.values)

    @property
    def many(self) -> bool:
        """Whether the level has very many values."""
        return len(self.values) >= _MANY


@dataclass(frozen=True, slots=True)
class TopicGroup:
    """Topics of one kind."""

    pattern: str
    levels: tuple[Level, ...]
    topics: tuple[TopicSeen, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """(format, compression) of the payloads."""
        return self.topics[0].kind

    @property
    def messages(self) -> int:
        """The number of messages on all topics of the group."""
        return sum(seen.messages for seen in self.topics)


def group_topics(topics: Iterable[TopicSeen], separator: str) -> list[TopicGroup]:
    """Returns the topics of one source in groups; `separator` stands between the levels of a topic.

    Groups with fewer variable levels come first. Among groups with as many levels, the most messages come first.
    """
    clusters: dict[tuple[object, ...], list[tuple[frozenset[str], list[TopicSeen]]]] = {}
    for seen in sorted(topics, key=lambda found: found.topic):
        levels = seen.topic.split(separator)
        likely = clusters.setdefault((_mask(levels[0]), len(levels), seen.kind), [])
        paths = seen.paths
        for number, (common, members) in enumerate(likely[:_MAX_KINDS]):
            if _similar(common, paths):
                members.append(seen)
                likely[number] = (common | paths, members)
                break
        else:
            likely.append((paths, [seen]))
    groups = [
        _group([seen.topic.split(separator) for seen in members], members, separator)
        for likely in clusters.values()
        for _, members in likely
    ]
    return sorted(_merged(groups), key=_specific_first)


def _merged(groups: Sequence[TopicGroup]) -> list[TopicGroup]:
    """Returns the groups with equal patterns merged: no rule could distinguish such groups by topic."""
    by_pattern: dict[str, TopicGroup] = {}
    for group in sorted(groups, key=lambda found: -found.messages):
        known = by_pattern.get(group.pattern)
        if known is None:
            by_pattern[group.pattern] = group
        else:
            levels = tuple(
                Level(one.name, tuple(dict.fromkeys((*one.values, *other.values))))
                for one, other in zip(known.levels, group.levels, strict=True)
            )
            by_pattern[group.pattern] = TopicGroup(known.pattern, levels, (*known.topics, *group.topics))
    return list(by_pattern.values())


def _specific_first(group: TopicGroup) -> tuple[object, ...]:
    """Returns the sort key: fewer variable levels come first, since the first rule that takes a topic counts."""
    return (len(group.levels), -group.messages, group.pattern)


def _mask(level: str) -> str:
    """Returns a text that is equal for all levels that look alike."""
    return "(id)" if _IDENTIFIER.fullmatch(level) else _DIGITS.sub("0", level)


def _similar(one: frozenset[str], other: frozenset[str]) -> bool:
    if not one or not other:
        return not one and not other
    return len(one & other) / min(len(one), len(other)) >= _ALIKE


def _group(split: Sequence[Sequence[str]], members: Sequence[TopicSeen], separator: str) -> TopicGroup:
    parts: list[str] = []
    levels: list[Level] = []
    taken = {*VALUE_VARIABLES, *_RESERVED}
    for position, values in enumerate(zip(*split, strict=True)):
        distinct = tuple(dict.fromkeys(values))
        if len(distinct) == 1 and not set(distinct[0]) & _NOT_LITERAL:
            parts.append(distinct[0])
            continue
        name = _name(distinct, split[0][position - 1] if position else "", position + 1, taken)
        taken.add(name)
        levels.append(Level(name, distinct))
        parts.append("{" + name + "}")
    return TopicGroup(separator.join(parts), tuple(levels), tuple(members))


def _name(values: tuple[str, ...], before: str, number: int, taken: set[str]) -> str:
    """Returns `line` for line1, line2; `device` below `devices`; else `level3`, for a person to rename."""
    stems = {found[1].lower() for value in values if (found := _STEM.fullmatch(value))}
    name = f"level{number}"
    if len(stems) == 1 and len(values) > 1:
        name = re.sub(r"[^a-z0-9_]", "", min(stems)) or name
    elif re.fullmatch(r"[A-Za-z]{3,}[^sS]s", before):
        name = before[:-1].lower()
    return name if name not in taken else f"{name}_{number}"
