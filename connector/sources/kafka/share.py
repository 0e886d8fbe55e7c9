"""The part of the topics' partitions that this member has: members share the request rate to Clarify by it."""

from __future__ import annotations

import sqlite3
from typing import Final

from confluent_kafka import KafkaException

from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import TopicsAtStart

_QUERY_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


class PartitionShare:
    """Finds the share again after each rebalance. For the thread that polls."""

    def __init__(self, settings: KafkaSection, client: ConsumerHandle, member: Member, at_start: TopicsAtStart) -> None:
        self._settings = settings
        self._client = client
        self._member = member
        self._at_start = at_start
        self.share = 1.0
        """This member's partitions divided by all partitions of the topics: from 0 to 1."""
        self._known_after: int | None = None
        """The number of rebalances before `share` was found; None if it was not found yet."""
        self._next = 0.0

    def find(self, now: float, owned: int, rebalances: int) -> None:
        """Find the share, if the member has joined and there was a rebalance since.

        `owned` is the number of this member's partitions. `now` is in seconds of any clock. May wait for the network.
        """
        if self._known_after == rebalances or now < self._next or not self._member.joined:
            return
        self._next = now + _RETRY_SECONDS
        try:
            topics = self._client.consumer.list_topics(timeout=_QUERY_SECONDS).topics
        except KafkaException as error:
            self._member.note(f"the number of partitions is not known: {error.args[0].str()}")
            return
        try:
            self._at_start.note(topics)
        except sqlite3.Error as error:
            self._member.note(f"the ledger cannot be written: {error}")
            return
        matches = self._settings.matches
        for name, topic in topics.items():
            if topic.error is None:
                self._member.topic_found(name)
        total = sum(len(topic.partitions) for name, topic in topics.items() if matches(name))
        self.share = min(1.0, owned / total) if total else 1.0
        self._known_after = rebalances
