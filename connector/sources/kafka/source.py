"""The Kafka source: a member of a consumer group whose positions never run ahead of the data.

The intake's thread reads from librdkafka. Inside its calls, librdkafka calls back when partitions come and go
(`group`). Another thread writes settled positions into the ledger (`settlements`). While there is no room, the
partitions are paused and polling goes on, so that the group keeps this member (`pausing`). librdkafka must not reset a
position by itself: a reset because records have expired is a loss, which is reported with its range (`beginnings`).

Only these callbacks change librdkafka's assignment. The group may want partitions back some time before librdkafka
calls back about it. In this time, librdkafka takes any change of the assignment as the member's answer to the group.
Then another member gets the partitions, and this member still works on them. The connector cannot see this time. So
every partition is assigned with an explicit start, which is found inside the callback (`starts`).

A position may become invalid later: its records expired while they waited, or the log was cut. If no callback comes
then, the member leaves the group with this consumer and joins it with a new consumer, whose assignment finds a start
(`rejoining`). To close a consumer is safe in any state: first the pending callback is called, and then the last one.
(To unsubscribe is not safe: with the new protocol and a pending revocation, librdkafka 2.16 never joins again.) The
records that were read from the invalid partition are settled before; the other partitions are given up as in any
revocation. A consumer that the group has refused is replaced in the same way, and one that does not move.

A position is valid in one log only: a topic that is made anew has another one. So the identity of the log is committed
with each position (`identity`), and compared when partitions are assigned, and every few seconds (`identity_watch`).

From time to time, the lists of partitions of the group, librdkafka and the connector are compared (`membership`). If
they differ, the member commits nothing more for its partitions, and joins the group again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from connector.ledger.account import Commit, SettledRange
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.beginnings import Beginnings
from connector.sources.kafka.client import GATHER_SECONDS, ConsumerHandle
from connector.sources.kafka.group import Group
from connector.sources.kafka.identity import TopicAsker
from connector.sources.kafka.identity_watch import IdentityWatch
from connector.sources.kafka.intake import PartitionSorter
from connector.sources.kafka.member import Member
from connector.sources.kafka.pausing import Pausing
from connector.sources.kafka.positions import Positions
from connector.sources.kafka.rejoining import Rejoining
from connector.sources.kafka.renewing import Renewing
from connector.sources.kafka.reread import KafkaAgain
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.share import PartitionShare
from connector.sources.kafka.starts import TopicsAtStart
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
        admin: Callable[..., AdminClient] = AdminClient,
    ) -> None:
        """`clock` gives seconds of any clock, `epoch` seconds since 1970. Raises `SettingsError` and sqlite3.Error."""
        self.name = settings.name
        self._file = file
        self._clock = clock
        self._member = Member(settings.name, clock=clock)
        self._client = ConsumerHandle(settings, self._member, consumer)
        self._assignment = Assignment()
        self._positions = Positions(settings.name, file, self._client, self._assignment, self._member)
        self._settlements = self._positions.settlements
        asker = TopicAsker(settings, admin)
        at_start = self._at_start = TopicsAtStart(settings, file)
        self._identities = IdentityWatch(asker, self._assignment, at_start, self._positions.log_found)
        self._beginnings = Beginnings(
            settings, file, self._assignment, self._positions, self._member, self._identities.end_of_log
        )
        self._group = Group(
            settings,
            file,
            self._client,
            self._assignment,
            self._positions,
            self._beginnings,
            self._member,
            asker,
            at_start,
        )
        self._intake = PartitionSorter(settings, self._assignment, self._member, self._stepped_over)
        self._pausing = Pausing(settings, self._client, self._member)
        self._share = PartitionShare(settings, self._client, self._member, at_start)
        self._watching = Watching(settings, self._assignment, self._intake, self._member, epoch)
        self._rejoining = Rejoining(
            settings.name,
            self._client,
            self._assignment,
            self._group,
            self._member,
            self._watching.still_seconds,
        )
        self._renewing = Renewing(settings, self._client, self._member, self._rejoining)
        self._again = KafkaAgain(settings)
        self._leaving = self._left = False
        self._draining = threading.Event()
        self._closed = False
        self._late_commits = 0

    def start(self, handover: Handover) -> None:
        """Start the thread of the ledger, and subscribe; librdkafka joins the group in the background."""
        self._group.handover = handover
        if self._file.recovery:
            _log.error("ledger_damaged", source=self.name, detail=str(self._file.recovery))
        self._settlements.start()
        self._group.subscribe()

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next records of one partition; None if no record came. Raises `SourceFailedError`."""
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
            self._renewing.look(now)
            self._rejoining.verify(now)
            self._identities.look(now)
            self._rejoining.begin_anew(now)
            self._rejoining.try_again(now)
            self._rejoining.mend(now)
            self._share.find(now, len(self._assignment.owned), self._group.rebalances)
            self._intake.take(self._client.consumer.consume(self._intake.batch, min(timeout, GATHER_SECONDS)))
        return self._assignment.give_out()

    def hold(self) -> None:
        """Keep the membership while there is no room for records. Raises `SourceFailedError`."""
        now = self._clock()
        self._settlements.store_positions()
        self._renewing.look(now)
        self._rejoining.verify(now)
        self._identities.look(now)
        self._rejoining.try_again(now)
        if not self._pausing.held(now) or self._draining.is_set():
            return
        self._pausing.pause()
        message = self._client.consumer.poll(0)
        if message is not None:
            self._intake.take([message])

    def hold_back(self, partition: str) -> bool:
        """Pause one partition."""
        self._pausing.hold_back(partition)
        return True

    def go_on(self, partition: str) -> None:
        """Resume one partition."""
        self._pausing.go_on(partition)

    def commit(self, commit: Commit) -> None:
        """Settle the records of the commit: first in the ledger, then in the group, both by the ledger's thread."""
        settled = self._assignment.settle(commit)
        if settled is None:
            self._late_commits += 1
        else:
            self._settlements.add(commit, settled)

    def leave(self, *, end_session: bool) -> None:  # noqa: ARG002 - a group has no session to end
        """Read nothing more; the membership stays until the records that were read are settled and committed."""
        self._leaving = True

    def leaving(self) -> str | None:
        """The work that is left before the member may go, for people; None if there is none."""
        return None if self._left or not self._leaving else "settling and committing the records that were read"

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read records again, with another consumer outside the group."""
        return self._again.read(partition, positions, max_bytes)

    def log(self, partition: str) -> str:
        """The ID of the topic, or else of its cluster."""
        identity = self._assignment.log(partition)
        return "" if identity is None else identity.log

    def stop_reading(self) -> None:
        """Read nothing more; the membership stays until `close`."""
        self._draining.set()

    def close(self, timeout: float) -> None:
        """Commit settled positions, leave the group, and close the ledger; `timeout` is in seconds."""
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
                effect="the group notices after its session time-out; records that were not committed are delivered "
                "again",
            )
            return  # the ledger stays open for the thread that leaves: the process is about to end
        self._file.close()

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, for people: the group, the brokers, the ledger, or positions."""
        found = self._member.problems() + self._watching.problems()
        if self._rejoining.unusable:
            found.append(self._rejoining.unusable)
        if self._settlements.trouble:
            found.append(self._settlements.trouble)
        if self._assignment.stuck:
            found.append(f"no valid position yet in {', '.join(sorted(self._assignment.stuck))}")
        return found

    def ended(self) -> str | None:
        """The reason why the thread that writes the ledger has ended; None while it runs."""
        return self._settlements.ended()

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""
        return [self._settlements.thread]

    def expects(self, subscription: Subscription) -> bool:
        """Whether records of the subscription can come to this member.

        False if the group has other members, and none of this member's partitions is of a topic of the subscription.
        """
        if self._share.share >= 1:
            return True
        return any(subscription.matches(split_partition_name(name)[0]) for name in list(self._assignment.owned))

    def share(self) -> float:
        """The part of the topics' partitions that this member has: from 0 to 1."""
        return self._share.share

    def gauges(self) -> dict[str, float]:
        """The values of the metrics in `KafkaSection.metric_help`."""
        return {
            "kafka_assigned_partitions": len(self._assignment.owned),
            "kafka_share_ratio": self._share.share,
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
        """The forecasts of loss, as in `Watching.horizons`."""
        return self._watching.horizons(now, self._is_read)

    def _is_read(self, partition: str) -> bool:
        """Whether a partition of this member is read now."""
        return partition in self._assignment.owned and not (
            self._pausing.paused or partition in self._pausing.held_back or self._leaving or self._draining.is_set()
        )

    def _stepped_over(self, part: SettledRange) -> None:
        self._settlements.add(Commit(self.name, part.partition, part.next - 1, {}), [part])

    def _go_on_leaving(self, timeout: float) -> None:
        """Serve the group without reading, and commit; a commit fails during a rebalance, and is then tried again."""
        if self._member.fatal:
            raise SourceFailedError(self._member.fatal)
        self._settlements.store_positions()
        self._beginnings.note_losses()
        consumer = self._client.consumer
        try:
            consumer.pause(consumer.assignment())  # also partitions that were just assigned
            message = consumer.poll(min(timeout, GATHER_SECONDS))
            if message is not None:
                self._intake.take([message])
            under_way = self._assignment.under_way(list(self._assignment.owned))
            unfinished = under_way or self._assignment.is_ready or self._settlements.unfinished
            in_group = self._member.refused is None  # a refused consumer has nothing to commit
            self._left = not unfinished and (not in_group or self._positions.commit())
        except KafkaException as error:
            self._member.note(f"leaving the group: {error.args[0].str()}")
