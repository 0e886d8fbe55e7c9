"""The writing side of a journal on disk: one thread, which makes batches and commits durable.

In each turn, the thread takes all batches and commits that have come in since the turn before, and writes them in one
transaction (group commit). Then it calls `durable` of each batch, in the order of arrival, and hands the rows to the
reader.

When the disk fails, the batches of this turn stay in memory without an acknowledgement, and the write is tried again.
On a full disk, commits go on: the disk reserve is given up, settled messages are removed, and their pages are returned
to the disk. New messages are written only when the reserve could be taken again.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.delays import Histogram
from connector.ledger.journal_row import JournalRow
from connector.ledger.progress import MAX_CHUNK
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.sources.journal.buffer import WriteBuffer
from connector.sources.journal.damage import DamageControl
from connector.sources.journal.journal import Batch
from connector.sources.journal.reader import JournalReader
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import WatchedThread, moves

_ROW_RECORDS: Final = 8192
_ROW_BYTES: Final = 1024 * 1024
_LOOK_SECONDS: Final = 10.0
"""The longest wait for something to write: after it the thread says that it moves, and looks for free pages again."""
_GIVE_BACK_SECONDS: Final = 0.05
"""Seconds between two returns of free pages to the disk, while no message comes in."""

_log = structlog.get_logger(__name__)


class JournalWriter:
    """The thread that writes a journal."""

    def __init__(
        self,
        source: str,
        file: SourceFile,
        buffer: WriteBuffer,
        reader: JournalReader,
        damage: DamageControl,
        retry_seconds: float,
    ) -> None:
        """A write that failed is tried again after `retry_seconds`."""
        self._source = source
        self._file = file
        self._buffer = buffer
        self._reader = reader
        self._damage = damage
        self._retry_seconds = retry_seconds
        self.trouble: str | None = None
        """The reason why the file cannot be written at present; None if it can be written."""
        self._failing = RepeatedFailure("journal_write_failed", "journal_written_again")
        self.delays = Histogram()
        """The times from the arrival of the messages until they were durable."""
        self.thread = WatchedThread(f"journal-{source}", source, self._run)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the end of the thread; returns whether it has ended or never started."""
        if self.thread.ident is not None:
            self.thread.join(timeout)
        return not self.thread.is_alive()

    def _run(self) -> None:
        """Run the thread; if it ends by an error, the journal fails, so that the source does not wait forever."""
        try:
            self._write_loop()
        except Exception as error:  # noqa: BLE001 - whatever the error is, it ends the source, and loudly
            _log.exception("journal_failed", source=self._source)
            name = self.thread.name
            self._damage.fail(f"the thread {name} ended for a reason that nobody foresaw: {error!r}; please report it")

    def _write_loop(self) -> None:
        idle_work = True
        """Whether free pages may have to be returned to the disk while no message comes in."""
        while True:
            moves()
            taken = self._buffer.take(_GIVE_BACK_SECONDS if idle_work else _LOOK_SECONDS)
            if not taken.batches and not taken.commits:
                if taken.closing:
                    return
                idle_work = self._give_back()
                continue
            idle_work = bool(taken.commits)
            rows, sizes = _rows(taken.batches)
            written = self._write(rows, taken.commits)
            if written is None:
                return
            now_us = time.time_ns() // 1000
            for batch in taken.batches:
                batch.durable()
                if batch.records:  # which have arrived together
                    self.delays.add(now_us - batch.records[0].time_us, len(batch.records))
            self._buffer.file_changed(taken.bytes)
            self._reader.written(zip(written, sizes, strict=True), self._file.next_position, now_us)

    def _write(self, rows: list[list[Record]], commits: list[Commit]) -> list[JournalRow] | None:
        """Write until the write succeeds; returns the rows with their positions.

        Returns None if the write will never succeed, or if the journal is being closed and cannot wait any longer.
        """
        while True:
            moves()
            try:
                if self._file.disk_reserve.take() or not rows:
                    written = self._file.journal.write(rows, commits)
                    self.trouble = None
                    self._failing.works(source=self._source, file=str(self._file.path))
                    return written
                self.trouble = "there is no room on the disk"
            except sqlite3.OperationalError as error:
                self.trouble = str(error)
            except sqlite3.DatabaseError as error:
                if not self._damage.recover(error):
                    return None
                continue
            self._failing.failed(
                self.trouble,
                source=self._source,
                file=str(self._file.path),
                effect="no message is acknowledged until a write succeeds; settled messages are removed; trying again",
                remedy="is the disk full or read-only?",
            )
            commits = self._commit_without_room(commits)
            more = self._buffer.take_commits(self._retry_seconds)
            commits += more.commits
            if more.closing:
                self._commit_without_room(commits)
            if more.closing or self._damage.failure:
                return None

    def _commit_without_room(self, commits: list[Commit]) -> list[Commit]:
        """Apply the commits without new rows, and give the freed pages back to the disk.

        Returns the commits that could not be applied.
        """
        self._file.disk_reserve.give_up()
        try:
            if commits:
                self._file.journal.write([], commits)
                commits = []
                self._buffer.file_changed()
            while self._file.journal.give_back(all_of_it=True) and not self._buffer.closing:
                continue
        except sqlite3.OperationalError as error:
            self.trouble = str(error)
        except sqlite3.DatabaseError as error:
            self._damage.recover(error)
        return commits

    def _give_back(self) -> bool:
        """Give a few free pages back to the disk; returns whether there are more free pages."""
        try:
            return self._file.journal.give_back()
        except sqlite3.OperationalError as error:
            _log.debug("journal_pages_kept", source=self._source, reason=str(error))
            return False
        except sqlite3.DatabaseError as error:
            return self._damage.recover(error)


def _rows(batches: list[Batch]) -> tuple[list[list[Record]], list[int]]:
    """(the records of the batches, in order, in rows of up to 8,192 records and 1 MiB; the bytes of each row).

    A batch is never divided, so a row with one batch may be larger; the network loop bounds the size of a batch.
    """
    rows: list[list[Record]] = []
    sizes: list[int] = []
    for batch in batches:
        if not rows or sizes[-1] + batch.size > _ROW_BYTES or len(rows[-1]) + len(batch.records) > _ROW_RECORDS:
            rows.append([])
            sizes.append(0)
        rows[-1].extend(batch.records)
        sizes[-1] += batch.size
    return rows, sizes


assert _ROW_RECORDS <= MAX_CHUNK  # noqa: S101 - a row becomes a chunk
