"""The write buffer of a journal on disk: batches and commits that wait for the writer, and the bound of the journal.

The network thread adds batches, the pipeline adds commits, and the writer takes both. The buffer also knows how many
bytes wait in the file, because the journal's bound is on the sum of the file and the buffer. A batch counts as a part
of the buffer until the writer reports that the batch is in the file, so the sum never misses a byte.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.sources.journal.journal import BUFFER_BYTES, Batch

_FIRST_ENOUGH: Final = 10
"""Half of what Mosquitto sends without an acknowledgement, unless its configuration or MQTT 5 says otherwise."""
_MOST_ENOUGH: Final = 4096
_WINDOW_SECONDS: Final = 60.0
_STALLS: Final = 3
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


class Enough:
    """Learns the number of records for which a write may wait.

    A broker sends a number of messages, its window, and then waits for acknowledgements. A write that waited for more
    messages would stop the stream. So the number grows by a quarter at a time, and stays at half of the window once the
    window is known. The window is learned again after a minute. Times are seconds of any clock.
    """

    def __init__(self) -> None:
        self.records = _FIRST_ENOUGH
        self._window = 2 * _MOST_ENOUGH
        self._window_until = -math.inf
        self._stalls = 0
        """The number of stalls in a row."""

    def reached(self, records: int, now: float) -> None:
        """Note that a wait ended with at least the wanted number of records."""
        self._stalls = 0
        if now > self._window_until:
            self._window = 2 * _MOST_ENOUGH
        self._window = max(self._window, records)
        more = max(self.records + 1, self.records * 5 // 4, records // 2)
        self.records = max(1, min(more, self._window // 2, _MOST_ENOUGH))

    def flows(self) -> None:
        """Note that records came until the wait was over."""
        self._stalls = 0

    def stalled(self, records: int, now: float) -> None:
        """Note that nothing came until these records were acknowledged: perhaps the window has this many records.

        One stall may have another reason: a pause of the publishers, or a busy machine.
        """
        self._stalls += 1
        if self._stalls < _STALLS:
            return
        self._stalls = 0
        self._window, self._window_until = records, now + _WINDOW_SECONDS
        self.records = max(1, min(self.records, records // 2))


class WriteBuffer:
    """Batches and commits that wait for the writer. Safe for threads."""

    def __init__(
        self, source: str, file: SourceFile, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`max_bytes` is the bound of the journal; `clock` gives seconds."""
        self._source = source
        self._file = file
        self.max_bytes = max_bytes
        self.linger = 0.0
        """The least seconds between two writes, unless enough records wait."""
        self._clock = clock
        self._changed = threading.Condition()
        """Protects all attributes below."""
        self._batches: deque[Batch] = deque()
        self._records = 0
        self._bytes = 0
        """The size of all batches that are not in the file, including the batches that are being written."""
        self._commits: list[Commit] = []
        self._taken_at = -math.inf
        """The time of the last `take` with batches or commits."""
        self._added_at = -math.inf
        """The time of the last `append` during a linger."""
        self._first_at = -math.inf
        """The time when the oldest batch was appended."""
        self._stalled = 0
        """The number of records at the last linger, if it stalled; else 0."""
        self._wanted = 1
        """The number of records for which the writer waits."""
        self._enough = Enough()
        self._lingers = False
        self._waited = False
        """Whether a batch has waited already, so that the writer does not."""
        self._waiting_bytes = file.waiting_bytes
        self.full = False
        self.closing = False

    def append(self, batch: Batch) -> None:
        """Add a batch. Never blocks: the caller asks `has_room` first."""
        with self._changed:
            if not self._batches:
                self._first_at = self._clock()
            self._batches.append(batch)
            self._records += len(batch.records)
            self._bytes += batch.size
            if self._lingers:
                self._added_at = self._clock()
            self._waited = self._waited or batch.waited
            if self._waited or self._records >= self._wanted:
                self._changed.notify_all()

    def commit(self, commit: Commit) -> None:
        """Add a commit."""
        with self._changed:
            self._commits.append(commit)
            if not self._lingers:
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

    def take(self, timeout: float) -> WriteTurn:
        """Wait for batches or commits for at most `timeout` seconds, and take all of them.

        If the last take was less than `linger` seconds ago, messages come often. Then this take waits until `linger`
        seconds are over, so that more messages share one write to disk, one acknowledgement and one chunk. The wait
        ends early with `Enough` records, since a broker may wait for acknowledgements; and with a batch that has
        `waited`.
        """
        with self._changed:
            self._wanted = 1
            acknowledged_at = self._clock()
            if self._changed.wait_for(lambda: self._batches or self._commits or self.closing, timeout):
                if self._stalled and self._batches:
                    self._judge_stall(self._first_at - acknowledged_at)
                self._linger()
                self._taken_at = self._clock()
            taken = WriteTurn(list(self._batches), self._commits, self._bytes, self.closing)
            self._batches.clear()
            self._records = 0
            self._waited = False
            self._commits = []
        return taken

    def _linger(self) -> None:
        began = self._clock()
        seconds = self._taken_at + self.linger - began
        if seconds <= 0 or self._waited or self.closing:
            return
        self._wanted = self._enough.records
        self._lingers, self._added_at = True, began
        enough = self._changed.wait_for(lambda: self._records >= self._wanted or self._waited or self.closing, seconds)
        self._lingers = False
        now = self._clock()
        if self._waited:
            return
        if enough:
            self._enough.reached(self._records, now)
        elif self._records and now - self._added_at > self.linger / 2:
            self._stalled = self._records
        elif self._records:
            self._enough.flows()

    def _judge_stall(self, seconds: float) -> None:
        """Judge the last stall by the seconds from the acknowledgements to the next batch.

        A broker that has waited for the acknowledgements sends at once. A slow stream comes when it comes.
        """
        if seconds < self.linger / 4:
            self._enough.stalled(self._stalled, self._clock())
        else:
            self._enough.flows()
        self._stalled = 0

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
