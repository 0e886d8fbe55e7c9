"""JSON with a schema's ID: decoded without its schema, and on demand checked against it."""

from __future__ import annotations

import json
import sys

import pytest

from connector.formats.schema.json_schema import JsonSchemaFormat
from connector.records import Reason
from tests.schemas import KnownSchemas, framed, registered
from tests.unit.formats.refused import refused

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["temperature"],
    "properties": {"temperature": {"type": "number", "maximum": 200}, "unit": {"$ref": "unit.json"}},
}
REFERENCES = {"unit.json": json.dumps({"enum": ["C", "F"]})}
SCHEMAS = KnownSchemas(
    registered(3, "JSON", json.dumps(SCHEMA), REFERENCES),
    registered(4, "JSON", '{"type": "nonsense"}'),
    registered(5, "JSON", '{"$ref": "https://elsewhere.example.com/schema.json"}'),
    registered(6, "JSON", "{"),
    registered(7, "AVRO", '"int"'),
    registered(8, "JSON", '{"$ref": "#"}'),
)


def test_without_the_check_only_the_id_is_taken_off() -> None:
    assert JsonSchemaFormat(None).decode(framed(99, b'{"a": 1}')) == {"a": 1}
    assert refused(JsonSchemaFormat(None), b'{"a": 1}').reason is Reason.NO_SCHEMA_ID
    assert refused(JsonSchemaFormat(None), framed(1, b"{")).reason is Reason.INVALID_JSON


def test_documents_that_follow_their_schema() -> None:
    found = JsonSchemaFormat(SCHEMAS).decode(framed(3, b'{"temperature": 21.5, "unit": "C"}'))
    assert found == {"temperature": 21.5, "unit": "C"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"temperature": "warm"}', "$.temperature: 'warm' is not of type 'number'"),
        (b'{"temperature": 201}', "$.temperature: 201 is greater than the maximum of 200"),
        (b"{}", "$: 'temperature' is a required property"),
        (b'{"temperature": 1, "unit": "K"}', "$.unit"),
    ],
)
def test_documents_that_do_not_are_refused_with_the_place(document: bytes, said: str) -> None:
    error = refused(JsonSchemaFormat(SCHEMAS), framed(3, document))
    assert error.reason is Reason.SCHEMA_VIOLATED
    assert said in str(error)


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_schemas_that_cannot_be_used(number: int) -> None:
    assert refused(JsonSchemaFormat(SCHEMAS), framed(number, b"{}")).reason is Reason.SCHEMA_UNUSABLE


def test_a_schema_that_refers_to_itself_for_ever_is_refused() -> None:
    assert refused(JsonSchemaFormat(SCHEMAS), framed(8, b"{}")).reason is Reason.NESTED_TOO_DEEPLY


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ValueError, match=r"in a checkout of the connector, run pip install '\.\[json-schema\]'"):
        JsonSchemaFormat(SCHEMAS)
    JsonSchemaFormat(None)
