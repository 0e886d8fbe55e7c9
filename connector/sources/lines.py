"""Bytes → lines → records. No I/O."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, NamedTuple

import orjson

from connector.config.file import FileSection
from connector.mapping.times import TimeError, parse_time
from connector.records import Record, TimeKind

_KEPT_OF_A_LONG_LINE: Final = 1024
_PAYLOADS: Final = ("payload", "payload_text", "payload_base64")
_FIELDS: Final = ("topic", *_PAYLOADS, "time", "key", "headers")


class Line(NamedTuple):
    """One line without its end."""

    content: bytes
    """All of it, or the beginning of one that is too long."""
    length: int
    cut: bool = False


class LineSplitter:
    """Takes bytes in any pieces and gives whole lines; no more than `max_line` bytes of one are ever held."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._start = b""
        self._skipped = 0
        """Bytes of a line that is too long, beyond its start."""

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in this piece."""
        pieces = data.split(b"\n")
        lines = []
        for piece in pieces[:-1]:
            self._grow(piece)
            lines.append(self._line())
        self._grow(pieces[-1])
        return lines

    def end(self) -> list[Line]:
        """The last line, if nothing ended it."""
        return [self._line()] if self._start or self._skipped else []

    def _grow(self, piece: bytes) -> None:
        if self._skipped:
            self._skipped += len(piece)
        elif len(self._start) + len(piece) <= self._max_line:
            self._start += piece
        else:
            whole = self._start + piece
            self._start = whole[:_KEPT_OF_A_LONG_LINE]
            self._skipped = len(whole) - len(self._start)

    def _line(self) -> Line:
        cut = self._skipped > 0
        content = self._start if cut else self._start.removesuffix(b"\r")
        line = Line(content, len(self._start) + self._skipped, cut)
        self._start, self._skipped = b"", 0
        return line


def to_record(line: Line, section: FileSection, now_us: int) -> Record:
    """The record of a line. One that cannot be read is a record with a problem: it becomes a dead letter."""
    topic = section.topic or f"({section.name})"
    if line.cut:
        problem = f"the line has {line.length} bytes; at most {section.max_line} are read (max_line)"
        return Record(topic, line.content, now_us, problem=problem)
    if section.records == "payload":
        return Record(topic, line.content, now_us)
    try:
        return _whole_record(line.content, now_us)
    except ValueError as error:
        return Record(topic, line.content, now_us, problem=f"the line is no record: {error}")


def _whole_record(content: bytes, now_us: int) -> Record:
    found = orjson.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it must be a JSON object")  # noqa: TRY004 - told to a person like every other problem
    if unknown := found.keys() - set(_FIELDS):
        raise ValueError(f"{sorted(unknown)[0]!r} is not known; known are {', '.join(_FIELDS)}")
    topic = found.get("topic")
    if not isinstance(topic, str) or not topic:
        raise ValueError("topic must be a text")
    time_us = _time(found.get("time"), now_us)
    return Record(
        topic,
        _payload(found),
        time_us,
        key=_text(found, "key"),
        headers=_headers(found.get("headers")),
        time_kind=TimeKind.ARRIVAL if time_us == now_us else TimeKind.CREATED,
        received_us=0 if time_us == now_us else now_us,
    )


def _payload(found: dict[str, Any]) -> bytes | None:
    given = [name for name in _PAYLOADS if name in found]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(_PAYLOADS)} is needed")
    value = found[given[0]]
    if given[0] == "payload":
        return orjson.dumps(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{given[0]} must be a text")  # noqa: TRY004 - as above
    if given[0] == "payload_text":
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"payload_base64: {error}") from None


def _time(value: object, now_us: int) -> int:
    if value is None:
        return now_us
    try:
        return parse_time(value)
    except TimeError as error:
        raise ValueError(f"time: {error}") from None


def _text(found: dict[str, Any], name: str) -> bytes | None:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text")
    return None if value is None else value.encode()


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("headers must be an object of texts")
    return tuple(value.items())
