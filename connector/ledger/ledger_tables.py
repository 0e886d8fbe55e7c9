"""The ledger half of a source's file: the account of all settled messages.

An account comes in one of three ways:

- with the removal of its messages from the journal (`JournalTables.write` calls `add` in its own transaction);
- without a journal (`add_commits`): the broker kept the messages, and only their number is counted here;
- with ranges of positions of a log outside the connector, such as Kafka (`add_ranges`). Then the ledger also has the
  settled positions, so that a record that comes again is noticed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, replace

from connector.ledger.account import Commit, LogPosition, SettledRange, Tallies
from connector.ledger.database import Database, Transaction
from connector.ledger.ledger_lines import LedgerLines
from connector.ledger.losses import add_incident


class LedgerTables:
    """The ledger of an open file. Safe for threads."""

    def __init__(self, database: Database, ledger_topics: int) -> None:
        """`ledger_topics` is the approximate number of topics with their own line."""
        self._database = database
        self._lines = LedgerLines(ledger_topics)

    def add(self, transaction: Transaction, tallies: Tallies) -> None:
        """Add the account of a commit, as a part of `transaction`. Raises sqlite3.Error."""
        self._lines.add(transaction.connection, tallies)

    def add_commits(self, records: int, commits: Iterable[Commit]) -> None:
        """Add the accounts of commits without a journal.

        `records` is the number of records that came in and are settled by these commits. Raises sqlite3.Error, and then
        nothing has changed.
        """
        with self._database.transaction() as transaction:
            _count(transaction, records)
            for commit in commits:
                self.add(transaction, commit.tallies)

    def add_ranges(self, ranges: Iterable[SettledRange], commits: Iterable[Commit]) -> None:
        """Add ranges of settled positions, and the accounts of the commits that settled them.

        Raises sqlite3.Error, and then nothing has changed.
        """
        records = redelivered = 0
        with self._database.transaction() as transaction:
            for added in ranges:
                _add_range(transaction.connection, added)
                records += added.records
                redelivered += added.redelivered
            _count(transaction, records)
            if redelivered:
                _add_to_meta(transaction.connection, "redelivered", redelivered)
            for commit in commits:
                self.add(transaction, commit.tallies)

    def ranges(self, partition: str, log: str = "") -> list[SettledRange]:
        """Returns the settled ranges of `partition` in the log `log`, in order. Raises sqlite3.Error."""
        with self._database.locked() as connection:
            return [found for found in read_ranges(connection, partition) if found.log == log]

    def begin(self, positions: Iterable[LogPosition]) -> None:
        """Note durably where the reading of partitions begins. A settled range moves the position of its log.

        Raises sqlite3.Error.
        """
        with self._database.transaction() as transaction:
            transaction.connection.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", [astuple(found) for found in positions]
            )

    def name_log(self, partition: str, log: str, cluster: str) -> None:
        """Give a name to the log of a partition: the ranges of a log without a name are taken for this log's.

        Raises sqlite3.Error.
        """
        with self._database.transaction() as transaction:
            rows = [found for found in read_ranges(transaction.connection, partition) if not found.log]
            transaction.connection.execute("DELETE FROM settled WHERE partition = ? AND log = ''", (partition,))
            for found in rows:
                _add_range(transaction.connection, replace(found, log=log))
            transaction.connection.execute(
                "UPDATE positions SET log = ?, cluster = ? WHERE partition = ? AND log = ''", (log, cluster, partition)
            )

    def positions(self) -> dict[str, LogPosition]:
        """Partition → the position where reading goes on, as far as this ledger knows. Raises sqlite3.Error."""
        with self._database.locked() as connection:
            rows = connection.execute("SELECT partition, log, cluster, next FROM positions").fetchall()
        return {row[0]: LogPosition(*row) for row in rows}

    def forget_positions(self) -> None:
        """Forget where reading goes on; the settled ranges stay. Raises sqlite3.Error."""
        with self._database.transaction() as transaction:
            transaction.connection.execute("DELETE FROM positions")

    def add_expired(self, message: str, records: int) -> None:
        """Note durably that records had expired in their log before they could be read.

        `records` is the number of these records, or 0 if it is unknown. `message` is for people. Raises sqlite3.Error.
        """
        with self._database.transaction() as transaction:
            add_incident(transaction.connection, message)
            _add_to_meta(transaction.connection, "expired", records)

    def add_unread(self, message: str, records: int) -> None:
        """Note durably that a log was deleted, as a whole, before `records` of its records could be read.

        `message` is for people. Raises sqlite3.Error.
        """
        with self._database.transaction() as transaction:
            add_incident(transaction.connection, message)
            _add_to_meta(transaction.connection, "unread", records)


def read_ranges(connection: sqlite3.Connection, partition: str = "") -> list[SettledRange]:
    """Returns the settled ranges of `partition`, or of all partitions, in order. Raises sqlite3.Error."""
    rows = connection.execute(
        "SELECT partition, first, next, records, 0, log FROM settled WHERE ? IN ('', partition) "
        "ORDER BY partition, log, first",
        (partition,),
    )
    return [SettledRange(*row) for row in rows]


def _count(transaction: Transaction, records: int) -> None:
    """Count records that came in and are settled at once, so that no record waits."""
    counters = transaction.counters
    counters.next_position += records
    counters.settled_to = counters.next_position - 1
    counters.waiting_bytes = 0


def _add_to_meta(connection: sqlite3.Connection, key: str, n: int) -> None:
    connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + ?", (key, n, n))


def _add_range(connection: sqlite3.Connection, added: SettledRange) -> None:
    """Add a range. A range that begins at the end of a stored range makes the stored range longer.

    So the table has a row for each new start of reading, and not for each commit.
    """
    grown = connection.execute(
        "UPDATE settled SET next = ?, records = records + ? WHERE partition = ? AND log = ? AND first = "
        "(SELECT max(first) FROM settled WHERE partition = ? AND log = ? AND next = ?)",
        (added.next, added.records, *2 * (added.partition, added.log), added.first),
    )
    if not grown.rowcount:
        connection.execute(
            "INSERT INTO settled VALUES (?, ?, ?, ?, ?) ON CONFLICT (partition, log, first) DO UPDATE SET "
            "next = max(next, excluded.next), records = records + excluded.records",
            (added.partition, added.log, added.first, added.next, added.records),
        )
    connection.execute(
        "UPDATE positions SET next = ? WHERE partition = ? AND log = ?", (added.next, added.partition, added.log)
    )
