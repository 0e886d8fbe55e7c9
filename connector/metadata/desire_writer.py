"""From the mapping to the book: every desire is written down before the records that it came from are committed.

`want` is called by the threads that map records. It waits for the disk only, and writes only desires that are new. If
the disk cannot be written, desires are kept in memory, up to a bound, and written later; the bound is counted.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from connector.metadata.guarded_store import GuardedStore
from connector.metadata.reconciler import Desire, Entry, FailureKind, SaveInterval, wanted
from connector.metadata.sent_desires import log_failed

_MAX_UNWRITTEN: Final = 100_000
"""Desires that are kept in memory while the disk cannot be written."""
_TRY_AT_ONCE: Final = 1000
"""With more than so many unwritten desires, a failing disk is tried by the saving thread alone, every few seconds."""
_WARN_AGAIN_SECONDS: Final = 3600.0

_log = structlog.get_logger(__name__)


class DesireWriter:
    """Writes desires into the book. Safe for threads."""

    def __init__(self, what: str, book: GuardedStore, interval: SaveInterval, clock: Callable[[], float]) -> None:
        """`what` is the name in the log; `clock` gives seconds since the epoch."""
        self._what = what
        self._book = book
        self._interval = interval
        self._clock = clock
        self._unwritten_lock = threading.Lock()
        self._unwritten: dict[str, Desire] = {}
        self._warned_at = float("-inf")
        self.merged = 0
        """Changes of a signal's metadata that a newer change replaced before they were saved."""
        self.forgotten = 0
        """Desires that found room neither on disk nor in memory."""

    def want(self, desires: Mapping[str, Desire]) -> None:
        """Remember these desires, by input ID. They are durable on return, unless the disk cannot be written."""
        with self._unwritten_lock:
            for input_id, desire in desires.items():
                if input_id in self._unwritten or len(self._unwritten) < _MAX_UNWRITTEN:
                    self._unwritten[input_id] = desire
                else:
                    self.forgotten += 1
            if not self._book.fails or len(self._unwritten) <= _TRY_AT_ONCE:
                self._write()

    def write_rest(self) -> None:
        """Write the desires that are only in memory, if the disk takes them now."""
        if self._unwritten:
            with self._unwritten_lock:
                self._write()

    def _write(self) -> None:
        desires, now = self._unwritten, self._clock()
        if not desires:
            return

        def change(input_id: str, entry: Entry) -> Entry:
            return wanted(entry, desires[input_id], now, self._interval)

        store = self._book.store
        try:
            known = store.entries(desires.keys())
            new = [input_id for input_id, entry in known.items() if change(input_id, entry) != entry]
            before = store.revise(new, change)
        except sqlite3.Error as error:
            self._book.failed(error)
            return
        self._unwritten = {}
        self._book.works()
        for input_id, entry in before.items():
            self._report(input_id, entry, change(input_id, entry), now)

    def _report(self, input_id: str, before: Entry, after: Entry, now: float) -> None:
        new, old = after.outstanding, before.outstanding
        if new is None:
            return
        if new.failure is FailureKind.INVALID:
            log_failed(self._what, input_id, new.reason, "not tried again before the mapping changes")
        elif old is not None and old.failure is FailureKind.NONE:
            self.merged += 1
        if new.due is not None and new.due > now >= self._warned_at + _WARN_AGAIN_SECONDS:
            self._warned_at = now
            _log.warning(
                f"{self._what}_metadata_changes_often",
                input=input_id,
                effect=f"it is saved at most once in {self._interval.seconds:g} s; what changes in between is merged",
                remedy="leave out of the mapping what changes with every message",
            )
