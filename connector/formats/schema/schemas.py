"""The interface of a schema registry for the formats that need one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NamedSchema:
    """A schema that another schema refers to.

    `name` is the name in the reference: an Avro full name, the path of a Protobuf import, or the URI of a JSON Schema.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema in the form in which its registry has it. The schema of an ID never changes."""

    id: int
    kind: str
    """`AVRO`, `PROTOBUF` or `JSON`."""
    text: str
    references: tuple[NamedSchema, ...] = ()
    """All schemas that the schema refers to, directly or indirectly. A schema stands after the ones it refers to."""


class Schemas(Protocol):
    """A schema registry, as formats use it. Safe for threads."""

    def schema(self, schema_id: int) -> RegisteredSchema:
        """The schema with this ID.

        Raises `SchemaUnavailableError` if the registry cannot answer now, and `PayloadError` if the registry says that
        there is no such schema.
        """
