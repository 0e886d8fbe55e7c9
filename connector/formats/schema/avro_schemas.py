"""Avro schemas: text → a schema for fastavro, with the cost of reading by it.

fastavro trusts data and schema. Data that is nested too deeply ends the process; only a schema that refers to itself
allows such data. If the elements of an array take no bytes, a payload of a few bytes fills the memory. If they take few
bytes, the memory is a large multiple of the payload. All this can be read from the schema.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastavro.schema import parse_schema

from connector.formats.format import PayloadError
from connector.formats.schema.schemas import NamedSchema
from connector.records import Reason

VALUE: Final = "value"
_POINTER: Final = 8
_SCALARS: Final = {
    # type: (least bytes in the payload, least bytes in memory)
    "null": (0, 0), "boolean": (1, 0), "int": (1, 0), "long": (1, 0), "float": (4, 24), "double": (8, 24),
    "string": (1, 0), "bytes": (1, 0), "enum": (1, 0),
}  # fmt: skip
_CONTAINER: Final = 64
_TEXT_FACTOR: Final = 20
"""The memory of short texts and numbers, as a multiple of their bytes in the payload."""
_MAX_EMPTY: Final = 10_000


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema, ready for fastavro."""

    parsed: Any
    """The schema as the only field, `VALUE`, of a record."""
    is_recursive: bool
    """Whether data may be nested to any depth."""
    factor: float
    """The most memory that a payload may take, as a multiple of its length."""


def parse_avro(text: str, references: Sequence[NamedSchema] = ()) -> AvroSchema:
    """The schema of a text. Raises `PayloadError` if the text is not a schema, or if reading by it is not safe.

    `references` are the schemas that the text refers to. A schema stands after the schemas that it refers to itself.
    """
    named: dict[str, Any] = {}
    try:
        for reference in references:
            parse_schema(json.loads(reference.text), named_schemas=named, _write_hint=False)
        # A record with one field has the bytes of the field. fastavro remembers that a record was parsed.
        field = {"name": VALUE, "type": json.loads(text)}
        parsed: Any = parse_schema({"type": "record", "name": "_Document", "fields": [field]}, named_schemas=named)
        survey = _Survey(named)
        survey.of(parsed["fields"][0]["type"])
    except PayloadError:
        raise
    except RecursionError:
        raise _unusable("the schema is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - for a malformed schema, fastavro raises any exception of Python
        raise _unusable(f"{type(error).__name__}: {str(error)[:300]}") from None
    return AvroSchema(parsed, survey.is_recursive, survey.factor)


class _Survey:
    """Goes through a schema once. The least size of a type is (bytes in the payload, bytes in memory)."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: dict[str, tuple[int, int] | None] = {}
        """Name of a record → its least size; None while the survey is inside the record."""
        self.is_recursive = False
        self.factor: float = _TEXT_FACTOR

    def of(self, schema: Any) -> tuple[int, int]:
        """The least size of a value of this schema. Raises `PayloadError` if reading by the schema is not safe."""
        if isinstance(schema, str):
            return _SCALARS[schema] if schema in _SCALARS else self._of_name(schema)
        if isinstance(schema, list):
            return self._of_union(schema)
        kind = schema["type"]
        if kind in ("array", "map"):
            self._repeated(self.of(schema["items" if kind == "array" else "values"]), 1 if kind == "map" else 0)
            return 1, _CONTAINER
        if kind in ("record", "error"):
            return self._of_record(schema)
        if kind == "fixed":
            size = schema["size"]
            if not isinstance(size, int) or size < 0:
                raise _unusable(f"the size of {schema.get('name')} is {size!r}")
            return size, 40 + size
        return self.of(kind) if isinstance(kind, dict | list) or kind not in _SCALARS else _SCALARS[kind]

    def _of_name(self, name: str) -> tuple[int, int]:
        if name not in self._known:
            return self.of(self._named[name])
        found = self._known[name]
        if found is None:
            self.is_recursive = True
            return 1, _CONTAINER  # a lower bound: the least size is counted at the definition of the record
        return found

    def _of_record(self, schema: Any) -> tuple[int, int]:
        name = schema["name"]
        if self._known.get(name) is not None:
            return self._of_name(name)
        self._known[name] = None
        fields = [self.of(field["type"]) for field in schema["fields"]]
        least = sum(size for size, _ in fields), _dict_size(len(fields)) + sum(memory for _, memory in fields)
        if least[1] > _dict_size(len(fields)) + _MAX_EMPTY * max(least[0], 1):
            raise _unusable(f"{name} has too many fields that take no bytes")
        self._known[name] = least
        if self.is_recursive:
            self._repeated(least, 0)
        return least

    def _of_union(self, branches: list[Any]) -> tuple[int, int]:
        if not branches:
            raise _unusable("a union is empty")
        least = [self.of(branch) for branch in branches]
        for size, memory in least:
            self.factor = max(self.factor, memory / (size + 1))
        size, memory = min(least)
        return size + 1, memory

    def _repeated(self, least: tuple[int, int], more: int) -> None:
        size, memory = least[0] + more, least[1] + _POINTER
        if size == 0:
            raise _unusable("an array has elements that take no bytes, so that a few bytes could stand for any number")
        self.factor = max(self.factor, memory / size)


def _dict_size(entries: int) -> int:
    return sys.getsizeof(dict.fromkeys(range(entries)))


def _unusable(why: str) -> PayloadError:
    return PayloadError(Reason.SCHEMA_UNUSABLE, f"the Avro schema cannot be used: {why}")
