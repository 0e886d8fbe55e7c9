"""A tag list: rows with the attributes of signals, by key; and the errors of a list, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from connector import ConnectorError

_MOST_SHOWN: Final = 20
_LONGEST_LINE: Final = 1_000

ATTRIBUTES: Final = (
    "key",
    "name",
    "description",
    "unit",
    "type",
    "scale",
    "offset",
    "states",
    "skip",
    "sample_interval",
    "gap_detection",
)
"""The columns of a list, beside one column `label:NAME` for each label."""
LABEL: Final = "label:"


class TagListError(ConnectorError, ValueError):
    """A tag list cannot be used. `lines` has a text for each mistake, with its place: 20 of 1,000 characters."""

    def __init__(self, lines: Sequence[str]) -> None:
        more = len(lines) - _MOST_SHOWN
        shown = [line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…" for line in lines[:_MOST_SHOWN]]
        self.lines = [*shown, *([f"{more} more mistakes"] if more > 0 else [])]
        super().__init__("; ".join(self.lines))


@dataclass(frozen=True, slots=True)
class Tag:
    """One row of a tag list; an attribute that is empty or None is left to the rule."""

    key: str
    line: int
    """The line in the file, counted from 1."""
    name: str = ""
    description: str = ""
    unit: str = ""
    value_type: str | None = None
    scale: float | None = None
    offset: float | None = None
    states: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Text in the payload → number."""
    skip: bool = False
    sample_interval: str | None = None
    """ISO 8601 duration."""
    gap_detection: str | None = None
    """ISO 8601 duration."""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TagList:
    """A list that was read."""

    tags: Mapping[str, Tag] = field(default_factory=lambda: MappingProxyType({}))
    """Key → its row."""
    form: str = ""
    """The notation that was found, for people: `CSV with ;, cp1252, decimal comma`."""
    warnings: tuple[str, ...] = ()
    """Texts for people about parts of the file that are not read, or that were guessed."""
