"""The journal in memory: the broker keeps what waits, and the ledger alone is on disk."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence

import structlog

from connector.ledger.account import Commit
from connector.ledger.file import LogFile
from connector.records import Chunk, Record
from connector.settings import SettingsError
from connector.sources.journal.journal import BUFFER_BYTES, Batch
from connector.sources.source import Reread

_log = structlog.get_logger(__name__)


class MemoryJournal:
    """No journal: messages wait in memory and are acknowledged when they are settled. The ledger is on disk."""

    def __init__(self, source: str, file: LogFile, max_bytes: int) -> None:
        """ValueError if messages still wait on disk, from a time before `journal: memory`."""
        waiting = file.next_position - file.first_waiting
        if waiting:
            raise SettingsError(
                f"source {source}: up to {waiting} messages still wait in the journal on disk, {file.path}. Start once "
                "more with journal: disk, until the ledger shows none waiting; or move the file away to give them up"
            )
        self._source = source
        self._file = file
        self._partition = f"memory-{file.incarnation}-{secrets.token_hex(3)}"  # positions are given out anew each time
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._unread: deque[tuple[int, Batch]] = deque()
        self._unsettled: deque[tuple[int, Batch]] = deque()
        self._next = file.next_position
        self._bytes = 0
        self._closing = False
        self._uncounted: list[Commit] = []
        self._uncounted_records = 0
        if file.set_aside:
            _log.error("ledger_damaged", source=source, detail=str(file.set_aside))

    def start(self) -> None:
        """Say what this mode costs."""
        _log.warning(
            "journal_in_memory",
            source=self._source,
            effect="messages are acknowledged when Clarify has them; while Clarify is away the broker keeps what "
            "waits only as far as its own queue goes (Mosquitto: max_queued_messages, 1000 by default)",
        )

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
        return self._bytes < min(self._max_bytes, BUFFER_BYTES)

    def poll(self, timeout: float) -> Chunk | None:
        """The next batch."""
        with self._changed:
            self._changed.wait_for(lambda: self._unread or self._closing, timeout)
            if not self._unread:
                return None
            first, batch = self._unread.popleft()
        return Chunk(self._source, self._partition, range(first, first + len(batch.records)), batch.records)

    def commit(self, commit: Commit) -> None:
        """Put the account into the ledger, then acknowledge."""
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
        """They stay in memory until they are committed."""
        wanted = set(positions)
        found: dict[int, Record] = {}
        with self._changed:
            for last, batch in self._unsettled:
                first = last - len(batch.records) + 1
                found.update((first + i, r) for i, r in enumerate(batch.records) if first + i in wanted)
        return Reread(found, len(positions), "it is not in memory any more")

    def _count(self) -> None:
        try:
            self._file.count_without_journal(self._uncounted_records, self._uncounted)
        except sqlite3.OperationalError as error:
            # The data is in Clarify all the same; the account is made up with the next commit.
            _log.error("ledger_write_failed", source=self._source, file=str(self._file.path), reason=str(error))
        else:
            self._uncounted, self._uncounted_records = [], 0

    def close(self, timeout: float) -> None:  # noqa: ARG002 - nothing here waits
        """What is not settled stays with the broker."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        if self._uncounted:
            self._count()
        self._file.close()

    def ended(self) -> str | None:
        """It has no thread."""
        return None

    def problems(self) -> list[str]:
        """Full."""
        return [] if self.has_room() else ["the messages in memory have reached their bound; reading has stopped"]

    def gauges(self) -> dict[str, float]:
        """How much waits."""
        return {"journal_bytes": self._bytes, "journal_max_bytes": min(self._max_bytes, BUFFER_BYTES)}
