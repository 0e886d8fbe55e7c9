"""Apache Avro: with a schema registry, with a declared schema, or as an object container file with its own schema.

Timestamps become datetimes; a timestamp outside the calendar stays a number. Decimals become floats, enums become text,
and a union becomes the value that it holds. Dates, and times without a zone, become ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Final

import fastavro.read
from fastavro import schemaless_reader
from fastavro._read_py import schemaless_reader as careful_reader
from fastavro.schema import parse_schema

from connector.formats.binary.plain import Plain
from connector.formats.compression import decompressed
from connector.formats.documents import DocumentCollector
from connector.formats.format import Documents, PayloadError
from connector.formats.schema.avro_schemas import VALUE, AvroSchema, parse_avro
from connector.formats.schema.schemas import ParsedSchemas, RegisteredSchema, Schemas
from connector.formats.schema.wire import Headers, Ids, framed
from connector.records import Reason
from connector.settings import SettingsError

_MAX_MEMORY: Final = 128 * 1024 * 1024
_MAX_SCHEMA_BYTES: Final = 256 * 1024
"""The longest schema of a container, in bytes: anybody may have written it, and a longer one takes seconds to parse."""
_MAX_REGISTERED: Final = 1024 * 1024
"""Characters of a schema in a registry, with its references."""
_CONTAINER: Final = b"Obj\x01"
_METADATA: Final = parse_schema({"type": "map", "values": "bytes"})
_LONG: Final = parse_schema("long")
_SYNC: Final = 16
_AS_JSON: Final = ("apicurio.value.encoding", "JSON")
"""The header of a record whose payload is not Avro's binary encoding."""
_CODECS: Final = {b"null": None, b"deflate": "deflate", b"zstandard": "zstd"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AvroFormat:
    """The format of Avro records and object container files."""

    name = "avro"

    def __init__(self, schema: Schemas | str, *, max_bytes: int, ids: Ids = "confluent") -> None:
        """`schema` is a registry, or the text of a schema. Raises SettingsError if this text cannot be used.

        `ids` is the kind of IDs in payloads. `max_bytes` is the most bytes that the blocks of a container may have when
        they are decompressed.
        """
        self._max_bytes = max_bytes
        self._ids = ids
        self._declared: AvroSchema | None = None
        if isinstance(schema, str):
            try:
                self._declared = parse_avro(schema)
            except PayloadError as error:
                raise SettingsError(str(error)) from None
        else:
            self._registered = ParsedSchemas(schema, "AVRO", "Avro", _MAX_REGISTERED, _parsed)

    def decode(self, payload: bytes) -> object:
        """As `decode_with`, without headers."""
        return self.decode_with(payload, ())

    def decode_with(self, payload: bytes, headers: Headers) -> object:
        """The document of a record; for a container, the `Documents` of its records.

        Raises `PayloadError` and, with a registry, `SchemaUnavailableError`.
        """
        if payload.startswith(_CONTAINER):
            return self._container(payload)
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        if self._declared is not None:
            return _record(self._declared, payload, 0)
        found = framed(payload, headers, self._ids)
        if found.by_apicurio and _AS_JSON in headers:
            raise PayloadError(
                Reason.INVALID_AVRO,
                "the sender writes Avro as JSON, which is not read: set apicurio.registry.avro.encoding=BINARY there",
            )
        return _record(self._registered.get(found.id), payload, found.start)

    def _container(self, payload: bytes) -> Documents:
        """The documents of an object container file. Raises `PayloadError`.

        https://avro.apache.org/docs/1.12.0/specification/#object-container-files
        """
        stream = BytesIO(payload)
        stream.seek(len(_CONTAINER))
        metadata = _read(stream, _METADATA)
        codec = metadata.get("avro.codec", b"null")
        if codec not in _CODECS:
            known = ", ".join(name.decode() for name in _CODECS)
            raise _wrong(f"the codec {codec[:20]!r} is not read (known: {known})")
        text = metadata.get("avro.schema", b"")
        if len(text) > _MAX_SCHEMA_BYTES:
            raise _wrong(f"the schema has {len(text)} bytes; at most {_MAX_SCHEMA_BYTES} are read")
        schema = parse_avro(text.decode("utf-8", "replace"))
        sync = stream.read(_SYNC)
        gathered = DocumentCollector()
        left = self._max_bytes
        while stream.tell() < len(payload):
            count, size = _read(stream, _LONG), _read(stream, _LONG)
            block = stream.read(max(size, 0))
            if size < 0 or len(block) < size or stream.read(_SYNC) != sync:
                raise _wrong("the container ends too early, or is damaged")
            kind = _CODECS[codec]
            data = block if kind is None else decompressed(block, kind, left)
            left -= len(data)
            _records(schema, data, count, gathered)
        return gathered.result()


def _parsed(found: RegisteredSchema) -> AvroSchema:
    return parse_avro(found.text, found.references)


def _records(schema: AvroSchema, data: bytes, count: int, gathered: DocumentCollector) -> None:
    _check_size(schema, data)
    stream = BytesIO(data)
    for _ in range(count):
        gathered.add(_one(schema, stream))
    _check_end(stream, data)


def _record(schema: AvroSchema, payload: bytes, start: int) -> object:
    _check_size(schema, payload)
    stream = BytesIO(payload)
    stream.seek(start)
    document = _one(schema, stream)
    _check_end(stream, payload)
    return document


def _one(schema: AvroSchema, stream: BytesIO) -> object:
    found = _read(stream, schema.parsed, careful_reader if schema.is_recursive else schemaless_reader)
    return Plain(_MAX_MEMORY).of(found[VALUE])


def _read(stream: BytesIO, parsed: Any, reader: Callable[..., Any] = schemaless_reader) -> Any:
    try:
        return reader(stream, parsed, None)
    except RecursionError:
        raise PayloadError(Reason.NESTED_TOO_DEEPLY, "records are nested too deeply") from None
    except EOFError:
        raise _wrong("the data ends too early") from None
    except Exception as error:  # noqa: BLE001 - for damaged data, fastavro raises any exception of Python
        raise _wrong(f"{type(error).__name__}: {str(error)[:200]}") from None


def _check_size(schema: AvroSchema, data: bytes) -> None:
    if len(data) * schema.factor > _MAX_MEMORY:
        most = round(_MAX_MEMORY / schema.factor)
        raise PayloadError(
            Reason.PAYLOAD_TOO_LARGE, f"{len(data)} bytes; with this schema more than {most} could take too much memory"
        )


def _check_end(stream: BytesIO, data: bytes) -> None:
    left = len(data) - stream.tell()
    if left:
        raise _wrong(f"{left} bytes are left behind the record; the record was written with another schema")


def _wrong(why: str) -> PayloadError:
    return PayloadError(Reason.INVALID_AVRO, f"not Avro of this schema: {why}")


def _time_reader(parts: int, zone: bool) -> Callable[..., object]:
    """A reader for fastavro: a number of 1/`parts` seconds since 1970 → the time; with `zone`, in UTC.

    A number outside the calendar stays a number.
    """

    def read(value: int, _writer: object = None, _reader: object = None) -> object:
        try:
            time = _EPOCH + timedelta(microseconds=value * 1_000_000 // parts)
        except OverflowError:
            return value
        return time if zone else time.replace(tzinfo=None)

    return read


for _name, _parts in (("millis", 1_000), ("micros", 1_000_000), ("nanos", 1_000_000_000)):
    fastavro.read.LOGICAL_READERS[f"long-timestamp-{_name}"] = _time_reader(_parts, zone=True)
    fastavro.read.LOGICAL_READERS[f"long-local-timestamp-{_name}"] = _time_reader(_parts, zone=False)
