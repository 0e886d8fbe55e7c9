"""Kafka messages → records."""

from __future__ import annotations

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from connector.records import Record, TimeKind

Headers = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]


def to_records(messages: list[Message], received_us: int, *, record_time: bool) -> list[Record]:
    """Records of these messages, which were read at `received_us`. Their time is the one in the message, where it
    has one and `record_time` says so; else when they were read."""
    records = []
    for message in messages:
        kind, time_ms = message.timestamp()
        headers = message.headers()
        if not record_time or kind == TIMESTAMP_NOT_AVAILABLE:
            time_us, time_kind, received = received_us, TimeKind.ARRIVAL, 0
        else:
            time_us, received = time_ms * 1000, received_us
            time_kind = TimeKind.CREATED if kind == TIMESTAMP_CREATE_TIME else TimeKind.APPENDED
        records.append(
            Record(
                message.topic() or "",
                message.value(),
                time_us,
                message.key(),
                _texts(headers) if headers else (),
                False,
                time_kind,
                received,
            )
        )
    return records


def _texts(headers: Headers) -> tuple[tuple[str, str], ...]:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, value if isinstance(value, str) else _text(value)) for name, value in pairs)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")
