"""Bytes → lines → records, and back. No I/O.

A capture is a file with one record a line, as a JSON object. `clarify-connector record` writes captures, and the file
source reads them with `records: record`. docs/try-out.md describes the fields.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from typing import Any, Final, NamedTuple

import orjson

from connector.mapping.time.times import TimeError, format_time, parse_time
from connector.records import FIRST_US, LAST_US, Record, TimeKind
from connector.sources.file.section import FileSection

_KEPT_OF_A_LONG_LINE: Final = 1024
PAYLOADS: Final = ("payload", "payload_text", "payload_base64")
"""The fields for a payload: as JSON, as text, as bytes in base64. A line has exactly one of them."""
_KEYS: Final = ("key", "key_base64")
_FIELDS: Final = ("topic", *PAYLOADS, "time", "time_kind", "received", *_KEYS, "headers", "retained", "source")
_KINDS: Final = {"arrival": TimeKind.ARRIVAL, "create_time": TimeKind.CREATED, "append_time": TimeKind.APPENDED}


class Line(NamedTuple):
    """One line, without the line feed."""

    content: bytes
    """The whole line, or only its beginning if the line is too long."""
    length: int
    """The length of the whole line in bytes."""
    cut: bool = False
    """Whether `content` is only the beginning."""


class LineSplitter:
    """Splits pieces of bytes into whole lines; holds at most `max_line` bytes of a line."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._start = b""
        self._skipped = 0
        """Number of bytes after `_start`, in a line that is too long."""

    def feed(self, data: bytes) -> list[Line]:
        """Returns the lines that end in this piece."""
        pieces = data.split(b"\n")
        lines = []
        for piece in pieces[:-1]:
            self._grow(piece)
            lines.append(self._line())
        self._grow(pieces[-1])
        return lines

    def end(self) -> list[Line]:
        """Returns the last line, if the input has ended without a line feed; else an empty list."""
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


class Captured(NamedTuple):
    """A record, and the name of its source; None if the line does not name a source."""

    source: str | None
    record: Record


def to_record(line: Line, section: FileSection, now_us: int) -> Record:
    """Returns the record of a line; `now_us` is the time of reading, in µs since 1970.

    A line that cannot be read gives a record with a problem, which becomes a dead letter.
    """
    topic = section.topic or f"({section.name})"
    if line.cut:
        problem = f"the line has {line.length} bytes; at most {section.max_line} are read (max_line)"
        return Record(topic, line.content, now_us, problem=problem)
    if section.records == "payload":
        return Record(topic, line.content, now_us)
    return captured(line.content, now_us, topic).record


def captured(content: bytes, now_us: int, topic: str) -> Captured:
    """Returns the record of a line of a capture; a line that is no record gives a problem with the topic `topic`."""
    try:
        return _captured(content, now_us)
    except ValueError as error:
        return Captured(None, Record(topic, content, now_us, problem=f"the line is no record: {error}"))


def capture_line(source: str, record: Record) -> bytes:
    """Returns the line of a capture for a record; reading the line gives exactly the same record."""
    fields: dict[str, object] = {"topic": record.topic, **_payload_fields(record.payload)}
    fields["time"] = _time_text(record.time_us)
    fields["time_kind"] = next(name for name, kind in _KINDS.items() if kind == record.time_kind)
    if record.received_us:
        fields["received"] = _time_text(record.received_us)
    if record.key is not None:
        fields |= _text_or_base64("key", "key_base64", record.key)
    if record.headers:
        fields["headers"] = record.headers
    if record.retained:
        fields["retained"] = True
    fields["source"] = source
    return orjson.dumps(fields) + b"\n"


def captured_record(fields: dict[str, Any], now_us: int) -> Captured:
    """Returns the record that the fields of a capture's line describe. Raises `ValueError` with the reason."""
    if unknown := fields.keys() - set(_FIELDS):
        raise ValueError(f"{min(unknown)!r} is not known; known are {', '.join(_FIELDS)}")
    topic = fields.get("topic")
    if not isinstance(topic, str) or not topic:
        raise ValueError("topic must be a text")
    source = fields.get("source")
    if source is not None and not isinstance(source, str):
        raise ValueError("source must be a text")
    retained = fields.get("retained", False)
    if not isinstance(retained, bool):
        raise ValueError("retained must be true or false")  # noqa: TRY004 - told to a person like every other problem
    time_us, kind, received_us = _times(fields, now_us)
    record = Record(
        topic,
        _payload(fields),
        time_us,
        key=_key(fields),
        headers=_headers(fields.get("headers")),
        retained=retained,
        time_kind=kind,
        received_us=received_us,
    )
    return Captured(source, record)


def _payload(fields: dict[str, Any]) -> bytes | None:
    given = [name for name in PAYLOADS if name in fields]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(PAYLOADS)} is needed")
    value = fields[given[0]]
    if given[0] == "payload":
        try:
            return orjson.dumps(value)
        except TypeError as error:
            raise ValueError(f"payload cannot be JSON: {error}; give it as payload_text") from None
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{given[0]} must be a text")  # noqa: TRY004 - told to a person like every other problem
    return value.encode() if given[0] == "payload_text" else _base64(given[0], value)


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in pairs
    ):
        raise ValueError("headers must be an object of texts, or a list of [name, text] pairs")
    return tuple((name, text) for name, text in pairs)


def _captured(content: bytes, now_us: int) -> Captured:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("the line is UTF-16; save the file as UTF-8")
    found = orjson.loads(content.removeprefix(codecs.BOM_UTF8))
    if not isinstance(found, dict):
        raise ValueError("a record must be a JSON object")  # noqa: TRY004 - told to a person like every other problem
    return captured_record(found, now_us)


def _times(found: dict[str, Any], now_us: int) -> tuple[int, TimeKind, int]:
    """(time, kind of the time, time of receipt) in µs since 1970; the time of receipt is 0 if it is the time itself.

    A time without a kind is the producer's time.
    """
    given = found.get("time")
    time_us = now_us if given is None else _time("time", given)
    name = found.get("time_kind", "arrival" if given is None else "create_time")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"time_kind must be one of {', '.join(_KINDS)}")
    if kind and given is None:
        raise ValueError(f"time_kind {name} without a time")
    received = found.get("received")
    if received is not None:
        return time_us, kind, _time("received", received)
    return time_us, kind, now_us if kind else 0


def _time(name: str, value: object) -> int:
    try:
        time_us = parse_time(value)
    except TimeError as error:
        raise ValueError(f"{name}: {error}") from None
    if not FIRST_US <= time_us <= LAST_US:
        raise ValueError(f"{name}: {value!r} is in no calendar")
    return time_us


def _time_text(time_us: int) -> str:
    try:
        return format_time(time_us)
    except OverflowError:  # no calendar has this time: the mapping rejects it, and the nearest time with a text, too
        return format_time(LAST_US if time_us > 0 else FIRST_US)


def _key(found: dict[str, Any]) -> bytes | None:
    given = [name for name in _KEYS if found.get(name) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError("either key or key_base64")
    value = found[given[0]]
    if not isinstance(value, str):
        raise ValueError(f"{given[0]} must be a text")  # noqa: TRY004 - as above
    return value.encode() if given[0] == "key" else _base64(given[0], value)


def _base64(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name}: {error}") from None


def _payload_fields(payload: bytes | None) -> dict[str, object]:
    return {"payload_text": None} if payload is None else _text_or_base64("payload_text", "payload_base64", payload)


def _text_or_base64(text: str, base64_: str, value: bytes) -> dict[str, object]:
    try:
        return {text: value.decode()}
    except UnicodeDecodeError:
        return {base64_: base64.b64encode(value).decode()}
