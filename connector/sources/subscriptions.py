"""Subscriptions: which topics a source asks for, and whether a rule of the mapping can take any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Subscription(NamedTuple):
    """One of the filters that a source subscribes to."""

    text: str
    """As the configuration writes it."""
    matches: Callable[[str], bool]
    """Whether a topic is one of its topics."""
    levels: Sequence[str] | None
    """Its levels, as MQTT writes them with `+` and `#`; None where they cannot be told, as in a regular expression."""


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a topic exists that is like both: `+` stands for one level, `#` and `**` for any number of levels."""
    if not one or not other:
        return all(level in ("#", "**") for level in (*one, *other))
    first, second = one[0], other[0]
    if first in ("#", "**"):
        return overlap(one[1:], other) or overlap(one, other[1:])
    if second in ("#", "**"):
        return overlap(one, other[1:]) or overlap(one[1:], other)
    return (first == second or "+" in (first, second)) and overlap(one[1:], other[1:])
