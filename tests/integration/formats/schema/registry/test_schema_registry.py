"""Avro, Protobuf and JSON Schema with a real schema registry, written by Confluent's serializers and by Apache's and
protoc's encoders; and what an outage of the registry does."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.formats.catalogue import build_format
from connector.formats.format import Format, HeaderReader, PayloadError, SchemaUnavailableError
from connector.formats.schema.registry.client import SchemaRegistry
from connector.formats.schema.registry.section import SchemaRegistrySection
from connector.formats.section import FormatSection
from connector.records import Reason
from tests.avro_telemetry import EXPECTED, TELEMETRY, WRITTEN, written
from tests.ports import free_port
from tests.protobuf_telemetry import COMMON, FULL, UNITS
from tests.protobuf_telemetry import TELEMETRY as PROTO
from tests.registries import Registry, need_registry
from tests.schemas import Rule, framed
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with need_registry() as found:
        yield found


@pytest.fixture
def client(registry: Registry, tmp_path: Path) -> Iterator[SchemaRegistry]:
    found = SchemaRegistrySection.model_validate({"url": registry.url}).build("main", tmp_path / "schemas")
    yield found
    found.close()


def built(section: FormatSection, client: SchemaRegistry) -> Format:
    return build_format(section, registry={"main": client})


def rule(kind: str | dict[str, Any]) -> FormatSection:
    return Rule.model_validate({"format": kind}).format


def test_avro_with_a_type_of_another_subject(registry: Registry, client: SchemaRegistry) -> None:
    registry.register("unit", json.dumps({"type": "enum", "name": "plant.Unit", "symbols": ["C", "F"]}))
    record = {"type": "record", "name": "plant.Value", "fields": [
        {"name": "value", "type": "double"}, {"name": "unit", "type": "plant.Unit"}]}  # fmt: skip
    number = registry.register("value-value", json.dumps(record), references=(("plant.Unit", "unit", 1),))
    data = written("double", 21.5) + written("int", 1)
    assert built(rule("avro"), client).decode(framed(number, data)) == {"value": 21.5, "unit": "F"}


def test_avro_of_every_type(registry: Registry, client: SchemaRegistry) -> None:
    number = registry.register("telemetry-value", json.dumps(TELEMETRY))
    assert built(rule("avro"), client).decode(framed(number, written(TELEMETRY, WRITTEN))) == EXPECTED


def test_protobuf_with_imports(registry: Registry, client: SchemaRegistry, full: bytes) -> None:
    registry.register("units.proto", UNITS, "PROTOBUF")
    registry.register("common.proto", COMMON, "PROTOBUF", (("units.proto", "units.proto", 1),))
    number = registry.register("plant-value", PROTO, "PROTOBUF", (("common.proto", "common.proto", 1),))
    format_ = built(rule("protobuf"), client)
    assert format_.decode(framed(number, b"\0" + full)) == FULL
    assert format_.decode(framed(number, b"\x02\x02" + b"\x08\x05")) == {"x": 5}


def test_json_schema(registry: Registry, client: SchemaRegistry) -> None:
    schema = {"type": "object", "properties": {"temperature": {"type": "number"}}}
    number = registry.register("json-value", json.dumps(schema), "JSON")
    format_ = built(rule({"type": "json_schema", "check": True}), client)
    assert format_.decode(framed(number, b'{"temperature": 21.5}')) == {"temperature": 21.5}
    with pytest.raises(PayloadError) as error:
        format_.decode(framed(number, b'{"temperature": "warm"}'))
    assert error.value.reason is Reason.SCHEMA_VIOLATED


def test_confluents_serializers(registry: Registry, client: SchemaRegistry, full: bytes, classes: Any) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    theirs = SchemaRegistryClient({"url": registry.url})
    context = SerializationContext("serialized", MessageField.VALUE)
    payload = AvroSerializer(theirs, json.dumps(TELEMETRY))(WRITTEN, context)
    assert built(rule("avro"), client).decode(payload or b"") == EXPECTED

    message = classes("plant.v1.Telemetry").FromString(full)
    context = SerializationContext("serialized-protobuf", MessageField.VALUE)
    serializer = ProtobufSerializer(type(message), theirs, {"use.deprecated.format": False})
    payload = serializer(message, context)
    assert built(rule("protobuf"), client).decode(payload or b"") == FULL


def test_an_id_that_the_registry_does_not_have_is_waited_for_and_then_a_reject(
    registry: Registry, client: SchemaRegistry, tmp_path: Path
) -> None:
    number = registry.register("late", '{"type": "fixed", "name": "Before", "size": 1}') + 1
    format_ = built(rule("avro"), client)
    with pytest.raises(SchemaUnavailableError, match="it may come late"):
        format_.decode(framed(number, b"\x2a"))
    assert registry.register("later", '{"type": "fixed", "name": "Late", "size": 1}') == number
    wait_until(lambda: not refuses(format_, framed(number, b"\x2a")), 20, "the schema is there")

    impatient = SchemaRegistry("main", [registry.url], tmp_path / "other", patience=0)
    for kind in ("avro", "protobuf"):
        with pytest.raises(PayloadError) as error:
            built(rule(kind), impatient).decode(framed(99_999, b"\0\x02"))
        assert error.value.reason is Reason.SCHEMA_NOT_FOUND
    impatient.close()


def refuses(format_: Format, payload: bytes) -> bool:
    try:
        format_.decode(payload)
    except SchemaUnavailableError:
        return True
    return False


def test_ids_of_apicurios_serializers(registry: Registry, client: SchemaRegistry) -> None:
    """As versions 1 and 2 write them: global IDs of eight bytes, in the payload or in a header."""
    same = '{"type": "record", "name": "Same", "fields": [{"name": "v", "type": "int"}]}'
    content = [registry.register(f"same-{i}", same) for i in range(3)]
    around = '{"type": "record", "name": "Around", "fields": [{"name": "same", "type": "Same"}]}'
    registry.register("around", around, references=(("Same", "same-2", 1),))
    assert len(set(content)) == 1, "one content, and three global IDs"
    last = registry.global_id("same-2")
    assert last not in content
    for ids, number in (("apicurio_global", last), ("apicurio_content", content[0])):
        format_ = built(rule({"type": "avro", "schema_ids": ids}), client)
        assert format_.decode(struct.pack(">bq", 0, number) + b"\x2a") == {"v": 21}
    format_ = built(rule("avro"), client)
    assert isinstance(format_, HeaderReader)
    for name, number in (("globalId", last), ("contentId", content[0])):
        headers = [(f"apicurio.value.{name}", struct.pack(">q", number).decode(errors="backslashreplace"))]
        assert format_.decode_with(b"\x2a", headers) == {"v": 21}
    headers = [("apicurio.value.globalId", struct.pack(">q", registry.global_id("around")).decode())]
    assert format_.decode_with(b"\x2a", headers) == {"same": {"v": 21}}, "with what it refers to"
    with pytest.raises(PayloadError, match="set schema_ids"):
        format_.decode(struct.pack(">bq", 0, last) + b"\x2a")


def test_an_outage_stops_only_what_is_new(registry: Registry, tmp_path: Path) -> None:
    section = SchemaRegistrySection.model_validate({"url": registry.url, "timeout": "1s"})
    number = registry.register("outage-value", '"int"')
    first = section.build("main", tmp_path)
    assert built(rule("avro"), first).decode(framed(number, b"\x2a")) == 21
    first.close()

    again = section.build("main", tmp_path)
    again._urls = [f"http://127.0.0.1:{free_port()}/apis/ccompat/v7"]  # where nobody listens
    format_ = built(rule("avro"), again)
    assert format_.decode(framed(number, b"\x2a")) == 21
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(SchemaUnavailableError, match="does not answer"):
            format_.decode(framed(number + 1, b"\x2a"))
    assert time.monotonic() - started < 5
    again.close()


def test_a_wrong_path_rejects_nothing(registry: Registry, tmp_path: Path) -> None:
    url = registry.url.replace("/apis/ccompat/v7", "/nowhere")
    client = SchemaRegistrySection.model_validate({"url": url}).build("main", tmp_path)
    with pytest.raises(SchemaUnavailableError, match="url"):
        client.schema(1)
    client.close()
