"""The lines of the ledger: one line for each topic, with the account of the topic.

The number of lines is bounded, and so is the length of a topic with its own line. All other topics share one line.
Publishers choose topics: without a bound, a publisher that invents topics would make the ledger grow forever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator
from operator import attrgetter
from typing import Final

from connector.ledger.account import Counts, Tallies, Tally, merge
from connector.ledger.schema import COLUMNS, COUNTS

OTHER_TOPICS: Final = "(other topics)"
"""The name of the shared line."""
LEDGER_TOPICS: Final = 100_000
"""The approximate number of topics with their own line, by default."""
LONGEST_TOPIC: Final = 1_000
"""The most characters of a topic with its own line."""
ADD_TO_LINE: Final = (
    f"INSERT INTO ledger (topic, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)}) "  # noqa: S608 - constants
    f"ON CONFLICT (topic) DO UPDATE SET {', '.join(f'{c} = {c} + excluded.{c}' for c in COLUMNS)}"
)


_counts = attrgetter(*COUNTS)


def line_of(topic: str, known: Container[str], lines: int, most: int) -> str:
    """Returns the name of the line for `topic`.

    `known` has topics that have a line already. There are `lines` lines, and there may be `most`.
    """
    if topic in known:
        return topic
    return OTHER_TOPICS if lines >= most or len(topic) > LONGEST_TOPIC else topic


class LedgerLines:
    """Adds accounts to the lines of the ledger, within a transaction of the caller."""

    def __init__(self, most: int) -> None:
        """`most` is the approximate number of topics with their own line."""
        self._most = most
        self._lines = most
        """An upper bound of the number of lines. The lines are counted only when this number comes close to `most`."""

    def add(self, connection: sqlite3.Connection, tallies: Tallies) -> None:
        """Add each account to the line of its topic. Raises sqlite3.Error."""
        if self._lines + len(tallies) > self._most:
            self._lines = int(connection.execute("SELECT count(*) FROM ledger").fetchone()[0])
        if self._lines + len(tallies) > self._most or any(len(topic) > LONGEST_TOPIC for topic in tallies):
            tallies = self._by_line(connection, tallies)
        self._lines += len(tallies)
        connection.executemany(ADD_TO_LINE, _line_columns(tallies))

    def _by_line(self, connection: sqlite3.Connection, tallies: Tallies) -> Tallies:
        """Name of a line → the account for it."""
        known = {
            topic
            for topic in tallies
            if connection.execute("SELECT 1 FROM ledger WHERE topic = ?", (topic,)).fetchone()
        }
        found: Tallies = {}
        lines = self._lines
        for topic, tally in tallies.items():
            line = line_of(topic, known, lines, self._most)
            lines += line == topic and topic not in known
            merge(found, {line: tally})
        return found


def read_tallies(connection: sqlite3.Connection) -> Tallies:
    """Returns the account of all settled messages: name of a line → its account. Raises sqlite3.Error."""
    half = 1 + len(COUNTS)
    return {
        row[0]: Tally(Counts(*row[1:half]), Counts(*row[half:]))
        for row in connection.execute(f"SELECT topic, {', '.join(COLUMNS)} FROM ledger ORDER BY topic")  # noqa: S608
    }


def _line_columns(tallies: Tallies) -> Iterator[tuple[str | int, ...]]:
    """Yields the parameters of `ADD_TO_LINE`."""
    return ((topic, *_counts(t.messages), *_counts(t.samples)) for topic, t in tallies.items())
