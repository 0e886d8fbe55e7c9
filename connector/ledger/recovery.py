"""Recovery: a damaged file is set aside under another name, and all readable rows are copied into a new file.

Missing rows become a loss, with their positions if they are known. During the recovery, the damaged file has the name
`….recovering`. If the process ends in the middle, the next start does the recovery again.

Rows are read from both ends of the journal up to the damage, so a bad page costs only its own rows. If the first page
is damaged, SQLite finds no table at all. Since the first page is the same in every file of a source, it is replaced in
a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connector.ledger.high_water import HighWaterMark
from connector.ledger.journal_row import ROW_OVERHEAD, JournalRow, checked_row
from connector.ledger.ledger_lines import ADD_TO_LINE
from connector.ledger.losses import add_incident, add_loss, lost_ranges, missing_ranges, read_losses
from connector.ledger.schema import (
    CHECK_BELOW_BYTES,
    COLUMNS,
    create_tables,
    now_text,
    open_checked,
    suspected_file,
)
from connector.state.sqlite import any_text, companion_file, open_durable

_SQLITE_COMPANIONS: Final = ("-wal", "-shm")
"""The endings of the files that SQLite keeps beside a database."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The result of a recovery: the damaged file was set aside, and a new file has all readable rows."""

    kept_as: Path
    """The new name of the damaged file."""
    reason: str
    """The damage, for people."""
    recovered_records: int
    """Number of waiting messages in the new file."""

    def __str__(self) -> str:
        return (
            f"the file was damaged ({self.reason}) and is kept as {self.kept_as}; {self.recovered_records} waiting "
            "messages could be carried over. The ledger lists the missing messages."
        )


@dataclass(frozen=True, slots=True)
class _TakenOver:
    """The content that was copied into the new file."""

    records: int
    """Number of messages in the journal."""
    after: int
    """The position after the last of these messages; 1 if there is no message."""
    account_complete: bool
    """Whether the account of the ledger could be read completely."""


def recovering_file(path: Path) -> Path:
    """Returns the path of the damaged file `path` during its recovery."""
    return companion_file(path, ".recovering")


def recover(path: Path, reason: str, mark: HighWaterMark | None) -> tuple[sqlite3.Connection, Recovery]:
    """Set the damaged file at `path` aside, and create a new file there.

    `mark` is the high-water mark of the damaged file, or None if it is unknown. Returns (an open connection to the new
    file, the result). Raises OSError and sqlite3.Error.

    The order of the steps makes a new attempt after a crash safe. While the damaged file has the name `….recovering`, a
    file at `path` is an unfinished copy. Only if there is no file at `path`, a `-wal` there belongs to the damaged
    file.
    """
    damaged = recovering_file(path)
    if not damaged.exists():
        for suffix in _SQLITE_COMPANIONS:
            companion_file(damaged, suffix).unlink(missing_ok=True)
        path.rename(damaged)
    elif path.exists():
        for suffix in (*_SQLITE_COMPANIONS, ""):
            companion_file(path, suffix).unlink(missing_ok=True)
    _rename_companions(path, damaged)
    writer = open_checked(path, CHECK_BELOW_BYTES)
    try:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        kept_as = companion_file(path, f".damaged-{stamp}")
        recovery = _take_over(damaged, writer, kept_as, reason, mark)
        damaged.rename(kept_as)
        _rename_companions(damaged, kept_as)
    except BaseException:
        writer.close()
        raise
    suspected_file(path).unlink(missing_ok=True)
    return writer, recovery


def _rename_companions(old: Path, new: Path) -> None:
    for suffix in _SQLITE_COMPANIONS:
        if companion_file(old, suffix).exists():
            companion_file(old, suffix).rename(companion_file(new, suffix))


def _take_over(
    damaged: Path, writer: sqlite3.Connection, kept_as: Path, reason: str, mark: HighWaterMark | None
) -> Recovery:
    """Copy all readable rows of the damaged file into the new file, with a note, in one transaction."""
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM meta WHERE key != 'incarnation'")  # the counters of an empty file
    with readable(damaged) as source, closing(sqlite3.connect(source, isolation_level=None)) as old:
        old.text_factory = any_text
        records, after = _take_over_rows(old, writer)
        taken = _TakenOver(records, after, _take_over_account(old, writer))
    recovery = Recovery(kept_as, reason, taken.records)
    add_incident(writer, str(recovery))
    _note_losses(writer, recovery, taken, mark)
    writer.execute("INSERT OR REPLACE INTO meta SELECT 'waiting_bytes', cast(total(bytes) AS INTEGER) FROM journal")
    writer.execute("COMMIT")
    return recovery


def _note_losses(writer: sqlite3.Connection, recovery: Recovery, taken: _TakenOver, mark: HighWaterMark | None) -> None:
    """Set the counters of the new file, and add the missing positions as losses.

    If the expected positions are unknown, a loss of unknown size is added.
    """
    remembered = dict(
        writer.execute("SELECT key, value FROM meta WHERE key IN ('next_position', 'settled_to')").fetchall()
    )
    next_positions = [n for n in (remembered.get("next_position"), mark and mark.next_position) if isinstance(n, int)]
    settled_tos = [n for n in (remembered.get("settled_to"), mark and mark.settled_to) if isinstance(n, int)]
    end = max(taken.after, *next_positions) if next_positions else taken.after
    rows = writer.execute("SELECT first, first + count FROM journal ORDER BY first").fetchall()
    if settled_tos:
        settled_to = max(settled_tos)
        lost = f"lost with a damaged file ({recovery.reason}), which is kept as {recovery.kept_as}"
        for first, after in missing_ranges(settled_to + 1, end, rows, lost_ranges(read_losses(writer))):
            add_loss(writer, first, after, after - first, lost)
    else:
        settled_to = (rows[0][0] if rows else end) - 1
    writer.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (("next_position", end), ("settled_to", settled_to))
    )
    if not (taken.account_complete and next_positions and settled_tos):
        message = (
            f"the account could not be read for messages before {now_text()}; the damaged file is {recovery.kept_as}"
        )
        add_loss(writer, None, None, None, message)


def _take_over_rows(old: sqlite3.Connection, writer: sqlite3.Connection) -> tuple[int, int]:
    """Copy the readable rows of the journal, from both ends.

    Returns (number of their records, position after the last record, or 1 if there is none).
    """
    records, end = 0, 1
    for rising in (True, False):
        for first, count, crc, body in _readable_rows(old, rising):
            if not isinstance(checked_row(first, count, crc, body), JournalRow):
                continue
            cursor = writer.execute(
                "INSERT OR IGNORE INTO journal VALUES (?, ?, ?, ?, ?)",
                (first, count, len(body) + ROW_OVERHEAD, crc, body),
            )
            if not cursor.rowcount:
                break
            records += count
            end = max(end, first + count)
    return records, end


def _readable_rows(old: sqlite3.Connection, rising: bool) -> Iterator[tuple[int, int, int, Any]]:
    """Yields the rows of the journal up to the damage: (first, count, crc, body).

    Each row is a separate query, for two reasons: a cursor that meets damage also loses the row before it, and a row
    with damage only in its body can be skipped.
    """
    comparison, order, at = (">", "ASC", 0) if rising else ("<", "DESC", 2**63 - 1)
    tail = f"FROM journal WHERE first {comparison} ? ORDER BY first {order} LIMIT 1"
    while True:
        found = next(_while_readable(old, f"SELECT first, count, crc, body {tail}", [], at), None)
        key = found or next(_while_readable(old, f"SELECT first {tail}", [], at), None)
        if key is None or not (key[0] > at if rising else key[0] < at):
            return
        at = key[0]
        if found:
            yield found[0], found[1], found[2], found[3]


def _take_over_account(old: sqlite3.Connection, writer: sqlite3.Connection) -> bool:
    """Copy the ledger and the remembered values of the source.

    Returns whether the account of the ledger could be read completely.
    """
    damage: list[str] = []
    for key, value in _while_readable(old, "SELECT key, value FROM meta", damage):
        if isinstance(key, str) and isinstance(value, str | int):
            writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    for topic, *counts in _while_readable(old, f"SELECT topic, {', '.join(COLUMNS)} FROM ledger", damage):  # noqa: S608
        if isinstance(topic, str) and all(isinstance(count, int) for count in counts):
            writer.execute(ADD_TO_LINE, (topic, *counts))
        else:
            damage.append("a line of the ledger makes no sense")
    _take_over_positions(old, writer, damage)
    for at, first, after, records, reason, acknowledged in _while_readable(
        old, "SELECT at, first, next, records, reason, acknowledged FROM losses", damage
    ):
        if all(number is None or isinstance(number, int) for number in (first, after, records)):
            writer.execute(
                "INSERT INTO losses (at, first, next, records, reason, acknowledged) VALUES (?, ?, ?, ?, ?, ?)",
                (str(at), first, after, records, str(reason), None if acknowledged is None else str(acknowledged)),
            )
        else:
            damage.append("a loss makes no sense")
    for incident in _while_readable(old, "SELECT at, message FROM incidents", []):
        writer.execute("INSERT INTO incidents VALUES (?, ?)", tuple(map(str, incident)))
    return not damage


def _take_over_positions(old: sqlite3.Connection, writer: sqlite3.Connection, damage: list[str]) -> None:
    """Copy the settled ranges, and the positions where reading goes on; a range that is missing is damage."""
    for found in _while_readable(old, "SELECT partition, log, first, next, records FROM settled", damage):
        if all(isinstance(text, str) for text in found[:2]) and all(isinstance(number, int) for number in found[2:]):
            writer.execute("INSERT OR IGNORE INTO settled VALUES (?, ?, ?, ?, ?)", found)
        else:
            damage.append("a range makes no sense")
    for found in _while_readable(old, "SELECT partition, log, cluster, next FROM positions", []):
        if all(isinstance(text, str) for text in found[:3]) and isinstance(found[3], int):
            writer.execute("INSERT OR IGNORE INTO positions VALUES (?, ?, ?, ?)", found)


def _while_readable(
    connection: sqlite3.Connection, query: str, damage: list[str], *values: int
) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of the query up to the damage; the damage is added to `damage` and not raised."""
    try:
        yield from connection.execute(query, values)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second error: SQLite's text may be damaged, too
        damage.append(str(error))


# -- a damaged first page --------------------------------------------------------------------------

_PAGE: Final = 4096
_PAGES_AT: Final = 28
"""The offset of the number of pages in the first page (SQLite's file format, 1.3)."""
_FREE_LIST_AT: Final = 32
"""The offset of the first free page and the number of free pages, in the first page."""


@contextmanager
def readable(damaged: Path) -> Iterator[Path]:
    """Gives the path of a file in which SQLite finds the tables, if possible.

    This is the damaged file, or a copy with another first page if that helps. The copy is removed afterwards.
    """
    if _has_tables(damaged):
        yield damaged
        return
    folder = companion_file(damaged, ".repairing")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _with_another_first_page(damaged, folder) or damaged
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_another_first_page(damaged: Path, folder: Path) -> Path | None:
    """Returns a copy of the damaged file, in `folder`, with the first page of a new file.

    Returns None if SQLite finds no tables in the copy, or if there is no room for the copy.
    """
    with suppress(OSError, sqlite3.Error):
        folder.mkdir()
        copy, new = folder / "copy.sqlite", folder / "new.sqlite"
        with closing(open_durable(new, give_back=True)) as connection:
            create_tables(connection)
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA journal_mode = WAL")
        first = bytearray(new.read_bytes()[:_PAGE])
        struct.pack_into(">I", first, _PAGES_AT, damaged.stat().st_size // _PAGE)
        struct.pack_into(">II", first, _FREE_LIST_AT, 0, 0)
        for suffix in ("", "-wal"):
            if companion_file(damaged, suffix).exists():
                shutil.copyfile(companion_file(damaged, suffix), companion_file(copy, suffix))
        with copy.open("r+b") as file:
            file.write(first)
        if _has_tables(copy):
            return copy
    return None


def _has_tables(path: Path) -> bool:
    """Whether SQLite finds the tables in the file `path`."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for table in ("meta", "journal", "ledger"):
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return True
