"""The book of metadata, in the state file: the saved metadata and the outstanding desire of each signal.

A desire is written into the book before the messages that it came from are committed. So a restart forgets no desire:
neither of a signal that sends once a year, nor of a Sparkplug birth that was acknowledged long ago. Waiting desires are
only on disk, so a million new signals need no memory. Several processes may have the file open: the running connector,
a backfill beside it, a command.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from connector.metadata.reconciler import (
    LAST_RETRY,
    Entry,
    EntryChange,
    FailureKind,
    Outstanding,
    OutstandingCounts,
    dropped,
    retried,
)
from connector.state.sqlite import open_read_only
from connector.state.state import State

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS saved_signals (integration TEXT, input TEXT, digest TEXT, at REAL, note TEXT,
    PRIMARY KEY (integration, input)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published_signals (integration TEXT, input TEXT, digest TEXT, at REAL, note TEXT,
    PRIMARY KEY (integration, input)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outstanding_metadata (kind TEXT, integration TEXT, input TEXT, digest TEXT, content BLOB,
    since REAL, due REAL, sent INTEGER, failure TEXT, reason TEXT, failed_at REAL, tries INTEGER,
    PRIMARY KEY (kind, integration, input)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outstanding_due ON outstanding_metadata (kind, integration, due, failure);
"""
_OUTSTANDING: Final = "digest, content, since, due, sent, failure, reason, failed_at, tries"
_AT_ONCE: Final = 1000
_CLOCK_SECONDS: Final = 3600.0
"""A waiting desire is due within this time (seconds); if a desire is due later, the clock was put back."""


class MetadataKind(StrEnum):
    """The kinds of metadata that are reconciled; each kind has its own entries."""

    SIGNAL = "signal"
    """A signal's metadata."""
    ITEM = "item"
    """The item that a signal is published as."""


_SAVED_TABLES: Final = {MetadataKind.SIGNAL: "saved_signals", MetadataKind.ITEM: "published_signals"}


class MetadataBook:
    """The entries of one kind, for the signals of one integration. Safe for threads.

    A change is durable when its method returns. All methods raise sqlite3.Error.
    """

    def __init__(self, state: State, kind: MetadataKind, integration: str) -> None:
        self._state = state
        self._kind = kind
        self._integration = integration
        self._saved_table = _SAVED_TABLES[kind]
        with state.reading() as connection:
            connection.executescript(_SCHEMA)

    def entries(self, inputs: Collection[str]) -> dict[str, Entry]:
        """Returns input ID → entry; the entry of an unknown signal is empty."""
        with self._state.reading() as connection:
            return self._read(connection, inputs)

    def revise(self, inputs: Collection[str], change: EntryChange) -> dict[str, Entry]:
        """Change the entries of all these signals, or of none; returns the entries before the change."""
        if not inputs:
            return {}
        with self._state.transaction() as connection:
            before = self._read(connection, inputs)
            for input_id, entry in before.items():
                self._write(connection, input_id, entry, change(input_id, entry))
        return before

    def due(self, now: float, most: int, max_bytes: int) -> list[str]:
        """Returns at most `most` signals with a desire that is due, the longest due first.

        The content of these desires has at most `max_bytes` together; but at least one signal is returned.
        """
        with self._state.reading() as connection:
            rows = connection.execute(
                "SELECT input, length(content) FROM outstanding_metadata WHERE kind = ? AND integration = ? "
                "AND due <= ? ORDER BY due, input LIMIT ?",
                (self._kind, self._integration, now, most),
            ).fetchall()
        found: list[str] = []
        for input_id, size in rows:
            max_bytes -= size
            if found and max_bytes < 0:
                break
            found.append(input_id)
        return found

    def waiting_among(self, inputs: Collection[str]) -> set[str]:
        """Returns the subset of `inputs` with a desire that waits and has not failed."""
        return {
            input_id
            for input_id, entry in self.entries(inputs).items()
            if entry.outstanding is not None and entry.outstanding.failure is FailureKind.NONE
        }

    def counts(self, now: float) -> OutstandingCounts:
        """Returns the numbers of outstanding desires."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(failure = ''), 0), coalesce(sum(failure = '' AND due > ?), 0), "
                "coalesce(sum(failure != ''), 0) FROM outstanding_metadata WHERE kind = ? AND integration = ?",
                (now, self._kind, self._integration),
            ).fetchone()
        return OutstandingCounts(*row)

    def begin(self, now: float, failed_before: float) -> None:
        """Begin a new run: desires that were rejected before `failed_before` become due.

        Desires with a due time that this clock cannot have set become due, too.
        """
        self._hasten("failure = 'rejected' AND failed_at < ?", (failed_before,), now)
        self.clock_put_back(now)

    def clock_put_back(self, now: float) -> None:
        """Make all desires due whose due time is so far away that this clock cannot have set it."""
        self._hasten("failure = '' AND due > ?", (now + _CLOCK_SECONDS,), now)
        self._hasten("failure = 'rejected' AND due > ?", (now + LAST_RETRY,), now)

    def all_due(self, now: float) -> None:
        """Make all waiting desires due."""
        self._hasten("failure = '' AND due > ?", (now,), now)

    def note(self, text: str, now: float) -> None:
        """Store the reason why nothing can be saved at present, for commands that read the file.

        An empty text means that there is no such reason.
        """
        self._state.add_note(f"{self._kind}_metadata", now, text)

    def _hasten(self, condition: str, values: tuple[float, ...], now: float) -> None:
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE outstanding_metadata SET due = ? WHERE kind = ? AND integration = ? "  # noqa: S608 - constants
                f"AND {condition}",
                (now, self._kind, self._integration, *values),
            )

    def _read(self, connection: sqlite3.Connection, inputs: Collection[str]) -> dict[str, Entry]:
        asked = orjson.dumps(list(inputs)).decode()
        found = dict.fromkeys(inputs, Entry())
        for input_id, digest, at, note in connection.execute(
            f"SELECT input, digest, coalesce(at, 0), coalesce(note, '') FROM {self._saved_table} "  # noqa: S608 - constants
            "WHERE integration = ? AND input IN (SELECT value FROM json_each(?))",
            (self._integration, asked),
        ):
            found[input_id] = Entry(digest, at, note)
        for input_id, digest, content, since, due, sent, failure, reason, failed_at, tries in connection.execute(
            f"SELECT input, {_OUTSTANDING} FROM outstanding_metadata "  # noqa: S608 - constants
            "WHERE kind = ? AND integration = ? AND input IN (SELECT value FROM json_each(?))",
            (self._kind, self._integration, asked),
        ):
            wants = Outstanding(digest, content, since, due, bool(sent), FailureKind(failure), reason, failed_at, tries)
            found[input_id] = replace(found[input_id], outstanding=wants)
        return found

    def _write(self, connection: sqlite3.Connection, input_id: str, before: Entry, after: Entry) -> None:
        if (after.digest, after.saved_at, after.note) != (before.digest, before.saved_at, before.note):
            connection.execute(
                f"INSERT OR REPLACE INTO {self._saved_table} (integration, input, digest, at, note) "  # noqa: S608 - as above
                "VALUES (?, ?, ?, ?, ?)",
                (self._integration, input_id, after.digest, after.saved_at, after.note),
            )
        key = (self._kind, self._integration, input_id)
        wants = after.outstanding
        if wants is None and before.outstanding is not None:
            connection.execute("DELETE FROM outstanding_metadata WHERE (kind, integration, input) = (?, ?, ?)", key)
        elif wants is not None and wants != before.outstanding:
            connection.execute(
                f"INSERT OR REPLACE INTO outstanding_metadata (kind, integration, input, {_OUTSTANDING}) "  # noqa: S608
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *key,
                    wants.digest,
                    wants.content,
                    wants.since,
                    wants.due,
                    wants.sent,
                    wants.failure,
                    wants.reason,
                    wants.failed_at,
                    wants.tries,
                ),
            )


# -- for commands, which have only the file --------------------------------------------------------


class MetadataStatus(StrEnum):
    """The status of the metadata of a signal, or of its item."""

    SAVED = "saved"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MetadataLine:
    """The metadata, or the item, of one signal in the book, for a person to read."""

    kind: MetadataKind
    integration: str
    input_id: str
    status: MetadataStatus
    digest: str
    """The digest of the saved or wanted metadata."""
    since: float | None
    """The time when the metadata was saved, first wanted or last rejected (depending on `status`), in seconds since the
    epoch; None if it is unknown."""
    failure: FailureKind = FailureKind.NONE
    reason: str = ""
    tries: int = 0
    next_try: float | None = None
    note: str = ""


def read_saved_signals(path: Path, integration: str) -> dict[str, str]:
    """Returns input ID → digest of the metadata that the connector has saved in Clarify.

    Another process may have the file open. Raises sqlite3.Error.
    """
    with closing(open_read_only(path)) as connection:
        if "saved_signals" not in _tables(connection):
            return {}
        return dict(
            connection.execute(
                "SELECT input, digest FROM saved_signals WHERE integration = ? AND digest IS NOT NULL", (integration,)
            ).fetchall()
        )


def read_lines(path: Path, statuses: Collection[MetadataStatus]) -> Iterator[MetadataLine]:
    """Yields the signals with one of these statuses, sorted by input ID within each kind.

    Another process may have the file open. Raises sqlite3.Error.
    """
    with closing(open_read_only(path)) as connection:
        tables = _tables(connection)
        for kind in MetadataKind:
            if "outstanding_metadata" in tables and {MetadataStatus.WAITING, MetadataStatus.FAILED} & set(statuses):
                yield from (line for line in _outstanding_lines(connection, kind) if line.status in statuses)
            if MetadataStatus.SAVED in statuses and _SAVED_TABLES[kind] in tables:
                yield from _saved_lines(connection, kind, "outstanding_metadata" in tables)


def _outstanding_lines(connection: sqlite3.Connection, kind: MetadataKind) -> Iterator[MetadataLine]:
    rows = connection.execute(
        "SELECT integration, input, digest, since, due, failure, reason, failed_at, tries FROM outstanding_metadata "
        "WHERE kind = ? ORDER BY input, integration",
        (kind,),
    )
    for integration, input_id, digest, since, due, failure, reason, failed_at, tries in rows:
        yield MetadataLine(
            kind,
            integration,
            input_id,
            MetadataStatus.FAILED if failure else MetadataStatus.WAITING,
            digest,
            failed_at if failure else since,
            FailureKind(failure),
            reason,
            tries,
            due,
        )


def _saved_lines(connection: sqlite3.Connection, kind: MetadataKind, has_outstanding: bool) -> Iterator[MetadataLine]:
    table = _SAVED_TABLES[kind]
    known = {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}
    more = "at, coalesce(note, '')" if "note" in known else "NULL, ''"
    but = (
        "AND NOT EXISTS (SELECT 1 FROM outstanding_metadata AS o WHERE o.kind = :kind "
        "AND (o.integration, o.input) = (s.integration, s.input))"
        if has_outstanding
        else ""
    )
    rows = connection.execute(
        f"SELECT integration, input, digest, {more} FROM {table} AS s "  # noqa: S608
        f"WHERE digest IS NOT NULL {but} ORDER BY input, integration",
        {"kind": kind},
    )
    for integration, input_id, digest, at, note in rows:
        yield MetadataLine(kind, integration, input_id, MetadataStatus.SAVED, digest, at or None, note=note)


class Trouble(NamedTuple):
    """The reason why nothing of one kind can be saved at present."""

    since: float
    """In seconds since the epoch."""
    reason: str


def read_troubles(path: Path) -> dict[MetadataKind, Trouble]:
    """Returns kind → the reason why nothing of this kind can be saved at present; only kinds with a reason.

    Another process may have the file open. Raises sqlite3.Error.
    """
    with closing(open_read_only(path)) as connection:
        if "notes" not in _tables(connection):
            return {}
        rows = {name: Trouble(at, text) for name, at, text in connection.execute("SELECT name, at, text FROM notes")}
    return {kind: rows[name] for kind in MetadataKind if (name := f"{kind}_metadata") in rows and rows[name].reason}


def retry(path: Path, lines: Iterable[MetadataLine], now: float) -> int:
    """Make rejected desires due now; returns the number of changed desires.

    A running connector sends these desires within seconds, a stopped connector after its next start.
    """
    return _change(path, lines, lambda _, entry: retried(entry, now, float("inf")))


def drop(path: Path, lines: Iterable[MetadataLine]) -> int:
    """Forget the outstanding desires of these signals, until the mapping wants them again; returns their number."""
    return _change(path, lines, lambda _, entry: dropped(entry))


def _change(path: Path, lines: Iterable[MetadataLine], change: EntryChange) -> int:
    changed = 0
    places: dict[tuple[MetadataKind, str], list[str]] = {}
    for line in lines:
        places.setdefault((line.kind, line.integration), []).append(line.input_id)
    state = State(path)
    try:
        for (kind, integration), inputs in places.items():
            book = MetadataBook(state, kind, integration)
            for start in range(0, len(inputs), _AT_ONCE):
                part = inputs[start : start + _AT_ONCE]
                before = book.revise(part, change)
                changed += sum(change(input_id, entry) != entry for input_id, entry in before.items())
    finally:
        state.close()
    return changed


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
