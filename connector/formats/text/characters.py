"""Bytes → text → numbers, for the formats that are text."""

from __future__ import annotations

import re
from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

_NUMBER: Final = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d{1,9}+)?", re.ASCII)
"""Without backtracking: a megabyte of digits with a letter at its end must not cost minutes."""
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NON_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_LONGEST_NUMBER: Final = 1000


def decode_text(payload: bytes, encoding: str = "utf-8") -> str:
    """The payload as text, without a byte order mark. `PayloadError` if it is none in this encoding."""
    try:
        return payload.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as bad:
        where = f"byte {bad.start}" + (f" (0x{payload[bad.start]:02x})" if bad.start < len(payload) else "")
        if encoding == "utf-8":
            advice = "is it binary or compressed, or does it need another `encoding`?"
            raise PayloadError(Reason.NOT_UTF8, f"{where} is not UTF-8: {advice}") from None
        raise PayloadError(Reason.INVALID_TEXT, f"{where} is not {encoding}: {bad.reason}") from None


def number_in(text: str, decimal: str = ".") -> int | float | None:
    """The number that this text is and nothing else, with this decimal sign; None if it is none."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if decimal != ".":
        if "." in text:
            return None  # a separator of thousands or of decimals: who knows
        text = text.replace(decimal, ".", 1)
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) or _NON_FINITE.fullmatch(text) else None
