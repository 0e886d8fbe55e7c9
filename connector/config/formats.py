"""The sections of formats and compression: what a rule's `format` and `compression` may say.

A rule has `format: FormatField` and `compression: Compression`; `build_format` makes of both what decodes. The
modules of formats are imported when one is built: most configurations need none of their libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connector.config.values import Section, text_of
from connector.formats.schemas import Schemas
from connector.mapping.sparkplug_rule import SparkplugRule

if TYPE_CHECKING:
    from connector.formats.binary import Part
    from connector.formats.format import Format

MAX_PAYLOAD: Final = 4 * 1024 * 1024
Registries: TypeAlias = Mapping[str, Schemas]
"""Schema registries by their names in `schema_registries`."""
Compression: TypeAlias = Literal["none", "auto", "gzip", "zlib", "zstd", "lz4"]
Encoding: TypeAlias = Literal["utf-8", "latin-1", "cp1252", "utf-16"]
NO_REGISTRIES: Final[Registries] = MappingProxyType({})


class FormatSection(Section):
    """How a payload is written. The sections below are the formats that there are."""

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format. `registry` has the schema registries of the configuration; `max_payload` bounds, in bytes, what
        a compressed part of a payload may become. Raises `ValueError`, which says what to change, if a file that the
        section names cannot be used, or a registry is missing."""
        raise NotImplementedError

    def registry_problem(self, names: Mapping[str, object]) -> str | None:
        """What is wrong with the registry that this format needs, when these are the ones there are."""
        del names
        return None


class JsonFormatSection(FormatSection):
    """JSON: one document a payload. A bare number is a document too."""

    type: Literal["json"] = Field(default="json", description="The payload is JSON.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.json_format import JsonFormat  # noqa: PLC0415 - as in all of them: only when used

        return JsonFormat()


class NdjsonFormatSection(FormatSection):
    """Newline-delimited JSON: one document a line. A line that is no JSON costs only itself."""

    type: Literal["ndjson"] = Field(description="The payload is lines of JSON.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.ndjson import NdjsonFormat  # noqa: PLC0415

        return NdjsonFormat()


class TextFormatSection(FormatSection):
    """A bare number or text, without any structure."""

    type: Literal["text"] = Field(description="The payload is a number or text.")
    decimal: Literal[".", ","] = Field(default=".", description="The decimal sign of numbers.", examples=[","])
    encoding: Encoding = Field(default="utf-8", description="How the text is written as bytes.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.text import TextFormat  # noqa: PLC0415

        return TextFormat(decimal=self.decimal, encoding=self.encoding)


class CsvFormatSection(FormatSection):
    """Rows of cells between delimiters. Each row is a document: an object of its columns. A row that does not fit
    costs only itself."""

    type: Literal["csv"] = Field(description="The payload is rows of cells.")
    delimiter: str = Field(
        default=",", description="What stands between cells: one character, or `tab`.", examples=[";", "tab"]
    )
    header: bool | None = Field(
        default=None,
        description="Whether the first row has the names of the columns. Default: yes, unless `columns` names them. "
        "With `columns` and `header: true` the first row is left out.",
    )
    columns: list[str | None] | None = Field(
        default=None,
        min_length=1,
        description="The names of the columns, from the left; null for one to leave out.",
        examples=[["time", "temperature", None, "humidity"]],
    )
    skip_lines: int = Field(default=0, ge=0, le=10_000, description="Lines before the first row to leave out.")
    decimal: Literal[".", ","] = Field(default=".", description="The decimal sign of numbers.")
    quote: str | None = Field(
        default='"', description="What may stand around a cell: one character; null if nothing does.", examples=["'"]
    )
    comment: str | None = Field(
        default=None, min_length=1, description="Lines that begin with this are left out.", examples=["#"]
    )
    encoding: Encoding = Field(default="utf-8", description="How the text is written as bytes.")

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        value = "\t" if value in ("tab", "\\t") else value
        if value is not None and (len(value) != 1 or value in "\r\n\0"):
            raise ValueError("must be one character, or tab" if value != "" else "must not be empty")
        return value

    @model_validator(mode="after")
    def _unambiguous(self) -> CsvFormatSection:
        if self.delimiter == self.quote:
            raise ValueError("delimiter and quote must differ")
        if self.delimiter == self.decimal:
            raise ValueError(f"delimiter and decimal are both {self.decimal!r}; with decimal: ',' use delimiter: ';'")
        if self.header is False and self.columns is None:
            raise ValueError("header: false needs columns: without either, nobody knows what the columns are called")
        named = [name for name in self.columns or () if name is not None]
        if self.columns and not named:
            raise ValueError("columns leaves every column out")
        if twice := {name for name in named if named.count(name) > 1}:
            raise ValueError(f"two columns are called {min(twice)!r}; each needs a name of its own")
        return self

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.csv_rows import CsvFormat  # noqa: PLC0415

        return CsvFormat(
            delimiter=self.delimiter,
            header=self.columns is None if self.header is None else self.header,
            columns=self.columns,
            skip_lines=self.skip_lines,
            decimal=self.decimal,
            quote=self.quote,
            comment=self.comment,
            encoding=self.encoding,
        )


class InfluxFormatSection(FormatSection):
    """InfluxDB line protocol. Each line is a document: `measurement`, `tags`, `fields`, and `time` where it has one.
    A line that cannot be read costs only itself."""

    type: Literal["influx"] = Field(description="The payload is InfluxDB line protocol.")
    precision: Literal["ns", "us", "ms", "s"] = Field(default="ns", description="The unit of the lines' timestamps.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.influx import InfluxFormat  # noqa: PLC0415

        return InfluxFormat(precision=self.precision)


class MessagePackFormatSection(FormatSection):
    """MessagePack: one document a payload."""

    type: Literal["messagepack"] = Field(description="The payload is MessagePack.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.messagepack import MessagePackFormat  # noqa: PLC0415

        return MessagePackFormat()


class CborFormatSection(FormatSection):
    """CBOR (RFC 8949): one document a payload."""

    type: Literal["cbor"] = Field(description="The payload is CBOR.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.cbor import CborFormat  # noqa: PLC0415

        return CborFormat()


Endian: TypeAlias = Literal["big", "little", "big-swapped", "little-swapped"]
_INTEGERS: Final = ("u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u48", "i48", "u64", "i64")
_SIZED: Final = ("skip", "bytes", "text")


class BinaryFieldSection(Section):
    """One field of a binary layout."""

    name: str | None = Field(default=None, min_length=1, description="Its name in the document.")
    type: Literal[
        "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u48", "i48", "u64", "i64", "f16", "f32", "f64", "bool",
        "text", "bytes", "skip",
    ] = Field(  # fmt: skip
        description="Unsigned (`u`) and signed (`i`) integers and IEEE 754 floats (`f`) of so many bits; `bool`, a byte "
        "that is 0 or not; `text` (UTF-8, up to the first NUL) and `bytes` of `length`; `skip` for bytes that mean "
        "nothing."
    )
    length: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Length in bytes, for `text`, `bytes` and `skip` (there 1)."
    )
    endian: Endian | None = Field(default=None, description="The order of its bytes, where it is not the layout's.")
    offset: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Where it begins, in bytes from the start of the layout. Default: where the field before it ends.",
    )
    bits: dict[str, Annotated[str, BeforeValidator(text_of), Field(pattern=r"^\d{1,2}(-\d{1,2})?$")]] = Field(
        default={},
        description="Parts of an unsigned integer, by their names: the number of a bit (0 is the lowest), which becomes "
        "a boolean, or of the lowest and highest bit, `4-7`, which become a number.",
        examples=[{"running": 0, "mode": "1-3"}],
    )

    @model_validator(mode="after")
    def _complete(self) -> BinaryFieldSection:
        if self.type == "skip":
            if self.name or self.bits:
                raise ValueError("what is skipped has no name and no bits")
        elif not self.name and not self.bits:
            raise ValueError("needs a name; for bytes that mean nothing use type: skip")
        if self.length is not None and self.type not in _SIZED:
            raise ValueError(f"{self.type} has its own length; length is for {', '.join(_SIZED)}")
        if self.length is None and self.type in ("text", "bytes"):
            raise ValueError(f"{self.type} needs a length")
        if self.bits and not self.type.startswith("u"):
            raise ValueError(f"bits are parts of an unsigned integer, such as u8 or u16, not of {self.type}")
        for name, text in self.bits.items():
            low, _, high = text.partition("-")
            if not int(low) <= int(high or low) < int(self.type[1:]):
                raise ValueError(f"bits.{name}: {text} is not within the bits 0-{int(self.type[1:]) - 1} of {self.type}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What it adds to the document."""
        return (*((self.name,) if self.name else ()), *self.bits)

    def part(self) -> Part:
        """The field as the format uses it."""
        from connector.formats.binary import Bits, Part  # noqa: PLC0415

        bits = []
        for name, text in self.bits.items():
            low, dash, high = text.partition("-")
            bits.append(Bits(name, int(low), int(high) - int(low) + 1 if dash else None))
        length = self.length or (1 if self.type == "skip" else None)
        return Part(self.type, self.name, length, self.endian, self.offset, tuple(bits))


class BinaryFormatSection(FormatSection):
    """Raw bytes by a declared layout. Scale, offset and unit are the rule's, not the layout's."""

    type: Literal["binary"] = Field(description="The payload is bytes with a fixed layout.")
    endian: Endian = Field(
        default="big",
        description="The order of bytes: `big` (the highest byte first, as in Modbus), `little`; `-swapped` where the "
        "16-bit words of a longer number stand the other way round.",
    )
    fields: list[BinaryFieldSection] = Field(
        min_length=1,
        description="The fields, in their order.",
        examples=[[{"name": "temperature", "type": "i16"}, {"type": "u8", "bits": {"alarm": 7}}]],
    )
    header: list[BinaryFieldSection] = Field(
        default=[], description="With `repeat`: fields that stand once, before the records; every record gets them."
    )
    repeat: bool = Field(
        default=False, description="The fields are a record, and records follow each other until the end."
    )
    longer: Literal["reject", "ignore"] = Field(
        default="reject", description="What becomes of a payload that goes on behind the last field."
    )
    encoding: Literal["raw", "hex", "base64"] = Field(
        default="raw", description="Whether the bytes themselves are written as text."
    )

    @model_validator(mode="after")
    def _consistent(self) -> BinaryFormatSection:
        if self.header and not self.repeat:
            raise ValueError("header is for repeat: true; otherwise put its fields first in fields")
        names = [name for field in (*self.header, *self.fields) for name in field.names]
        if not names:
            raise ValueError("the layout skips everything")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two fields are called {min(twice)!r}; each needs a name of its own")
        if self.repeat and self.longer == "ignore":
            raise ValueError("longer: ignore is not for repeat: records go on until the end")
        return self

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.binary import BinaryFormat  # noqa: PLC0415

        return BinaryFormat(
            [field.part() for field in self.fields],
            header=[field.part() for field in self.header],
            endian=self.endian,
            repeat=self.repeat,
            ignore_longer=self.longer == "ignore",
            encoding=self.encoding,
        )


class _SchemaFormatSection(FormatSection):
    """A format whose schema is in a registry, or declared."""

    registry: str | None = Field(
        default=None,
        description="Which of `schema_registries` has the schemas, where there are several. Payloads then begin with a "
        "zero and the schema's ID (Confluent's wire format).",
    )

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, and no registry is asked."""
        return False

    def registry_problem(self, names: Mapping[str, object]) -> str | None:
        """What is wrong with the registry that this format needs, when these are the ones there are."""
        if self.declared:
            return None
        if self.registry is not None:
            known = ", ".join(sorted(names)) or "there are none"
            return (
                None if self.registry in names else f"{self.registry!r} is not in schema_registries (there: {known})"
            )
        if not names:
            return f"format {self._name()} needs a schema: declare it, or add a registry to schema_registries"
        if len(names) > 1:
            return f"there are several schema_registries: say which with registry: {' or '.join(sorted(names))}"
        return None

    def _name(self) -> str:
        return str(getattr(self, "type", ""))

    def _schemas(self, registries: Registries) -> Schemas:
        problem = self.registry_problem(registries)
        if problem:
            raise ValueError(problem)
        return registries[self.registry] if self.registry is not None else next(iter(registries.values()))


class AvroFormatSection(_SchemaFormatSection):
    """Apache Avro, with a schema registry or a declared schema. An Avro object container file brings its own schema;
    each of its records is a document."""

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
        return self

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, and no registry is asked."""
        return self.schema_file is not None

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.avro import AvroFormat  # noqa: PLC0415

        if self.schema_file is None:
            return AvroFormat(self._schemas(registry), max_bytes=max_payload)
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
        if self.declared and self.message is None:
            raise ValueError(f"{given[0]} needs message, the full name of the message in it")
        if self.message is not None and not self.declared:
            raise ValueError("message needs proto_file or descriptor_file; with a registry the payload names it")
        if self.import_path is not None and self.proto_file is None:
            raise ValueError("import_path is for proto_file")
        return self

    @property
    def declared(self) -> bool:
        """Whether the schema is declared, and no registry is asked."""
        return self.proto_file is not None or self.descriptor_file is not None

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats import protobuf  # noqa: PLC0415

        if self.proto_file is not None:
            folder = self.import_path or self.proto_file.parent
            return protobuf.from_proto_file(self.proto_file, folder, self.message or "")
        if self.descriptor_file is not None:
            return protobuf.from_descriptor_file(self.descriptor_file, self.message or "")
        return protobuf.ProtobufFormat(self._schemas(registry))


class JsonSchemaFormatSection(_SchemaFormatSection):
    """JSON with a schema in a registry."""

    type: Literal["json_schema"] = Field(description="The payload is a schema's ID and JSON.")
    check: bool = Field(
        default=False,
        description="Refuse documents that do not follow their schema. Needs `pip install "
        "clarify-connector[json-schema]`. Without, the schema is not looked at.",
    )

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format."""
        from connector.formats.json_schema import JsonSchemaFormat  # noqa: PLC0415

        return JsonSchemaFormat(self._schemas(registry) if self.check else None)

    @property
    def declared(self) -> bool:
        """Whether no registry is asked: without the check only the ID is taken off."""
        return not self.check


class SparkplugFormatSection(FormatSection):
    """Sparkplug B: births, data and deaths of edge nodes and devices. What a message says depends on those before it,
    so a rule with it must take all of them. Its templates know `{group}`, `{node}`, `{device}`, `{descriptor}`
    (`GROUP/NODE` or `GROUP/NODE/DEVICE`) and `{metric}`; the default input is `{descriptor}/{metric}`."""

    type: Literal["sparkplug_b"] = Field(description="The payload is Sparkplug B.")
    bad_quality: Literal["keep", "drop", "reject", "signal"] = Field(
        default="drop",
        description="What becomes of values whose property `Quality` is not good (192 to 255; none at all is good): "
        "`keep` them, `drop` them (counted as filtered), `reject` them as dead letters; `signal` keeps them, and the "
        "quality becomes a signal of its own, `METRIC/_quality`.",
    )
    online: bool = Field(
        default=False,
        description="Make a signal `_online` of the births (1) and deaths (0) of each node and device.",
    )
    metadata: bool = Field(
        default=True,
        description="Save what births say of their metrics with the signals: name, unit, description, range, states, "
        "and group, node and device as labels. What the rule says counts more.",
    )
    rebirth_requests: bool = Field(
        default=False,
        description="Ask nodes whose births are not known, or whose messages were lost, to send their births again "
        "(`NCMD`, `Node Control/Rebirth`): seldom, and ever more seldom. The connector must be allowed to publish "
        "to `spBv1.0/+/NCMD/+`. Otherwise it only listens.",
    )
    max_metrics: int = Field(
        default=200_000,
        ge=1,
        description="Metrics of all nodes of a source that are remembered. Births beyond become dead letters.",
    )
    max_devices: int = Field(
        default=10_000, ge=1, description="Nodes and devices of a source that are remembered, together."
    )

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """None: messages depend on those before them, so the mapping hears them itself."""
        del registry, max_payload
        raise ValueError("sparkplug_b is no format of single payloads; it is for rules of a mapping")

    def rule(self) -> SparkplugRule:
        """As the mapper uses it."""
        return SparkplugRule(
            self.bad_quality, self.online, self.metadata, self.rebirth_requests, self.max_metrics, self.max_devices
        )


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


FormatField: TypeAlias = Annotated[_AnyFormat, BeforeValidator(_section, json_schema_input_type=_AnyFormat | FormatName)]
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


def _text_of_file(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting}: {path} cannot be read: {error}") from None
