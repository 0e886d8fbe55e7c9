"""A row of the journal: many consecutive records, encoded as one body, with a checksum. No I/O.

A row has many messages, because a row for each message costs more CPU time than the message itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from connector.ledger.schema import DamagedError
from connector.records import Record

ROW_OVERHEAD: Final = 64
"""Approximate bytes of a row in the file, without its body."""

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
    """Returns the row with these columns; returns an error, and does not raise it, if the row is damaged."""
    where = f"{count} messages from position {first} on"
    if not isinstance(body, bytes) or checksum(first, count, body) != crc:
        return DamagedError(f"{where} fail their checksum", first)
    try:
        records = _decode(body)
    except msgspec.DecodeError as error:
        return DamagedError(f"{where} cannot be decoded: {error}", first)
    return JournalRow(first, records)
