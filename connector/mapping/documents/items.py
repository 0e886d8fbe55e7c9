"""Items: one message, many samples. Where the things are that a rule takes one by one out of a payload.

An item is an element of a list, a member of an object (then its name is the key), or the n-th elements of parallel
arrays. Items may stand in items: each path of `iterate` leads on from an item of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from connector.formats.format import PayloadError
from connector.mapping.documents.walk import leaves
from connector.mapping.plans import text_of
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import Rule
from connector.records import Reason


class Item(NamedTuple):
    """One of them."""

    name: str
    """What it is called: by its key or by the rule's `item_name`; else empty."""
    place: int
    """Its place in the list, from 0."""
    value: object
    outer: tuple[object, ...]
    """The items around it, from the inside out, and the whole payload."""


def items_of(rule: Rule, document: object) -> Iterator[Item]:
    """The items of a document. Raises `PayloadError` where parallel arrays are none, or differ in length."""
    if len(rule.iterate) == 1 and not rule.parallel:  # most rules: one list
        elements = rule.iterate[0].find(document)
        if isinstance(elements, list):
            around, named = (document,), rule.item_name
            for index, value in enumerate(elements):
                yield Item("" if named is None else text_of(named.find(value)), index, value, around)
            return
    found: Iterator[Item] = iter((Item("", 0, document, ()),))
    for path in rule.iterate:
        found = _members(path, found)
    if rule.parallel:
        found = _rows(rule.parallel, found)
    for item in found:
        name = item.name if rule.item_name is None else text_of(rule.item_name.find(item.value))
        yield Item(name, item.place, item.value, item.outer)


def leaves_beside(rule: Rule, document: object) -> int | None:
    """How many values of the document are in none of its items; None where that is not plain to see beforehand."""
    if len(rule.iterate) != 1 or rule.parallel or not rule.iterate[0].plain:
        return None
    parts = rule.iterate[0].parts
    if not parts:
        return 0
    if len(parts) > 1 or not isinstance(document, dict):
        return None
    return sum(leaves(value) for key, value in document.items() if key != parts[0])


def _members(path: Path, around: Iterator[Item]) -> Iterator[Item]:
    for item in around:
        outer = (item.value, *item.outer)
        found = path.find(item.value)
        if isinstance(found, dict):
            for index, (key, value) in enumerate(found.items()):
                yield Item(f"{item.name}.{key}" if item.name else key, index, value, outer)
        elif isinstance(found, list):
            for index, value in enumerate(found):
                yield Item(item.name, index, value, outer)
        elif found is not MISSING and found is not None:
            yield Item(item.name, 0, found, outer)  # a list of one, as some senders write it


def _rows(paths: tuple[Path, ...], around: Iterator[Item]) -> Iterator[Item]:
    names = [path.parts[-1] if path.parts else path.text for path in paths]
    for item in around:
        columns = [path.find(item.value) for path in paths]
        lengths = {}
        for path, column in zip(paths, columns, strict=True):
            if not isinstance(column, list):
                raise PayloadError(Reason.WRONG_STRUCTURE, f"parallel: there is no array at {path.text!r}")
            lengths[path.text] = len(column)
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{path} has {length}" for path, length in lengths.items())
            raise PayloadError(Reason.WRONG_STRUCTURE, f"parallel: the arrays differ in length ({said} elements)")
        for index, row in enumerate(zip(*columns, strict=True)):
            yield Item(item.name, index, dict(zip(names, row, strict=True)), (item.value, *item.outer))
