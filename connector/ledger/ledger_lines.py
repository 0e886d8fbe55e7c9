"""The lines of the ledger: one line per topic, with the account of the topic.

The number of lines is bounded, and so is the length of a topic that has a line of its own. All other topics share one
line. Publishers choose topics: without a bound, a publisher that invents topics would make the ledger grow for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator
from dataclasses import astuple
from typing import Final

from connector.ledger.account import Counts, Tallies, Tally, merge
from connector.ledger.schema import COLUMNS, COUNTS

OTHER_TOPICS: Final = "(other topics)"
"""The name of the line that topics share."""
LEDGER_TOPICS: Final = 100_000
"""About how many topics have a line of their own, if nothing else is configured."""
LONGEST_TOPIC: Final = 1_000
"""The greatest number of characters in a topic that has a line of its own."""
ADD_TO_LINE: Final = (
    f"INSERT INTO ledger (topic, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)}) "  # noqa: S608 - constants
    f"ON CONFLICT (topic) DO UPDATE SET {', '.join(f'{c} = {c} + excluded.{c}' for c in COLUMNS)}"
)


def line_of(topic: str, known: Container[str], lines: int, most: int) -> str:
    """The name of the line for `topic`. `known` are topics that have a line. There are `lines` lines, and there may be
    `most`."""
    if topic in known:
        return topic
    return OTHER_TOPICS if lines >= most or len(topic) > LONGEST_TOPIC else topic


class LedgerLines:
    """Adds accounts to the lines of the ledger, within a transaction of the caller."""

    def __init__(self, most: int) -> None:
        """About `most` topics have a line of their own."""
        self._most = most
        self._lines = most
        """The number of lines is at most this. The lines are counted only when this number comes close to the bound."""

    def add(self, connection: sqlite3.Connection, tallies: Tallies) -> None:
        """Add each account to the line of its topic. Raises sqlite3.Error."""
        if self._lines + len(tallies) > self._most:
            self._lines = int(connection.execute("SELECT count(*) FROM ledger").fetchone()[0])
        if self._lines + len(tallies) > self._most or any(len(topic) > LONGEST_TOPIC for topic in tallies):
            tallies = self._by_line(connection, tallies)
        self._lines += len(tallies)
        connection.executemany(ADD_TO_LINE, _line_columns(tallies))

    def _by_line(self, connection: sqlite3.Connection, tallies: Tallies) -> Tallies:
        """The accounts by the name of their line."""
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
    """The account of everything that is settled, by line. Raises sqlite3.Error."""
    half = 1 + len(COUNTS)
    return {
        row[0]: Tally(Counts(*row[1:half]), Counts(*row[half:]))
        for row in connection.execute(f"SELECT topic, {', '.join(COLUMNS)} FROM ledger ORDER BY topic")  # noqa: S608
    }


def _line_columns(tallies: Tallies) -> Iterator[tuple[str | int, ...]]:
    """The parameters of `ADD_TO_LINE`."""
    return ((topic, *astuple(t.messages), *astuple(t.samples)) for topic, t in tallies.items())
