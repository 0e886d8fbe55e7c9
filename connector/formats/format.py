"""A format: bytes → documents, without any knowledge of topics or rules.

A document is a tree of JSON's types: objects as `dict[str, object]`, lists, text, numbers, booleans and null. Some
formats add aware `datetime`s for times, and `bytes` for binary data. A payload with several documents (lines, rows)
becomes `Documents`. A document that cannot be read is a `BadDocument` in its place, so that the other documents of the
payload are not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from connector.records import Reason


class PayloadError(Exception):
    """The payload cannot be decoded: `reason` is the code in the dead letter, and the text says where and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SchemaUnavailableError(Exception):
    """The schema of the payload is not available now: its registry is away, too slow, or refuses access.

    The payload may be correct, so it is never rejected for this reason. The caller keeps the record and all records
    after it in its partition, and reports that the source is not ready; the text of the error has the reason and a
    remedy. Then the caller decodes the same payload again, after waits that grow with each attempt. Schemas that were
    read before need no registry.
    """


@dataclass(frozen=True, slots=True)
class BadDocument:
    """A document that could not be read, in a payload of several documents."""

    where: str
    """The place in the payload, such as `line 3`, for the person who reads the dead letter."""
    reason: Reason
    message: str
    text: str | None = None
    """The beginning of the document, as text; None or empty if the document cannot be shown as text."""


class Documents(list[object]):
    """The documents of one payload, in order: trees, and a `BadDocument` for each document that could not be read."""


@dataclass(slots=True)
class DecodingNotes:
    """What a decoder noticed about a payload that it has decoded."""

    tolerated: set[str] = field(default_factory=set)
    """The faults that the decoder has overlooked: keys of `TOLERATED`."""
    repeats: bool = False
    """Whether an object of the document may have a key more than once; such an object is a `RepeatedKeys`."""

    def cleared(self) -> DecodingNotes:
        """The same notes, empty: for the next payload."""
        if self.tolerated or self.repeats:
            self.tolerated.clear()
            self.repeats = False
        return self


NO_NOTES: Final = DecodingNotes()
TOLERATED: Final = {
    "nul": "NULs at its end",
    "byte_order_mark": "a byte order mark, which JSON does not have",
    "encoding": "another encoding than UTF-8, which its first bytes tell for certain",
    "not_finite": "nan or inf as a value, which JSON does not have",
    "number": "a number in a form that JSON does not have, such as +5 or 007",
    "lenient": "a form that is not quite JSON (quotes, commas, numbers or words), which lenient: true allows",
}
"""A fault that decoders overlook: the word in metrics → what the payload has, for people."""


@runtime_checkable
class HeaderReader(Protocol):
    """A format that also reads the headers of a record: they may name the schema of the payload."""

    def decode_with(self, payload: bytes, headers: Sequence[tuple[str, str]]) -> object:
        """As `Format.decode`; `headers` has (name, text) of each header of the record."""


class Format(Protocol):
    """One way to write measurements as bytes. Safe for one thread at a time.

    A format that overlooks faults also has `notes`, a `DecodingNotes` about the last payload.
    """

    name: str

    def decode(self, payload: bytes) -> object:
        """The document of the payload, or its `Documents`.

        For any bytes, the only error is `PayloadError`; a format with a schema registry may also raise
        `SchemaUnavailableError`. The memory for the result is at most a small multiple of the payload's length.
        """
