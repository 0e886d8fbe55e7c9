"""The open database of a source: two connections, the transactions, and the counters that change with them.

Every change of the journal or of the ledger is one transaction (`Database.transaction`). When it is committed, three
things change together: the file, the counters in memory, and the high-water mark beside the file. Only this module
changes the counters. It writes them into the file in the same transaction as the rows that they count.

One connection writes. Another one reads, so that reading a backlog does not wait for the disk's sync.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

import structlog

from connector.ledger.high_water import HighWaterFile, HighWaterMark
from connector.ledger.schema import DamagedError
from connector.state.sqlite import open_durable

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counters:
    """The counters of a source's file."""

    next_position: int
    """The position of the next record that comes in. Positions begin at 1, and are never used again."""
    settled_to: int
    """Every record up to and including this position is settled."""
    waiting_bytes: int
    """Bytes of all rows in the journal, including `ROW_OVERHEAD` for each row."""


_KEYS = tuple(field.name for field in fields(Counters))
_values = attrgetter(*_KEYS)


@dataclass(slots=True)
class Transaction:
    """A transaction that has begun. New values of `counters` are committed with it."""

    connection: sqlite3.Connection
    counters: Counters


class Database:
    """The open database. Safe for threads."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        """`writer` is an open connection to the file `path`.

        Raises OSError, sqlite3.Error, and `DamagedError` if the counters cannot be read; `writer` is closed then. If
        `writer` stayed open, its later close would remove the -wal of the new file at this path.
        """
        self.path = path
        self._write_lock = threading.RLock()
        """Protects the writing connection, the counters and the high-water mark: they change together."""
        self._read_lock = threading.Lock()
        """Protects the reading connection."""
        self._writer = writer
        try:
            self.incarnation, self.counters = _read_counters(writer)
            self.high_water = HighWaterFile(path)
            try:
                self._reader = open_durable(path)
            except BaseException:
                self.high_water.close()
                raise
        except BaseException:
            writer.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run the block as one durable transaction; undo it if the block raises. Raises sqlite3.Error."""
        with self._write_lock:
            writer = self._writer
            before = _values(self.counters)
            transaction = Transaction(writer, Counters(*before))
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield transaction
                counters = transaction.counters
                pairs = zip(_KEYS, _values(counters), before, strict=True)
                changed = [(key, new) for key, new, old in pairs if new != old]
                if changed:
                    writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", changed)
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            if changed:
                self.counters = counters
                self.write_high_water_mark()

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The writing connection, for one thread at a time.

        It is for reading new rows, and for a statement that is a transaction itself.
        """
        with self._write_lock:
            yield self._writer

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The reading connection, for one thread at a time."""
        with self._read_lock:
            yield self._reader

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads from reading and writing while the block runs, so that the file can be replaced."""
        with self._write_lock, self._read_lock:
            yield

    @property
    def mark(self) -> HighWaterMark:
        """The high-water mark for the present state of the file."""
        return HighWaterMark(self.incarnation, self.counters.next_position, self.counters.settled_to)

    def write_high_water_mark(self) -> None:
        """Write the high-water mark beside the file.

        An error (a full disk) is only logged: the file itself counts, and the next transaction writes the mark again.
        """
        try:
            self.high_water.write(self.mark)
        except OSError as error:
            _log.debug("journal_high_water_not_written", file=str(self.path), reason=str(error))

    def reopen(self, writer: sqlite3.Connection) -> None:
        """Use the new file at `path`; `writer` is an open connection to it.

        The connections to the old file were closed before. Called within `exclusive`. Raises OSError, sqlite3.Error and
        `DamagedError`.
        """
        self._writer = writer
        self._reader = open_durable(self.path)
        self.incarnation, self.counters = _read_counters(writer)
        self.write_high_water_mark()

    def close_connections(self) -> None:
        """Close both connections. A second call does nothing."""
        self._reader.close()
        self._writer.close()

    def close(self) -> None:
        """Close everything. Committed transactions are already durable."""
        self.close_connections()
        self.high_water.close()


def _read_counters(connection: sqlite3.Connection) -> tuple[str, Counters]:
    """(incarnation, counters) from the file; reads only one row of the journal. Raises `DamagedError`."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    for key in _KEYS:
        if not isinstance(meta.get(key), int):
            raise DamagedError(f"the counter {key} cannot be read")
    if not isinstance(meta.get("incarnation"), str):
        raise DamagedError("the incarnation cannot be read")
    counters = Counters(*(meta[key] for key in _KEYS))
    last = connection.execute("SELECT first + count FROM journal ORDER BY first DESC LIMIT 1").fetchone()
    if last:
        counters.next_position = max(counters.next_position, last[0])
    return meta["incarnation"], counters
