"""What a log file says of itself at one moment, read beside its owner."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from connector.ledger.account import Tallies
from connector.ledger.schema import Loss, Range, Row, checked_row, has_table, read_losses, read_ranges, read_tallies
from connector.state.sqlite import open_read_only


@dataclass(frozen=True, slots=True)
class Statement:
    """What a file says at one moment, read without disturbing its owner."""

    appended: int
    """Records that ever came in."""
    settled: Tallies
    damaged_rows: int
    """Rows that fail their checksum, and that the connector has not met yet."""
    incidents: list[str]
    ranges: list[Range]
    """What is settled of a log that is kept elsewhere."""
    redelivered: int
    """Records among the settled ones that were settled before."""
    expired: int
    """Records that were gone before they could be read."""
    losses: list[Loss]
    """What had come in and is gone."""

    @property
    def lost(self) -> int:
        """How many records that is, as far as it is known."""
        return sum(loss.records or 0 for loss in self.losses)


def _losses(connection: sqlite3.Connection, account_lost: str | None) -> list[Loss]:
    """With what an earlier version noted in another way, and no later one has taken over yet."""
    losses = read_losses(connection) if has_table(connection, "losses") else []
    if account_lost:
        losses.append(Loss(0, "", None, None, None, account_lost, None))
    return losses


def read_statement(path: Path, waiting: Callable[[Row], None]) -> Statement:
    """Read the ledger, and give `waiting` every row that waits: one consistent snapshot, also while a connector
    runs."""
    with closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        damaged = 0
        for found in connection.execute("SELECT first, count, crc, body FROM journal ORDER BY first"):
            row = checked_row(*found)
            if isinstance(row, Row):
                waiting(row)
            else:
                damaged += 1
        return Statement(
            appended=int(meta.get("next_position", 1)) - 1,
            settled=read_tallies(connection),
            damaged_rows=damaged,
            incidents=[f"{at} {message}" for at, message in connection.execute("SELECT at, message FROM incidents")],
            ranges=read_ranges(connection) if has_table(connection, "settled") else [],
            redelivered=int(meta.get("redelivered", 0)),
            expired=int(meta.get("expired", 0)),
            losses=_losses(connection, meta.get("account_lost")),
        )
