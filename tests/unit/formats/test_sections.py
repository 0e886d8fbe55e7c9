"""What a rule may say of its format: the short form and the sections, what is wrong with one, what is built of it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connector.config.read import load_config
from connector.formats.catalogue import build_format
from connector.formats.format import PayloadError
from connector.formats.schema.registry.section import SchemaRegistrySection
from connector.formats.section import FormatSection
from tests.schemas import KnownSchemas, Rule, framed, registered
from tests.secrets_used import REGISTRY_TOKEN


def section(format_: str | dict[str, Any]) -> FormatSection:
    return Rule.model_validate({"format": format_}).format


def complaint(format_: str | dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        section(format_)
    return str(error.value)


@pytest.mark.parametrize(
    ("format_", "payload", "expected"),
    [
        ("json", b'{"a": 1}', {"a": 1}),
        ("ndjson", b"1\n2", [1, 2]),
        ("text", b"21.5", 21.5),
        ({"type": "text", "decimal": ",", "encoding": "latin-1"}, b"21,5", 21.5),
        ("csv", b"a,b\n1,2", [{"a": 1, "b": 2}]),
        ({"type": "csv", "delimiter": "tab", "columns": ["a", None]}, b"1\t2", [{"a": 1}]),
        ({"type": "csv", "delimiter": ";", "columns": ["a"], "header": True}, b"x\n1", [{"a": 1}]),
        (
            {"type": "influx", "precision": "s"},
            b"m v=1 0",
            [
                {
                    "measurement": "m",
                    "tags": {},
                    "fields": {"v": 1.0},
                    "series": "m",
                    "time": datetime(1970, 1, 1, tzinfo=UTC),
                }
            ],
        ),
        ("prometheus", b"a 1", [{"name": "a", "labels": {}, "series": "a", "value": 1}]),
        ("graphite", b"a 1", [{"name": "a", "tags": {}, "series": "a", "value": 1}]),
        ({"type": "key_value", "separator": "newline", "assign": ":"}, b"a: 1\nb: 2", {"a": 1, "b": 2}),
        ({"type": "xml", "attribute_prefix": "@"}, b"<a b='1'/>", {"a": {"@b": "1"}}),
        ("messagepack", b"\x81\xa1a\x01", {"a": 1}),
        ("cbor", b"\xa1\x61a\x01", {"a": 1}),
        (
            {
                "type": "binary",
                "endian": "little",
                "header": [{"name": "id", "type": "u8"}],
                "fields": [{"name": "t", "type": "i16"}, {"type": "u8", "bits": {"on": 0, "mode": "1-3"}}],
                "repeat": True,
            },
            b"\x07\xd7\x00\x05\xd8\x00\x04",
            [{"id": 7, "t": 215, "on": True, "mode": 2}, {"id": 7, "t": 216, "on": False, "mode": 2}],
        ),
        ("json_schema", framed(1, b"[1]"), [1]),
    ],
)
def test_a_format_by_its_name_or_as_a_section(format_: str | dict[str, Any], payload: bytes, expected: object) -> None:
    assert section(format_).build().decode(payload) == expected
    assert build_format(section(format_), "gzip").decode(gzip.compress(payload)) == expected


def test_a_rule_without_a_format_reads_json() -> None:
    assert Rule().format.build().decode(b"[1]") == [1]


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        ("cvs", "cvs"),
        ("binary", "fields"),
        ({"delimiter": ";"}, "type"),
        ({"type": "csv", "delimiter": ";;"}, "must be one character"),
        ({"type": "csv", "delimiter": ""}, "must not be empty"),
        ({"type": "csv", "quote": "ab"}, "must be one character"),
        ({"type": "csv", "decimal": ","}, "use delimiter: ';'"),
        ({"type": "csv", "delimiter": '"'}, "must differ"),
        ({"type": "csv", "header": False}, "needs columns"),
        ({"type": "csv", "columns": ["a", "a"]}, "two columns are called 'a'"),
        ({"type": "csv", "columns": ["{error}", "{error}"]}, "two columns are called '{error}'"),
        ({"type": "csv", "columns": [None]}, "leaves every column out"),
        ({"type": "influx", "precision": "m"}, "precision"),
        ({"type": "key_value", "separator": ",", "decimal": ","}, "what stands between the pairs"),
        ({"type": "binary", "fields": [{"type": "u8"}]}, "needs a name"),
        ({"type": "binary", "fields": [{"type": "skip"}]}, "skips everything"),
        ({"type": "binary", "fields": [{"type": "skip", "name": "x"}]}, "what is skipped has no name"),
        ({"type": "binary", "fields": [{"type": "u8", "name": "x", "length": 2}]}, "has its own length"),
        ({"type": "binary", "fields": [{"type": "text", "name": "x"}]}, "text needs a length"),
        ({"type": "binary", "fields": [{"type": "i8", "bits": {"x": 1}}]}, "parts of an unsigned integer"),
        ({"type": "binary", "fields": [{"type": "u8", "bits": {"x": 8}}]}, "not within the bits 0-7"),
        ({"type": "binary", "fields": [{"type": "u8", "bits": {"x": "3-1"}}]}, "not within the bits 0-7"),
        ({"type": "binary", "fields": [{"type": "u8", "name": "x"}, {"type": "u8", "name": "x"}]}, "two fields"),
        ({"type": "binary", "fields": [{"type": "u24", "name": "x", "endian": "big-swapped"}]}, "16-bit words"),
        (
            {"type": "binary", "fields": [{"type": "u8", "name": "x"}], "header": [{"type": "u8", "name": "y"}]},
            "header is for repeat",
        ),
        ({"type": "avro", "registry": "a", "schema_file": "x"}, "exclude each other"),
        ({"type": "protobuf", "proto_file": "x"}, "needs message"),
        ({"type": "protobuf", "message": "x"}, "needs proto_file or descriptor_file"),
        ({"type": "protobuf", "proto_file": "x", "descriptor_file": "y", "message": "z"}, "exclude each other"),
        ({"type": "protobuf", "import_path": "x"}, "import_path is for proto_file"),
    ],
)
def test_what_is_wrong_with_a_section_is_said(format_: str | dict[str, Any], said: str) -> None:
    assert said in complaint(format_)


def test_compression_is_bounded() -> None:
    format_ = build_format(section("json"), "auto", max_payload=100)
    with pytest.raises(PayloadError, match="100"):
        format_.decode(gzip.compress(b" " * 1000))


@pytest.mark.parametrize("kind", ["avro", "protobuf", {"type": "json_schema", "check": True}])
def test_which_registry(kind: str | dict[str, Any]) -> None:
    settings = {"type": kind} if isinstance(kind, str) else kind
    one, two = KnownSchemas(), KnownSchemas()
    assert section(settings).build({"a": one})
    assert section({**settings, "registry": "b"}).build({"a": one, "b": two})
    for registries, more, said in (
        ({}, {}, "add a registry to schema_registries"),
        ({"a": one, "b": two}, {}, "say which with registry: a or b"),
        ({"a": one}, {"registry": "c"}, r"'c' is not in schema_registries \(there: a\)"),
    ):
        chosen = section({**settings, **more})
        assert chosen.registry_problem(registries)
        with pytest.raises(ValueError, match=said):
            chosen.build(registries)


def test_the_named_registry_is_asked() -> None:
    schemas = KnownSchemas(registered(1, "AVRO", '"int"'))
    format_ = section({"type": "avro", "registry": "b"}).build({"a": KnownSchemas(), "b": schemas})
    assert format_.decode(framed(1, b"\x2a")) == 21


def test_declared_schemas(tmp_path: Path) -> None:
    (tmp_path / "a.avsc").write_text(json.dumps("int"))
    assert section({"type": "avro", "schema_file": str(tmp_path / "a.avsc")}).build().decode(b"\x2a") == 21
    (tmp_path / "a.proto").write_text('syntax = "proto3"; import "in/b.proto"; message M { N n = 1; }')
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.proto").write_text('syntax = "proto3"; message N { int32 a = 1; }')
    format_ = section({"type": "protobuf", "proto_file": str(tmp_path / "a.proto"), "message": "M"})
    assert format_.build().decode(b"\x0a\x02\x08\x05") == {"n": {"a": 5}}
    assert format_.registry_problem({}) is None
    with pytest.raises(ValueError, match=r"none\.avsc cannot be read"):
        section({"type": "avro", "schema_file": str(tmp_path / "none.avsc")}).build()


def test_no_library_is_loaded_before_a_format_needs_it() -> None:
    code = (
        "import sys; import connector.formats.catalogue, connector.config; "
        "heavy = {'fastavro', 'google.protobuf', 'cbor2', 'lz4', 'backports', 'antlr4', 'jsonschema', 'avro'}; "
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


# -- schema registries ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "registry:8081"}, "cannot be read as an address"),
        ({"url": "https://a:b@registry"}, "do not belong into the URL"),
        ({"url": "https://registry?x=1"}, "what begins with"),
        ({"url": []}, "at least 1 item"),
        ({"url": "https://registry", "username": "x"}, "go together"),
        ({"url": "https://registry", "username": "x", "password": "y", "token": "z"}, "exclude each other"),
        ({"url": "http://registry", "tls": {"ca_file": "x"}}, "with an http address"),
    ],
)
def test_what_is_wrong_with_a_registry_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SchemaRegistrySection.model_validate(settings)


def test_a_registry_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "connector.yaml"
    file.write_text(
        "clarify: {credentials: c.json}\nsources: [{type: file, path: x, topic: t}]\n"
        "schema_registries:\n  main:\n    url: http://registry:8081/\n    username: key\n"
        f"    password: {REGISTRY_TOKEN}\n"
        "  safe: {url: https://registry, tls: {ca_file: ca.pem}}\n"
    )
    config = load_config(file)
    main, safe = config.schema_registries["main"], config.schema_registries["safe"]
    assert main.url == ["http://registry:8081"]
    assert REGISTRY_TOKEN not in repr(main)
    assert (len(main.warnings), safe.warnings) == (1, [])
    assert safe.files["tls.ca_file"] == tmp_path / "ca.pem"
    main.build("main", tmp_path / "schemas").close()
    assert [path.name.partition("-")[0] for path in (tmp_path / "schemas").iterdir()] == ["main"]
