"""Pauses and resumes the partitions.

While there is no room, the partitions are paused, and polling goes on: so the group keeps this member. A single
partition is held back while a schema of its records is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaException, TopicPartition

from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name

_PAUSE_AFTER_SECONDS: Final = 3.0
"""Seconds without room until the partitions are paused.

A pause drops all prefetched records, so a short wait for room is better. But nothing is polled during this wait, so
the wait must be shorter than `max_poll_interval`.
"""

_log = structlog.get_logger(__name__)


class Pausing:
    """Knows whether the partitions are paused, and since when there is no room. For the thread that polls."""

    def __init__(self, settings: KafkaSection, client: ConsumerHandle, member: Member) -> None:
        self._source = settings.name
        self._client = client
        self._member = member
        self._pause_after = min(_PAUSE_AFTER_SECONDS, settings.max_poll_interval / 4)
        self._held_since: float | None = None
        self.paused = False
        self.held_back: set[str] = set()
        """Partitions that are not read at the pipeline's wish, although there is room."""

    def held(self, now: float) -> bool:
        """Record that there is no room at `now` (seconds of any clock); returns whether it is time to pause."""
        if self._held_since is None:
            self._held_since = now
        return now - self._held_since >= self._pause_after

    def pause(self) -> None:
        """Pause all assigned partitions, also partitions that were assigned during the pause."""
        consumer = self._client.consumer
        try:
            consumer.pause(consumer.assignment())
        except KafkaException as error:
            self._member.note(f"pausing failed: {error.args[0].str()}")
        if not self.paused:
            self.paused = True
            self._member.pauses(paused=True)
            _log.info("kafka_paused", source=self._source, reason="no room: Clarify does not take the data fast enough")

    def room(self) -> None:
        """Record that there is room."""
        self._held_since = None

    def resume(self) -> None:
        """Resume all assigned partitions that are not held back. If librdkafka refuses, the partitions stay paused."""
        consumer = self._client.consumer
        try:
            consumer.resume([found for found in consumer.assignment() if _name(found) not in self.held_back])
        except KafkaException as error:
            self._member.note(f"resuming failed: {error.args[0].str()}")
            return
        self.paused = False
        self._member.pauses(paused=False)
        _log.info("kafka_resumed", source=self._source)

    def hold_back(self, partition: str) -> None:
        """Pause one partition, also if it was paused before: a new assignment ends a pause."""
        self.held_back.add(partition)
        self._change(self._client.consumer.pause, partition)

    def go_on(self, partition: str) -> None:
        """Resume one partition, unless all are paused."""
        self.held_back.discard(partition)
        if not self.paused:
            self._change(self._client.consumer.resume, partition)

    def _change(self, change: Callable[[list[TopicPartition]], object], partition: str) -> None:
        """Pause or resume a partition, if it is assigned."""
        try:
            change([found for found in self._client.consumer.assignment() if _name(found) == partition])
        except KafkaException as error:
            self._member.note(f"{partition} could not be paused or resumed: {error.args[0].str()}")


def _name(found: TopicPartition) -> str:
    return partition_name(found.topic, found.partition)
