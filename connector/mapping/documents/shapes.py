"""Shapes: what is known of objects whose keys were seen before, so that their values need not be looked up by name.

A `Shape` is for any object; `take_known` (see `walk`) goes through its values. A `Flat` is for the ones in which
nothing is to be done with a value but to take it, or to scale it: from these a row is read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from struct import Struct
from sys import float_info
from typing import Any, Final, NamedTuple

from connector.mapping.rules.values import Conversion
from connector.records import Rows

TIME: Final = ""
_MAX: Final = float_info.max

Keys = tuple[str, ...]
"""Of an object, in its order; or those that lead to an object, one in the other."""


class Shape(NamedTuple):
    """What is known of the objects with certain keys at one place of a payload."""

    keys: Keys
    entries: tuple[str | Shape | bool | None, ...]
    """In the order of the keys: an input ID; `TIME` for the one with the time; the shape of the object in its place;
    False for what the rule leaves out; None for what never had a number; True for text that is an identifier, whatever
    it looks like."""
    time_key: str | None
    conversions: tuple[Conversion | None, ...] | None
    """What is done with each value; None if nothing is done with any."""
    all_keys: int
    """Keys in it and in the objects in it."""
    leaves: int
    """Values in it and in the objects in it, its time included."""
    guarded: Keys = ()
    """Its keys whose number may be a time of something else, by their name: a great one goes the long way."""

    def with_inner(self, path: Keys = ()) -> Iterator[tuple[Keys, Shape]]:
        """Itself and the objects in it, with the keys that lead there."""
        yield path, self
        for key, entry in zip(self.keys, self.entries, strict=True):
            if isinstance(entry, Shape):
                yield from entry.with_inner((*path, key))


class Flat:
    """What is known of objects of which a row is read at once."""

    __slots__ = (
        "all_keys",
        "filtered",
        "guards",
        "identifiers",
        "inner",
        "inputs",
        "keys",
        "left_out",
        "objects",
        "pack",
        "plain",
        "rows",
        "texts",
        "time",
        "values",
        "watched",
        "width",
    )

    def __init__(self, shape: Shape, time: Keys | None) -> None:
        """`time` leads to the time, if it is read from the object."""
        self.keys = shape.keys
        self.all_keys = shape.all_keys
        levels = list(shape.with_inner())
        self.inner = [(_at(path), inner.keys) for path, inner in levels[1:]]
        """How to find each object in it, and its keys."""
        self.objects = len(levels)
        taken = [(path, *_taken(inner)) for path, inner in levels]
        self.inputs = tuple(input_id for _, _, inputs, _ in taken for input_id in inputs)
        conversions = [conversion for *_, some in taken for conversion in some]
        values = _together([_values(path, keys) for path, keys, _, _ in taken if keys])
        self.values = values if not any(conversions) else _converted(values, conversions)
        """The values of an object, in the order of the inputs; raises LookupError or TypeError where it has not all of
        them, or one is out of its range."""
        self.width = len(self.inputs)
        self.pack = Struct(f"{self.width}d").pack
        """The values as bytes; `struct.error` for what is no number."""
        self.time = None if time is None else _at(time)
        entries = [
            (path, key, entry) for path, inner in levels for key, entry in zip(inner.keys, inner.entries, strict=True)
        ]
        self.texts = [_at((*path, key)) for path, key, entry in entries if entry is None]
        """What never was a number, and would be taken if it were."""
        self.identifiers = [_at((*path, key)) for path, key, entry in entries if entry is True]
        """Text that is no number, whatever it looks like."""
        self.left_out = sum(1 for *_, entry in entries if entry is False)
        """How many values the rule leaves out, whatever they are."""
        self.filtered = self.left_out + len(self.texts) + len(self.identifiers)
        self.guards = [_at((*path, key)) for path, inner in levels for key in inner.guarded]
        """Numbers that may be times of something else."""
        self.plain = not self.filtered and not self.inner and not self.guards
        """Whether nothing is in it but what is taken: an object that has its values, and no more keys, is like it."""
        self.watched = False
        """Whether its text may tell several things apart."""
        self.rows: Rows | None = None
        """Where the next one goes; for the time of one chunk."""

    @classmethod
    def of_lists(
        cls,
        inputs: tuple[str, ...],
        values: Callable[[Any], list[Any]],
        time: Callable[[Any], Any] | None,
        all_keys: int,
        filtered: int,
    ) -> Flat:
        """Of messages with lists: `values` gives their values in the order of `inputs`, and raises LookupError for a
        message of another shape; `time` finds the time."""
        flat = cls.__new__(cls)
        flat.keys, flat.all_keys, flat.inner, flat.objects = (), all_keys, [], 0
        flat.inputs, flat.values, flat.width = inputs, values, len(inputs)
        flat.pack = Struct(f"{flat.width}d").pack
        flat.time = time
        flat.texts, flat.identifiers, flat.guards = [], [], []
        flat.left_out = flat.filtered = filtered
        flat.plain, flat.watched, flat.rows = True, False, None
        return flat


def flat_of(shape: Shape, time: Keys | None, *, by_name: bool) -> Flat | None:
    """What is known for reading rows of such objects; None if they are not for that. `time` leads to the time that the
    rule names; `by_name` if a key may be a time by its name."""
    levels = list(shape.with_inner())
    with_values = [level for level in levels if _taken(level[1])[0]]
    if not with_values or not all(_is_linear(conversion) for _, one in levels for conversion in one.conversions or ()):
        return None
    if by_name:
        times = [path for path, one in levels if one.time_key is not None]
        if len(times) > 1 or not all(path[: len(at)] == at for at in times for path, _ in with_values):
            return None  # some of its values have another time than others
        time = next(((*path, one.time_key) for path, one in levels if one.time_key is not None), None)
    elif time is not None and not any(path == time[:-1] and time[-1] in one.keys for path, one in levels):
        return None
    return Flat(shape, time)


def _taken(shape: Shape) -> tuple[list[str], list[str], list[Conversion | None]]:
    """Keys, inputs and conversions of the values that are taken from the object itself."""
    conversions = shape.conversions or (None,) * len(shape.keys)
    found = [
        (key, entry, conversion)
        for key, entry, conversion in zip(shape.keys, shape.entries, conversions, strict=True)
        if isinstance(entry, str) and entry != TIME
    ]
    return [key for key, _, _ in found], [entry for _, entry, _ in found], [conversion for *_, conversion in found]


def _is_linear(conversion: Conversion | None) -> bool:
    return conversion is None or conversion.states is None


def _at(path: Keys) -> Callable[[Any], Any]:
    """Finds what stands there in a document."""
    if len(path) == 1:
        return itemgetter(path[0])

    def find(document: Any) -> Any:
        for key in path:
            document = document[key]
        return document

    return find


def _values(path: Keys, keys: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """The values of these keys of the object at this path of a document."""
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
    """Scaled and moved; what is out of range then is a LookupError."""
    ranges = []
    for conversion in conversions:
        if conversion is None:
            ranges.append((1.0, 0.0, -_MAX, _MAX))
        else:
            low = -_MAX if conversion.minimum is None else max(-_MAX, conversion.minimum)
            high = _MAX if conversion.maximum is None else min(_MAX, conversion.maximum)
            ranges.append((conversion.scale, conversion.offset, low, high))

    def convert(document: Any) -> list[float]:
        found = []
        for value, (scale, offset, low, high) in zip(values(document), ranges, strict=True):
            number = value * scale + offset
            if not low <= number <= high:
                raise LookupError
            found.append(number)
        return found

    return convert
