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


def decode_text(payload: bytes, encoding: str = "utf-8") -> str:
    """The payload as text; a byte order mark of UTF-8 is dropped. Raises `PayloadError` for another encoding."""
    try:
        return payload.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as bad:
        where = f"byte {bad.start}" + (f" (0x{payload[bad.start]:02x})" if bad.start < len(payload) else "")
        if encoding == "utf-8":
            advice = "is it binary or compressed, or does it need another `encoding`?"
            raise PayloadError(Reason.NOT_UTF8, f"{where} is not UTF-8: {advice}") from None
        raise PayloadError(Reason.INVALID_TEXT, f"{where} is not {encoding}: {bad.reason}") from None


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
