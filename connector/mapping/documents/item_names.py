"""Names for the items of a list, which tell the items apart if no rule does.

In most payloads, the order of a list means nothing: the next message may have fewer items, or another order. So an item
gets its name from its own fields. Its place in the list counts only if no field names any of the items. In this order:

1. Fields whose name is one of a thing (`id`, `tagName`, `NodeId`, `sensor`; see `field_names`), and maps of tags. All
   of them together are the name, since one alone may be the same for several items.
2. The only text field of the items that neither describes the reading nor is a number or a time.
3. A time in each item: then the items are readings of the same signals, and need no name.
4. The only whole number under the name of a thing that may be a reading, too: `pump`, `sensor`.
5. The place in the list.

All items of a list get their names in the same way: an item without the field that names the other items is refused.
The names follow from the one message alone. Two items that still share an input ID at one time are refused later (see
`repeats`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from connector.mapping.documents.field_names import TAG_MAPS, meaning
from connector.mapping.documents.places import item_segment
from connector.mapping.plans import template_text
from connector.mapping.rules.values import DECIMAL_TEXT, NUMBER_TEXT
from connector.mapping.time.times import is_possible_time_name, is_time_name, looks_like_time

_LONGEST_TEXT: Final = 1000
"""The most characters of a text that may be a name although the name of its field does not say so."""
_UNIQUE_ID_LENGTH: Final = 20
_GREATEST_ID: Final = 1_000_000
_MOST_SHOWN: Final = 5

_WIDEST_TABLE: Final = 1_000
"""The most columns of a table whose rows are lists; a longer row is a list of values."""


class ItemName(NamedTuple):
    """The name of an object from its own fields."""

    parts: tuple[str, ...] = ()
    """The texts of the name; empty if no field names the object."""
    keys: tuple[str, ...] = ()
    """The keys of the fields that name the object; these fields are no readings."""


NO_NAME: Final = ItemName()


_MOST_COMPARED: Final = 50
"""The most items of a list whose texts are compared."""


class Naming(NamedTuple):
    """The names of the elements of one list."""

    names: list[ItemName]
    """A name for each element. An element without a name is refused, unless it has a time and `timed` is set."""
    refusal: str = ""
    """The reason why elements without a name are refused, and the remedy."""
    timed: bool = False
    """Whether the elements with times are readings of the same signals, and need no names."""
    guessed: str = ""
    """The field that names the elements, if only its content shows this; empty if the name of the field does."""


def name_elements(elements: list[object], has_time: Callable[[dict[str, object]], bool]) -> Naming | None:
    """Returns the names of a list's elements; None if their places are their names.

    `has_time` returns whether an object has a time field.
    """
    objects = [element for element in elements if type(element) is dict]
    if not objects:
        return _rows(elements)
    names = [item_name(element) if type(element) is dict else NO_NAME for element in elements]
    guessed = ""
    if not any(name.parts for name in names):
        candidates = _text_fields(objects)
        if len(candidates) > 1:
            said = ", ".join(map(repr, candidates[:_MOST_SHOWN]))
            return Naming(
                names,
                f"several text fields may name the items of this list ({said}), and their order says nothing; "
                "write a rule with iterate and item_name",
            )
        if candidates:
            guessed = candidates[0]
            names = [_name_of(element, guessed) if type(element) is dict else NO_NAME for element in elements]
        else:
            timed = [type(element) is dict and has_time(element) for element in elements]
            if all(timed):
                return Naming(names, timed=True)
            if not any(timed):
                return _by_number(elements)
            return Naming(
                names,
                "the other items of this list have a time of their own, and this one has neither a time nor a name; "
                "write a rule with iterate and item_name",
                timed=True,
            )
    return Naming(
        names,
        "the other items of this list have a name, and this one has none, or an empty one; "
        "write a rule with iterate and item_name",
        guessed=guessed,
    )


def _by_number(elements: list[object]) -> Naming | None:
    """Returns names from whole numbers that may be readings, but seldom are: `{"pump": 1, "rpm": 1480}`; else None."""
    fields = {
        key
        for element in elements
        if type(element) is dict
        for key, value in element.items()
        if type(value) is int and meaning(key).names
    }
    if len(fields) != 1 or all(type(element) is dict and len(element) < 2 for element in elements):
        return None
    (field,) = fields
    return Naming(
        [
            ItemName((template_text(element[field]),), (field,))
            if type(element) is dict and type(element.get(field)) is int and len(element) > 1
            else NO_NAME
            for element in elements
        ],
        f"the other items of this list have a {field!r}, and this one has none; "
        "write a rule with iterate and item_name",
        guessed=field,
    )


def item_name(item: dict[str, object]) -> ItemName:
    """Returns the name of an object from the fields whose names say so, sorted by the names of the fields."""
    strong: list[tuple[str, str]] = []
    weak: list[tuple[str, str]] = []
    tagged: list[tuple[str, list[str]]] = []
    for key, value in item.items():
        kind = type(value)
        if kind is str or kind is int:
            means = meaning(key)
            if means.names and (text := _naming_text(value, means.names_by_number, means.names_by_digits)):
                (weak if means.weak else strong).append((key, text))
        elif (kind is dict or kind is list) and (tags := _tags(key, value)):
            tagged.append((key, tags))
    named = strong or weak
    if len(strong) > 1 or (strong and tagged):
        named = [(key, text) for key, text in strong if not _is_unique(key, item[key])] or strong
    if not named and not tagged:
        return NO_NAME
    named.sort()
    parts = [text for _, text in named] + [tag for _, tags in sorted(tagged) for tag in tags]
    return ItemName(tuple(parts), (*(key for key, _ in named), *(key for key, _ in tagged)))


def _naming_text(value: object, by_number: bool, by_digits: bool) -> str:
    """Returns the text by which a field with this value names its object; empty if it names nothing."""
    if type(value) is int:
        return template_text(value) if by_number else ""
    text = template_text(value).strip()
    if not text or (not by_digits and NUMBER_TEXT.fullmatch(text)) or looks_like_time(text):
        return ""
    return text


def _is_unique(key: str, value: object) -> bool:
    """Whether an ID is likely the ID of one reading: long, and different in each message.

    Such an ID names the object only if no other field does.
    """
    if "".join(filter(str.isalpha, key)).lower() not in ("id", "uuid", "guid", "uid"):
        return False
    if type(value) is int:
        return value > _GREATEST_ID
    return isinstance(value, str) and len(value) >= _UNIQUE_ID_LENGTH and value.replace("-", "").isalnum()


def _tags(key: str, value: object) -> list[str]:
    """Returns the tags in a field as `name=value`, sorted by name; an empty list if the field is no map of tags."""
    folded = key.casefold()
    if folded == "resource" and type(value) is dict:
        return [tag for inner in ("attributes", "tags", "labels") for tag in _tags(inner, value.get(inner))]
    if folded not in TAG_MAPS:
        return []
    pairs: list[tuple[str, object]] = []
    if type(value) is dict:
        pairs = list(value.items())
    elif type(value) is list:  # [{"key": "zone", "value": {"stringValue": "a"}}]
        for element in value:
            if type(element) is not dict or type(element.get("key")) is not str or len(element) != 2:
                return []
            said = element.get("value")
            pairs.append((element["key"], next(iter(said.values())) if type(said) is dict and len(said) == 1 else said))
    tags = [(name, template_text(said)) for name, said in pairs]
    if not all(text for _, text in tags) or any(type(said) is float for _, said in pairs):
        return []  # tags are texts, whole numbers and booleans
    if not any(type(said) is str and not NUMBER_TEXT.fullmatch(said) for _, said in pairs):
        return []  # numbers alone may be readings
    return [f"{name}={text}" for name, text in sorted(tags)]


def _text_fields(objects: list[dict[str, object]]) -> list[str]:
    """Returns the fields whose text could name these objects although the name of the field does not say so."""
    found: dict[str, None] = {}
    for item in objects:
        for key, value in item.items():
            if (
                type(value) is str
                and key not in found
                and _name_of(item, key).parts
                and not meaning(key).describes
                and not is_time_name(key)
                and not is_possible_time_name(key)
            ):
                found[key] = None
    return sorted(found)


def differing_text(elements: list[object]) -> str:
    """Returns the field whose texts differ in all of these objects; empty if there is none, or only one object."""
    objects: list[dict[str, object]] = [one for one in elements[:_MOST_COMPARED] if type(one) is dict]
    if len(objects) < 2 or len(objects) < len(elements[:_MOST_COMPARED]):
        return ""
    for key in objects[0]:
        texts = {one.parts for item in objects if (one := _name_of(item, key)).parts}
        if len(texts) == len(objects) and not is_time_name(key) and not is_possible_time_name(key):
            return key
    return ""


def _name_of(item: dict[str, object], key: str) -> ItemName:
    value = item.get(key)
    if type(value) is not str or len(value) > _LONGEST_TEXT or not _is_name(value):
        return NO_NAME
    return ItemName((template_text(value.strip()),), (key,))


def _rows(elements: list[object]) -> Naming | None:
    """Returns the names of the lists in a list, which are rows of a table: the only text of each row.

    Returns None if the places of the rows are their names.
    """
    rows = [element for element in elements if type(element) is list]
    if not rows or len(rows) < len(elements):
        return None
    widths = {len(row) for row in rows}
    width = widths.pop()
    if widths or not 2 <= width <= _WIDEST_TABLE:
        return None
    for column in range(width):
        if all(looks_like_time(row[column]) for row in rows):
            return Naming(
                [NO_NAME] * len(elements),
                f"these are rows of a table whose element {column} is a time; write a rule with iterate, "
                f'time: "[{column}]", and the other elements under values: ' + '{name: {path: "[1]"}}',
            )
    texts = [column for column in range(width) if all(_is_name(row[column]) for row in rows)]
    if not texts:
        return None
    if len(texts) > 1:
        return Naming(
            [NO_NAME] * len(elements),
            f"several elements of each row may be its name ({', '.join(map(str, texts))}), and the order of the rows "
            "says nothing; write a rule with iterate and item_name",
        )
    return Naming([ItemName((template_text(row[texts[0]]),)) for row in rows], guessed=f"[{texts[0]}]")


def _is_name(value: object) -> bool:
    return (
        type(value) is str and bool(value.strip()) and not NUMBER_TEXT.fullmatch(value) and not looks_like_time(value)
    )


def has_readings(value: object) -> bool:
    """Whether a document has a number, a boolean, or a number as text."""
    left: list[object] = [value]
    for inner in left:  # the list grows in this loop
        if type(inner) is dict:
            left += inner.values()
        elif type(inner) is list:
            left += inner
        elif type(inner) is str:
            if DECIMAL_TEXT.fullmatch(inner):
                return True
        elif inner is not None:
            return True
    return False


class ParallelNames(NamedTuple):
    """A list of names, and the lists of the same length beside it."""

    key: str
    segments: list[str]
    """The name of each element, in the form for places."""
    columns: frozenset[str]
    """The keys of the lists whose elements have these names."""


def parallel_names(obj: dict[str, object]) -> ParallelNames | None:
    """Returns the lists of scalars beside a list of names with the same length; None if there are none.

    An example is `{"ids": [1, 7], "values": [22, 3.5]}`.
    """
    lists = {key: value for key, value in obj.items() if type(value) is list and value}
    if len(lists) < 2:
        return None
    for key, names in lists.items():
        means = meaning(key if meaning(key).names else key.removesuffix("s"))
        if not means.names:
            continue
        texts = [
            _naming_text(name, means.names_by_number, means.names_by_digits) if type(name) in (str, int) else ""
            for name in names
        ]
        columns = [
            other
            for other, values in lists.items()
            if other != key and len(values) == len(names) and not any(type(one) in (dict, list) for one in values)
        ]
        if all(texts) and columns:
            return ParallelNames(key, [item_segment((text,)) for text in texts], frozenset(columns))
    return None
