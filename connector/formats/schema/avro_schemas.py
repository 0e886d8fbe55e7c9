"""Avro schemas: text → what fastavro reads by, and what reading by it may cost.

fastavro trusts data and schema. It ends the process on data that nests too deeply, which only a schema that refers to
itself allows; it fills memory from a payload of a few bytes where an array's elements take none; and where they take
few, the memory is a large multiple of the payload. All of that can be told from the schema.
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
    # type: (bytes in the payload, bytes in memory), both at least
    "null": (0, 0), "boolean": (1, 0), "int": (1, 0), "long": (1, 0), "float": (4, 24), "double": (8, 24),
    "string": (1, 0), "bytes": (1, 0), "enum": (1, 0),
}  # fmt: skip
_CONTAINER: Final = 64
_TEXT_FACTOR: Final = 20
"""Short texts and numbers, in memory, to their bytes in the payload."""
_MAX_EMPTY: Final = 10_000


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema, ready for fastavro."""

    parsed: Any
    """A record whose one field, `VALUE`, is of the schema."""
    is_recursive: bool
    """Whether data may nest as deeply as it likes."""
    factor: float
    """How much memory a payload may take at most, to its length."""


def parse_avro(text: str, references: Sequence[NamedSchema] = ()) -> AvroSchema:
    """The schema of this text; what it refers to stands before those that refer to it. `PayloadError` if it is no
    schema, or none that can be read safely."""
    named: dict[str, Any] = {}
    try:
        for reference in references:
            parse_schema(json.loads(reference.text), named_schemas=named, _write_hint=False)
        # A record of one field is written as the field. Of a record fastavro remembers that it was parsed.
        field = {"name": VALUE, "type": json.loads(text)}
        parsed: Any = parse_schema({"type": "record", "name": "_Document", "fields": [field]}, named_schemas=named)
        survey = _Survey(named)
        survey.of(parsed["fields"][0]["type"])
    except PayloadError:
        raise
    except RecursionError:
        raise _unusable("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - fastavro meets a malformed schema with whatever Python says
        raise _unusable(f"{type(error).__name__}: {str(error)[:300]}") from None
    return AvroSchema(parsed, survey.is_recursive, survey.factor)


class _Survey:
    """Goes through a schema once. What a type takes at least is (bytes in the payload, bytes in memory)."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: dict[str, tuple[int, int] | None] = {}
        """By name; None for a record that is being looked at."""
        self.is_recursive = False
        self.factor: float = _TEXT_FACTOR

    def of(self, schema: Any) -> tuple[int, int]:
        """What a value of this schema takes at least."""
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
            return 1, _CONTAINER  # at least; what it really takes is counted where it is defined
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
