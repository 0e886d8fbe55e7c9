"""Tests for the promises of every format: see `connector.formats.format`.

class TestTelegram(FormatConformance):
    @pytest.fixture
    def example(self) -> Example:
        return Example.of(TelegramSection(type="telegram"), b"$boiler,t=21.5*2C")
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Self

import pytest

from connector.formats.format import BadDocument, Documents, Format, PayloadError
from connector.formats.section import FormatSection
from connector.records import Reason

_MAX_DEPTH: Final = 1_000
_LONGEST_MESSAGE: Final = 1_000


class Example(NamedTuple):
    """A format, and a payload that the format can read."""

    format: Format
    payload: bytes
    reasons: Mapping[str, str] = MappingProxyType({})
    """Reason that only this format has → remedy, as in `FormatSection.reasons`."""

    @classmethod
    def of(cls, section: FormatSection, payload: bytes) -> Self:
        """An example with the format of a section that needs no schema registry."""
        return cls(section.build(), payload, section.reasons)


class FormatConformance:
    """The tests of every format; a subclass overrides `example`.

    With a parametrized fixture, the tests run for several payloads.
    """

    @pytest.fixture
    def example(self) -> Example:
        """The format under test, and a payload that the format can read."""
        raise NotImplementedError("override the fixture `example`")

    def test_a_good_payload_becomes_documents(self, example: Example) -> None:
        """Decoding a payload again gives the same documents."""
        found = decoded(example, example.payload)
        assert not isinstance(found, Reason)
        assert found == example.format.decode(example.payload)
        assert example.format.name.isidentifier()

    def test_an_empty_payload_is_refused_as_empty(self, example: Example) -> None:
        """An empty payload is refused with the reason that all formats share."""
        assert decoded(example, b"") is Reason.EMPTY_PAYLOAD

    def test_a_payload_that_is_cut_off_anywhere_is_refused_or_read(self, example: Example) -> None:
        """`decode` raises `PayloadError` and nothing else."""
        for end in range(len(example.payload)):
            decoded(example, example.payload[:end])

    def test_a_payload_with_any_byte_changed_is_refused_or_read(self, example: Example) -> None:
        """`decode` raises `PayloadError` and nothing else."""
        for at in range(len(example.payload)):
            for other in (0, 0x7F, 0x80, 0xFF, example.payload[at] ^ 1):
                decoded(example, example.payload[:at] + bytes((other,)) + example.payload[at + 1 :])

    def test_a_refused_payload_leaves_no_trace(self, example: Example) -> None:
        """A good payload gives the same documents after bad payloads as before them."""
        before = decoded(example, example.payload)
        for bad in (b"\xff" * 100, b"[" * 10_000, b'"' * 100, bytes(range(256)), example.payload * 3):
            decoded(example, bad)
        assert decoded(example, example.payload) == before

    def test_every_reason_of_its_own_has_a_remedy(self, example: Example) -> None:
        """`clarify-connector dead-letters show` prints the remedy."""
        for word, remedy in example.reasons.items():
            assert Reason(word) == word
            assert len(remedy.strip()) > len("Mend it.")


def decoded(example: Example, payload: bytes) -> object:
    """The documents of a payload, or the reason of its `PayloadError`; fails if either breaks a promise."""
    refused: PayloadError | None = None
    try:
        found = example.format.decode(payload)
    except PayloadError as error:
        refused = error
    if refused is not None:
        _check_reason(example, refused.reason, str(refused))
        return refused.reason
    if not isinstance(found, Documents):
        _check_document(found)
        return found
    assert any(not isinstance(document, BadDocument) for document in found)
    for document in found:
        if isinstance(document, BadDocument):
            _check_reason(example, document.reason, document.message)
            assert document.where
        else:
            _check_document(document, 1)
    return found


def _check_reason(example: Example, reason: Reason, message: str) -> None:
    """Check that the reason is known or declared by the section, and that the message is neither empty nor too long."""
    assert isinstance(reason, Reason)
    assert reason in {*Reason} or reason in example.reasons, f"{reason} is not in the section's `reasons`"
    assert 0 < len(message) < _LONGEST_MESSAGE


def _check_document(value: object, depth: int = 0) -> None:
    """Check that the value is a tree of a document's types."""
    assert depth < _MAX_DEPTH
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            key.encode()
            _check_document(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_document(item, depth + 1)
    elif isinstance(value, datetime):
        assert value.tzinfo is not None
    else:
        assert value is None or isinstance(value, bool | int | float | str | bytes), type(value)
