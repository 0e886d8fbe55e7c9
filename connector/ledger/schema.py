"""What is in the file behind a source: tables, rows with a checksum, ranges, losses. No state.

`log_file` writes it, `log_recovery` carries over what a damaged file still gives, `log_statement` reads it beside
its owner.
"""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from connector.ledger.account import Counts, Tallies, Tally
from connector.records import Record
from connector.state.sqlite import open_durable

APPLICATION_ID: Final = 0x436C6A31
CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024
"""Larger files are checked only after damage was met in them: reading a gigabyte would make each start slow."""
ROW_OVERHEAD: Final = 64
_COUNTS: Final = ("received", "inserted", "dead_lettered", "superseded", "filtered")
COLUMNS: Final = tuple(f"{unit}_{count}" for unit in ("messages", "samples") for count in _COUNTS)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger (
    topic TEXT PRIMARY KEY, {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0" for column in COLUMNS)}
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    partition TEXT NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incidents (at TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS losses (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, first INTEGER, next INTEGER, records INTEGER, reason TEXT NOT NULL,
    acknowledged TEXT
);
CREATE TABLE IF NOT EXISTS damaged_rows (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, first INTEGER, count INTEGER, crc INTEGER, body BLOB
);
"""
_TABLES: Final = {
    "meta": ("key", "value"),
    "journal": ("first", "count", "bytes", "crc", "body"),
    "ledger": ("topic", *COLUMNS),
    "settled": ("partition", "first", "next", "records"),
    "incidents": ("at", "message"),
    "losses": ("id", "at", "first", "next", "records", "reason", "acknowledged"),
    "damaged_rows": ("id", "at", "first", "count", "crc", "body"),
}
UPSERT: Final = (
    f"INSERT INTO ledger (topic, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)}) "  # noqa: S608 - constants
    f"ON CONFLICT (topic) DO UPDATE SET {', '.join(f'{c} = {c} + excluded.{c}' for c in COLUMNS)}"
)

encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Record]).decode


class DamagedError(Exception):
    """The file is damaged, or one row of it: then `first` is the position that it claims."""

    def __init__(self, message: str, first: int | None = None) -> None:
        super().__init__(message)
        self.first = first


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
class Loss:
    """Messages that are gone although they had come in, or whose account is gone."""

    id: int
    at: str
    first: int | None
    """Their positions, from `first` to before `next`; None if not known."""
    next: int | None
    records: int | None
    """How many; None if not known until somebody acknowledges it. Negative: the account has too many."""
    reason: str
    acknowledged: str | None
    """When and why a person took note of it."""

    def __str__(self) -> str:
        if self.records is None:
            what = "an unknown number of messages"
        elif self.first is None or self.next is None:
            what = f"{self.records} messages"
        else:
            what = f"{self.records} messages, positions {self.first} to {self.next - 1}"
        return f"{what}: {self.reason}"


def now_text() -> str:
    """The time for incidents and losses."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def open_checked(path: Path, check_below_bytes: int) -> sqlite3.Connection:
    """Open or create, with all tables. Raises `DamagedError`, or what SQLite raises, and then leaves nothing open."""
    new = not path.exists()
    connection = open_durable(path, give_back=new)
    try:
        _check(connection, path, check_below_bytes)
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not set(_TABLES) <= known:  # nothing is written where nothing is missing: the disk may be full
            create(connection)
        if not connection.execute("SELECT 1 FROM meta WHERE key = 'incarnation'").fetchone():
            # With its numbers: where they cannot be read, that is because of damage.
            connection.execute(
                "INSERT INTO meta VALUES ('incarnation', ?), ('next_position', 1), ('settled_to', 0), "
                "('waiting_bytes', 0)",
                (secrets.token_hex(4),),
            )
        for table, columns in _TABLES.items():
            connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants
    except BaseException:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection) -> None:
    """Make all tables that are missing."""
    connection.executescript(f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA} COMMIT")


def _check(connection: sqlite3.Connection, path: Path, below_bytes: int) -> None:
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not ours and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise DamagedError("it is a database of another program")
    suspected = suspected_file(path)
    if path.stat().st_size < below_bytes or suspected.exists():
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise DamagedError(verdict.splitlines()[-1])
        suspected.unlink(missing_ok=True)


def means_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the disk, a lock or a permission: those may mend by themselves."""
    return not isinstance(error, sqlite3.OperationalError) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR


def suspected_file(path: Path) -> Path:
    """Where it is noted that the file has to be checked at the next start."""
    return beside(path, ".suspected")


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to this one."""
    return path.with_name(path.name + suffix)


def checksum(first: int, count: int, body: bytes) -> int:
    """What a row of the journal is protected by."""
    return zlib.crc32(body, zlib.crc32(f"{first},{count}".encode()))


def checked_row(first: int, count: int, crc: int, body: object) -> Row | DamagedError:
    """The row, if it is what was written."""
    where = f"{count} messages from position {first} on"
    if not isinstance(body, bytes) or checksum(first, count, body) != crc:
        return DamagedError(f"{where} fail their checksum", first)
    try:
        records = _decode(body)
    except msgspec.DecodeError as error:
        return DamagedError(f"{where} cannot be decoded: {error}", first)
    return Row(first, records)


def ledger_rows(tallies: Tallies) -> Iterator[tuple[str | int, ...]]:
    """Rows for `UPSERT`."""
    return ((topic, *astuple(t.messages), *astuple(t.samples)) for topic, t in tallies.items())


def read_tallies(connection: sqlite3.Connection) -> Tallies:
    """What was settled of each topic."""
    half = 1 + len(_COUNTS)
    return {
        row[0]: Tally(Counts(*row[1:half]), Counts(*row[half:]))
        for row in connection.execute(f"SELECT topic, {', '.join(COLUMNS)} FROM ledger ORDER BY topic")  # noqa: S608
    }


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """A file that an earlier version wrote lacks some."""
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0])


def read_ranges(connection: sqlite3.Connection, partition: str = "") -> list[Range]:
    """What is settled of a partition, or of all, in order."""
    rows = connection.execute(
        "SELECT partition, first, next, records FROM settled WHERE ? IN ('', partition) ORDER BY partition, first",
        (partition,),
    )
    return [Range(*row) for row in rows]


def read_losses(connection: sqlite3.Connection) -> list[Loss]:
    """All that was ever lost, in the order in which it was found."""
    rows = connection.execute("SELECT id, at, first, next, records, reason, acknowledged FROM losses ORDER BY id")
    return [Loss(*row) for row in rows]


def add_loss(
    writer: sqlite3.Connection, first: int | None, after: int | None, records: int | None, reason: str
) -> None:
    """Remember that these positions are lost."""
    writer.execute(
        "INSERT INTO losses (at, first, next, records, reason) VALUES (?, ?, ?, ?, ?)",
        (now_text(), first, after, records, reason),
    )


def missing_ranges(start: int, end: int, *present: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which positions from `start` to before `end` are in none of these ranges (first, next), which may overlap."""
    missing: list[tuple[int, int]] = []
    for first, after in sorted(part for parts in present for part in parts):
        if first >= end:
            break
        if first > start:
            missing.append((start, first))
        start = max(start, after)
    if start < end:
        missing.append((start, end))
    return missing


def lost_ranges(losses: Sequence[Loss]) -> list[tuple[int, int]]:
    """The positions that are known to be lost, as (first, next)."""
    return [(loss.first, loss.next) for loss in losses if loss.first is not None and loss.next is not None]
