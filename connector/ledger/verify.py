"""Checks a source's file, even while a connector has the file open.

The checks are: the checksum of every row, missing positions, the account, and the pages. Also reads the content of the
journal, and acknowledges losses.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from connector.ledger.account import Tallies
from connector.ledger.high_water import HighWaterDamagedError, high_water_file, read_high_water_mark
from connector.ledger.journal_row import JournalRow, checked_row
from connector.ledger.ledger_lines import read_tallies
from connector.ledger.losses import Loss, lost_ranges, missing_ranges, read_losses
from connector.ledger.schema import now_text
from connector.state.sqlite import companion_file, open_durable, open_read_only

_ROWS_AT_ONCE: int = 64
"""Rows that are read in one transaction. A long transaction would let the write-ahead log grow."""

OnMessagesRead = Callable[[int], None]
"""Called with the number of messages that were read since the last call."""


@dataclass(slots=True)
class Findings:
    """The result of `verify`."""

    rows: int = 0
    messages: int = 0
    problems: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    """All losses. A loss without an acknowledgement is also among the problems."""


@dataclass(slots=True)
class JournalStats:
    """The content of one journal, and the size of its file."""

    messages: int = 0
    bytes: int = 0
    rows: int = 0
    oldest_us: int | None = None
    """Time of the oldest waiting message, in µs since the epoch; None if no message waits."""
    next_position: int = 1
    settled_messages: int = 0
    lost_messages: int = 0
    file_bytes: int = 0
    wal_bytes: int = 0
    free_bytes: int = 0
    """Free space within the file: new messages use it first, and an idle connector gives it back to the disk."""
    topics: Counter[str] = field(default_factory=Counter)
    """Topic → number of its waiting messages."""


class Totals(NamedTuple):
    """The number of messages that ever came in, and the number of settled messages."""

    received: int
    settled: int


def waiting_messages(path: Path) -> int:
    """Returns the approximate number of waiting messages, for a progress bar. Raises sqlite3.Error."""
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        first = connection.execute("SELECT first FROM journal ORDER BY first LIMIT 1").fetchone()
    return max(0, int(meta.get("next_position", 1)) - first[0]) if first else 0


def read_waiting(path: Path, failed: Callable[[str], None]) -> Iterator[tuple[int, JournalRow | None]]:
    """Yields (position, row) for every row of waiting messages.

    For a row that fails its checksum, `failed` is called with the reason, and the row is None. Only a few rows are read
    at a time, so that a running connector is not disturbed. Raises sqlite3.Error if SQLite cannot read on.
    """
    after = -1
    with closing(open_read_only(path)) as connection:
        while True:
            some = connection.execute(
                "SELECT first, count, crc, body FROM journal WHERE first > ? ORDER BY first LIMIT ?",
                (after, _ROWS_AT_ONCE),
            ).fetchall()
            if not some:
                return
            for found in some:
                row = checked_row(*found)
                if isinstance(row, JournalRow):
                    yield row.first, row
                else:
                    failed(str(row))
                    yield int(found[0]), None
            if some[-1][0] <= after:
                failed(f"rows are not in order after position {after}")
                return
            after = some[-1][0]


def verify(path: Path, on_messages_read: OnMessagesRead) -> Findings:
    """Check the whole file; returns the findings. Damage is a finding and never an error."""
    found = Findings()
    try:
        _check_high_water_mark(path, found)
        _check_rows(path, found, on_messages_read)
        with closing(open_read_only(path)) as connection:
            _check_account(connection, found)
            verdicts = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
        found.problems += [f"pages: {verdict}" for verdict in verdicts if verdict != "ok"]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        found.problems.append(f"SQLite cannot read on: {error}")
    except (TypeError, ValueError) as error:
        found.problems.append(f"a value makes no sense: {error}")
    return found


def _check_high_water_mark(path: Path, found: Findings) -> None:
    """Compare the file with its high-water mark.

    The mark is read first, and a connector writes it last. So the file of a running connector is never behind the mark.
    """
    try:
        mark = read_high_water_mark(path)
    except HighWaterDamagedError as error:
        found.problems.append(
            f"the high-water mark {high_water_file(path)} is damaged ({error}); the next start writes the mark anew"
        )
        return
    if mark is None:
        return
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if meta.get("incarnation") == mark.incarnation and int(meta.get("next_position", 1)) < mark.next_position:
        found.problems.append(
            f"the last transactions are gone: the file ends before position {meta.get('next_position')}, and once "
            f"ended before {mark.next_position}; the next start reports the missing positions as a loss"
        )


def _check_rows(path: Path, found: Findings, on_messages_read: OnMessagesRead) -> None:
    expected: int | None = None
    for first, row in read_waiting(path, found.problems.append):
        if expected is not None and first != expected:
            for start, end in _unexplained(path, expected, first):
                found.problems.append(f"positions {start} to {end - 1} are not there")
        found.rows += 1
        if row is None:
            expected = None  # the number of records in a damaged row cannot be trusted
            continue
        expected = row.last + 1
        found.messages += len(row.records)
        on_messages_read(len(row.records))


def _unexplained(path: Path, expected: int, first: int) -> list[tuple[int, int]]:
    """Returns the ranges from `expected` to before `first` that are neither lost nor settled now, as (first, next)."""
    with closing(open_read_only(path)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        lost = lost_ranges(read_losses(connection))
    return missing_ranges(max(expected, int(meta.get("settled_to", 0)) + 1), first, lost)


def _check_account(connection: sqlite3.Connection, found: Findings) -> None:
    """Check the account at one moment: every message that came in must be settled, waiting, or lost."""
    connection.execute("BEGIN")
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    tallies = read_tallies(connection)
    waiting = int(connection.execute("SELECT total(count) FROM journal").fetchone()[0])
    stored = int(connection.execute("SELECT total(bytes) FROM journal").fetchone()[0])
    found.losses = read_losses(connection)
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


def read_stats(path: Path, on_messages_read: OnMessagesRead) -> JournalStats:
    """Returns the content of the journal; reads all waiting messages to count them by topic. Raises sqlite3.Error."""
    stats = JournalStats()
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        stats.next_position = int(meta.get("next_position", 1))
        stats.settled_messages = _received(read_tallies(connection))
        stats.lost_messages = sum(loss.records or 0 for loss in read_losses(connection))
        page = int(connection.execute("PRAGMA page_size").fetchone()[0])
        stats.free_bytes = page * int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        connection.execute("COMMIT")
    stats.file_bytes = path.stat().st_size
    wal = companion_file(path, "-wal")
    stats.wal_bytes = wal.stat().st_size if wal.exists() else 0
    for _, row in read_waiting(path, lambda _: None):
        stats.rows += 1
        if row is None:
            continue
        if stats.oldest_us is None:
            stats.oldest_us = min(record.time_us for record in row.records)
        stats.messages += len(row.records)
        stats.topics.update(record.topic for record in row.records)
        stats.bytes += sum(len(record.payload or b"") + len(record.topic) for record in row.records)
        on_messages_read(len(row.records))
    return stats


def read_totals(path: Path) -> Totals:
    """Returns the totals at this moment; two of them give rates. Raises sqlite3.Error."""
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        return Totals(int(meta.get("next_position", 1)) - 1, _received(read_tallies(connection)))


def acknowledge(path: Path, ids: list[int] | None, note: str) -> list[Loss]:
    """Acknowledge the losses with these IDs, or all losses: the ledger does not report them as a problem any more.

    A loss of unknown size gets the size with which the account balances at this moment. Returns the losses that were
    not acknowledged before. Raises sqlite3.Error.
    """
    with closing(open_durable(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        losses = read_losses(connection)
        chosen = [loss for loss in losses if not loss.acknowledged and (ids is None or loss.id in ids)]
        for loss in chosen:
            if loss.records is None:
                _set_size(connection, loss)
            connection.execute("UPDATE losses SET acknowledged = ? WHERE id = ?", (f"{now_text()} {note}", loss.id))
        numbers = {loss.id for loss in chosen}
        found = [loss for loss in read_losses(connection) if loss.id in numbers]
        connection.execute("COMMIT")
        return found


def _set_size(connection: sqlite3.Connection, loss: Loss) -> None:
    """Set the size of a loss to the number of messages that are missing in the account at this moment."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    waiting = int(connection.execute("SELECT total(count) FROM journal").fetchone()[0])
    known = sum(other.records or 0 for other in read_losses(connection))
    off = int(meta.get("next_position", 1)) - 1 - _received(read_tallies(connection)) - waiting - known
    connection.execute("UPDATE losses SET records = ? WHERE id = ?", (off, loss.id))


def _received(tallies: Tallies) -> int:
    return sum(tally.messages.received for tally in tallies.values())
