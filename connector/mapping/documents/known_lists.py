"""The short way through lists whose items have names: a message with the same items as one before becomes a row.

The walk of one message tells which field of which item is which input. A message is like it if its lists have the same
items in the same order, called by the same texts, with the same text beside the numbers, and if no key is more or less
than before. Whatever is not as plain as that goes the long way, and the walk says what is to be said about it. Items
with times of their own become a row only where all of these times are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Final, NamedTuple

from connector.mapping.documents.field_names import meaning
from connector.mapping.documents.item_names import ItemName, name_elements
from connector.mapping.documents.places import item_segment, join, segment
from connector.mapping.documents.shapes import Flat
from connector.mapping.plans import ListsOfNames, Plan
from connector.mapping.rules.rules import ARRIVAL_TIME, AUTO_TIME
from connector.mapping.rules.values import DECIMAL_TEXT
from connector.mapping.time.times import is_possible_time_name, is_time_name, may_be_other_time

FindTime = Callable[[dict[str, object]], str | None]
"""Gives the key of an object that is a time."""


_NAMES: Final = frozenset((str, int, type(None)))
"""Types of what names an item, or might."""


class _Items(NamedTuple):
    """One list."""

    key: str | None
    """Of the list; None: the payload is the list."""
    names: dict[str, list[object]]
    """Key of the items → the texts there that name them, or might: they must be the same again."""
    numbered: frozenset[str]
    """Those of them that are not all text: 0 equals 0.0 and False, and is none of them."""
    texts: list[str]
    """Keys of the items with other text, or null."""
    values: list[str]
    """Keys of the items with numbers that are taken."""
    left_out: list[str]
    """Keys of the items with numbers that are not taken."""
    inputs: list[str]
    """Key by key, item by item."""
    time: str | None
    """Key of the items with their time."""
    size: int

    def add(self, document: Any, found: list[Any], times: list[Any]) -> None:
        """Add the values and the times of the items. Raises LookupError for items that are not like those learned."""
        items = document if self.key is None else document[self.key]
        if type(items) is not list or len(items) != self.size:
            raise LookupError
        for key, wanted in self.names.items():
            cells = list(map(itemgetter(key), items))
            if cells != wanted or (key in self.numbered and not _NAMES.issuperset(map(type, cells))):
                raise LookupError
        for key in self.texts:
            _check_texts(map(itemgetter(key), items))
        for key in self.values:
            found.extend(map(itemgetter(key), items))
        for key in self.left_out:  # with all keys looked up, and as many keys as before, there are no others
            _check_numbers(map(itemgetter(key), items))
        if self.time is not None:
            times.extend(map(itemgetter(self.time), items))


def variant_of(document: object, lists: ListsOfNames) -> tuple[object, ...] | None:
    """What tells the shapes of a topic's messages apart: the keys, and the names of the items. `lists` are the keys of
    the lists, each with those of the names in their items. None for a message without such lists."""
    try:
        found = (
            tuple(document) if type(document) is dict else (),
            *(
                tuple(item[name] for item in (document if key is None else document[key]))  # type: ignore[index, union-attr]
                for key, names in lists
                for name in names
            ),
        )
        hash(found)
    except (LookupError, TypeError):
        return None
    return found


def learn_lists(
    plan: Plan, document: object, find_time: FindTime, filtered: int, all_keys: int
) -> tuple[Flat, ListsOfNames] | None:
    """How messages like this one become rows, after it was walked, and its lists as `variant_of` wants them; None if
    they do not. `filtered` values of it are left out, and `all_keys` keys are in it."""
    if plan.conversions or plan.rule.time.kind not in (AUTO_TIME, ARRIVAL_TIME) or plan.rule.positions:
        return None
    learned = _Learned(plan, find_time if plan.rule.time.kind == AUTO_TIME else None)
    if not learned.take(document):
        return None
    lists = learned.lists
    timed = [items for items in lists if items.time is not None]
    if timed and (len(timed) < len(lists) or learned.scalars or learned.time is not None):
        return None  # its values have several times
    inputs = learned.inputs + [input_id for items in lists for input_id in items.inputs]
    if not lists or not inputs or len(set(inputs)) < len(inputs):
        return None
    time: Callable[[Any], Any] | None = _time_of_first(lists[0]) if timed else None
    if learned.time is not None:
        time = itemgetter(learned.time)
    flat = Flat.of_lists(tuple(inputs), learned.values(), time, all_keys, filtered)
    return flat, tuple((items.key, tuple(items.names)) for items in lists)


class _Learned:
    """The members of one message."""

    def __init__(self, plan: Plan, find_time: FindTime | None) -> None:
        self._plan = plan
        self._find_time = find_time
        self.keys: tuple[str, ...] | None = None
        """Of its members; None for a list."""
        self.time: str | None = None
        """The member with the time of its values."""
        self.scalars: list[str] = []
        """The members with numbers that are taken,"""
        self.inputs: list[str] = []
        """and their inputs."""
        self.left_out: list[str] = []
        """The members with other numbers."""
        self.texts: list[str] = []
        self.lists: list[_Items] = []

    def take(self, document: object) -> bool:
        """Returns False if it cannot be learned."""
        if type(document) is list:
            return self._take_list(None, document)
        if type(document) is not dict:
            return False
        self.keys = tuple(document)
        self.time = None if self._find_time is None else self._find_time(document)
        return all(self._take_member(key, value) for key, value in document.items() if key != self.time)

    def _take_list(self, key: str | None, value: list[object]) -> bool:
        items = _items(self._plan, key, value, self._find_time)
        if items is not None:
            self.lists.append(items)
        return items is not None

    def _take_member(self, key: str, value: object) -> bool:
        if type(value) is list:
            return self._take_list(key, value)
        if type(value) is dict:
            return False
        if type(value) is str or value is None:
            self.texts.append(key)
            return _is_text(value) and not (is_time_name(key) or is_possible_time_name(key))
        input_id = self._plan.ids.get(segment(key))
        if input_id is None:
            self.left_out.append(key)
        else:
            self.scalars.append(key)
            self.inputs.append(input_id)
        return segment(key) in self._plan.ids and not may_be_other_time(key)

    def values(self) -> Callable[[Any], list[Any]]:
        """As `Flat.values`."""
        keys, scalars, others, texts, lists = self.keys, self.scalars, self.left_out, self.texts, self.lists

        def find(document: Any) -> list[Any]:
            if keys is not None and tuple(document) != keys:
                raise LookupError
            found = [document[key] for key in scalars]
            _check_numbers([document[key] for key in others])
            _check_texts([document[key] for key in texts])
            times: list[Any] = []
            for items in lists:
                items.add(document, found, times)
            if times and times.count(times[0]) != len(times):
                raise LookupError
            return found

        return find


def _items(  # noqa: PLR0911 - one way out for each thing that is not plain
    plan: Plan, key: str | None, elements: list[object], find_time: FindTime | None
) -> _Items | None:
    naming = name_elements(elements, lambda item: find_time is not None and find_time(item) is not None)
    if naming is None or naming.guessed or not elements or not all(type(element) is dict for element in elements):
        return None
    first: dict[str, object] = elements[0]  # type: ignore[assignment]
    keys = tuple(first)
    if any(tuple(element) != keys for element in elements):  # type: ignore[arg-type]
        return None
    time_key = None if find_time is None else find_time(first)
    place = "" if key is None else segment(key)
    names: dict[str, list[object]] = {}
    texts: list[str] = []
    values: list[str] = []
    left_out: list[str] = []
    inputs: list[str] = []
    for inner in keys:
        column: list[object] = [element[inner] for element in elements]  # type: ignore[index]
        if inner == time_key:
            continue
        if is_time_name(inner) or is_possible_time_name(inner) or any(type(cell) in (dict, list) for cell in column):
            return None
        if meaning(inner).names:
            names[inner] = column
            if not _NAMES.issuperset(map(type, column)):
                return None
        if any(inner in name.keys for name in naming.names):
            continue
        if all(map(_is_text, column)):
            texts.append(inner)
            continue
        found = [_input_of(plan, place, name, inner) for name in naming.names]
        if not all(type(cell) in (int, float, bool) for cell in column) or may_be_other_time(inner):
            return None
        if not any(found):  # the rule leaves it out, or it is an identifier
            left_out.append(inner)
            continue
        if not all(found):
            return None
        values.append(inner)
        inputs += [str(input_id) for input_id in found]
    numbered = frozenset(inner for inner, column in names.items() if set(map(type, column)) != {str})
    return _Items(key, names, numbered, texts, values, left_out, inputs, time_key, len(elements))


def _input_of(plan: Plan, place: str, name: ItemName, inner: str) -> str | None:
    at = join(join(place, item_segment(name.parts)), segment(inner)) if name.parts else ""
    return plan.ids.get(at)


def _time_of_first(items: _Items) -> Callable[[Any], Any]:
    key, time = items.key, items.time
    return lambda document: (document if key is None else document[key])[0][time]


def _is_text(cell: object) -> bool:
    """Whether a value is null, or text that is no number."""
    return cell is None or (type(cell) is str and DECIMAL_TEXT.fullmatch(cell) is None)


def _check_texts(cells: Iterable[Any]) -> None:
    """Raise LookupError where one of these is no text, nor null, or may be a number."""
    for cell in set(cells):
        if not _is_text(cell):
            raise LookupError


def _check_numbers(cells: Iterable[Any]) -> None:
    """Raise LookupError where one of these is no number: there may be values in it."""
    if not {int, float, bool}.issuperset(map(type, cells)):
        raise LookupError
