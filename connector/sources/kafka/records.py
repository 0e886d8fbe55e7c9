"""Kafka messages → records."""

from __future__ import annotations

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from connector.records import Record, TimeKind

_NO_TIME = -1
"""Kafka's timestamp for a record without a timestamp; the kind of timestamp does not matter."""
_CREATED = int(TimeKind.CREATED)
_APPENDED = int(TimeKind.APPENDED)

Headers = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]


def to_records(topic: str, messages: list[Message], received_us: int, *, record_time: bool) -> list[Record]:
    """Returns the records of messages of one topic, which were read at `received_us` (µs since 1970).

    With `record_time`, the time of a record is the timestamp of its message. Without `record_time`, or if the message
    has no timestamp, the time is `received_us`.
    """
    records: list[Record] = []
    add = records.append
    for message in messages:
        kind, time_ms = message.timestamp()
        headers = message.headers()
        texts = _texts(headers) if headers else ()
        if not record_time or kind == TIMESTAMP_NOT_AVAILABLE or time_ms == _NO_TIME:
            add(Record(topic, message.value(), received_us, message.key(), texts))
        else:
            stamped = _CREATED if kind == TIMESTAMP_CREATE_TIME else _APPENDED
            time_us = time_ms * 1000
            add(Record(topic, message.value(), time_us, message.key(), texts, False, stamped, received_us))
    return records


def _texts(headers: Headers) -> tuple[tuple[str, str], ...]:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, value if isinstance(value, str) else _text(value)) for name, value in pairs)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")
