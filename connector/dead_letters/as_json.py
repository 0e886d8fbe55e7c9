"""Converts a letter to one JSON object, for files, MQTT, Kafka's headers and `--json`; and back.

The message has the field names that a file source reads with `records: record`: `topic`, `key`, `headers`, `time`, and
`payload_text` if the payload is UTF-8, else `payload_base64`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec
import orjson

from connector import ConnectorError
from connector.dead_letters.letter import DeadLetter, Truncation, time_text
from connector.records import Record, Reject

_FORMAT: Final = 1
_SMALL: Final = 256
_OFTEN_EMPTY: Final = ("more", "missing", "cut", "configuration", "version", "headers", "log")


class NoLetterError(ConnectorError, ValueError):
    """The bytes are not a dead letter that the connector wrote."""


def to_json(letter: DeadLetter, *, with_payload: bool = True) -> bytes:
    """The letter as one line of JSON, without the line end."""
    return orjson.dumps(as_object(letter, with_payload=with_payload))


def as_object(letter: DeadLetter, *, with_payload: bool = True) -> dict[str, Any]:
    """The letter as plain data. Some fields, such as `more` and `headers`, are left out when they are empty."""
    found: dict[str, Any] = {
        "dead_letter": _FORMAT,
        "id": letter.key,
        "written": time_text(letter.written_us),
        "written_us": letter.written_us,
        "source": letter.source,
        "partition": letter.partition,
        "position": letter.position,
        "log": letter.log,
        "topic": letter.topic,
        "time": time_text(letter.time_us),
        "rejects": [{k: v for k, v in msgspec.to_builtins(r).items() if v is not None} for r in letter.rejects],
        "more": letter.more,
        "missing": letter.missing,
        "cut": msgspec.to_builtins(letter.cut),
        "configuration": letter.configuration,
        "version": letter.version,
    }
    record = letter.record
    if record is not None:
        if with_payload and record.payload is not None:
            name, text = _as_text(record.payload)
            found[f"payload_{name}"] = text
        if record.key is not None:
            name, text = _as_text(record.key)
            found["key" if name == "text" else "key_base64"] = text
        found["headers"] = list(record.headers)
        found["record"] = {
            "time_us": record.time_us,
            "time_kind": int(record.time_kind),
            "received_us": record.received_us,
            "retained": record.retained,
            "problem": record.problem,
        }
        if record.payload is None:
            found["record"]["no_payload"] = True
        if record.topic != letter.topic:
            found["record"]["topic"] = record.topic
    return {name: value for name, value in found.items() if value or name not in _OFTEN_EMPTY}


def from_json(line: bytes, payload: bytes | None = None) -> DeadLetter:
    """The letter in a line of JSON. Raises `NoLetterError`.

    `payload` is the payload of the record if it was left out of the JSON, as in Kafka.
    """
    try:
        found = orjson.loads(line)
        if not isinstance(found, dict) or found.get("dead_letter") != _FORMAT:
            raise NoLetterError("the JSON is no dead letter")  # noqa: TRY301 - one kind of error for all callers
        return _letter(found, payload)
    except NoLetterError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoLetterError(f"the line cannot be read as a dead letter: {error}") from None


def _letter(found: dict[str, Any], payload: bytes | None) -> DeadLetter:
    return DeadLetter(
        source=str(found["source"]),
        partition=str(found["partition"]),
        position=int(found["position"]),
        topic=str(found["topic"]),
        rejects=tuple(msgspec.convert(found["rejects"], list[Reject])),
        more={str(reason): int(n) for reason, n in found.get("more", {}).items()},
        record=_record(found, payload) if "record" in found else None,
        missing=str(found.get("missing", "")),
        cut=msgspec.convert(found["cut"], Truncation) if "cut" in found else None,
        configuration=str(found.get("configuration", "")),
        version=str(found.get("version", "")),
        written_us=int(found.get("written_us", 0)),
        log=str(found.get("log", "")),
    )


def _record(found: dict[str, Any], payload: bytes | None) -> Record:
    meta = found["record"]
    if meta.get("no_payload"):
        payload = None
    elif payload is None:
        payload = _as_bytes(found, "payload_text", "payload_base64") or b""
    return Record(
        str(meta.get("topic", found["topic"])),
        payload,
        int(meta["time_us"]),
        _as_bytes(found, "key", "key_base64"),
        tuple((str(name), str(value)) for name, value in found.get("headers", [])),
        bool(meta.get("retained")),
        int(meta.get("time_kind", 0)),
        int(meta.get("received_us", 0)),
        str(meta.get("problem", "")),
    )


def _as_text(data: bytes) -> tuple[str, str]:
    """(`text` or `base64`, the bytes in this encoding).

    UTF-8 becomes text. Other bytes become base64, and so does text that would be longer than base64, because JSON
    writes each control character with six.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(data).decode()
    if len(orjson.dumps(text)) > len(data) * 4 // 3 + _SMALL:
        return "base64", base64.b64encode(data).decode()
    return "text", text


def _as_bytes(found: dict[str, Any], text: str, encoded: str) -> bytes | None:
    if text in found:
        return str(found[text]).encode()
    if encoded not in found:
        return None
    try:
        return base64.b64decode(found[encoded], validate=True)
    except binascii.Error as error:
        raise NoLetterError(f"{encoded}: {error}") from None
