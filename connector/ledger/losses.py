"""Losses: messages that had come in and are gone, or messages whose account is gone.

A loss stays in the ledger. The ledger reports a loss as a problem until a person has acknowledged the loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connector.ledger.database import Database
from connector.ledger.schema import now_text


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss in the ledger."""

    id: int
    at: str
    first: int | None
    """The first lost position; positions up to before `next` are lost. None if the positions are unknown."""
    next: int | None
    records: int | None
    """The number of lost messages. None if it is unknown; the acknowledgement sets the number then. A negative number
    means that the account has more messages than came in."""
    reason: str
    acknowledged: str | None
    """The time when a person acknowledged the loss, with the person's note; None if nobody has acknowledged it."""

    def __str__(self) -> str:
        if self.records is None:
            what = "an unknown number of messages"
        elif self.first is None or self.next is None:
            what = f"{self.records} messages"
        else:
            what = f"{self.records} messages, positions {self.first} to {self.next - 1}"
        return f"{what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LostRange:
    """Positions from `first` to before `next` that became a loss just now."""

    first: int
    next: int
    reason: str


class LossTable:
    """The losses of an open file. Safe for threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ranges: list[tuple[int, int]] = []
        """The lost positions, as (first, next)."""
        self.reload()

    def reload(self) -> None:
        """Read the losses from the file, which was opened or replaced. Raises sqlite3.Error."""
        self._ranges = lost_ranges(self.all())

    def all(self) -> list[Loss]:
        """Returns all losses, the oldest first. Raises sqlite3.Error."""
        with self._database.locked() as connection:
            return read_losses(connection)

    def committed(self, lost: Iterable[LostRange]) -> None:
        """Record that the transaction with these losses was committed."""
        self._ranges += [(part.first, part.next) for part in lost]

    def first_kept(self, position: int) -> int:
        """Returns `position`, or the first position after it that is not lost."""
        for first, after in sorted(self._ranges):
            if first <= position < after:
                position = after
        return position


def read_losses(connection: sqlite3.Connection) -> list[Loss]:
    """Returns all losses, the oldest first. Raises sqlite3.Error."""
    rows = connection.execute("SELECT id, at, first, next, records, reason, acknowledged FROM losses ORDER BY id")
    return [Loss(*row) for row in rows]


def add_loss(
    connection: sqlite3.Connection, first: int | None, after: int | None, records: int | None, reason: str
) -> None:
    """Add a loss of the positions from `first` to before `after`; None stands for an unknown number.

    Raises sqlite3.Error.
    """
    connection.execute(
        "INSERT INTO losses (at, first, next, records, reason) VALUES (?, ?, ?, ?, ?)",
        (now_text(), first, after, records, reason),
    )


def add_lost_range(connection: sqlite3.Connection, lost: LostRange) -> None:
    """Add a loss with known positions. Raises sqlite3.Error."""
    add_loss(connection, lost.first, lost.next, lost.next - lost.first, lost.reason)


def add_incident(connection: sqlite3.Connection, message: str) -> None:
    """Add an incident: a text about an event of the file, for people. Raises sqlite3.Error."""
    connection.execute("INSERT INTO incidents VALUES (?, ?)", (now_text(), message))


def lost_ranges(losses: Sequence[Loss]) -> list[tuple[int, int]]:
    """Returns (first, next) for each loss with known positions."""
    return [(loss.first, loss.next) for loss in losses if loss.first is not None and loss.next is not None]


def missing_ranges(start: int, end: int, *present: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the ranges of positions from `start` to before `end` that are in no range of `present`.

    A range is (first, next). Ranges in `present` may overlap.
    """
    missing: list[tuple[int, int]] = []
    for first, after in sorted(part for parts in present for part in parts):
        if first >= end:
            break
        if first > start:
            missing.append((start, first))
        start = max(start, after)
    if start < end:
        missing.append((start, end))
    return missing
