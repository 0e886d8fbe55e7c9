"""The tables in the file of a source; opens and checks the file. No state.

The file has two halves. The journal (`journal`, `damaged_rows`) has the waiting messages. The ledger (`ledger`,
`settled`, `positions`, `losses`, `incidents`) has the account of settled and lost messages. `meta` has the counters of
both halves, and a few values that a source remembers.
"""

from __future__ import annotations

import secrets
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from connector.state.sqlite import companion_file, open_durable

APPLICATION_ID: Final = 0x436C6A31
CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024
"""A larger file is checked only after damage was found in it: reading a gigabyte would make each start slow."""
COUNTS: Final = ("received", "inserted", "dead_lettered", "superseded", "filtered")
COLUMNS: Final = tuple(f"{unit}_{count}" for unit in ("messages", "samples") for count in COUNTS)
"""The columns of a line of the ledger, except for its topic."""
_SCHEMA: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE journal (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE ledger (
    topic TEXT PRIMARY KEY, {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0" for column in COLUMNS)}
) WITHOUT ROWID;
CREATE TABLE settled (
    partition TEXT NOT NULL, log TEXT NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    records INTEGER NOT NULL, PRIMARY KEY (partition, log, first)
) WITHOUT ROWID;
CREATE TABLE positions (
    partition TEXT PRIMARY KEY, log TEXT NOT NULL, cluster TEXT NOT NULL, next INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE incidents (at TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, first INTEGER, next INTEGER, records INTEGER, reason TEXT NOT NULL,
    acknowledged TEXT
);
CREATE TABLE damaged_rows (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, first INTEGER, count INTEGER, crc INTEGER, body BLOB
);
"""
_TABLES: Final = {
    "meta": ("key", "value"),
    "journal": ("first", "count", "bytes", "crc", "body"),
    "ledger": ("topic", *COLUMNS),
    "settled": ("partition", "log", "first", "next", "records"),
    "positions": ("partition", "log", "cluster", "next"),
    "incidents": ("at", "message"),
    "losses": ("id", "at", "first", "next", "records", "reason", "acknowledged"),
    "damaged_rows": ("id", "at", "first", "count", "crc", "body"),
}


class DamagedError(Exception):
    """The file, or one row of its journal, is damaged. For a row, `first` is the position in the row."""

    def __init__(self, message: str, first: int | None = None) -> None:
        super().__init__(message)
        self.first = first


def now_text() -> str:
    """Returns the present time as text, for losses and incidents."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def open_checked(path: Path, check_below_bytes: int) -> sqlite3.Connection:
    """Open the file, or create it with all its tables.

    A file below `check_below_bytes`, or a file that may be damaged, is checked page by page. Raises `DamagedError`,
    OSError, UnicodeDecodeError and sqlite3.Error; the connection is closed then.
    """
    new = not path.exists() or not path.stat().st_size
    connection = open_durable(path, give_back=new)
    try:
        _check_pages(connection, path, check_below_bytes)
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            create_tables(connection)
        _check_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection) -> None:
    """Create all tables, and the counters of an empty file, in one transaction."""
    connection.executescript(
        f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA} INSERT INTO meta VALUES "  # noqa: S608 - no input
        f"('incarnation', '{secrets.token_hex(4)}'), ('next_position', 1), ('settled_to', 0), ('waiting_bytes', 0); "
        "COMMIT"
    )


def _check_tables(connection: sqlite3.Connection) -> None:
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if missing := set(_TABLES) - known:
        raise DamagedError(f"the file has no table {', '.join(sorted(missing))}")
    for table, columns in _TABLES.items():
        connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants


def _check_pages(connection: sqlite3.Connection, path: Path, below_bytes: int) -> None:
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not ours and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise DamagedError("the file is a database of another program")
    suspected = suspected_file(path)
    if path.stat().st_size < below_bytes or suspected.exists():
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise DamagedError(verdict.splitlines()[-1])
        suspected.unlink(missing_ok=True)


def means_damage(error: Exception) -> bool:
    """Whether `error` means that the file is damaged.

    All other errors are about the disk, a lock or a permission. They may end without any change to the file.
    """
    return not isinstance(error, sqlite3.OperationalError) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR


def suspected_file(path: Path) -> Path:
    """Returns the path of the mark: if this file exists, the source's file `path` is checked at the next start."""
    return companion_file(path, ".suspected")
