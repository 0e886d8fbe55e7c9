"""The high-water mark of a source's file: the last counters of the file, stored outside of SQLite.

SQLite ends its write-ahead log at the first frame that fails its checksum. So with a damaged `-wal` file, all
transactions after the damage are lost without any error. Therefore each transaction writes the counters into a separate
file of 36 bytes. These bytes are not synced. They survive the kill of the process; after a power failure, they may be
older than the source's file, but never newer. A source's file that is behind its high-water mark has lost transactions.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from connector.state.sqlite import companion_file

_FORMAT: Final = struct.Struct("<16sQQ")
_CHECKSUM: Final = struct.Struct("<I")
_SIZE: Final = _FORMAT.size + _CHECKSUM.size


class HighWaterMark(NamedTuple):
    """The counters of a source's file after its last known transaction."""

    incarnation: str
    next_position: int
    settled_to: int
    """Every record up to and including this position is settled."""


class HighWaterDamagedError(Exception):
    """The file of the high-water mark exists, but is damaged."""


def high_water_file(path: Path) -> Path:
    """Returns the path of the high-water mark for the source's file `path`."""
    return companion_file(path, ".high-water")


class HighWaterFile:
    """The open file of the high-water mark. For one thread at a time: the caller needs a lock."""

    def __init__(self, path: Path) -> None:
        """`path` is the path of the source's file. Raises OSError."""
        self._descriptor = os.open(high_water_file(path), os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> HighWaterMark | None:
        """Returns the mark; None if no mark was written yet. Raises `HighWaterDamagedError` and OSError."""
        return _parsed(os.pread(self._descriptor, _SIZE + 1, 0))

    def write(self, mark: HighWaterMark) -> None:
        """Replace the mark. Raises OSError."""
        body = _FORMAT.pack(mark.incarnation.encode("ascii", "replace"), mark.next_position, mark.settled_to)
        os.pwrite(self._descriptor, body + _CHECKSUM.pack(zlib.crc32(body)), 0)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_high_water_mark(path: Path) -> HighWaterMark | None:
    """Returns the high-water mark for the source's file `path`; None if there is no mark. Creates no file.

    Raises `HighWaterDamagedError` and OSError.
    """
    file = high_water_file(path)
    return _parsed(file.read_bytes()) if file.exists() else None


def _parsed(content: bytes) -> HighWaterMark | None:
    if not content:
        return None
    body, rest = content[: _FORMAT.size], content[_FORMAT.size :]
    if len(rest) != _CHECKSUM.size or _CHECKSUM.unpack(rest)[0] != zlib.crc32(body):
        raise HighWaterDamagedError("the mark fails its checksum")
    incarnation, next_position, settled_to = _FORMAT.unpack(body)
    return HighWaterMark(incarnation.rstrip(b"\0").decode("ascii", "replace"), next_position, settled_to)
