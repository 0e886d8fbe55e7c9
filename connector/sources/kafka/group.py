"""The callbacks of the consumer group: partitions are assigned, revoked or lost.

librdkafka calls the callbacks inside poll, consume and close. Only these callbacks change librdkafka's assignment;
`source.py` explains why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, TopicPartition

from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.beginnings import Beginnings
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.identity import Position, TopicAsker
from connector.sources.kafka.member import Member
from connector.sources.kafka.positions import Positions
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import Start, StartFinder, TopicsAtStart
from connector.sources.partitions import OwnedPartition, partition_name
from connector.sources.source import Handover

_START_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class Group:
    """This member's side of the consumer group. For the thread that polls, or closes."""

    def __init__(
        self,
        settings: KafkaSection,
        file: SourceFile,
        client: ConsumerHandle,
        assignment: Assignment,
        positions: Positions,
        beginnings: Beginnings,
        member: Member,
        asker: TopicAsker,
        at_start: TopicsAtStart,
    ) -> None:
        self._settings = settings
        self._file = file
        self._client = client
        self._assignment = assignment
        self._positions = positions
        self._beginnings = beginnings
        self._member = member
        self._asker = asker
        self._at_start = at_start
        self._eager = settings.group_protocol == "classic" and settings.assignor != "cooperative-sticky"
        self._known_by: Consumer | None = None
        self._known_topics: set[str] = set()
        """Topics with partitions that the consumer `_known_by` was assigned, now or before."""
        self.handover: Handover | None = None
        self.closing = False
        """Whether the source is being closed: then no partition is begun, and no revocation waits for settlement."""
        self.rebalances = self.abandoned = 0

    def subscribe(self) -> None:
        """Subscribe to the topics; librdkafka joins the group in the background."""
        self._client.consumer.subscribe(
            self._settings.subscription, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def give_up(self, names: Iterable[str]) -> None:
        """Give up partitions that this member no longer has, and forget their records that are not settled."""
        names = list(names)
        self._assignment.drop_ready(names)
        if self.handover is not None:
            self.abandoned += self.handover.forget(self._settings.name, names)
        self._assignment.remove(names)
        for name in names:
            self._positions.settlements.forget(name)

    # -- called by librdkafka ---------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member.works()
        stuck = self._stuck()
        again = [TopicPartition(owned.topic, owned.number) for owned in stuck]
        starts: dict[str, Start] = {}
        if not self.closing and (partitions or again):
            starts = self._find_starts(consumer, [*partitions, *again], stuck)
        try:
            if self._eager:
                consumer.assign(_from(partitions, starts))
            else:
                if again:
                    consumer.incremental_unassign(again)
                consumer.incremental_assign(_from([*partitions, *again], starts))
        except KafkaException as error:
            self._member.note(f"partitions could not be taken over: {error.args[0].str()}")
            return  # the membership check finds the difference, and joins the group again
        new = []
        for found in partitions:
            self._member.topic_works(found.topic)
            new.append(self._owned(found.topic, found.partition, starts))
        kept = [owned for owned in stuck if starts.get(owned.name, Start(None)).offset is None]
        new += [self._owned(old.topic, old.number, starts) for old in stuck if old not in kept]
        self._assignment.add(new)
        self._beginnings.begin_all([(owned, starts[owned.name]) for owned in [*new, *kept] if owned.name in starts])
        self._leave_old_logs(consumer, new, starts)
        self._rebalanced("kafka_assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        names = [partition_name(old.topic, old.partition) for old in partitions]
        settled = self._settle(names)
        self._positions.commit_revoked(consumer, partitions)
        self.give_up(names)
        self._unassign(consumer)
        self._rebalanced("kafka_revoked", partitions, settled=settled)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.give_up([partition_name(old.topic, old.partition) for old in partitions])
        self._unassign(consumer)
        self._rebalanced("kafka_lost", partitions, reason="the group had thrown us out; somebody else has them already")

    # -- details ----------------------------------------------------------------------------------

    def _leave_old_logs(self, consumer: Consumer, new: list[OwnedPartition], starts: dict[str, Start]) -> None:
        """Let a new consumer read the topics that this one has known with another log.

        librdkafka keeps the leader epochs of the log before. It does not read a log whose epochs are lower.
        """
        if consumer is not self._known_by:
            self._known_by, self._known_topics = consumer, set()
        for owned in new:
            if owned.topic in self._known_topics and owned.name in starts and starts[owned.name].former:
                self._assignment.position_refused(owned.name)
        self._known_topics.update(owned.topic for owned in new)

    def _stuck(self) -> list[OwnedPartition]:
        """Returns the stuck partitions of this member that the next assignment should begin again.

        A partition with records that are not settled is not among them: it begins again later. The list is empty for
        an eager assignor: such an assignor assigns all partitions again anyway.
        """
        if self._eager:
            return []
        found = [owned for name in sorted(self._assignment.stuck) if (owned := self._assignment.owned.get(name))]
        return [owned for owned in found if not self._assignment.under_way([owned.name])]

    def _owned(self, topic: str, number: int, starts: dict[str, Start]) -> OwnedPartition:
        """A partition that this member now has, with what the ledger has settled in its log."""
        name = partition_name(topic, number)
        start = starts.get(name, Start(None))
        log = start.position.identity.log
        return OwnedPartition(topic, number, start.expected, self._file.ledger.ranges(name, log), log)

    def _find_starts(
        self, consumer: Consumer, partitions: list[TopicPartition], stuck: list[OwnedPartition]
    ) -> dict[str, Start]:
        taken = {
            owned.name: self._assignment.position(owned.name, owned.next_taken)
            for owned in stuck
            if owned.next_taken is not None
        }
        within = min(_START_SECONDS, self._settings.max_poll_interval / 4)
        ledger = {name: Position.kept(found) for name, found in self._file.ledger.positions().items()}
        finder = StartFinder(consumer, self._settings.auto_offset_reset, within, self._asker, ledger, self._at_start)
        starts = finder.find(partitions, taken, self._assignment.refused)
        if finder.trouble and any(start.offset is None for start in starts.values()):
            self._member.note(f"where to begin could not be asked for: {finder.trouble}")
        return starts

    def _settle(self, names: list[str]) -> bool:
        """Drop the chunks of the partitions that were not given out, and have the other records settled.

        Returns whether all records that were given out were settled within `drain_timeout`.
        """
        self._assignment.drop_ready(names)
        if self.closing or self.handover is None:
            return not self._assignment.under_way(names)
        return self.handover.settle(self._settings.name, names, self._settings.drain_timeout)

    def _unassign(self, consumer: Consumer) -> None:
        """Answer a revocation: librdkafka stops reading the partitions that this member no longer has."""
        try:
            if self._eager:
                consumer.unassign()
            else:
                held = consumer.assignment()
                owned = self._assignment.owned
                consumer.incremental_unassign(
                    [found for found in held if partition_name(found.topic, found.partition) not in owned]
                )
        except KafkaException as error:
            self._member.note(f"partitions could not be given back: {error.args[0].str()}")

    def _rebalanced(self, event: str, partitions: list[TopicPartition], **more: object) -> None:
        self.rebalances += 1
        if event == "kafka_lost":
            self._member.lost()
        else:
            self._member.joins()
        if not partitions:
            return
        names = sorted(partition_name(found.topic, found.partition) for found in partitions)
        _log.info(
            event,
            source=self._settings.name,
            partitions=names[:50],
            count=len(names),
            owned=len(self._assignment.owned),
            **more,
        )


def _from(partitions: list[TopicPartition], starts: dict[str, Start]) -> list[TopicPartition]:
    """Returns the partitions, each with its start.

    If a start is unknown, librdkafka asks the group for the position, and reports an error if the group has none.
    """
    begun = []
    for found in partitions:
        start = starts.get(partition_name(found.topic, found.partition))
        if start is None or start.offset is None:
            begun.append(TopicPartition(found.topic, found.partition, OFFSET_STORED))
        elif start.position.epoch is None:
            begun.append(TopicPartition(found.topic, found.partition, start.offset))
        else:  # with the record before, which tells whether the log was cut: see `Assignment.continues`
            begun.append(TopicPartition(found.topic, found.partition, start.offset - 1))
    return begun
