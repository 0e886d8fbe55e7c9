"""The high-water mark of a source's file: how far the file has got, kept outside of SQLite.

SQLite ends its write-ahead log at the first frame that fails its checksum. A damaged `-wal` file therefore takes along
every transaction behind the damage, without any error. So after each transaction 36 bytes in a file of their own say
how far the source's file has got. These bytes are written, but not synced: a process that is killed leaves them on the
disk; after a power failure they may be older than the source's file, never newer. A source's file that is behind its
high-water mark has lost transactions.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.state.sqlite import companion_file

_FORMAT: Final = struct.Struct("<16sQQ")
_CHECKSUM: Final = struct.Struct("<I")
_SIZE: Final = _FORMAT.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class HighWaterMark:
    """How far a source's file has got."""

    incarnation: str
    next_position: int
    settled_to: int
    """Every record up to and including this position is settled."""


class HighWaterDamagedError(Exception):
    """The file of the high-water mark exists, but its content is not what was written."""


def high_water_file(path: Path) -> Path:
    """Where the high-water mark of the source's file `path` is kept."""
    return companion_file(path, ".high-water")


class HighWaterFile:
    """The open file of the high-water mark. The caller makes sure that one thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        """`path` is that of the source's file. Raises OSError."""
        self._descriptor = os.open(high_water_file(path), os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> HighWaterMark | None:
        """The mark; None if none was written yet. Raises `HighWaterDamagedError` and OSError."""
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
    """The high-water mark of the source's file `path`, read without creating anything; None if there is none. Raises
    `HighWaterDamagedError` and OSError."""
    file = high_water_file(path)
    return _parsed(file.read_bytes()) if file.exists() else None


def _parsed(content: bytes) -> HighWaterMark | None:
    if not content:
        return None
    body, rest = content[: _FORMAT.size], content[_FORMAT.size :]
    if len(rest) != _CHECKSUM.size or _CHECKSUM.unpack(rest)[0] != zlib.crc32(body):
        raise HighWaterDamagedError("it fails its checksum")
    incarnation, next_position, settled_to = _FORMAT.unpack(body)
    return HighWaterMark(incarnation.rstrip(b"\0").decode("ascii", "replace"), next_position, settled_to)
