"""Places: how the way to a value in a document is written, so that two values never have one place.

A place is the keys and indexes that lead to a value, with dots between: `data.temperature`. Four things would make two
ways look the same, so each has a sign of its own in a place: a dot inside a key, an empty key, the name of a list's
item (which might be a key or an index), and the boundary between the parts of such a name. `shown` gives the text for
people and templates; there, two places may look the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_DOT: Final = "\x1f"
_EMPTY: Final = "\x1e"
_AND: Final = "\x1d"
_NAMED: Final = "\x1c"
_ESCAPE: Final = "\x1b"
_SIGNS: Final = str.maketrans({_DOT: ".", _EMPTY: '""', _AND: "/", _NAMED: None})
_ESCAPES: Final = str.maketrans({sign: _ESCAPE + hex(ord(sign)) for sign in (_DOT, _EMPTY, _AND, _NAMED, _ESCAPE)})


def segment(key: str) -> str:
    """How a key stands in a place."""
    if not key:
        return _EMPTY
    if not key.isprintable():
        key = key.translate(_ESCAPES)
    return key.replace(".", _DOT) if "." in key else key


def is_odd(key: str) -> bool:
    """Whether a key looks in a shown place like several keys, or like none."""
    return "." in key or not key or key == '""'


def item_segment(parts: Iterable[str]) -> str:
    """How the name of a list's item, made of these parts, stands in a place."""
    return _NAMED + _AND.join(map(segment, parts))


def join(prefix: str, last: str) -> str:
    """The place of a segment below another place."""
    return f"{prefix}.{last}" if prefix else last


def shown(place: str) -> str:
    """A place for people, templates and rules: `pumps.P-7.rpm`."""
    return place if place.isprintable() else place.translate(_SIGNS)


def last_key(place: str) -> str:
    """The last key of a place, as the document has it."""
    return shown(place.rpartition(".")[2])
