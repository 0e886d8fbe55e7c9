"""The formats, built-in and of other packages, and the values of `format` and `compression` in a rule.

A rule has `format: FormatField` and `compression: Compression`; `build_format` makes a decoder from both. The module of
a format is imported when the format is built, because most configurations need only a few of the libraries.

Another package adds a format by an entry point of the group `clarify_connector.formats`. The name of the entry point is
the format's `type`; its value is the class of the format's section (see `section.FormatSection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries
from connector.records import Reason
from connector.settings import Catalogue

if TYPE_CHECKING:
    from connector.formats.format import Format

Compression: TypeAlias = Literal["none", "auto", "gzip", "zlib", "zstd", "lz4"]

FORMATS: Final = Catalogue(
    "clarify_connector.formats",
    FormatSection,
    {
        "json": "connector.formats.text.sections:JsonFormatSection",
        "ndjson": "connector.formats.text.sections:NdjsonFormatSection",
        "text": "connector.formats.text.sections:TextFormatSection",
        "csv": "connector.formats.text.sections:CsvFormatSection",
        "key_value": "connector.formats.text.sections:KeyValueFormatSection",
        "xml": "connector.formats.text.sections:XmlFormatSection",
        "influx": "connector.formats.text.sections:InfluxFormatSection",
        "prometheus": "connector.formats.text.sections:PrometheusFormatSection",
        "graphite": "connector.formats.text.sections:GraphiteFormatSection",
        "messagepack": "connector.formats.binary.sections:MessagePackFormatSection",
        "cbor": "connector.formats.binary.sections:CborFormatSection",
        "binary": "connector.formats.binary.sections:BinaryFormatSection",
        "avro": "connector.formats.schema.sections:AvroFormatSection",
        "protobuf": "connector.formats.schema.sections:ProtobufFormatSection",
        "json_schema": "connector.formats.schema.sections:JsonSchemaFormatSection",
        "sparkplug_b": "connector.formats.sparkplug.section:SparkplugFormatSection",
    },
)


def known_reasons() -> list[Reason]:
    """Every reason that a dead letter can have: the connector's own reasons, and the reasons that formats declare."""
    return [*Reason, *(Reason(word) for kind in FORMATS.kinds.values() for word in kind.reasons)]


if TYPE_CHECKING:
    FormatField: TypeAlias = FormatSection
else:
    FormatField = FORMATS.field(by_name=True)
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
