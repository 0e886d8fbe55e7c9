"""The file behind a source: its journal, its position and its ledger, in one SQLite database.

One file, so that a position, the account of what it settles and the removal of its messages are one
transaction: after any crash the ledger is exact. Messages are stored as rows of many records each, with a
checksum. A file that SQLite or the checksum finds damaged is set aside under another name, what can still be
read is carried over, and the start goes on; what is missing then shows in the ledger, which does not balance.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from connector.progress import Commit, Counts, Tallies, Tally
from connector.records import Record

_APPLICATION_ID: Final = 0x436C6A31
_CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024
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
CREATE TABLE IF NOT EXISTS incidents (at TEXT NOT NULL, message TEXT NOT NULL);
"""
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
        self._reader = _connect(path)
        self.incarnation = str(self.meta("incarnation"))
        """Changes when positions begin anew: part of a record's identity in the dead letters."""
        self.next_position = int(self.meta("next_position") or 1)
        first = writer.execute("SELECT min(first) FROM journal").fetchone()[0]
        self.first_waiting = self.next_position if first is None else int(first)
        """Position of the oldest record that waited when the file was opened."""
        self.waiting_bytes = int(writer.execute("SELECT total(bytes) FROM journal").fetchone()[0])

    @classmethod
    def open(cls, path: Path) -> LogFile:
        """Open or create; a damaged file is set aside (see `set_aside`). Raises OSError or sqlite3.Error."""
        try:
            return cls(path, _open_checked(path), None)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, DamagedError) as error:
            kept_as = _move_aside(path)
            writer = _open_checked(path)
            recovered = _salvage(kept_as, writer)
            found = SetAside(kept_as, str(error), recovered)
            writer.execute("INSERT INTO incidents VALUES (?, ?)", (_now(), str(found)))
            return cls(path, writer, found)

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

    def _apply(self, commit: Commit) -> int:
        writer = self._writer
        removed = writer.execute("SELECT total(bytes) FROM journal WHERE first <= ?", (commit.position,)).fetchone()[0]
        writer.execute("DELETE FROM journal WHERE first <= ?", (commit.position,))
        writer.executemany(
            _UPSERT, ((topic, *astuple(t.messages), *astuple(t.samples)) for topic, t in commit.tallies.items())
        )
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
    waiting: list[Row]
    damaged_rows: int
    incidents: list[str]


def read_statement(path: Path) -> Statement:
    """Read the ledger and everything that waits, as one consistent snapshot, also while a connector runs."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN")
        next_position = connection.execute("SELECT value FROM meta WHERE key = 'next_position'").fetchone()
        rows = [
            _checked_row(*row)
            for row in connection.execute("SELECT first, count, crc, body FROM journal ORDER BY first")
        ]
        return Statement(
            appended=(int(next_position[0]) if next_position else 1) - 1,
            settled=_tallies(connection),
            waiting=[row for row in rows if isinstance(row, Row)],
            damaged_rows=sum(1 for row in rows if not isinstance(row, Row)),
            incidents=[f"{at} {message}" for at, message in connection.execute("SELECT at, message FROM incidents")],
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    return connection


def _open_checked(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        _check(connection, path)
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('incarnation', ?)", (secrets.token_hex(4),))
        connection.execute("SELECT count(*) FROM ledger").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] not in (0, _APPLICATION_ID):
        raise DamagedError("it is a database of another program")
    if path.stat().st_size < _CHECK_BELOW_BYTES:
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise DamagedError(verdict.splitlines()[-1])


def _move_aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    kept_as = path.with_name(f"{path.name}.damaged-{stamp}")
    path.rename(kept_as)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept_as.with_name(kept_as.name + suffix))
    return kept_as


def _salvage(damaged: Path, writer: sqlite3.Connection) -> int:
    """Carry over what the damaged file still gives: rows from both ends, the ledger, what was remembered."""
    rows: dict[int, tuple[int, int, int, int, bytes]] = {}
    recovered = 0
    with closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        for order in ("ASC", "DESC"):
            query = f"SELECT first, count, bytes, crc, body FROM journal ORDER BY first {order}"  # noqa: S608
            for row in _while_readable(old, query):
                first, count, _, crc, body = row
                if first in rows:
                    break
                if isinstance(_checked_row(first, count, crc, body), Row):
                    rows[first] = row
                    recovered += count
        writer.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", rows.values())
        writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", _while_readable(old, "SELECT * FROM meta"))
        writer.executemany(_UPSERT, _while_readable(old, "SELECT * FROM ledger"))
    after = max((first + count for first, count, *_ in rows.values()), default=1)
    known = writer.execute("SELECT value FROM meta WHERE key = 'next_position'").fetchone()
    writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (max(after, known[0] if known else 1),))
    return recovered


def _while_readable(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows until the damage: reaching it is the expected end here, and the caller counts what came."""
    try:
        yield from connection.execute(query)
    except sqlite3.DatabaseError:
        return


def _checksum(first: int, count: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{first},{count}".encode()))


def _checked_row(first: int, count: int, crc: int, body: bytes) -> Row | DamagedError:
    where = f"{count} messages from position {first} on"
    if _checksum(first, count, body) != crc:
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
