"""Writes records into Kafka that no client library writes: names of headers that are no text.

https://kafka.apache.org/documentation/#recordbatch
https://kafka.apache.org/protocol#The_Messages_Produce
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

RawRecord = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]
"""(key, value, headers)."""
_POLYNOMIAL = 0x82F63B78


def write_raw(bootstrap: str, topic: str, records: Sequence[RawRecord], time_ms: int) -> None:
    """Write one batch into partition 0 and see it acknowledged; all records have this time."""
    batch = _batch(records, time_ms)
    name = topic.encode()
    request = struct.pack(">hhih", 0, 3, 1, 3) + b"raw"  # Produce, version 3; correlation and client ID
    request += struct.pack(">hhii", -1, -1, 10_000, 1)  # no transaction, all replicas, time-out, topics
    request += struct.pack(">h", len(name)) + name + struct.pack(">iii", 1, 0, len(batch)) + batch
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        body = answer.read(size)
    (error,) = struct.unpack_from(">h", body, 4 + 4 + 2 + len(name) + 4 + 4)
    assert error == 0, f"error code {error} of Kafka's protocol"


def _batch(records: Sequence[RawRecord], time_ms: int) -> bytes:
    written = b"".join(_record(number, *record) for number, record in enumerate(records))
    # attributes, last offset, times, no producer, number of records
    checked = struct.pack(
        ">hiqqqhii", 0, len(records) - 1, time_ms, time_ms, -1, -1, -1, len(records)
    ) + written  # fmt: skip
    return struct.pack(">qiibI", 0, len(checked) + 9, -1, 2, _crc32c(checked)) + checked


def _record(
    number: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]]
) -> bytes:
    body = b"\0" + _varint(0) + _varint(number) + _sized(key) + _sized(value) + _varint(len(headers))
    body += b"".join(_sized(name) + _sized(content) for name, content in headers)
    return _sized(body)


def _sized(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
