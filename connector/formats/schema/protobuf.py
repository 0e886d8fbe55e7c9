"""Protocol Buffers, with a schema registry or a declared message. With a registry, each payload names its message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from connector.formats.format import PayloadError
from connector.formats.schema import protobuf_schemas
from connector.formats.schema.protobuf_documents import ProtobufConverter
from connector.formats.schema.protobuf_schemas import ProtobufSchema
from connector.formats.schema.schemas import ParsedSchemas, RegisteredSchema, SchemaId, Schemas
from connector.formats.schema.wire import Framed, Headers, Ids, framed
from connector.records import Reason
from connector.settings import SettingsError

_MAX_READERS: Final = 10_000
_MAX_SCHEMA_SIZE: Final = 256 * 1024
"""Characters of a .proto file with its imports: about two seconds of parsing."""
_MAX_NESTING: Final = 32
_SIMPLE_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def from_proto_file(path: Path, folder: Path, message: str) -> DeclaredProtobufFormat:
    """The format of a message in a .proto file. Imports are found in `folder`. Raises SettingsError."""
    return _declared(protobuf_schemas.schema_from_proto_file(path, folder), message)


def from_descriptor_file(path: Path, message: str) -> DeclaredProtobufFormat:
    """The format of a message in a descriptor set. Raises SettingsError."""
    return _declared(protobuf_schemas.schema_from_descriptor_file(path, message), message)


def _declared(schema: ProtobufSchema, message: str) -> DeclaredProtobufFormat:
    try:
        return DeclaredProtobufFormat(schema.by_name(message))
    except PayloadError as error:
        raise SettingsError(str(error)) from None


class _Reader:
    """Decodes one kind of message."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._class: Any = GetMessageClass(descriptor)
        self._name = descriptor.full_name
        self._documents = ProtobufConverter()

    def read(self, data: bytes) -> object:
        """The document of a message. Raises `PayloadError`."""
        message = self._class()
        try:
            message.ParseFromString(data)
        except (DecodeError, RecursionError):
            raise PayloadError(Reason.INVALID_PROTOBUF, f"not a Protobuf message {self._name}, or damaged") from None
        return self._documents.of(message)


class DeclaredProtobufFormat:
    """The format of Protobuf messages of one declared kind."""

    name = "protobuf"

    def __init__(self, message: Descriptor) -> None:
        self._reader = _Reader(message)

    def decode(self, payload: bytes) -> object:
        """The document of the message in the payload. Raises `PayloadError`."""
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        return self._reader.read(payload)


class ProtobufFormat:
    """The format of Protobuf messages with a schema's ID.

    Confluent's serializers count the message in the schema; Apicurio's name it.
    """

    name = "protobuf"

    def __init__(self, schemas: Schemas, *, ids: Ids = "confluent") -> None:
        """`ids` is the kind of IDs in payloads."""
        self._ids = ids
        self._registered = ParsedSchemas(schemas, "PROTOBUF", "Protobuf", _MAX_SCHEMA_SIZE, _parsed)
        self._readers: dict[tuple[SchemaId, tuple[int, ...] | str], _Reader] = {}

    def decode(self, payload: bytes) -> object:
        """As `decode_with`, without headers."""
        return self.decode_with(payload, ())

    def decode_with(self, payload: bytes, headers: Headers) -> object:
        """The document of the message in the payload. Raises `PayloadError` and `SchemaUnavailableError`."""
        found = framed(payload, headers, self._ids)
        which: tuple[int, ...] | str
        if found.by_apicurio:
            which, start = _named(payload, found)
        elif not found.start:
            which, start = _indexes(found.indexes, 0)[0], found.start
        else:
            which, start = _indexes(payload, found.start)
        reader = self._readers.get((found.id, which))
        if reader is None:
            schema = self._registered.get(found.id)
            reader = _Reader(schema.by_simple_name(which) if isinstance(which, str) else schema.by_indexes(which))
            if len(self._readers) >= _MAX_READERS:
                self._readers.clear()
            self._readers[found.id, which] = reader
        return reader.read(payload[start:])


def _parsed(found: RegisteredSchema) -> ProtobufSchema:
    return protobuf_schemas.from_texts(found.text, {reference.name: reference.text for reference in found.references})


def _named(payload: bytes, found: Framed) -> tuple[str, int]:
    """(simple name of the message, position of the message in the payload); the name is empty if there is none.

    Apicurio's serializers write the name into a header, or before the data as a message of its own (its length, and
    field 1 with the name), or both, by their version.
    """
    length = payload[found.start] if len(payload) > found.start else 0
    end = found.start + 1 + length
    name = payload[found.start + 3 : end]
    if length == len(name) + 2 and payload[found.start + 1 : found.start + 3] == bytes((0x0A, len(name))):
        text = name.decode("utf-8", "replace")
        if _SIMPLE_NAME.fullmatch(text) and found.message in ("", text):
            return text, end
    return found.message, found.start


def _indexes(payload: bytes, start: int) -> tuple[tuple[int, ...], int]:
    """(message indexes, position behind them). Raises `PayloadError`.

    At `start` is the number of indexes, and then the indexes. The number 0 stands for the first message.
    """
    count, at = _number(payload, start)
    if not 0 <= count <= _MAX_NESTING:
        raise _no_indexes(f"{count} message indexes")
    found = []
    for _ in range(count):
        index, at = _number(payload, at)
        if index < 0:
            raise _no_indexes(f"a message index of {index}")
        found.append(index)
    return tuple(found) or (0,), at


def _number(payload: bytes, at: int) -> tuple[int, int]:
    """(the zigzag varint at `at`, the position behind it). Raises `PayloadError`."""
    value = shift = 0
    while at < len(payload) and shift < 35:
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise _no_indexes("no message indexes, or damaged ones")


def _no_indexes(what: str) -> PayloadError:
    return PayloadError(
        Reason.INVALID_PROTOBUF, f"{what} behind the schema's ID: was the payload written by a Protobuf serializer?"
    )
