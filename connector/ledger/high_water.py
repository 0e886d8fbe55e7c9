"""The mark beside a log file: how far it had got, kept outside of SQLite.

SQLite ends its write-ahead log at the first frame that fails its checksum: a damaged `-wal` takes every transaction
behind the damage along, without a word. So after each transaction a few bytes in a file of its own say how far the log
had got. They are written, not synced: a process that is killed leaves them, and after a power failure they may be
older than the log, never newer. A log that is older than its mark has lost something.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FORMAT: Final = struct.Struct("<16sQQ")
_CHECKSUM: Final = struct.Struct("<I")
_SIZE: Final = _FORMAT.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log had got."""

    incarnation: str
    next_position: int
    settled_to: int
    """Everything up to and including this position is settled."""


class MarkDamagedError(Exception):
    """There is a mark, and it is not what was written."""


class MarkFile:
    """The open file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> Mark | None:
        """The mark; None if there is none yet. Raises `MarkDamagedError`, OSError."""
        return _parsed(os.pread(self._descriptor, _SIZE + 1, 0))

    def write(self, mark: Mark) -> None:
        """Put this in place of the last one. Raises OSError."""
        body = _FORMAT.pack(mark.incarnation.encode("ascii", "replace"), mark.next_position, mark.settled_to)
        os.pwrite(self._descriptor, body + _CHECKSUM.pack(zlib.crc32(body)), 0)

    def close(self) -> None:
        """Close the file; closing twice is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_mark(path: Path) -> Mark | None:
    """The mark in this file, without making one. Raises `MarkDamagedError`, OSError."""
    return _parsed(path.read_bytes()) if path.exists() else None


def _parsed(content: bytes) -> Mark | None:
    if not content:
        return None
    body, rest = content[: _FORMAT.size], content[_FORMAT.size :]
    if len(rest) != _CHECKSUM.size or _CHECKSUM.unpack(rest)[0] != zlib.crc32(body):
        raise MarkDamagedError("it fails its checksum")
    incarnation, next_position, settled_to = _FORMAT.unpack(body)
    return Mark(incarnation.rstrip(b"\0").decode("ascii", "replace"), next_position, settled_to)
