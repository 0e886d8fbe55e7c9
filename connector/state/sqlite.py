"""How SQLite files are opened here: durable for their owner, without a trace for a reader."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

_BUSY_SECONDS: Final = 10


def open_durable(path: Path, schema: str = "", *, give_back: bool = False) -> sqlite3.Connection:
    """Open or create a file for its owner: WAL, every commit synced to disk, `schema` carried out. With `give_back` a
    new file can return free pages to the disk (`PRAGMA incremental_vacuum`). For several threads, which the caller
    keeps apart. Raises sqlite3.Error, and then leaves nothing open."""
    _sync_what_was_left(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        if give_back:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = EXTRA")  # counts where WAL cannot be had (yet): the disk was broken
        connection.execute("PRAGMA journal_size_limit = 16777216")
        with suppress(sqlite3.OperationalError):  # no room for it: SQLite tries again when it has written more
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _sync_what_was_left(path: Path) -> None:
    """A process that was killed between a write and its sync leaves transactions that SQLite takes for durable, and
    builds on. They are, from here on. Where a sync had failed, what it lost is read as if it was there until the power
    fails: that is why the whole log is written once more, into the file, when it is opened."""
    wal = path.with_name(path.name + "-wal")
    try:
        descriptor = os.open(wal, os.O_RDWR)
    except OSError:
        return  # there is none, or SQLite says what is wrong with it
    try:
        os.fsync(descriptor)
    except OSError as error:
        failure = sqlite3.OperationalError(f"{wal} cannot be synced: {error}")
        failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise failure from error
    finally:
        os.close(descriptor)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, also while its owner writes, or from a folder that cannot be written."""
    uri = path.resolve().as_uri() + "?mode=ro"
    wal = path.with_name(path.name + "-wal")
    if not os.access(path.parent, os.W_OK) and not wal.exists():
        uri += "&immutable=1"  # nobody can write it, and SQLite need not look for those who do
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
