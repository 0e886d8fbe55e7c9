"""The write buffer of a journal on disk: batches and commits that wait for the writer, and the bound of the journal.

The network thread adds batches, the pipeline adds commits, and the writer takes both. The buffer also knows how many
bytes wait in the file, because the journal's bound is on the sum of the file and the buffer. A batch counts as a part
of the buffer until the writer reports that the batch is in the file, so the sum never misses a byte.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, NamedTuple

import structlog

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.sources.journal.journal import BUFFER_BYTES, Batch

_LINGER_SECONDS: Final = 0.004
"""Seconds that a write waits for more batches while messages come fast. A write may wait 20 ms at most."""
_LINGER_RECORDS: Final = 2048
"""With this number of records, a write does not wait for more records."""
_RESUME_SHARE: Final = 0.9
"""After the journal was full, reading from the broker goes on below this share of `max_bytes`."""

_log = structlog.get_logger(__name__)


class WriteTurn(NamedTuple):
    """The batches and commits of one turn of the writer. Both lists are empty if nothing came within the timeout."""

    batches: list[Batch]
    commits: list[Commit]
    bytes: int
    """The size of the batches, which count as a part of the buffer until `WriteBuffer.file_changed`."""
    closing: bool
    """Whether the journal is being closed."""


class WriteBuffer:
    """Batches and commits that wait for the writer. Safe for threads."""

    def __init__(self, source: str, file: SourceFile, max_bytes: int) -> None:
        """`max_bytes` is the bound of the journal."""
        self._source = source
        self._file = file
        self.max_bytes = max_bytes
        self._changed = threading.Condition()
        """Protects all attributes below."""
        self._batches: deque[Batch] = deque()
        self._records = 0
        self._bytes = 0
        """The size of all batches that are not in the file, including the batches that are being written."""
        self._commits: list[Commit] = []
        self._waiting_bytes = file.waiting_bytes
        self.full = False
        self.closing = False

    def append(self, batch: Batch) -> None:
        """Add a batch. Never blocks: the caller asks `has_room` first."""
        with self._changed:
            self._batches.append(batch)
            self._records += len(batch.records)
            self._bytes += batch.size
            self._changed.notify_all()

    def commit(self, commit: Commit) -> None:
        """Add a commit."""
        with self._changed:
            self._commits.append(commit)
            self._changed.notify_all()

    def close(self) -> None:
        """Let the writer end after it has written all batches and commits."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()

    @property
    def journal_bytes(self) -> int:
        """Number of bytes that wait in the file and in the buffer."""
        return self._waiting_bytes + self._bytes

    def has_room(self) -> bool:
        """Whether more may be read from the network: the journal and this buffer are below their bounds.

        A journal that was full must first shrink to 90 % of its bound.
        """
        with self._changed:
            waiting = self._waiting_bytes + self._bytes
            limit = self.max_bytes * (_RESUME_SHARE if self.full else 1.0)
            full = waiting >= limit
            if full != self.full:
                self.full = full
                self._log_full(waiting)
            return not full and self._bytes < BUFFER_BYTES

    def _log_full(self, waiting: int) -> None:
        if self.full:
            _log.error(
                "journal_full",
                source=self._source,
                bytes=waiting,
                max_bytes=self.max_bytes,
                effect="reading from the broker has stopped; nothing is dropped here, but the broker's own queue is "
                "bounded too",
                remedy="see why Clarify does not take the data, or raise journal.max_bytes",
            )
        else:
            _log.info("journal_has_room_again", source=self._source, bytes=waiting)

    # -- for the writer ---------------------------------------------------------------------------

    def take(self, timeout: float, *, linger: bool) -> WriteTurn:
        """Wait for batches or commits for at most `timeout` seconds, and take all of them.

        With `linger`, wait a few milliseconds more for further batches, so that all batches share one commit to disk.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: self._batches or self._commits or self.closing, timeout)
            if linger and came and not self.closing:
                self._changed.wait_for(lambda: self._records >= _LINGER_RECORDS, _LINGER_SECONDS)
            taken = WriteTurn(list(self._batches), self._commits, self._bytes, self.closing)
            self._batches.clear()
            self._records = 0
            self._commits = []
        return taken

    def take_commits(self, timeout: float) -> WriteTurn:
        """Wait for a commit for at most `timeout` seconds, and take all commits, but no batches.

        The writer uses this method while the disk takes no messages.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._commits or self.closing, timeout)
            taken = WriteTurn([], self._commits, 0, self.closing)
            self._commits = []
        return taken

    def file_changed(self, written_bytes: int = 0) -> None:
        """Record that the file has changed: batches of `written_bytes` were written, or rows were removed."""
        with self._changed:
            self._bytes -= written_bytes
            self._waiting_bytes = self._file.waiting_bytes
