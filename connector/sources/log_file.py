"""The file behind a source: its journal, its position and its ledger, in one SQLite database.

One file, so that a position, the account of what it settles and the removal of its messages are one
transaction: after any crash the ledger is exact. Messages are stored as rows of many records each, with a
checksum. A file that SQLite finds damaged is set aside under another name, what can still be read is carried
over, and the start goes on; what is missing then shows in the ledger, which does not balance. While that is
under way the damaged file is called `….recovering`: a crash in the middle only makes the next start do it again.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from connector.progress import Commit, Counts, Tallies, Tally
from connector.records import Record
from connector.sqlite_files import open_durable, open_read_only

_APPLICATION_ID: Final = 0x436C6A31
_CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024
"""Larger files are checked only after damage was met in them: reading a gigabyte would make each start slow."""
_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a file."""
_ROW_OVERHEAD: Final = 64
_COUNTS: Final = ("received", "inserted", "dead_lettered", "superseded", "filtered")
_COLUMNS: Final = tuple(f"{unit}_{count}" for unit in ("messages", "samples") for count in _COUNTS)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger (
    topic TEXT PRIMARY KEY, {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0" for column in _COLUMNS)}
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    partition TEXT NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incidents (at TEXT NOT NULL, message TEXT NOT NULL);
"""
_TABLES: Final = {
    "meta": ("key", "value"),
    "journal": ("first", "count", "bytes", "crc", "body"),
    "ledger": ("topic", *_COLUMNS),
    "settled": ("partition", "first", "next", "records"),
    "incidents": ("at", "message"),
}
_UPSERT: Final = (
    f"INSERT INTO ledger (topic, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)}) "  # noqa: S608 - constants
    f"ON CONFLICT (topic) DO UPDATE SET {', '.join(f'{c} = {c} + excluded.{c}' for c in _COLUMNS)}"
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class DamagedError(Exception):
    """The file is damaged; it is set aside at the next start."""


@dataclass(frozen=True, slots=True)
class Row:
    """Consecutive records of the journal."""

    first: int
    records: list[Record]

    @property
    def last(self) -> int:
        """Position of the last record."""
        return self.first + len(self.records) - 1


@dataclass(frozen=True, slots=True)
class Range:
    """Positions of a partition from `first` to before `next`, all settled: `records` of them were records."""

    partition: str
    first: int
    next: int
    records: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A damaged file was found at start-up."""

    kept_as: Path
    reason: str
    recovered_records: int

    def __str__(self) -> str:
        return (
            f"the file was damaged ({self.reason}) and is kept as {self.kept_as}; {self.recovered_records} waiting "
            "messages could be carried over. Compare the ledger to see whether any are missing."
        )


class LogFile:
    """An open file. Safe for threads, but `read_next` is for one thread only: it has a connection of its own."""

    def __init__(self, path: Path, writer: sqlite3.Connection, set_aside: SetAside | None) -> None:
        self.path = path
        self.set_aside = set_aside
        self._writer = writer
        self._lock = threading.Lock()
        self.incarnation = str(self.meta("incarnation"))
        """Changes when positions begin anew: part of a record's identity in the dead letters."""
        first, after = writer.execute("SELECT min(first), max(first + count) FROM journal").fetchone()
        self.next_position = max(int(self.meta("next_position") or 1), after or 1)
        self.first_waiting = self.next_position if first is None else int(first)
        """Position of the oldest record that waited when the file was opened."""
        self.waiting_bytes = int(writer.execute("SELECT total(bytes) FROM journal").fetchone()[0])
        self._reader = open_durable(path)

    @classmethod
    def open(cls, path: Path, *, check_below_bytes: int = _CHECK_BELOW_BYTES) -> LogFile:
        """Open or create; a damaged file is set aside (see `set_aside`). Raises OSError or sqlite3.Error."""
        if _recovering(path).exists():
            reason = "an earlier recovery was cut short"
        else:
            try:
                return cls._closing_on_error(path, _open_checked(path, check_below_bytes), None)
            except (sqlite3.DatabaseError, UnicodeDecodeError, DamagedError) as error:
                if not _means_damage(error):
                    raise
                reason = str(error)
        writer, found = _recover(path, reason)
        return cls._closing_on_error(path, writer, found)

    @classmethod
    def _closing_on_error(cls, path: Path, writer: sqlite3.Connection, found: SetAside | None) -> LogFile:
        """A connection left open would, when it goes at last, remove the -wal of the file that comes after."""
        try:
            return cls(path, writer, found)
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
        position = self.next_position
        added = 0
        written = []
        with self._transaction() as writer:
            for records in rows:
                body = _encode(records)
                size = len(body) + _ROW_OVERHEAD
                writer.execute(
                    "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
                    (position, len(records), size, _checksum(position, len(records), body), body),
                )
                written.append(Row(position, records))
                position += len(records)
                added += size
            if rows:
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (position,))
            removed = sum(self._apply(commit) for commit in commits)
        self.next_position = position
        self.waiting_bytes += added - removed
        return written

    def count_without_journal(self, n: int, commits: Iterable[Commit]) -> None:
        """The same for a journal in memory: `n` records came and went."""
        with self._transaction() as writer:
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (self.next_position + n,))
            for commit in commits:
                self._apply(commit)
        self.next_position += n

    def settle_ranges(self, ranges: Iterable[Range], commits: Iterable[Commit], *, redelivered: int = 0) -> None:
        """The same for a log that is kept elsewhere: these ranges of it are settled, with this account.
        `redelivered` of their records were settled before."""
        records = 0
        with self._transaction() as writer:
            for found in ranges:
                _add_range(writer, found)
                records += found.records
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (self.next_position + records,))
            if redelivered:
                _add_to_meta(writer, "redelivered", redelivered)
            for commit in commits:
                writer.executemany(_UPSERT, _ledger_rows(commit.tallies))
        self.next_position += records

    def ranges(self, partition: str) -> list[Range]:
        """What is settled of a partition, in order."""
        with self._lock:
            return _ranges(self._writer, partition)

    def note_loss(self, message: str, records: int) -> None:
        """Remember durably that so many records (0: not known) were gone before they could be read."""
        with self._transaction() as writer:
            writer.execute("INSERT INTO incidents VALUES (?, ?)", (_now(), message))
            _add_to_meta(writer, "expired", records)

    def _apply(self, commit: Commit) -> int:
        writer = self._writer
        removed = writer.execute("SELECT total(bytes) FROM journal WHERE first <= ?", (commit.position,)).fetchone()[0]
        writer.execute("DELETE FROM journal WHERE first <= ?", (commit.position,))
        writer.executemany(_UPSERT, _ledger_rows(commit.tallies))
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

    # -- reading ----------------------------------------------------------------------------------

    def read_next(self, position: int) -> Row | DamagedError | None:
        """The first row at or after this position; a row whose checksum fails comes as the error to report."""
        found = self._reader.execute(
            "SELECT first, count, crc, body FROM journal WHERE first >= ? ORDER BY first LIMIT 1", (position,)
        ).fetchone()
        return None if found is None else _checked_row(*found)

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
                    checked = None if stored is None else _checked_row(*stored)
                    row = checked if isinstance(checked, Row) else None
                if row is not None and row.first <= position <= row.last:
                    found[position] = row.records[position - row.first]
                    size += len(found[position].payload or b"")
        return found, done

    def suspect(self) -> None:
        """Have the file checked at the next start, whatever its size. Raises OSError."""
        _suspected(self.path).touch()

    def close(self) -> None:
        """Close both connections; everything written is durable already."""
        self._reader.close()
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Statement:
    """What a file says at one moment, read without disturbing its owner."""

    appended: int
    """Records that ever came in."""
    settled: Tallies
    damaged_rows: int
    incidents: list[str]
    ranges: list[Range]
    """What is settled of a log that is kept elsewhere."""
    redelivered: int
    """Records among the settled ones that were settled before."""
    expired: int
    """Records that were gone before they could be read."""
    account_lost: str | None
    """Why the account is not complete, where a damaged file took a part of it along."""


def _ledger_rows(tallies: Tallies) -> Iterator[tuple[str | int, ...]]:
    return ((topic, *astuple(t.messages), *astuple(t.samples)) for topic, t in tallies.items())


def _add_to_meta(writer: sqlite3.Connection, key: str, n: int) -> None:
    writer.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + ?", (key, n, n))


def _ranges(connection: sqlite3.Connection, partition: str = "") -> list[Range]:
    rows = connection.execute(
        "SELECT partition, first, next, records FROM settled WHERE ? IN ('', partition) ORDER BY partition, first",
        (partition,),
    )
    return [Range(*row) for row in rows]


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


def read_statement(path: Path, waiting: Callable[[Row], None]) -> Statement:
    """Read the ledger, and give `waiting` every row that waits: one consistent snapshot, also while a connector
    runs."""
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        damaged = 0
        for found in connection.execute("SELECT first, count, crc, body FROM journal ORDER BY first"):
            row = _checked_row(*found)
            if isinstance(row, Row):
                waiting(row)
            else:
                damaged += 1
        return Statement(
            appended=int(meta.get("next_position", 1)) - 1,
            settled=_tallies(connection),
            damaged_rows=damaged,
            incidents=[f"{at} {message}" for at, message in connection.execute("SELECT at, message FROM incidents")],
            ranges=_ranges(connection) if _has_ranges(connection) else [],
            redelivered=int(meta.get("redelivered", 0)),
            expired=int(meta.get("expired", 0)),
            account_lost=meta.get("account_lost"),
        )


def _has_ranges(connection: sqlite3.Connection) -> bool:
    """A file that an earlier version wrote has none."""
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'settled'").fetchone()[0])


def _open_checked(path: Path, check_below_bytes: int) -> sqlite3.Connection:
    connection = open_durable(path)
    try:
        _check(connection, path, check_below_bytes)
        connection.executescript(f"BEGIN; PRAGMA application_id = {_APPLICATION_ID}; {_SCHEMA} COMMIT")
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('incarnation', ?)", (secrets.token_hex(4),))
        for table, columns in _TABLES.items():
            connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, below_bytes: int) -> None:
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
    if not ours and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise DamagedError("it is a database of another program")
    suspected = _suspected(path)
    if path.stat().st_size < below_bytes or suspected.exists():
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise DamagedError(verdict.splitlines()[-1])
        suspected.unlink(missing_ok=True)


def _means_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the disk, a lock or a permission: those may mend by themselves."""
    return not isinstance(error, sqlite3.OperationalError) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR


def _suspected(path: Path) -> Path:
    return _beside(path, ".suspected")


def _recovering(path: Path) -> Path:
    return _beside(path, ".recovering")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _recover(path: Path, reason: str) -> tuple[sqlite3.Connection, SetAside]:
    """Set the damaged file aside and open a new one with what could be carried over.

    The order of the steps makes it safe to begin again after a crash: while the damaged file is called
    `….recovering`, whatever stands at `path` is an unfinished copy; only if nothing does, a `-wal` belongs to
    the damaged file.
    """
    damaged = _recovering(path)
    if not damaged.exists():
        for suffix in _BESIDE:
            _beside(damaged, suffix).unlink(missing_ok=True)
        path.rename(damaged)
    elif path.exists():
        for suffix in (*_BESIDE, ""):
            _beside(path, suffix).unlink(missing_ok=True)
    _rename_beside(path, damaged)
    writer = _open_checked(path, _CHECK_BELOW_BYTES)
    try:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        kept_as = _beside(path, f".damaged-{stamp}")
        found = _salvage(damaged, writer, kept_as, reason)
        damaged.rename(kept_as)
        _rename_beside(damaged, kept_as)
    except BaseException:
        writer.close()
        raise
    _suspected(path).unlink(missing_ok=True)
    return writer, found


def _rename_beside(old: Path, new: Path) -> None:
    for suffix in _BESIDE:
        if _beside(old, suffix).exists():
            _beside(old, suffix).rename(_beside(new, suffix))


def _salvage(damaged: Path, writer: sqlite3.Connection, kept_as: Path, reason: str) -> SetAside:
    """Carry over what the damaged file still gives, in one transaction, with a note of what happened."""
    writer.execute("BEGIN IMMEDIATE")
    with closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        recovered, after = _salvage_rows(old, writer)
        account_lost = not _salvage_account(old, writer, after)
    found = SetAside(kept_as, reason, recovered)
    writer.execute("INSERT INTO incidents VALUES (?, ?)", (_now(), str(found)))
    if account_lost:
        note = f"of what came in before {_now()} the account could not be read; the damaged file is {kept_as}"
        writer.execute("INSERT OR REPLACE INTO meta VALUES ('account_lost', ?)", (note,))
    writer.execute("COMMIT")
    return found


def _salvage_rows(old: sqlite3.Connection, writer: sqlite3.Connection) -> tuple[int, int]:
    """Rows from both ends, as far as they can be read: (records carried over, the position after them)."""
    recovered, after = 0, 1
    for rising in (True, False):
        for first, count, crc, body in _readable_rows(old, rising):
            if not isinstance(_checked_row(first, count, crc, body), Row):
                continue
            cursor = writer.execute(
                "INSERT OR IGNORE INTO journal VALUES (?, ?, ?, ?, ?)",
                (first, count, len(body) + _ROW_OVERHEAD, crc, body),
            )
            if not cursor.rowcount:
                break
            recovered += count
            after = max(after, first + count)
    return recovered, after


def _readable_rows(old: sqlite3.Connection, rising: bool) -> Iterator[tuple[int, int, int, Any]]:
    """Rows until the damage. Each is asked for by itself: a cursor that runs into damage loses the row before it,
    and a row of which only the body is damaged can be stepped over."""
    comparison, order, at = (">", "ASC", 0) if rising else ("<", "DESC", 2**63 - 1)
    tail = f"FROM journal WHERE first {comparison} ? ORDER BY first {order} LIMIT 1"
    while True:
        found = next(_while_readable(old, f"SELECT first, count, crc, body {tail}", [], at), None)
        key = found or next(_while_readable(old, f"SELECT first {tail}", [], at), None)
        if key is None or not (key[0] > at if rising else key[0] < at):
            return
        at = key[0]
        if found:
            yield found[0], found[1], found[2], found[3]


def _salvage_account(old: sqlite3.Connection, writer: sqlite3.Connection, after: int) -> bool:
    """Ledger, incidents and what was remembered; whether all that the ledger's balance needs could be read."""
    damage: list[str] = []
    for key, value in _while_readable(old, "SELECT key, value FROM meta", damage):
        if isinstance(key, str) and isinstance(value, str | int):
            writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    for topic, *counts in _while_readable(old, f"SELECT topic, {', '.join(_COLUMNS)} FROM ledger", damage):  # noqa: S608
        if isinstance(topic, str) and all(isinstance(count, int) for count in counts):
            writer.execute(_UPSERT, (topic, *counts))
        else:
            damage.append("a row of the ledger makes no sense")
    has_ranges = next(_while_readable(old, "SELECT 1 FROM sqlite_schema WHERE name = 'settled'", []), None)
    for found in (
        _while_readable(old, "SELECT partition, first, next, records FROM settled", damage) if has_ranges else ()
    ):
        if isinstance(found[0], str) and all(isinstance(number, int) for number in found[1:]):
            writer.execute("INSERT OR IGNORE INTO settled VALUES (?, ?, ?, ?)", found)
        else:
            damage.append("a range makes no sense")
    for incident in _while_readable(old, "SELECT at, message FROM incidents", []):
        writer.execute("INSERT INTO incidents VALUES (?, ?)", incident)
    known = writer.execute("SELECT value FROM meta WHERE key = 'next_position'").fetchone()
    if known is None or not isinstance(known[0], int):
        damage.append("the next position is not known")
        known = (1,)
    writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (max(after, known[0]),))
    return not damage


def _while_readable(
    connection: sqlite3.Connection, query: str, damage: list[str], *values: int
) -> Iterator[tuple[Any, ...]]:
    """Rows until the damage, which is noted: reaching it is the expected end here."""
    try:
        yield from connection.execute(query, values)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: its own text may be damaged too
        damage.append(str(error))


def _checksum(first: int, count: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{first},{count}".encode()))


def _checked_row(first: int, count: int, crc: int, body: object) -> Row | DamagedError:
    where = f"{count} messages from position {first} on"
    if not isinstance(body, bytes) or _checksum(first, count, body) != crc:
        return DamagedError(f"{where} fail their checksum")
    try:
        records = _decode(body)
    except msgspec.DecodeError as error:
        return DamagedError(f"{where} cannot be decoded: {error}")
    return Row(first, records)


def _tallies(connection: sqlite3.Connection) -> Tallies:
    half = 1 + len(_COUNTS)
    return {
        row[0]: Tally(Counts(*row[1:half]), Counts(*row[half:]))
        for row in connection.execute(f"SELECT topic, {', '.join(_COLUMNS)} FROM ledger ORDER BY topic")  # noqa: S608
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
