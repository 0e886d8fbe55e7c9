"""A damaged log file is set aside under another name, and what can still be read is carried over into a new one.

What is missing becomes a loss with its positions, as far as they are known. While this is under way the damaged file
is called `….recovering`: a crash in the middle only makes the next start do it again.
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

from connector.ledger.schema import (
    CHECK_BELOW_BYTES,
    COLUMNS,
    ROW_OVERHEAD,
    UPSERT,
    Row,
    add_loss,
    beside,
    checked_row,
    create,
    lost_ranges,
    missing_ranges,
    now_text,
    open_checked,
    read_losses,
    suspected_file,
)
from connector.state.sqlite import open_durable

_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a file."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A damaged file was found."""

    kept_as: Path
    reason: str
    recovered_records: int

    def __str__(self) -> str:
        return (
            f"the file was damaged ({self.reason}) and is kept as {self.kept_as}; {self.recovered_records} waiting "
            "messages could be carried over. The ledger says what is missing."
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file from elsewhere: its mark, or the process that wrote it."""

    next_position: int
    settled_to: int


def recovering_file(path: Path) -> Path:
    """What a damaged file is called while it is being recovered."""
    return beside(path, ".recovering")


def recover(path: Path, reason: str, known: Known | None) -> tuple[sqlite3.Connection, SetAside]:
    """Set the damaged file aside and open a new one with what could be carried over. Raises OSError, sqlite3.Error.

    The order of the steps makes it safe to begin again after a crash: while the damaged file is called
    `….recovering`, whatever stands at `path` is an unfinished copy; only if nothing does, a `-wal` belongs to
    the damaged file.
    """
    damaged = recovering_file(path)
    if not damaged.exists():
        for suffix in _BESIDE:
            beside(damaged, suffix).unlink(missing_ok=True)
        path.rename(damaged)
    elif path.exists():
        for suffix in (*_BESIDE, ""):
            beside(path, suffix).unlink(missing_ok=True)
    _rename_beside(path, damaged)
    writer = open_checked(path, CHECK_BELOW_BYTES)
    try:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        kept_as = beside(path, f".damaged-{stamp}")
        found = _salvage(damaged, writer, kept_as, reason, known)
        damaged.rename(kept_as)
        _rename_beside(damaged, kept_as)
    except BaseException:
        writer.close()
        raise
    suspected_file(path).unlink(missing_ok=True)
    return writer, found


def _rename_beside(old: Path, new: Path) -> None:
    for suffix in _BESIDE:
        if beside(old, suffix).exists():
            beside(old, suffix).rename(beside(new, suffix))


def _salvage(damaged: Path, writer: sqlite3.Connection, kept_as: Path, reason: str, known: Known | None) -> SetAside:
    """Carry over what the damaged file still gives, in one transaction, with a note of what happened."""
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM meta WHERE key != 'incarnation'")  # what a new file says; only the damaged one counts
    with readable(damaged) as source, closing(sqlite3.connect(source, isolation_level=None)) as old:
        recovered, after = _salvage_rows(old, writer)
        complete = _salvage_account(old, writer)
    found = SetAside(kept_as, reason, recovered)
    writer.execute("INSERT INTO incidents VALUES (?, ?)", (now_text(), str(found)))
    _note_losses(writer, found, after, known, complete)
    writer.execute("INSERT OR REPLACE INTO meta SELECT 'waiting_bytes', cast(total(bytes) AS INTEGER) FROM journal")
    writer.execute("COMMIT")
    return found


def _note_losses(writer: sqlite3.Connection, found: SetAside, after: int, known: Known | None, complete: bool) -> None:
    """Positions that should be there and are not become losses; where it is not known which, one of unknown size."""
    remembered = dict(
        writer.execute("SELECT key, value FROM meta WHERE key IN ('next_position', 'settled_to')").fetchall()
    )
    ends = [after, *(v for v in (remembered.get("next_position"), known and known.next_position) if isinstance(v, int))]
    starts = [v for v in (remembered.get("settled_to"), known and known.settled_to) if isinstance(v, int)]
    end = max(ends)
    writer.execute("INSERT OR REPLACE INTO meta VALUES ('next_position', ?)", (end,))
    lost = f"lost with a damaged file ({found.reason}), which is kept as {found.kept_as}"
    if len(ends) == 1:
        complete = False
    if starts:
        settled_to = max(starts)
        writer.execute("INSERT OR REPLACE INTO meta VALUES ('settled_to', ?)", (settled_to,))
        rows = writer.execute("SELECT first, first + count FROM journal").fetchall()
        for first, next_ in missing_ranges(settled_to + 1, end, rows, lost_ranges(read_losses(writer))):
            add_loss(writer, first, next_, next_ - first, lost)
    else:
        complete = False
    if not complete:
        add_loss(
            writer,
            None,
            None,
            None,
            f"of what came in before {now_text()} the account could not be read; the damaged file is {found.kept_as}",
        )


def _salvage_rows(old: sqlite3.Connection, writer: sqlite3.Connection) -> tuple[int, int]:
    """Rows from both ends, as far as they can be read: (records carried over, the position after them)."""
    recovered, after = 0, 1
    for rising in (True, False):
        for first, count, crc, body in _readable_rows(old, rising):
            if not isinstance(checked_row(first, count, crc, body), Row):
                continue
            cursor = writer.execute(
                "INSERT OR IGNORE INTO journal VALUES (?, ?, ?, ?, ?)",
                (first, count, len(body) + ROW_OVERHEAD, crc, body),
            )
            if not cursor.rowcount:
                break
            recovered += count
            after = max(after, first + count)
    return recovered, after


def _readable_rows(old: sqlite3.Connection, rising: bool) -> Iterator[tuple[int, int, int, Any]]:
    """Rows until the damage. Each is asked for by itself: a cursor that runs into damage loses the row before it,
    and a row of which only the body is damaged can be stepped over."""
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


def _salvage_account(old: sqlite3.Connection, writer: sqlite3.Connection) -> bool:
    """Ledger, incidents and what was remembered; whether all that the ledger's balance needs could be read."""
    damage: list[str] = []
    for key, value in _while_readable(old, "SELECT key, value FROM meta", damage):
        if isinstance(key, str) and isinstance(value, str | int):
            writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    for topic, *counts in _while_readable(old, f"SELECT topic, {', '.join(COLUMNS)} FROM ledger", damage):  # noqa: S608
        if isinstance(topic, str) and all(isinstance(count, int) for count in counts):
            writer.execute(UPSERT, (topic, *counts))
        else:
            damage.append("a row of the ledger makes no sense")
    for found in _old_table(old, "settled", "partition, first, next, records", damage):
        if isinstance(found[0], str) and all(isinstance(number, int) for number in found[1:]):
            writer.execute("INSERT OR IGNORE INTO settled VALUES (?, ?, ?, ?)", found)
        else:
            damage.append("a range makes no sense")
    for at, first, after, records, reason, acknowledged in _old_table(
        old, "losses", "at, first, next, records, reason, acknowledged", damage
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


def _old_table(old: sqlite3.Connection, table: str, columns: str, damage: list[str]) -> Iterator[tuple[Any, ...]]:
    """All of a table, which an earlier version did not have."""
    if next(_while_readable(old, f"SELECT 1 FROM sqlite_schema WHERE name = '{table}'", []), None):  # noqa: S608
        yield from _while_readable(old, f"SELECT {columns} FROM {table}", damage)  # noqa: S608 - constants


def _while_readable(
    connection: sqlite3.Connection, query: str, damage: list[str], *values: int
) -> Iterator[tuple[Any, ...]]:
    """Rows until the damage, which is noted: reaching it is the expected end here."""
    try:
        yield from connection.execute(query, values)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: its own text may be damaged too
        damage.append(str(error))


_PAGE: Final = 4096
_PAGES_AT: Final = 28
_FREE_LIST_AT: Final = 32


@contextmanager
def readable(damaged: Path) -> Iterator[Path]:
    """This file, or a copy of it with another first page where only that gives its rows; removed afterwards."""
    if _has_rows(damaged):
        yield damaged
        return
    folder = beside(damaged, ".repairing")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _repaired(damaged, folder) or damaged
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _repaired(damaged: Path, folder: Path) -> Path | None:
    with suppress(OSError, sqlite3.Error):  # no room for a copy, say: then there is none
        folder.mkdir()
        copy = folder / "copy.sqlite"
        for give_back in (True, False):  # files of earlier versions never give pages back
            new = folder / f"new-{give_back}.sqlite"
            with closing(open_durable(new, give_back=give_back)) as connection:
                create(connection)
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA journal_mode = WAL")
            first = bytearray(new.read_bytes()[:_PAGE])
            struct.pack_into(">I", first, _PAGES_AT, damaged.stat().st_size // _PAGE)
            struct.pack_into(">II", first, _FREE_LIST_AT, 0, 0)
            for suffix in ("", "-wal"):
                if beside(damaged, suffix).exists():
                    shutil.copyfile(beside(damaged, suffix), beside(copy, suffix))
            with copy.open("r+b") as file:
                file.write(first)
            if _has_rows(copy):
                return copy
            for suffix in ("", "-wal", "-shm"):
                beside(copy, suffix).unlink(missing_ok=True)
    return None


def _has_rows(path: Path) -> bool:
    """Whether SQLite can find the tables in it."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for table in ("meta", "journal", "ledger"):
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return True
