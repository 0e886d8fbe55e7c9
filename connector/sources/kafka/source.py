"""The Kafka source: a member of a consumer group whose positions never run ahead of the data.

One thread, the intake's, reads from librdkafka and is called back by it when partitions come and go (`group`);
what is settled is written by another (`settlements`). While there is no room the partitions are paused and polling
goes on, so that the group keeps us (`pausing`). librdkafka must not reset a position by itself: a reset because
data has expired is a loss, and is reported as one, with its range (`beginnings`).

librdkafka's assignment is changed inside these callbacks only. Between the moment at which the group wants
partitions back and the callback that says so, librdkafka takes any change of the assignment for our answer: the
group goes on, another member gets the partitions, and we work on them still. Which moment that is cannot be seen
from here. So every partition is assigned with an explicit start, found out inside the callback (`starts`).
Where a position turns out to be invalid later (its data expired while it waited, or the log was cut) and no callback
comes by, we leave the group with this consumer and join it with a new one, whose assignment finds a start
(`rejoining`). That is safe in any state: closing a consumer first gives us the callback that was pending, and
then the last one. (Unsubscribing is not: with the new protocol and a revocation pending, librdkafka 2.16 never joins
again.) What was taken from the partition in question is settled before; what was taken from the others as at any
revocation. A consumer that the group has not let in is replaced in the same way.

Every now and then it is checked that the group, librdkafka and we mean the same partitions (`membership`);
where not, nothing more is committed of any of them, and we join anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.beginnings import Beginnings
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.group import Group
from connector.sources.kafka.intake import PartitionSorter
from connector.sources.kafka.member import Member
from connector.sources.kafka.pausing import Pausing
from connector.sources.kafka.positions import Positions
from connector.sources.kafka.rejoining import Rejoining
from connector.sources.kafka.reread import KafkaAgain
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.share import PartitionShare
from connector.sources.kafka.watching import Watching
from connector.sources.loss import Horizon
from connector.sources.partitions import split_partition_name
from connector.sources.source import Handover, Reread, Source, SourceFailedError
from connector.sources.subscriptions import Subscription
from connector.threads.watched import WatchedThread

_log = structlog.get_logger(__name__)


class KafkaSource(Source):
    """A `Source` over one membership in a consumer group."""

    def __init__(
        self,
        settings: KafkaSection,
        file: SourceFile,
        *,
        clock: Callable[[], float] = time.monotonic,
        epoch: Callable[[], float] = time.time,
        consumer: Callable[..., Consumer] = Consumer,
    ) -> None:
        """Raises `SettingsError` if librdkafka does not take the settings."""
        self.name = settings.name
        self._file = file
        self._clock = clock
        self._member = Member(settings.name)
        self._client = ConsumerHandle(settings, self._member, consumer)
        self._assignment = Assignment()
        self._positions = Positions(settings.name, file, self._client, self._assignment, self._member)
        self._settlements = self._positions.settlements
        self._beginnings = Beginnings(settings, file, self._assignment, self._positions, self._member)
        self._group = Group(
            settings, file, self._client, self._assignment, self._positions, self._beginnings, self._member
        )
        self._rejoining = Rejoining(settings.name, self._client, self._assignment, self._group, self._member)
        self._intake = PartitionSorter(settings, self._assignment, self._member)
        self._pausing = Pausing(settings, self._client, self._member)
        self._share = PartitionShare(settings, self._client, self._member)
        self._watching = Watching(settings, self._assignment, self._intake, self._member, epoch)
        self._again = KafkaAgain(settings)
        self._leaving = self._left = False
        self._draining = threading.Event()
        self._closed = False
        self._late_commits = 0

    def start(self, handover: Handover) -> None:
        """Join the group in the background."""
        self._group.handover = handover
        if self._file.recovery:
            _log.error("ledger_damaged", source=self.name, detail=str(self._file.recovery))
        self._settlements.start()
        self._group.subscribe()

    def poll(self, timeout: float) -> Chunk | None:
        """The next records of one partition."""
        self._pausing.room()
        if self._pausing.paused and not self._leaving:
            self._pausing.resume()
        if self._leaving and not self._draining.is_set():
            self._go_on_leaving(timeout)
        elif not self._assignment.is_ready and not self._draining.is_set():
            if self._member.fatal:
                raise SourceFailedError(self._member.fatal)
            self._settlements.store_positions()
            self._beginnings.note_losses()
            now = self._clock()
            self._rejoining.verify(now)
            self._rejoining.begin_anew(now)
            self._rejoining.try_again(now)
            self._share.find(now, len(self._assignment.owned), self._group.rebalances)
            self._intake.take(self._client.consumer.consume(self._intake.batch, timeout))
        return self._assignment.give_out()

    def hold(self) -> None:
        """Keep the membership while nothing can be taken in."""
        now = self._clock()
        self._settlements.store_positions()
        self._rejoining.verify(now)
        self._rejoining.try_again(now)
        if not self._pausing.held(now) or self._draining.is_set():
            return
        self._pausing.pause()
        message = self._client.consumer.poll(0)
        if message is not None:
            self._intake.take([message])

    def commit(self, commit: Commit) -> None:
        """Into the ledger, then to the group."""
        settled = self._assignment.settle(commit)
        if settled is None:
            self._late_commits += 1
        else:
            self._settlements.add(commit, settled)

    def leave(self, *, end_session: bool) -> None:  # noqa: ARG002 - a group has members only
        """Read nothing more, and stay a member until what was read is settled and committed."""
        self._leaving = True

    def leaving(self) -> str | None:
        """Settling and committing."""
        return None if self._left or not self._leaving else "settling what was read, and committing it"

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """By a consumer of its own."""
        return self._again.read(partition, positions, max_bytes)

    def stop_reading(self) -> None:
        """Take nothing more; the membership stays until `close`."""
        self._draining.set()

    def close(self, timeout: float) -> None:
        """Commit what is settled, leave the group, close the ledger."""
        if self._closed:
            return
        self._closed = self._group.closing = True
        self._draining.set()
        until = time.monotonic() + timeout
        self._again.close()
        self._settlements.close(timeout)
        self._settlements.store_positions()  # the thread that polled has ended
        self._beginnings.note_losses()
        leaving = threading.Thread(target=self._client.leave, name=f"leave-{self.name}", daemon=True)
        leaving.start()
        leaving.join(max(0.5, until - time.monotonic()))
        if leaving.is_alive():
            _log.warning(
                "kafka_leaving_takes_long",
                source=self.name,
                effect="the group notices after its session time-out; what was not committed is delivered again",
            )
            return  # the ledger stays open for it: the process is about to end
        self._file.close()

    def problems(self) -> list[str]:
        """Not in the group, no broker, no ledger."""
        found = self._member.problems()
        if self._settlements.trouble:
            found.append(self._settlements.trouble)
        if self._assignment.stuck:
            found.append(f"no valid position yet in {', '.join(sorted(self._assignment.stuck))}")
        return found

    def ended(self) -> str | None:
        """The thread that writes the ledger."""
        return self._settlements.ended()

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""
        return [self._settlements.thread]

    def expects(self, subscription: Subscription) -> bool:
        """Not where the group has other members, and none of our partitions is of such a topic."""
        if self._share.share >= 1:
            return True
        return any(subscription.matches(split_partition_name(name)[0]) for name in list(self._assignment.owned))

    def share(self) -> float:
        """Our part of the topics' partitions."""
        return self._share.share

    def gauges(self) -> dict[str, float]:
        """Group, positions, losses."""
        return {
            "kafka_assigned_partitions": len(self._assignment.owned),
            "kafka_share": self._share.share,
            "kafka_paused": float(self._pausing.paused),
            "kafka_lag": self._watching.lag(paused=self._pausing.paused),
            "kafka_received_total": self._intake.received,
            "kafka_rebalances_total": self._group.rebalances,
            "kafka_abandoned_total": self._group.abandoned,
            "kafka_late_settlements_total": self._late_commits + self._settlements.late,
            "kafka_redelivered_total": self._settlements.redelivered,
            "kafka_expired_total": self._beginnings.expired,
            "kafka_disagreements_total": self._rejoining.disagreements,
        }

    def horizons(self, now: float) -> list[Horizon]:
        """As `Watching.horizons`."""
        return self._watching.horizons(now)

    def _go_on_leaving(self, timeout: float) -> None:
        """Serve the group without reading: a commit in the middle of a rebalance fails, and is tried again."""
        if self._member.fatal:
            raise SourceFailedError(self._member.fatal)
        self._settlements.store_positions()
        self._beginnings.note_losses()
        consumer = self._client.consumer
        try:
            consumer.pause(consumer.assignment())  # also those that came just now
            message = consumer.poll(timeout)
            if message is not None:
                self._intake.take([message])
            under_way = self._assignment.under_way(list(self._assignment.owned))
            unfinished = under_way or self._assignment.is_ready or self._settlements.unfinished
            in_group = self._member.refused is None  # one that was not let in has nothing to commit
            self._left = not unfinished and (not in_group or self._positions.commit())
        except KafkaException as error:
            self._member.note(f"leaving the group: {error.args[0].str()}")
