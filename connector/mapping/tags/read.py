"""Reads a tag list: bytes → a list, or all mistakes with their places. Never half of a list."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from connector.mapping.tags.cells import CellError, Row, decimals_of, tag_of
from connector.mapping.tags.tag import ATTRIBUTES, LABEL, Tag, TagList, TagListError
from connector.mapping.tags.text import GUESSED, TextError, decode, encoding_of, lines_of, separator_of
from connector.mapping.tags.yaml_rows import yaml_rows

MOST_BYTES: Final = 64 * 1024 * 1024
"""The largest file that is read: some 500,000 tags."""
_MOST_PROBLEMS: Final = 1000
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9\-_/]{1,40}", re.ASCII)
_FORMULA: Final = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)
_NEAR: Final = 0.75
"""The similarity above which the name of a column is a mistyped attribute, and no remark of the user."""
_SEPARATOR_NAMES: Final = {"\t": "tabs", "\x1f": "one column"}


class Notation(NamedTuple):
    """How a list is written, as far as the configuration says it."""

    yaml: bool = False
    """Whether the list is YAML, and not CSV."""
    encoding: str | None = None
    """None: told apart."""
    decimal_comma: bool | None = None
    """None: told apart."""


def read_tags(content: bytes, name: str, notation: Notation = Notation()) -> TagList:  # noqa: B008 - immutable
    """Returns the list in a file with this content; `name` is that of the file, for errors.

    Raises `TagListError` with all mistakes.
    """
    if len(content) > MOST_BYTES:
        raise TagListError([f"{name}: is larger than {MOST_BYTES // 1024 // 1024} MiB"])
    try:
        encoding = encoding_of(content, notation.encoding)
        text = decode(content, encoding)
        reader = _YamlReader(text) if notation.yaml else _CsvReader(text)
        rows = list(reader.rows())
    except TextError as error:
        raise TagListError([f"{name}:{error.line}: {error}" if error.line else f"{name}: {error}"]) from None
    decimals = decimals_of(notation.decimal_comma, rows)
    tags: dict[str, Tag] = {}
    problems: list[str] = []
    for row in rows:
        try:
            tag = tag_of(row, decimals)
        except CellError as error:
            problems.append(f"{name}:{row.line}: {reader.place(error.column)}: {error}")
        else:
            first = tags.setdefault(tag.key, tag)
            if first is not tag:
                problems.append(
                    f"{name}:{row.line}: {reader.place('key')}: {tag.key[:200]!r} is on line {first.line}, too; remove "
                    "one of the two lines"
                )
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise TagListError(problems)
    warnings = [f"{name}: {text}" for text in reader.warnings()]
    if encoding == GUESSED and notation.encoding is None:
        warnings.append(
            f"{name}: is not UTF-8 and was read as {GUESSED}; if letters are wrong, save the list as UTF-8, or set "
            "encoding"
        )
    sign = ", decimal comma" if decimals.comma and any({"scale", "offset"} & row.cells.keys() for row in rows) else ""
    return TagList(tags, f"{reader.form}, {encoding.removesuffix('-sig')}{sign}", tuple(warnings))


class _CsvReader:
    def __init__(self, text: str) -> None:
        separator = separator_of(text)
        lines = lines_of(io.StringIO(text, newline=""), separator)
        header = next(lines, None)
        if header is None:  # only the line sep=
            raise TextError(1, "has no names of columns; the first line has the names, such as key;name;unit")
        self._lines = lines
        self.form = f"CSV with {_SEPARATOR_NAMES.get(separator, separator)}"
        self._columns = [column_of(cell) for cell in header.cells]
        self._titles = [cell.strip() for cell in header.cells]
        known: set[str] = set()
        for number, column in enumerate(self._columns):
            self._check(header.number, number, column, known)

    def rows(self) -> Iterator[Row]:
        width = len(self._columns)
        for number, cells in self._lines:
            if len(cells) > width and any(map(str.strip, cells[width:])):
                raise TextError(
                    number,
                    f"column {letter(width)}: has a text, but the first line names only {width} columns; a text with "
                    "the separator in it is written in quotes",
                )
            found = {}
            for column, cell in zip(self._columns, cells, strict=False):
                text = cell.strip()
                if text and column is not None:
                    found[column] = _unguarded(text)
            yield Row(number, found)

    def place(self, column: str) -> str:
        return f"column {letter(self._columns.index(column))} ({column})" if column in self._columns else column

    def warnings(self) -> list[str]:
        remarks = [
            title
            for title, column in zip(self._titles, self._columns, strict=True)
            if column is None and title and not title.startswith("#")
        ]
        return [_not_read(remarks)] if remarks else []

    def _check(self, line: int, number: int, column: str | None, known: set[str]) -> None:
        title = self._titles[number]
        if column is None:
            _check_remark(line, f"column {letter(number)}", title)
        elif column in known:
            raise TextError(line, f"column {letter(number)}: {title!r} is there twice")
        else:
            known.add(column)
            if column.startswith(LABEL):
                _check_label(line, f"column {letter(number)}", column)


class _YamlReader:
    form = "YAML"

    def __init__(self, text: str) -> None:
        self._text = text
        self._remarks: dict[str, None] = {}

    def rows(self) -> Iterator[Row]:
        for row in yaml_rows(self._text):
            found = {"key": row.cells["key"]} if row.cells["key"] else {}
            for name, text in row.cells.items():
                column = column_of(name)
                if column is None:
                    _check_remark(row.line, f"{row.cells['key'][:200]!r}", name)
                    self._remarks.setdefault(name)
                elif column.startswith(LABEL):
                    _check_label(row.line, f"{row.cells['key'][:200]!r}", column)
                if column is not None and text:
                    found[column] = text
            yield Row(row.line, found)

    def place(self, column: str) -> str:
        return column

    def warnings(self) -> list[str]:
        remarks = [name for name in self._remarks if not name.startswith("#")]
        return [_not_read(remarks)] if remarks else []


def column_of(title: str) -> str | None:
    """Returns the attribute that a column has by its title; None for a remark, which is not read."""
    text = title.strip()
    folded = re.sub(r"[\s\-]+", "_", text.casefold())
    if folded in ATTRIBUTES:
        return folded
    for start in (LABEL, "labels:", "label.", "labels."):
        if text.casefold().startswith(start) and len(text) > len(start):
            return LABEL + text[len(start) :].strip()
    return None


def letter(number: int) -> str:
    """Returns the letters of a column in a spreadsheet program: 0 → A, 26 → AA."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def guarded(text: str) -> str:
    """Returns a text with an apostrophe before it, if a spreadsheet program would calculate the text."""
    return "'" + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _unguarded(text: str) -> str:
    """Returns a text without the apostrophe of `guarded`."""
    return text[1:] if text[0] == "'" and _FORMULA.match(text, 1) else text


def _check_remark(line: int, where: str, title: str) -> None:
    near = difflib.get_close_matches(title.casefold(), ATTRIBUTES, 1, _NEAR)
    if near:
        raise TextError(
            line, f"{where}: {title[:60]!r} is no attribute; did you mean {near[0]}? A remark has a # before its name"
        )


def _check_label(line: int, where: str, column: str) -> None:
    if not _LABEL_KEY.fullmatch(column[len(LABEL) :]):
        raise TextError(
            line,
            f"{where}: {column[len(LABEL) :][:60]!r} is no key of a label; letters, digits, -, _ and / are allowed",
        )


def _not_read(remarks: list[str]) -> str:
    listed = ", ".join(repr(one[:60]) for one in remarks[:10])
    return f"not read, since they are no attributes: {listed}; a remark has a # before its name"
