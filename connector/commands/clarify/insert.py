"""The command `insert`: sends a CSV file to Clarify, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from connector.clarify import ClarifyError, Client
from connector.commands.clarify.connection import reaches_clarify
from connector.commands.clarify.sheets.opened import NAMED_DELIMITERS, Opened, check_encoding
from connector.commands.clarify.sheets.reader import LEARNED_FROM, Layout, Reader
from connector.commands.clarify.sheets.times import Times
from connector.commands.clarify.times import ZoneParameter
from connector.terminal.paths import UserPath
from connector.terminal.progress import bar
from connector.terminal.tables import unguarded
from connector.terminal.text import say

_INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as that of a shell: 128 + SIGINT."""


@click.command()
@reaches_clarify
@click.argument("file", type=UserPath(path_type=Path, allow_dash=True, exists=True, dir_okay=False))
@click.option("--long", is_flag=True, help="The columns are time, input and value: one value in each line.")
@click.option("--map", "maps", metavar="HEADING=INPUT", multiple=True,
              help="Input ID of a column, by its heading. HEADING= leaves the column out.")  # fmt: skip
@click.option("--map-file", type=UserPath(path_type=Path, exists=True, dir_okay=False),
              help="CSV file with the columns heading and input, in place of many --map.")  # fmt: skip
@click.option("--time-zone", type=ZoneParameter(), help="Time zone of times without a zone, such as Europe/Oslo.")
@click.option("--date-format", "formats", metavar="FORMAT", multiple=True,
              help="Notation of times: '%d.%m.%Y %H:%M', or excel (serial dates).  [default: told apart]")  # fmt: skip
@click.option("--delimiter", help="Separator of columns: a character, or tab.  [default: told apart]")
@click.option("--decimal-comma/--decimal-point", default=None,
              help="Read numbers such as 4,1, or such as 4.1.  [default: told apart]")  # fmt: skip
@click.option("--na", "no_values", metavar="TEXT", multiple=True,
              help="Text that means that there is no value, such as NaN.")  # fmt: skip
@click.option("--encoding", help="Encoding of the file, such as cp1252.  [default: told apart]")
@click.option("--skip-bad", is_flag=True, help="Leave out lines and cells with mistakes, instead of sending nothing.")
@click.option("--from-line", type=click.IntRange(1), default=1, help="Begin with this line of the file.")
def insert(client: Client, file: Path, long: bool, maps: tuple[str, ...], map_file: Path | None,
           time_zone: ZoneInfo | None, formats: tuple[str, ...], delimiter: str | None, decimal_comma: bool | None,
           no_values: tuple[str, ...], encoding: str | None, skip_bad: bool, from_line: int) -> None:  # fmt: skip
    """Insert a CSV file into Clarify.

    The first column has the time, every other column the values of one input ID. An empty cell is no value. Files of
    spreadsheet programs are read as they are; what cannot be told apart is refused. A file is read twice: the first
    time to find mistakes, the second time to send. Standard input (-) is checked and sent block by block.
    """
    said = dict(map(_pair, maps))
    layout = Layout(
        time_zone,
        formats,
        long,
        None if delimiter is None else _read_delimiter(delimiter),
        None if encoding is None else check_encoding(encoding),
        decimal_comma,
        tuple(text.strip() for text in no_values),
        ({} if map_file is None else _names_in(map_file)) | said,
        frozenset(said),
    )
    try:
        Times(time_zone, formats)
    except ValueError as error:
        raise click.UsageError(f"--date-format: {error}") from None
    _Insertion(client, file, layout, from_line, skip_bad=skip_bad).run()


class _Insertion:
    """One run of the command."""

    def __init__(self, client: Client, file: Path, layout: Layout, from_line: int, *, skip_bad: bool) -> None:
        self._client = client
        self._file = file
        self._is_stream = str(file) == "-"
        self._name = "standard input" if self._is_stream else str(file)
        self._length = 0 if self._is_stream else file.stat().st_size
        self._layout = layout
        self._from_line = from_line
        self._skip_bad = skip_bad
        self._stored_to = from_line - 1
        self._samples = 0
        self._replaced = 0

    def run(self) -> None:
        """Check the file, and send its values. Ctrl-C ends the command with status 130."""
        try:
            learned = None if self._is_stream else self._checked()
            self._send(learned)
        except KeyboardInterrupt:
            say(self._stopped("interrupted"), err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None

    def _checked(self) -> Reader:
        with self._reader() as learner:
            learner.learn()
            self._say_guessed(learner)
        with self._reader() as reader, bar("Checking", self._length) as checked:
            reader.learn_from(learner)
            cells = 0
            for block in reader.blocks(self._from_line):
                cells += block.cells
                checked.update(reader.opened.size - checked.pos)
        _report(reader)
        if reader.wrong and not self._skip_bad:
            raise click.ClickException(
                f"{reader.wrong} mistakes, nothing was sent; correct the file, or use --skip-bad{_hint(reader)}"
            )
        if not cells:
            raise click.ClickException(self._nothing(reader))
        return reader

    def _send(self, learned: Reader | None) -> None:
        seen: set[str] = set()
        with self._reader() as reader, bar("Inserting", self._length) as inserted:
            if learned is None:
                reader.learn(LEARNED_FROM)
                self._say_guessed(reader)
            else:
                reader.learn_from(learned)
            for block in reader.blocks(self._from_line):
                if learned is None and reader.wrong and not self._skip_bad:
                    _report(reader)
                    raise click.ClickException(self._stopped("mistakes in the data") + _hint(reader))
                if block.cells:
                    try:
                        self._client.insert(block.frame()).raise_for_error()
                    except ClarifyError as error:
                        raise click.ClickException(self._stopped(str(error))) from None
                self._stored_to = block.last_line
                self._samples += block.cells - block.replaced
                self._replaced += block.replaced
                seen |= block.series.keys()
                inserted.update(reader.opened.size - inserted.pos)
        if learned is None:
            _report(reader)
        if not self._samples:
            raise click.ClickException(self._nothing(reader))
        left_out = f", mistakes left out: {reader.wrong}" if reader.wrong else ""
        replaced = f", replaced by a later value for the same time: {self._replaced:,}" if self._replaced else ""
        say(f"inserted: {self._samples:,} values, signals: {len(seen):,}{replaced}{left_out}", err=True)

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        if self._is_stream:
            yield Reader(self._name, sys.stdin.buffer, self._layout)
        else:
            with self._file.open("rb") as opened:
                yield Reader(self._name, opened, self._layout)

    def _say_guessed(self, reader: Reader) -> None:
        if reader.opened.guessed:
            say(
                f"{self._name} is not UTF-8 and was read as {reader.opened.encoding}; if letters are wrong, use "
                "--encoding",
                err=True,
            )

    def _stopped(self, why: str) -> str:
        if self._stored_to < self._from_line:
            if self._from_line == 1:
                return f"{why}; nothing is stored"
            return f"{why}; no further line is stored; continue with --from-line {self._from_line}"
        return (
            f"{why}; all lines up to line {self._stored_to} are stored; continue with --from-line {self._stored_to + 1}"
        )

    def _nothing(self, reader: Reader) -> str:
        if reader.wrong:
            return f"no value is without a mistake, nothing was sent; mistakes: {reader.wrong}"
        begin = "" if self._from_line == 1 else f" from line {self._from_line} on"
        return f"{self._name} has no value{begin}: nothing was sent"


def _read_delimiter(text: str) -> str:
    delimiter = next((sign for sign, name in NAMED_DELIMITERS.items() if name == text), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise click.UsageError(f"--delimiter must be one character, or tab, not {text!r}")
    return delimiter


def _pair(text: str) -> tuple[str, str]:
    heading, equals, input_id = text.rpartition("=")  # an input ID has no equals sign
    if not equals:
        raise click.UsageError(f"--map {text!r} needs an equals sign: --map 'Pressure (bar)=boiler/pressure'")
    return heading.strip(), input_id.strip()


def _names_in(file: Path) -> dict[str, str]:
    with file.open("rb") as stream:
        records = Opened(str(file), stream, None, None).records()
        heading = next(records)
        if [cell.strip().lower() for cell in heading.cells] != ["heading", "input"]:
            raise click.ClickException(f"{file}, line {heading.number}: the columns must be heading and input")
        names: dict[str, str] = {}
        for number, cells in records:
            if len(cells) != len(heading.cells):
                raise click.ClickException(f"{file}, line {number}: {len(cells)} columns, but the heading has 2")
            name, input_id = (unguarded(cell.strip()) for cell in cells)
            if names.setdefault(name, input_id) != input_id:
                raise click.ClickException(f"{file}, line {number}: {name!r} is there twice, with two inputs")
        return names


def _hint(reader: Reader) -> str:
    return "; if each line has one value, use --long" if reader.looks_long else ""


def _report(reader: Reader) -> None:
    for problem in reader.problems:
        say(problem, err=True)
    if reader.wrong > len(reader.problems):
        say(f"… and {reader.wrong - len(reader.problems)} more", err=True)
