"""What a rule's `format` and `compression` may say.

A rule has `format: FormatField` and `compression: Compression`; `build_format` makes of both what decodes. The
modules of formats are imported when one is built: most configurations need none of their libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from connector.formats.binary.sections import BinaryFormatSection, CborFormatSection, MessagePackFormatSection
from connector.formats.schema.sections import AvroFormatSection, JsonSchemaFormatSection, ProtobufFormatSection
from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries
from connector.formats.sparkplug.section import SparkplugFormatSection
from connector.formats.text.sections import (
    CsvFormatSection,
    InfluxFormatSection,
    JsonFormatSection,
    NdjsonFormatSection,
    TextFormatSection,
)

if TYPE_CHECKING:
    from connector.formats.format import Format

__all__ = ["Compression", "FormatField", "FormatName", "FormatSection", "JsonFormatSection", "build_format"]

Compression: TypeAlias = Literal["none", "auto", "gzip", "zlib", "zstd", "lz4"]

_AnyFormat: TypeAlias = Annotated[
    JsonFormatSection
    | NdjsonFormatSection
    | TextFormatSection
    | CsvFormatSection
    | InfluxFormatSection
    | MessagePackFormatSection
    | CborFormatSection
    | BinaryFormatSection
    | AvroFormatSection
    | ProtobufFormatSection
    | JsonSchemaFormatSection
    | SparkplugFormatSection,
    Field(discriminator="type"),
]
FormatName: TypeAlias = Literal[
    "json", "ndjson", "text", "csv", "influx", "messagepack", "cbor", "avro", "protobuf", "json_schema", "sparkplug_b"
]
"""The formats that need no setting."""


def _section(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


FormatField: TypeAlias = Annotated[
    _AnyFormat, BeforeValidator(_section, json_schema_input_type=_AnyFormat | FormatName)
]
"""The type of a field that holds a format: a section, or just its name."""


def build_format(
    section: FormatSection,
    compression: Compression = "none",
    *,
    registry: Registries = NO_REGISTRIES,
    max_payload: int = MAX_PAYLOAD,
) -> Format:
    """What decodes payloads of this format that are compressed like this. Errors as in `FormatSection.build`; a payload
    that would become longer than `max_payload` bytes is a `PayloadError`."""
    built = section.build(registry, max_payload)
    if compression == "none":
        return built
    from connector.formats.compression import Compressed  # noqa: PLC0415

    return Compressed(built, compression, max_payload)
