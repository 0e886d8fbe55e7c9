"""The command `insert`: sends a CSV file to Clarify, in bounded memory."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Final, TextIO
from zoneinfo import ZoneInfo

import click

from connector.clarify import ClarifyError, Client, DataFrame
from connector.clarify.models import check_input_id
from connector.commands.clarify.connection import reaches_clarify
from connector.commands.clarify.times import ZoneParameter, read_time
from connector.terminal.progress import bar
from connector.terminal.tables import unguarded
from connector.terminal.text import say

_ROWS: Final = 20_000
"""Most lines of one block; a block with many columns has fewer."""
_CELLS: Final = 500_000
_SHOWN: Final = 20
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DELIMITERS: Final = {"\t": "tab"}
"""Delimiter that is hard to type → name of the delimiter."""
_LONG: Final = ("time", "input", "value")


@dataclass(slots=True)
class _Block:
    """A part of the file's lines, as columns."""

    last_line: int = 0
    size: int = 0
    """Characters that were read for the block."""
    cells: int = 0
    times: dict[int, int] = field(default_factory=dict)
    """Time in µs → row of the time."""
    series: dict[str, dict[int, float]] = field(default_factory=dict)
    """Input ID → row → value."""

    def add(self, time_us: int, input_id: str, value: float) -> None:
        self.series.setdefault(input_id, {})[self.times.setdefault(time_us, len(self.times))] = value
        self.cells += 1

    @property
    def is_wide(self) -> bool:
        """Whether a frame of the block would be large and mostly empty, as many series have different times."""
        return len(self.times) * len(self.series) >= _CELLS * 4

    def frame(self) -> DataFrame:
        columns = {key: [cells.get(row) for row in range(len(self.times))] for key, cells in self.series.items()}
        return DataFrame.from_us(self.times, columns)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The options for reading a file."""

    zone: ZoneInfo | None
    long: bool
    delimiter: str
    decimal_comma: bool


class _Reader:
    """Reads a file block by block, and notes the mistakes in the file."""

    def __init__(self, name: str, file: TextIO, layout: _Layout) -> None:
        self._name = name
        self._size = 0
        self._rows = csv.reader(self._lines(file), delimiter=layout.delimiter)
        self._layout = layout
        self.problems: list[str] = []
        self.wrong = 0
        self.inputs = self._heading()

    def _lines(self, file: TextIO) -> Iterator[str]:
        try:
            for line in file:
                self._size += len(line)
                yield line
        except UnicodeDecodeError as error:
            raise click.ClickException(
                f"{self._name}, after line {self._rows.line_num}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
                "save the file as UTF-8"
            ) from None

    def _heading(self) -> list[str]:
        heading = next(self._rows, None)
        if heading is None:
            raise click.ClickException(f"{self._name} is empty: the first line names the columns")
        if len(heading) == 1 and (other := next((sign for sign in ";\t|," if sign in heading[0]), None)):
            raise click.ClickException(
                f"{self._name}, line 1: {_DELIMITERS.get(other, other)!r} seems to separate the columns: "
                "name the delimiter with --delimiter"
            )
        if self._layout.long:
            if tuple(title.strip().lower() for title in heading) != _LONG:
                raise click.ClickException(f"{self._name}, line 1: with --long the columns are {', '.join(_LONG)}")
            return []
        if _is_data(heading):
            raise click.ClickException(f"{self._name}, line 1 is data: the first line must name the columns")
        inputs = [unguarded(title.strip()) for title in heading[1:]]
        for column, input_id in enumerate(inputs, 2):
            try:
                check_input_id(input_id)
            except ValueError as error:
                raise click.ClickException(f"{self._name}, line 1, column {column}: {error}") from None
        if len(set(inputs)) < len(inputs) or not inputs:
            raise click.ClickException(
                f"{self._name}, line 1: the file needs a column of times, and one for each input ID"
            )
        return inputs

    def blocks(self, from_line: int = 1) -> Iterator[_Block]:
        """Yield the lines from `from_line` on, in blocks."""
        block, rows = _Block(), 0
        while True:
            try:
                row = next(self._rows, None)
            except csv.Error as error:
                self._note("", f"not CSV: {error}")
                continue
            if row is None or rows >= _ROWS or block.cells >= _CELLS or block.is_wide:
                block.size, self._size = self._size, 0
                if rows:
                    yield block
                if row is None:
                    return
                block, rows = _Block(), 0
            block.last_line = self._rows.line_num
            if row and self._rows.line_num >= from_line:
                rows += 1
                self._add(block, row)

    def _add(self, block: _Block, row: list[str]) -> None:
        expected = 3 if self._layout.long else len(self.inputs) + 1
        if len(row) != expected:
            self._note("", f"{len(row)} columns, but the heading has {expected}")
            return
        try:
            time_us = read_time(row[0].strip(), self._layout.zone)
        except ValueError as error:
            self._note(", column 1", str(error))
            return
        if self._layout.long:
            try:
                self._cell(block, time_us, check_input_id(unguarded(row[1].strip())), row[2], 3)
            except ValueError as error:
                self._note(", column 2", str(error))
            return
        for column, (input_id, text) in enumerate(zip(self.inputs, row[1:], strict=True), 2):
            self._cell(block, time_us, input_id, text, column)

    def _cell(self, block: _Block, time_us: int, input_id: str, text: str, column: int) -> None:
        text = text.strip()
        if not text:
            return
        if self._layout.decimal_comma and text.count(",") == 1 and "." not in text:
            text = text.replace(",", ".")
        value = float(text) if _NUMBER.fullmatch(text) else float("nan")
        if isfinite(value):
            block.add(time_us, input_id, value)
        else:
            self._note(f", column {column} ({input_id})", f"{text[:40]!r} is not a number that Clarify can store")

    def _note(self, where: str, what: str) -> None:
        self.wrong += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"{self._name}, line {self._rows.line_num}{where}: {what}")


@click.command()
@reaches_clarify
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False))
@click.option("--long", is_flag=True, help="The columns are time, input and value: one value in each line.")
@click.option("--time-zone", type=ZoneParameter(), help="Time zone of times without a zone, such as Europe/Oslo.")
@click.option("--delimiter", default=",", show_default=True, help="Separator of columns: a character, or tab.")
@click.option(
    "--decimal-comma", is_flag=True, help="Read numbers such as 4,1. The columns then need another delimiter."
)
@click.option("--skip-bad", is_flag=True, help="Leave out lines and cells with mistakes, instead of sending nothing.")
@click.option("--from-line", type=click.IntRange(1), default=1, help="Begin with this line of the file.")
def insert(client: Client, file: Path, long: bool, time_zone: ZoneInfo | None, delimiter: str, decimal_comma: bool,
           skip_bad: bool, from_line: int) -> None:  # fmt: skip
    """Insert a CSV file into Clarify.

    The first column has the time, every other column the values of one input ID. A time is ISO 8601 text or a number
    since 1970. An empty cell is no value. A file is read twice: the first time to find mistakes, the second time to
    send. Standard input (-) is checked and sent block by block.
    """
    layout = _Layout(time_zone, long, _read_delimiter(delimiter, decimal_comma=decimal_comma), decimal_comma)
    is_stream = str(file) == "-"
    name = "standard input" if is_stream else str(file)
    length = 0 if is_stream else file.stat().st_size
    if not is_stream:
        with _opened(file) as opened, bar("Checking", length) as checked:
            reader = _Reader(name, opened, layout)
            for block in reader.blocks(from_line):
                checked.update(block.size)
        _report(reader)
        if reader.wrong and not skip_bad:
            raise click.ClickException(
                f"{reader.wrong} mistakes, nothing was sent; correct the file, or use --skip-bad"
            )
    samples = 0
    seen: set[str] = set()
    with _opened(file) as opened, bar("Inserting", length) as inserted:
        reader = _Reader(name, opened, layout)
        stored_to = from_line - 1
        for block in reader.blocks(from_line):
            if is_stream and reader.wrong and not skip_bad:
                _report(reader)
                raise click.ClickException(_stopped("mistakes in the data", stored_to))
            try:
                client.insert(block.frame()).raise_for_error()
            except ClarifyError as error:
                raise click.ClickException(_stopped(str(error), stored_to)) from None
            stored_to = block.last_line
            samples += block.cells
            seen |= block.series.keys()
            inserted.update(block.size)
    if is_stream:
        _report(reader)
    left_out = f", mistakes left out: {reader.wrong}" if reader.wrong else ""
    say(f"inserted: {samples:,} values, signals: {len(seen):,}{left_out}", err=True)


def _read_delimiter(text: str, *, decimal_comma: bool) -> str:
    delimiter = next((sign for sign, name in _DELIMITERS.items() if name == text), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise click.UsageError(f"--delimiter must be one character, or tab, not {text!r}")
    if decimal_comma and delimiter == ",":
        raise click.UsageError("with --decimal-comma the columns need another delimiter, such as --delimiter ';'")
    return delimiter


def _is_data(heading: list[str]) -> bool:
    """Whether the first line, which should have titles, has data: a time, or only numbers."""
    try:
        read_time(heading[0].strip(), ZoneInfo("UTC"))
    except ValueError:
        return False
    return True


def _opened(file: Path) -> TextIO | nullcontext[TextIO]:
    return nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8-sig", newline="")


def _report(reader: _Reader) -> None:
    for problem in reader.problems:
        say(problem, err=True)
    if reader.wrong > len(reader.problems):
        say(f"… and {reader.wrong - len(reader.problems)} more", err=True)


def _stopped(why: str, stored_to: int) -> str:
    stored = (
        f"all lines up to line {stored_to} are stored; continue with --from-line {stored_to + 1}"
        if stored_to
        else "nothing is stored"
    )
    return f"{why}\n{stored}"
