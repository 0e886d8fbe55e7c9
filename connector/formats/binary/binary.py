"""Raw bytes with a declared layout: fields at fixed places → one object, or one object for each repeated record."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connector.formats.documents import DocumentCollector
from connector.formats.format import PayloadError
from connector.records import Reason

_FLOATS: Final = {"f16": "e", "f32": "f", "f64": "d"}
_SIZED: Final = ("text", "bytes", "skip")
_MAX_SIZE: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Bits:
    """Some bits of an unsigned integer: the boolean at `lowest` if `count` is None, else a number of `count` bits."""

    name: str
    lowest: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class LayoutField:
    """A field of a layout."""

    type: str
    """u8 … u64, i8 … i64 (in steps of 8 bits up to 32, then 48 and 64), f16, f32, f64, bool, text, bytes, skip."""
    name: str | None = None
    length: int | None = None
    """The length in bytes, for text, bytes and skip."""
    endian: str | None = None
    """`big`, `little`, `big-swapped` or `little-swapped`; None for the byte order of the layout."""
    offset: int | None = None
    """The number of bytes before the field in the layout; None if the field follows the one before it."""
    bits: tuple[Bits, ...] = ()


class BinaryFormat:
    """The format of fields at fixed places."""

    name = "binary"

    def __init__(
        self,
        fields: Sequence[LayoutField],
        *,
        header: Sequence[LayoutField] = (),
        endian: str = "big",
        repeat: bool = False,
        ignore_longer: bool = False,
        encoding: str = "raw",
    ) -> None:
        """With `repeat`, the fields are a record, and records repeat until the end of the payload.

        The records follow the header, whose fields every record gets. `encoding` is raw, hex or base64. Raises
        `ValueError` for an impossible layout.
        """
        self._fields = _Layout(fields, endian)
        self._header = _Layout(header, endian)
        self._repeat = repeat
        self._ignore_longer = ignore_longer
        self._encoding = encoding

    def decode(self, payload: bytes) -> object:
        """The object of the fields, or an object for each record. Raises `PayloadError`."""
        payload = self._bytes(payload)
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        if self._repeat:
            return self._records(payload)
        size = self._fields.size
        if len(payload) < size or (len(payload) > size and not self._ignore_longer):
            advice = "" if len(payload) < size else "; with `longer: ignore` the bytes behind the layout are left out"
            raise _wrong(f"{len(payload)} bytes, and the layout has {size}{advice}")
        document: dict[str, object] = {}
        self._fields.read(payload, 0, document)
        return document

    def _records(self, payload: bytes) -> object:
        start, size = self._header.size, self._fields.size
        if len(payload) < start:
            raise _wrong(f"{len(payload)} bytes, and the header has {start}")
        common: dict[str, object] = {}
        self._header.read(payload, 0, common)
        gathered = DocumentCollector()
        for number, at in enumerate(range(start, len(payload), size), 1):
            if at + size > len(payload):
                left = len(payload) - at
                gathered.add_bad(f"record {number}", _wrong(f"{left} bytes are left, and a record has {size}"))
                break
            document = dict(common)
            self._fields.read(payload, at, document)
            gathered.add(document)
        return gathered.result()

    def _bytes(self, payload: bytes) -> bytes:
        if self._encoding == "raw":
            return payload
        try:
            if self._encoding == "hex":
                return bytes.fromhex(payload.decode("ascii"))
            return base64.b64decode(payload.strip(), validate=True)
        except (UnicodeDecodeError, binascii.Error, ValueError) as error:
            raise _wrong(f"the payload is not {self._encoding}: {error}") from None


_Reader = Callable[[bytes], object]


class _Layout:
    """Fields with their places. `size` is the number of bytes. Raises `ValueError` for an impossible layout."""

    def __init__(self, parts: Sequence[LayoutField], endian: str) -> None:
        self._parts: list[tuple[LayoutField, int, int, _Reader]] = []
        self.size = 0
        end = 0
        for part in parts:
            start = end if part.offset is None else part.offset
            length = _length(part)
            end = start + length
            self.size = max(self.size, end)
            if part.type != "skip":
                self._parts.append((part, start, end, _reader(part, length, part.endian or endian)))
        if self.size > _MAX_SIZE:
            raise ValueError(f"the layout is {self.size} bytes long; at most {_MAX_SIZE} can be")

    def read(self, payload: bytes, at: int, into: dict[str, object]) -> None:
        """Read all fields of the layout that begins at `at`, and add them to the document."""
        for part, start, end, read in self._parts:
            value = read(payload[at + start : at + end])
            if part.name is not None:
                into[part.name] = value
            for bits in part.bits:
                assert isinstance(value, int)  # noqa: S101 - the reader of an unsigned integer gives nothing else
                found = value >> bits.lowest
                into[bits.name] = bool(found & 1) if bits.count is None else found & ((1 << bits.count) - 1)


def _length(part: LayoutField) -> int:
    if part.type in _SIZED:
        return part.length or 1
    return 1 if part.type == "bool" else int(part.type[1:]) // 8


def _reader(part: LayoutField, length: int, endian: str) -> _Reader:
    if part.type == "bytes":
        return bytes
    if part.type == "text":
        return _text
    if part.type == "bool":
        return any
    order, swapped = endian.removesuffix("-swapped"), endian.endswith("-swapped") and length > 1
    if swapped and length % 2:
        raise ValueError(f"{part.type} is not made of 16-bit words: give {part.name} an `endian` without -swapped")
    number = _float_reader(_FLOATS[part.type], order) if part.type in _FLOATS else _integer_reader(part.type, order)
    return (lambda raw: number(_words_reversed(raw))) if swapped and length > 2 else number


def _float_reader(code: str, order: str) -> _Reader:
    return _first(struct.Struct((">" if order == "big" else "<") + code))


def _first(layout: struct.Struct) -> _Reader:
    return lambda raw: layout.unpack(raw)[0]


def _integer_reader(kind: str, order: str) -> _Reader:
    signed = kind.startswith("i")
    if order == "big":
        return lambda raw: int.from_bytes(raw, "big", signed=signed)
    return lambda raw: int.from_bytes(raw, "little", signed=signed)


def _words_reversed(raw: bytes) -> bytes:
    return b"".join(raw[at : at + 2] for at in range(len(raw) - 2, -1, -2))


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace").strip()


def _wrong(message: str) -> PayloadError:
    return PayloadError(Reason.INVALID_BINARY, message)
