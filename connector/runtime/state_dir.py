"""The contents of `state_dir`: files, the folders of workers and backfills, and the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final, TextIO

from connector import ConnectorError
from connector.config.model import Config
from connector.ledger.source_file import SourceFile
from connector.state.files import open_private

SHARED_TOPICS_NOTE: Final = "shared_topics"
"""Key, in the state file, of the topics that several things share."""
FRESHNESS_NOTE: Final = "freshness"
"""Key, in the state file, of the accounts of freshness."""
SILENT_NOTE: Final = "silent"
"""Key, in the state file, of the silent signals."""
DISCARDED_NOTE: Final = "dead letters discarded"
"""Key, in the state file, of the number of dead letters that were ever discarded."""
WORKER_FOLDERS: Final = "worker-*"
"""Pattern of the folders in state_dir in which the second and further workers keep their state."""
BACKFILL_FOLDERS: Final = "backfill/*"
"""Pattern of the folders in state_dir in which backfills keep their state."""


class StartError(ConnectorError):
    """The connector cannot start; the text names the remedy."""


def log_file_path(config: Config, source: str) -> Path:
    """Returns the file of a source's journal and ledger."""
    return config.state_dir / f"{source}.sqlite"


def packing_note(integration: str) -> str:
    """Returns the key of the packing account of an integration in the state file, for the command `ledger`."""
    return f"packing {integration}" if integration else "packing"


def state_files(state_dir: Path) -> list[Path]:
    """Returns the existing state files of a configuration: of the connector, and of its further workers."""
    files = (folder / "state.sqlite" for folder in (state_dir, *sorted(state_dir.glob(WORKER_FOLDERS))))
    return [file for file in files if file.exists()]


def open_log_file(config: Config, source: str) -> SourceFile:
    """Returns the file of a source's journal and ledger, opened. Raises `StartError`."""
    path = log_file_path(config, source)
    try:
        return SourceFile.open(path, ledger_topics=config.observe.ledger_topics)
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"the journal {path} cannot be opened: {error}; is the disk full or read-only?") from None


def lock_state_dir(folder: Path) -> TextIO:
    """Lock a state_dir; returns the lock's file. Raises `StartError` if the lock is taken or cannot be written.

    Two connectors with the same state_dir would send and settle the same messages.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open_private(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        file = os.fdopen(lock, "a+", encoding="ascii")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StartError(f"{error.filename} cannot be used: {error.strerror}") from None
        raise StartError(
            f"state_dir {folder} cannot be written ({error.strerror}); the journal needs a folder that can be, "
            "best on a volume"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StartError(
            f"state_dir {folder} is in use by another connector; stop it, or give this one a state_dir of its own"
        ) from None
    for entry in os.scandir(folder):
        if entry.is_symlink() and not entry.is_dir():  # journals, notes and reserves are written at these names
            file.close()
            raise StartError(f"{entry.path} is a symbolic link, and such are not followed: put the file itself there")
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
