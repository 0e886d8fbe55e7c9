"""JSON with a schema in a registry: a payload is the schema's ID, and then JSON.

The JSON is decoded without its schema. On request, each document is checked against its schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connector.formats.format import PayloadError
from connector.formats.schema.wire import HEADER, schema_id
from connector.formats.text import json_payload
from connector.records import Reason
from connector.settings import SettingsError

if TYPE_CHECKING:
    from connector.formats.schema.json_schema_check import BoundedValidator
    from connector.formats.schema.schemas import RegisteredSchema, Schemas

_MAX_SCHEMAS: Final = 10_000
_MAX_SCHEMA_SIZE: Final = 1024 * 1024
"""The longest schema with its references, in characters: Confluent's registry takes no longer schema either."""
NEEDS: Final = (
    "check: true needs the packages jsonschema and regex; in a checkout of the connector, run pip install "
    "'.[json-schema]'"
)


class JsonSchemaFormat:
    """The format of JSON after a schema's ID: one document a payload."""

    name = "json_schema"

    def __init__(self, schemas: Schemas | None) -> None:
        """With `schemas`, every document is checked against its schema.

        Raises SettingsError if the library for the check is not installed.
        """
        self._schemas = schemas
        self._validators: dict[int, BoundedValidator] = {}
        if schemas is not None:
            try:
                import jsonschema  # noqa: F401, PLC0415 - slow to import, and needed only for the check
                import regex  # noqa: F401, PLC0415 - as above
            except ModuleNotFoundError:
                raise SettingsError(NEEDS) from None

    def decode(self, payload: bytes) -> object:
        """The document of the payload. Raises `PayloadError` and, with the check, `SchemaUnavailableError`."""
        number = schema_id(payload)
        validator = self._validator(number) if self._schemas is not None else None
        document = json_payload.decode(payload[HEADER:])
        if validator is not None:
            validator.check(document)
        return document

    def _validator(self, number: int) -> BoundedValidator:
        known = self._validators.get(number)
        if known is not None:
            return known
        assert self._schemas is not None  # noqa: S101 - asked only with a registry
        found = self._schemas.schema(number)
        if found.kind != "JSON":
            raise PayloadError(Reason.SCHEMA_UNUSABLE, f"schema {number} is not a JSON Schema but {found.kind}")
        if len(self._validators) >= _MAX_SCHEMAS:
            self._validators.clear()
        self._validators[number] = validator = _made_validator(found)
        return validator


def _made_validator(found: RegisteredSchema) -> BoundedValidator:
    from connector.formats.schema.json_schema_check import bounded_validator  # noqa: PLC0415 - as above

    size = len(found.text) + sum(len(reference.text) for reference in found.references)
    if size > _MAX_SCHEMA_SIZE:
        raise PayloadError(
            Reason.SCHEMA_UNUSABLE,
            f"schema {found.id}: {size} characters with its references; at most {_MAX_SCHEMA_SIZE} are read",
        )
    try:
        return bounded_validator(found)
    except PayloadError as error:
        raise PayloadError(error.reason, f"schema {found.id}: {error}") from None
