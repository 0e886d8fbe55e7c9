"""Access to the book of metadata for threads that must go on while the state file cannot be used.

A full or damaged disk must not end the mapping or the saving. Every access that may fail goes through `GuardedStore`:
the first failure in a row is logged, and the caller tries again later.
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
    """The part of the book that the outbox needs. Every method raises sqlite3.Error; a change is durable when its
    method returns."""

    def entries(self, inputs: Collection[str]) -> dict[str, Entry]:
        """Input ID → entry of each of these signals."""

    def revise(self, inputs: Collection[str], change: EntryChange) -> dict[str, Entry]:
        """Change the entries of these signals, all or none. Returns the entries as they were before."""

    def due(self, now: float, most: int, max_bytes: int) -> list[str]:
        """Signals with a desire that is due, the longest due first."""

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """The subset of these signals with a desire that waits and has not failed."""

    def counts(self, now: float) -> OutstandingCounts:
        """How many desires are outstanding."""

    def begin(self, now: float, failed_before: float) -> None:
        """Begin a new run: desires that were rejected before `failed_before` become due."""

    def clock_put_back(self, now: float) -> None:
        """Make desires due whose time is further away than any that this clock can have set."""

    def all_due(self, now: float) -> None:
        """Make every desire due that waits."""

    def note(self, text: str, now: float) -> None:
        """Store why nothing can be saved at present; an empty text if nothing is wrong."""


class GuardedStore:
    """The book, with failures of the disk caught and logged. Safe for threads."""

    def __init__(self, what: str, store: EntryStore, closing: threading.Event) -> None:
        """`what` is the name in the log. After `closing` is set, failures are not logged any more."""
        self.store = store
        self._what = what
        self._closing = closing
        self.fails = False
        """Whether the last access failed, and no write has succeeded since."""

    def ask(self, question: Callable[[EntryStore], _T]) -> _T | None:
        """The answer; None if the disk cannot be used. The caller has to ask again later."""
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
                effect="what is wanted is kept in memory, and saved when the state file can be used again; samples are "
                "not affected",
            )

    def works(self) -> None:
        """Note that desires could be written."""
        self.fails = False
