"""A payload or a header names the schema, as Confluent's and Apicurio's serializers write it; or the reason helps."""

from __future__ import annotations

import uuid

import pytest

from connector.formats.format import PayloadError
from connector.formats.schema.schemas import GlobalId, Guid, SchemaId
from connector.formats.schema.wire import Framed, Ids, framed
from connector.records import Reason
from tests.unit.formats.schema.headers import header

GUID = uuid.UUID("ffffffff-2336-41c0-b9a4-8c8b6c3ca2b4")
LONG = bytes(7)


@pytest.mark.parametrize(
    ("payload", "ids", "found", "start"),
    [
        (b"\0\0\0\0\x07x", "confluent", 7, 5),
        (b"\0" + LONG + b"\x07x", "apicurio_global", GlobalId(7), 9),
        (b"\0" + LONG + b"\x07x", "apicurio_content", 7, 9),
    ],
)
def test_a_payload_names_its_schema(payload: bytes, ids: Ids, found: SchemaId, start: int) -> None:
    assert framed(payload, (), ids)[:3] == (found, start, ids != "confluent")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("__value_schema_id", b"\x01" + GUID.bytes)], Framed(Guid(str(GUID)), 0)),
        ([("__value_schema_id", b"\x01" + GUID.bytes + b"\x02\x04")], Framed(Guid(str(GUID)), 0, indexes=b"\x02\x04")),
        ([("__value_schema_id", b"\0\0\0\0\xff")], Framed(255, 0)),
        ([("apicurio.value.globalId", LONG + b"\xff")], Framed(GlobalId(255), 0, by_apicurio=True)),
        (
            [("apicurio.value.contentId", LONG + b"\x07"), ("apicurio.protobuf.type", b"T")],
            Framed(7, 0, by_apicurio=True, message="T"),
        ),
        (
            [("apicurio.value.globalId", b"?"), ("apicurio.value.globalId", LONG + b"\x07")],
            Framed(GlobalId(7), 0, True),
        ),
    ],
)
@pytest.mark.parametrize("ids", ["confluent", "apicurio_global"])
def test_a_header_goes_before_the_payload(headers: list[tuple[str, bytes]], found: Framed, ids: Ids) -> None:
    written = [header(name, value) for name, value in [("other", b"\xff"), *headers]]
    assert framed(b"\0\0\0\0\x09", written, ids) == found


@pytest.mark.parametrize("name", ["apicurio.key.globalId", "__key_schema_id", "apicurio.value.encoding", "traceparent"])
def test_other_headers_name_no_schema_of_the_payload(name: str) -> None:
    assert framed(b"\0\0\0\0\x07", [header(name, LONG + b"\x09")], "confluent") == Framed(7, 5)


@pytest.mark.parametrize(
    ("payload", "headers", "ids", "said"),
    [
        (b"\0" + LONG + b"\x07", [], "confluent", "set schema_ids"),
        (b"\0\0\0\0\x07abcdef", [], "apicurio_global", "remove schema_ids"),
        (b"\0\0\0\0\0", [], "confluent", "declare its schema"),
        (b"\0\0", [], "apicurio_global", "declare its schema"),
        (b'{"a": 1}', [], "apicurio_content", "looks like JSON"),
        (b"x", [("__value_schema_id", b"\x02" + GUID.bytes)], "confluent", "not a GUID"),
        (b"x", [("apicurio.value.globalId", b"\0\x07")], "confluent", "0x0007, not an ID of eight bytes"),
        (b"x", [("apicurio.value.globalId", bytes(8))], "confluent", "not an ID of eight bytes"),
        (b"x", [("apicurio.value.contentHash", b"ab")], "confluent", "apicurio.registry.use-id"),
    ],
)
def test_the_reason_names_the_remedy(payload: bytes, headers: list[tuple[str, bytes]], ids: Ids, said: str) -> None:
    with pytest.raises(PayloadError, match=said) as error:
        framed(payload, [header(*each) for each in headers], ids)
    assert error.value.reason is Reason.NO_SCHEMA_ID


def test_an_empty_payload_is_empty_whatever_the_headers_say() -> None:
    with pytest.raises(PayloadError) as error:
        framed(b"", [header("apicurio.value.globalId", LONG + b"\x07")], "confluent")
    assert error.value.reason is Reason.EMPTY_PAYLOAD
