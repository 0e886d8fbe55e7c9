"""What every format promises, whatever it reads: see connector/formats/format.py."""

from __future__ import annotations

from datetime import datetime

import pytest

from connector.formats.format import BadDocument, Documents, Format, PayloadError
from connector.records import Reason
from tests.format_examples import EXAMPLES, Example

MAX_DEPTH = 1_000


def check_document(value: object, depth: int = 0) -> None:
    """It is a tree of what documents are made of."""
    assert depth < MAX_DEPTH
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            key.encode()
            check_document(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_document(item, depth + 1)
    elif isinstance(value, datetime):
        assert value.tzinfo is not None
    else:
        assert value is None or isinstance(value, bool | int | float | str | bytes), type(value)


def decoded(format_: Format, payload: bytes) -> object:
    """Its documents, or the reason why there are none; anything else is a failure."""
    refused: PayloadError | None = None
    try:
        found = format_.decode(payload)
    except PayloadError as error:
        refused = error
    if refused is not None:
        assert refused.reason in Reason
        assert 0 < len(str(refused)) < 1_000
        return refused.reason
    if not isinstance(found, Documents):
        check_document(found)
        return found
    assert any(not isinstance(document, BadDocument) for document in found)
    for document in found:
        if isinstance(document, BadDocument):
            assert document.reason in Reason
            assert document.where
            assert 0 < len(document.message) < 1_000
        else:
            check_document(document, 1)
    return found


every_format = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)


@every_format
def test_what_it_reads_becomes_documents(example: Example) -> None:
    found = decoded(example.format, example.payload)
    assert not isinstance(found, Reason)
    assert found == example.format.decode(example.payload)
    assert example.format.name.isidentifier()


@every_format
def test_an_empty_payload_is_refused_as_empty(example: Example) -> None:
    assert decoded(example.format, b"") is Reason.EMPTY_PAYLOAD


@every_format
def test_a_payload_that_is_cut_off_anywhere_is_refused_or_read(example: Example) -> None:
    for end in range(len(example.payload)):
        decoded(example.format, example.payload[:end])


@every_format
def test_a_payload_with_any_byte_changed_is_refused_or_read(example: Example) -> None:
    for at in range(len(example.payload)):
        for other in (0, 0x7F, 0x80, 0xFF, example.payload[at] ^ 1):
            decoded(example.format, example.payload[:at] + bytes((other,)) + example.payload[at + 1 :])


@every_format
def test_what_it_refused_leaves_no_trace(example: Example) -> None:
    before = decoded(example.format, example.payload)
    for bad in (b"\xff" * 100, b"[" * 10_000, b'"' * 100, bytes(range(256)), example.payload * 3):
        decoded(example.format, bad)
    assert decoded(example.format, example.payload) == before
