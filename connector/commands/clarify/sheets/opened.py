"""Bytes of a CSV file → its records, in bounded memory. The beginning tells the encoding and the separator."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Final

import click

from connector.mapping.tags.text import (
    GUESSED,
    SEPARATORS,
    Line,
    TextError,
    encoding_of,
    lines_of,
    stated_separator,
)

_HEAD_BYTES: Final = 64 * 1024
NAMED_DELIMITERS: Final = {"\t": "tab"}
"""Delimiter that is hard to type → name of the delimiter."""


class Opened:
    """The records of one CSV file. A mistake that ends the reading raises click.ClickException."""

    def __init__(self, name: str, stream: BinaryIO, encoding: str | None, delimiter: str | None) -> None:
        """`name` is that of the file, for errors. `encoding` and `delimiter` are None to be told apart."""
        self.name = name
        self.size = 0
        """Characters that were read."""
        head = _filled(stream)
        self._last = 0
        try:
            self.encoding = encoding_of(_whole_lines(head), encoding)
        except TextError as error:
            raise click.ClickException(f"{self._place(error.line)}: {error}") from None
        self.guessed = encoding is None and self.encoding == GUESSED
        """Whether the encoding is that of Western Europe only because the file is not UTF-8."""
        start = head.decode(self.encoding, errors="ignore").removeprefix("\ufeff")
        self.delimiter = self._delimiter(start) if delimiter is None else delimiter
        rest: BinaryIO = io.BufferedReader(_Rejoined(head, stream))
        self._lines = io.TextIOWrapper(rest, encoding=self.encoding, newline="")

    def records(self) -> Iterator[Line]:
        """Yield the records without empty ones, each with the line on which it begins."""
        try:
            yield from lines_of(self._counted(), self.delimiter)
        except TextError as error:
            raise click.ClickException(f"{self._place(error.line)}: {error}") from None
        except UnicodeDecodeError as error:
            name = "UTF-8" if self.encoding.startswith("utf-8") else self.encoding
            raise click.ClickException(
                f"{self.name}, after line {self._last}: byte 0x{error.object[error.start]:02x} is not {name}; save the "
                "file as UTF-8, or name its encoding, such as --encoding cp1252"
            ) from None

    def _counted(self) -> Iterator[str]:
        for number, text in enumerate(self._lines, 1):
            self._last = number
            self.size += len(text)
            yield text.removeprefix("\ufeff") if number == 1 else text

    def _place(self, line: int | None) -> str:
        return self.name if line is None else f"{self.name}, line {line}"

    def _delimiter(self, start: str) -> str:
        first = start.splitlines()[0] if start else ""
        stated = stated_separator(first)
        if stated is not None:
            return stated
        found = [sign for sign in SEPARATORS if _separates(sign, start)]
        if len(found) == 1:
            return found[0]
        if found:
            signs = " or ".join(repr(NAMED_DELIMITERS.get(sign, sign)) for sign in found)
            raise click.ClickException(
                f"{self.name}, line 1: {signs} may separate the columns: name the delimiter with --delimiter"
            )
        if not first.strip():
            raise click.ClickException(f"{self.name} is empty: the first line names the columns")
        raise click.ClickException(
            f"{self.name}, line 1: commas, semicolons, tabs and | do not divide the lines into columns: the file needs "
            "a column of times, and one for each input ID; name another delimiter with --delimiter"
        )


def _separates(sign: str, start: str) -> bool:
    """Whether this sign divides the heading and the first line of data in the same way, the time in one piece."""
    try:
        lines = list(islice(lines_of(io.StringIO(start, newline=""), sign), 2))
    except TextError:
        return False
    if not lines or len(lines[0].cells) < 2:
        return False
    if len(lines) == 1:
        return True
    time, *values = lines[1].cells
    return len(values) + 1 == len(lines[0].cells) and not set(time) & (set(SEPARATORS) - {",", sign})


def _filled(stream: BinaryIO) -> bytes:
    """Return the beginning of a stream; a pipe may give it piece by piece."""
    head = b""
    while len(head) < _HEAD_BYTES and (piece := stream.read(_HEAD_BYTES - len(head))):
        head += piece
    return head


def _whole_lines(head: bytes) -> bytes:
    """Return the head of a long file without the character at its end that may be cut."""
    if len(head) < _HEAD_BYTES:
        return head
    return head if b"\x00" in head else head[: head.rfind(b"\n") + 1] or head


class _Rejoined(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._head[: len(buffer)]
        self._head = self._head[len(piece) :]
        read = piece if len(piece) else self._rest.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)


def check_encoding(name: str) -> str:
    """Return the name of an encoding. Raises click.UsageError for an unknown one."""
    try:
        codecs.lookup(name)
    except LookupError:
        raise click.UsageError(f"--encoding: {name!r} is no encoding such as utf-8, cp1252 or shift_jis") from None
    return name
