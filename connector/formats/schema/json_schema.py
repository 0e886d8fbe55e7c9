"""JSON with a schema in a registry: a payload is the schema's ID, and then JSON.

The JSON is decoded without its schema. On request, each document is checked against its schema.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from connector.formats.format import PayloadError
from connector.formats.schema.wire import HEADER, schema_id
from connector.formats.text import json_payload
from connector.records import Reason
from connector.settings import SettingsError

if TYPE_CHECKING:
    from connector.formats.schema.schemas import RegisteredSchema, Schemas

_MAX_SCHEMAS: Final = 10_000
NEEDS: Final = (
    "check: true needs the package jsonschema: in a checkout of the connector, run pip install '.[json-schema]'"
)


class JsonSchemaFormat:
    """The format of JSON after a schema's ID: one document a payload."""

    name = "json_schema"

    def __init__(self, schemas: Schemas | None) -> None:
        """With `schemas`, every document is checked against its schema.

        Raises SettingsError if the library for the check is not installed.
        """
        self._schemas = schemas
        self._validators: dict[int, Any] = {}
        if schemas is not None:
            try:
                import jsonschema  # noqa: F401, PLC0415 - slow to import, and needed only for the check
            except ModuleNotFoundError:
                raise SettingsError(NEEDS) from None

    def decode(self, payload: bytes) -> object:
        """The document of the payload. Raises `PayloadError` and, with the check, `SchemaUnavailableError`."""
        number = schema_id(payload)
        validator = self._validator(number) if self._schemas is not None else None
        document = json_payload.decode(payload[HEADER:])
        if validator is not None:
            _check(validator, document)
        return document

    def _validator(self, number: int) -> Any:
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


def _made_validator(found: RegisteredSchema) -> Any:
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - as above
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.jsonschema import DRAFT7, specification_with  # noqa: PLC0415

    try:
        registry: Registry[Any] = Registry()
        for reference in found.references:
            content = json.loads(reference.text)
            dialect = content.get("$schema") if isinstance(content, dict) else None
            specification = specification_with(dialect, default=DRAFT7) if dialect else DRAFT7
            registry = registry.with_resource(reference.name, specification.create_resource(content))
        schema = json.loads(found.text)
        kind = validator_for(schema)
        kind.check_schema(schema)
    except (ValueError, RecursionError, SchemaError) as error:
        why = error.message if isinstance(error, SchemaError) else str(error)
        raise PayloadError(
            Reason.SCHEMA_UNUSABLE, f"schema {found.id}: the JSON Schema cannot be used: {why[:300]}"
        ) from None
    return kind(schema, registry=registry)


def _check(validator: Any, document: object) -> None:
    try:
        error = next(iter(validator.iter_errors(document)), None)
    except RecursionError:
        raise PayloadError(Reason.NESTED_TOO_DEEPLY, "objects or arrays are nested too deeply") from None
    except Exception as problem:  # noqa: BLE001 - a reference without a target is found only during the check
        raise PayloadError(Reason.SCHEMA_UNUSABLE, f"the JSON Schema cannot be used: {str(problem)[:300]}") from None
    if error is not None:
        raise PayloadError(Reason.SCHEMA_VIOLATED, f"{error.json_path}: {error.message[:300]}")
