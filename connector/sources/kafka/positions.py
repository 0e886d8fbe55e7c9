"""Stores and commits positions: only for partitions of this member, and only for settled records.

A position is committed with the identity of its log (`identity`) and the leader epoch of the record before it.

librdkafka commits stored positions in the background, once a second, and never replaces a position by an older one.
Before partitions are given away, and when the member leaves, stored positions are committed at once.
"""

from __future__ import annotations

import sqlite3

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connector.ledger.account import SettledRange
from connector.ledger.ledger_writer import LedgerWriter
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.identity import LogIdentity
from connector.sources.kafka.member import Member
from connector.sources.partitions import partition_name

_log = structlog.get_logger(__name__)


class Positions:
    """The positions of the group. `settlements` writes the ledger, and then stores the settled positions."""

    def __init__(
        self, source: str, file: SourceFile, client: ConsumerHandle, assignment: Assignment, member: Member
    ) -> None:
        self._source = source
        self._file = file
        self._client = client
        self._assignment = assignment
        self._member = member
        self.settlements = LedgerWriter(source, file, self._store)

    def begin(self, at: TopicPartition) -> None:
        """Store the position where the reading of a partition begins.

        So the next owner begins at this position, and not at the position of the policy: with the policy `latest`, the
        next owner would skip the records that came in between.
        """
        name = partition_name(at.topic, at.partition)
        owned = self._assignment.owned.get(name)
        if owned is None or owned.next_taken != at.offset:  # already read further, or no longer assigned
            return
        position = self._assignment.to_commit(name, at.offset)
        if position is None:
            return
        try:
            self._client.consumer.store_offsets(offsets=[position])
        except KafkaException as error:
            self._member.note(f"{name}: the first position could not be stored: {error.args[0].str()}")
        else:
            self.settlements.stored[name] = at.offset

    def log_found(self, name: str, identity: LogIdentity) -> None:
        """Record the identity of a log that was unknown when reading began."""
        self._assignment.log_found(name, identity)
        self.settlements.flush()
        try:
            self._file.ledger.name_log(name, identity.log, identity.cluster)
        except sqlite3.Error as error:
            self._member.note(f"the ledger cannot be written: {error}")

    def commit(self) -> bool:
        """Commit the stored positions; returns whether the group now has all of them."""
        try:
            self._client.consumer.commit(asynchronous=False)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError._NO_OFFSET)  # no stored position is new
        return True

    def commit_revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Write and commit the settled positions of partitions that are being revoked.

        Called inside the callback of the revocation.
        """
        self.settlements.flush()
        self.settlements.store_positions()
        stored = self.settlements.stored
        names = [partition_name(old.topic, old.partition) for old in partitions]
        found = [self._assignment.to_commit(name, stored[name]) for name in names if name in stored]
        offsets = [position for position in found if position is not None]
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning(
                "kafka_commit_failed",
                source=self._source,
                reason=error.args[0].str(),
                effect="the new owner reads some settled records again",
            )

    def _store(self, part: SettledRange) -> bool:
        log = self._assignment.log(part.partition)
        position = self._assignment.to_commit(part.partition, part.next)
        if position is None or (log is not None and part.log and part.log != log.log):  # settled in a log before
            return False
        try:
            self._client.consumer.store_offsets(offsets=[position])
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:  # _STATE: the partition is not assigned any more
                _log.error(
                    "kafka_position_not_stored",
                    source=self._source,
                    partition=part.partition,
                    reason=error.args[0].str(),
                    effect="the records from this position on are delivered again after a restart",
                )
            return False
        return True
