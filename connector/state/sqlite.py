"""Opens SQLite files: durably for the process that owns the file, and without a trace for a reader."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from connector.state.files import open_private

_BUSY_SECONDS: Final = 10


def companion_file(path: Path, suffix: str) -> Path:
    """The file beside `path` that SQLite or the connector adds to it: its name is the name of `path` with `suffix`."""
    return path.with_name(path.name + suffix)


def open_durable(path: Path, schema: str = "", *, give_back: bool = False) -> sqlite3.Connection:
    """Open or create an SQLite file for the process that owns the file.

    A new file has mode 0600, whatever the umask.

    The file has a write-ahead log, and every commit is synced to the disk. The statements of `schema` run in one
    transaction. With `give_back`, a new file can return free pages to the disk (`PRAGMA incremental_vacuum`). Several
    threads may use the connection, but only one at a time: the caller needs a lock. Raises sqlite3.Error; the
    connection is closed then.
    """
    _create_private(path)
    _sync_write_ahead_log(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        if give_back:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # EXTRA matters if WAL is not possible: a process may open the file on a failing disk.
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        with suppress(sqlite3.OperationalError):  # no room for the checkpoint: SQLite tries again after more writes
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if schema:
            connection.executescript(f"BEGIN; {schema} COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    """Create the file for its owner alone: SQLite would ask the umask. Its companions get the mode of the file.

    Raises sqlite3.Error for a symbolic link. SQLite itself reports all else that is wrong with the file.
    """
    try:
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise sqlite3.OperationalError(f"{path} cannot be opened: {error.strerror}") from None


def _sync_write_ahead_log(path: Path) -> None:
    """Make the transactions durable that an earlier process left in the write-ahead log. Raises sqlite3.Error.

    A process that was killed between a write and its sync leaves transactions that SQLite takes for durable, and builds
    on. After this sync they are durable. If an earlier sync has failed, the operating system may return data that is
    not on the disk, and that disappears when the power fails. For this case `open_durable` also copies the whole log
    into the file, with a checkpoint.
    """
    wal = companion_file(path, "-wal")
    try:
        descriptor = os.open(wal, os.O_RDWR)
    except OSError:
        return  # there is no log, or SQLite will report the error
    try:
        os.fsync(descriptor)
    except OSError as error:
        failure = sqlite3.OperationalError(f"{wal} cannot be synced: {error}")
        failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise failure from error
    finally:
        os.close(descriptor)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, even while its owner writes, and even in a read-only folder. Raises sqlite3.Error."""
    uri = path.resolve().as_uri() + "?mode=ro"
    if not os.access(path.parent, os.W_OK) and not companion_file(path, "-wal").exists():
        uri += "&immutable=1"  # nobody can write the file, so SQLite need not look for a writer
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
