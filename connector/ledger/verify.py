"""Checks a journal from outside, beside its owner: every row's checksum, positions without a gap, account, pages."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from connector.ledger.account import Tallies
from connector.ledger.file import mark_file
from connector.ledger.mark import MarkDamagedError, read_mark
from connector.ledger.schema import (
    Loss,
    Row,
    add_loss,
    beside,
    checked_row,
    has_table,
    lost_ranges,
    missing_ranges,
    now_text,
    read_losses,
    read_tallies,
)
from connector.state.sqlite import open_durable, open_read_only

_PIECE: int = 64
"""Rows that are read in one transaction: a long one would let the write-ahead log grow."""

Progress = Callable[[int], None]
"""Told how many more messages were read."""


@dataclass(slots=True)
class Findings:
    """What a check of one journal found."""

    rows: int = 0
    messages: int = 0
    problems: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    """All of them; those that nobody has acknowledged are problems, too."""


@dataclass(slots=True)
class Stats:
    """What is in one journal."""

    messages: int = 0
    bytes: int = 0
    rows: int = 0
    oldest_us: int | None = None
    """Time of the oldest message that waits, in µs since the epoch."""
    next_position: int = 1
    settled_messages: int = 0
    lost_messages: int = 0
    file_bytes: int = 0
    wal_bytes: int = 0
    free_bytes: int = 0
    """Of the file: used first by what comes next, and returned to the disk when the connector is idle."""
    topics: Counter[str] = field(default_factory=Counter)
    """Messages that wait, by topic."""


def waiting_messages(path: Path) -> int:
    """About how many messages wait: the length of a progress bar. Raises sqlite3.Error."""
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        first = connection.execute("SELECT first FROM journal ORDER BY first LIMIT 1").fetchone()
    return max(0, int(meta.get("next_position", 1)) - first[0]) if first else 0


def read_rows(path: Path, failed: Callable[[str], None]) -> Iterator[tuple[int, Row | None]]:
    """(position, row) of all that wait, in pieces, so that the owner is not in the way; None for a row that fails,
    after `failed` was told. Raises sqlite3.Error where SQLite itself cannot read on."""
    after = -1
    with closing(open_read_only(path)) as connection:
        while True:
            piece = connection.execute(
                "SELECT first, count, crc, body FROM journal WHERE first > ? ORDER BY first LIMIT ?", (after, _PIECE)
            ).fetchall()
            if not piece:
                return
            for found in piece:
                row = checked_row(*found)
                if isinstance(row, Row):
                    yield row.first, row
                else:
                    failed(str(row))
                    yield int(found[0]), None
            if piece[-1][0] <= after:
                failed(f"rows are not in order after position {after}")
                return
            after = piece[-1][0]


def verify(path: Path, progress: Progress) -> Findings:
    """Check everything that can be checked. Never raises for damage: that is what it reports."""
    found = Findings()
    try:
        _check_mark(path, found)
        _check_rows(path, found, progress)
        with closing(open_read_only(path)) as connection:
            _check_account(connection, found)
            verdicts = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
        found.problems += [f"pages: {verdict}" for verdict in verdicts if verdict != "ok"]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        found.problems.append(f"SQLite cannot read on: {error}")
    except (TypeError, ValueError) as error:
        found.problems.append(f"a value makes no sense: {error}")
    return found


def _check_mark(path: Path, found: Findings) -> None:
    """The mark is read first: it is written last, so a file beside a running connector is never older."""
    try:
        mark = read_mark(mark_file(path))
    except MarkDamagedError as error:
        found.problems.append(f"the mark {mark_file(path)} is damaged ({error}); it is made anew at the next start")
        return
    if mark is None:
        return
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if meta.get("incarnation") == mark.incarnation and int(meta.get("next_position", 1)) < mark.next_position:
        found.problems.append(
            f"the last transactions are gone: the file ends before position {meta.get('next_position')}, and had got "
            f"to {mark.next_position}; the next start reports it as a loss"
        )


def _check_rows(path: Path, found: Findings, progress: Progress) -> None:
    expected: int | None = None
    for first, row in read_rows(path, found.problems.append):
        if expected is None or first != expected:
            for start, end in _unexplained(path, expected, first):
                found.problems.append(f"positions {start} to {end - 1} are not there")
        found.rows += 1
        if row is None:
            expected = None  # how many stood there is as little to be trusted as the rest
            continue
        expected = row.last + 1
        found.messages += len(row.records)
        progress(len(row.records))


def _unexplained(path: Path, expected: int | None, first: int) -> list[tuple[int, int]]:
    """What should be between these positions: neither lost, nor settled meanwhile."""
    if expected is None:
        return []
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        lost = lost_ranges(read_losses(connection)) if has_table(connection, "losses") else []
    return missing_ranges(max(expected, int(meta.get("settled_to", 0)) + 1), first, lost)


def _check_account(connection: sqlite3.Connection, found: Findings) -> None:
    """One moment's account: what came in is settled, waits, or is lost."""
    connection.execute("BEGIN")
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    tallies = read_tallies(connection)
    waiting = int(connection.execute("SELECT total(count) FROM journal").fetchone()[0])
    stored = int(connection.execute("SELECT total(bytes) FROM journal").fetchone()[0])
    found.losses = read_losses(connection) if has_table(connection, "losses") else []
    connection.execute("COMMIT")
    appended = int(meta.get("next_position", 1)) - 1
    lost = sum(loss.records or 0 for loss in found.losses)
    off = appended - _received(tallies) - waiting - lost
    if off:
        found.problems.append(
            f"{appended} messages came in, but {_received(tallies)} are settled, {waiting} wait and {lost} are known "
            f"to be lost: {abs(off)} are {'missing' if off > 0 else 'too many'}"
        )
    for topic, tally in tallies.items():
        if any(counts.received != counts.settled for counts in (tally.messages, tally.samples)):
            found.problems.append(f"the account of topic {topic!r} does not balance: {tally}")
    if "waiting_bytes" in meta and int(meta["waiting_bytes"]) != stored:
        found.problems.append(f"{stored} bytes wait, but {meta['waiting_bytes']} are counted")
    found.problems += [f"not acknowledged: loss {loss.id}: {loss}" for loss in found.losses if not loss.acknowledged]


def read_stats(path: Path, progress: Progress) -> Stats:
    """What is in a journal: all that waits is read, for the topics. Raises sqlite3.Error."""
    stats = Stats()
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        stats.next_position = int(meta.get("next_position", 1))
        stats.settled_messages = _received(read_tallies(connection))
        losses = read_losses(connection) if has_table(connection, "losses") else []
        stats.lost_messages = sum(loss.records or 0 for loss in losses)
        page = int(connection.execute("PRAGMA page_size").fetchone()[0])
        stats.free_bytes = page * int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        connection.execute("COMMIT")
    stats.file_bytes = path.stat().st_size
    wal = beside(path, "-wal")
    stats.wal_bytes = wal.stat().st_size if wal.exists() else 0
    for _, row in read_rows(path, lambda _: None):
        stats.rows += 1
        if row is None:
            continue
        if stats.oldest_us is None:
            stats.oldest_us = min(record.time_us for record in row.records)
        stats.messages += len(row.records)
        stats.topics.update(record.topic for record in row.records)
        stats.bytes += sum(len(record.payload or b"") + len(record.topic) for record in row.records)
        progress(len(row.records))
    return stats


def counters(path: Path) -> tuple[int, int]:
    """(messages that ever came in, messages that were ever settled): twice, for rates. Raises sqlite3.Error."""
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        return int(meta.get("next_position", 1)) - 1, _received(read_tallies(connection))


def acknowledge(path: Path, ids: list[int] | None, note: str) -> list[Loss]:
    """Take note of these losses, or of all: they are no problem of the ledger any more. One of unknown size gets the
    size that makes the account balance now. Returns those that were new. Raises sqlite3.Error."""
    with closing(open_durable(path)) as connection:
        if not has_table(connection, "losses"):
            return []
        connection.execute("BEGIN IMMEDIATE")
        _take_over_old_note(connection)
        losses = read_losses(connection)
        chosen = [loss for loss in losses if not loss.acknowledged and (ids is None or loss.id in ids)]
        for loss in chosen:
            if loss.records is None:
                _find_size(connection, loss)
            connection.execute("UPDATE losses SET acknowledged = ? WHERE id = ?", (f"{now_text()} {note}", loss.id))
        numbers = {loss.id for loss in chosen}
        found = [loss for loss in read_losses(connection) if loss.id in numbers]
        connection.execute("COMMIT")
        return found


def _take_over_old_note(connection: sqlite3.Connection) -> None:
    note = connection.execute("SELECT value FROM meta WHERE key = 'account_lost'").fetchone()
    if note:
        add_loss(connection, None, None, None, str(note[0]))
        connection.execute("DELETE FROM meta WHERE key = 'account_lost'")


def _find_size(connection: sqlite3.Connection, loss: Loss) -> None:
    """What nobody can account for at this moment is what was lost with it."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    waiting = int(connection.execute("SELECT total(count) FROM journal").fetchone()[0])
    known = sum(other.records or 0 for other in read_losses(connection))
    off = int(meta.get("next_position", 1)) - 1 - _received(read_tallies(connection)) - waiting - known
    connection.execute("UPDATE losses SET records = ? WHERE id = ?", (off, loss.id))


def _received(tallies: Tallies) -> int:
    return sum(tally.messages.received for tally in tallies.values())
