"""A row of the journal: many consecutive records, encoded as one body, with a checksum. No I/O.

One row holds many messages, because a row per message costs more CPU time than the message itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from connector.ledger.schema import DamagedError
from connector.records import Record

ROW_OVERHEAD: Final = 64
"""About how many bytes a row takes in the file beside its body."""

encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Record]).decode


@dataclass(frozen=True, slots=True)
class JournalRow:
    """Consecutive records of the journal. The first one has the position `first`."""

    first: int
    records: list[Record]

    @property
    def last(self) -> int:
        """Position of the last record."""
        return self.first + len(self.records) - 1


def checksum(first: int, count: int, body: bytes) -> int:
    """The checksum that protects a row: its position, its number of records, and its body."""
    return zlib.crc32(body, zlib.crc32(f"{first},{count}".encode()))


def checked_row(first: int, count: int, crc: int, body: object) -> JournalRow | DamagedError:
    """The row with these columns, if it is what was written. If not, the error that says what is wrong; this function
    returns the error and does not raise it."""
    where = f"{count} messages from position {first} on"
    if not isinstance(body, bytes) or checksum(first, count, body) != crc:
        return DamagedError(f"{where} fail their checksum", first)
    try:
        records = _decode(body)
    except msgspec.DecodeError as error:
        return DamagedError(f"{where} cannot be decoded: {error}", first)
    return JournalRow(first, records)
