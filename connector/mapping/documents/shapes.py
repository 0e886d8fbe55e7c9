"""Shapes: the facts about objects with known keys, by which their values are found without look-ups of names.

A `Shape` is for any object; `KnownShapes.take_known` goes through the values of such an object. A `Flat` is for objects
whose values are only taken or scaled: such an object is read as a row at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from struct import Struct
from sys import float_info
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.rules.values import DECIMAL_TEXT, Conversion
from connector.mapping.time.times import LEAST_EPOCH
from connector.records import Rows

if TYPE_CHECKING:
    from connector.mapping.plans import Plan

TIME: Final = ""
_MAX: Final = float_info.max
_NUMBERS: Final = (int, float)
_TEXT_OR_NULL: Final = (str, type(None))

Keys = tuple[str, ...]
"""The keys of an object, in their order; or the keys that lead to an object, from the outside in."""


class Shape(NamedTuple):
    """The facts about the objects with certain keys at one place of a payload."""

    keys: Keys
    entries: tuple[str | Shape | bool | None, ...]
    """For each key: an input ID; `TIME` for the time; the shape of an inner object; False for a value that the rule
    leaves out; None for a value that was never a number; True for a text that is an identifier, even if it looks like
    a number."""
    time_key: str | None
    conversions: tuple[Conversion | None, ...] | None
    """The conversion of each value; None if no value has one."""
    all_keys: int
    """Number of keys in the object and its inner objects."""
    leaves: int
    """Number of values in the object and its inner objects, including the time."""
    guarded: Keys = ()
    """Keys whose number may be another time, by their name: with a large number, the object must be walked."""

    def with_inner(self, path: Keys = ()) -> Iterator[tuple[Keys, Shape]]:
        """Yields (keys that lead to it, shape) for this shape and the shapes of all inner objects."""
        yield path, self
        for key, entry in zip(self.keys, self.entries, strict=True):
            if isinstance(entry, Shape):
                yield from entry.with_inner((*path, key))


class Flat:
    """The facts about objects that are read as a row at once."""

    __slots__ = (
        "all_keys",
        "filtered",
        "inputs",
        "keys",
        "misses",
        "pack",
        "pause",
        "plan",
        "rest",
        "rows",
        "time",
        "values",
        "watched",
        "width",
    )

    def __init__(self, shape: Shape, time: Keys | None) -> None:
        """`time` has the keys that lead to the time; None if the time is not read from the object."""
        self.keys = shape.keys
        self.all_keys = shape.all_keys
        levels = list(shape.with_inner())
        taken = [(path, *_taken(inner)) for path, inner in levels]
        self.inputs = tuple(input_id for _, _, inputs, _ in taken for input_id in inputs)
        conversions = [conversion for *_, some in taken for conversion in some]
        values = _together([_values(path, keys) for path, keys, _, _ in taken if keys])
        self.values = values if not any(conversions) else _converted(values, conversions)
        """Returns the values of an object, in the order of `inputs`. Raises LookupError or TypeError if a value is
        missing, or is out of its range."""
        self.width = len(self.inputs)
        self.pack = Struct(f"{self.width}d").pack
        """Returns the values as bytes. Raises `struct.error` if a value is no number."""
        self.time = None if time is None else _at(time)
        entries = [entry for _, inner in levels for entry in inner.entries]
        self.filtered = sum(entry is None or entry is True or entry is False for entry in entries)
        is_plain = not self.filtered and len(levels) == 1 and not shape.guarded
        self.rest = None if is_plain else _rest(levels)
        """Whether the members of an object that give no samples also have the known shape: (object, its payload) →
        bool. None if all members become samples: an object with these values and no further keys has this shape."""
        self.watched = False
        """Whether texts of such objects may tell several things apart."""
        self.plan: Plan | None = None
        """The plan that watches such objects; None until they are learned."""
        self.misses = self.pause = 0
        """Number of times that `rows_at_once` leaves such objects to the other way: after the last miss, and now."""
        self.rows: Rows | None = None
        """The rows to which the next object is added, during one chunk; None between chunks."""

    @classmethod
    def of_lists(
        cls,
        inputs: tuple[str, ...],
        values: Callable[[Any], list[Any]],
        time: Callable[[Any], Any] | None,
        all_keys: int,
        filtered: int,
    ) -> Flat:
        """Returns the facts about messages with lists.

        `values` returns the values of a message in the order of `inputs`, and raises LookupError for a message with
        another shape. `time` returns the time of a message; None if the time is not read from it.
        """
        flat = cls.__new__(cls)
        flat.keys, flat.all_keys = (), all_keys
        flat.inputs, flat.values, flat.width = inputs, values, len(inputs)
        flat.pack = Struct(f"{flat.width}d").pack
        flat.time = time
        flat.filtered = filtered
        flat.rest, flat.watched, flat.plan, flat.rows = None, False, None, None
        flat.misses = flat.pause = 0
        return flat


def flat_of(shape: Shape, time: Keys | None, *, by_name: bool) -> Flat | None:
    """Returns the facts for reading such objects as rows; None if they cannot be read as rows.

    `time` has the keys that lead to the time that the rule names. `by_name` says that a key may be a time by its name.
    """
    levels = list(shape.with_inner())
    with_values = [level for level in levels if _taken(level[1])[0]]
    if not with_values or not all(c is None or c.is_linear for _, one in levels for c in one.conversions or ()):
        return None
    if by_name:
        times = [path for path, one in levels if one.time_key is not None]
        if len(times) > 1 or not all(path[: len(at)] == at for at in times for path, _ in with_values):
            return None  # the values have different times
        time = next(((*path, one.time_key) for path, one in levels if one.time_key is not None), None)
    elif time is not None and not any(path == time[:-1] and time[-1] in one.keys for path, one in levels):
        return None
    return Flat(shape, time)


def _taken(shape: Shape) -> tuple[list[str], list[str], list[Conversion | None]]:
    """(keys, inputs, conversions) of the object's values that become samples, without inner objects."""
    conversions = shape.conversions or (None,) * len(shape.keys)
    found = [
        (key, entry, conversion)
        for key, entry, conversion in zip(shape.keys, shape.entries, conversions, strict=True)
        if isinstance(entry, str) and entry != TIME
    ]
    return [key for key, _, _ in found], [entry for _, entry, _ in found], [conversion for *_, conversion in found]


def _rest(  # noqa: C901 - the hot path: a call for each kind of value would cost as much as the look at the value
    levels: list[tuple[Keys, Shape]],
) -> Callable[[dict[str, Any], bytes], bool]:
    """Returns the function `Flat.rest` for objects with these shapes, each with the keys that lead to it."""

    def found(which: object) -> Callable[[Any], tuple[Any, ...]] | None:
        named = [
            (path, [key for key, entry in zip(one.keys, one.entries, strict=True) if entry is which])
            for path, one in levels
        ]
        parts = [_values(path, keys) for path, keys in named if keys]
        return _together(parts) if parts else None

    keys, objects = levels[0][1].keys, len(levels)
    inner = [(_at(path), one.keys) for path, one in levels[1:]]
    left_out = any(entry is False for _, one in levels for entry in one.entries)  # values of any type
    texts = found(None)  # values that were never numbers: as a number, such a value would be a sample
    identifiers = found(True)  # texts that are identifiers, even if they look like numbers
    guards = [_at((*path, key)) for path, one in levels for key in one.guarded]  # numbers that may be other times

    def rest(document: dict[str, Any], payload: bytes) -> bool:  # noqa: PLR0911 - as above
        if tuple(document) != keys:
            return False
        for find, keys_of_inner in inner:
            one = find(document)
            if type(one) is not dict or tuple(one) != keys_of_inner:
                return False
        if left_out and (payload.count(b"{") != objects or payload.rfind(b"[") >= 0):
            return False  # a value that is left out may be an object or a list
        if texts is not None:
            for text in texts(document):
                # a text that begins with a letter is no number
                if text is not None and (type(text) is not str or (text < ":" and DECIMAL_TEXT.fullmatch(text))):
                    return False
        if identifiers is not None:
            for text in identifiers(document):
                if text is not None and type(text) is not str:
                    return False
        for find in guards:
            number = find(document)
            if type(number) in _NUMBERS and not number < LEAST_EPOCH:
                return False
        return True

    return rest


def _at(path: Keys) -> Callable[[Any], Any]:
    """Returns a function that finds the value at `path` in a document."""
    if len(path) == 1:
        return itemgetter(path[0])

    def find(document: Any) -> Any:
        for key in path:
            document = document[key]
        return document

    return find


def _values(path: Keys, keys: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Returns a function that returns the values of `keys` in the object at `path` of a document."""
    if len(keys) == 1:
        find_one = _at((*path, keys[0]))
        return lambda document: (find_one(document),)
    take = itemgetter(*keys)
    if not path:
        return take
    find = _at(path)
    return lambda document: take(find(document))


def _together(parts: list[Callable[[Any], tuple[Any, ...]]]) -> Callable[[Any], tuple[Any, ...]]:
    if len(parts) == 1:
        return parts[0]
    return lambda document: tuple(value for part in parts for value in part(document))


def _converted(
    values: Callable[[Any], Iterable[Any]], conversions: list[Conversion | None]
) -> Callable[[Any], Iterable[Any]]:
    """Returns a function that scales the values; it raises LookupError for a value out of its range."""
    ranges: list[tuple[Callable[[float], float] | None, float, float]] = []
    for conversion in conversions:
        if conversion is None:
            ranges.append((None, -_MAX, _MAX))
        else:
            low = -_MAX if conversion.minimum is None else max(-_MAX, conversion.minimum)
            high = _MAX if conversion.maximum is None else min(_MAX, conversion.maximum)
            ranges.append((conversion.scaled, low, high))

    def convert(document: Any) -> list[float]:
        found = []
        for value, (scaled, low, high) in zip(values(document), ranges):  # noqa: B905 - as many, and strict costs a fifth
            number = value if scaled is None else scaled(value)
            if not low <= number <= high:
                raise LookupError
            found.append(number)
        return found

    return convert
