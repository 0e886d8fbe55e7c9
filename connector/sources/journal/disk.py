"""The journal on disk: makes a log of an MQTT stream. A message is durable before the broker gets its acknowledgement.

Theory of operation. The network thread appends batches of messages to a buffer (`buffer`). One writer thread (`writer`)
takes all batches that have come in since its last turn, and writes them in one transaction (group commit), together
with the commits of the pipeline. Only then the writer calls `durable` of each batch, in the order of arrival, and the
broker gets its acknowledgements. The intake thread of the pipeline polls (`reader`). Usually it gets the rows that were
just written, from a short tail in memory; when it has fallen behind, it reads rows from the disk. Positions count from
1, and never repeat within an incarnation of the file.

The bound. When `max_bytes` wait, `has_room` becomes false, and the network thread stops reading its socket. Nothing is
dropped here. When the disk fails, the messages that have come in stay in memory (bounded in the same way) without an
acknowledgement, and the write is tried again. Settled messages can be removed even then: the disk reserve is given up
for this, and no new message is written until the reserve could be taken again.

Damage is confined (`damage`): a row that fails its checksum, or a file in which SQLite cannot read on, is set aside.
The missing positions are reported as a loss, and everything else goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.sources.journal.buffer import WriteBuffer
from connector.sources.journal.damage import DamageControl
from connector.sources.journal.journal import JournalFill
from connector.sources.journal.reader import JournalReader
from connector.sources.journal.writer import JournalWriter
from connector.sources.source import Reread
from connector.threads.watched import WatchedThread

_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class DiskJournal:
    """The journal on disk: a `Journal`."""

    def __init__(self, source: str, file: SourceFile, max_bytes: int, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        """The journal closes `file`. `max_bytes` is the bound of the waiting messages, in bytes.

        After an error of the disk, reading and writing are tried again after `retry_seconds`.
        """
        self._source = source
        self._file = file
        self._buffer = WriteBuffer(source, file, max_bytes)
        self._damage = DamageControl(source, file, self._buffer, on_failure=self.wake)
        self._reader = JournalReader(source, file, self._damage, retry_seconds)
        self._writer = JournalWriter(source, file, self._buffer, self._reader, self._damage, retry_seconds)
        # On the hot path, callers use the methods of the parts directly: this saves a call.
        self.append = self._buffer.append
        self.has_room = self._buffer.has_room
        self.poll = self._reader.poll
        self.gather = self._reader.gather
        self.delays = self._writer.delays
        self._damage.report_start()

    def wake(self) -> None:
        """Make a `poll` that waits, or the next one, return at once."""
        self._reader.wake()

    def start(self, linger: float = 0.0) -> None:
        """Start the writer, and log how many messages wait from the run before."""
        self._buffer.linger = linger
        if self._reader.unread > 0:
            _log.info(
                "journal_replayed",
                source=self._source,
                file=str(self._file.path),
                messages=self._reader.unread,
                bytes=self._file.waiting_bytes,
            )
        if not self._file.disk_reserve.take():
            _log.warning(
                "journal_without_reserve",
                source=self._source,
                file=str(self._file.path),
                effect="no new message is taken in until there is room for the reserve; waiting messages are still "
                "sent",
            )
        self._writer.start()

    def commit(self, commit: Commit) -> None:
        """Hand the commit to the writer, which makes it durable soon; `close` waits until all commits are durable."""
        self._buffer.commit(commit)

    def read_again(self, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read records again, as in `Source.read_again`: records stay in the file until they are committed."""
        try:
            found, done = self._file.journal.read_at(positions, max_bytes)
        except sqlite3.Error as error:
            return Reread({}, len(positions), f"the journal could not be read: {error}")
        return Reread(found, done, "the journal does not have the record")

    def close(self, timeout: float) -> None:
        """Write the batches and commits that have come in, then close the file. Waits at most `timeout` seconds."""
        self._buffer.close()
        self._reader.close()
        if not self._writer.join(timeout):
            _log.error("journal_not_closed", source=self._source, after_seconds=timeout, reason=self._writer.trouble)
            return
        self._file.close()

    def ended(self) -> str | None:
        """The reason why the journal cannot go on, for people; None while it can go on."""
        return self._damage.failure

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""
        return [self._writer.thread]

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, for people: the disk fails, or the journal is full."""
        found = []
        if self._writer.trouble:
            found.append(f"the journal cannot be written: {self._writer.trouble}")
        if self._reader.trouble:
            found.append(f"the journal cannot be read: {self._reader.trouble}")
        if self._buffer.full:
            found.append(
                f"the journal is full ({self._buffer.max_bytes} bytes wait); reading from the broker has stopped"
            )
        return found

    def gauges(self) -> dict[str, float]:
        """The values of the metrics in `section.JOURNAL_HELP`."""
        return {
            "journal_bytes": self._buffer.journal_bytes,
            "journal_max_bytes": self._buffer.max_bytes,
            "journal_unread_messages": self._reader.unread,
        }

    def fill(self) -> JournalFill:
        """How full the journal is, as in `Journal.fill`."""
        return JournalFill(self._buffer.journal_bytes, self._buffer.max_bytes)

    def unread(self) -> int:
        """Number of messages that were not polled yet, as in `Source.unread`."""
        return self._reader.unread
