"""Headers as the Kafka source makes them of bytes."""

from __future__ import annotations

from confluent_kafka import Message

from connector.sources.kafka.records import to_records


def header(name: str, value: bytes) -> tuple[str, str]:
    """The header of a record of Kafka."""
    (record,) = to_records("t", [Message(topic="t", headers=[(name, value)], timestamp=(0, 0))], 0, record_time=False)
    return record.headers[0]
