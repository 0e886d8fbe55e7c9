"""The file behind a source: its journal, its position and its ledger, in one SQLite database.

One file, so that a position, the account of what it settles and the removal of its messages are one
transaction: after any crash the ledger is exact. Messages are stored as rows of many records each, with a
checksum.

Damage is confined. A row that fails its checksum is moved out of the way, and its positions are a loss. A file that
SQLite finds damaged is set aside, at the start or in mid-run, and what can be read is carried over (`log_recovery`).
A file that is older than its mark (`log_mark`) has lost its last transactions. Losses stay in the ledger, as problems
until a person has acknowledged them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.mark import Mark, MarkDamagedError, MarkFile, read_mark
from connector.ledger.recovery import Known, SetAside, recover, recovering_file
from connector.ledger.reserve import Reserve, reserve_file
from connector.ledger.schema import (
    CHECK_BELOW_BYTES,
    ROW_OVERHEAD,
    DamagedError,
    Loss,
    Range,
    Row,
    add_loss,
    beside,
    checked_row,
    checksum,
    encode,
    lost_ranges,
    means_damage,
    now_text,
    open_checked,
    read_losses,
    read_ranges,
    suspected_file,
)
from connector.ledger.topics import LEDGER_TOPICS, LedgerTopics
from connector.records import Record
from connector.state.sqlite import open_durable, open_read_only

KEEP_FREE_PAGES: Final = 4096
"""Free pages that the file keeps for what comes next (16 MiB); what is beyond goes back to the disk when it is idle."""
_STEP_PAGES: Final = 512

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Confined:
    """What had to be given up, so that the rest goes on."""

    first: int
    next: int
    reason: str


class LogFile:
    """An open file. Safe for threads."""

    def __init__(
        self, path: Path, writer: sqlite3.Connection, set_aside: SetAside | None, ledger_topics: int = LEDGER_TOPICS
    ) -> None:
        self.path = path
        self._topics = LedgerTopics(ledger_topics)
        self.set_aside = set_aside
        self.reserve = Reserve(path)
        """Room on the disk for settling when it is full; taken by whoever writes a journal."""
        self._writer = writer
        self._lock = threading.RLock()
        """Over the writing connection, the numbers that say what it has written, and the mark: they change together."""
        self._read_lock = threading.Lock()
        self._mark = MarkFile(mark_file(path))
        self._begin()
        self.lost_at_start = self._compare_with_mark()
        """Transactions that the mark knows of and the file does not."""
        self._reader = open_durable(path)

    def _begin(self) -> None:
        """Take over what the file says; no more of it is read than a few rows, however much waits."""
        writer = self._writer
        meta = dict(writer.execute("SELECT key, value FROM meta").fetchall())
        self.incarnation = str(meta["incarnation"])
        """Changes when positions begin anew: part of a record's identity in the dead letters."""
        last = writer.execute("SELECT first + count FROM journal ORDER BY first DESC LIMIT 1").fetchone()
        first = writer.execute("SELECT first FROM journal ORDER BY first LIMIT 1").fetchone()
        self.next_position = max(int(meta.get("next_position") or 1), last[0] if last else 1)
        self.first_waiting = int(first[0]) if first else self.next_position
        """Position of the oldest record that waited when the file was opened."""
        if "waiting_bytes" in meta and "settled_to" in meta:
            self.waiting_bytes = int(meta["waiting_bytes"])
            self.settled_to = int(meta["settled_to"])
        else:  # a file of an earlier version, read through this once
            self.waiting_bytes = int(writer.execute("SELECT total(bytes) FROM journal").fetchone()[0])
            self.settled_to = self.first_waiting - 1
        if "account_lost" in meta:
            with self._transaction():
                add_loss(writer, None, None, None, str(meta["account_lost"]))
                writer.execute("DELETE FROM meta WHERE key = 'account_lost'")
        self._lost = lost_ranges(read_losses(writer))
        self.read_from = self.settled_to + 1
        """Where reading begins: the first position that is not settled."""

    @classmethod
    def open(
        cls, path: Path, *, check_below_bytes: int = CHECK_BELOW_BYTES, ledger_topics: int = LEDGER_TOPICS
    ) -> LogFile:
        """Open or create; a damaged file is set aside (see `set_aside`). About `ledger_topics` have a line of their own
        in its ledger. Raises OSError or sqlite3.Error."""
        try:
            return cls._open(path, check_below_bytes, ledger_topics)
        except (OSError, sqlite3.OperationalError):
            if not reserve_file(path).exists():
                raise
        Reserve(path).give_up()  # perhaps the disk is full: then what waits must be able to leave, all the same
        return cls._open(path, check_below_bytes, ledger_topics)

    @classmethod
    def _open(cls, path: Path, check_below_bytes: int, ledger_topics: int) -> LogFile:
        if recovering_file(path).exists():
            reason = "an earlier recovery was cut short"
        else:
            try:
                return cls._closing_on_error(path, open_checked(path, check_below_bytes), None, ledger_topics)
            except (sqlite3.DatabaseError, UnicodeDecodeError, DamagedError) as error:
                if not means_damage(error):
                    raise
                reason = str(error)
        writer, found = recover(path, reason, _marked(path))
        return cls._closing_on_error(path, writer, found, ledger_topics)

    @classmethod
    def _closing_on_error(
        cls, path: Path, writer: sqlite3.Connection, found: SetAside | None, ledger_topics: int
    ) -> LogFile:
        """A connection left open would, when it goes at last, remove the -wal of the file that comes after."""
        try:
            return cls(path, writer, found, ledger_topics)
        except BaseException:
            writer.close()
            raise

    # -- small things that a source remembers -----------------------------------------------------

    def meta(self, key: str) -> str | int | None:
        """A remembered value, or None."""
        with self._lock:
            row = self._writer.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        value: str | int | None = row[0] if row else None
        return value

    def remember(self, key: str, value: str | int) -> None:
        """Remember a value durably."""
        with self._lock:
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- writing ----------------------------------------------------------------------------------

    def write(self, rows: list[list[Record]], commits: Iterable[Commit]) -> list[Row]:
        """Append rows of records and apply commits in one durable transaction; returns the rows with positions."""
        with self._lock:
            position, settled_to = self.next_position, self.settled_to
            waiting = self.waiting_bytes
            written = []
            with self._transaction() as writer:
                for records in rows:
                    body = encode(records)
                    size = len(body) + ROW_OVERHEAD
                    writer.execute(
                        "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
                        (position, len(records), size, checksum(position, len(records), body), body),
                    )
                    written.append(Row(position, records))
                    position += len(records)
                    waiting += size
                for commit in commits:
                    waiting -= self._apply(commit)
                    settled_to = max(settled_to, commit.position)
                writer.executemany(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    (("next_position", position), ("settled_to", settled_to), ("waiting_bytes", waiting)),
                )
            self.next_position, self.settled_to, self.waiting_bytes = position, settled_to, waiting
            self._set_mark()
        return written

    def count_without_journal(self, n: int, commits: Iterable[Commit]) -> None:
        """The same for a journal in memory: `n` records came and went."""
        with self._lock:
            with self._transaction() as writer:
                self._count(writer, n)
                for commit in commits:
                    self._apply(commit)
            self._counted(n)

    def settle_ranges(self, ranges: Iterable[Range], commits: Iterable[Commit], *, redelivered: int = 0) -> None:
        """The same for a log that is kept elsewhere: these ranges of it are settled, with this account.
        `redelivered` of their records were settled before."""
        records = 0
        with self._lock:
            with self._transaction() as writer:
                for found in ranges:
                    _add_range(writer, found)
                    records += found.records
                self._count(writer, records)
                if redelivered:
                    _add_to_meta(writer, "redelivered", redelivered)
                for commit in commits:
                    self._topics.book(writer, commit.tallies)
            self._counted(records)

    def _count(self, writer: sqlite3.Connection, n: int) -> None:
        position = self.next_position + n
        writer.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            (("next_position", position), ("settled_to", position - 1), ("waiting_bytes", 0)),
        )

    def _counted(self, n: int) -> None:
        self.next_position += n
        self.settled_to = self.next_position - 1
        self._set_mark()

    def ranges(self, partition: str) -> list[Range]:
        """What is settled of a partition, in order."""
        with self._lock:
            return read_ranges(self._writer, partition)

    def note_loss(self, message: str, records: int) -> None:
        """Remember durably that so many records (0: not known) were gone before they could be read."""
        with self._transaction() as writer:
            writer.execute("INSERT INTO incidents VALUES (?, ?)", (now_text(), message))
            _add_to_meta(writer, "expired", records)

    def _apply(self, commit: Commit) -> int:
        writer = self._writer
        removed = writer.execute("SELECT total(bytes) FROM journal WHERE first <= ?", (commit.position,)).fetchone()[0]
        writer.execute("DELETE FROM journal WHERE first <= ?", (commit.position,))
        self._topics.book(writer, commit.tallies)
        return int(removed)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    # -- room on the disk -------------------------------------------------------------------------

    def give_back(self, *, all_of_it: bool = False) -> bool:
        """Return some free pages to the disk, for a few milliseconds; whether there is more to return. Messages that
        come later use free pages first, so `KEEP_FREE_PAGES` stay. Raises sqlite3.Error."""
        with self._lock:
            keep = 0 if all_of_it else KEEP_FREE_PAGES
            free = int(self._writer.execute("PRAGMA freelist_count").fetchone()[0])
            if free <= keep or not self._writer.execute("PRAGMA auto_vacuum").fetchone()[0]:
                return False
            step = min(_STEP_PAGES, free - keep)
            self._writer.executescript(f"PRAGMA incremental_vacuum({step})")
            if all_of_it or free - step <= keep:  # only with a checkpoint the file itself gets shorter
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            return free - step > keep

    # -- reading ----------------------------------------------------------------------------------

    def read_next(self, position: int) -> Row | DamagedError | None:
        """The first row at or after this position; a row whose checksum fails comes as the error to report."""
        with self._read_lock:
            found = self._reader.execute(
                "SELECT first, count, crc, body FROM journal WHERE first >= ? ORDER BY first LIMIT 1", (position,)
            ).fetchone()
        return None if found is None else checked_row(*found)

    def after_losses(self, position: int) -> int:
        """This position, or the first one behind the known losses that it stands in."""
        for first, after in sorted(self._lost):
            if first <= position < after:
                position = after
        return position

    def read_at(self, positions: Iterable[int], max_bytes: int) -> tuple[dict[int, Record], int]:
        """The records at the first of these positions (rising), as many as have about `max_bytes` together, and at how
        many positions was looked. For any thread. Raises sqlite3.Error."""
        found: dict[int, Record] = {}
        row: Row | None = None
        size = done = 0
        with closing(open_read_only(self.path)) as connection:
            for position in positions:
                if size >= max_bytes:
                    break
                done += 1
                if row is None or position > row.last:
                    stored = connection.execute(
                        "SELECT first, count, crc, body FROM journal WHERE first <= ? ORDER BY first DESC LIMIT 1",
                        (position,),
                    ).fetchone()
                    checked = None if stored is None else checked_row(*stored)
                    row = checked if isinstance(checked, Row) else None
                if row is not None and row.first <= position <= row.last:
                    found[position] = row.records[position - row.first]
                    size += len(found[position].payload or b"")
        return found, done

    def suspect(self) -> None:
        """Have the file checked at the next start, whatever its size. Raises OSError."""
        suspected_file(self.path).touch()

    # -- damage -----------------------------------------------------------------------------------

    def losses(self) -> list[Loss]:
        """All that was ever lost, in the order in which it was found."""
        with self._lock:
            return read_losses(self._writer)

    def confine(self, first: int, reason: str) -> Confined:
        """Move the row at this position out of the way; what stood in it is a loss. Raises sqlite3.Error."""
        with self._lock:
            with self._transaction() as writer:
                after = writer.execute("SELECT first FROM journal WHERE first > ? ORDER BY first LIMIT 1", (first,))
                found = after.fetchone()
                next_ = int(found[0]) if found else self.next_position
                size = writer.execute("SELECT total(bytes) FROM journal WHERE first = ?", (first,)).fetchone()[0]
                writer.execute(
                    "INSERT INTO damaged_rows (at, first, count, crc, body) "
                    "SELECT ?, first, count, crc, body FROM journal WHERE first = ?",
                    (now_text(), first),
                )
                writer.execute("DELETE FROM journal WHERE first = ?", (first,))
                waiting = max(0, self.waiting_bytes - int(size))
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('waiting_bytes', ?)", (waiting,))
                add_loss(writer, first, next_, next_ - first, f"{reason}; the row is kept in the table damaged_rows")
            self.waiting_bytes = waiting
            self._lost.append((first, next_))
        return Confined(first, next_, reason)

    def set_aside_now(self, reason: str) -> SetAside:
        """Set the file aside in mid-run and go on with what can be carried over. Raises OSError, sqlite3.Error: then
        nothing can be read or written any more, and the next start does it again."""
        with self._lock, self._read_lock:
            known = Known(self.next_position, self.settled_to)
            self._reader.close()
            self._writer.close()
            self._writer, found = recover(self.path, reason, known)
            self._reader = open_durable(self.path)
            self._begin()
            self._set_mark()
        return found

    def _compare_with_mark(self) -> list[Confined]:
        """Make losses of what the mark knows of and the file does not."""
        try:
            mark = self._mark.read()
        except MarkDamagedError as error:
            _log.warning("journal_mark_damaged", file=str(mark_file(self.path)), reason=str(error), effect="made anew")
            with self._transaction() as writer:
                message = f"the mark beside the file was damaged ({error}) and made anew"
                writer.execute("INSERT INTO incidents VALUES (?, ?)", (now_text(), message))
            mark = None
        found: list[Confined] = []
        if mark is not None and mark.incarnation == self.incarnation and mark.next_position > self.next_position:
            found = self._lost_transactions(mark)
        self._set_mark()
        return found

    def _lost_transactions(self, mark: Mark) -> list[Confined]:
        """The last transactions are gone: their messages are lost, except for those that were settled already."""
        start, end = self.next_position, mark.next_position
        settled = min(max(mark.settled_to + 1, start), end)
        gone = "the last transactions are gone: the -wal was damaged or removed, or an older copy was put in place"
        found = []
        if start < settled:
            found.append(Confined(start, settled, f"{gone}; these had been settled, only their account is missing"))
        if settled < end:
            found.append(Confined(settled, end, gone))
        with self._transaction() as writer:
            for part in found:
                add_loss(writer, part.first, part.next, part.next - part.first, part.reason)
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (end,))
        self._lost += [(part.first, part.next) for part in found]
        if self.first_waiting == self.next_position:
            self.first_waiting = end
        self.next_position = end
        return found

    def _set_mark(self) -> None:
        try:
            self._mark.write(Mark(self.incarnation, self.next_position, self.settled_to))
        except OSError as error:  # full: the file is what counts, and the next write comes soon
            _log.debug("journal_mark_not_written", file=str(self.path), reason=str(error))

    def close(self) -> None:
        """Close everything; what was written is durable already."""
        self._reader.close()
        self._writer.close()
        self._mark.close()


def mark_file(path: Path) -> Path:
    """Where it is kept how far this log file had got."""
    return beside(path, ".mark")


def _marked(path: Path) -> Known | None:
    """What the mark of a damaged file says."""
    try:
        mark = read_mark(mark_file(path))
    except (OSError, MarkDamagedError):
        return None
    return None if mark is None else Known(mark.next_position, mark.settled_to)


def _add_to_meta(writer: sqlite3.Connection, key: str, n: int) -> None:
    writer.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + ?", (key, n, n))


def _add_range(writer: sqlite3.Connection, added: Range) -> None:
    """A range that goes on where another one ends makes that one longer: there are as many as there were starts."""
    grown = writer.execute(
        "UPDATE settled SET next = ?, records = records + ? WHERE partition = ? AND first = "
        "(SELECT max(first) FROM settled WHERE partition = ? AND next = ?)",
        (added.next, added.records, added.partition, added.partition, added.first),
    )
    if not grown.rowcount:
        writer.execute(
            "INSERT INTO settled VALUES (?, ?, ?, ?) ON CONFLICT (partition, first) DO UPDATE SET "
            "next = max(next, excluded.next), records = records + excluded.records",
            (added.partition, added.first, added.next, added.records),
        )
