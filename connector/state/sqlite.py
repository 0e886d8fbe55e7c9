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
_CHUNK: Final = 1 << 20


def companion_file(path: Path, suffix: str) -> Path:
    """The file beside `path` that SQLite or the connector adds to it: its name is the name of `path` with `suffix`."""
    return path.with_name(path.name + suffix)


def any_text(raw: bytes) -> str:
    """Text of a file, also text that is not UTF-8, for `sqlite3.Connection.text_factory`.

    With the default, damaged text raises `sqlite3.OperationalError`, which stands for trouble that passes.
    """
    return raw.decode("utf-8", "backslashreplace")


def open_durable(path: Path, schema: str = "", *, give_back: bool = False) -> sqlite3.Connection:
    """Open or create an SQLite file for the process that owns the file.

    A new file has mode 0600, whatever the umask.

    The file has a write-ahead log, and every commit is synced to the disk. The statements of `schema` run in one
    transaction. With `give_back`, a new file can return free pages to the disk (`PRAGMA incremental_vacuum`). Several
    threads may use the connection, but only one at a time: the caller needs a lock. Raises sqlite3.Error; the
    connection is closed then.
    """
    _create_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    connection.text_factory = any_text
    try:
        _make_write_ahead_log_durable(connection, path)
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


def _make_write_ahead_log_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Make the transactions durable that an earlier process left in the write-ahead log. Raises sqlite3.Error.

    A process that was killed between a write and its sync leaves transactions that SQLite takes for durable, and builds
    on. If an earlier sync has failed, the operating system returns data that is not on the disk, and a second sync
    succeeds without writing them. So this function writes the whole log again, in place, and syncs the log then. SQLite
    may copy the log into the file only afterwards: a power failure in the middle of that copy leaves half a file, which
    only the log can repair. The transaction keeps other processes from changing the log meanwhile.
    """
    wal = companion_file(path, "-wal")
    if not wal.exists():
        return  # and no transaction: after the first transaction, `auto_vacuum` of a new file cannot be set
    connection.execute("BEGIN IMMEDIATE")
    try:
        _write_again(wal)
    except FileNotFoundError:
        pass  # SQLite removed a log that belongs to an empty file
    except OSError as error:
        failure = sqlite3.OperationalError(f"{wal} cannot be synced: {error}")
        failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise failure from error
    finally:
        connection.execute("ROLLBACK")


def _write_again(file: Path) -> None:
    """Write the content of the file over itself, and sync the file. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        at = 0
        while data := os.pread(descriptor, _CHUNK, at):
            at += os.pwrite(descriptor, data, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, even while its owner writes, and even in a read-only folder. Raises sqlite3.Error."""
    uri = path.resolve().as_uri() + "?mode=ro"
    if not os.access(path.parent, os.W_OK) and not companion_file(path, "-wal").exists():
        uri += "&immutable=1"  # nobody can write the file, so SQLite need not look for a writer
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    connection.text_factory = any_text
    return connection
