"""Avro: what Apache's own library writes is read, with a registry, with a declared schema, and from containers."""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import avro.datafile
import avro.io
import avro.schema
import pytest

from connector.formats.catalogue import build_format
from connector.formats.documents import MAX_DOCUMENTS
from connector.formats.format import Documents, PayloadError
from connector.formats.schema.avro import AvroFormat
from connector.formats.schema.schemas import GlobalId
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Reason
from tests.avro_telemetry import EXPECTED, TELEMETRY, TIME, WRITTEN, written
from tests.schemas import KnownSchemas, framed, registered
from tests.unit.formats.refused import refused
from tests.unit.formats.schema.headers import header
from tests.unit.records import record

MAX = 4 * 1024 * 1024


def declared(schema: object) -> AvroFormat:
    return AvroFormat(json.dumps(schema), max_bytes=MAX)


def test_what_apaches_library_writes_is_read() -> None:
    found = declared(TELEMETRY).decode(written(TELEMETRY, WRITTEN))
    assert found == EXPECTED
    assert found["pressure"] == 1.5  # type: ignore[index,call-overload]


def test_a_union_is_the_value_that_it_holds() -> None:
    for value in (None, "text", 5):
        assert declared(["null", "string", "int"]).decode(written(["null", "string", "int"], value)) == value


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        ("timestamp-millis", 1714564800500, TIME),
        ("timestamp-micros", 1714564800500000, TIME),
        ("timestamp-nanos", 1714564800500000999, TIME),
        ("local-timestamp-millis", 1714564800500, "2024-05-01T12:00:00.500000"),
        ("local-timestamp-micros", 1714564800500000, "2024-05-01T12:00:00.500000"),
        ("local-timestamp-nanos", 1714564800500000000, "2024-05-01T12:00:00.500000"),
        ("timestamp-millis", 2**63 - 1, 2**63 - 1),
        ("timestamp-micros", -(2**63), -(2**63)),
        ("unheard-of", 5, 5),
    ],
)
def test_times(kind: str, number: int, expected: object) -> None:
    assert declared({"type": "long", "logicalType": kind}).decode(written("long", number)) == expected


def test_a_schema_of_a_registry_is_asked_for_once() -> None:
    schemas = KnownSchemas(registered(7, "AVRO", json.dumps(TELEMETRY)))
    format_ = AvroFormat(schemas, max_bytes=MAX)
    for _ in range(3):
        assert format_.decode(framed(7, written(TELEMETRY, WRITTEN))) == EXPECTED
    assert schemas.asked == 1


def test_ids_of_eight_bytes_and_in_headers() -> None:
    schemas = KnownSchemas(registered(GlobalId(7), "", '"int"'), registered(8, "AVRO", '"int"'))
    eight = struct.pack(">bq", 0, 7) + b"\x2a"
    assert AvroFormat(schemas, max_bytes=MAX, ids="apicurio_global").decode(eight) == 21
    format_ = AvroFormat(schemas, max_bytes=MAX)
    for name, number in (("globalId", 7), ("contentId", 8)):
        headers = [header(f"apicurio.value.{name}", struct.pack(">q", number)), ("apicurio.value.encoding", "BINARY")]
        assert format_.decode_with(b"\x2a", headers) == 21
    with pytest.raises(PayloadError, match="encoding=BINARY"):
        format_.decode_with(b"42", [headers[0], ("apicurio.value.encoding", "JSON")])


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_rule_gives_the_headers_of_a_record_to_its_format(compression: str) -> None:
    registry = {"main": KnownSchemas(registered(8, "AVRO", '"int"'))}
    section = MappingSection.model_validate({"rules": [{"topic": "#", "format": "avro", "compression": compression}]})
    mapper = Mapper(section.compile(partial(build_format, registry=registry)))
    payload = gzip.compress(b"\x2a") if compression == "gzip" else b"\x2a"
    found = mapper.map("kafka", record(payload, headers=(header("apicurio.value.contentId", struct.pack(">q", 8)),)))
    assert [value for _, _, value in found.samples] == [21]


def test_named_types_of_other_schemas_are_resolved() -> None:
    unit = {"type": "enum", "name": "plant.Unit", "symbols": ["C", "F"]}
    value = {"type": "record", "name": "plant.Value", "fields": [
        {"name": "value", "type": "double"}, {"name": "unit", "type": "plant.Unit"}]}  # fmt: skip
    main = {"type": "record", "name": "plant.Message", "fields": [{"name": "temperature", "type": "plant.Value"}]}
    references = {"plant.Unit": json.dumps(unit), "plant.Value": json.dumps(value)}
    format_ = AvroFormat(KnownSchemas(registered(1, "AVRO", json.dumps(main), references)), max_bytes=MAX)
    data = written("double", 21.5) + written("int", 1)
    assert format_.decode(framed(1, data)) == {"temperature": {"value": 21.5, "unit": "F"}}


def test_a_list_of_a_type_of_another_schema() -> None:
    unit = {"type": "enum", "name": "plant.Unit", "symbols": ["C", "F"]}
    main = registered(1, "AVRO", '{"type": "array", "items": "plant.Unit"}', {"plant.Unit": json.dumps(unit)})
    data = written({"type": "array", "items": "int"}, [1, 0])
    assert AvroFormat(KnownSchemas(main), max_bytes=MAX).decode(framed(1, data)) == ["F", "C"]


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (b"", Reason.EMPTY_PAYLOAD, "empty"),
        (b'{"a": 1}', Reason.NO_SCHEMA_ID, "looks like JSON"),
        (b"\x02\x04", Reason.NO_SCHEMA_ID, "declare its schema"),
        (b"\0\0\0", Reason.NO_SCHEMA_ID, "0x000000"),
        (framed(9, b"\x02"), Reason.SCHEMA_NOT_FOUND, "9"),
        (framed(8, b"\x02"), Reason.SCHEMA_UNUSABLE, "not Avro but JSON"),
        (framed(7, b"\x02"), Reason.SCHEMA_UNUSABLE, "UnknownType"),
        (framed(6, b""), Reason.INVALID_AVRO, "ends too early"),
        (framed(6, b"\x02\x02"), Reason.INVALID_AVRO, "1 bytes are left"),
    ],
)
def test_what_cannot_be_read_is_refused(payload: bytes, reason: Reason, said: str) -> None:
    schemas = KnownSchemas(
        registered(6, "AVRO", '"int"'), registered(7, "AVRO", '"plant.Nowhere"'), registered(8, "JSON", "{}")
    )
    error = refused(AvroFormat(schemas, max_bytes=MAX), payload)
    assert error.reason is reason
    assert said in str(error)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_brings_its_own_schema(codec: str, tmp_path: Path) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "s", "type": "string"}]}
    rows = [{"a": number, "s": "x" * number} for number in range(50)]
    path = tmp_path / "rows.avro"
    with avro.datafile.DataFileWriter(
        path.open("wb"), avro.io.DatumWriter(), avro.schema.parse(json.dumps(schema)), codec=codec
    ) as writer:
        for row in rows:
            writer.append(row)
    payload = path.read_bytes()
    for format_ in (declared("int"), AvroFormat(KnownSchemas(), max_bytes=MAX)):
        found = format_.decode(payload)
        assert isinstance(found, Documents)
        assert found == rows
        assert refused(format_, payload[:-1]).reason in (Reason.INVALID_AVRO, Reason.INVALID_COMPRESSION)
    if codec == "deflate":
        assert refused(AvroFormat('"int"', max_bytes=100), payload).reason is Reason.DECOMPRESSED_TOO_LARGE


def test_a_codec_that_is_not_read_is_named() -> None:
    header = written({"type": "map", "values": "bytes"}, {"avro.schema": b'"int"', "avro.codec": b"snappy"})
    assert "snappy" in str(refused(declared("int"), b"Obj\x01" + header + b"\0" * 16))


# -- data that would be dangerous for its reader ------------------------------------------------------

TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "next", "type": ["null", "Tree"]},
        {"name": "children", "type": {"type": "array", "items": "Tree"}},
    ],
}


def test_records_that_hold_themselves() -> None:
    value = {"next": {"next": None, "children": []}, "children": [{"next": None, "children": []}]}
    assert declared(TREE).decode(written(TREE, value)) == value
    assert refused(declared(TREE), b"\x02" * 200_000).reason is Reason.NESTED_TOO_DEEPLY


@pytest.mark.parametrize(
    "items",
    ["null", {"type": "record", "name": "Empty", "fields": []}, {"type": "fixed", "name": "None", "size": 0}],
)
def test_an_array_of_nothing_is_no_schema(items: object) -> None:
    with pytest.raises(ValueError, match="take no bytes"):
        declared({"type": "array", "items": items})


def test_a_container_of_a_billion_nothings_is_refused() -> None:
    header = written({"type": "map", "values": "bytes"}, {"avro.schema": b'"null"'})
    payload = b"Obj\x01" + header + b"\0" * 16 + written("long", 10**9) + written("long", 0) + b"\0" * 16
    assert refused(declared("int"), payload).reason is Reason.TOO_MANY_VALUES
    assert MAX_DOCUMENTS < 10**9


def test_records_doubled_forty_times_are_no_schema() -> None:
    schema: Any = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, 40):
        inner = schema if level == 1 else f"R{level - 1}"
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": inner if level > 1 else "R0"}]
        schema = {"type": "record", "name": f"R{level}", "fields": fields}
    started = time.monotonic()
    with pytest.raises(ValueError, match="too many fields that take no bytes"):
        declared(schema)
    assert time.monotonic() - started < 5


def test_many_small_records_take_no_large_multiple_of_memory() -> None:
    one = {"type": "record", "name": "One", "fields": [{"name": "v", "type": ["null", "int"]}]}
    format_ = declared({"type": "array", "items": one})
    small = written("long", 1000) + b"\0" * 1000 + b"\0"
    assert format_.decode(small) == [{"v": None}] * 1000
    large = written("long", 4_000_000) + b"\0" * 4_000_000 + b"\0"
    tracemalloc.start()
    try:
        assert refused(format_, large).reason is Reason.PAYLOAD_TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < len(large)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "5",
        "null",
        '"nope"',
        "[" * 100_000,
        '{"type": "fixed", "name": "F", "size": -1}',
        '{"type": "record", "name": "R", "fields": 5}',
    ],
)
def test_a_text_that_is_no_schema_is_an_error_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the Avro schema cannot be used"):
        AvroFormat(text, max_bytes=MAX)
