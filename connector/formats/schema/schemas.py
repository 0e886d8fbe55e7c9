"""What formats with a schema registry need of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NamedSchema:
    """A schema that another one refers to, under the name that it uses: an Avro full name, the path of a Protobuf
    import, the URI of a JSON Schema."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as its registry has it. It never changes for an ID."""

    id: int
    kind: str
    """`AVRO`, `PROTOBUF` or `JSON`."""
    text: str
    references: tuple[NamedSchema, ...] = ()
    """All that it refers to, directly or not; each stands behind those that it refers to itself."""


class Schemas(Protocol):
    """A schema registry, as formats see it. Safe for threads."""

    def schema(self, schema_id: int) -> RegisteredSchema:
        """The schema with this ID. Raises `SchemaUnavailableError` if it cannot be had now, and `PayloadError` if
        the registry says that there is none."""
