"""The state file: the connector's memory beside its journals.

The file has the owners of input IDs, the new signals that are held, the numbers of states, the times up to which
windows are inserted, the births of Sparkplug nodes, and what messages say about signals. The tables of
`metadata/book.py`, about saved metadata, are in the same file.

The file is a small SQLite file in `state_dir`. If the file is lost, no data is lost: metadata is saved once more, and
input IDs are given out again, in the order in which topics appear.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from connector.formats.sparkplug.topic import Owner
from connector.mapping.signals.descriptions import Described
from connector.mapping.signals.input_ids import Origin
from connector.state.sqlite import open_durable, open_read_only

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS input_ids (input TEXT PRIMARY KEY, source TEXT, topic TEXT, path TEXT, record TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, at REAL, text TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS guarded_signals (input TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS learned_states (input TEXT, text TEXT, number INTEGER, PRIMARY KEY (input, text))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sparkplug_births (source TEXT, grp TEXT, node TEXT, device TEXT, said BLOB,
    PRIMARY KEY (source, grp, node, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS descriptions (source TEXT, signal TEXT, topic TEXT, said BLOB,
    PRIMARY KEY (source, signal, topic));
CREATE TABLE IF NOT EXISTS windows_done (input TEXT PRIMARY KEY, until_us INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS overwritten (input TEXT PRIMARY KEY, topic TEXT, n INTEGER, first REAL, last REAL)
    WITHOUT ROWID;
"""
_MOST_OVERWRITTEN: Final = 200
"""Inputs with replaced values that are remembered: the last ones."""


class SignalStatus(StrEnum):
    """The decision about a new signal, if new signals are guarded."""

    KNOWN = "known"
    HELD = "held"
    APPROVED = "approved"
    """A person has approved the held signal. The running connector has not let the signal in yet."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a mapping over restarts."""

    claims: dict[str, Origin] = field(default_factory=dict)
    """Input ID → the origin that owns it."""
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    """Input ID → text → the number that this text has permanently."""
    births: dict[str, list[tuple[Owner, bytes]]] = field(default_factory=dict)
    """Source → the timeline of each Sparkplug node and device, as bytes."""
    descriptions: list[Described] = field(default_factory=list)
    """What messages said about signals, in the order in which the messages came."""


class Note(NamedTuple):
    """The newest note of a name."""

    at: float
    """The time at which the note was written, in seconds since the epoch."""
    text: str


class OverwrittenInput(NamedTuple):
    """An input of which later values replaced others of the same time."""

    topic: str
    """The topic of the newest of these values."""
    values: int
    """How many values were replaced."""
    first: float
    """When the first and"""
    last: float
    """the last were noted, in seconds since the epoch."""


# -- for other processes, which read the file beside its owner -------------------------------------


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection for reading. Raises sqlite3.Error.

    None if there is no file, or if the owner of the file has not created the tables yet.
    """
    if not path.exists():
        yield None
        return
    with closing(open_read_only(path)) as connection:
        begun = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'input_ids'").fetchone()
        yield connection if begun else None


def read_claims(path: Path) -> dict[str, Origin]:
    """Input ID → the origin that owns it. Raises sqlite3.Error."""
    with _reading(path) as connection:
        return {} if connection is None else _claims(connection)


def read_memory(path: Path) -> Memory:
    """The memory of a connector's mapping; empty without a file. Raises sqlite3.Error."""
    with _reading(path) as connection:
        if connection is None:
            return Memory()
        return Memory(_claims(connection), _learned_states(connection), _births(connection), _descriptions(connection))


def read_held(path: Path) -> list[str]:
    """The input IDs of the signals that wait for an approval, sorted. Raises sqlite3.Error."""
    with _reading(path) as connection:
        if connection is None:
            return []
        rows = connection.execute("SELECT input FROM guarded_signals WHERE status = 'held' ORDER BY input").fetchall()
        return [row[0] for row in rows]


def read_overwritten(path: Path) -> dict[str, OverwrittenInput]:
    """Input ID → how many of its values were replaced, for the inputs where that happened last. Raises
    sqlite3.Error."""
    with _reading(path) as connection:
        if connection is None:
            return {}
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'overwritten'").fetchone():
            return {}  # the connector was not started since it keeps this account
        rows = connection.execute("SELECT input, topic, n, first, last FROM overwritten ORDER BY n DESC, input")
        return {row[0]: OverwrittenInput(*row[1:]) for row in rows}


def approve(path: Path, inputs: Iterable[str]) -> int:
    """Approve the held signals among `inputs`; returns how many of them were held. Raises sqlite3.Error.

    A running connector lets approved signals in within seconds.
    """
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


def read_note(path: Path, name: str) -> Note | None:
    """The newest note of this name; None without a note. Raises sqlite3.Error."""
    with _reading(path) as connection:
        if connection is None:
            return None
        row = connection.execute("SELECT at, text FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else Note(*row)


# -- for the connector -----------------------------------------------------------------------------


class State:
    """The open state file. Safe for threads.

    A change is durable when its method returns, and undone if the method raises. Every method raises sqlite3.Error if
    the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file."""
        self._lock = threading.Lock()
        """Protects the connection."""
        try:
            self._connection = open_durable(path, _SCHEMA)
        except sqlite3.Error as error:
            raise type(error)(
                f"{path}: {error}; move the file away to go on: no data is lost with it, but an input ID that two "
                "topics wanted may go to the other topic"
            ) from error

    def claims(self) -> dict[str, Origin]:
        """Input ID → the origin that owns it."""
        with self._lock:
            return _claims(self._connection)

    def add_claims(self, claims: Iterable[tuple[str, Origin]]) -> None:
        """Remember the owners of these input IDs."""
        self._many(
            "INSERT OR REPLACE INTO input_ids (input, source, topic, path, record) VALUES (?, ?, ?, ?, ?)",
            [(input_id, *origin) for input_id, origin in claims],
        )

    def add_note(self, name: str, at: float, text: str) -> None:
        """Keep a note, in place of the last note of this name. `at` is in seconds since the epoch."""
        self._many("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", [(name, at, text)])

    def add_overwritten(self, inputs: Iterable[tuple[str, str, int]], at: float) -> None:
        """Add to the account of replaced values: (input ID, topic, how many values more). `at` is in seconds since the
        epoch. The account has the inputs that were added last, a bounded number."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO overwritten VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET topic = excluded.topic, "
                "n = n + excluded.n, last = excluded.last",
                [(input_id, topic, n, at, at) for input_id, topic, n in inputs],
            )
            connection.execute(
                "DELETE FROM overwritten WHERE input NOT IN "
                "(SELECT input FROM overwritten ORDER BY last DESC, n DESC, input LIMIT ?)",
                (_MOST_OVERWRITTEN,),
            )

    def signal_statuses(self) -> dict[str, SignalStatus]:
        """Input ID → the decision about the signal, for every signal that came since new signals are guarded."""
        with self._lock:
            rows = self._connection.execute("SELECT input, status FROM guarded_signals").fetchall()
        return {input_id: SignalStatus(status) for input_id, status in rows}

    def add_signal_statuses(self, statuses: Sequence[tuple[str, SignalStatus]]) -> None:
        """Remember the decisions about these signals. A signal that was approved in the meantime stays approved."""
        self._many(
            "INSERT INTO guarded_signals VALUES (?, ?) ON CONFLICT DO UPDATE SET status = excluded.status "
            "WHERE guarded_signals.status != 'approved'",
            statuses,
        )

    def take_approved(self) -> list[str]:
        """The input IDs of the signals that were approved since the last call. From now on they are known."""
        with self._lock:
            if not self._connection.execute("SELECT 1 FROM guarded_signals WHERE status = 'approved'").fetchone():
                return []
            rows = self._connection.execute(
                "UPDATE guarded_signals SET status = 'known' WHERE status = 'approved' RETURNING input"
            ).fetchall()
        return [row[0] for row in rows]

    def learned_states(self) -> dict[str, dict[str, int]]:
        """Input ID → text → the number that this text has permanently."""
        with self._lock:
            return _learned_states(self._connection)

    def add_learned_states(self, states: Iterable[tuple[str, str, int]]) -> None:
        """Remember numbers for texts: (input ID, text, number). A text that has a number keeps it."""
        self._many("INSERT OR IGNORE INTO learned_states VALUES (?, ?, ?)", list(states))

    def windows_done(self) -> dict[str, int]:
        """Input ID → the time up to which its windows are inserted, in µs since the epoch."""
        with self._lock:
            return dict(self._connection.execute("SELECT input, until_us FROM windows_done").fetchall())

    def add_windows_done(self, done: Mapping[str, int]) -> None:
        """Remember the times, in µs since the epoch, up to which the windows of these input IDs are inserted."""
        self._many("INSERT OR REPLACE INTO windows_done VALUES (?, ?)", list(done.items()))

    def births(self) -> dict[str, list[tuple[Owner, bytes]]]:
        """Source → the timeline of each Sparkplug node and device, as bytes."""
        with self._lock:
            return _births(self._connection)

    def keep_births(self, source: str, births: Iterable[tuple[Owner, bytes | None]]) -> None:
        """Remember the timelines of these nodes and devices of a source; None forgets a node or device."""
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

    def descriptions(self) -> list[Described]:
        """What messages said about signals, in the order in which the messages came."""
        with self._lock:
            return _descriptions(self._connection)

    def add_descriptions(self, descriptions: Sequence[Described]) -> None:
        """Remember descriptions, each in place of what the same topic said about the signal before."""
        self._many("INSERT OR REPLACE INTO descriptions VALUES (?, ?, ?, ?)", descriptions)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _many(self, statement: str, rows: Sequence[tuple[str | float | bytes, ...]]) -> None:
        with self.transaction() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that only read. Other threads wait until the block ends."""
        with self._lock:
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction on this connection: durable at the end, undone if the block raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _claims(connection: sqlite3.Connection) -> dict[str, Origin]:
    rows = connection.execute("SELECT input, source, topic, path, record FROM input_ids")
    return {row[0]: Origin(*row[1:]) for row in rows}


def _learned_states(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for input_id, text, number in connection.execute("SELECT input, text, number FROM learned_states"):
        found.setdefault(input_id, {})[text] = number
    return found


def _descriptions(connection: sqlite3.Connection) -> list[Described]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'descriptions'").fetchone():
        return []  # the connector was not started since it keeps descriptions
    rows = connection.execute("SELECT source, signal, topic, said FROM descriptions ORDER BY rowid")
    return [Described(*row) for row in rows]


def _births(connection: sqlite3.Connection) -> dict[str, list[tuple[Owner, bytes]]]:
    found: dict[str, list[tuple[Owner, bytes]]] = {}
    for source, group, node, device, said in connection.execute(
        "SELECT source, grp, node, device, said FROM sparkplug_births"
    ):
        found.setdefault(source, []).append((Owner(group, node, device), said))
    return found
