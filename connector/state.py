"""What the connector remembers beside its journals: which origin owns which input ID, which metadata is saved.

One small SQLite file in state_dir. Losing it costs no data: metadata is saved once more, and IDs are given
out again in the order in which topics appear.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Final

from connector.mapping.input_ids import Origin
from connector.sqlite_files import open_durable, open_read_only

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS input_ids (input TEXT PRIMARY KEY, source TEXT, topic TEXT, path TEXT,
    record TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS saved_signals (integration TEXT, input TEXT, digest TEXT, PRIMARY KEY (integration, input))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published_signals (integration TEXT, input TEXT, digest TEXT,
    PRIMARY KEY (integration, input)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, at REAL, text TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS guarded_signals (input TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
"""


class SignalStatus(StrEnum):
    """What became of a signal when it was new, where new ones are guarded."""

    KNOWN = "known"
    HELD = "held"
    APPROVED = "approved"
    """Held until somebody approved it, and not let in by the running connector yet."""


def read_claims(path: Path) -> dict[str, Origin]:
    """Input ID → the origin that owns it, from a file that somebody else may have open."""
    with closing(open_read_only(path)) as connection:
        return _claims(connection)


def read_saved_signals(path: Path, integration: str) -> dict[str, str]:
    """Input ID → digest of the metadata that Clarify has from us, from such a file."""
    with closing(open_read_only(path)) as connection:
        return _saved_signals(connection, integration)


def read_held(path: Path) -> list[str]:
    """The input IDs of signals that wait for an approval, from a file that somebody else may have open."""
    with closing(open_read_only(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'guarded_signals'").fetchone():
            return []
        rows = connection.execute("SELECT input FROM guarded_signals WHERE status = 'held' ORDER BY input").fetchall()
        return [row[0] for row in rows]


def approve(path: Path, inputs: Iterable[str]) -> int:
    """Approve these held signals; a running connector lets them in within seconds. Returns how many there were."""
    with closing(open_durable(path, _SCHEMA)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        n = sum(
            connection.execute(
                "UPDATE guarded_signals SET status = 'approved' WHERE input = ? AND status = 'held'", (input_id,)
            ).rowcount
            for input_id in inputs
        )
        connection.execute("COMMIT")
        return n


def read_note(path: Path, name: str) -> tuple[float, str] | None:
    """(seconds since the epoch, text) of the newest note of this name, from a file that somebody else may have open."""
    with closing(open_read_only(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone():
            return None  # written by an earlier version
        row = connection.execute("SELECT at, text FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else (row[0], row[1])


class State:
    """The open file; safe for threads. Every change is durable when its method returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = open_durable(path, _SCHEMA)
            if not _knows_records(self._connection):
                self._connection.execute("ALTER TABLE input_ids ADD COLUMN record TEXT NOT NULL DEFAULT ''")
        except sqlite3.Error as error:
            raise type(error)(
                f"{path}: {error}; move it away to go on: no data is lost with it, but input IDs that two topics "
                "wanted may be given out the other way round"
            ) from error

    def claims(self) -> dict[str, Origin]:
        """Input ID → the origin that owns it."""
        with self._lock:
            return _claims(self._connection)

    def add_claims(self, claims: Iterable[tuple[str, Origin]]) -> None:
        """Remember who owns these input IDs."""
        self._many(
            "INSERT OR REPLACE INTO input_ids (input, source, topic, path, record) VALUES (?, ?, ?, ?, ?)",
            [(input_id, *origin) for input_id, origin in claims],
        )

    def saved_signals(self, integration: str) -> dict[str, str]:
        """Input ID → digest of the metadata that Clarify has from us."""
        with self._lock:
            return _saved_signals(self._connection, integration)

    def add_saved_signals(self, integration: str, digests: Iterable[tuple[str, str]]) -> None:
        """Remember that Clarify has this metadata."""
        self._many(
            "INSERT OR REPLACE INTO saved_signals VALUES (?, ?, ?)",
            [(integration, input_id, digest) for input_id, digest in digests],
        )

    def published_signals(self, integration: str) -> dict[str, str]:
        """Input ID → digest of what was last published, or found to be somebody else's."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT input, digest FROM published_signals WHERE integration = ?", (integration,)
            ).fetchall()
        return dict(rows)

    def add_published_signals(self, integration: str, digests: Iterable[tuple[str, str]]) -> None:
        """Remember what was published."""
        self._many(
            "INSERT OR REPLACE INTO published_signals VALUES (?, ?, ?)",
            [(integration, input_id, digest) for input_id, digest in digests],
        )

    def add_note(self, name: str, at: float, text: str) -> None:
        """Keep this in place of the last note of this name."""
        self._many("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", [(name, at, text)])

    def signal_statuses(self) -> dict[str, SignalStatus]:
        """Input ID → what became of it, for all signals since new ones are guarded."""
        with self._lock:
            rows = self._connection.execute("SELECT input, status FROM guarded_signals").fetchall()
        return {input_id: SignalStatus(status) for input_id, status in rows}

    def add_signal_statuses(self, statuses: Sequence[tuple[str, SignalStatus]]) -> None:
        """Remember what became of these; what somebody has approved meanwhile stays approved."""
        self._many(
            "INSERT INTO guarded_signals VALUES (?, ?) ON CONFLICT DO UPDATE SET status = excluded.status "
            "WHERE guarded_signals.status != 'approved'",
            statuses,
        )

    def take_approved(self) -> list[str]:
        """What was approved since the last call, and is known from now on."""
        with self._lock:
            if not self._connection.execute("SELECT 1 FROM guarded_signals WHERE status = 'approved'").fetchone():
                return []
            rows = self._connection.execute(
                "UPDATE guarded_signals SET status = 'known' WHERE status = 'approved' RETURNING input"
            ).fetchall()
        return [row[0] for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _many(self, statement: str, rows: Sequence[tuple[str | float, ...]]) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _saved_signals(connection: sqlite3.Connection, integration: str) -> dict[str, str]:
    return dict(
        connection.execute("SELECT input, digest FROM saved_signals WHERE integration = ?", (integration,)).fetchall()
    )


def _knows_records(connection: sqlite3.Connection) -> bool:
    """Earlier versions did not tell the records of a topic apart."""
    return any(column[1] == "record" for column in connection.execute("PRAGMA table_info(input_ids)"))


def _claims(connection: sqlite3.Connection) -> dict[str, Origin]:
    more = ", record" if _knows_records(connection) else ""
    rows = connection.execute(f"SELECT input, source, topic, path{more} FROM input_ids")  # noqa: S608 - constants
    return {row[0]: Origin(*row[1:]) for row in rows}
