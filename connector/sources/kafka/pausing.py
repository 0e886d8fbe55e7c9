"""Pausing and resuming: while there is no room the partitions are paused and polling goes on, so that the group
keeps us."""

from __future__ import annotations

from typing import Final

import structlog
from confluent_kafka import KafkaException

from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection

_PAUSE_AFTER_SECONDS: Final = 3.0
"""Pausing throws away what was prefetched, so a short wait for room is not worth it. Nothing is polled meanwhile,
though, and the group must not take that for hanging."""

_log = structlog.get_logger(__name__)


class Pausing:
    """Whether we are paused, and since when there is no room. Called by the thread that polls."""

    def __init__(self, settings: KafkaSection, client: ConsumerHandle, member: Member) -> None:
        self._source = settings.name
        self._client = client
        self._member = member
        self._pause_after = min(_PAUSE_AFTER_SECONDS, settings.max_poll_interval / 4)
        self._held_since: float | None = None
        self.paused = False

    def held(self, now: float) -> bool:
        """There is no room at `now` (seconds of any clock); whether that has lasted long enough to pause."""
        if self._held_since is None:
            self._held_since = now
        return now - self._held_since >= self._pause_after

    def pause(self) -> None:
        """Pause all partitions, also those that came while we were paused."""
        consumer = self._client.consumer
        try:
            consumer.pause(consumer.assignment())
        except KafkaException as error:
            self._member.note(f"pausing failed: {error.args[0].str()}")
        if not self.paused:
            self.paused = True
            _log.info("kafka_paused", source=self._source, reason="no room: Clarify does not take the data fast enough")

    def room(self) -> None:
        """There is room."""
        self._held_since = None

    def resume(self) -> None:
        """Read on."""
        consumer = self._client.consumer
        try:
            consumer.resume(consumer.assignment())
        except KafkaException as error:
            self._member.note(f"resuming failed: {error.args[0].str()}")
            return
        self.paused = False
        _log.info("kafka_resumed", source=self._source)
