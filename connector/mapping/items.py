"""Items: one message, many samples. Where the things are that a rule takes one by one out of a payload.

An item is an element of a list, a member of an object (then its name is the key), or the n-th elements of parallel
arrays. Items may stand in items: each path of `iterate` leads on from an item of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from connector.formats.format import PayloadError
from connector.mapping.paths import MISSING, Path
from connector.mapping.plans import text_of
from connector.mapping.rules import Rule
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
    found: Iterator[Item] = iter((Item("", 0, document, ()),))
    for path in rule.iterate:
        found = _members(path, found)
    if rule.parallel:
        found = _rows(rule.parallel, found)
    for item in found:
        name = item.name if rule.item_name is None else text_of(rule.item_name.find(item.value))
        yield Item(name, item.place, item.value, item.outer)


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
