"""What a format is: bytes → documents, without knowing topics or rules.

A document is a tree of what JSON knows (objects as `dict[str, object]`, lists, text, numbers, booleans, null) and,
where a format has them, aware `datetime`s for times and `bytes` for what is no text. A payload that is several
documents (lines, rows) becomes `Documents`; one that cannot be read among them is a `BadDocument` in its place, so
that it costs none of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from connector.records import Reason


class PayloadError(Exception):
    """The payload cannot be decoded; `reason` is the dead letter's code and the text says where and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SchemaUnavailableError(Exception):
    """The schema that the payload needs cannot be had now: its registry is away, too slow, or refuses us.

    Nothing is wrong with the payload, so it is never rejected for that. Whoever decodes keeps the record and all
    behind it, says that it is not ready (the text says why and what to do), and decodes the same payload again after
    a wait that grows from try to try. Schemas that were seen before are known without their registry.
    """


@dataclass(frozen=True, slots=True)
class BadDocument:
    """One of several documents of a payload that could not be read."""

    where: str
    """`line 3`, for the person who reads the dead letter."""
    reason: Reason
    message: str
    text: str | None = None
    """How it begins."""


class Documents(list[object]):
    """The documents of one payload, in their order: trees, and a `BadDocument` for each that could not be read."""


class Format(Protocol):
    """One way to write measurements as bytes. Safe for one thread at a time."""

    name: str

    def decode(self, payload: bytes) -> object:
        """The payload's document, or its `Documents`. Raises `PayloadError` and nothing else, whatever the bytes
        are (formats with a schema registry also `SchemaUnavailableError`); takes memory of at most a small multiple
        of them."""
