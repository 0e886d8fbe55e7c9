"""Rows as a table for people, at most as wide as the terminal, and as CSV or JSON for programs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

import orjson

from connector.terminal.text import harmless_json, shown

FORMATS: Final = ("table", "csv", "json", "ndjson")
_GAP: Final = "  "
_NARROWEST: Final = 6
_WHOLE: Final = 1e15
"""A whole float below this number is shown without a decimal point."""
_FORMULA: Final = re.compile(r"(^|;)(?='*\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The beginning of a text that a spreadsheet would calculate.

A formula may also begin behind a semicolon, as spreadsheets of many countries split cells at semicolons, and with a
full-width sign, as spreadsheets of Japan treat full-width signs like ASCII signs.
"""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], out: TextIO) -> None:
    """Write the columns side by side. On a terminal, a cell that does not fit is cut and ends in an ellipsis."""
    titles = [shown(title) for title in columns]
    texts = [[_cell(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(row[n]) for row in texts)]) for n, title in enumerate(titles)]
    if out.isatty():
        _fit(widths, shutil.get_terminal_size().columns - len(_GAP) * (len(columns) - 1))
    right = [bool(rows) and all(isinstance(row[n], int | float | None) for row in rows) for n in range(len(columns))]
    for row in [titles, *texts]:
        cells = [
            _cut(cell, width).rjust(width) if is_number else _cut(cell, width).ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ]
        out.write(_GAP.join(cells).rstrip() + "\n")


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    """Write comma-separated rows below a row of column names; None becomes an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it; `unguarded` takes the apostrophe
    off. Numbers stay numbers. A character that is not printable is written as its escape sequence (see `shown`).
    """
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_guarded, columns))
    writer.writerows(map(_guarded, row) for row in rows)


def unguarded(cell: str) -> str:
    """Return the text of a cell of `write_csv`, without the apostrophe that keeps spreadsheets from calculating."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def write_json(value: object, out: TextIO, *, lines: bool = False) -> None:
    """Write indented JSON; with `lines`, write a list as one line for each entry."""
    if lines and isinstance(value, list):
        texts = [orjson.dumps(entry).decode() for entry in value]
    else:
        texts = [orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()]
    for text in texts:
        out.write(_for_encoding(harmless_json(text), out) + "\n")


def _for_encoding(document: str, out: TextIO) -> str:
    """Return the JSON document, in ASCII if the encoding of `out` is not a Unicode encoding."""
    if document.isascii() or (out.encoding or "utf-8").lower().replace("_", "-").startswith("utf"):
        return document
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in document)


def _guarded(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = shown(cell)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return shown(str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE else str(cell))


def _fit(widths: list[int], room: int) -> None:
    """Narrow the widest columns until all columns fit into `room` characters, or have the least width."""
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
