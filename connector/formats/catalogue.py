"""The formats, built-in and of other packages, and the values of `format` and `compression` in a rule.

A rule has `format: FormatField` and `compression: Compression`; `build_format` makes a decoder from both. The module of
a format is imported when the format is built, because most configurations need only a few of the libraries.

Another package adds a format by an entry point of the group `clarify_connector.formats`. The name of the entry point is
the format's `type`; its value is the class of the format's section (see `section.FormatSection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator

from connector.formats.binary.sections import BinaryFormatSection, CborFormatSection, MessagePackFormatSection
from connector.formats.schema.sections import AvroFormatSection, JsonSchemaFormatSection, ProtobufFormatSection
from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries
from connector.formats.sparkplug.section import SparkplugFormatSection
from connector.formats.text.sections import (
    CsvFormatSection,
    GraphiteFormatSection,
    InfluxFormatSection,
    JsonFormatSection,
    KeyValueFormatSection,
    NdjsonFormatSection,
    PrometheusFormatSection,
    TextFormatSection,
    XmlFormatSection,
)
from connector.records import Reason
from connector.settings import Catalogue

if TYPE_CHECKING:
    from connector.formats.format import Format

Compression: TypeAlias = Literal["none", "auto", "gzip", "zlib", "zstd", "lz4"]

FORMATS: Final = Catalogue(
    "clarify_connector.formats",
    FormatSection,
    (
        JsonFormatSection,
        NdjsonFormatSection,
        TextFormatSection,
        CsvFormatSection,
        KeyValueFormatSection,
        XmlFormatSection,
        InfluxFormatSection,
        PrometheusFormatSection,
        GraphiteFormatSection,
        MessagePackFormatSection,
        CborFormatSection,
        BinaryFormatSection,
        AvroFormatSection,
        ProtobufFormatSection,
        JsonSchemaFormatSection,
        SparkplugFormatSection,
    ),
)


def known_reasons() -> list[Reason]:
    """Every reason that a dead letter can have: the connector's own reasons, and the reasons that formats declare."""
    return [*Reason, *(Reason(word) for kind in FORMATS.kinds.values() for word in kind.reasons)]


def _section(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


def _needs_nothing(section: type[FormatSection]) -> bool:
    return not any(field.is_required() for name, field in section.model_fields.items() if name != "type")


if TYPE_CHECKING:
    FormatField: TypeAlias = FormatSection
else:
    _NAMES = tuple(name for name, section in FORMATS.kinds.items() if _needs_nothing(section))
    FormatField = Annotated[
        FORMATS.field, BeforeValidator(_section, json_schema_input_type=FORMATS.field | Literal[_NAMES])
    ]
"""The type of a field that holds a format: a section, or only the name of a format that needs no setting."""


def build_format(
    section: FormatSection,
    compression: Compression = "none",
    *,
    registry: Registries = NO_REGISTRIES,
    max_payload: int = MAX_PAYLOAD,
) -> Format:
    """The decoder for payloads with this format and compression. Raises the errors of `FormatSection.build`.

    `decode` raises `PayloadError` for a payload that is longer than `max_payload` bytes after decompression.
    """
    built = section.build(registry, max_payload)
    if compression == "none":
        return built
    from connector.formats.compression import Compressed  # noqa: PLC0415

    return Compressed(built, compression, max_payload)
