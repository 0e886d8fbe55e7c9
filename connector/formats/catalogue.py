"""The formats, built in and of other packages, and what a rule's `format` and `compression` may say.

A rule has `format: FormatField` and `compression: Compression`; `build_format` makes of both what decodes. The
modules of formats are imported when one is built: most configurations need none of their libraries.

Another package adds a format by an entry point of the group `clarify_connector.formats`: its name is the format's
`type`, its value the class of its section (see `section.FormatSection`).
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
    InfluxFormatSection,
    JsonFormatSection,
    NdjsonFormatSection,
    TextFormatSection,
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
        InfluxFormatSection,
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
    """Every reason that a dead letter can have: the connector's own, and those of formats of other packages."""
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
"""The type of a field that holds a format: a section, or, for a format that needs no setting, just its name."""


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
