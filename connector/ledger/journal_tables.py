"""The journal half of a source's file: the waiting messages.

A row holds many records (`journal_row`). The writer adds rows at the end. A commit removes rows from the start, and its
account goes into the ledger in the same transaction: after any crash a message either waits or is in the ledger, never
both and never neither.

A row that fails its checksum is moved into the table `damaged_rows`, and its positions become a loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Final, NamedTuple

from connector.ledger.account import Commit
from connector.ledger.database import Database
from connector.ledger.journal_row import ROW_OVERHEAD, JournalRow, checked_row, checksum, encode
from connector.ledger.ledger_tables import LedgerTables
from connector.ledger.losses import LossTable, LostRange, add_lost_range
from connector.ledger.schema import DamagedError, now_text
from connector.records import Record
from connector.state.sqlite import open_read_only

KEEP_FREE_PAGES: Final = 4096
"""Free pages that stay in the file for new messages (16 MiB). An idle journal returns the others to the disk."""
_STEP_PAGES: Final = 512


class NextRow(NamedTuple):
    """The answer of `JournalTables.read_next`."""

    position: int
    """The position where reading went on: the wanted position, or the first position after it that is not lost."""
    row: JournalRow | DamagedError | None
    """The first row from `position` on; the error of a row that fails its checksum; None if there is no row."""


class JournalTables:
    """The journal of an open file. Safe for threads."""

    def __init__(self, database: Database, ledger: LedgerTables, losses: LossTable) -> None:
        self._database = database
        self._ledger = ledger
        self._losses = losses

    # -- append and settle ------------------------------------------------------------------------

    def write(self, rows: Iterable[list[Record]], commits: Iterable[Commit]) -> list[JournalRow]:
        """Append rows of records and apply commits, in one durable transaction. Returns the rows with their positions.

        A commit must cover more than the commits before it; a commit that is already in the file is left out. Raises
        sqlite3.Error, and then nothing has changed.
        """
        written = []
        with self._database.transaction() as transaction:
            connection, counters = transaction.connection, transaction.counters
            for records in rows:
                first, count = counters.next_position, len(records)
                body = encode(records)
                size = len(body) + ROW_OVERHEAD
                connection.execute(
                    "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
                    (first, count, size, checksum(first, count, body), body),
                )
                written.append(JournalRow(first, records))
                counters.next_position += count
                counters.waiting_bytes += size
            for commit in commits:
                if commit.position <= counters.settled_to:
                    continue  # its transaction failed, but a recovery has found it in the write-ahead log
                counters.waiting_bytes -= _remove_to(connection, commit.position)
                counters.settled_to = commit.position
                self._ledger.add(transaction, commit.tallies)
        return written

    # -- read -------------------------------------------------------------------------------------

    def first_waiting(self) -> int:
        """Returns the position of the oldest waiting record, or of the next record if no record waits."""
        with self._database.locked() as connection:
            first = connection.execute("SELECT first FROM journal ORDER BY first LIMIT 1").fetchone()
            return int(first[0]) if first else self._database.counters.next_position

    def read_next(self, position: int) -> NextRow:
        """Read the first row from `position` on; known losses are skipped. Raises sqlite3.Error."""
        with self._database.reading() as connection:
            position = self._losses.first_kept(position)
            found = connection.execute(
                "SELECT first, count, crc, body FROM journal WHERE first >= ? ORDER BY first LIMIT 1", (position,)
            ).fetchone()
        return NextRow(position, None if found is None else checked_row(*found))

    def read_at(self, positions: Iterable[int], max_bytes: int) -> tuple[dict[int, Record], int]:
        """Read single records again; `positions` must rise.

        Returns (position → record, number of `positions` that were looked for). The search ends when the payloads have
        about `max_bytes` bytes. A position that was looked for and has no record is not in the journal. Raises
        sqlite3.Error.
        """
        found: dict[int, Record] = {}
        row: JournalRow | None = None
        size = done = 0
        with closing(open_read_only(self._database.path)) as connection:
            for position in positions:
                if size >= max_bytes:
                    break
                done += 1
                if row is None or position > row.last:
                    stored = connection.execute(
                        "SELECT first, count, crc, body FROM journal WHERE first <= ? ORDER BY first DESC LIMIT 1",
                        (position,),
                    ).fetchone()
                    checked = None if stored is None else checked_row(*stored)
                    row = checked if isinstance(checked, JournalRow) else None
                if row is not None and row.first <= position <= row.last:
                    found[position] = row.records[position - row.first]
                    size += len(found[position].payload or b"")
        return found, done

    # -- damage -----------------------------------------------------------------------------------

    def confine(self, first: int, reason: str) -> LostRange:
        """Move the damaged row at position `first` into the table `damaged_rows`; returns the loss.

        All positions up to the next row are lost: the number of records in a damaged row cannot be trusted. Raises
        sqlite3.Error.
        """
        with self._database.transaction() as transaction:
            connection, counters = transaction.connection, transaction.counters
            following = connection.execute(
                "SELECT first FROM journal WHERE first > ? ORDER BY first LIMIT 1", (first,)
            ).fetchone()
            after = int(following[0]) if following else counters.next_position
            size = connection.execute("SELECT total(bytes) FROM journal WHERE first = ?", (first,)).fetchone()[0]
            connection.execute(
                "INSERT INTO damaged_rows (at, first, count, crc, body) "
                "SELECT ?, first, count, crc, body FROM journal WHERE first = ?",
                (now_text(), first),
            )
            connection.execute("DELETE FROM journal WHERE first = ?", (first,))
            counters.waiting_bytes = max(0, counters.waiting_bytes - int(size))
            add_lost_range(connection, LostRange(first, after, f"{reason}; the row is kept in the table damaged_rows"))
        lost = LostRange(first, after, reason)
        self._losses.committed([lost])
        return lost

    # -- space on the disk ------------------------------------------------------------------------

    def give_back(self, *, all_of_it: bool = False) -> bool:
        """Give some free pages of the file back to the disk, in a few milliseconds.

        New messages use free pages first, so `KEEP_FREE_PAGES` of them stay, unless `all_of_it`. Returns whether
        another call would give back more pages. Raises sqlite3.Error.
        """
        with self._database.locked() as connection:
            keep = 0 if all_of_it else KEEP_FREE_PAGES
            free = _free_pages(connection)
            if free <= keep:
                return False
            connection.executescript(f"PRAGMA incremental_vacuum({min(_STEP_PAGES, free - keep)})")
            left = _free_pages(connection)
            if all_of_it or left <= keep:  # only a checkpoint makes the file itself shorter
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            return keep < left < free


def _remove_to(connection: sqlite3.Connection, position: int) -> int:
    """Remove all rows up to and including `position`; returns their bytes."""
    removed = connection.execute("SELECT total(bytes) FROM journal WHERE first <= ?", (position,)).fetchone()[0]
    connection.execute("DELETE FROM journal WHERE first <= ?", (position,))
    return int(removed)


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
