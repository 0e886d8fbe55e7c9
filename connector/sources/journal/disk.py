"""The journal: an MQTT stream made into a log. A message is durable before the broker is told so.

Theory of operation. The network thread appends batches. One writer thread puts all that has come in since
its last turn into one transaction (group commit), together with the commits of the pipeline, and only then
calls each batch's `durable`, in the order of arrival. The intake thread polls: usually it gets the rows just
written from a short tail in memory; when it has fallen behind, from disk. Positions count from 1 and never
repeat within an incarnation of the file.

At its bound (`max_bytes` waiting) `has_room` turns false and the network thread stops reading its socket;
nothing is dropped here. When the disk fails, what has come in stays in memory (bounded in the same way),
unacknowledged, and the write is tried again. Settling goes on meanwhile: a reserve on the disk is given up for it, and
nothing new is written until the reserve could be taken again.

Damage is confined: a row that fails its checksum, or a file that SQLite cannot read on in, is set aside with its
positions, reported as a loss, and the rest goes on.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.file import Confined, LogFile
from connector.ledger.progress import MAX_CHUNK
from connector.ledger.schema import DamagedError, Row
from connector.records import Chunk, Record
from connector.sources.journal.journal import BUFFER_BYTES, Batch, batch_bytes
from connector.sources.source import Reread, SourceFailedError

_LINGER_SECONDS: Final = 0.004
"""How long a commit waits for company when messages come fast; the bound for a commit is 20 ms."""
_LINGER_ABOVE: Final = 16
_ROW_RECORDS: Final = 2048
_ROW_BYTES: Final = 1024 * 1024
_TAIL_BYTES: Final = 8 * 1024 * 1024
_RETRY_SECONDS: Final = 1.0
_RESUME_SHARE: Final = 0.9
_GIVE_BACK_SECONDS: Final = 0.05
"""Between two steps of returning free pages to the disk while nothing comes."""
_RECOVERIES: Final = 3
"""A file that is found damaged more often in one run stands on a disk that cannot be trusted."""

_REMEDY: Final = "see clarify-connector journal verify, and journal acknowledge to take note of it"

_log = structlog.get_logger(__name__)


class DiskJournal:
    """The journal on disk."""

    def __init__(self, source: str, file: LogFile, max_bytes: int, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self._source = source
        self._file = file
        self._retry_seconds = retry_seconds
        self._partition = f"journal-{file.incarnation}"
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._incoming: deque[Batch] = deque()
        self._incoming_records = 0
        self._incoming_bytes = 0
        self._commits: list[Commit] = []
        self._tail: deque[tuple[Row, int]] = deque()
        """Rows just written, each with its size in memory."""
        self._tail_bytes = 0
        self._next = file.read_from
        self._end = file.next_position
        self._waiting_bytes = file.waiting_bytes
        self._full = False
        self._closing = False
        self._failure: str | None = None
        self._read_failure: str | None = None
        self._damage: str | None = None
        self._recoveries = 0
        self._recovering = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"journal-{source}", daemon=True)
        if file.set_aside:
            _log.error("journal_damaged", source=source, detail=str(file.set_aside))
        for confined in file.lost_at_start:
            self._report(confined)

    def start(self) -> None:
        """Begin to write."""
        if self._end > self._next:
            _log.info(
                "journal_replayed",
                source=self._source,
                file=str(self._file.path),
                messages=self._end - self._next,
                bytes=self._waiting_bytes,
            )
        if not self._file.reserve.take():
            _log.warning(
                "journal_without_reserve",
                source=self._source,
                file=str(self._file.path),
                effect="nothing new is taken in until there is room for it; what waits goes on being sent",
            )
        self._thread.start()

    def append(self, batch: Batch) -> None:
        """Take a batch over; it is durable when its `durable` is called."""
        with self._changed:
            self._incoming.append(batch)
            self._incoming_records += len(batch.records)
            self._incoming_bytes += batch.size
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Whether more may be read from the network: below both bounds, and with hysteresis once full."""
        with self._changed:
            waiting = self._waiting_bytes + self._incoming_bytes
            limit = self._max_bytes * (_RESUME_SHARE if self._full else 1.0)
            full = waiting >= limit
            if full != self._full:
                self._full = full
                if full:
                    _log.error(
                        "journal_full",
                        source=self._source,
                        bytes=waiting,
                        max_bytes=self._max_bytes,
                        effect="reading from the broker has stopped; nothing is dropped here, but the broker's own "
                        "queue is bounded too",
                        remedy="see why Clarify does not take the data, or raise journal.max_bytes",
                    )
                else:
                    _log.info("journal_has_room_again", source=self._source, bytes=waiting)
            return not full and self._incoming_bytes < BUFFER_BYTES

    def poll(self, timeout: float) -> Chunk | None:
        """The next row, from the tail or from disk."""
        with self._changed:
            self._changed.wait_for(lambda: self._next < self._end or self._damage or self._closing, timeout)
            if self._damage:
                raise SourceFailedError(self._damage)
            if self._next >= self._end:
                return None
            end = self._end
            row = self._from_tail()
        if row is None:
            row = self._from_disk(end, timeout)
            if row is None:
                return None
        self._next = row.last + 1
        return Chunk(self._source, self._partition, range(row.first, row.last + 1), row.records)

    def commit(self, commit: Commit) -> None:
        """Hand the commit to the writer."""
        with self._changed:
            self._commits.append(commit)
            self._changed.notify_all()

    def read_again(self, positions: Sequence[int], max_bytes: int) -> Reread:
        """They stay in the file until they are committed."""
        try:
            found, done = self._file.read_at(positions, max_bytes)
        except sqlite3.Error as error:
            return Reread({}, len(positions), f"the journal could not be read: {error}")
        return Reread(found, done, "the journal does not have it")

    def close(self, timeout: float) -> None:
        """Write what has come in and the last commits, then close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                _log.error("journal_not_closed", source=self._source, after_seconds=timeout, reason=self._failure)
                return
        self._file.close()

    def ended(self) -> str | None:
        """The writer has given up."""
        return self._damage

    def problems(self) -> list[str]:
        """The disk fails, or full."""
        found = []
        if self._failure:
            found.append(f"the journal cannot be written: {self._failure}")
        if self._read_failure:
            found.append(f"the journal cannot be read: {self._read_failure}")
        if self._full:
            found.append(f"the journal is full ({self._max_bytes} bytes wait); reading from the broker has stopped")
        return found

    def gauges(self) -> dict[str, float]:
        """How full it is."""
        return {
            "journal_bytes": self._waiting_bytes + self._incoming_bytes,
            "journal_max_bytes": self._max_bytes,
            "journal_unread_messages": self._end - self._next,
        }

    # -- reading (intake thread) ------------------------------------------------------------------

    def _from_tail(self) -> Row | None:
        tail = self._tail
        while tail and tail[0][0].first <= self._next:
            row, size = tail.popleft()
            self._tail_bytes -= size
            if row.first == self._next:
                return row
        return None

    def _from_disk(self, end: int, timeout: float) -> Row | None:
        """The next row before position `end`; None if it cannot be read now, or if there is none."""
        position = self._file.after_losses(self._next)
        try:
            found = self._file.read_next(position)
            if isinstance(found, DamagedError) and found.first == position:
                self._confine(position, found)
                return None
            gap = end if found is None or found.first is None else found.first
            if gap > position or isinstance(found, DamagedError):
                self._after_gap(position, gap)
                return None
        except sqlite3.OperationalError as error:
            self._read_failure = str(error)
            _log.error("journal_unreadable", source=self._source, reason=str(error), effect="trying again")
            with self._changed:
                self._changed.wait_for(lambda: self._closing, min(timeout, self._retry_seconds))
            return None
        except sqlite3.ProgrammingError:
            if self._closing:
                return None  # the file was closed under a poll that came late
            raise
        except sqlite3.DatabaseError as error:
            if not self._recover(error):
                raise SourceFailedError(self._damage or str(error)) from error
            return None
        self._read_failure = None
        if found is None:
            self._next = position
        return found

    # -- damage (the thread that met it) ----------------------------------------------------------

    def _after_gap(self, position: int, end: int) -> None:
        """Rows that should be there are not: the file's structure is not to be trusted."""
        error = sqlite3.DatabaseError(f"positions {position} to {end - 1} are not there")
        if not self._recover(error):
            raise SourceFailedError(self._damage or str(error))

    def _confine(self, position: int, damage: DamagedError) -> None:
        self._report(self._file.confine(position, str(damage)))
        with self._changed:
            self._waiting_bytes = self._file.waiting_bytes

    def _recover(self, error: sqlite3.DatabaseError) -> bool:
        """Set the file aside and go on with what can be read of it; False if that is not possible now."""
        with self._recovering:
            if self._damage:
                return False
            self._recoveries += 1
            if self._recoveries > _RECOVERIES:
                self._fail(self._damaged(error))
                return False
            _log.error(
                "journal_damaged",
                source=self._source,
                file=str(self._file.path),
                reason=str(error),
                effect="the file is set aside; what can be read is carried over now",
            )
            known = len(self._file.losses())
            try:
                found = self._file.set_aside_now(str(error))
            except (OSError, sqlite3.Error) as why:
                self._fail(f"{self._damaged(error)}. It could not be done at once: {why}")
                return False
            _log.warning("journal_recovered", source=self._source, detail=str(found))
            for loss in self._file.losses()[known:]:
                _log.error("journal_loss", source=self._source, detail=str(loss), remedy=_REMEDY)
            with self._changed:
                self._waiting_bytes = self._file.waiting_bytes
            return True

    def _report(self, confined: Confined) -> None:
        _log.error(
            "journal_loss",
            source=self._source,
            first=confined.first,
            last=confined.next - 1,
            messages=confined.next - confined.first,
            reason=confined.reason,
            remedy=_REMEDY,
        )

    def _damaged(self, error: sqlite3.DatabaseError) -> str:
        try:
            self._file.suspect()
        except OSError as why:
            _log.error("journal_not_marked", source=self._source, file=str(self._file.path), reason=str(why))
        return (
            f"the journal {self._file.path} is damaged ({error}); at the next start it is set aside and what can be "
            "read is carried over"
        )

    # -- writing (writer thread) ------------------------------------------------------------------

    def _run(self) -> None:
        """A writer that dies must not leave the source waiting as if nothing had happened."""
        try:
            self._write_loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the source, and loudly
            _log.exception("journal_failed", source=self._source)
            name = self._thread.name
            self._fail(f"the thread {name} ended for a reason that nobody foresaw: {error!r}; please report it")

    def _fail(self, why: str) -> None:
        with self._changed:
            self._damage = self._damage or why
            self._changed.notify_all()

    def _write_loop(self) -> None:
        previous = 0
        returning = True
        while True:
            with self._changed:
                awake = self._changed.wait_for(
                    lambda: self._incoming or self._commits or self._closing, _GIVE_BACK_SECONDS if returning else None
                )
                if not awake:
                    previous = 0
                if previous >= _LINGER_ABOVE and not self._closing:
                    self._changed.wait_for(lambda: self._incoming_records >= _ROW_RECORDS, _LINGER_SECONDS)
                batches = list(self._incoming)
                self._incoming.clear()
                self._incoming_records = 0
                taken_bytes = self._incoming_bytes
                commits, self._commits = self._commits, []
                closing = self._closing
            if not batches and not commits:
                if closing:
                    return
                returning = self._give_back()
                continue
            returning = bool(commits)
            previous = sum(len(batch.records) for batch in batches)
            rows = self._write(_rows(batches), commits)
            if rows is None:
                return
            for batch in batches:
                batch.durable()
            with self._changed:
                self._incoming_bytes -= taken_bytes
                self._tell_bytes()
                self._end = self._file.next_position
                for row in rows:
                    size = batch_bytes(row.records)
                    if self._tail_bytes + size <= _TAIL_BYTES:
                        self._tail.append((row, size))
                        self._tail_bytes += size
                self._changed.notify_all()

    def _write(self, rows: list[list[Record]], commits: list[Commit]) -> list[Row] | None:
        """Write until it succeeds; None when it never will, or the close does not wait any longer.

        On a full disk what is settled leaves first, with the reserve; new messages only once that is whole again."""
        while True:
            try:
                if self._file.reserve.take() or not rows:
                    written = self._file.write(rows, commits)
                    self._failure = None
                    return written
                self._failure = "there is no room on the disk"
            except sqlite3.OperationalError as error:
                self._failure = str(error)
            except sqlite3.DatabaseError as error:
                if not self._recover(error):
                    return None
                continue
            _log.error(
                "journal_write_failed",
                source=self._source,
                file=str(self._file.path),
                reason=self._failure,
                effect="nothing is acknowledged until it succeeds; what is settled leaves; trying again",
                remedy="is the disk full or read-only?",
            )
            commits = self._settle_without_room(commits)
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._commits, self._retry_seconds)
                more, self._commits = self._commits, []
                closing = self._closing
            commits += more
            if closing:
                self._settle_without_room(commits)
            if closing or self._damage:
                return None

    def _settle_without_room(self, commits: list[Commit]) -> list[Commit]:
        """Apply commits, and return what they free to the disk; the commits that could not be applied."""
        self._file.reserve.give_up()
        try:
            if commits:
                self._file.write([], commits)
                commits = []
                with self._changed:
                    self._tell_bytes()
                    self._changed.notify_all()
            while self._file.give_back(all_of_it=True) and not self._closing:
                continue
        except sqlite3.OperationalError as error:
            self._failure = str(error)
        except sqlite3.DatabaseError as error:
            self._recover(error)
        return commits

    def _tell_bytes(self) -> None:
        """For `has_room` and whoever watches: what waits now."""
        self._waiting_bytes = self._file.waiting_bytes

    def _give_back(self) -> bool:
        """Nothing comes: return a few free pages to the disk; whether to go on with it."""
        try:
            return self._file.give_back()
        except sqlite3.OperationalError as error:
            _log.debug("journal_pages_kept", source=self._source, reason=str(error))
            return False
        except sqlite3.DatabaseError as error:
            return self._recover(error)


def _rows(batches: list[Batch]) -> list[list[Record]]:
    """The batches' records, in order, cut into rows of a handy size."""
    rows: list[list[Record]] = []
    size = _ROW_BYTES
    for batch in batches:
        if size + batch.size > _ROW_BYTES or len(rows[-1]) + len(batch.records) > _ROW_RECORDS:
            # A batch is what one pass of the network loop read: bounded there, so it is never cut itself.
            rows.append([])
            size = 0
        rows[-1].extend(batch.records)
        size += batch.size
    return rows


assert _ROW_RECORDS <= MAX_CHUNK  # noqa: S101 - a chunk is a row
