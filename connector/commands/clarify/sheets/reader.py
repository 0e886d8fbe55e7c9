"""CSV → blocks of values. Mistakes are noted with line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, islice
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

import click

from connector.clarify import ArgumentError
from connector.clarify.models import check_input_id
from connector.commands.clarify.sheets.blocks import Block
from connector.commands.clarify.sheets.numbers import Numbers
from connector.commands.clarify.sheets.opened import NAMED_DELIMITERS, Opened
from connector.commands.clarify.sheets.times import Times
from connector.mapping.tags.decimals import decimal_sign
from connector.mapping.tags.text import SEPARATORS, Line
from connector.terminal.tables import unguarded

_SHOWN: Final = 20
LONG: Final = ("time", "input", "value")
_CLOCK: Final = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
LEARNED_FROM: Final = 20_000
"""Lines of a stream from which its notation is learned, as a stream cannot be read twice."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The options for reading a file. None: told apart."""

    zone: ZoneInfo | None = None
    formats: tuple[str, ...] = ()
    long: bool = False
    delimiter: str | None = None
    encoding: str | None = None
    decimal_comma: bool | None = None
    no_values: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Name in the file → input ID; an empty one for a column that is left out."""
    needed: frozenset[str] = frozenset()
    """The names out of these that must be headings."""


class Reader:
    """Reads a file block by block, and notes the mistakes in the file."""

    def __init__(self, name: str, stream: BinaryIO, layout: Layout) -> None:
        self.opened = Opened(name, stream, layout.encoding, layout.delimiter)
        self._name = name
        self._layout = layout
        self._records = self.opened.records()
        self.problems: list[str] = []
        self.wrong = 0
        self.looks_long = False
        """Whether the second column has names, as with one value in each line."""
        self._unnamed: list[int] = []
        """The columns of values without a name, from 0."""
        self.inputs = self._heading()
        self.times = Times(layout.zone, layout.formats)
        self.numbers = Numbers(layout.decimal_comma, layout.no_values)
        self._first_data = True

    def learn_from(self, other: Reader) -> None:
        """Take over what another reader of this file has learned."""
        self.times, self.numbers = other.times, other.numbers

    def learn(self, most: int | None = None) -> None:
        """Learn how times and numbers are written, from as many lines as needed; at most from the next `most` lines.

        With `most`, `blocks` yields these lines too. Without it, the reader has no more lines.
        """
        kept = None if most is None else list(islice(self._records, most))
        numbers = self.numbers.decimals
        is_learned = False
        for record in self._records if kept is None else kept:
            times_are_learned = self.times.learn(record.number, record.cells[0])
            if not is_learned:
                texts = record.cells[2:] if self._layout.long else compress(record.cells[1:], self.inputs)
                for text in texts:
                    numbers.learn(record.number, text.strip())
            is_learned = numbers.comma is not None
            if is_learned and times_are_learned:
                break
        numbers.points_are_certain = self.opened.delimiter == "," and not self.times.are_local
        if kept is not None:
            self._records = chain(kept, self._records)

    def blocks(self, from_line: int = 1) -> Iterator[Block]:
        """Yield the lines from `from_line` on, in blocks that fill a request."""
        block = Block()
        for record in self._records:
            if record.number < from_line:
                continue
            if block.is_full:
                yield block
                block = Block()
            block.last_line = record.number
            self._add(block, record)
        if block.last_line:
            yield block

    def _heading(self) -> list[str | None]:
        heading = next(self._records, None)
        if heading is None:
            raise click.ClickException(f"{self._name} is empty: the first line names the columns")
        titles = [unguarded(title.strip()) for title in heading.cells]
        folded = tuple(title.lower() for title in titles)
        line = f"{self._name}, line {heading.number}"
        if len(heading.cells) == 1 and (sign := next((sign for sign in SEPARATORS if sign in titles[0]), None)):
            raise click.ClickException(
                f"{line}: {NAMED_DELIMITERS.get(sign, sign)!r} seems to separate the columns: name the delimiter with "
                "--delimiter"
            )
        if self._layout.long:
            if folded != LONG:
                raise click.ClickException(f"{line}: with --long the columns are {', '.join(LONG)}")
            return []
        if folded == LONG and not {"input", "value"} & set(self._layout.names):
            raise click.ClickException(
                f"{line}: the columns are those of one value in each line: use --long; if they are signals, use --map "
                "input=… and --map value=…"
            )
        if _is_time(titles[0]):
            raise click.ClickException(f"{line} is data: the first line must name the columns")
        return self._inputs(titles, line)

    def _inputs(self, titles: list[str], line: str) -> list[str | None]:
        names = self._layout.names
        if unknown := sorted(self._layout.needed - set(titles[1:])):
            raise click.ClickException(
                f"{line}: no column of values is called {unknown[0]!r}, as --map says; the columns are "
                f"{', '.join(map(repr, titles[1:]))}"
            )
        inputs: list[str | None] = []
        for column, title in enumerate(titles[1:], 2):
            input_id = names.get(title, title)
            try:
                inputs.append(check_input_id(input_id) if input_id else None)
            except ArgumentError as error:
                raise click.ClickException(
                    f"{line}, column {column}: {error}; give the column one with --map '{title}=…', or leave the "
                    f"column out with --map '{title}='"
                ) from None
        read = [input_id for input_id in inputs if input_id is not None]
        if len(set(read)) < len(read) or not read:
            raise click.ClickException(f"{line}: the file needs a column of times, and one for each input ID")
        self._unnamed = [column for column, title in enumerate(titles) if not title and column]
        return inputs

    def _add(self, block: Block, record: Line) -> None:
        cells = record.cells
        expected = 3 if self._layout.long else len(self.inputs) + 1
        if len(cells) != expected and (len(cells) < expected or any(map(str.strip, cells[expected:]))):
            self._note(record, "", f"{len(cells)} columns, but the heading has {expected}")
            return
        if self._first_data and not self._layout.long and self.inputs[0] and _CLOCK.fullmatch(cells[1].strip()):
            raise click.ClickException(
                f"{self._name}, line {record.number}: date and time of day are in two columns: join them in the first "
                "one, such as 2026-05-01 06:00"
            )
        try:
            time_us = self.times.read(cells[0])
        except ValueError as error:
            self._note(record, ", column 1", str(error))
            return
        if self._layout.long:
            try:
                written = unguarded(cells[1].strip())
                input_id = check_input_id(self._layout.names.get(written, written))
            except ArgumentError as error:
                self._note(record, ", column 2", str(error))
            else:
                self._add_values(block, record, time_us, [input_id], 2)
            return
        self._add_values(block, record, time_us, self.inputs, 1)
        for column in self._unnamed:
            if cells[column].strip():
                self._note(record, f", column {column + 1}", "has a value, but the heading has no name for the column")
        if self._first_data:
            self._first_data = False
            self.looks_long = len(cells) == 3 and _is_name(cells[1]) and decimal_sign(cells[2].strip()) is not None

    def _add_values(self, block: Block, record: Line, time_us: int, inputs: Sequence[str | None], first: int) -> None:
        """Add the values of a line; the value of the first of `inputs` is in the cell `first`."""
        read = self.numbers.read
        found: list[tuple[str, float, int]] = []
        for column, input_id in enumerate(inputs, first):
            if input_id is None:
                continue
            text = record.cells[column]
            try:
                value = read(text)
            except ValueError as error:
                self._note(record, f", column {column + 1} ({input_id})", str(error))
            else:
                if value is not None:
                    found.append((input_id, value, len(text)))
        if found:
            block.add(time_us, found)

    def _note(self, record: Line, where: str, what: str) -> None:
        self.wrong += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"{self._name}, line {record.number}{where}: {what}")


def _is_time(title: str) -> bool:
    """Whether a text, which should be a title, is a time or a number."""
    times = Times(ZoneInfo("UTC"), ())
    times.learn(1, title)
    try:
        times.read(title)
    except ValueError:
        return decimal_sign(title) is not None
    return True


def _is_name(text: str) -> bool:
    """Whether a cell has an input ID that is no number."""
    text = text.strip()
    try:
        return decimal_sign(text) is None and bool(check_input_id(unguarded(text)))
    except ValueError:
        return False
