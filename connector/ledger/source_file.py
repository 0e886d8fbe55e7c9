"""The file of a source: its journal, its position and its ledger, in one SQLite database.

There is only one file, so that a position, its account, and the removal of the settled messages are one transaction:
the ledger is exact after any crash (docs/decisions/0001). The file has two halves. The journal (`journal_tables`) has
the waiting messages; only a source with a journal on disk uses it. The ledger (`ledger_tables`) has the account of
settled messages; every source has a ledger.

Damage is confined:

- A row of the journal that fails its checksum is moved out of the way, and its positions become a loss.
- A file that SQLite finds damaged is set aside, at the start or while the connector runs. All readable rows are copied
  into a new file (`recovery`).
- A file that is behind its high-water mark (`high_water`) has lost its last transactions; their positions become a
  loss.

Losses stay in the ledger. The ledger reports a loss as a problem until a person has acknowledged the loss.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import structlog

from connector.ledger.database import Database
from connector.ledger.disk_reserve import DiskReserve, disk_reserve_file
from connector.ledger.high_water import HighWaterDamagedError, HighWaterMark, high_water_file, read_high_water_mark
from connector.ledger.journal_tables import JournalTables
from connector.ledger.ledger_lines import LEDGER_TOPICS
from connector.ledger.ledger_tables import LedgerTables
from connector.ledger.losses import LossTable, LostRange, add_incident, add_lost_range
from connector.ledger.recovery import Recovery, recover, recovering_file
from connector.ledger.schema import CHECK_BELOW_BYTES, DamagedError, means_damage, open_checked, suspected_file

_TRANSACTIONS_GONE: Final = (
    "the last transactions are gone: the -wal was damaged or removed, or an older copy was put in place"
)

_log = structlog.get_logger(__name__)


class SourceFile:
    """The open file of a source. Safe for threads."""

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        recovery: Recovery | None = None,
        ledger_topics: int = LEDGER_TOPICS,
    ) -> None:
        """`writer` is an open connection to the file, which `close` closes.

        Raises OSError, sqlite3.Error and `DamagedError`; all connections are closed then.
        """
        self.path = path
        self.recovery = recovery
        """The recovery of the file if it was damaged when it was opened; else None."""
        self._database = Database(path, writer)
        try:
            self.losses = LossTable(self._database)
            self.ledger = LedgerTables(self._database, ledger_topics)
            self.journal = JournalTables(self._database, self.ledger, self.losses)
            self.lost_at_start = self._compare_with_high_water_mark()
            """Positions of transactions that the high-water mark knows and the file does not have."""
        except BaseException:
            self._database.close()
            raise
        self.disk_reserve = DiskReserve(path)
        """The disk reserve, which only a journal on disk takes."""

    @classmethod
    def open(
        cls, path: Path, *, check_below_bytes: int = CHECK_BELOW_BYTES, ledger_topics: int = LEDGER_TOPICS
    ) -> SourceFile:
        """Open the file, or create it.

        A damaged file is set aside; `recovery` of the new file then has the details. A file of at least
        `check_below_bytes` is checked page by page only if it may be damaged. About `ledger_topics` topics have their
        own line in the ledger. Raises OSError and sqlite3.Error if the file cannot be used for another reason than
        damage.
        """
        try:
            return cls._open(path, check_below_bytes, ledger_topics)
        except (OSError, sqlite3.OperationalError):
            if not disk_reserve_file(path).exists():
                raise
        # The disk may be full. Waiting messages must be sent in this case, too, so the reserve is given up.
        DiskReserve(path).give_up()
        return cls._open(path, check_below_bytes, ledger_topics)

    @classmethod
    def _open(cls, path: Path, check_below_bytes: int, ledger_topics: int) -> SourceFile:
        if recovering_file(path).exists():
            reason = "an earlier recovery was cut short"
        else:
            try:
                return cls(path, open_checked(path, check_below_bytes), None, ledger_topics)
            except (sqlite3.DatabaseError, UnicodeDecodeError, DamagedError) as error:
                if not means_damage(error):
                    raise
                reason = str(error)
        writer, recovery = recover(path, reason, _high_water_mark_of_damaged(path))
        return cls(path, writer, recovery, ledger_topics)

    # -- the counters of the file -----------------------------------------------------------------

    @property
    def incarnation(self) -> str:
        """A text that changes when positions begin at 1 again; a part of a record's identity in dead letters."""
        return self._database.incarnation

    @property
    def next_position(self) -> int:
        """The position of the next record that comes in. Positions begin at 1, and are never used again."""
        return self._database.counters.next_position

    @property
    def settled_to(self) -> int:
        """Every record up to and including this position is settled."""
        return self._database.counters.settled_to

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the messages in the journal."""
        return self._database.counters.waiting_bytes

    # -- values that a source remembers -----------------------------------------------------------

    def remembered(self, key: str) -> str | int | None:
        """Returns the value that was remembered under `key`; None if there is none. Raises sqlite3.Error."""
        with self._database.locked() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        value: str | int | None = row[0] if row else None
        return value

    def remember(self, key: str, value: str | int) -> None:
        """Remember a value durably. Raises sqlite3.Error."""
        with self._database.locked() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- damage of the whole file -----------------------------------------------------------------

    def suspect(self) -> None:
        """Mark the file, so that the next start checks it page by page, even if it is large. Raises OSError."""
        suspected_file(self.path).touch()

    def set_aside(self, reason: str) -> Recovery:
        """Set the damaged file aside while the connector runs, and go on with a new file with all readable rows.

        `reason` is the damage, for people. Raises OSError and sqlite3.Error: then the file can neither be read nor
        written any more, and the next start sets it aside.
        """
        with self._database.exclusive():
            mark = self._database.mark
            self._database.close_connections()
            writer, recovery = recover(self.path, reason, mark)
            self._database.reopen(writer)
            self.losses.reload()
        return recovery

    def _compare_with_high_water_mark(self) -> list[LostRange]:
        """Add a loss for the transactions that are in the high-water mark and not in the file; returns these losses."""
        found: list[LostRange] = []
        mark = self._read_high_water_mark()
        if mark is not None and mark.incarnation == self.incarnation and mark.next_position > self.next_position:
            found = _lost_transactions(self._database.mark, mark)
            with self._database.transaction() as transaction:
                for lost in found:
                    add_lost_range(transaction.connection, lost)
                transaction.counters.next_position = mark.next_position
            self.losses.committed(found)
        self._database.write_high_water_mark()
        return found

    def _read_high_water_mark(self) -> HighWaterMark | None:
        try:
            return self._database.high_water.read()
        except HighWaterDamagedError as error:
            _log.warning(
                "journal_high_water_damaged",
                file=str(high_water_file(self.path)),
                reason=str(error),
                effect="the mark is written anew",
            )
            with self._database.transaction() as transaction:
                message = f"the high-water mark beside the file was damaged ({error}) and is written anew"
                add_incident(transaction.connection, message)
            return None

    def close(self) -> None:
        """Close the file. All written data is already durable."""
        self._database.close()


def _lost_transactions(file: HighWaterMark, mark: HighWaterMark) -> list[LostRange]:
    """Returns the positions from the end of the file to the high-water mark, as losses.

    Of the positions that were settled, only the account is lost.
    """
    start, end = file.next_position, mark.next_position
    settled = min(max(mark.settled_to + 1, start), end)
    found = []
    if start < settled:
        reason = f"{_TRANSACTIONS_GONE}; these messages had been settled, only their account is missing"
        found.append(LostRange(start, settled, reason))
    if settled < end:
        found.append(LostRange(settled, end, _TRANSACTIONS_GONE))
    return found


def _high_water_mark_of_damaged(path: Path) -> HighWaterMark | None:
    """Returns the high-water mark beside a damaged file; None if the mark cannot be read, either."""
    try:
        return read_high_water_mark(path)
    except (OSError, HighWaterDamagedError):
        return None
