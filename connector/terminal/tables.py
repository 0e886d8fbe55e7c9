"""Rows as a table for people, at most as wide as the terminal, and as CSV or JSON for programs."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

import orjson

FORMATS: Final = ("table", "csv", "json", "ndjson")
_GAP: Final = "  "
_NARROWEST: Final = 6
_WHOLE: Final = 1e15
"""Whole floats below this number are shown without a decimal point."""


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], out: TextIO) -> None:
    """Write the columns side by side. On a terminal, a cell that does not fit is cut and ends in an ellipsis."""
    texts = [[_shown(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(row[n]) for row in texts)]) for n, title in enumerate(columns)]
    if out.isatty():
        _fit(widths, shutil.get_terminal_size().columns - len(_GAP) * (len(columns) - 1))
    right = [bool(rows) and all(isinstance(row[n], int | float | None) for row in rows) for n in range(len(columns))]
    for row in [list(columns), *texts]:
        cells = [
            _cut(cell, width).rjust(width) if is_number else _cut(cell, width).ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ]
        out.write(_GAP.join(cells).rstrip() + "\n")


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    """Write comma-separated rows below a row of column names; None becomes an empty cell."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def write_json(value: object, out: TextIO, *, lines: bool = False) -> None:
    """Write indented JSON; with `lines`, write a list as one line for each entry."""
    if lines and isinstance(value, list):
        for entry in value:
            out.write(orjson.dumps(entry).decode() + "\n")
    else:
        out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _shown(cell: object) -> str:
    if cell is None:
        return ""
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE else str(cell)
    return "".join(char if char.isprintable() else "·" for char in text)


def _fit(widths: list[int], room: int) -> None:
    """Narrow the widest columns until all columns fit into `room` characters, or have the least width."""
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
