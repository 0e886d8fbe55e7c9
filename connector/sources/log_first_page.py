"""A file's first page holds SQLite's header and the definitions: one damaged byte there, and nothing can be read.

But it is the same in all our files, so a copy with the first page of a new file can be read all the same: the rows say
by their checksums whether it fits.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from connector.sources.log_schema import beside, create
from connector.sqlite_files import open_durable

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
