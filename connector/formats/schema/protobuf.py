"""Protocol Buffers, with a schema registry or a declared message. With a registry, each payload names its message."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from connector.formats.format import PayloadError
from connector.formats.schema import protobuf_schemas
from connector.formats.schema.protobuf_documents import ProtobufConverter
from connector.formats.schema.protobuf_schemas import ProtobufSchema
from connector.formats.schema.schemas import ParsedSchemas, RegisteredSchema, Schemas
from connector.formats.schema.wire import HEADER, schema_id
from connector.records import Reason
from connector.settings import SettingsError

_MAX_READERS: Final = 10_000
_MAX_SCHEMA_SIZE: Final = 256 * 1024
"""Characters of a .proto file with its imports: about two seconds of parsing."""
_MAX_NESTING: Final = 32


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
    """The format of Protobuf messages behind the schema's ID and the indexes of the message in the schema."""

    name = "protobuf"

    def __init__(self, schemas: Schemas) -> None:
        self._registered = ParsedSchemas(schemas, "PROTOBUF", "Protobuf", _MAX_SCHEMA_SIZE, _parsed)
        self._readers: dict[tuple[int, tuple[int, ...]], _Reader] = {}

    def decode(self, payload: bytes) -> object:
        """The document of the message in the payload. Raises `PayloadError` and `SchemaUnavailableError`."""
        number = schema_id(payload)
        indexes, start = _indexes(payload)
        reader = self._readers.get((number, indexes))
        if reader is None:
            reader = _Reader(self._registered.get(number).by_indexes(indexes))
            if len(self._readers) >= _MAX_READERS:
                self._readers.clear()
            self._readers[number, indexes] = reader
        return reader.read(payload[start:])


def _parsed(found: RegisteredSchema) -> ProtobufSchema:
    return protobuf_schemas.from_texts(found.text, {reference.name: reference.text for reference in found.references})


def _indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """(message indexes, position of the message in the payload). Raises `PayloadError`.

    The payload has the number of indexes, and then the indexes. The number 0 stands for the first message.
    """
    count, at = _number(payload, HEADER)
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
