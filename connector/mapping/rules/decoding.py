"""`decode` in a rule: where a field is that holds a payload, and how this payload is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.formats.catalogue import FormatField
from connector.formats.encodings import FieldEncoding
from connector.formats.format import Format
from connector.mapping.rules.paths import PathError, parse_path
from connector.settings import Section

EACH: Final = None
Parts: TypeAlias = tuple[str | None, ...]
"""The keys and places of lists that lead to a field; None: each item of a list, or each member of an object."""


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One step: where the field is, how its bytes are written, and what they are."""

    parts: Parts
    encodings: tuple[str, ...]
    """What is undone, in this order: `base64`, `gzip` …"""
    format: Format
    keeps_objects: bool = True
    """Whether a field that is no text is left alone: some senders write the same field as JSON in a text, or as an
    object."""


def parse_parts(text: str) -> Parts:
    """Returns the parts of a step's path: plain, with `[]` or `[*]` for each item. Raises `PathError`."""
    first, *others = text.replace("[*]", "[]").split("[]")
    parts: Parts = _plain(first, text) if first else ()
    for piece in others:
        parts = (*parts, EACH)
        if piece and piece[0] not in ".[":
            raise PathError(f"{text!r}: a dot is missing behind [] or [*]")
        if piece:
            parts = (*parts, *_plain(piece.removeprefix("."), text))
    return parts


def _plain(piece: str, text: str) -> tuple[str, ...]:
    path = parse_path(piece)
    if not path.plain:
        raise PathError(f"{text!r} is no plain path; [] or [*] stands for each item of a list: readings[].data")
    return path.parts


def _checked(text: str) -> str:
    parse_parts(text)
    return text


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class DecodeSection(Section):
    """A payload inside a field of the payload: it takes the place of the field."""

    path: Annotated[str, Field(min_length=1), AfterValidator(_checked)] = Field(
        description="Path of the field, plain; `[]` or `[*]` stands for each item of a list, or for each member of an "
        "object. `@`: the payload itself, if it is text.",
        examples=["payload", "readings[].data", "@"],
    )
    encoding: Annotated[
        list[FieldEncoding],
        Field(min_length=1, max_length=8),
        BeforeValidator(_list, json_schema_input_type=list[FieldEncoding] | FieldEncoding),
    ] = Field(
        default=["text"],
        description="How the bytes are written in the field, from the outside in: `text` as they are; `base64` (either "
        "alphabet, with or without padding); `hex`; `bytes`, a list of numbers from 0 to 255; `gzip`, `zlib`, "
        "`deflate`, `zstd`, `lz4`.",
        examples=["base64", ["base64", "gzip"]],
    )
    format: FormatField | None = Field(
        default=None,
        description="Format of the bytes: a name, or a section. Default: JSON. The documents of a format that makes "
        "several (rows, lines) become a list.",
        examples=["cbor"],
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.format is not None and self.format.type == "sparkplug_b":
            raise ValueError("format sparkplug_b is for whole messages: the topic says what a message means")
        if "bytes" in self.encoding[1:]:
            raise ValueError("bytes is a list of numbers in the payload, so it can only be the first encoding")
        return self


def _steps(value: object) -> object:
    steps = value if isinstance(value, list) else [value]
    return [{"path": step} if isinstance(step, str) else step for step in steps]


DecodeSteps: TypeAlias = Annotated[
    list[DecodeSection],
    BeforeValidator(_steps, json_schema_input_type=list[DecodeSection | str] | DecodeSection | str),
]
"""The type of the field `decode`: steps, a single step, or only paths."""
