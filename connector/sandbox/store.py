"""The store of the sandbox: an integration with its credentials, signals, items and samples, in one SQLite file.

Theory of operation. One connection writes, under one lock, with one transaction for each request. So a request is
stored as a whole or not at all. The file is in WAL mode with `synchronous=NORMAL`. Before a request is answered, its
pages are handed to the operating system, so that killing the sandbox loses nothing. A power failure may lose the last
requests, which is good enough for a stand-in. In WAL mode, other processes can read at any time: tests open the same
file with `read_only=True` while the server runs.

Times are integers in microseconds since the epoch, and values are 64-bit floats.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

import orjson

from connector.sandbox.settings import Duplicates, Nulls
from connector.sandbox.signal_view import SignalView, default_attributes
from connector.sandbox.xid import new_id

_APPLICATION_ID = 0x436C6673
_SCHEMA_VERSION = 2
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE integrations (
    id TEXT PRIMARY KEY,
    created_us INTEGER NOT NULL,
    client_id TEXT NOT NULL UNIQUE,
    client_secret TEXT NOT NULL,
    password TEXT NOT NULL,
    signing_key BLOB NOT NULL
);
CREATE TABLE signals (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    integration TEXT NOT NULL REFERENCES integrations (id),
    input TEXT NOT NULL,
    attributes TEXT NOT NULL,
    annotations TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    item INTEGER REFERENCES items (number),
    UNIQUE (integration, input)
);
CREATE TABLE items (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    annotations TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);
CREATE TABLE samples (
    signal INTEGER NOT NULL REFERENCES signals (number),
    time_us INTEGER NOT NULL,
    value REAL NOT NULL,
    stored_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (signal, time_us)
) WITHOUT ROWID;
"""
_SHOWN = (
    "SELECT time_us, value FROM samples JOIN signals s ON signal = s.number JOIN items i ON s.item = i.number"
    " WHERE i.id = ?"
)
_SHOWN_BETWEEN = f"{_SHOWN} AND time_us >= ? AND time_us < ? AND stored_us <= ? ORDER BY time_us, s.number"
_SHOWN_BEFORE = f"{_SHOWN} AND time_us < ? AND stored_us <= ? ORDER BY time_us DESC, s.number DESC LIMIT 1"
_SHOWN_AFTER = f"{_SHOWN} AND time_us >= ? AND stored_us <= ? ORDER BY time_us, s.number DESC LIMIT 1"
_INSERT_ITEM = "INSERT INTO items (id, attributes, annotations, created_us, updated_us) VALUES (?, ?, ?, ?, ?)"
_SIGNAL = (
    "SELECT s.id, s.input, s.attributes, s.annotations, s.created_us, s.updated_us, i.id"
    " FROM signals s LEFT JOIN items i ON s.item = i.number"
)
_INSERT_SAMPLE: Mapping[Duplicates, str] = {
    "newest": "INSERT INTO samples VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value, stored_us = excluded.stored_us",
    "first": "INSERT INTO samples VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    "error": "INSERT INTO samples VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
}


class StoreError(Exception):
    """The store cannot be opened; the message names the file and the reason."""


class DuplicateSamplesError(Exception):
    """Samples of these inputs are already stored, and the settings forbid such an insert; nothing was stored."""

    def __init__(self, inputs: Sequence[str]) -> None:
        super().__init__(f"samples exist already: {', '.join(inputs)}")
        self.inputs = inputs


@dataclass(frozen=True, slots=True)
class Integration:
    """The integration of this sandbox: both kinds of its credentials, and the key that signs its tokens."""

    id: str
    created_us: int
    client_id: str
    client_secret: str = field(repr=False)
    password: str = field(repr=False)
    signing_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One stored signal."""

    id: str
    input: str
    attributes: Mapping[str, object]
    annotations: Mapping[str, str]
    created_us: int
    updated_us: int
    item: str | None = None
    """ID of the item of the signal; None for an unpublished signal."""


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One stored item."""

    id: str
    attributes: Mapping[str, object]
    annotations: Mapping[str, str]
    created_us: int
    updated_us: int
    signals: tuple[str, ...]
    """IDs of the signals whose data the item shows, the oldest signal first."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The effect of a write on one signal or item: whether it was created, and whether its metadata changed."""

    id: str
    created: bool
    updated: bool = False


class Store:
    """An open store, which several threads may use. Made by `Store.open`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | None, *, read_only: bool = False) -> Self:
        """Open the store in the file `path`, or a store in memory if `path` is None.

        A missing file is created with mode 0600. With `read_only`, the file must exist, and another process may write
        to it at the same time. Raises StoreError.
        """
        try:
            if path is not None and not read_only:
                # The file holds secrets: nobody else may read it, not even for a moment.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            target = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(
                target,
                uri=path is not None,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_SECONDS,
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error
        try:
            _prepare(connection, path, read_only=read_only)
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"cannot use {path} as a store: {error}") from error
        except StoreError:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        """Close the store, which cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    def insert(
        self,
        integration: str,
        times: Sequence[int],
        series: Mapping[str, Sequence[float | None]],
        *,
        duplicates: Duplicates,
        nulls: Nulls,
        now: float,
    ) -> dict[str, Saved]:
        """Store the values of each input at `times` (unique, in µs); an unknown input becomes a signal.

        The result is the effect on each signal, by input. `now` is in seconds since the epoch. If `duplicates` is
        "error" and a sample is already stored, raises DuplicateSamplesError.
        """
        saved: dict[str, Saved] = {}
        refused: list[str] = []
        stored = int(now * 1_000_000)
        with self._transaction() as database:
            for key, values in series.items():
                number, saved[key] = self._signal_number(integration, key, now)
                rows = [
                    (number, at, value, stored) for at, value in zip(times, values, strict=True) if value is not None
                ]
                before = database.total_changes
                database.executemany(_INSERT_SAMPLE[duplicates], rows)
                if duplicates == "error" and database.total_changes - before < len(rows):
                    refused.append(key)
                if nulls == "erase" and len(rows) < len(times):
                    erased = [(number, at) for at, value in zip(times, values, strict=True) if value is None]
                    database.executemany("DELETE FROM samples WHERE signal = ? AND time_us = ?", erased)
            if refused:
                raise DuplicateSamplesError(refused)
        return saved

    def save(
        self, integration: str, views: Mapping[str, SignalView], *, create_only: bool, now: float
    ) -> dict[str, Saved]:
        """Create or update signals, by input: annotations are merged, and all attributes are replaced.

        The result is the effect on each signal, by input. With `create_only`, existing signals do not change. `now` is
        in seconds since the epoch.
        """
        saved: dict[str, Saved] = {}
        with self._transaction() as database:
            for key, view in views.items():
                number, state = self._signal_number(integration, key, now)
                if state.created or not create_only:
                    changed = _update(database, "signals", number, view, now)
                    state = Saved(state.id, state.created, updated=changed and not state.created)
                saved[key] = state
        return saved

    def publish(
        self, integration: str, views: Mapping[str, SignalView], *, create_only: bool, now: float
    ) -> dict[str, Saved]:
        """Create or update the items of signals, by signal ID; `create_only` and `now` are as in `save`.

        The result is the effect on each item, by signal ID. Raises KeyError with the first ID that is not a signal of
        the integration; nothing is changed then.
        """
        saved: dict[str, Saved] = {}
        with self._transaction() as database:
            for signal, view in views.items():
                known = database.execute(
                    "SELECT s.item, i.id FROM signals s LEFT JOIN items i ON s.item = i.number"
                    " WHERE s.integration = ? AND s.id = ?",
                    (integration, signal),
                ).fetchone()
                if known is None:
                    raise KeyError(signal)
                number, item = known
                if number is None:
                    made = int(now * 1_000_000)
                    item = new_id(now)
                    number = database.execute(
                        _INSERT_ITEM,
                        (item, _json(view.attributes), _json(view.annotations), made, made),
                    ).lastrowid
                    database.execute("UPDATE signals SET item = ? WHERE id = ?", (number, signal))
                    saved[signal] = Saved(item, created=True)
                else:
                    changed = not create_only and _update(database, "items", number, view, now)
                    saved[signal] = Saved(item, created=False, updated=changed)
        return saved

    def connect(self, signals: Sequence[str], item: str | None) -> None:
        """Connect the signals with these IDs to the item with this ID, or to no item."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE signals SET item = (SELECT number FROM items WHERE id = ?) WHERE id = ?",
                [(item, signal) for signal in signals],
            )

    def renew_signing_key(self, integration: str) -> None:
        """Make all tokens that were issued so far invalid."""
        with self._transaction() as database:
            database.execute(
                "UPDATE integrations SET signing_key = ? WHERE id = ?", (secrets.token_bytes(32), integration)
            )

    # Reading

    def integration(self) -> Integration:
        """The one integration of this sandbox."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, created_us, client_id, client_secret, password, signing_key FROM integrations"
            ).fetchone()
        return Integration(*row)

    def signals(self) -> dict[str, SignalRow]:
        """All signals by input, the oldest signal first."""
        with self._lock:
            rows = self._connection.execute(f"{_SIGNAL} ORDER BY s.number").fetchall()
        return {
            row[1]: SignalRow(row[0], row[1], orjson.loads(row[2]), orjson.loads(row[3]), row[4], row[5], row[6])
            for row in rows
        }

    def items(self) -> dict[str, ItemRow]:
        """All items by ID, the oldest item first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, attributes, annotations, created_us, updated_us FROM items ORDER BY number"
            ).fetchall()
            links = self._connection.execute(
                "SELECT i.id, s.id FROM signals s JOIN items i ON s.item = i.number ORDER BY s.number"
            ).fetchall()
        signals: dict[str, list[str]] = {}
        for item, signal in links:
            signals.setdefault(item, []).append(signal)
        return {
            row[0]: ItemRow(
                row[0], orjson.loads(row[1]), orjson.loads(row[2]), row[3], row[4], tuple(signals.get(row[0], ()))
            )
            for row in rows
        }

    def item_samples(self, item: str, first_us: int, end_us: int, stored_by: float) -> list[tuple[int, float]]:
        """The samples of an item from `first_us` to before `end_us`, as (time in µs, value), sorted by time.

        If several signals have a value at one time, the value of the newest signal counts. Samples that were stored
        after `stored_by`, in seconds since the epoch, are left out.
        """
        with self._lock:
            rows = self._connection.execute(
                _SHOWN_BETWEEN, (item, first_us, end_us, int(stored_by * 1_000_000))
            ).fetchall()
        return list(dict(rows).items())

    def item_neighbour(self, item: str, time_us: int, stored_by: float, *, before: bool) -> tuple[int, float] | None:
        """The last sample of an item before `time_us`; without `before`, the first sample at or after it.

        The sample is (time in µs, value), or None. `stored_by` is as in `item_samples`.
        """
        with self._lock:
            row: tuple[int, float] | None = self._connection.execute(
                _SHOWN_BEFORE if before else _SHOWN_AFTER, (item, time_us, int(stored_by * 1_000_000))
            ).fetchone()
        return row

    def samples(self, key: str) -> list[tuple[int, float]]:
        """The samples of one input as (time in µs, value), sorted by time; empty for an unknown input."""
        with self._lock:
            return self._connection.execute(
                "SELECT time_us, value FROM samples JOIN signals ON signal = number WHERE input = ? ORDER BY time_us",
                (key,),
            ).fetchall()

    def count_samples(self) -> int:
        """The number of stored samples of all signals."""
        with self._lock:
            return cast("int", self._connection.execute("SELECT count(*) FROM samples").fetchone()[0])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries only; no other thread uses it inside the context."""
        with self._lock:
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction that is committed at the end, or rolled back after any exception."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite has rolled back by itself after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def _signal_number(self, integration: str, key: str, now: float) -> tuple[int, Saved]:
        """The row number of a signal, and the effect on it; a missing signal is created.

        Call this method inside a transaction.
        """
        known = self._connection.execute(
            "SELECT number, id FROM signals WHERE integration = ? AND input = ?", (integration, key)
        ).fetchone()
        if known is not None:
            return known[0], Saved(known[1], created=False)
        made = int(now * 1_000_000)
        saved = Saved(new_id(now), created=True)
        cursor = self._connection.execute(
            "INSERT INTO signals (id, integration, input, attributes, annotations, created_us, updated_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (saved.id, integration, key, _json(default_attributes(key)), _json({}), made, made),
        )
        assert cursor.lastrowid is not None  # noqa: S101 - for the type checker: an INSERT has a row number
        return cursor.lastrowid, saved


def _update(
    database: sqlite3.Connection, table: Literal["signals", "items"], number: int, view: SignalView, now: float
) -> bool:
    """Write a view into a signal or an item; returns whether the row changed."""
    old_attributes, old_annotations = database.execute(
        f"SELECT attributes, annotations FROM {table} WHERE number = ?",  # noqa: S608 - one of two names
        (number,),
    ).fetchone()
    attributes = _json(view.attributes)
    annotations = _json({**orjson.loads(old_annotations), **view.annotations})
    if (attributes, annotations) == (old_attributes, old_annotations):
        return False
    database.execute(
        f"UPDATE {table} SET attributes = ?, annotations = ?, updated_us = ? WHERE number = ?",  # noqa: S608
        (attributes, annotations, int(now * 1_000_000), number),
    )
    return True


def _json(value: Mapping[str, object]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _prepare(connection: sqlite3.Connection, path: Path | None, *, read_only: bool) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    is_new = tables == 0 and application_id == 0
    if is_new and read_only:
        raise StoreError(f"{path} is empty: no sandbox has used it yet")
    if not is_new and application_id != _APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program, not a sandbox store")
    if not is_new and version != _SCHEMA_VERSION:
        raise StoreError(f"{path} has store version {version}, this sandbox reads {_SCHEMA_VERSION}: use a new file")
    if read_only:
        # Not SQLite's read-only mode: it could not read the WAL after a crash of the writer.
        connection.execute("PRAGMA query_only = ON")
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if is_new:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
            f" PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
        )
    if connection.execute("SELECT count(*) FROM integrations").fetchone()[0] == 0:
        now = time.time()
        connection.execute(
            "INSERT INTO integrations VALUES (?, ?, ?, ?, ?, ?)",
            (
                new_id(now),
                int(now * 1_000_000),
                secrets.token_hex(16),
                secrets.token_urlsafe(32),
                secrets.token_urlsafe(24),
                secrets.token_bytes(32),
            ),
        )
