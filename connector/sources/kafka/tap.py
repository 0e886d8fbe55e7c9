"""A tap on a Kafka cluster: it assigns partitions itself, outside every group, and commits nothing."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.records import Record
from connector.sources.kafka.member import Member
from connector.sources.kafka.range import RangeFinder
from connector.sources.kafka.records import explained, to_records
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import reader_settings, refusal
from connector.sources.range import RangeError
from connector.sources.tap import TapError

_BATCH: Final = 500
_TROUBLE_SECONDS: Final = 10.0


class KafkaTap:
    """A `Tap` on one cluster: returns new records; with `from_beginning`, all records from the start of the logs."""

    def __init__(self, section: KafkaSection, *, from_beginning: bool = False) -> None:
        self.name = section.name
        self._section = section
        self._from_beginning = from_beginning
        self._member = Member(section.name)
        self._member.joins()
        self._assigned = False
        self._trouble_since: float | None = None
        try:
            self._finder = RangeFinder(section)
            options = reader_settings(section) | self._member.callbacks()
            self._consumer = Consumer(options, logger=self._member.logger)
        except (KafkaException, TypeError, ValueError) as error:
            raise TapError(refusal(section, error)) from None

    def start(self) -> None:
        """Does nothing: the first `poll` finds the partitions, since that waits for the network."""

    def poll(self, timeout: float) -> list[Record]:
        """Returns the records that came, by topic. Raises `TapError`.

        The first call also finds the partitions, so it may take longer than `timeout` (seconds).
        """
        if not self._assigned:
            self._assign()
        if self._member.unusable:
            raise TapError(f"source {self.name}: {self._member.unusable}")
        messages = self._consumer.consume(_BATCH, timeout)
        received_us = time.time_ns() // 1000
        by_topic: dict[str, list[Message]] = {}
        for message in messages:
            error = message.error()
            if error is None:
                by_topic.setdefault(message.topic() or "", []).append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                topic, number = message.topic() or "", message.partition() or 0
                self._consumer.incremental_unassign([TopicPartition(topic, number)])
                self._consumer.incremental_assign([TopicPartition(topic, number, OFFSET_BEGINNING)])
            else:
                self._member.failed(explained(self._section, message, error), message.topic())
        for topic in by_topic:
            self._member.works(topic)
        self._give_up_without_brokers()
        record_time = self._section.timestamps == "record"
        return [
            record
            for topic, found in by_topic.items()
            for record in to_records(topic, found, received_us, record_time=record_time)
        ]

    def listening(self) -> bool:
        """Whether the partitions are assigned."""
        return self._assigned

    def close(self) -> None:
        """Close both connections."""
        self._consumer.close()
        self._finder.close()

    def _give_up_without_brokers(self) -> None:
        """After 10 s of a problem, ask the brokers; raises `TapError` if they do not answer.

        If they answer, the problem is over: on a quiet topic, nothing else shows this.
        """
        if not self._member.problems():
            self._trouble_since = None
        elif self._trouble_since is None:
            self._trouble_since = time.monotonic()
        elif time.monotonic() - self._trouble_since > _TROUBLE_SECONDS:
            try:
                self._finder.partitions()
            except RangeError as error:
                raise TapError(f"source {self.name}: {error}") from None
            self._member.works()
            self._trouble_since = None

    def _assign(self) -> None:
        """Assign all partitions, from their ends or first offsets at this moment. Raises `TapError`."""
        try:
            found = [
                TopicPartition(topic, number, self._finder.bounds(topic, number)[0 if self._from_beginning else 1])
                for topic, number in self._finder.partitions()
            ]
        except RangeError as error:
            raise TapError(f"source {self.name}: {error}") from None
        self._consumer.incremental_assign(found)
        self._assigned = True
