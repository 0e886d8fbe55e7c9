"""Sorts librdkafka's messages into chunks: each chunk has the records of one partition.

At the end of a partition, librdkafka says where the end is. Between the last record and the end, there may be positions
without a record for us: markers of transactions, and what a producer or compaction has taken back. These positions are
settled, too. Otherwise the group would never reach the end, and these positions would look like a loss when the log has
deleted them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from connector.ledger.account import SettledRange
from connector.records import Chunk
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.member import Member
from connector.sources.kafka.records import explained, to_records
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name

_BATCH: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024


class PartitionSorter:
    """Makes chunks of consumed messages, by partition. Called by the thread that polls."""

    def __init__(
        self,
        settings: KafkaSection,
        assignment: Assignment,
        member: Member,
        stepped_over: Callable[[SettledRange], None],
    ) -> None:
        """`stepped_over` gets positions without a record, which are settled as soon as they are known."""
        self._settings = settings
        self._source = settings.name
        self._record_time = settings.timestamps == "record"
        self._assignment = assignment
        self._member = member
        self._stepped_over = stepped_over
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
        good = messages
        if any(map(Message.error, messages)):
            good = [message for message in messages if message.error() is None]
        for (topic, number), run in self._runs(good).items():
            self._give_out(str(topic), int(number or 0), run, received_us)
        if len(good) < len(messages):  # noted last, since a record says that an error before it is over
            self._note_errors(messages)

    def _runs(self, messages: list[Message]) -> dict[tuple[str | None, int | None], list[Message]]:
        """(topic, number of the partition) → the messages of the partition. The messages are without errors.

        Mostly all messages are from one partition. A check of all messages at once costs half as much as a check of
        each message.
        """
        if not messages:
            return {}
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
        positions = [offset or 0 for offset in map(Message.offset, run)]
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
        self._member.works(topic, owned.name)
        some = records[:: max(1, len(records) // 16)]
        average = sum(len(record.payload or b"") for record in some) / len(some)
        self._message_bytes += 0.2 * (average + 100 - self._message_bytes)
        self.batch = max(1, min(_BATCH, int(_BATCH_BYTES / self._message_bytes)))

    def _note_errors(self, messages: list[Message]) -> None:
        """Report what librdkafka returned in place of records: ends, refused positions, and other errors."""
        for message in messages:
            error = message.error()
            if error is None:
                continue
            topic, number = message.topic(), message.partition()
            name = partition_name(topic or "", number or 0)
            if error.code() == KafkaError._PARTITION_EOF:
                self._member.partition_works(name)
                settled = self._assignment.step_over(name, message.offset() or 0)
                if settled is not None:
                    self._stepped_over(settled)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and number is not None:
                self._assignment.position_refused(name)
            else:
                self._member.failed(explained(self._settings, message, error), topic, name)
