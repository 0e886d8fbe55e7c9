"""Confluent's wire format: a zero byte, the schema's ID in four bytes, the data.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

HEADER: Final = 5
"""The number of bytes before the data."""
_GUESSES: Final = {
    ord("{"): "the payload looks like JSON",
    ord("["): "the payload looks like JSON",
    0x1F: "the payload looks like gzip",
}


def schema_id(payload: bytes) -> int:
    """The schema's ID at the beginning of the payload. Raises `PayloadError` if the payload does not begin with one."""
    if not payload:
        raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
    if payload[0] != 0 or len(payload) < HEADER:
        guess = _GUESSES.get(payload[0])
        raise PayloadError(
            Reason.NO_SCHEMA_ID,
            f"no schema ID: the payload begins with 0x{payload[:HEADER].hex()}, not with a zero and four bytes of ID"
            + (f"; {guess}" if guess else "; if the payload was written without a registry, declare its schema"),
        )
    return int.from_bytes(payload[1:HEADER], "big")
