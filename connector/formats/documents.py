"""The documents of a payload that has several: gathered within bounds, the bad ones beside the good ones."""

from __future__ import annotations

from typing import Final

from connector.formats.format import BadDocument, Documents, PayloadError
from connector.records import Reason

MAX_DOCUMENTS: Final = 100_000
MAX_BAD: Final = 1_000
"""More than this many that cannot be read, and the payload as a whole is something else than it should be. One that
cannot be read takes up to a hundred times its own bytes."""
_EXCERPT: Final = 80


class DocumentCollector:
    """Takes documents in their order."""

    def __init__(self) -> None:
        self._documents = Documents()
        self._bad: list[BadDocument] = []

    def add(self, document: object) -> None:
        """One that was read. `PayloadError` if it is one too many."""
        if len(self._documents) >= MAX_DOCUMENTS:
            raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {MAX_DOCUMENTS} documents in one payload")
        self._documents.append(document)

    def add_bad(self, where: str, error: PayloadError, text: str = "") -> None:
        """One that could not be read, with how it begins. `PayloadError` if it is one too many."""
        bad = BadDocument(where, error.reason, str(error), text[:_EXCERPT])
        self._bad.append(bad)
        if len(self._bad) > MAX_BAD:
            raise self._whole(f"nor could {MAX_BAD} others be read")
        self.add(bad)

    def result(self) -> Documents:
        """All of them. `PayloadError` if there are none, or none that could be read."""
        if not self._documents:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        if len(self._bad) == len(self._documents):
            others = len(self._bad) - 1
            raise self._whole(f"nor could the {others} others be read" if others else "")
        return self._documents

    def _whole(self, others: str) -> PayloadError:
        first = self._bad[0]
        return PayloadError(first.reason, f"{first.where}: {first.message}" + (f"; {others}" if others else ""))
