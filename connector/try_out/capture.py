"""Captures: files of records, read line by line. `sources.file.lines` defines the form of a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from connector import ConnectorError
from connector.records import Record
from connector.sources.file.lines import Line, LineSplitter, captured

STDIN: Final = Path("-")
_PIECE: Final = 64 * 1024
_MAX_LINE: Final = 64 * 1024 * 1024


class CaptureError(ConnectorError):
    """The capture cannot be read; the text has the reason."""


class Taken(NamedTuple):
    """One record, and the place of the record in the input."""

    line: int
    """The number of the line in a capture, or of the message from a live source; counted from 1."""
    source: str | None
    """The name of the source of the record; None if the name is not known."""
    record: Record


def capture_size(path: Path) -> int | None:
    """Returns the size of the capture in bytes; None if the size is not known before reading."""
    try:
        return path.stat().st_size if path != STDIN and path.is_file() else None
    except OSError:
        return None


def read_capture(path: Path, topic: str | None, read: Callable[[int], object] = lambda _: None) -> Iterator[Taken]:
    """Yields the records of a capture, line by line. With a `topic`, each line is the payload of one message.

    `read` is called after each piece, with the number of bytes in the piece. Raises `CaptureError`.
    """
    splitter = LineSplitter(_MAX_LINE)
    number = 0
    now_us = time.time_ns() // 1000
    try:
        with _opened(path) as stream:
            while True:
                piece = stream.read(_PIECE)
                for line in splitter.feed(piece) if piece else splitter.end():
                    number += 1
                    if topic is None and not line.content.strip():
                        continue
                    yield _taken(number, line, topic, now_us)
                if not piece:
                    return
                read(len(piece))
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}") from None


def _opened(path: Path) -> BinaryIO:
    return sys.stdin.buffer if path == STDIN else path.open("rb")


def _taken(number: int, line: Line, topic: str | None, now_us: int) -> Taken:
    where = topic or "(no topic)"
    if line.cut:
        problem = f"the line has {line.length} bytes; at most {_MAX_LINE} are read"
        return Taken(number, None, Record(where, line.content, now_us, problem=problem))
    if topic is not None:
        return Taken(number, None, Record(topic, line.content, now_us))
    found = captured(line.content, now_us, where)
    return Taken(number, found.source, found.record)
