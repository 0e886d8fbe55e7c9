"""Bytes → text → numbers, for the text formats."""

from __future__ import annotations

import re
from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

_NUMBER: Final = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d{1,9}+)?", re.ASCII)
"""The pattern never backtracks: a megabyte of digits with a letter at the end must not take minutes."""
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NON_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_LONGEST_NUMBER: Final = 1000
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks → the codec that reads the mark, too."""
_NUL_ENDS: Final = ("\0", "\n", "\r")


def decode_text(payload: bytes, encoding: str = "utf-8", tolerated: set[str] | None = None) -> str:
    """The payload as text, without its byte order mark and the NULs at its end. Raises `PayloadError`.

    With `encoding` utf-8, a payload that begins with the mark of UTF-16 or UTF-32 is read as this. `tolerated` gets
    what was overlooked, as keys of `TOLERATED`.
    """
    marked = next((name for mark, name in _MARKS if payload.startswith(mark)), None) if encoding == "utf-8" else None
    try:
        text = payload.decode(marked or encoding)
    except UnicodeDecodeError as bad:
        where = f"byte {bad.start}" + (f" (0x{payload[bad.start]:02x})" if bad.start < len(payload) else "")
        if encoding != "utf-8":
            raise PayloadError(Reason.INVALID_TEXT, f"{where} is not {encoding}: {bad.reason}") from None
        read_as = "UTF-8" if marked in (None, "utf-8-sig") else f"{marked.upper()}, whose mark it begins with"
        advice = "is it binary or compressed, or does it need another `encoding`?"
        raise PayloadError(Reason.NOT_UTF8, f"{where} is not {read_as}: {advice}") from None
    if tolerated is not None and marked not in (None, "utf-8-sig"):
        tolerated.add("encoding")
    return without_nul(text, tolerated) if text.endswith(_NUL_ENDS) else text


def without_nul(text: str, tolerated: set[str] | None = None) -> str:
    """The text without the NULs at its end, and the line breaks among them; nothing but NULs stays as it is."""
    kept = text.rstrip("\0\r\n")
    if not kept or "\0" not in text[len(kept) :]:
        return text
    if tolerated is not None:
        tolerated.add("nul")
    return kept


def number_in(text: str, decimal: str = ".") -> int | float | None:
    """The number in a text with this decimal sign; None if the text is not a number, or has anything beside it."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if decimal != ".":
        if "." in text:
            return None  # the point may separate thousands or decimals
        text = text.replace(decimal, ".", 1)
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) or _NON_FINITE.fullmatch(text) else None
