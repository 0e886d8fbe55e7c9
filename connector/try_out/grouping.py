"""Topics → patterns with named levels: which topics are of one kind, and which of their levels tell devices apart.

Topics of one kind have the same number of levels, the same format and mostly the same fields. A level whose values
differ among them is variable; the first level is only if its values look alike (`sensor-001`, `sensor-002`), since
otherwise two systems on one broker would become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from connector.mapping.rules.templates import VALUE_VARIABLES
from connector.try_out.observed import TopicSeen

_ALIKE: Final = 0.5
"""Share of the fields that two topics of one kind have in common."""
_DIGITS: Final = re.compile(r"\d+")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-9a-fA-F]{12,}|\d{9,}")
_STEM: Final = re.compile(r"([a-z]+)[-_ ]?\d+", re.IGNORECASE)
_NOT_LITERAL: Final = frozenset("{}+#")
_MANY: Final = 50
_MAX_KINDS: Final = 100
"""Kinds of one length and format that a topic is compared with."""
_RESERVED: Final = ("header", "item", "payload")
"""What may have a meaning of its own in templates."""


@dataclass(frozen=True, slots=True)
class Level:
    """A variable level of a pattern."""

    name: str
    values: tuple[str, ...]

    @property
    def looks_like_an_id(self) -> bool:
        """Whether its values look as if each message had one of its own: UUIDs, hashes, long numbers."""
        alike = sum(_IDENTIFIER.fullmatch(value) is not None for value in self.values)
        return alike * 2 > len(self.values)

    @property
    def many(self) -> bool:
        """Whether there are very many of them."""
        return len(self.values) >= _MANY


@dataclass(frozen=True, slots=True)
class TopicGroup:
    """Topics of one kind."""

    pattern: str
    levels: tuple[Level, ...]
    topics: tuple[TopicSeen, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """(format, compression) of its payloads."""
        return self.topics[0].kind

    @property
    def messages(self) -> int:
        """How many came."""
        return sum(seen.messages for seen in self.topics)


def group_topics(topics: Iterable[TopicSeen], separator: str) -> list[TopicGroup]:
    """Topics of one source, whose levels stand between `separator`s, in groups; the one with most messages first."""
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
    """Groups whose patterns are the same are one: a rule cannot tell them apart by their topics."""
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
    """The first rule that takes a topic counts, so what has fewer variable levels stands before what has more."""
    return (len(group.levels), -group.messages, group.pattern)


def _mask(level: str) -> str:
    """What levels that look alike have in common."""
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
    """`line` for line1, line2; `device` below `devices`; else `level3`, for a person to name."""
    stems = {found[1].lower() for value in values if (found := _STEM.fullmatch(value))}
    name = f"level{number}"
    if len(stems) == 1 and len(values) > 1:
        name = re.sub(r"[^a-z0-9_]", "", min(stems)) or name
    elif re.fullmatch(r"[A-Za-z]{3,}[^sS]s", before):
        name = before[:-1].lower()
    return name if name not in taken else f"{name}_{number}"
