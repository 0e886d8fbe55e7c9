"""The book of signal metadata, in the state file: per signal what Clarify has from us, and what is outstanding.

A desire is written down before the messages that it came from are committed, so a restart forgets none: neither of a
signal that sends once a year, nor of a birth that was acknowledged long ago. It is also where what waits is kept, so a
million new signals cost disk, not memory. Several processes may have the file open: the live connector, a backfill
beside it, a command.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import orjson

from connector.metadata.reconciler import LAST_RETRY, Change, Counts, Entry, Failure, Outstanding, dropped, retried
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
"""What waits is never due later than this: if it is, the clock was put back."""


class Kind(StrEnum):
    """What is reconciled."""

    SIGNAL = "signal"
    """A signal's metadata."""
    ITEM = "item"
    """The item that a signal is published as."""


_DONE: Final = {Kind.SIGNAL: "saved_signals", Kind.ITEM: "published_signals"}


class Book:
    """The entries of one kind, of the signals of one integration. Safe for threads; every change is durable when its
    method returns. All methods raise sqlite3.Error."""

    def __init__(self, state: State, kind: Kind, integration: str) -> None:
        self._state = state
        self._kind = kind
        self._integration = integration
        self._done = _DONE[kind]
        with state.reading() as connection:
            connection.executescript(_SCHEMA)

    def entries(self, inputs: Collection[str]) -> dict[str, Entry]:
        """Input ID → its entry, an empty one for a signal that is not known."""
        with self._state.reading() as connection:
            return self._read(connection, inputs)

    def revise(self, inputs: Collection[str], change: Change) -> dict[str, Entry]:
        """Change the entries of these signals, all of them or none; returns them as they were before."""
        if not inputs:
            return {}
        with self._state.transaction() as connection:
            before = self._read(connection, inputs)
            for input_id, entry in before.items():
                self._write(connection, input_id, entry, change(input_id, entry))
        return before

    def due(self, now: float, most: int, max_bytes: int) -> list[str]:
        """At most so many signals, with at most so many bytes of content (but at least one), of which something is
        due, what is due longest first."""
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
        """Those of these signals of which something waits that has not failed."""
        return {
            input_id
            for input_id, entry in self.entries(inputs).items()
            if entry.outstanding is not None and entry.outstanding.failure is Failure.NONE
        }

    def counts(self, now: float) -> Counts:
        """How many are outstanding."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(failure = ''), 0), coalesce(sum(failure = '' AND due > ?), 0), "
                "coalesce(sum(failure != ''), 0) FROM outstanding_metadata WHERE kind = ? AND integration = ?",
                (now, self._kind, self._integration),
            ).fetchone()
        return Counts(*row)

    def begin(self, now: float, failed_before: float) -> None:
        """A new run: what was rejected before `failed_before` is tried again, and so is what is due at a time that the
        clock cannot have meant."""
        self._hasten("failure = 'rejected' AND failed_at < ?", (failed_before,), now)
        self.clock_put_back(now)

    def clock_put_back(self, now: float) -> None:
        """The clock may have been put back: what would be due much later than anything can be is due now."""
        self._hasten("failure = '' AND due > ?", (now + _CLOCK_SECONDS,), now)
        self._hasten("failure = 'rejected' AND due > ?", (now + LAST_RETRY,), now)

    def all_due(self, now: float) -> None:
        """All that waits is due now."""
        self._hasten("failure = '' AND due > ?", (now,), now)

    def note(self, text: str, now: float) -> None:
        """Leave a note on why nothing is saved at present, for commands that read the file; empty: nothing is wrong."""
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
            f"SELECT input, digest, coalesce(at, 0), coalesce(note, '') FROM {self._done} "  # noqa: S608 - constants
            "WHERE integration = ? AND input IN (SELECT value FROM json_each(?))",
            (self._integration, asked),
        ):
            found[input_id] = Entry(digest, at, note)
        for input_id, digest, content, since, due, sent, failure, reason, failed_at, tries in connection.execute(
            f"SELECT input, {_OUTSTANDING} FROM outstanding_metadata "  # noqa: S608 - constants
            "WHERE kind = ? AND integration = ? AND input IN (SELECT value FROM json_each(?))",
            (self._kind, self._integration, asked),
        ):
            wants = Outstanding(digest, content, since, due, bool(sent), Failure(failure), reason, failed_at, tries)
            found[input_id] = replace(found[input_id], outstanding=wants)
        return found

    def _write(self, connection: sqlite3.Connection, input_id: str, before: Entry, after: Entry) -> None:
        if (after.digest, after.saved_at, after.note) != (before.digest, before.saved_at, before.note):
            connection.execute(
                f"INSERT OR REPLACE INTO {self._done} (integration, input, digest, at, note) "  # noqa: S608 - as above
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


class Status(StrEnum):
    """How far a signal's metadata, or its item, is."""

    SAVED = "saved"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of one signal."""

    kind: Kind
    integration: str
    input_id: str
    status: Status
    digest: str
    """Of what is wanted."""
    since: float | None
    """When it was saved, first wanted or last rejected, in seconds since the epoch; None if that is not known."""
    failure: Failure = Failure.NONE
    reason: str = ""
    tries: int = 0
    next_try: float | None = None
    note: str = ""


def read_saved_signals(path: Path, integration: str) -> dict[str, str]:
    """Input ID → digest of the metadata that Clarify has from us, from a file that somebody else may have open."""
    with closing(open_read_only(path)) as connection:
        if "saved_signals" not in _tables(connection):
            return {}
        return dict(
            connection.execute(
                "SELECT input, digest FROM saved_signals WHERE integration = ? AND digest IS NOT NULL", (integration,)
            ).fetchall()
        )


def read_lines(path: Path, statuses: Collection[Status]) -> Iterator[Line]:
    """All that is known of signals that are so far, from such a file, sorted by input ID in each kind."""
    with closing(open_read_only(path)) as connection:
        tables = _tables(connection)
        for kind in Kind:
            if "outstanding_metadata" in tables and {Status.WAITING, Status.FAILED} & set(statuses):
                yield from (line for line in _outstanding_lines(connection, kind) if line.status in statuses)
            if Status.SAVED in statuses and _DONE[kind] in tables:
                yield from _saved_lines(connection, kind, "outstanding_metadata" in tables)


def _outstanding_lines(connection: sqlite3.Connection, kind: Kind) -> Iterator[Line]:
    rows = connection.execute(
        "SELECT integration, input, digest, since, due, failure, reason, failed_at, tries FROM outstanding_metadata "
        "WHERE kind = ? ORDER BY input, integration",
        (kind,),
    )
    for integration, input_id, digest, since, due, failure, reason, failed_at, tries in rows:
        yield Line(
            kind,
            integration,
            input_id,
            Status.FAILED if failure else Status.WAITING,
            digest,
            failed_at if failure else since,
            Failure(failure),
            reason,
            tries,
            due,
        )


def _saved_lines(connection: sqlite3.Connection, kind: Kind, has_outstanding: bool) -> Iterator[Line]:
    table = _DONE[kind]
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
        yield Line(kind, integration, input_id, Status.SAVED, digest, at or None, note=note)


def read_troubles(path: Path) -> dict[Kind, tuple[float, str]]:
    """Kind → (since when, why) nothing of it is saved, from such a file; of those that are in trouble."""
    with closing(open_read_only(path)) as connection:
        if "notes" not in _tables(connection):
            return {}
        rows = {name: (at, text) for name, at, text in connection.execute("SELECT name, at, text FROM notes")}
    return {kind: rows[name] for kind in Kind if (name := f"{kind}_metadata") in rows and rows[name][1]}


def retry(path: Path, lines: Iterable[Line], now: float) -> int:
    """Have what was rejected tried again now: a running connector does it within seconds, another one when it starts.
    Returns how many there were."""
    return _change(path, lines, lambda _, entry: retried(entry, now, float("inf")))


def drop(path: Path, lines: Iterable[Line]) -> int:
    """Forget what is outstanding of these; it is wanted again when the mapping says it anew."""
    return _change(path, lines, lambda _, entry: dropped(entry))


def _change(path: Path, lines: Iterable[Line], change: Change) -> int:
    changed = 0
    places: dict[tuple[Kind, str], list[str]] = {}
    for line in lines:
        places.setdefault((line.kind, line.integration), []).append(line.input_id)
    state = State(path)
    try:
        for (kind, integration), inputs in places.items():
            book = Book(state, kind, integration)
            for start in range(0, len(inputs), _AT_ONCE):
                part = inputs[start : start + _AT_ONCE]
                before = book.revise(part, change)
                changed += sum(change(input_id, entry) != entry for input_id, entry in before.items())
    finally:
        state.close()
    return changed


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
