"""The disk reserve: space on the disk that a journal keeps for a full disk.

On a full disk, SQLite cannot write even the removal of settled messages, so a journal could never get smaller again.
The reserve is a file beside the journal. When a write fails, the reserve is given up, so that settled messages can be
removed. The reserve is taken again before any new message is written. The file has random bytes, because a file system
could compress other bytes.
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
    """Returns the path of the disk reserve for the source's file `path`."""
    return companion_file(path, ".reserve")


class DiskReserve:
    """The disk reserve of one source's file."""

    def __init__(self, path: Path, size: int = DISK_RESERVE_BYTES) -> None:
        """`path` is the path of the source's file; `size` is in bytes."""
        self._path = disk_reserve_file(path)
        self._size = size
        self._held = False

    def take(self) -> bool:
        """Write the reserve if it is not on the disk; returns whether it is on the disk now (False on a full disk)."""
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
        """Give the space of the reserve back to the disk."""
        self._held = False
        with contextlib.suppress(OSError):  # the next write of the caller reports the problem of the disk
            self._path.unlink(missing_ok=True)
