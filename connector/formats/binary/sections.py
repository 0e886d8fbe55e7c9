"""The sections of the binary formats without a schema: MessagePack, CBOR, and bytes with a declared layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries
from connector.settings import Section, number_as_text

if TYPE_CHECKING:
    from connector.formats.binary.binary import LayoutField
    from connector.formats.format import Format


class MessagePackFormatSection(FormatSection):
    """MessagePack: one document a payload."""

    type: Literal["messagepack"] = Field(description="The payload is MessagePack.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.binary.messagepack import MessagePackFormat  # noqa: PLC0415

        return MessagePackFormat()


class CborFormatSection(FormatSection):
    """CBOR (RFC 8949): one document a payload."""

    type: Literal["cbor"] = Field(description="The payload is CBOR.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.binary.cbor import CborFormat  # noqa: PLC0415

        return CborFormat()


Endian: TypeAlias = Literal["big", "little", "big-swapped", "little-swapped"]
FieldType: TypeAlias = Literal[
    "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u48", "i48", "u64", "i64", "f16", "f32", "f64", "bool",
    "text", "bytes", "skip",
]  # fmt: skip
_SIZED: Final = ("skip", "bytes", "text")


class BinaryFieldSection(Section):
    """One field of a binary layout."""

    name: str | None = Field(default=None, min_length=1, description="Its name in the document.")
    type: FieldType = Field(
        description="Unsigned (`u`) and signed (`i`) integers and IEEE 754 floats (`f`) of so many bits; `bool`, a "
        "byte that is 0 or not; `text` (UTF-8, up to the first NUL) and `bytes` of `length`; `skip` for bytes that "
        "mean nothing."
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
    bits: dict[str, Annotated[str, BeforeValidator(number_as_text), Field(pattern=r"^\d{1,2}(-\d{1,2})?$")]] = Field(
        default={},
        description="Parts of an unsigned integer, by their names: the number of a bit (0 is the lowest), which "
        "becomes a boolean, or of the lowest and highest bit, `4-7`, which become a number.",
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
                raise ValueError(
                    f"bits.{name}: {text} is not within the bits 0-{int(self.type[1:]) - 1} of {self.type}"
                )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the field adds to the document."""
        return (*((self.name,) if self.name else ()), *self.bits)

    def part(self) -> LayoutField:
        """The field in the form that the format uses."""
        from connector.formats.binary.binary import Bits, LayoutField  # noqa: PLC0415

        bits = []
        for name, text in self.bits.items():
            low, dash, high = text.partition("-")
            bits.append(Bits(name, int(low), int(high) - int(low) + 1 if dash else None))
        length = self.length or (1 if self.type == "skip" else None)
        return LayoutField(self.type, self.name, length, self.endian, self.offset, tuple(bits))


class BinaryFormatSection(FormatSection):
    """Raw bytes with a declared layout. The rule sets scale, offset and unit; the layout does not."""

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
        self.build()  # raises ValueError for an impossible layout
        return self

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings."""
        from connector.formats.binary.binary import BinaryFormat  # noqa: PLC0415

        return BinaryFormat(
            [field.part() for field in self.fields],
            header=[field.part() for field in self.header],
            endian=self.endian,
            repeat=self.repeat,
            ignore_longer=self.longer == "ignore",
            encoding=self.encoding,
        )
