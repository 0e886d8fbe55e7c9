"""The disk reserve: space on the disk that a journal keeps for the day on which the disk is full.

On a full disk SQLite cannot write even the removal of settled messages, so a journal could never get smaller again.
The reserve is a file beside the journal. When a write fails, the reserve is given up, so that settled messages can be
removed. It is taken again before any new message is written. Its content is random bytes, because a file system may
compress anything else.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from connector.state.sqlite import companion_file

DISK_RESERVE_BYTES: Final = 4 * 1024 * 1024
_WRITE_BYTES: Final = 1024 * 1024


def disk_reserve_file(path: Path) -> Path:
    """Where the disk reserve of the source's file `path` is."""
    return companion_file(path, ".reserve")


class DiskReserve:
    """The disk reserve of one source's file."""

    def __init__(self, path: Path, size: int = DISK_RESERVE_BYTES) -> None:
        """`path` is that of the source's file, `size` is in bytes."""
        self._path = disk_reserve_file(path)
        self._size = size
        self._held = False

    def take(self) -> bool:
        """Make sure that the reserve is on the disk. Returns whether it is; False on a full disk."""
        if self._held:
            return True
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                self._held = True
                return True
            with self._path.open("wb", buffering=0) as file:
                content = os.urandom(_WRITE_BYTES)
                left = self._size
                while left > 0:
                    left -= file.write(content[:left]) or 0
        except OSError:
            self.give_up()
            return False
        self._held = True
        return True

    def give_up(self) -> None:
        """Return the reserve to the disk."""
        self._held = False
        with contextlib.suppress(OSError):  # no reserve is there: the caller's next write reports what is wrong
            self._path.unlink(missing_ok=True)
