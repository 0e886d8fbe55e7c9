"""Sorts librdkafka's messages into chunks: each chunk has the records of one partition."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from connector.records import Chunk
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.member import Member
from connector.sources.kafka.records import to_records
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name

_BATCH: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024


class PartitionSorter:
    """Makes chunks of consumed messages, by partition. Called by the thread that polls."""

    def __init__(self, settings: KafkaSection, assignment: Assignment, member: Member) -> None:
        self._source = settings.name
        self._record_time = settings.timestamps == "record"
        self._assignment = assignment
        self._member = member
        self.batch = 100
        """Number of messages to consume at a time."""
        self._message_bytes = 1000.0
        self.record_times: dict[str, float] = {}
        """Partition → time of the last record that was read, in seconds since the epoch; never a time in the future."""
        self.received = self.unowned = 0

    def take(self, messages: list[Message]) -> None:
        """Make chunks of the messages. An error in place of a message is reported to the assignment or the member."""
        if not messages:
            return
        received_us = time.time_ns() // 1000
        for (topic, number), run in self._runs(messages).items():
            self._give_out(str(topic), int(number or 0), run, received_us)

    def _runs(self, messages: list[Message]) -> dict[tuple[str | None, int | None], list[Message]]:
        """(topic, number of the partition) → the messages of the partition, without errors.

        Mostly all messages are from one partition. A check of all messages at once costs half as much as a check of
        each message.
        """
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            self._note_errors(messages)
            if not good:
                return {}
            messages = good
        topics, numbers = list(map(Message.topic, messages)), list(map(Message.partition, messages))
        if topics.count(topics[0]) == len(messages) == numbers.count(numbers[0]):
            return {(topics[0], numbers[0]): messages}
        runs: dict[tuple[str | None, int | None], list[Message]] = {}
        for topic, number, message in zip(topics, numbers, messages, strict=True):
            run = runs.get((topic, number))
            if run is None:
                runs[topic, number] = [message]
            else:
                run.append(message)
        return runs

    def _give_out(self, topic: str, number: int, run: list[Message], received_us: int) -> None:
        owned = self._assignment.owned.get(partition_name(topic, number))
        if owned is None:  # the partition was revoked while the batch was gathered: its new owner reads the messages
            self.unowned += len(run)
            return
        positions = [message.offset() or 0 for message in run]
        if owned.next_taken is not None and positions[0] < owned.next_taken:
            if not self._assignment.continues(owned, run[0]):
                return
            kept = [i for i, position in enumerate(positions) if position >= owned.next_taken]
            run, positions = [run[i] for i in kept], [positions[i] for i in kept]
            if not run:
                return
        records = to_records(topic, run, received_us, record_time=self._record_time)
        self._assignment.take(owned, positions, Chunk(self._source, owned.name, positions, records), run)
        self.received += len(run)
        kind, time_ms = run[-1].timestamp()
        if kind != TIMESTAMP_NOT_AVAILABLE and time_ms >= 0:
            self.record_times[owned.name] = min(time_ms * 1000, received_us) / 1e6
        self._member.works()
        some = records[:: max(1, len(records) // 16)]
        average = sum(len(record.payload or b"") for record in some) / len(some)
        self._message_bytes += 0.2 * (average + 100 - self._message_bytes)
        self.batch = max(1, min(_BATCH, int(_BATCH_BYTES / self._message_bytes)))

    def _note_errors(self, messages: list[Message]) -> None:
        """Report the errors that librdkafka returned in place of records: refused positions, and other errors."""
        for message in messages:
            error = message.error()
            if error is None:
                continue
            topic, number = message.topic(), message.partition()
            if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and number is not None:
                self._assignment.position_refused(partition_name(topic, number))
            else:
                self._member.failed(error, topic)
