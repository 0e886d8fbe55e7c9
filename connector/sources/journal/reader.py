"""The reading side of a journal on disk: rows in order of their position, from memory or from the file.

The writer hands each written row to the reader. Rows that fit into a bounded tail stay in memory, so a reader that
keeps up never reads the file. A reader that has fallen behind reads rows from the file until it reaches the tail again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

import structlog

from connector.ledger.journal_row import JournalRow
from connector.ledger.schema import DamagedError
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.sources.journal.damage import DamageControl
from connector.sources.source import SourceFailedError
from connector.threads.failing import RepeatedFailure

_TAIL_BYTES: Final = 8 * 1024 * 1024
"""The most bytes of rows that are kept in memory."""

_MANY: Final = 1000
"""Unread messages that end `gather`."""

_log = structlog.get_logger(__name__)


class JournalReader:
    """Gives out the rows of a journal, each once. One thread calls `poll`; any thread may call the other methods."""

    def __init__(self, source: str, file: SourceFile, damage: DamageControl, retry_seconds: float) -> None:
        """After an error of the disk, reading is tried again after `retry_seconds`."""
        self._source = source
        self._file = file
        self._damage = damage
        self._retry_seconds = retry_seconds
        self._partition = f"journal-{file.incarnation}"
        self._changed = threading.Condition()
        """Protects the tail, `_end`, `_wanted`, `_closing` and `_woken`."""
        self._tail: deque[tuple[JournalRow, int, int]] = deque()
        """Rows that were written and not read yet, each with its size in memory and the time of its write in µs."""
        self._tail_bytes = 0
        self._next = file.settled_to + 1
        """The next position to read. Only `poll` changes it."""
        self._end = file.next_position
        """The position after the last written row."""
        self._wanted = 1
        """The unread messages for which the reading thread waits."""
        self._closing = self._woken = False
        self.trouble: str | None = None
        """The reason why the file cannot be read at present; None if it can be read."""
        self._failing = RepeatedFailure("journal_unreadable", "journal_read_again")

    @property
    def unread(self) -> int:
        """Number of messages that were written and not read yet."""
        return self._end - self._next

    def written(self, rows: Iterable[tuple[JournalRow, int]], end: int, durable_us: int) -> None:
        """Take over the rows that the writer has written at `durable_us`, each with its bytes in memory.

        `end` is the position after the last row.
        """
        with self._changed:
            self._end = end
            for row, size in rows:
                if self._tail_bytes + size <= _TAIL_BYTES:
                    self._tail.append((row, size, durable_us))
                    self._tail_bytes += size
            if self._end - self._next >= self._wanted:
                self._changed.notify_all()

    def wake(self) -> None:
        """Make a `poll` that waits, or the next one, return at once: the journal has failed, or reading stops."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """From now on, `poll` does not wait any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def gather(self, seconds: float) -> bool:
        """Let rows come together, as in `Source.gather`; called by the thread that polls."""
        with self._changed:
            if self._next < self._end:
                return False
            self._wanted = _MANY
            self._changed.wait_for(
                lambda: self._end - self._next >= _MANY or self._damage.failure or self._closing or self._woken, seconds
            )
            self._wanted = 1
        return True

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next row as a chunk; waits at most `timeout` seconds.

        Returns None if no row came, if the file cannot be read now, or if a damaged row was skipped. Raises
        `SourceFailedError`.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._next < self._end or self._damage.failure or self._closing or self._woken, timeout
            )
            self._woken = False
            if self._damage.failure:
                raise SourceFailedError(self._damage.failure)
            if self._next >= self._end:
                return None
            end = self._end
            row, durable_us = self._from_tail()
        if row is None:
            row = self._from_file(end, timeout)
            durable_us = 0
            if row is None:
                return None
        self._next = row.last + 1
        return Chunk(self._source, self._partition, range(row.first, row.last + 1), row.records, durable_us)

    def _from_tail(self) -> tuple[JournalRow | None, int]:
        """Returns the next row, and the time of its write in µs, if the row is in memory; else (None, 0).

        Rows that were read from the file leave the tail.
        """
        tail = self._tail
        while tail and tail[0][0].first <= self._next:
            row, size, durable_us = tail.popleft()
            self._tail_bytes -= size
            if row.first == self._next:
                return row, durable_us
        return None, 0

    def _from_file(self, end: int, timeout: float) -> JournalRow | None:
        """Returns the next row before position `end`; None if there is no row, or if the row cannot be read now."""
        try:
            position, found = self._file.journal.read_next(self._next)
            if isinstance(found, DamagedError) and found.first == position:
                self._damage.confine(position, found)
                return None
            gap_end = end if found is None or found.first is None else found.first
            if gap_end > position or isinstance(found, DamagedError):
                # Rows are missing, so the structure of the file cannot be trusted.
                self._recover(sqlite3.DatabaseError(f"positions {position} to {gap_end - 1} are not there"))
                return None
        except sqlite3.OperationalError as error:
            self.trouble = str(error)
            self._failing.failed(str(error), source=self._source, effect="trying again")
            with self._changed:
                self._changed.wait_for(lambda: self._closing, min(timeout, self._retry_seconds))
            return None
        except sqlite3.ProgrammingError:
            if self._closing:
                return None  # the file was closed while this poll ran
            raise
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return None
        self.trouble = None
        self._failing.works(source=self._source)
        if found is None:
            self._next = position
        return found

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        if not self._damage.recover(error):
            raise SourceFailedError(self._damage.failure or str(error)) from error
