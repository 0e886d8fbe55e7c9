"""Documents: how large they are, and the documents of a payload that has several, within bounds."""

from __future__ import annotations

from typing import Any, Final

from connector.formats.format import BadDocument, Documents, PayloadError
from connector.records import Reason

MAX_DOCUMENTS: Final = 100_000
MAX_BAD: Final = 1_000
"""The most bad documents of a payload; with more of them, the whole payload is rejected as another format.

A bad document takes up to a hundred times its own bytes of memory.
"""
_EXCERPT: Final = 80
_OBJECTS: Final = {dict}
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


class DocumentCollector:
    """Collects documents in their order."""

    def __init__(self) -> None:
        self._documents = Documents()
        self._bad: list[BadDocument] = []

    def add(self, document: object) -> None:
        """Add a document that was read. Raises `PayloadError` if there are more than `MAX_DOCUMENTS`."""
        if len(self._documents) >= MAX_DOCUMENTS:
            raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {MAX_DOCUMENTS} documents in one payload")
        self._documents.append(document)

    def add_bad(self, where: str, error: PayloadError, text: str = "") -> None:
        """Add a document that could not be read; `text` is its beginning. Raises `PayloadError` if there are too many.

        The bounds are `MAX_BAD` and `MAX_DOCUMENTS`.
        """
        bad = BadDocument(where, error.reason, str(error), text[:_EXCERPT])
        self._bad.append(bad)
        if len(self._bad) > MAX_BAD:
            raise self._whole(f"nor could {MAX_BAD} others be read")
        self.add(bad)

    def result(self) -> Documents:
        """All documents. Raises `PayloadError` if there are no documents, or if none of them could be read."""
        if not self._documents:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        if len(self._bad) == len(self._documents):
            others = len(self._bad) - 1
            raise self._whole(f"nor could the {others} others be read" if others else "")
        return self._documents

    def _whole(self, others: str) -> PayloadError:
        first = self._bad[0]
        return PayloadError(first.reason, f"{first.where}: {first.message}" + (f"; {others}" if others else ""))


def count(document: object) -> tuple[int, int]:
    """(number of leaves, number of keys) in a document."""
    keys = 0
    left = [document]
    found = 1
    for value in left:  # the list grows in this loop
        if isinstance(value, dict):
            n = len(value)
            keys += n
            left += [inner for inner in value.values() if type(inner) not in _SCALARS]
        elif isinstance(value, list):
            n = len(value)
            left += [inner for inner in value if type(inner) not in _SCALARS]
        else:
            continue
        found += n - 1
    return found, keys


def count_keys(document: object, most: int) -> int:
    """Returns the number of keys in a document that has at most `most` keys: what is inside of the last is not read."""
    keys = 0
    left: list[Any] = [document]
    for value in left:  # the list grows in this loop
        objects: list[Any] = [value]
        if isinstance(value, list):
            objects = value if set(map(type, value)) == _OBJECTS else [one for one in value if isinstance(one, dict)]
            left += [one for one in value if isinstance(one, list)] if objects is not value else ()
        elif not isinstance(value, dict):
            continue
        keys += sum(map(len, objects))
        if keys == most:
            break
        left += [inner for one in objects for inner in one.values() if type(inner) not in _SCALARS]
    return keys
