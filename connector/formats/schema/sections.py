"""The sections of the formats with a schema, registered or declared: Avro, Protobuf, JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from connector.formats.schema.schemas import Schemas
from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries

if TYPE_CHECKING:
    from connector.formats.format import Format


class _SchemaFormatSection(FormatSection):
    """The base of the formats whose schema is in a registry, or declared."""

    registry: str | None = Field(
        default=None,
        description="Which of `schema_registries` has the schemas, where there are several. Payloads then begin with a "
        "zero and the schema's ID (Confluent's wire format).",
    )

    schema_ids: Literal["confluent", "apicurio_global", "apicurio_content"] = Field(
        default="confluent",
        description="The IDs at the beginning of payloads: of four bytes (`confluent`), or of eight bytes, as the "
        "serializers of Apicurio before version 3 write them: a global ID (their default), or a content ID. IDs in "
        "headers are read in any case.",
    )

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, so that the format needs no registry."""
        return False

    def registry_problem(self, names: Mapping[str, object]) -> str | None:
        """Why the format cannot find its schema registry among `names`, for people; None without a problem."""
        if self.declared:
            return None
        if self.registry is not None:
            known = ", ".join(sorted(names)) or "there are none"
            return None if self.registry in names else f"{self.registry!r} is not in schema_registries (there: {known})"
        if not names:
            return f"format {self._name()} needs a schema: declare it, or add a registry to schema_registries"
        if len(names) > 1:
            return f"there are several schema_registries: say which with registry: {' or '.join(sorted(names))}"
        return None

    def _check_ids(self) -> None:
        if self.declared and self.schema_ids != "confluent":
            raise ValueError("schema_ids is for payloads with a schema in a registry; remove it")

    def _name(self) -> str:
        return str(getattr(self, "type", ""))

    def _schemas(self, registries: Registries) -> Schemas:
        problem = self.registry_problem(registries)
        if problem:
            raise ValueError(problem)
        return registries[self.registry] if self.registry is not None else next(iter(registries.values()))


class AvroFormatSection(_SchemaFormatSection):
    """Apache Avro, with a schema registry or a declared schema.

    An Avro object container file has its own schema; each of its records is a document.
    """

    type: Literal["avro"] = Field(description="The payload is Avro.")
    schema_file: Path | None = Field(
        default=None,
        description="A file (`.avsc`) with the schema, for payloads without a schema ID.",
        examples=["schemas/telemetry.avsc"],
    )

    @model_validator(mode="after")
    def _one_schema(self) -> AvroFormatSection:
        if self.registry and self.schema_file:
            raise ValueError("registry and schema_file exclude each other; remove one of the two")
        self._check_ids()
        return self

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, so that the format needs no registry."""
        return self.schema_file is not None

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.schema.avro import AvroFormat  # noqa: PLC0415

        if self.schema_file is None:
            return AvroFormat(self._schemas(registry), max_bytes=max_payload, ids=self.schema_ids)
        return AvroFormat(_text_of_file("schema_file", self.schema_file), max_bytes=max_payload)


class ProtobufFormatSection(_SchemaFormatSection):
    """Protocol Buffers, with a schema registry or a declared schema."""

    type: Literal["protobuf"] = Field(description="The payload is Protobuf.")
    proto_file: Path | None = Field(
        default=None,
        description="A `.proto` file with the message, for payloads without a schema ID.",
        examples=["schemas/telemetry.proto"],
    )
    import_path: Path | None = Field(
        default=None, description="The folder at which the imports of `proto_file` begin. Default: the file's own."
    )
    descriptor_file: Path | None = Field(
        default=None,
        description="A descriptor set with the message (`protoc --include_imports --descriptor_set_out=FILE`), instead "
        "of `proto_file`.",
        examples=["schemas/telemetry.desc"],
    )
    message: str | None = Field(
        default=None,
        min_length=1,
        description="The full name of the message, with a declared schema.",
        examples=["plant.Telemetry"],
    )

    @model_validator(mode="after")
    def _one_schema(self) -> ProtobufFormatSection:
        given = [name for name in ("registry", "proto_file", "descriptor_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one")
        self._check_ids()
        if self.declared and self.message is None:
            raise ValueError(f"{given[0]} needs message, the full name of the message in it")
        if self.message is not None and not self.declared:
            raise ValueError(
                "message needs proto_file or descriptor_file; with a registry the payload names the message"
            )
        if self.import_path is not None and self.proto_file is None:
            raise ValueError("import_path is for proto_file")
        return self

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, so that the format needs no registry."""
        return self.proto_file is not None or self.descriptor_file is not None

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.schema import protobuf  # noqa: PLC0415

        if self.proto_file is not None:
            folder = self.import_path or self.proto_file.parent
            return protobuf.from_proto_file(self.proto_file, folder, self.message or "")
        if self.descriptor_file is not None:
            return protobuf.from_descriptor_file(self.descriptor_file, self.message or "")
        return protobuf.ProtobufFormat(self._schemas(registry), ids=self.schema_ids)


class JsonSchemaFormatSection(_SchemaFormatSection):
    """JSON with a schema in a registry."""

    type: Literal["json_schema"] = Field(description="The payload is a schema's ID and JSON.")
    check: bool = Field(
        default=False,
        description="Refuse documents that do not follow their schema. Needs the extra `json-schema`: `pip install "
        "'.[json-schema]'` in a checkout. Without the check, the connector does not read the schema.",
    )

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.schema.json_schema import JsonSchemaFormat  # noqa: PLC0415

        return JsonSchemaFormat(self._schemas(registry) if self.check else None, ids=self.schema_ids)

    @property
    def declared(self) -> bool:
        """Whether the format needs no registry: without the check, the schema's ID is only removed."""
        return not self.check


def _text_of_file(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting}: {path} cannot be read: {error}") from None
