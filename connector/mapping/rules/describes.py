"""Rules whose messages describe signals: the names, units, labels and states, and the signals that have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.mapping.rules.paths import Path
from connector.mapping.rules.templates import Labels, Template


@dataclass(frozen=True, slots=True)
class Describes:
    """What the messages of a rule say about signals: such messages have no values."""

    signal: Template
    """The text by which the signal is known: its rule's `described_as`, or else its default input ID."""
    texts: Mapping[str, Template]
    """Attribute (`name`, `description` or `unit`) → its template."""
    labels: Labels
    states: Path | None
    """The path of the names of states: an object (number → name), or a list of names from 0."""
    headers: frozenset[str]
    """The variables `header.NAME` of the templates."""
    places: Mapping[str, tuple[int, Path]]
    """Variable of a template (`item.PATH`, `outer.PATH`, `outer.outer.PATH` …) → (how many items to go outwards from
    the item, the path from there); -1 is the payload."""
