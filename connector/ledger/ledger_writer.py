"""What is settled of a log that we do not own: first into the ledger, durably, and then told to the log.

In this order, so that the ledger knows of everything that will not be delivered again.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from connector.ledger.account import Commit, Tallies, merge
from connector.ledger.file import LogFile
from connector.ledger.schema import Range


@dataclass(frozen=True, slots=True)
class Settled:
    """What a commit settles: to go into the ledger, and then to be stored as the group's position."""

    topic: str
    number: int
    range: Range
    redelivered: int

    def joined(self, later: Settled) -> Settled:
        """This and the range that begins where it ends, as one."""
        mine, other = self.range, later.range
        whole = Range(mine.partition, mine.first, other.next, mine.records + other.records)
        return Settled(self.topic, self.number, whole, self.redelivered + later.redelivered)


_EVERY_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)

Store = Callable[[Settled], bool]
"""Tells the log that all before the end of this range is settled; False if it would not hear it."""


class Settlements:
    """Commits on their way into the ledger and to the log. Safe for threads."""

    def __init__(self, source: str, file: LogFile, store: Store | None) -> None:
        """Without `store` the ledger alone remembers."""
        self._source = source
        self._file = file
        self._store = store
        self._changed = threading.Condition()
        self._waiting: list[tuple[Commit, list[Settled]]] = []
        self._untold: dict[str, Settled] = {}
        """Partition → the last of it that is in the ledger, and not told to the log yet."""
        self._writing = threading.Lock()
        self._stopping = False
        self.stored: dict[str, int] = {}
        """Partition → the position that the log was told."""
        self.late = 0
        """Positions that were refused because their partition is not ours any more."""
        self.redelivered = 0
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"settle-{source}", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, commit: Commit, settled: list[Settled]) -> None:
        """This account belongs to these ranges. Returns before it is durable."""
        with self._changed:
            self._waiting.append((commit, settled))
            self._changed.notify_all()

    def flush(self) -> bool:
        """Write what waits now; False if the disk does not take it."""
        with self._writing:
            with self._changed:
                batch, self._waiting = self._waiting, []
            if not batch:
                return True
            try:
                self._write(batch)
            except sqlite3.Error as error:
                with self._changed:
                    self._waiting = [_together(batch), *self._waiting]
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
                for _, settled in batch:
                    for part in settled:
                        self._untold[part.range.partition] = part
            return True

    def tell(self) -> None:
        """Tell the log of all that is in the ledger. For Kafka only in the thread that polls: librdkafka's client
        lets another one wait until a poll is over, and a poll may be calling us back."""
        if not self._untold:
            return
        with self._changed:
            untold, self._untold = self._untold, {}
        for part in untold.values():
            self._tell(part)

    @property
    def unfinished(self) -> bool:
        """Whether anything is still on its way into the ledger or to the log."""
        with self._writing, self._changed:
            return bool(self._waiting or self._untold)

    def close(self, timeout: float) -> None:
        """Write what waits and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self.flush()

    def forget(self, partition: str) -> None:
        """This partition is not ours any more."""
        with self._changed:
            self.stored.pop(partition, None)
            self._untold.pop(partition, None)

    # -- details ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait(_RETRY_SECONDS)
                if self._stopping:
                    return
            pause = _EVERY_SECONDS if self.flush() else _RETRY_SECONDS * (0.5 + random.random())  # noqa: S311 - jitter
            with self._changed:  # many commits, one transaction
                self._changed.wait_for(lambda: self._stopping, pause)

    def _write(self, batch: list[tuple[Commit, list[Settled]]]) -> None:
        ranges = [part.range for _, settled in batch for part in settled]
        redelivered = sum(part.redelivered for _, settled in batch for part in settled)
        self._file.settle_ranges(ranges, [commit for commit, _ in batch], redelivered=redelivered)
        self.redelivered += redelivered

    def _tell(self, part: Settled) -> None:
        if self._store is None:
            return
        if self._store(part):
            self.stored[part.range.partition] = part.range.next
        else:
            self.late += 1


def _together(batch: list[tuple[Commit, list[Settled]]]) -> tuple[Commit, list[Settled]]:
    """One entry for all of these, so that what waits for the disk does not grow with time."""
    tallies: Tallies = {}
    ranges: dict[str, list[Settled]] = {}
    for commit, settled in batch:
        merge(tallies, commit.tallies)
        for part in settled:
            known = ranges.setdefault(part.range.partition, [])
            if known and known[-1].range.next == part.range.first:
                known[-1] = known[-1].joined(part)
            else:
                known.append(part)
    last = batch[-1][0]
    return Commit(last.source, last.partition, last.position, tallies), [
        part for parts in ranges.values() for part in parts
    ]
