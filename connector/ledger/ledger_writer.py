"""Writes the settled ranges of a log outside the connector into the ledger, and then stores the position in the log.

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
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import WatchedThread, moves

_EVERY_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)

StorePosition = Callable[[SettledRange], bool]
"""Stores a position in the log: all records before the end of the range are settled. Returns False if the log refuses.
"""


class LedgerWriter:
    """Takes commits to the ledger and to the log. Safe for threads."""

    def __init__(self, source: str, file: SourceFile, store_position: StorePosition | None) -> None:
        """Without `store_position`, only the ledger has the settled positions."""
        self._source = source
        self._file = file
        self._store_position = store_position
        self._changed = threading.Condition()
        """Protects `_waiting`, `_unstored`, `stored` and `_stopping`."""
        self._waiting: list[tuple[Commit, list[SettledRange]]] = []
        self._unstored: dict[str, SettledRange] = {}
        """Partition → its last range in the ledger, for partitions whose position was not stored in the log yet."""
        self._writing = threading.Lock()
        """Held while a batch is on its way into the ledger, so that batches keep their order."""
        self._stopping = False
        self.stored: dict[str, int] = {}
        """Partition → the position that was stored in the log last."""
        self.late = 0
        """Number of positions that the log refused, because their partition was given away."""
        self.redelivered = 0
        """Number of records that came again although this ledger had settled them."""
        self.trouble: str | None = None
        """The reason why the ledger cannot be written at present, for people; None if it can be written."""
        self._failing = RepeatedFailure("ledger_write_failed", "ledger_written_again")
        self.thread = WatchedThread(f"ledger-{source}", source, self._run)

    def start(self) -> None:
        """Start the thread that writes."""
        self.thread.start()

    def add(self, commit: Commit, ranges: list[SettledRange]) -> None:
        """Write a commit, which settled `ranges`. Returns before the commit is durable."""
        with self._changed:
            self._waiting.append((commit, ranges))
            self._changed.notify_all()

    def flush(self) -> bool:
        """Write all waiting commits into the ledger; returns False if the disk does not take them."""
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
                self._failing.failed(
                    str(error),
                    source=self._source,
                    file=str(self._file.path),
                    effect="nothing is committed until the ledger can be written; trying again",
                )
                self.trouble = f"the ledger {self._file.path} cannot be written: {error}"
                return False
            self.trouble = None
            self._failing.works(source=self._source)
            with self._changed:
                for _, ranges in batch:
                    for found in ranges:
                        self._unstored[found.partition] = found
            return True

    def store_positions(self) -> None:
        """Store in the log all positions that are in the ledger and were not stored yet.

        For Kafka, only the thread that polls may call this method: librdkafka's client makes any other thread wait
        until a poll is over, and a poll may call the connector back.
        """
        if not self._unstored:
            return
        with self._changed:
            unstored, self._unstored = self._unstored, {}
        for found in unstored.values():
            self._store(found)

    @property
    def unfinished(self) -> bool:
        """Whether any commit is not yet in the ledger, or its position is not yet in the log."""
        with self._writing, self._changed:
            return bool(self._waiting or self._unstored)

    def close(self, timeout: float) -> None:
        """Write all waiting commits, and end the thread. Waits at most `timeout` seconds for the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self.thread.ident is not None:
            self.thread.join(timeout)
        self.flush()

    def forget(self, partition: str) -> None:
        """Store no more positions of a partition, because it was given away."""
        with self._changed:
            self.stored.pop(partition, None)
            self._unstored.pop(partition, None)

    def ended(self) -> str | None:
        """The reason why the thread ended without a request, for people; None while it has not ended so."""
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
            with self._changed:  # during the pause, many commits gather for one transaction
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
    """Returns one entry for the whole batch, so that the number of entries stays small while the disk is full."""
    tallies: Tallies = {}
    by_partition: dict[str, list[SettledRange]] = {}
    for commit, ranges in batch:
        merge(tallies, commit.tallies)
        for found in ranges:
            known = by_partition.setdefault(found.partition, [])
            if known and found.continues(known[-1]):
                known[-1] = known[-1].joined(found)
            else:
                known.append(found)
    last = batch[-1][0]
    return Commit(last.source, last.partition, last.position, tallies), [
        found for ranges in by_partition.values() for found in ranges
    ]
