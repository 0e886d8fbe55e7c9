"""The items of a list by column: where all items have the same keys, a step for each key is enough.

Every function raises one of `MISFITS` for items that are not certainly what was learned: then the items are looked at
one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.documents.shapes import Keys, Shape
from connector.mapping.rules.paths import Path
from connector.mapping.rules.values import DECIMAL_TEXT
from connector.mapping.time.times import TimeError

if TYPE_CHECKING:
    from connector.mapping.plans import Plan

MISFITS: Final = (LookupError, TypeError, TimeError, OverflowError, ValueError)
TIMES: Final = frozenset((int, str, float))
"""The types of values that may be a time."""
_NAMES: Final = frozenset((str, int))
"""The types of values that name an item. `True` and `1.0` equal 1, but are other texts."""
_SCALARS: Final = frozenset((int, float, bool, str, type(None)))
_DICT: Final = {dict}

Columns = dict[str, Sequence[Any]]
"""Key → its values, one for each item."""


class Layout(NamedTuple):
    """How items with certain keys are read."""

    time: str | None
    """The key with the time; None if the time is not in the item."""
    quality: str | None
    """The key with the quality; None if the item has none."""
    shape: Shape | None
    """The shape of the item, if its values are not only taken as they are; else None."""
    reads: Keys
    """The keys of the values that become samples."""
    others: tuple[tuple[str, bool | None], ...]
    """(key, entry of the shape) of the values that must be no samples."""
    filtered: int
    """Number of values that never become samples."""


class Alike(NamedTuple):
    """All items of a message, which have the same layout."""

    keys: Keys
    texts: tuple[str, ...]
    """The texts that tell messages apart."""
    identities: Sequence[object]
    """What tells the items apart, for each item."""
    name: str
    """The key with the name, if nothing else tells the items apart; else empty."""
    layout: Layout
    plan: Plan
    """The plan of the last item."""
    inputs: tuple[tuple[str, ...], ...]
    """For each of the values that become samples, the input IDs of all items."""


def columns_of(items: Sequence[Any]) -> Columns:
    """Returns the columns of items that all have the same keys in the same order."""
    keys = tuple(items[0])
    # no item has a key twice, so equal keys in one row after the other mean equal keys in each
    if set(map(type, items)) != _DICT or [*chain.from_iterable(items)] != [*keys] * len(items):
        raise LookupError
    cells = [*chain.from_iterable(map(dict.values, items))]
    return {key: cells[at :: len(keys)] for at, key in enumerate(keys)}


def are_equal(cells: Sequence[Any]) -> bool:
    """Whether all cells have the same value and the same type."""
    return cells.count(cells[0]) == len(cells) and len(set(map(type, cells))) == 1


def check_quality(cells: Sequence[Any], is_good: Callable[[object], bool]) -> None:
    """Check a column of qualities; each of them once."""
    found = cells[:1] if are_equal(cells) else [cell for _, cell in set(zip(map(type, cells), cells, strict=True))]
    if not all(map(is_good, found)):
        raise LookupError


def check_others(layout: Layout, columns: Columns) -> None:
    """Check the values that must be no samples."""
    for key, entry in layout.others:
        if entry is not False or not _SCALARS.issuperset(map(type, columns[key])):
            for value in columns[key]:
                check_other(value, entry)


def check_other(value: object, entry: bool | None) -> None:
    """Check a value that must be no sample; `entry` is that of the shape."""
    if value is None or (entry is False and not isinstance(value, dict | list)):
        return
    if isinstance(value, dict | list | int | float) or (
        entry is None and type(value) is str and DECIMAL_TEXT.fullmatch(value)
    ):
        raise LookupError


def check_identities(identities: Sequence[object]) -> None:
    """Check that equal identities are certainly equal texts."""
    if not _NAMES.issuperset(map(type, identities)):
        for identity in identities:
            check_identity(identity)


def check_identity(identity: object) -> None:
    """Check what tells an item apart: one value, or a tuple."""
    if not (_NAMES.issuperset(map(type, identity)) if type(identity) is tuple else type(identity) in _NAMES):
        raise LookupError


def are_scalars(values: Iterable[Any]) -> bool:
    """Whether no value is an object or a list."""
    return _SCALARS.issuperset(map(type, values))


def is_key(path: Path) -> bool:
    """Whether a path is one key."""
    return path.plain and len(path.parts) == 1


def key_of(path: Path | None, obj: Container[str]) -> str | None:
    """Returns the first key of a path, such as `a || b`, that an object has; None if the object has none of them."""
    paths = () if path is None else path.either or (path,)
    return next((path.parts[0] for path in paths if path.parts[0] in obj), None)
