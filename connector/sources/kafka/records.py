"""Kafka messages → records; and the reason why a batch of them cannot be unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from connector.brokers.kafka_headers import NO_NAME, UNREADABLE, Headers, all_headers
from connector.records import AlikeRecords, Record, TimeKind
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import ANSWER_BYTES
from connector.sources.partitions import partition_name

_NO_TIME = -1
"""Kafka's timestamp for a record without a timestamp; the kind of timestamp does not matter."""
_WITHOUT_HEADERS = f"{NO_NAME}. The letter has the record without its headers, and with the time of its arrival"
_ZSTD = "codec 0x4"
_BOUND = "receive.message.max.bytes"
_CREATED = int(TimeKind.CREATED)
_APPENDED = int(TimeKind.APPENDED)


def to_records(topic: str, messages: list[Message], received_us: int, *, record_time: bool) -> Sequence[Record]:
    """Returns the records of messages of one topic, which were read at `received_us` (µs since 1970).

    With `record_time`, the time of a record is the timestamp of its message. Without `record_time`, or if the message
    has no timestamp, the time is `received_us`.
    """
    found = all_headers(messages)
    if not record_time or UNREADABLE in found:
        return _one_by_one(topic, messages, found, received_us, record_time=record_time)
    kinds, times_ms = zip(*map(Message.timestamp, messages), strict=True)
    if kinds.count(kinds[0]) < len(kinds) or kinds[0] == TIMESTAMP_NOT_AVAILABLE or _NO_TIME in times_ms:
        return _one_by_one(topic, messages, found, received_us, record_time=True)
    headers = [_texts(one) if one else () for one in found] if any(found) else [()] * len(messages)
    values, keys = list(map(Message.value, messages)), list(map(Message.key, messages))
    times_us = [time_ms * 1000 for time_ms in times_ms]
    kind = _CREATED if kinds[0] == TIMESTAMP_CREATE_TIME else _APPENDED
    return AlikeRecords(topic, values, times_us, keys, headers, kind, received_us)


def _one_by_one(
    topic: str, messages: list[Message], headers: list[Any], received_us: int, *, record_time: bool
) -> list[Record]:
    """Returns the same of messages of which some have no timestamp, or headers that cannot be read."""
    records: list[Record] = []
    add = records.append
    for message, found in zip(messages, headers, strict=True):
        if found is UNREADABLE:
            add(Record(topic, message.value(), received_us, message.key(), problem=_WITHOUT_HEADERS))
            continue
        kind, time_ms = message.timestamp()
        texts = _texts(found) if found else ()
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


def explained(section: KafkaSection, message: Message, error: KafkaError) -> KafkaError:
    """Returns the error that came in place of a record; for a batch that cannot be unpacked, with the remedy.

    librdkafka has one error for a damaged batch and for a batch of zstd that is too large. A damaged batch mostly fails
    at its checksum already, before it is unpacked.
    """
    if error.code() != KafkaError._BAD_COMPRESSION:
        return error
    text = f"{partition_name(message.topic() or '', message.partition() or 0)}: the batch at offset {message.offset()} "
    if _ZSTD in error.str():
        bound = int(section.librdkafka.get(_BOUND, ANSWER_BYTES))
        text += (
            f"cannot be unpacked: it is too large, or damaged. Set {_BOUND} under librdkafka to three times the "
            f"unpacked size of the batch (now {bound}: batches of {bound // 3} bytes fit in any case)"
        )
    else:
        text += "is damaged"
    return KafkaError(error.code(), f"{text}; librdkafka: {error.str()}")
