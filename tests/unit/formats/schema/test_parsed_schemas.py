"""A registered schema is parsed once, whether it can be used or not, and has a bound."""

from __future__ import annotations

import pytest

from connector.formats.format import PayloadError
from connector.formats.schema.schemas import NamedSchema, ParsedSchemas, RegisteredSchema
from connector.records import Reason


class Registry:
    """Schema 1 can be used, 2 cannot, 3 is of another kind, 4 and its reference are too long together."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def schema(self, schema_id: int) -> RegisteredSchema:
        self.asked.append(schema_id)
        kind = "JSON" if schema_id == 3 else "AVRO"
        references = (NamedSchema("other", "x" * 95),) if schema_id == 4 else ()
        return RegisteredSchema(schema_id, kind, f"text {schema_id}", references)


def test_each_schema_is_parsed_once() -> None:
    registry, parsed = Registry(), []

    def parse(found: RegisteredSchema) -> str:
        parsed.append(found.id)
        if found.id == 2:
            raise PayloadError(Reason.SCHEMA_UNUSABLE, "schema 2: no sense")
        return found.text.upper()

    schemas = ParsedSchemas(registry, "AVRO", "Avro", 100, parse)
    for _ in range(3):
        assert schemas.get(1) == "TEXT 1"
        for number, said in (
            (2, "schema 2: no sense"),
            (3, "schema 3 is not Avro but JSON"),
            (4, "schema 4: 101 characters with its references; at most 100 are read"),
        ):
            with pytest.raises(PayloadError, match=said) as raised:
                schemas.get(number)
            assert raised.value.reason == Reason.SCHEMA_UNUSABLE
            assert raised.value.__context__ is None, "no traceback grows from message to message"
    assert parsed == [1, 2]
    assert registry.asked == [1, 2, 3, 4]
