"""What the group is told of our positions: only of partitions that are ours, and never what is not settled.

Stored positions are committed by librdkafka in the background, once a second, and never an older one than the group
has; before partitions go away, and when we leave, they are committed at once.
"""

from __future__ import annotations

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connector.ledger.account import SettledRange
from connector.ledger.ledger_writer import LedgerWriter
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.member import Member
from connector.sources.partitions import partition_name, split_partition_name

_log = structlog.get_logger(__name__)


class Positions:
    """The group's positions, and the settlements that lead to them."""

    def __init__(
        self, source: str, file: SourceFile, client: ConsumerHandle, assignment: Assignment, member: Member
    ) -> None:
        self._source = source
        self._client = client
        self._assignment = assignment
        self._member = member
        self.settlements = LedgerWriter(source, file, self._store)

    def begin(self, at: TopicPartition) -> None:
        """The group has a position from now on, so that whoever comes next begins there and not where the policy says:
        with `latest`, what came meanwhile would be left out."""
        name = partition_name(at.topic, at.partition)
        owned = self._assignment.owned.get(name)
        if owned is None or owned.next_taken != at.offset:  # it is further by now, or not ours
            return
        try:
            self._client.consumer.store_offsets(offsets=[at])
        except KafkaException as error:
            self._member.note(f"{name}: where it begins could not be stored: {error.args[0].str()}")
        else:
            self.settlements.stored[name] = at.offset

    def commit(self) -> bool:
        """Whether the group has all positions that we have settled."""
        try:
            self._client.consumer.commit(asynchronous=False)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError._NO_OFFSET)  # nothing is new
        return True

    def commit_revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Write and commit what is settled of these, which are about to go: inside the callback that says so."""
        self.settlements.flush()
        self.settlements.store_positions()
        stored = self.settlements.stored
        offsets = [
            TopicPartition(old.topic, old.partition, stored[name])
            for old in partitions
            if (name := partition_name(old.topic, old.partition)) in stored
        ]
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning(
                "kafka_commit_failed",
                source=self._source,
                reason=error.args[0].str(),
                effect="the new owner gets some of it again",
            )

    def _store(self, part: SettledRange) -> bool:
        topic, number = split_partition_name(part.partition)
        try:
            self._client.consumer.store_offsets(offsets=[TopicPartition(topic, number, part.next)])
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:  # that one says: not ours any more
                _log.error(
                    "kafka_position_not_stored",
                    source=self._source,
                    partition=part.partition,
                    reason=error.args[0].str(),
                    effect="from there on it is delivered again after a restart",
                )
            return False
        return True
