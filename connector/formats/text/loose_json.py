"""JSON that is nearly JSON: text → the same text as JSON writes it.

Nothing is read here: one pass changes single words of the text, and the strict parser then reads the result. So what is
not understood stays as it is, and is refused there. Libraries for JSON5 refuse `007`, `True` and `nan`, which devices
send, and read a hundred kilobytes a second.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    # a string that the text ends in is taken whole: tried again at each of its quotes, it would take minutes
    r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
    r"|'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)"
    r"""|[^\s{}\[\]:,"']++"""
    r"|,(?=\s*+[}\]])",
    re.DOTALL,
)
NON_FINITE: Final = re.compile(r"[+-]?(?:nan(?:\(\w{0,20}\))?|inf(?:inity)?|1\.#[a-z]+0*)", re.IGNORECASE | re.ASCII)
"""NaN and infinity as the printf of C libraries, and many languages, write them."""
_NUMBER: Final = re.compile(r"([+-]?)(\d*)(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_HEX: Final = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,16}")
_KEY: Final = re.compile(r"(?:[^\W\d]|\$)[\w$]*|\d+")
_COLON: Final = re.compile(r"\s*+:")
_QUOTED: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))|\"", re.DOTALL)
_WORDS: Final = {"true": "true", "false": "false", "null": "null", "none": "null", "undefined": "null"}


def with_finite_words(text: str) -> str:
    """The text with `nan`, `inf` and the like as `NaN`, `Infinity` and `-Infinity`, which Python's parser takes."""

    def replaced(match: re.Match[str]) -> str:
        return _finite_word(match[0])

    return _TOKEN.sub(replaced, text)


def as_json(text: str) -> str:
    """The text as strict JSON, where it differs in these respects only.

    Texts in single quotes; numbers such as `.5`, `1.`, `+5`, `007` (7, never octal) and `0x1F`; a comma behind the last
    item; keys without quotes; `True`, `None` and `undefined`; and all that `with_finite_words` takes.
    """

    def replaced(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] == '"':
            return token
        if token[0] == ",":
            return ""
        if token[0] == "'":
            return _double_quoted(token)
        if _KEY.fullmatch(token) and _COLON.match(text, match.end()):
            return f'"{token}"'
        return _WORDS.get(token.lower()) or _number(token) or _finite_word(token)

    return _TOKEN.sub(replaced, text)


def _finite_word(token: str) -> str:
    if not NON_FINITE.fullmatch(token):
        return token
    if "inf" not in token.lower():
        return "NaN"
    return "-Infinity" if token[0] == "-" else "Infinity"


def _number(token: str) -> str:
    """The number as JSON writes it; empty if the token is no number."""
    if _HEX.fullmatch(token):
        return str(int(token, 16))
    found = _NUMBER.fullmatch(token)
    if found is None:
        return ""
    sign, whole, fraction, exponent = found.groups(default="")
    if not whole and len(fraction) < 2:
        return ""
    return "-" * (sign == "-") + (whole.lstrip("0") or "0") + (fraction if len(fraction) > 1 else "") + exponent


def _double_quoted(token: str) -> str:
    if len(token) < 2 or token[-1] != "'":
        return token

    def replaced(match: re.Match[str]) -> str:
        code, escaped = match.groups()
        if code is not None:
            return "\\u00" + code
        return '\\"' if escaped is None else "'" if escaped == "'" else match[0]

    return '"' + _QUOTED.sub(replaced, token[1:-1]) + '"'
