"""The turn to save metadata: only one of the processes that share a state file has the turn, so nothing is saved twice.

A backfill or a replay beside the running connector only writes desires into the book, and the connector saves them. If
the connector does not run, or ends, the next process that asks gets the turn. The turn is a lock on a file beside the
state file.
"""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import TextIO


class SavingTurn:
    """The turn of one process, which is asked for before each request. Safe for threads."""

    def __init__(self, state_file: Path) -> None:
        self._path = state_file.with_name(state_file.name + ".saving")
        self._lock = threading.Lock()
        self._file: TextIO | None = None

    def __call__(self) -> bool:
        """Whether this process has the turn; a process keeps the turn until `close`."""
        with self._lock:
            if self._file is None:
                self._file = self._try()
            return self._file is not None

    def _try(self) -> TextIO | None:
        try:
            file = self._path.open("a", encoding="ascii")
        except OSError:
            return None  # the state file in the same folder cannot be written, either
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def close(self) -> None:
        """Leave the turn to other processes."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
