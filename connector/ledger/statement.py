"""Reads the ledger and the journal of a source's file at one moment, even while a connector has the file open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from connector.ledger.account import SettledRange, Tallies
from connector.ledger.journal_row import JournalRow, checked_row
from connector.ledger.ledger_lines import read_tallies
from connector.ledger.ledger_tables import read_ranges
from connector.ledger.losses import Loss, read_losses
from connector.state.sqlite import open_read_only


@dataclass(frozen=True, slots=True)
class Statement:
    """The account in a source's file at one moment."""

    appended: int
    """Number of all records that ever came in."""
    waiting: int
    """Number of records that wait in the journal, as its rows say; 0 if the rows were read."""
    settled: Tallies
    """The account of the settled records, by line of the ledger."""
    damaged_rows: int
    """Number of rows in the journal that fail their checksum, and were not found by the connector yet."""
    incidents: list[str]
    """The events of the file, each with its time, for people."""
    ranges: list[SettledRange]
    """The settled positions of a log outside the connector."""
    redelivered: int
    """Number of settled records that this ledger had settled before."""
    expired: int
    """Number of records that had expired in their log before they could be read."""
    unread: int
    """Number of records that were deleted together with their log before they could be read."""
    losses: list[Loss]
    """Messages that had come in and are gone."""

    @property
    def lost(self) -> int:
        """Number of lost messages; a loss of unknown size counts as 0."""
        return sum(loss.records or 0 for loss in self.losses)


def read_statement(path: Path, waiting: Callable[[JournalRow], None] | None) -> Statement:
    """Read the account, and call `waiting` with each row of waiting messages; all data is from the same moment.

    Without `waiting` the messages are only counted, which takes far less time. Raises sqlite3.Error.
    """
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        damaged = count = 0
        if waiting is None:
            count = int(connection.execute("SELECT total(count) FROM journal").fetchone()[0])
        else:
            for found in connection.execute("SELECT first, count, crc, body FROM journal ORDER BY first"):
                row = checked_row(*found)
                if isinstance(row, JournalRow):
                    waiting(row)
                else:
                    damaged += 1
        return Statement(
            appended=int(meta.get("next_position", 1)) - 1,
            waiting=count,
            settled=read_tallies(connection),
            damaged_rows=damaged,
            incidents=[f"{at} {message}" for at, message in connection.execute("SELECT at, message FROM incidents")],
            ranges=read_ranges(connection),
            redelivered=int(meta.get("redelivered", 0)),
            expired=int(meta.get("expired", 0)),
            unread=int(meta.get("unread", 0)),
            losses=read_losses(connection),
        )
