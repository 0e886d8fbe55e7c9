"""Reads the ledger and the journal of a source's file at one moment, also while a connector has the file open."""

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
    """How many records ever came in."""
    waiting: int
    """How many records wait in the journal, as its rows say; 0 if the rows were read."""
    settled: Tallies
    """The account of the records that are settled, by line of the ledger."""
    damaged_rows: int
    """How many rows of the journal fail their checksum, and were not met by the connector yet."""
    incidents: list[str]
    """What happened to the file, with the time, for people."""
    ranges: list[SettledRange]
    """Which positions are settled of a log that is kept elsewhere."""
    redelivered: int
    """How many of the settled records this ledger had settled before."""
    expired: int
    """How many records had expired in their log before they could be read."""
    losses: list[Loss]
    """Messages that had come in and are gone."""

    @property
    def lost(self) -> int:
        """How many messages are lost; losses of unknown size count as 0."""
        return sum(loss.records or 0 for loss in self.losses)


def read_statement(path: Path, waiting: Callable[[JournalRow], None] | None) -> Statement:
    """Read the account, and call `waiting` with every row of messages that wait. Without `waiting` the messages are
    only counted, which takes far less time. Everything is from the same moment. Raises sqlite3.Error."""
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
            losses=read_losses(connection),
        )
