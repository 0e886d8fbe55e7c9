"""Reads Kafka's records again by their offsets, outside the group: for dead letters about samples that were sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connector.records import Record
from connector.settings import CredentialsInUse
from connector.sources.kafka.member import Member
from connector.sources.kafka.records import to_records
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import reader_settings
from connector.sources.partitions import split_partition_name
from connector.sources.source import Reread

_SECONDS: Final = 10.0
_BATCH: Final = 100
_JUMP: Final = 1000
"""The largest gap between two wanted offsets that is read through; a seek skips a larger gap."""


class KafkaAgain:
    """Reads offsets again. Its consumer is made at the first call and kept."""

    def __init__(self, section: KafkaSection) -> None:
        self._section = section
        self._credentials = CredentialsInUse(section)
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._closed = False

    def read(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read the records at `positions` again, as in `Source.read_again`. Any thread may call."""
        with self._lock:
            if self._closed:
                return Reread({}, len(positions), "the connector is stopping")
            try:
                return self._read(*split_partition_name(partition), positions, max_bytes)
            except KafkaException as error:
                return Reread({}, len(positions), f"Kafka could not be read again: {error.args[0].str()}")

    def close(self) -> None:
        """Release the connection."""
        with self._lock:
            self._closed = True
            if self._consumer is not None:
                self._consumer.close()

    def _read(self, topic: str, number: int, positions: Sequence[int], max_bytes: int) -> Reread:
        if self._credentials.renewed() and self._consumer is not None:
            self._consumer.close()
            self._consumer = None
        if self._consumer is None:
            settings = reader_settings(self._section) | {"enable.partition.eof": True}
            self._consumer = Consumer(settings, logger=Member(self._section.name).logger)
        consumer = self._consumer
        wanted = list(positions)
        found: dict[int, Record] = {}
        size = done = 0
        why = "Kafka does not have the record any more"
        until = time.monotonic() + _SECONDS
        at = wanted[0]
        consumer.assign([TopicPartition(topic, number, at)])
        try:
            while done < len(wanted) and size < max_bytes:
                if time.monotonic() > until:
                    return Reread(found, len(wanted), f"Kafka did not give the record again within {_SECONDS:g} s")
                if wanted[done] - at > _JUMP:
                    at = wanted[done]
                    consumer.assign([TopicPartition(topic, number, at)])
                for message in consumer.consume(_BATCH, 0.5):
                    error = message.error()
                    if error is not None:
                        if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                            return Reread(found, len(wanted), why)
                        continue  # librdkafka tries again by itself, until the deadline
                    at = (message.offset() or 0) + 1
                    while done < len(wanted) and wanted[done] < at - 1:
                        done += 1
                    if done < len(wanted) and wanted[done] == at - 1:
                        own_time = self._section.timestamps == "record"
                        (found[at - 1],) = to_records(topic, [message], time.time_ns() // 1000, record_time=own_time)
                        size += len(message.value() or b"")
                        done += 1
                        if size >= max_bytes:
                            break  # the remaining positions are for another call
        finally:
            consumer.unassign()
        return Reread(found, done, why)
