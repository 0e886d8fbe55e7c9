"""Room on the disk that is kept for a bad day.

On a full disk not even the removal of settled messages can be written, so a journal could never get smaller again.
The reserve is a file of random bytes (which no file system can make smaller) beside the journal: given up when a write
fails, so that what is settled can leave, and taken again before anything new is written.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 4 * 1024 * 1024
_PIECE: Final = 1024 * 1024


def reserve_file(path: Path) -> Path:
    """Where the reserve of this journal is."""
    return path.with_name(path.name + ".reserve")


class Reserve:
    """The room that is kept for one file."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = reserve_file(path)
        self._size = size
        self._whole = False

    def take(self) -> bool:
        """Whether the room is ours, or could be taken now."""
        if self._whole:
            return True
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                self._whole = True
                return True
            with self._path.open("wb", buffering=0) as file:
                piece = os.urandom(_PIECE)
                left = self._size
                while left > 0:
                    left -= file.write(piece[:left]) or 0
        except OSError:
            self.give_up()
            return False
        self._whole = True
        return True

    def give_up(self) -> None:
        """Let the disk have it."""
        self._whole = False
        with contextlib.suppress(OSError):  # nothing there to give up: the caller's write says what is wrong
            self._path.unlink(missing_ok=True)
