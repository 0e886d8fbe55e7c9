"""The interface of a schema registry for the formats that need one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from connector.formats.format import PayloadError
from connector.records import Reason

_MOST: Final = 10_000
"""Schemas that are kept, usable or not."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class NamedSchema:
    """A schema that another schema refers to.

    `name` is the name in the reference: an Avro full name, the path of a Protobuf import, or the URI of a JSON Schema.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class GlobalId:
    """An ID of Apicurio for one version of one artifact. Its content has another ID, by which Confluent's interface
    knows it."""

    number: int

    def __str__(self) -> str:
        return f"with the global ID {self.number}"


@dataclass(frozen=True, slots=True)
class Guid:
    """An ID of Confluent's registry (from 8.0 on) that is the same in all registries."""

    text: str

    def __str__(self) -> str:
        return f"with the GUID {self.text}"


SchemaId: TypeAlias = int | GlobalId | Guid


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema in the form in which its registry has it. The schema of an ID never changes."""

    id: SchemaId
    kind: str
    """`AVRO`, `PROTOBUF` or `JSON`; empty if the registry did not say."""
    text: str
    references: tuple[NamedSchema, ...] = ()
    """All schemas that the schema refers to, directly or indirectly. A schema stands after the ones it refers to."""


class Schemas(Protocol):
    """A schema registry, as formats use it. Safe for threads."""

    def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """The schema with this ID.

        Raises `SchemaUnavailableError` if the registry cannot answer now, and `PayloadError` if the registry says that
        there is no such schema.
        """


class ParsedSchemas(Generic[Parsed]):
    """The schemas of a registry in the form in which one format uses them.

    Each schema is parsed once, also a schema that cannot be used: parsing costs CPU, and a publisher may name that
    schema in every message.
    """

    def __init__(
        self,
        schemas: Schemas,
        kind: str,
        called: str,
        most_characters: int,
        parse: Callable[[RegisteredSchema], Parsed],
    ) -> None:
        """`kind` is the kind of schema that the format reads, and `called` its name in errors. A schema with its
        references has at most `most_characters`, so that parsing takes a second or two at most. `parse` raises
        `PayloadError`."""
        self._schemas = schemas
        self._kind = kind
        self._called = called
        self._most_characters = most_characters
        self._parse = parse
        self._by_id: dict[SchemaId, Parsed | tuple[Reason, str]] = {}

    def get(self, number: SchemaId) -> Parsed:
        """The schema with this ID. Raises `SchemaUnavailableError`, and `PayloadError` if it cannot be used."""
        known = self._by_id.get(number)
        if known is None:
            found = self._schemas.schema(number)
            if len(self._by_id) >= _MOST:
                self._by_id.clear()
            try:
                known = self._usable(found)
            except PayloadError as error:
                known = error.reason, str(error)
            self._by_id[number] = known
        if isinstance(known, tuple):
            raise PayloadError(*known)
        return known

    def _usable(self, found: RegisteredSchema) -> Parsed:
        if found.kind not in (self._kind, ""):
            raise PayloadError(Reason.SCHEMA_UNUSABLE, f"schema {found.id} is not {self._called} but {found.kind}")
        size = len(found.text) + sum(len(reference.text) for reference in found.references)
        if size > self._most_characters:
            raise PayloadError(
                Reason.SCHEMA_UNUSABLE,
                f"schema {found.id}: {size} characters with its references; at most {self._most_characters} are read",
            )
        return self._parse(found)
