"""The section `tags` of a rule, or of the whole mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from connector.mapping.tags.read import Notation
from connector.settings import Section

Unknown: TypeAlias = Literal["map", "filter", "dead_letter"]


class TagsSection(Section):
    """A tag list: a file with names, units, labels and conversions of signals, a row for each signal."""

    file: Path = Field(
        description="The list: CSV, or YAML if the name ends in `.yaml` or `.yml`. A relative path starts at the "
        "folder of the configuration file, or of the preset's file. The connector reads the file again when the file "
        "changes.",
        examples=["tags.csv"],
    )
    key: str | None = Field(
        default=None,
        description="Template of the key by which a signal is found in the list, with the variables of `input`. "
        "Default: the input ID.",
        examples=["{plc}/{item}"],
    )
    unknown: Literal["map", "filter", "dead_letter"] = Field(
        default="map",
        description="The treatment of values whose key is not in the list: `map` uses the rule alone; `filter` leaves "
        "the values out; `dead_letter` makes dead letters (`unknown_tag`).",
    )
    encoding: str | None = Field(
        default=None,
        description="Encoding of the list, if the list has no byte order mark. Default: UTF-8 and UTF-16 are told "
        "apart; any other text is read as cp1252.",
        examples=["cp1250", "latin-1"],
    )
    decimal_comma: bool | None = Field(
        default=None,
        description="Numbers in the list have a decimal comma (`true`) or a decimal point (`false`). Default: told "
        "apart by the numbers; a number that may mean two things is an error.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, value: str | None) -> str | None:
        try:
            "".encode(value or "utf-8")
        except LookupError:
            raise ValueError(f"{value!r} is no encoding of text; such as utf-8, utf-16, cp1252, latin-1") from None
        return value

    @property
    def notation(self) -> Notation:
        """How the list is written, as far as the section says it."""
        return Notation(self.file.suffix.lower() in (".yaml", ".yml"), self.encoding, self.decimal_comma)
