"""Payloads inside fields: the steps of a rule's `decode`, which replace texts and bytes by the documents in them.

The steps run in their order on a whole document, and each sees the results of the steps before. A field that is
missing, null or an empty text is left alone. So is a field that is no text, where JSON is read from text as it is: some
senders write the same field as an object or as JSON in a text. A field that cannot be decoded becomes a reject and
null, and its neighbours are mapped. What the steps of a document decompress has a common bound, against bombs in bombs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.formats.documents import MAX_BAD, MAX_DOCUMENTS
from connector.formats.encodings import bytes_of
from connector.formats.format import BadDocument, Documents, PayloadError
from connector.mapping.documents.decoded import noted
from connector.mapping.documents.walk import LONGEST_PLACE, shown_value
from connector.mapping.rules.decoding import EACH, DecodeStep, Parts
from connector.records import Reason, Reject


@dataclass(frozen=True, slots=True)
class DecodedFields:
    """A document whose fields were decoded."""

    document: object
    rejects: list[Reject]
    """Fields that could not be decoded, and parts of fields."""
    failed: int
    """The number of fields that could not be decoded: they are null in the document, and no values."""


def decode_fields(steps: Sequence[DecodeStep], document: object, max_bytes: int, tolerated: set[str]) -> DecodedFields:
    """Returns the document with its fields decoded; the given document stays as it is.

    At most `max_bytes` are decompressed in all. `tolerated` gets the faults that were overlooked, as keys of
    `TOLERATED`. Raises `PayloadError` for more fields, or more bad ones, than a payload may have, and
    `SchemaUnavailableError`.
    """
    work = _Work(max_bytes, tolerated)
    for step in steps:
        document = work.replaced(step, document, step.parts, "")
    return DecodedFields(document, work.rejects, work.failed)


class _Work:
    """The steps of one document."""

    def __init__(self, max_bytes: int, tolerated: set[str]) -> None:
        self.rejects: list[Reject] = []
        self.failed = 0
        self._fields = 0
        self._left = max_bytes
        self._tolerated = tolerated

    def replaced(self, step: DecodeStep, node: object, parts: Parts, place: str) -> object:
        """Returns a copy of `node`, the part of the document at `place`, with the fields at `parts` decoded."""
        if not parts:
            return self._decoded(step, node, place)
        part, rest = parts[0], parts[1:]
        if isinstance(node, dict):
            if part is not EACH and part not in node and EACH not in rest:
                part, rest = ".".join(map(str, parts)), ()  # perhaps a key with dots
            return {
                key: self.replaced(step, value, rest, _join(place, key)) if part in (EACH, key) else value
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [
                self.replaced(step, item, rest, _join(place, str(at))) if part in (EACH, str(at)) else item
                for at, item in enumerate(node)
            ]
        return node

    def _decoded(self, step: DecodeStep, value: object, place: str) -> object:
        """Returns the document in a field; None if it cannot be decoded."""
        if value is None or value in ("", b""):
            return value
        if step.keeps_objects and not isinstance(value, str | bytes):
            return value
        self._fields += 1
        if self._fields > MAX_DOCUMENTS:
            raise PayloadError(Reason.TOO_MANY_VALUES, f"decode: more than {MAX_DOCUMENTS} fields in one payload")
        try:
            content, unpacked = bytes_of(value, step.encodings, self._left)
            self._left -= unpacked
            if not content:
                return None
            found = step.format.decode(content)
        except PayloadError as error:
            self.failed += 1
            self._reject(error.reason, str(error), place, value)
            return None
        repeats: list[Reject] = []
        found = noted(found, getattr(step.format, "notes", None), self._tolerated, repeats, place)
        self.rejects += repeats
        if not isinstance(found, Documents):
            return found
        for bad in found:
            if isinstance(bad, BadDocument):
                self._reject(bad.reason, f"{bad.where}: {bad.message}", place, bad.text)
        return [one for one in found if not isinstance(one, BadDocument)]

    def _reject(self, reason: Reason, message: str, place: str, value: object) -> None:
        if len(self.rejects) >= MAX_BAD:
            first = self.rejects[0]
            others = f"; nor could {MAX_BAD} other fields be read"
            raise PayloadError(first.reason, f"{first.path}: {first.message}{others}")
        self.rejects.append(Reject(reason, f"decode: {message}", place or "(top)", shown_value(value)))


def _join(place: str, key: str) -> str:
    return f"{place[:LONGEST_PLACE]}.{key}" if place else key
