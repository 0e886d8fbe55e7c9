"""Items of a list: what tells them apart where no rule says so.

The order of a list says nothing in most payloads: the next message may have fewer items, or others first. So an item
is called by its own fields, and its place in the list counts only where nothing names any of the items. In this order:

1. Fields whose name is one of a thing (`id`, `tagName`, `NodeId`, `sensor`; see `field_names`), and maps of tags. All
   of them together are the name, since one alone may be the same for several items.
2. The only text field of the items that neither describes the reading nor is a number or a time.
3. A time of its own: then the items are readings of the same signals, and no name is needed.
4. The only whole number under the name of a thing that may be a reading, too: `pump`, `sensor`.
5. The place in the list.

Never are some items of a list called one way and others another: an item that lacks what names the others is refused.
Everything follows from the one message. Two items that would still share an input ID at one time are refused later
(see `repeats`).
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
"""Text beyond is no name, where only its place says that it could be one."""
_UNIQUE_ID_LENGTH: Final = 20
_GREATEST_ID: Final = 1_000_000
_MOST_SHOWN: Final = 5

_WIDEST_TABLE: Final = 1_000
"""The most columns of a table whose rows are lists; a longer row is a list of values."""


class ItemName(NamedTuple):
    """What an object is called by its own fields."""

    parts: tuple[str, ...] = ()
    """Empty: nothing names it."""
    keys: tuple[str, ...] = ()
    """The fields that name it: they are no readings."""


NO_NAME: Final = ItemName()


class Naming(NamedTuple):
    """How the elements of one list are called."""

    names: list[ItemName]
    """One an element. An element without a name is refused, or, with `timed`, needs none."""
    refusal: str = ""
    """Why elements without a segment are refused, and the remedy."""
    timed: bool = False
    """Each element is an object with a time of its own, and none has a name."""
    guessed: str = ""
    """The field that names the elements, where only its content said so."""


def name_elements(elements: list[object], has_time: Callable[[dict[str, object]], bool]) -> Naming | None:
    """How the elements of a list are called; None if by their place. `has_time` says whether an object has a time of
    its own."""
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
    """Objects that a whole number names, where such a number is seldom a reading: `{"pump": 1, "rpm": 1480}`."""
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
    """What an object is called by fields whose names say so, in the order of these."""
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
    """The text by which a field with this content names its object; empty if it does not."""
    if type(value) is int:
        return template_text(value) if by_number else ""
    text = template_text(value).strip()
    if not text or (not by_digits and NUMBER_TEXT.fullmatch(text)) or looks_like_time(text):
        return ""
    return text


def _is_unique(key: str, value: object) -> bool:
    """Whether an ID is likely one of a reading, another in each message: long, without a meaning. It counts only
    where nothing else names the object."""
    if "".join(filter(str.isalpha, key)).lower() not in ("id", "uuid", "guid", "uid"):
        return False
    if type(value) is int:
        return value > _GREATEST_ID
    return isinstance(value, str) and len(value) >= _UNIQUE_ID_LENGTH and value.replace("-", "").isalnum()


def _tags(key: str, value: object) -> list[str]:
    """The tags in this field, as `name=value`, in the order of their names; none if it is no map of tags."""
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
        return []  # not made of text, whole numbers and booleans
    if not any(type(said) is str and not NUMBER_TEXT.fullmatch(said) for _, said in pairs):
        return []  # numbers alone may be readings
    return [f"{name}={text}" for name, text in sorted(tags)]


def _text_fields(objects: list[dict[str, object]]) -> list[str]:
    """The fields of these objects whose text could name them, though the name of the field does not say so."""
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


def _name_of(item: dict[str, object], key: str) -> ItemName:
    value = item.get(key)
    if type(value) is not str or len(value) > _LONGEST_TEXT or not _is_name(value):
        return NO_NAME
    return ItemName((template_text(value.strip()),), (key,))


def _rows(elements: list[object]) -> Naming | None:
    """How lists in a list are called, which are the rows of a table: by their only text; None if by their place."""
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
    for inner in left:  # which grows
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
    """The name of each element, as it stands in a place."""
    columns: frozenset[str]
    """The keys of the lists whose elements have these names."""


def parallel_names(obj: dict[str, object]) -> ParallelNames | None:
    """Lists of scalars beside a list of names of the same length: `{"ids": [1, 7], "values": [22, 3.5]}`. None if
    there are none."""
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
