"""Protobuf: what protoc's own classes write is read; the text of a schema means to us what it means to protoc."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry.serde import SchemaId

from connector.formats.schema.protobuf import ProtobufFormat, from_descriptor_file, from_proto_file
from connector.formats.schema.schemas import GlobalId, Guid
from connector.records import Reason
from tests.protobuf_telemetry import FULL, REFERENCES, TELEMETRY
from tests.schemas import KnownSchemas, framed, registered
from tests.unit.formats.refused import refused
from tests.unit.formats.schema.headers import header


def test_a_descriptor_set_of_protoc(folder: Path, full: bytes) -> None:
    assert from_descriptor_file(folder / "all.desc", "plant.v1.Telemetry").decode(full) == FULL


def test_a_proto_file_means_what_it_means_to_protoc(folder: Path, full: bytes) -> None:
    assert from_proto_file(folder / "telemetry.proto", folder, "plant.v1.Telemetry").decode(full) == FULL


def test_a_schema_of_a_registry_with_imports(full: bytes) -> None:
    schemas = KnownSchemas(registered(7, "PROTOBUF", TELEMETRY, REFERENCES))
    format_ = ProtobufFormat(schemas)
    for _ in range(3):
        assert format_.decode(framed(7, b"\0" + full)) == FULL
    assert schemas.asked == 1


@pytest.mark.parametrize(
    ("indexes", "message", "expected"),
    [
        (b"\x00", b"\x12\x01x", "machine"),
        (b"\x02\x00", b"\x12\x01x", "machine"),
        (b"\x02\x02", b"\x08\x05", "x"),  # Second
        (b"\x04\x00\x00", b"\x08\x05", "a"),  # Telemetry.Inner
        (b"\x06\x00\x00\x00", b"\x08\x01", "s"),  # Telemetry.Inner.Deep
    ],
)
def test_message_indexes_say_which_message_it_is(indexes: bytes, message: bytes, expected: str) -> None:
    format_ = ProtobufFormat(KnownSchemas(registered(7, "PROTOBUF", TELEMETRY, REFERENCES)))
    found = format_.decode(framed(7, indexes + message))
    assert isinstance(found, dict)
    assert found[expected] in ("x", 5, "ON")


TWO = 'syntax = "proto3"; message Other { int32 y = 1; } message Second { int32 x = 1; message In { int32 z = 1; } }'
ONE = 'syntax = "proto3"; package p; message Only { int32 x = 1; }'
GUID = "89791762-2336-41c0-b9a4-8c8b6c3ca2b4"


@pytest.mark.parametrize("indexes", [[0], [1], [1, 0]])
def test_confluents_header_has_the_guid_and_the_message_indexes(indexes: list[int]) -> None:
    format_ = ProtobufFormat(KnownSchemas(registered(Guid(GUID), "PROTOBUF", TWO)))
    data = SchemaId("PROTOBUF", guid=GUID, message_indexes=indexes).guid_to_bytes()
    found = format_.decode_with(b"\x08\x05", [header("__value_schema_id", data)])
    assert found == {{(0,): "y", (1,): "x", (1, 0): "z"}[tuple(indexes)]: 5}


@pytest.mark.parametrize(
    ("text", "before", "name", "expected"),
    [
        (TWO, b"\x08\x0a\x06Second", None, "x"),  # the name stands before the data
        (TWO, b"\x08\x0a\x06Second", b"Second", "x"),
        (TWO, b"", b"Second", "x"),
        (TWO, b"", b"In", "z"),
        (ONE, b"", None, "x"),
    ],
)
def test_apicurios_serializers_name_the_message(text: str, before: bytes, name: bytes | None, expected: str) -> None:
    schemas = KnownSchemas(registered(8, "PROTOBUF", text), registered(GlobalId(7), "", text))
    data = before + b"\x08\x05"
    headers = [header("apicurio.value.contentId", struct.pack(">q", 8))]
    headers += [header("apicurio.protobuf.type", name)] if name else []
    assert ProtobufFormat(schemas).decode_with(data, headers) == {expected: 5}
    if name is None:
        eight = ProtobufFormat(schemas, ids="apicurio_global")
        assert eight.decode(struct.pack(">bq", 0, 7) + data) == {expected: 5}


def test_a_message_that_nobody_names_is_refused() -> None:
    format_ = ProtobufFormat(KnownSchemas(registered(7, "PROTOBUF", TWO)), ids="apicurio_content")
    error = refused(format_, struct.pack(">bq", 0, 7) + b"\x08\x05")
    assert (error.reason, "3 messages" in str(error)) == (Reason.SCHEMA_UNUSABLE, True)


def test_zero_is_a_value_where_absence_cannot_be_told_from_it(folder: Path, classes: Any) -> None:
    format_ = from_proto_file(folder / "telemetry.proto", folder, "plant.v1.Telemetry")
    found = format_.decode(classes("plant.v1.Telemetry")(count=1).SerializeToString())
    assert isinstance(found, dict)
    assert (found["temperature"], found["running"], found["state"], found["counts"]) == (0.0, False, "OFF", [])
    assert not {"pressure", "time", "code", "inner", "wrapped", "value"} & set(found)


def test_proto2_groups_octal_numbers_and_what_is_absent(folder: Path, classes: Any) -> None:
    message = classes("Old")(a=0, kind=8)
    message.item.add(name="x")
    for format_ in (
        from_proto_file(folder / "old.proto", folder, "Old"),
        from_descriptor_file(folder / "all.desc", "Old"),
    ):
        assert format_.decode(message.SerializeToString()) == {"a": 0, "item": [{"name": "x"}], "kind": "FIRST"}


def test_confluents_decimal_is_a_number() -> None:
    text = 'syntax = "proto3"; import "confluent/type/decimal.proto"; import "confluent/meta.proto"; '
    text += "message M { confluent.type.Decimal cost = 1; }"
    format_ = ProtobufFormat(KnownSchemas(registered(1, "PROTOBUF", text)))
    assert format_.decode(framed(1, b"\0\x0a\x06\x0a\x02\xfb\x2e\x18\x02")) == {"cost": -12.34}


def test_a_timestamp_in_no_year_stays_a_number() -> None:
    text = 'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message M { google.protobuf.Timestamp t = 1; }'
    format_ = ProtobufFormat(KnownSchemas(registered(1, "PROTOBUF", text)))
    assert format_.decode(framed(1, b"\0\x0a\x0a\x08" + b"\xff" * 8 + b"\x7f")) == {"t": float(2**63 - 1)}


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (b"", Reason.EMPTY_PAYLOAD, "empty"),
        (b'{"a": 1}', Reason.NO_SCHEMA_ID, "looks like JSON"),
        (framed(9, b"\0"), Reason.SCHEMA_NOT_FOUND, "9"),
        (framed(8, b"\0"), Reason.SCHEMA_UNUSABLE, "not Protobuf but AVRO"),
        (framed(7, b""), Reason.INVALID_PROTOBUF, "message indexes"),
        (framed(7, b"\x01"), Reason.INVALID_PROTOBUF, "-1 message indexes"),
        (framed(7, b"\x02\x01"), Reason.INVALID_PROTOBUF, "index of -1"),
        (framed(7, b"\xff" * 20), Reason.INVALID_PROTOBUF, "damaged"),
        (framed(7, b"\x02\x08"), Reason.SCHEMA_UNUSABLE, "no message at [4]"),
        (framed(7, b"\0\xff"), Reason.INVALID_PROTOBUF, "damaged"),
        (framed(7, b"\0\x0a\x05x"), Reason.INVALID_PROTOBUF, "damaged"),
        (framed(7, b"\0\xc2\x3e\x01x"), Reason.INVALID_PROTOBUF, "is it another message?"),
        (framed(7, b"\0" + b"\xea\x01" * 50_000), Reason.INVALID_PROTOBUF, "damaged"),
        (framed(6, b"\0\x08\x01"), Reason.SCHEMA_UNUSABLE, "Missing.Thing"),
        (framed(5, b"\0\x08\x01"), Reason.SCHEMA_UNUSABLE, "line 1, column 9"),
    ],
)
def test_what_cannot_be_read_is_refused(payload: bytes, reason: Reason, said: str) -> None:
    schemas = KnownSchemas(
        registered(5, "PROTOBUF", "message { int32 a = 1; }"),
        registered(6, "PROTOBUF", 'syntax = "proto3"; import "missing.proto"; message M { Missing.Thing t = 1; }'),
        registered(7, "PROTOBUF", TELEMETRY, REFERENCES),
        registered(8, "AVRO", '"int"'),
    )
    error = refused(ProtobufFormat(schemas), payload)
    assert error.reason is reason
    assert said in str(error)


def test_a_few_bytes_that_stand_for_many_values_are_refused() -> None:
    fields = " ".join(f"int32 f{number} = {number};" for number in range(1, 201))
    text = f'syntax = "proto3"; message Many {{ repeated Wide w = 1; }} message Wide {{ {fields} }}'
    format_ = ProtobufFormat(KnownSchemas(registered(1, "PROTOBUF", text)))
    assert refused(format_, framed(1, b"\0" + b"\x0a\0" * 100_000)).reason is Reason.TOO_MANY_VALUES


@pytest.mark.parametrize(
    ("message", "said"),
    [("plant.v1.Nope", r"there is no message plant.v1.Nope.*plant.v1.Telemetry"), ("", "no message")],
)
def test_a_message_that_is_not_there_is_named_with_those_that_are(folder: Path, message: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_proto_file(folder / "telemetry.proto", folder, message)
    with pytest.raises(ValueError, match="there is no message"):
        from_descriptor_file(folder / "all.desc", message)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        from_proto_file(tmp_path / "none.proto", tmp_path, "M")
    (tmp_path / "bad.proto").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"bad\.proto"):
        from_proto_file(tmp_path / "bad.proto", tmp_path, "M")
    with pytest.raises(ValueError, match="descriptor set"):
        from_descriptor_file(tmp_path / "bad.proto", "M")
    (tmp_path / "loop.proto").write_text('syntax = "proto3"; import "loop.proto"; message M { int32 a = 1; }')
    with pytest.raises(ValueError, match="imports itself"):
        from_proto_file(tmp_path / "loop.proto", tmp_path, "M")
