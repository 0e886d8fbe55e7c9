"""JSON with a schema in a registry: a payload is the schema's ID, and then JSON.

The JSON is decoded without its schema. On request, each document is checked against its schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connector.formats.format import DecodingNotes, PayloadError
from connector.formats.schema.schemas import ParsedSchemas
from connector.formats.schema.wire import framed
from connector.formats.text import json_payload
from connector.settings import SettingsError

if TYPE_CHECKING:
    from connector.formats.schema.json_schema_check import BoundedValidator
    from connector.formats.schema.schemas import RegisteredSchema, Schemas
    from connector.formats.schema.wire import Headers, Ids

_MAX_SCHEMA_SIZE: Final = 1024 * 1024
"""The longest schema with its references, in characters: Confluent's registry takes no longer schema either."""
NEEDS: Final = (
    "check: true needs the packages jsonschema and regex; in a checkout of the connector, run pip install "
    "'.[json-schema]'"
)


class JsonSchemaFormat:
    """The format of JSON after a schema's ID: one document a payload."""

    name = "json_schema"

    def __init__(self, schemas: Schemas | None, *, ids: Ids = "confluent") -> None:
        """With `schemas`, every document is checked against its schema. `ids` is the kind of IDs in payloads.

        Raises SettingsError if the library for the check is not installed.
        """
        self._ids = ids
        self.notes = DecodingNotes()
        self._validators = (
            None
            if schemas is None
            else ParsedSchemas(schemas, "JSON", "a JSON Schema", _MAX_SCHEMA_SIZE, _made_validator)
        )
        if schemas is not None:
            try:
                import jsonschema  # noqa: F401, PLC0415 - slow to import, and needed only for the check
                import regex  # noqa: F401, PLC0415 - as above
            except ModuleNotFoundError:
                raise SettingsError(NEEDS) from None

    def decode(self, payload: bytes) -> object:
        """As `decode_with`, without headers."""
        return self.decode_with(payload, ())

    def decode_with(self, payload: bytes, headers: Headers) -> object:
        """The document of the payload. Raises `PayloadError` and, with the check, `SchemaUnavailableError`."""
        found = framed(payload, headers, self._ids)
        validator = None if self._validators is None else self._validators.get(found.id)
        document = json_payload.decode_checked(payload[found.start :], self.notes.cleared())
        if validator is not None:
            validator.check(document)
        return document


def _made_validator(found: RegisteredSchema) -> BoundedValidator:
    from connector.formats.schema.json_schema_check import bounded_validator  # noqa: PLC0415 - as above

    try:
        return bounded_validator(found)
    except PayloadError as error:
        raise PayloadError(error.reason, f"schema {found.id}: {error}") from None
