"""From the mapping to the book: writes every desire before the records that it came from are committed.

The threads that map records call `want`. This method waits only for the disk, and writes only new desires. If the disk
cannot be written, a bounded number of desires is kept in memory and written later. Desires above the bound are counted.
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
"""The most desires that are kept in memory while the disk cannot be written."""
_TRY_AT_ONCE: Final = 1000
"""With more unwritten desires than this, only the saving thread tries a failing disk again, every few seconds."""
_WARN_AGAIN_SECONDS: Final = 3600.0

_log = structlog.get_logger(__name__)


class DesireWriter:
    """Writes desires into the book. Safe for threads."""

    def __init__(self, what: str, book: GuardedStore, interval: SaveInterval, clock: Callable[[], float]) -> None:
        """`what` is the name of the kind in the log; `clock` returns seconds since the epoch."""
        self._what = what
        self._book = book
        self._interval = interval
        self._clock = clock
        self._unwritten_lock = threading.Lock()
        self._unwritten: dict[str, Desire] = {}
        self._warned_at = float("-inf")
        self.merged = 0
        """Number of changes of a signal's metadata that a newer change replaced before they were saved."""
        self.forgotten = 0
        """Number of desires without room on disk or in memory."""

    def want(self, desires: Mapping[str, Desire]) -> None:
        """Remember desires, by input ID. On return, they are durable unless the disk cannot be written."""
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
                effect=f"the metadata is saved at most once in {self._interval.seconds:g} s; changes in between are "
                "merged",
                remedy="leave texts that change with every message out of the metadata in the mapping",
            )
