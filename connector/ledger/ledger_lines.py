"""Which topics have a line of their own in the ledger: so many, and none that is very long. The others share one.

Topics are the publishers' to choose: without a bound, whoever makes up new ones would make the ledger grow for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from typing import Final

from connector.ledger.account import Tallies, merge
from connector.ledger.schema import UPSERT, ledger_rows

OTHER_TOPICS: Final = "(other topics)"
"""The line that they share."""
LEDGER_TOPICS: Final = 100_000
LONGEST_TOPIC: Final = 1_000
"""Characters of a topic that has a line of its own."""


def line_of(topic: str, known: Container[str], lines: int, most: int) -> str:
    """The line for this topic, where `lines` topics are `known` and at most `most` may be."""
    if topic in known:
        return topic
    return OTHER_TOPICS if lines >= most or len(topic) > LONGEST_TOPIC else topic


class LedgerTopics:
    """Books accounts into the ledger, in the caller's transaction."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines = most
        """At most so many lines are there: counted before it matters."""

    def book(self, writer: sqlite3.Connection, tallies: Tallies) -> None:
        """Add these to the lines of their topics. Raises sqlite3.Error."""
        if self._lines + len(tallies) > self._most:
            self._lines = _count(writer)
        if self._lines + len(tallies) > self._most or any(len(topic) > LONGEST_TOPIC for topic in tallies):
            tallies = self._together(writer, tallies)
        self._lines += len(tallies)
        writer.executemany(UPSERT, ledger_rows(tallies))

    def _together(self, writer: sqlite3.Connection, tallies: Tallies) -> Tallies:
        known = {
            topic for topic in tallies if writer.execute("SELECT 1 FROM ledger WHERE topic = ?", (topic,)).fetchone()
        }
        found: Tallies = {}
        lines = self._lines
        for topic, tally in tallies.items():
            line = line_of(topic, known, lines, self._most)
            lines += line == topic and topic not in known
            merge(found, {line: tally})
        return found


def _count(writer: sqlite3.Connection) -> int:
    return int(writer.execute("SELECT count(*) FROM ledger").fetchone()[0])
