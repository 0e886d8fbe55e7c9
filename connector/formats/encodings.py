"""Encodings of bytes inside a document: base64, hexadecimal digits, lists of numbers, and compression."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from connector.formats.compression import decompressed
from connector.formats.format import PayloadError
from connector.records import Reason

FieldEncoding: TypeAlias = Literal["text", "base64", "hex", "bytes", "gzip", "zlib", "deflate", "zstd", "lz4"]

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*+={0,2}")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BETWEEN_HEX: Final = re.compile(rb"[\s:-]")


def bytes_of(value: object, encodings: Sequence[str], max_bytes: int) -> tuple[bytes, int]:
    """(the bytes that a value of a document stands for, how many bytes were unpacked on the way).

    The value is a text, bytes, or with the encoding `bytes` a list of numbers from 0 to 255. The `encodings` are undone
    in their order. Decompression stops when it has made more than `max_bytes` in all. Raises `PayloadError`.
    """
    unpacked = 0
    if encodings[0] == "bytes":
        value, encodings = _of_numbers(value), encodings[1:]
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        content = value
    else:
        wanted = "a text" if encodings[0] == "text" else f"a text in {encodings[0]}"
        remedy = "; encoding: bytes reads a list of numbers from 0 to 255" if isinstance(value, list) else ""
        raise PayloadError(Reason.INVALID_TEXT, f"{_kind(value)}, where {wanted} should be{remedy}")
    for encoding in encodings:
        if encoding == "base64":
            content = from_base64(content)
        elif encoding == "hex":
            content = _from_hex(content)
        elif encoding != "text":
            content = decompressed(content, encoding, max_bytes - unpacked)
            unpacked += len(content)
    return content, unpacked


def from_base64(content: bytes) -> bytes:
    """The bytes of base64 in either alphabet (RFC 4648, 4 and 5), with or without padding. Raises `PayloadError`."""
    plain = b"".join(content.split())
    if b"-" in plain or b"_" in plain:
        plain = plain.translate(_URL_SAFE)
    if not _BASE64.fullmatch(plain):
        at = _BASE64.match(plain)
        end = at.end() if at else 0
        raise PayloadError(Reason.INVALID_TEXT, f"not base64: character {end + 1} is {chr(plain[end])!r}")
    plain = plain.rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4))
    except binascii.Error:
        raise PayloadError(Reason.INVALID_TEXT, f"not base64: {len(plain)} characters are one too many") from None


def _from_hex(content: bytes) -> bytes:
    plain = _BETWEEN_HEX.sub(b"", content)
    plain = plain[2:] if plain[:2] in (b"0x", b"0X") else plain
    try:
        return binascii.unhexlify(plain)
    except binascii.Error as error:
        raise PayloadError(Reason.INVALID_TEXT, f"not hexadecimal digits: {error}") from None


def _of_numbers(value: object) -> bytes:
    """The bytes of a list of numbers; also of a Buffer of Node.js: `{"type": "Buffer", "data": [1, 2]}`."""
    if isinstance(value, dict) and value.get("type") == "Buffer":
        value = value.get("data")
    if not isinstance(value, list):
        raise PayloadError(Reason.INVALID_TEXT, f"{_kind(value)}, where a list of numbers from 0 to 255 should be")
    try:
        return bytes(value)
    except (TypeError, ValueError):
        raise PayloadError(Reason.INVALID_TEXT, "the list has items that are no whole numbers from 0 to 255") from None


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", bool: "a boolean"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
