"""The short way through lists of named items: a message with the same items as an earlier message becomes a row.

The walk of the earlier message has shown the input of each field of each item. A later message may take the short way
if its lists have the same items in the same order, with the same names, and if the message has exactly the same keys.
Every other message is walked, and the walk reports its errors. Items with times become a row only if all of these times
are equal.
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
"""Returns the key of an object's time; None if the object has no time."""


_NAMES: Final = frozenset((str, int, type(None)))
"""The types of values that name an item, or might name it."""


class _Items(NamedTuple):
    """The shape of one list of named items."""

    key: str | None
    """The key of the list; None if the payload is the list."""
    names: dict[str, list[object]]
    """Key of a field that names the items, or might → its values, which must be the same in the next message."""
    numbered: frozenset[str]
    """The keys in `names` whose values are not all texts: their types must be checked, since 0 equals 0.0 and False."""
    texts: list[str]
    """The keys of the items with other texts, or null."""
    values: list[str]
    """The keys of the items with numbers that become samples."""
    left_out: list[str]
    """The keys of the items with numbers that are left out."""
    inputs: list[str]
    """The input IDs: for each key in `values`, one for each item."""
    time: str | None
    """The key of the items with their time; None if the items have no times."""
    size: int
    """The number of items."""

    def add(self, document: Any, found: list[Any], times: list[Any]) -> None:
        """Add the values of the items to `found`, and their times to `times`. Raises LookupError for other items."""
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
        for key in self.left_out:  # all keys are looked up, and the caller counts keys, so there are no other keys
            _check_numbers(map(itemgetter(key), items))
        if self.time is not None:
            times.extend(map(itemgetter(self.time), items))


def variant_of(document: object, lists: ListsOfNames) -> tuple[object, ...] | None:
    """Returns the key by which a topic's shapes are told apart: the message's keys, and the names of its items.

    `lists` has the keys of the lists, each with the keys of the names in its items. Returns None for a message without
    such lists.
    """
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
    """Returns the shape by which messages like this one become rows, and its lists for `variant_of`.

    The message must have been walked before. `filtered` is the number of its values that are left out, `all_keys` the
    number of its keys. Returns None if such messages cannot become rows.
    """
    if plan.conversions or plan.rule.time.kind not in (AUTO_TIME, ARRIVAL_TIME) or plan.rule.positions:
        return None
    learned = _Learned(plan, find_time if plan.rule.time.kind == AUTO_TIME else None)
    if not learned.take(document):
        return None
    lists = learned.lists
    timed = [items for items in lists if items.time is not None]
    if timed and (len(timed) < len(lists) or learned.scalars or learned.time is not None):
        return None  # the values have several times
    inputs = learned.inputs + [input_id for items in lists for input_id in items.inputs]
    if not lists or not inputs or len(set(inputs)) < len(inputs):
        return None
    time: Callable[[Any], Any] | None = _time_of_first(lists[0]) if timed else None
    if learned.time is not None:
        time = itemgetter(learned.time)
    flat = Flat.of_lists(tuple(inputs), learned.values(), time, all_keys, filtered)
    return flat, tuple((items.key, tuple(items.names)) for items in lists)


class _Learned:
    """The members of one message, sorted by their meaning."""

    def __init__(self, plan: Plan, find_time: FindTime | None) -> None:
        self._plan = plan
        self._find_time = find_time
        self.keys: tuple[str, ...] | None = None
        """The keys of the members; None if the message is a list."""
        self.time: str | None = None
        """The member with the time of the values; None if there is none."""
        self.scalars: list[str] = []
        """The members with numbers that become samples."""
        self.inputs: list[str] = []
        """The input IDs of the `scalars`."""
        self.left_out: list[str] = []
        """The members with numbers that are left out."""
        self.texts: list[str] = []
        self.lists: list[_Items] = []

    def take(self, document: object) -> bool:
        """Take the members of a document; returns whether such documents can become rows."""
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
        """Returns the function `Flat.values`: it returns the values of a document, or raises LookupError."""
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


def _items(  # noqa: PLR0911 - a return for each reason to walk the list
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
        if not any(found):  # the rule leaves the field out, or the field is an identifier
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
    """Raise LookupError if a value is neither a text nor null, or is a text that may be a number."""
    for cell in set(cells):
        if not _is_text(cell):
            raise LookupError


def _check_numbers(cells: Iterable[Any]) -> None:
    """Raise LookupError if a value is neither a number nor a boolean: there may be values in it."""
    if not {int, float, bool}.issuperset(map(type, cells)):
        raise LookupError
