"""Bytes of a file of a spreadsheet program → text: the encoding, and the separator of CSV, where they are certain."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

SEPARATORS: Final = (";", ",", "\t", "|")
_NONE: Final = "\x1f"
"""The separator of a list with one column: no text has it."""
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
GUESSED: Final = "cp1252"
"""The encoding of a file that is not UTF-8: that of spreadsheet programs in Western Europe and America."""


class TextError(ValueError):
    """The text cannot be read; `line` is the line in the file, from 1, or None."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line


class Line(NamedTuple):
    """One record of a CSV file."""

    number: int
    """The line in the file on which the record begins, from 1."""
    cells: list[str]


def encoding_of(content: bytes, said: str | None) -> str:
    """Returns the encoding of a file; `said` is that of the configuration, or None. Raises `TextError`."""
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise TextError(None, "is the file of a spreadsheet program, and no text; save the sheet as CSV")
    for bom, name in _BOMS:
        if content.startswith(bom):
            return name
    if said is not None:
        return said
    if b"\x00" in content:
        head = content[: len(content) & ~1]
        even, odd = head[::2].count(0), head[1::2].count(0)
        if len(content) % 2 or (even and odd) or max(even, odd) < max(1, len(head) // 4):
            raise TextError(content[: content.index(0)].count(b"\n") + 1, "has a NUL byte; save the file as UTF-8")
        return "utf-16-be" if even else "utf-16-le"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return GUESSED
    return "utf-8"


def decode(content: bytes, encoding: str) -> str:
    """Returns the text of a file. Raises `TextError`."""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TextError(
            line, f"is no text in {encoding.removesuffix('-sig')}; save the list as UTF-8, or set encoding"
        ) from None
    if "\x00" in text:
        raise TextError(text[: text.index("\x00")].count("\n") + 1, "has a NUL character; save the file as UTF-8")
    return text.removeprefix("\ufeff")


def separator_of(text: str) -> str:
    """Returns the separator of a tag list in CSV, by its first line. Raises `TextError`."""
    number, line = next(_told(text), (1, ""))
    stated = stated_separator(line)
    if stated is not None:
        return stated
    found = [(separator, cells) for separator in SEPARATORS if "key" in (cells := _columns(line, separator))]
    if not found:
        raise TextError(
            number, "no column is called key; the first line has the names of the columns, such as key;name;unit"
        )
    if all(len(cells) == 1 for _, cells in found):
        return _NONE
    if len(found) > 1:
        raise TextError(number, "the separator of the columns is not certain; write sep=; as the first line")
    return found[0][0]


def stated_separator(line: str) -> str | None:
    """Returns the separator that a first line `sep=;` of a spreadsheet program states; None for another line."""
    if line.lower().startswith("sep=\t"):
        return "\t"
    stated = line.strip()
    return stated[4] if stated[:4].lower() == "sep=" and len(stated) == len("sep=x") else None


def lines_of(lines: Iterable[str], separator: str) -> Iterator[Line]:
    """Yields the records of a CSV file, without comments and empty lines. Raises `TextError`.

    `lines` have their ends, as those of a file that is opened with `newline=""`.
    """
    begun = 0
    fresh = True

    def told() -> Iterator[str]:
        nonlocal begun, fresh
        for number, line in enumerate(lines, 1):
            if fresh:
                if _says_nothing(line) or (begun == 0 and line[:4].lower() == "sep="):
                    continue
                begun, fresh = number, False
            yield line

    reader = csv.reader(told(), delimiter=separator, strict=True)
    while True:
        fresh = True
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise TextError(
                begun, f'the quotes are wrong ({error}); a text with quotes is written as "so ""called"""'
            ) from None
        if cells is None:
            return
        if any(map(str.strip, cells)):
            yield Line(begun, cells)


def _told(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if not _says_nothing(line):
            yield number, line


def _says_nothing(line: str) -> bool:
    """Whether a line is empty or a comment. A key that begins with # is written in quotes."""
    return not line.strip() or line.startswith("#")


def _columns(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip().casefold() for cell in next(csv.reader([line], delimiter=separator, strict=True), [])]
    except csv.Error:
        return []
