"""The sections of the text formats: JSON, XML, a bare value, rows, and the notations that are read by the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries

if TYPE_CHECKING:
    from connector.formats.format import Format

Encoding: TypeAlias = Literal[
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "iso-8859-15", "cp1250", "cp1251", "cp1252", "cp437",
    "cp850", "shift_jis", "gb18030",
]  # fmt: skip
_ENCODING: Final = (
    "How the text is written as bytes. With `utf-8`, UTF-16 and UTF-32 are recognised by their byte order marks."
)
_OF_A_SERIES: Final = "{payload.series}"


class JsonFormatSection(FormatSection):
    """JSON: one document a payload. A bare number is a document, too."""

    type: Literal["json"] = Field(default="json", description="The payload is JSON.")
    encoding: Encoding = Field(default="utf-8", description=_ENCODING, examples=["cp1252"])
    lenient: bool = Field(
        default=False,
        description="Also read what is nearly JSON: single quotes, `.5`, `1.`, `+5`, `007` (the number 7), `0x1F`, a "
        "comma behind the last item, keys without quotes, `True`, `None`. Each such message is counted.",
    )

    @property
    def is_default(self) -> bool:
        """Whether this is the JSON of a rule without `format`."""
        return self.encoding == "utf-8" and not self.lenient

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.json_payload import JsonFormat  # noqa: PLC0415 - imported only when used, like all formats

        return JsonFormat(encoding=self.encoding, lenient=self.lenient)


class NdjsonFormatSection(FormatSection):
    """Newline-delimited JSON: one document a line. A line that is no JSON does not affect other lines."""

    type: Literal["ndjson"] = Field(description="The payload is lines of JSON.")
    encoding: Encoding = Field(default="utf-8", description=_ENCODING)

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.ndjson import NdjsonFormat  # noqa: PLC0415

        return NdjsonFormat(encoding=self.encoding)


class TextFormatSection(FormatSection):
    """A bare number or text, without any structure."""

    type: Literal["text"] = Field(description="The payload is a number or text.")
    decimal: Literal[".", ","] = Field(default=".", description="The decimal sign of numbers.", examples=[","])
    encoding: Encoding = Field(default="utf-8", description=_ENCODING)

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.text import TextFormat  # noqa: PLC0415

        return TextFormat(decimal=self.decimal, encoding=self.encoding)


class CsvFormatSection(FormatSection):
    """Rows of cells between delimiters. Each row is a document: an object of its columns.

    A bad row does not affect other rows.
    """

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
    encoding: Encoding = Field(default="utf-8", description=_ENCODING)

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
        """The format with these settings."""
        from connector.formats.text.csv_rows import CsvFormat  # noqa: PLC0415

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
    """InfluxDB line protocol: each line is a document.

    The document has `measurement`, `tags`, `fields`, `series`, and `time` if the line has a timestamp. A line that
    cannot be read does not affect other lines.
    """

    own_input: ClassVar[str] = "{payload.series}:{field}"
    type: Literal["influx"] = Field(description="The payload is InfluxDB line protocol.")
    precision: Literal["ns", "us", "ms", "s"] = Field(default="ns", description="The unit of the lines' timestamps.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.influx import InfluxFormat  # noqa: PLC0415

        return InfluxFormat(precision=self.precision)


class PrometheusFormatSection(FormatSection):
    """The text formats of Prometheus and OpenMetrics: each line with a number is a document.

    The document has `name`, `labels`, `series` (both together) and `value`, and `time`, `type`, `unit` and `help` where
    they are known. A line that cannot be read does not affect other lines.
    """

    own_input: ClassVar[str] = _OF_A_SERIES
    own_values: ClassVar[tuple[str, ...]] = ("value",)
    type: Literal["prometheus"] = Field(description="The payload is Prometheus' or OpenMetrics' text.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.prometheus import PrometheusFormat  # noqa: PLC0415

        return PrometheusFormat()


class GraphiteFormatSection(FormatSection):
    """Graphite's plain text: each line is a document of `name`, `tags`, `series` (both together), `value` and `time`.

    A line that cannot be read does not affect other lines.
    """

    own_input: ClassVar[str] = _OF_A_SERIES
    own_values: ClassVar[tuple[str, ...]] = ("value",)
    type: Literal["graphite"] = Field(description="The payload is lines of Graphite.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.graphite import GraphiteFormat  # noqa: PLC0415

        return GraphiteFormat()


class KeyValueFormatSection(FormatSection):
    """Pairs of keys and values, such as logfmt: each line is a document.

    With `separator: newline`, the whole payload is one document.
    """

    type: Literal["key_value"] = Field(description="The payload is pairs such as `temp=21.5`.")
    separator: Literal["space", "tab", "newline", ",", ";", "&", "|"] = Field(
        default="space", description="What stands between pairs; `space`: any blanks.", examples=[";"]
    )
    assign: Literal["=", ":"] = Field(default="=", description="What stands between a key and its value.")
    decimal: Literal[".", ","] = Field(default=".", description="The decimal sign of numbers.")

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        if self.separator == self.decimal:
            raise ValueError("separator and decimal are both ','; what stands between the pairs?")
        return self

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.key_value import KeyValueFormat  # noqa: PLC0415

        separator = {"space": " ", "tab": "\t", "newline": "\n"}.get(self.separator, self.separator)
        return KeyValueFormat(separator=separator, assign=self.assign, decimal=self.decimal)


class XmlFormatSection(FormatSection):
    """XML: one document a payload, a tree of the names of elements and attributes.

    A payload with a document type, and so with entities of its own, is refused.
    """

    single_items: ClassVar[bool] = True
    type: Literal["xml"] = Field(description="The payload is XML.")
    attribute_prefix: str = Field(
        default="",
        max_length=10,
        description="What stands before the names of attributes, where an element has an attribute and an element of "
        "the same name.",
        examples=["@"],
    )
    lists: list[str] = Field(
        default=[],
        description="Names of elements that are always a list, also where there is only one of them: `t.0` is then the "
        "place of the first `t`. Default: elements of one name are a list, and one alone is none.",
        examples=[["t"]],
    )
    encoding: Encoding | None = Field(
        default=None, description="How the text is written as bytes. Default: as the payload declares it."
    )

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.text.xml_elements import XmlFormat  # noqa: PLC0415

        return XmlFormat(attribute_prefix=self.attribute_prefix, lists=self.lists, encoding=self.encoding)
