"""Places: the notation for the way to a value in a document; two values never have the same place.

A place has the keys and indexes that lead to a value, with dots between them: `data.temperature`. Four things would
make two places look the same, so each has its own sign: a dot inside a key; an empty key; the name of a list's item,
which might also be a key or an index; and the boundary between the parts of such a name. `shown` returns the text for
people and templates; in this text, two places may look the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

_DOT: Final = "\x1f"
_EMPTY: Final = "\x1e"
_AND: Final = "\x1d"
_NAMED: Final = "\x1c"
_ESCAPE: Final = "\x1b"
_MOST_LEVELS: Final = 12
_SIGNS: Final = str.maketrans({_DOT: ".", _EMPTY: '""', _AND: "/", _NAMED: None})
_ESCAPES: Final = str.maketrans({sign: _ESCAPE + hex(ord(sign)) for sign in (_DOT, _EMPTY, _AND, _NAMED, _ESCAPE)})


def segment(key: str) -> str:
    """Returns the form of a key in places."""
    if not key:
        return _EMPTY
    if not key.isprintable():
        key = key.translate(_ESCAPES)
    return key.replace(".", _DOT) if "." in key else key


def is_odd(key: str) -> bool:
    """Whether a key looks like several keys, or like no key, in a shown place."""
    return "." in key or not key or key == '""'


def item_segment(parts: Iterable[str]) -> str:
    """Returns the form of an item's name in places; `parts` are the parts of the name."""
    return _NAMED + _AND.join(map(segment, parts))


def join(prefix: str, last: str) -> str:
    """Returns the place of the segment `last` below the place `prefix`."""
    return f"{prefix}.{last}" if prefix else last


def shown(place: str) -> str:
    """Returns the text of a place for people, templates and rules: `pumps.P-7.rpm`."""
    return place if place.isprintable() else place.translate(_SIGNS)


def places_of_lists(place: str) -> Iterator[tuple[str, str]]:
    """Yields (other place, place of the list): where the value is if a list on its way is one item, or the reverse.

    `t.v` and `t.0.v` are such places, of the list `t`. A place with more than 12 levels has none.
    """
    levels = place.split(".") if place else []
    if len(levels) > _MOST_LEVELS:
        return
    for at, level in enumerate(levels):
        if level.isdecimal():
            yield ".".join((*levels[:at], *levels[at + 1 :])), ".".join(levels[:at])
    for at in range(len(levels) + 1):
        yield ".".join((*levels[:at], "0", *levels[at:])), ".".join(levels[:at])


def last_key(place: str) -> str:
    """Returns the last key of a place, as in the document."""
    return shown(place.rpartition(".")[2])
