"""Subscriptions: which topics a source asks for, and whether a rule of the mapping can take any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple


class Subscription(NamedTuple):
    """One of the filters that a source subscribes to."""

    text: str
    """As the configuration writes it."""
    matches: Callable[[str], bool]
    """Whether a topic is one of its topics."""
    levels: Sequence[str] | None
    """Its levels, as MQTT writes them with `+` and `#`; None where they cannot be told, as in a regular expression."""


_MANY: Final = ("#", "**")


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a topic exists that is like both: `+` stands for one level, `#` and `**` for any number of levels. A
    wildcard in the first level takes no topic that begins with `$`, as in MQTT."""
    for pattern, beside in ((one, other), (other, one)):
        if pattern and beside and pattern[0] in ("+", *_MANY) and beside[0].startswith("$"):
            return False
    return _overlap(one, other)


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    if not one or not other:
        return all(level in _MANY for level in (*one, *other))
    first, second = one[0], other[0]
    if first in _MANY:
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if second in _MANY:
        return _overlap(one, other[1:]) or _overlap(one[1:], other)
    return (first == second or "+" in (first, second)) and _overlap(one[1:], other[1:])
