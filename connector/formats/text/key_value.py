r"""Pairs of keys and values: `temp=21.5 state=on note="all well"`, as logfmt and many serial devices write them.

A value that is a number becomes a number; whole numbers that begin with a zero are identifiers and stay text. `true`
and `false` become booleans, an empty value and a key without a value become null. A value in double quotes is text; in
it, `\"`, `\\` and `\n` are escapes.
"""

from __future__ import annotations

import re
from typing import Final

from connector.formats.format import Documents, PayloadError
from connector.formats.text.characters import decode_text, number_in
from connector.formats.text.lines import decode_lines, invalid_line
from connector.records import Reason

_IDENTIFIER: Final = re.compile(r"0\d+", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class KeyValueFormat:
    """The format of pairs: a line is a document; with pairs on lines of their own, the payload is."""

    name = "key_value"

    def __init__(self, *, separator: str = " ", assign: str = "=", decimal: str = ".") -> None:
        """`separator` stands between pairs (a space: any blanks); `assign` between a key and its value."""
        self._whole = separator == "\n"
        self._decimal = decimal
        between, sign = r"\s" if separator == " " else re.escape(separator), re.escape(assign)
        blanks = "" if separator == " " else r"[ \t]*+"
        # No pattern backtracks: each character of a text is read once.
        self._next = re.compile(rf"(?:{between}|\s)*+")
        self._key = re.compile(rf"[^{sign}{between}]++")
        self._sign = re.compile(rf"{blanks}{sign}{blanks}")
        self._quoted = re.compile(rf'"((?:\\.|[^"\\])*+)"(?={blanks}(?:{between}|\s|\Z))', re.DOTALL)
        self._plain = re.compile(rf"[^{between}]*+")

    def decode(self, payload: bytes) -> Documents | dict[str, object]:
        """The documents of the lines, or the document of the payload. Raises `PayloadError`."""
        if not self._whole:
            return decode_lines(payload, self._document)
        text = decode_text(payload).strip("\0 \t\r\n")
        if not text:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        return self._document(text)

    def _document(self, text: str) -> dict[str, object]:
        document: dict[str, object] = {}
        signs, at = 0, self._behind(self._next, text, 0)
        while at < len(text):
            key = self._key.match(text, at)
            if key is None:
                raise invalid_line(f"column {at + 1}: expected a key; found {text[at : at + 30]!r}")
            name = key[0].strip()
            if name in document:
                raise PayloadError(Reason.DUPLICATE_KEY, f"{name[:40]!r} stands twice in the line")
            sign = self._sign.match(text, key.end())
            at, document[name] = key.end(), None
            if sign is not None:
                signs += 1
                at, document[name] = self._value(text, sign.end())
            at = self._behind(self._next, text, at)
        if not signs:
            raise invalid_line(f"there is no pair of a key and a value; found {text[:30]!r}")
        return document

    def _value(self, text: str, at: int) -> tuple[int, object]:
        quoted = self._quoted.match(text, at)
        if quoted is not None:
            escaped = "\\" in quoted[1]
            return quoted.end(), _ESCAPE.sub(_character, quoted[1]) if escaped else quoted[1]
        plain = self._plain.match(text, at)
        written = "" if plain is None else plain[0].strip()
        behind = at if plain is None else plain.end()
        if not written:
            return behind, None
        number = None if _IDENTIFIER.fullmatch(written) else number_in(written, self._decimal)
        return behind, _BOOLEANS.get(written, written) if number is None else number

    @staticmethod
    def _behind(pattern: re.Pattern[str], text: str, at: int) -> int:
        found = pattern.match(text, at)
        return found.end() if found else at


def _character(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(found[1], found[1])
