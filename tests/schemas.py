"""Rules and schemas for tests of formats, without a registry."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel

from connector.formats.catalogue import Compression, FormatField
from connector.formats.format import PayloadError
from connector.formats.schema.schemas import NamedSchema, RegisteredSchema, SchemaId
from connector.formats.text.sections import JsonFormatSection
from connector.records import Reason


class Rule(BaseModel):
    """What a rule has of a format."""

    format: FormatField = JsonFormatSection()
    compression: Compression = "none"


class KnownSchemas:
    """A registry that knows these schemas, and counts how often it is asked."""

    def __init__(self, *schemas: RegisteredSchema) -> None:
        self._schemas = {schema.id: schema for schema in schemas}
        self.asked = 0

    def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """The schema with this ID."""
        self.asked += 1
        if schema_id not in self._schemas:
            raise PayloadError(Reason.SCHEMA_NOT_FOUND, f"there is no schema {schema_id}")
        return self._schemas[schema_id]


def registered(
    number: SchemaId, kind: str, text: str, references: Mapping[str, str] = MappingProxyType({})
) -> RegisteredSchema:
    """A schema, and what it refers to: name → text, each behind what it refers to itself."""
    named = tuple(NamedSchema(name, content) for name, content in references.items())
    return RegisteredSchema(number, kind, text, named)


def framed(number: int, data: bytes) -> bytes:
    """Confluent's wire format."""
    return struct.pack(">bI", 0, number) + data
