"""Items: the parts of a payload that a rule maps one by one.

An item is an element of a list, a member of an object (then its name is the key), or the n-th elements of parallel
arrays. Items may have items in them: each path of `iterate` leads on from an item of the path before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from connector.formats.format import PayloadError
from connector.mapping.documents.walk import leaves
from connector.mapping.plans import template_text
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import Rule
from connector.records import Reason

_MOST_SAID: Final = 5


class PayloadItem(NamedTuple):
    """One item of a payload."""

    names: tuple[str, ...]
    """The names of the items around this item, and its own name: its key, or the value at `item_name`. The name of an
    item without a name is empty."""
    place: int
    """The place of the item in its list, from 0."""
    value: object
    outer: tuple[object, ...]
    """The items around it, from the inside out, and the whole payload."""

    @property
    def name(self) -> str:
        """All names as one text, which differs for different names; empty if a name is missing."""
        names = self.names
        if len(names) == 1:
            return names[0]
        if not all(name.strip() for name in names):
            return ""
        return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)


def items_of(rule: Rule, document: object) -> Iterator[PayloadItem]:
    """Yields the items of a document. Raises `PayloadError` if a parallel array is missing or has another length."""
    if len(rule.iterate) == 1 and not rule.parallel:  # most rules: one list
        elements = rule.iterate[0].find(document)
        if isinstance(elements, list):
            for index, value in enumerate(elements):
                yield element_of(rule, "", index, value, document, members=False)
            return
    found: Iterator[PayloadItem] = iter((PayloadItem((), 0, document, ()),))
    names = (*rule.outer_names, rule.item_name)
    levels = len(rule.iterate) + bool(rule.parallel)
    names = (*(None for _ in range(levels - len(names))), *names)
    for path, name in zip(rule.iterate, names, strict=False):
        found = _members(path, name, found)
    if rule.parallel:
        found = _rows(rule.parallel, found)
        if rule.item_name is not None:
            found = (_named(item, rule.item_name, made=True) for item in found)
    yield from found


def element_of(rule: Rule, key: str, index: int, value: object, document: object, *, members: bool) -> PayloadItem:
    """Returns an item of a rule with one path to its items; with `members`, items of an object are named by `key`."""
    name = rule.item_name
    if name is not None and type(value) is dict:
        return PayloadItem((template_text(name.find(value)),), index, value, (document,))
    return _named(PayloadItem((key,) if members and name is None else (), index, value, (document,)), name)


def leaves_beside(rule: Rule, document: object) -> int | None:
    """Returns the number of the document's values outside its items; None if the number is only known afterwards."""
    if len(rule.iterate) != 1 or rule.parallel or not rule.iterate[0].plain:
        return None
    beside = 0
    for part in rule.iterate[0].parts:
        if not isinstance(document, dict) or (part not in document and len(rule.iterate[0].parts) > 1):
            return None
        beside += sum(leaves(value) for key, value in document.items() if key != part)
        document = document.get(part)
    return beside


def _members(path: Path, name: Path | None, around: Iterator[PayloadItem]) -> Iterator[PayloadItem]:
    """Yields the items at `path` in each of the items `around`; `name` is the path of their names."""
    for item in around:
        outer = (item.value, *item.outer)
        found = path.find(item.value)
        if isinstance(found, dict) and not (name is not None and template_text(name.find(found)).strip()):
            for index, (key, value) in enumerate(found.items()):
                inner = PayloadItem(item.names, index, value, outer)
                yield inner._replace(names=(*item.names, key)) if name is None else _named(inner, name)
        elif isinstance(found, list):
            for index, value in enumerate(found):
                yield _named(PayloadItem(item.names, index, value, outer), name)
        elif found is not MISSING and found is not None:
            yield _named(PayloadItem(item.names, 0, found, outer), name)  # some senders write a list of one like this


def _named(item: PayloadItem, name: Path | None, *, made: bool = False) -> PayloadItem:
    """Returns the item with its name, from the path `name`, after the names of the items around it.

    An item that is no object cannot have a name itself, and neither can one that was `made` of arrays: the nearest item
    around it names it.
    """
    if name is None:
        return item
    found = name.find(item.value)
    if found is MISSING and (made or not isinstance(item.value, dict | list)):
        found = next((outer for around in item.outer if (outer := name.find(around)) is not MISSING), MISSING)
    return item._replace(names=(*item.names, template_text(found)))


def _rows(paths: tuple[Path, ...], around: Iterator[PayloadItem]) -> Iterator[PayloadItem]:
    names = [path.parts[-1] if path.parts else path.text for path in paths]
    for item in around:
        columns: dict[str, list[object]] = {}
        places: dict[str, str] = {}
        for path, name in zip(paths, names, strict=True):
            found = path.find(item.value)
            several = found if isinstance(found, dict) else {name: found}
            for key, column in several.items():
                where = path.text if several is not found else f"{path.text}.{key}"
                if column is None and several is found:
                    continue  # a series without values
                if not isinstance(column, list):
                    raise PayloadError(Reason.WRONG_STRUCTURE, f"parallel: there is no array at {where!r}")
                if key in columns:
                    raise PayloadError(Reason.WRONG_STRUCTURE, f"parallel: two arrays are called {key!r}")
                columns[key], places[key] = column, where
            if several is found and not any(key in columns for key in several):
                columns.clear()
                break
        if len({len(column) for column in columns.values()}) > 1:
            said = ", ".join(f"{places[key]} has {len(columns[key])}" for key in list(columns)[:_MOST_SAID])
            raise PayloadError(Reason.WRONG_STRUCTURE, f"parallel: the arrays differ in length ({said} elements)")
        keys = tuple(columns)
        for index, row in enumerate(zip(*columns.values(), strict=True)):
            yield PayloadItem(item.names, index, dict(zip(keys, row, strict=True)), (item.value, *item.outer))
