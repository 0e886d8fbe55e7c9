"""Writes the settled ranges of a log that somebody else keeps: into the ledger, and then as a position to the log.

The order matters: the ledger must know every record that the log will not deliver again.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

import structlog

from connector.ledger.account import Commit, SettledRange, Tallies, merge
from connector.ledger.source_file import SourceFile
from connector.threads.watched import WatchedThread, moves

_EVERY_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)

StorePosition = Callable[[SettledRange], bool]
"""Tells the log that everything before the end of this range is settled. Returns False if the log refuses it."""


class LedgerWriter:
    """Commits on their way into the ledger and to the log. Safe for threads."""

    def __init__(self, source: str, file: SourceFile, store_position: StorePosition | None) -> None:
        """Without `store_position` the ledger alone knows how far the log is settled."""
        self._source = source
        self._file = file
        self._store_position = store_position
        self._changed = threading.Condition()
        """Protects `_waiting`, `_unstored`, `stored` and `_stopping`."""
        self._waiting: list[tuple[Commit, list[SettledRange]]] = []
        self._unstored: dict[str, SettledRange] = {}
        """Partition → the last range that is in the ledger, and whose end was not told to the log yet."""
        self._writing = threading.Lock()
        """Held while a batch is on its way into the ledger, so that batches keep their order."""
        self._stopping = False
        self.stored: dict[str, int] = {}
        """Partition → the position that the log was told last."""
        self.late = 0
        """How many positions the log refused, because their partition is not ours any more."""
        self.redelivered = 0
        """How many records came again although this ledger had settled them."""
        self.trouble: str | None = None
        """Why the ledger cannot be written at present."""
        self.thread = WatchedThread(f"ledger-{source}", source, self._run)

    def start(self) -> None:
        """Begin to write, in a thread of its own."""
        self.thread.start()

    def add(self, commit: Commit, ranges: list[SettledRange]) -> None:
        """Write this commit, which settled these ranges. Returns before it is durable."""
        with self._changed:
            self._waiting.append((commit, ranges))
            self._changed.notify_all()

    def flush(self) -> bool:
        """Write into the ledger what waits. Returns False if the disk does not take it."""
        with self._writing:
            with self._changed:
                batch, self._waiting = self._waiting, []
            if not batch:
                return True
            try:
                self._write(batch)
            except sqlite3.Error as error:
                with self._changed:
                    self._waiting = [_merged(batch), *self._waiting]
                if self.trouble is None:
                    _log.error(
                        "ledger_write_failed",
                        source=self._source,
                        file=str(self._file.path),
                        reason=str(error),
                        effect="nothing is committed until it can be written; trying again",
                    )
                self.trouble = f"the ledger {self._file.path} cannot be written: {error}"
                return False
            self.trouble = None
            with self._changed:
                for _, ranges in batch:
                    for found in ranges:
                        self._unstored[found.partition] = found
            return True

    def store_positions(self) -> None:
        """Tell the log every position that is in the ledger and was not told yet. For Kafka only the thread that polls
        may call this: librdkafka's client makes any other thread wait until a poll is over, and a poll may call us
        back."""
        if not self._unstored:
            return
        with self._changed:
            unstored, self._unstored = self._unstored, {}
        for found in unstored.values():
            self._store(found)

    @property
    def unfinished(self) -> bool:
        """Whether any commit is still on its way into the ledger or to the log."""
        with self._writing, self._changed:
            return bool(self._waiting or self._unstored)

    def close(self, timeout: float) -> None:
        """Write what waits, and end the thread. Waits at most `timeout` seconds for the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self.thread.ident is not None:
            self.thread.join(timeout)
        self.flush()

    def forget(self, partition: str) -> None:
        """This partition is not ours any more: tell the log nothing more about it."""
        with self._changed:
            self.stored.pop(partition, None)
            self._unstored.pop(partition, None)

    def ended(self) -> str | None:
        """Why the thread that writes ended although nobody told it to; None while all is well."""
        return self.thread.ended

    # -- details ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    moves()
                    self._changed.wait(_RETRY_SECONDS)
                if self._stopping:
                    return
            moves()
            pause = _EVERY_SECONDS if self.flush() else _RETRY_SECONDS * (0.5 + random.random())  # noqa: S311 - jitter
            with self._changed:  # many commits become one transaction
                self._changed.wait_for(lambda: self._stopping, pause)

    def _write(self, batch: list[tuple[Commit, list[SettledRange]]]) -> None:
        ranges = [found for _, ranges in batch for found in ranges]
        self._file.ledger.add_ranges(ranges, [commit for commit, _ in batch])
        self.redelivered += sum(found.redelivered for found in ranges)

    def _store(self, found: SettledRange) -> None:
        if self._store_position is None:
            return
        if self._store_position(found):
            self.stored[found.partition] = found.next
        else:
            self.late += 1


def _merged(batch: list[tuple[Commit, list[SettledRange]]]) -> tuple[Commit, list[SettledRange]]:
    """One entry that stands for all of the batch, so that the entries do not pile up while the disk is full."""
    tallies: Tallies = {}
    by_partition: dict[str, list[SettledRange]] = {}
    for commit, ranges in batch:
        merge(tallies, commit.tallies)
        for found in ranges:
            known = by_partition.setdefault(found.partition, [])
            if known and known[-1].next == found.first:
                known[-1] = known[-1].joined(found)
            else:
                known.append(found)
    last = batch[-1][0]
    return Commit(last.source, last.partition, last.position, tallies), [
        found for ranges in by_partition.values() for found in ranges
    ]
