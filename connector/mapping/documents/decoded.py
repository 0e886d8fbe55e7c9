"""One payload, decoded once for each format of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.formats.format import BadDocument, DecodingNotes, Documents, Format, HeaderReader, PayloadError
from connector.formats.text.json_payload import RepeatedKeys, checked, decode_checked
from connector.mapping.documents.walk import LONGEST_PLACE, repeated, shortened
from connector.records import Reason, Reject

NOT_DECODED: Final = object()
"""Stands for a document that was not decoded yet."""


class Decoded:
    """A payload, decoded once for each format of its rules; knows the documents that rules have taken."""

    def __init__(
        self,
        payload: bytes,
        headers: Sequence[tuple[str, str]],
        most: int,
        notes: DecodingNotes,
        document: object = NOT_DECODED,
        *,
        once: bool,
    ) -> None:
        """`headers` are those of the record. `most` bounds the payload, in bytes. `notes` get what was overlooked.

        `document` is the payload if it was decoded as JSON. With `once`, only the first rule that takes a document gets
        it.
        """
        self._document = document
        self._once = once
        self._payload = payload
        self._headers = headers
        self._most = most
        self._notes = notes
        self._by: dict[int, tuple[list[tuple[int, object]], list[Reject]]] = {}
        self._open: dict[int, dict[int, object]] = {}
        self._bad: dict[int, list[Reject]] = {}
        self._unreadable: set[int] = set()

    def by(self, form: Format | None) -> tuple[list[tuple[int, object]], list[Reject]]:
        """([(number, document)] of the documents that no rule took yet, rejects of values whose key is there twice).

        The first call for a format that cannot be decoded raises `PayloadError`; the next calls return empty lists.
        """
        at = id(form)
        if at in self._unreadable:
            return [], []  # the error was reported already
        if at not in self._by:
            self._unreadable.add(at)
            if len(self._payload) > self._most:
                raise PayloadError(
                    Reason.PAYLOAD_TOO_LARGE,
                    f"{len(self._payload)} bytes; at most {self._most} are mapped (mapping.max_payload)",
                )
            repeats: list[Reject] = []
            if form is None:
                document = self._document
                if document is NOT_DECODED:
                    document = decode_checked(self._payload, self._notes)
                else:
                    document = checked(document, self._payload, self._notes)
            elif self._headers and isinstance(form, HeaderReader):
                document = form.decode_with(self._payload, self._headers)
            else:
                document = form.decode(self._payload)
            notes = self._notes if form is None else getattr(form, "notes", None)
            document = noted(document, notes, self._notes.tolerated, repeats)
            documents: list[object] = list(document) if isinstance(document, Documents) else [document]
            bad = [document for document in documents if isinstance(document, BadDocument)]
            self._bad[at] = [
                Reject(b.reason, f"{b.where}: {b.message}", b.where, b.text and shortened(b.text)) for b in bad
            ]
            good = [(i, document) for i, document in enumerate(documents) if not isinstance(document, BadDocument)]
            if not good and not bad:
                raise PayloadError(Reason.EMPTY_PAYLOAD, "there is no document in the payload")
            self._unreadable.discard(at)
            self._by[at] = (good, repeats)
            self._open[at] = dict(good)
        good, repeats = self._by[at]
        left = self._open.get(at, {})  # none after `failed`
        return [(i, document) for i, document in good if i in left], repeats

    def take(self, form: Format | None, number: int) -> None:
        """Record that a rule takes the document with this number."""
        if self._once:
            self._open[id(form)].pop(number, None)

    def take_bad(self, form: Format | None) -> list[Reject]:
        """Returns the rejects of documents that could not be read, only at the first call."""
        return self._bad.pop(id(form), [])

    def failed(self, form: Format | None) -> None:
        """Give up the remaining documents of a format."""
        self._open.pop(id(form), None)

    def has_more(self, form: Format | None) -> bool:
        """Whether the format has documents that no rule took."""
        return bool(self._open.get(id(form)))

    def rest(self) -> list[object]:
        """Returns the documents that no rule took, in the format with most of them."""
        return max((list(left.values()) for left in self._open.values()), key=len, default=[])


def noted(
    document: object, notes: DecodingNotes | None, tolerated: set[str], repeats: list[Reject], path: str = ""
) -> object:
    """Returns the document of a decoder with plain objects; `notes` are those of the decoder, None if it has none.

    Adds the overlooked faults to `tolerated`, and a reject to `repeats` for each value whose key came again. `path` is
    the place of the document in its message.
    """
    if notes is None:
        return document
    tolerated |= notes.tolerated
    return _without_repeats(document, path, repeats) if notes.repeats else document


def _without_repeats(value: object, path: str, repeats: list[Reject]) -> object:
    """Returns the document with plain objects; adds a reject to `repeats` for each value whose key came again."""
    prefix = path[:LONGEST_PLACE] + "." if path else ""
    if isinstance(value, dict):
        if isinstance(value, RepeatedKeys):
            repeats.extend(repeated(key, prefix + key, replaced) for key, replaced in value.replaced)
        return {key: _without_repeats(inner, prefix + key, repeats) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_repeats(inner, f"{prefix}{i}", repeats) for i, inner in enumerate(value)]
    return value
