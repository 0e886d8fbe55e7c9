"""Every format with a payload that it reads: for the tests that all formats pass."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from datetime import UTC, datetime

import cbor2
import fastavro
import lz4.frame
import msgpack
from backports import zstd

from connector.conformance.formats import Example
from connector.formats.binary.binary import BinaryFormat, Bits, LayoutField
from connector.formats.binary.cbor import CborFormat
from connector.formats.binary.messagepack import MessagePackFormat
from connector.formats.compression import Compressed
from connector.formats.format import Format, PayloadError
from connector.formats.schema.avro import AvroFormat
from connector.formats.schema.json_schema import JsonSchemaFormat
from connector.formats.schema.protobuf import ProtobufFormat
from connector.formats.text.csv_rows import CsvFormat
from connector.formats.text.graphite import GraphiteFormat
from connector.formats.text.influx import InfluxFormat
from connector.formats.text.json_payload import JsonFormat
from connector.formats.text.key_value import KeyValueFormat
from connector.formats.text.ndjson import NdjsonFormat
from connector.formats.text.prometheus import PrometheusFormat
from connector.formats.text.text import TextFormat
from connector.formats.text.xml_elements import XmlFormat
from connector.mapping.documents.decode import decode_fields
from connector.mapping.rules.decoding import DecodeStep, parse_parts
from connector.records import Reason
from tests.schemas import KnownSchemas, framed, registered

_MAX = 1024 * 1024
_TIME = datetime(2024, 5, 1, 12, tzinfo=UTC)
_TREE = {"a": 1.5, "b": [1, -2, {"c": None, "d": True}], "long key": "text ø", "t": _TIME, "raw": b"\0\xff", "n": 2**40}
_JSON = b'{"ts": 1714564800, "a": 1.5, "b": [true, null, "x"], "c": {"d": 1e3}}'
_AVRO = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "u", "type": ["null", "double", "string"]},
        {"name": "a", "type": {"type": "array", "items": {"type": "map", "values": "long"}}},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "clock", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "f", "type": {"type": "fixed", "name": "F", "size": 3}},
    ],
}
_AVRO_TREE = {"type": "record", "name": "T", "fields": [
    {"name": "n", "type": ["null", "T"]}, {"name": "c", "type": {"type": "array", "items": "T"}}]}  # fmt: skip
_AVRO_RECORD = bytes.fromhex("80a0f2e8e6630200000000008035400202026b0600000204fb2e90b6020648")
_AVRO_RECORD += b"12345678-1234-5678-1234-567812345678abc"
_PROTO = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
message M {
  google.protobuf.Timestamp t = 1; double d = 2; repeated sint64 n = 3; map<string, M> m = 4; E e = 5; string s = 6;
  google.protobuf.Value v = 7; optional float f = 8; oneof o { bytes b = 9; uint64 u = 10; }
  enum E { A = 0; B = 1; }
}
"""
_PROTO_MESSAGE = (
    b"\x0a\x06\x08\x80\x94\xc9\xb1\x06\x11\0\0\0\0\0\x80\x35\x40\x1a\x02\x01\x04\x22\x07\x0a\x01k\x12\x02\x28\x01"
    b"\x28\x01\x32\x02\xc3\xb8\x3a\x0b\x2a\x09\x0a\x07\x0a\x01x\x12\x02\x08\0\x45\0\0\x80\x3f\x50\x05"
)


def _container() -> bytes:
    stream = io.BytesIO()
    fastavro.writer(stream, fastavro.parse_schema({"type": "array", "items": "long"}), [[1, 2], [], [3]], "deflate")
    return stream.getvalue()


_SCHEMAS = KnownSchemas(
    registered(1, "AVRO", json.dumps(_AVRO)),
    registered(2, "PROTOBUF", _PROTO),
    registered(3, "JSON", '{"type": "object", "properties": {"a": {"type": "number"}}}'),
)
_TAGGED = {**_TREE, "big": 2**70, "tag": cbor2.CBORTag(99, [1])}

_LOOSE = """{'ts': 1714564800, a: .5, "b": [True, None, 'x\\'"', -inf, 007, 0x1F,], }"""


class _Fields:
    """A payload with payloads in its fields: the steps of a rule's `decode`."""

    name = "fields"

    def __init__(self, *steps: tuple[str, tuple[str, ...], Format]) -> None:
        self._steps = [DecodeStep(parse_parts(path), encodings, form) for path, encodings, form in steps]

    def decode(self, payload: bytes) -> object:
        """The document with its fields decoded, or the error of the first field that cannot be decoded."""
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        found = decode_fields(self._steps, payload, _MAX, set())
        for reject in found.rejects:
            raise PayloadError(reject.reason, reject.message)
        return found.document


_FIELD = {"a": [cbor2.dumps({"v": 1.5}).hex(), None], "b": _JSON.decode(), "c": list(_JSON)}
_FIELDS = (
    ("a[]", ("hex",), CborFormat()),
    ("b", ("text",), JsonFormat()),
    ("c", ("bytes",), JsonFormat(lenient=True)),
)

EXAMPLES = {
    "json": Example(JsonFormat(), _JSON),
    "lenient json": Example(JsonFormat(lenient=True), _LOOSE.encode()),
    "json in utf-16": Example(JsonFormat(), _JSON.decode().encode("utf-16")),
    "json in cp1252": Example(JsonFormat(encoding="cp1252"), '{"unit": "°C", "v": 21.5}'.encode("cp1252")),
    "fields in base64": Example(
        _Fields(("@", ("base64",), JsonFormat()), *_FIELDS), base64.b64encode(json.dumps(_FIELD).encode())
    ),
    "fields": Example(_Fields(("@", ("text",), JsonFormat()), *_FIELDS), json.dumps(_FIELD).encode()),
    "fields in gzip": Example(
        _Fields(("@", ("hex", "gzip"), JsonFormat()), *_FIELDS),
        gzip.compress(json.dumps(_FIELD).encode()).hex().encode(),
    ),
    "ndjson in utf-16": Example(NdjsonFormat(), (_JSON.decode() + "\n[inf]\n").encode("utf-16")),
    "ndjson": Example(NdjsonFormat(), _JSON + b"\n\n[1, 2]\nnot json\n" + _JSON),
    "text": Example(TextFormat(), "21.5 °C".encode()),
    "text with a comma": Example(TextFormat(decimal=",", encoding="utf-16"), "21,5".encode("utf-16")),
    "csv": Example(CsvFormat(), b'time,"a b",c\r\n2024-05-01,1.5,"x, ""y"""\r\n,,\n1,2\n"open,1,2\n3,4,5'),
    "csv in utf-16": Example(CsvFormat(), "a,b\n1,2\n3,4\0".encode("utf-16")),
    "csv with settings": Example(
        CsvFormat(delimiter=";", columns=["a", None, "b"], header=False, decimal=",", comment="#", quote="'"),
        b"# x\n1,5;'2';3\n'4;5';6;7\n",
    ),
    "influx": Example(
        InfluxFormat(), b'# c\nm\\ x,t=a\\,b v=1.5,i=-3i,u=4u,b=t,s="q\\"x\\\\\n" 1556813561098000000\nbad\nm v=1\r\n'
    ),
    "prometheus": Example(
        PrometheusFormat(),
        b'# TYPE h histogram\n# UNIT h seconds\nh_bucket{le="0.5",a="x\\"y"} 3 1714564800000 # {t="1"} 0.4\n'
        b'{"a.b", zone="n",} NaN\nx{ 1\nup 1e0 1714564800.5\n# EOF\n',
    ),
    "graphite": Example(GraphiteFormat(), b"a.b 21.5 1714564800\na;x=1;y=z -3 -1\nbad\na nan 1714564800.5\n"),
    "key_value": Example(KeyValueFormat(), b'a=1.5 b=on c="x \\"y\\" z" d e= id=007\nbad\nok=true\n'),
    "key_value of a device": Example(
        KeyValueFormat(separator=";", assign=":", decimal=","), b"T: 21,5; H: 40;\r\nT:2\n"
    ),
    "key_value in lines": Example(KeyValueFormat(separator="\n"), b'a = 1\nb="x\ny"\n\nc=\n'),
    "xml": Example(
        XmlFormat(),
        '<?xml version="1.0" encoding="ISO-8859-1"?><!-- c --><m:p xmlns:m="u" at="2024-05-01T12:00:00Z"><t id="ø">1.5'
        "<![CDATA[<]]>&amp;&#65;</t><t id='b'/><on>true</on><e/></m:p>".encode("latin-1"),
    ),
    "xml without a root": Example(
        XmlFormat(attribute_prefix="@", lists=["a", "c"]), b'<a>1</a>\n<b a="1"><a>2</a></b><b><c>3</c>x</b>'
    ),
    "messagepack": Example(
        MessagePackFormat(), msgpack.packb({**_TREE, "x": msgpack.ExtType(7, b"ab")}, datetime=True)
    ),
    "cbor": Example(CborFormat(), cbor2.dumps(_TAGGED) + cbor2.dumps([1.5, _TIME, {1: 2}])),
    "binary": Example(
        BinaryFormat(
            [
                LayoutField("i16", "t"),
                LayoutField("u8", bits=(Bits("on", 0), Bits("mode", 1, 3))),
                LayoutField("text", "s", length=2),
            ],
            header=[LayoutField("u24", "device")],
            repeat=True,
        ),
        b"\0\0\7" + b"\0\xd7\5ab" + b"\0\xd8\4c\0",
    ),
    "avro with a registry": Example(AvroFormat(_SCHEMAS, max_bytes=_MAX), framed(1, _AVRO_RECORD)),
    "avro with a declared schema": Example(AvroFormat(json.dumps(_AVRO), max_bytes=_MAX), _AVRO_RECORD),
    "avro that nests": Example(AvroFormat(json.dumps(_AVRO_TREE), max_bytes=_MAX), b"\2\0\4\0\0\0\0\0\4\0\0\2\0\0\0\0"),
    "avro container": Example(AvroFormat('"int"', max_bytes=_MAX), _container()),
    "protobuf": Example(ProtobufFormat(_SCHEMAS), framed(2, b"\0" + _PROTO_MESSAGE)),
    "json_schema": Example(JsonSchemaFormat(_SCHEMAS), framed(3, _JSON)),
    "gzip": Example(Compressed(JsonFormat(), "gzip", _MAX), gzip.compress(_JSON * 1)),
    "zlib": Example(Compressed(JsonFormat(), "zlib", _MAX), zlib.compress(_JSON)),
    "zstd": Example(Compressed(JsonFormat(), "zstd", _MAX), zstd.compress(_JSON)),
    "lz4": Example(Compressed(JsonFormat(), "lz4", _MAX), lz4.frame.compress(_JSON)),
    "auto": Example(Compressed(TextFormat(), "auto", _MAX), gzip.compress(b"21.5")),
}
