"""The journal in memory: the broker keeps the messages that wait, and only the ledger is on disk.

A message is acknowledged when it is settled. After a crash, the broker sends all messages without an acknowledgement
again, in any order. So each start has its own partition, and a position never names two records.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence

import structlog

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.records import Chunk, Record
from connector.settings import SettingsError
from connector.sources.journal.journal import BUFFER_BYTES, Batch, JournalFill
from connector.sources.source import Reread
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import WatchedThread

_log = structlog.get_logger(__name__)


class MemoryJournal:
    """The journal in memory: a `Journal`."""

    def __init__(self, source: str, file: SourceFile, max_bytes: int) -> None:
        """The journal closes `file`. `max_bytes` is the bound of the waiting messages, in bytes.

        Raises SettingsError if messages still wait in a journal on disk, from a time before `journal: memory`.
        """
        waiting = file.next_position - file.journal.first_waiting()
        if waiting:
            raise SettingsError(
                f"source {source}: up to {waiting} messages still wait in the journal on disk, {file.path}. Start once "
                "more with journal: disk, until the ledger shows no waiting messages; or move the file away to give "
                "these messages up"
            )
        self._source = source
        self._file = file
        self._partition = f"memory-{file.incarnation}-{secrets.token_hex(3)}"
        self._max_bytes = min(max_bytes, BUFFER_BYTES)
        self._changed = threading.Condition()
        """Protects the two queues, `_next`, `_bytes`, `_closing` and `_woken`."""
        self._unread: deque[tuple[int, Batch]] = deque()
        """Batches that were not polled yet, each with the position of its first record."""
        self._unsettled: deque[tuple[int, Batch]] = deque()
        """Batches that are not settled yet, each with the position of its last record."""
        self._next = file.next_position
        self._bytes = 0
        self._closing = self._woken = False
        self._uncounted: list[Commit] = []
        """Commits that are not in the ledger, because it could not be written."""
        self._failing = RepeatedFailure("ledger_write_failed", "ledger_written_again")
        self._uncounted_records = 0
        if file.recovery:
            _log.error("ledger_damaged", source=source, detail=str(file.recovery))

    def start(self, linger: float = 0.0) -> None:  # noqa: ARG002 - nothing is written
        """Log a warning about the limits of this kind of journal."""
        _log.warning(
            "journal_in_memory",
            source=self._source,
            effect="a message is acknowledged when Clarify has stored it; while Clarify is away, the broker keeps only "
            "as many messages as its own queue holds (Mosquitto: max_queued_messages, 1000 by default)",
        )

    def gather(self, seconds: float) -> bool:  # noqa: ARG002 - the broker waits for acknowledgements
        """Returns False at once."""
        return False

    def append(self, batch: Batch) -> None:
        """Keep a batch until it is settled."""
        with self._changed:
            first = self._next
            self._next += len(batch.records)
            self._bytes += batch.size
            self._unread.append((first, batch))
            self._unsettled.append((self._next - 1, batch))
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Whether more may be read from the network."""
        return self._bytes < self._max_bytes

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next batch as a chunk; None if no batch came within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._unread or self._closing or self._woken, timeout)
            self._woken = False
            if not self._unread:
                return None
            first, batch = self._unread.popleft()
        return Chunk(self._source, self._partition, range(first, first + len(batch.records)), batch.records)

    def wake(self) -> None:
        """Make a `poll` that waits, or the next one, return at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def commit(self, commit: Commit) -> None:
        """Add the account to the ledger, then acknowledge the batches."""
        settled: list[Batch] = []
        with self._changed:
            while self._unsettled and self._unsettled[0][0] <= commit.position:
                _, batch = self._unsettled.popleft()
                self._bytes -= batch.size
                settled.append(batch)
        self._uncounted.append(commit)
        self._uncounted_records += sum(len(batch.records) for batch in settled)
        self._count()
        for batch in settled:
            batch.durable()

    def read_again(self, positions: Sequence[int], max_bytes: int) -> Reread:  # noqa: ARG002 - nothing is copied
        """Read records again, as in `Source.read_again`: records stay in memory until they are committed."""
        wanted = set(positions)
        found: dict[int, Record] = {}
        with self._changed:
            for last, batch in self._unsettled:
                first = last - len(batch.records) + 1
                found.update((first + i, r) for i, r in enumerate(batch.records) if first + i in wanted)
        return Reread(found, len(positions), "the record is not in memory any more")

    def _count(self) -> None:
        try:
            self._file.ledger.add_commits(self._uncounted_records, self._uncounted)
        except sqlite3.OperationalError as error:
            # No data is missing in Clarify. The next commit writes this account, too.
            self._failing.failed(str(error), source=self._source, file=str(self._file.path))
        else:
            self._uncounted, self._uncounted_records = [], 0
            self._failing.works(source=self._source)

    def close(self, timeout: float) -> None:  # noqa: ARG002 - nothing here waits
        """Close the file. Batches that are not settled stay with the broker."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        if self._uncounted:
            self._count()
        self._file.close()

    def ended(self) -> str | None:
        """None: this journal has no thread that could end."""
        return None

    def threads(self) -> list[WatchedThread]:
        """It has none."""
        return []

    def problems(self) -> list[str]:
        """The reason why the source is not ready, for people: the memory is full."""
        return [] if self.has_room() else ["the messages in memory have reached their bound; reading has stopped"]

    def gauges(self) -> dict[str, float]:
        """The bytes in memory, and their bound."""
        return {"journal_bytes": self._bytes, "journal_max_bytes": self._max_bytes}

    def fill(self) -> JournalFill:
        """How full the memory is, as in `Journal.fill`."""
        return JournalFill(self._bytes, self._max_bytes)

    def unread(self) -> int:
        """Always 0: messages that were not polled yet also wait at the broker, so they do not count."""
        return 0
