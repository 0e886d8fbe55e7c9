"""What the connector remembers beside its journals: which origin owns which input ID, what nodes have said, and, in
tables of `metadata_book.py`, which metadata is saved and which is not yet.

One small SQLite file in state_dir. Losing it costs no data: metadata is saved once more, and IDs are given
out again in the order in which topics appear.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from connector.formats.sparkplug.topic import Owner
from connector.mapping.signals.input_ids import Origin
from connector.state.sqlite import open_durable, open_read_only

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS input_ids (input TEXT PRIMARY KEY, source TEXT, topic TEXT, path TEXT,
    record TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, at REAL, text TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS guarded_signals (input TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS learned_states (input TEXT, text TEXT, number INTEGER, PRIMARY KEY (input, text))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sparkplug_births (source TEXT, grp TEXT, node TEXT, device TEXT, said BLOB,
    PRIMARY KEY (source, grp, node, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows_done (input TEXT PRIMARY KEY, until_us INTEGER) WITHOUT ROWID;
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


@dataclass(frozen=True, slots=True)
class Memory:
    """What a mapping has to remember over restarts."""

    claims: dict[str, Origin] = field(default_factory=dict)
    """Input ID → the origin that owns it."""
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    """Input ID → text → the number that it has for ever."""
    births: dict[str, list[tuple[Owner, bytes]]] = field(default_factory=dict)
    """Source → what Sparkplug's nodes and devices had said."""


def read_memory(path: Path) -> Memory:
    """All of it, from a file that somebody else may have open; nothing if there is none."""
    if not path.exists():
        return Memory()
    with closing(open_read_only(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        return Memory(
            _claims(connection),
            _learned_states(connection) if "learned_states" in tables else {},
            _births(connection) if "sparkplug_births" in tables else {},
        )


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

    def learned_states(self) -> dict[str, dict[str, int]]:
        """Input ID → text → the number that it has for ever."""
        with self._lock:
            return _learned_states(self._connection)

    def add_learned_states(self, states: Iterable[tuple[str, str, int]]) -> None:
        """Remember the numbers of these texts; one that is known keeps its number."""
        self._many("INSERT OR IGNORE INTO learned_states VALUES (?, ?, ?)", list(states))

    def windows_done(self) -> dict[str, int]:
        """Input ID → µs up to which its windows are inserted."""
        with self._lock:
            return dict(self._connection.execute("SELECT input, until_us FROM windows_done").fetchall())

    def add_windows_done(self, done: Mapping[str, int]) -> None:
        """Remember up to where the windows of these inputs are inserted."""
        self._many("INSERT OR REPLACE INTO windows_done VALUES (?, ?)", list(done.items()))

    def births(self) -> dict[str, list[tuple[Owner, bytes]]]:
        """Source → what Sparkplug's nodes and devices had said."""
        with self._lock:
            return _births(self._connection)

    def keep_births(self, source: str, births: Iterable[tuple[Owner, bytes | None]]) -> None:
        """Remember what these nodes and devices have said; forget those that come with None."""
        with self.transaction() as connection:
            for owner, said in births:
                if said is None:
                    connection.execute(
                        "DELETE FROM sparkplug_births WHERE (source, grp, node, device) = (?, ?, ?, ?)",
                        (source, *owner),
                    )
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO sparkplug_births VALUES (?, ?, ?, ?, ?)", (source, *owner, said)
                    )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _many(self, statement: str, rows: Sequence[tuple[str | float, ...]]) -> None:
        with self.transaction() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading alone."""
        with self._lock:
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection within a transaction, which is durable afterwards; or undone, if it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _knows_records(connection: sqlite3.Connection) -> bool:
    """Earlier versions did not tell the records of a topic apart."""
    return any(column[1] == "record" for column in connection.execute("PRAGMA table_info(input_ids)"))


def _claims(connection: sqlite3.Connection) -> dict[str, Origin]:
    more = ", record" if _knows_records(connection) else ""
    rows = connection.execute(f"SELECT input, source, topic, path{more} FROM input_ids")  # noqa: S608 - constants
    return {row[0]: Origin(*row[1:]) for row in rows}


def _learned_states(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for input_id, text, number in connection.execute("SELECT input, text, number FROM learned_states"):
        found.setdefault(input_id, {})[text] = number
    return found


def _births(connection: sqlite3.Connection) -> dict[str, list[tuple[Owner, bytes]]]:
    found: dict[str, list[tuple[Owner, bytes]]] = {}
    for source, group, node, device, said in connection.execute(
        "SELECT source, grp, node, device, said FROM sparkplug_births"
    ):
        found.setdefault(source, []).append((Owner(group, node, device), said))
    return found
