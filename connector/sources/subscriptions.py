"""Subscriptions: the topics that a source asks for, and a test whether a rule of the mapping can match any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple


class Subscription(NamedTuple):
    """One topic filter of a source."""

    text: str
    """The filter as in the configuration."""
    matches: Callable[[str], bool]
    """Returns whether the filter matches a topic."""
    levels: Sequence[str] | None
    """The levels of the filter, with MQTT's `+` and `#`; None if they are unknown, as for a regular expression."""
    silence: str = ""
    """A special cause, for people, why no message may come although the subscription is granted; mostly empty."""


_MANY: Final = ("#", "**")


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a topic can match both filters.

    `+` stands for one level, `#` and `**` for any number of levels. As in MQTT, a wildcard in the first level does not
    match a topic that begins with `$`.
    """
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
