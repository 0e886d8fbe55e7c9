"""Access to the book of metadata for threads that must go on while the state file cannot be used.

A full or damaged disk must not end the mapping or the saving. So every access that may fail goes through
`GuardedStore`: it logs the first failure in a row, and the caller tries again later.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import structlog

from connector.metadata.reconciler import Entry, EntryChange, OutstandingCounts

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class EntryStore(Protocol):
    """The part of the book that the outbox needs.

    Every method raises sqlite3.Error. A change is durable when its method returns.
    """

    def entries(self, inputs: Collection[str]) -> dict[str, Entry]:
        """Returns input ID → entry, for each of these signals."""

    def revise(self, inputs: Collection[str], change: EntryChange) -> dict[str, Entry]:
        """Change the entries of all these signals, or of none; returns the entries before the change."""

    def due(self, now: float, most: int, max_bytes: int) -> list[str]:
        """Returns signals with a desire that is due, the longest due first, as in `MetadataBook.due`."""

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """Returns the subset of `inputs` with a desire that waits and has not failed."""

    def counts(self, now: float) -> OutstandingCounts:
        """Returns the numbers of outstanding desires."""

    def begin(self, now: float, failed_before: float) -> None:
        """Begin a new run: desires that were rejected before `failed_before` become due."""

    def clock_put_back(self, now: float) -> None:
        """Make all desires due whose due time is so far away that this clock cannot have set it."""

    def all_due(self, now: float) -> None:
        """Make all waiting desires due."""

    def note(self, text: str, now: float) -> None:
        """Store the reason why nothing can be saved at present; an empty text if there is no reason."""


class GuardedStore:
    """The book, with a log of the failures of the disk. Safe for threads."""

    def __init__(self, what: str, store: EntryStore, closing: threading.Event) -> None:
        """`what` is the name of the kind in the log. After `closing` is set, failures are not logged any more."""
        self.store = store
        self._what = what
        self._closing = closing
        self.fails = False
        """Whether the last access failed, and no write has succeeded since."""

    def ask(self, question: Callable[[EntryStore], _T]) -> _T | None:
        """Returns the answer of the book; None if the disk cannot be used, then the caller must ask again later."""
        try:
            return question(self.store)
        except sqlite3.Error as error:
            self.failed(error)
            return None

    def failed(self, error: sqlite3.Error) -> None:
        """Note that the disk failed; logged once until `works` is called."""
        if not self.fails and not self._closing.is_set():
            self.fails = True
            _log.error(
                f"{self._what}_metadata_not_written",
                reason=str(error),
                effect="wanted metadata is kept in memory, and saved when the state file can be used again; samples "
                "are not affected",
            )

    def works(self) -> None:
        """Note that desires could be written."""
        self.fails = False
