"""The Kafka source: a member of a consumer group whose positions never run ahead of the data.

One thread, the intake's, reads from librdkafka and is called back by it when partitions come and go; what is
settled is written by another (`settlements`). While there is no room the partitions are
paused and polling goes on, so that the group keeps us. librdkafka must not reset a position by itself: a
reset because data has expired is a loss, and is reported as one, with its range.

librdkafka's assignment is changed inside these callbacks only. Between the moment at which the group wants
partitions back and the callback that says so, librdkafka takes any change of the assignment for our answer: the
group goes on, another member gets the partitions, and we work on them still. Which moment that is cannot be seen
from here. So every partition is assigned with an explicit start, found out inside the callback (`kafka_starts`).
Where a position turns out to be invalid later (its data expired while it waited, or the log was cut) and no callback
comes by, we leave the group with this consumer and join it with a new one, whose assignment finds a start. That is
safe in any state: closing a consumer first gives us the callback that was pending, and then the last one.
(Unsubscribing is not: with the new protocol and a revocation pending, librdkafka 2.16 never joins again.) What was
taken from the partition in question is settled before; what was taken from the others as at any revocation.

Every now and then it is checked that the group, librdkafka and we mean the same partitions (`kafka_membership`);
where not, nothing more is committed of any of them, and we join anew.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.config.kafka import KafkaSection
from connector.loss_forecast import Horizon
from connector.progress import Commit
from connector.records import Chunk
from connector.sources.kafka_again import KafkaAgain
from connector.sources.kafka_horizons import KafkaHorizons, PartitionView
from connector.sources.kafka_membership import MembershipCheck
from connector.sources.kafka_records import to_records
from connector.sources.kafka_retention import Retention
from connector.sources.kafka_settings import consumer_settings, refusal
from connector.sources.kafka_starts import Start, StartFinder
from connector.sources.kafka_status import Status
from connector.sources.log_file import LogFile
from connector.sources.partitions import OwnedPartition, Settled, partition_name
from connector.sources.settlements import Settlements
from connector.sources.source import Handover, Reread, SourceFailedError

_BATCH: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024
_QUERY_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_START_SECONDS: Final = 10.0
_REJOIN_SECONDS: Final = 30.0
"""From one joining anew to the next: each moves partitions between members."""
_CHECK_SECONDS: Final = 5.0
_PAUSE_AFTER_SECONDS: Final = 3.0
"""Pausing throws away what was prefetched, so a short wait for room is not worth it. Nothing is polled meanwhile,
though, and the group must not take that for hanging."""

_log = structlog.get_logger(__name__)


class KafkaSource:
    """A `Source` over one membership in a consumer group."""

    def __init__(
        self,
        settings: KafkaSection,
        file: LogFile,
        *,
        clock: Callable[[], float] = time.monotonic,
        consumer: Callable[..., Consumer] = Consumer,
    ) -> None:
        """ValueError if librdkafka does not take the settings."""
        self.name = settings.name
        self._settings = settings
        self._file = file
        self._clock = clock
        self._status = Status(settings.name)
        self._make_consumer = consumer
        self._consumer = self._new_consumer()
        self._eager = settings.group_protocol == "classic" and settings.assignor != "cooperative-sticky"
        self._settlements = Settlements(settings.name, file, self._store)
        self._horizons = KafkaHorizons()
        self._retention = Retention(settings)
        self._record_times: dict[str, float] = {}
        """Partition → time of the last record that was read of it, in seconds since the epoch."""
        self._again = KafkaAgain(settings)
        self._lock = threading.Lock()
        self._owned: dict[str, OwnedPartition] = {}
        self._ready: deque[Chunk] = deque()
        self._stuck: set[str] = set()
        """Partitions that are not read, since their position is not valid."""
        self._refused: dict[str, int | None] = {}
        """Partition → the position that the broker refused, None for the group's; until it has begun anew."""
        self._losses: deque[tuple[str, int, TopicPartition]] = deque()
        """(what was lost, records, where reading goes on) that is not in the ledger yet."""
        self._next_rejoin = 0.0
        self._check = MembershipCheck()
        self._next_check = 0.0
        self._batch = 100
        self._message_bytes = 1000.0
        self._held_since: float | None = None
        self._pause_after = min(_PAUSE_AFTER_SECONDS, settings.max_poll_interval / 4)
        self._paused = False
        self._share = 1.0
        self._share_unknown = True
        self._next_share = 0.0
        self._leaving = self._left = False
        self._draining = threading.Event()
        self._closing = False
        self._closed = False
        self._handover: Handover | None = None
        self._late_commits = self._abandoned = self._rebalances = self._expired = self._received = 0
        self._unowned = self._disagreements = 0

    # -- the source -------------------------------------------------------------------------------

    def start(self, handover: Handover) -> None:
        """Join the group in the background."""
        self._handover = handover
        if self._file.set_aside:
            _log.error("ledger_damaged", source=self.name, detail=str(self._file.set_aside))
        self._settlements.start()
        self._subscribe()

    def poll(self, timeout: float) -> Chunk | None:
        """The next records of one partition."""
        self._held_since = None
        if self._paused and not self._leaving:
            self._resume()
        if self._leaving and not self._draining.is_set():
            self._go_on_leaving(timeout)
        elif not self._ready and not self._draining.is_set():
            if self._status.fatal:
                raise SourceFailedError(self._status.fatal)
            self._settlements.tell()
            self._note_losses()
            self._verify()
            self._begin_anew()
            self._find_share()
            self._take(self._consumer.consume(self._batch, timeout))
        return self._ready.popleft() if self._ready else None

    def hold(self) -> None:
        """Keep the membership while nothing can be taken in."""
        now = self._clock()
        self._settlements.tell()
        self._verify()
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since < self._pause_after or self._draining.is_set():
            return
        try:
            self._consumer.pause(self._consumer.assignment())  # also those that came while we were paused
        except KafkaException as error:
            self._status.note(f"pausing failed: {error.args[0].str()}")
        if not self._paused:
            self._paused = True
            _log.info("kafka_paused", source=self.name, reason="no room: Clarify does not take the data fast enough")
        message = self._consumer.poll(0)
        if message is not None:
            self._take([message])

    def commit(self, commit: Commit) -> None:
        """Into the ledger, then to the group."""
        with self._lock:
            owned = self._owned.get(commit.partition)
            if owned is None:
                self._late_commits += 1
                return
            settled = owned.settle(commit.position)
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
        self._closed = self._closing = True
        self._draining.set()
        until = time.monotonic() + timeout
        self._again.close()
        self._settlements.close(timeout)
        self._settlements.tell()  # the thread that polled has ended
        self._note_losses()
        leaving = threading.Thread(target=self._leave, name=f"leave-{self.name}", daemon=True)
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
        found = self._status.problems()
        if self._settlements.trouble:
            found.append(self._settlements.trouble)
        if self._stuck:
            found.append(f"no valid position yet in {', '.join(sorted(self._stuck))}")
        return found

    def share(self) -> float:
        """Our part of the topics' partitions."""
        return self._share

    def gauges(self) -> dict[str, float]:
        """Group, positions, losses."""
        return {
            "kafka_assigned_partitions": len(self._owned),
            "kafka_share": self._share,
            "kafka_paused": float(self._paused),
            "kafka_lag": self._status.lag(self._owned),
            "kafka_received_total": self._received,
            "kafka_rebalances_total": self._rebalances,
            "kafka_abandoned_total": self._abandoned,
            "kafka_late_settlements_total": self._late_commits + self._settlements.late,
            "kafka_redelivered_total": self._settlements.redelivered,
            "kafka_expired_total": self._expired,
            "kafka_disagreements_total": self._disagreements,
        }

    def horizons(self, now: float) -> list[Horizon]:
        """Retention, of the partitions that are ours."""
        with self._lock:
            owned = {name: found.next_taken for name, found in self._owned.items()}
        views = [
            PartitionView(name, topic, low, position, lag, self._record_times.get(name))
            for name, topic, low, lag in self._status.log_starts()
            if (position := owned.get(name)) is not None
        ]
        return self._horizons.look(now, time.time(), views, self._retention.of({view.topic for view in views}, now))

    # -- records ----------------------------------------------------------------------------------

    def _take(self, messages: list[Message]) -> None:
        if not messages:
            return
        received_us = time.time_ns() // 1000
        runs: dict[tuple[str | None, int | None], list[Message]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._failed(message, error)
                continue
            at = (message.topic(), message.partition())
            run = runs.get(at)
            if run is None:
                runs[at] = [message]
            else:
                run.append(message)
        for (topic, number), run in runs.items():
            self._give_out(str(topic), int(number or 0), run, received_us)

    def _give_out(self, topic: str, number: int, run: list[Message], received_us: int) -> None:
        owned = self._owned.get(partition_name(topic, number))
        if owned is None:  # it went away while the batch was being gathered; its new owner gets these
            self._unowned += len(run)
            return
        positions = [message.offset() or 0 for message in run]
        if owned.next_taken is not None and positions[0] < owned.next_taken:
            kept = [i for i, position in enumerate(positions) if position >= owned.next_taken]
            run, positions = [run[i] for i in kept], [positions[i] for i in kept]
            if not run:
                return
        records = to_records(topic, run, received_us, record_time=self._settings.timestamps == "record")
        with self._lock:
            owned.take(positions)
        self._received += len(run)
        self._record_times[owned.name] = run[-1].timestamp()[1] / 1000
        self._status.works()
        self._ready.append(Chunk(self.name, owned.name, positions, records))
        some = records[:: max(1, len(records) // 16)]
        average = sum(len(record.payload or b"") for record in some) / len(some)
        self._message_bytes += 0.2 * (average + 100 - self._message_bytes)
        self._batch = max(1, min(_BATCH, int(_BATCH_BYTES / self._message_bytes)))

    def _failed(self, message: Message, error: KafkaError) -> None:
        topic, number = message.topic(), message.partition()
        if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and number is not None:
            self._is_stuck(partition_name(topic, number))
        else:
            self._status.failed(error, topic)

    def _go_on_leaving(self, timeout: float) -> None:
        """Serve the group without reading: a commit in the middle of a rebalance fails, and is tried again."""
        if self._status.fatal:
            raise SourceFailedError(self._status.fatal)
        self._settlements.tell()
        self._note_losses()
        try:
            self._consumer.pause(self._consumer.assignment())  # also those that came just now
            message = self._consumer.poll(timeout)
            if message is not None:
                self._take([message])
            with self._lock:
                under_way = any(owned.under_way for owned in self._owned.values())
            self._left = not (under_way or self._ready or self._settlements.unfinished) and self._commit_now()
        except KafkaException as error:
            self._status.note(f"leaving the group: {error.args[0].str()}")

    def _commit_now(self) -> bool:
        """Whether the group has all positions that we have settled."""
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError._NO_OFFSET)  # nothing is new
        return True

    def _resume(self) -> None:
        try:
            self._consumer.resume(self._consumer.assignment())
        except KafkaException as error:
            self._status.note(f"resuming failed: {error.args[0].str()}")
            return
        self._paused = False
        _log.info("kafka_resumed", source=self.name)

    # -- positions --------------------------------------------------------------------------------

    def _is_stuck(self, name: str) -> None:
        """Its position is not valid; it is not read any more."""
        owned = self._owned.get(name)
        if owned is not None and name not in self._stuck:
            self._stuck.add(name)
            self._refused[name] = owned.next_taken

    def _begin_anew(self) -> None:
        """Leave and join again where a partition is stuck and what was taken of it is settled."""
        if not self._stuck or self._clock() < self._next_rejoin:
            return
        with self._lock:
            waiting = any(owned.under_way for name in self._stuck if (owned := self._owned.get(name)))
        if not waiting:
            self._rejoin(f"the position in {', '.join(sorted(self._stuck)[:10])} is not in the log any more")

    def _begin(self, owned: OwnedPartition, start: Start) -> None:
        """It was assigned to begin there."""
        self._stuck.discard(owned.name)
        if start.offset is None:
            if start.no_position:
                self._status.fatal = (
                    f"group {self._settings.group_id!r} has no position in {owned.name}, and auto_offset_reset is "
                    "error; set the group's position, or choose earliest or latest"
                )
            return
        self._refused.pop(owned.name, None)
        with self._lock:
            owned.begin_at(start.offset)
        if start.offset == start.expected:
            return
        at = TopicPartition(owned.topic, owned.number, start.offset)
        if start.expected is None:
            policy = self._settings.auto_offset_reset
            _log.info("kafka_starts_at", source=self.name, partition=owned.name, offset=start.offset, policy=policy)
            self._store_start(at)
            return
        what = (
            f"{owned.name}: the data from offset {start.expected} to before {start.offset} had expired before it could "
            "be read"
            if start.lost
            else f"{owned.name}: position {start.expected} is not in the log any more: the log was cut, or the topic "
            f"made anew; reading goes on with its first record, at {start.offset}"
        )
        self._expired += start.lost
        _log.error(
            "kafka_data_expired",
            source=self.name,
            partition=owned.name,
            first_lost=start.expected,
            next_available=start.offset,
            detail=what,
            remedy="lengthen the topic's retention, or have more replicas read it",
        )
        self._losses.append((what, start.lost, at))
        self._note_losses()

    def _note_losses(self) -> None:
        """Into the ledger, and then, so that none is reported twice, to the group."""
        while self._losses:
            what, lost, at = self._losses[0]
            try:
                self._file.note_loss(what, lost)
            except sqlite3.Error as error:
                self._status.note(f"the ledger cannot be written: {error}")
                return
            self._losses.popleft()
            self._store_start(at)

    def _store_start(self, at: TopicPartition) -> None:
        """The group has a position from now on, so that whoever comes next begins there and not where the policy says:
        with `latest`, what came meanwhile would be left out."""
        name = partition_name(at.topic, at.partition)
        owned = self._owned.get(name)
        if owned is None or owned.next_taken != at.offset:  # it is further by now, or not ours
            return
        try:
            self._consumer.store_offsets(offsets=[at])
        except KafkaException as error:
            self._status.note(f"{name}: where it begins could not be stored: {error.args[0].str()}")
        else:
            self._settlements.stored[name] = at.offset

    def _find_share(self) -> None:
        """Our part of all partitions; asked anew after a rebalance."""
        now = self._clock()
        if not self._share_unknown or now < self._next_share:
            return
        self._next_share = now + _RETRY_SECONDS
        try:
            topics = self._consumer.list_topics(timeout=_QUERY_SECONDS).topics
        except KafkaException as error:
            self._status.note(f"the number of partitions is not known: {error.args[0].str()}")
            return
        matches = self._settings.matches
        total = sum(len(topic.partitions) for name, topic in topics.items() if matches(name))
        self._share = min(1.0, len(self._owned) / total) if total else 1.0
        self._share_unknown = False

    # -- the membership ---------------------------------------------------------------------------

    def _new_consumer(self) -> Consumer:
        """ValueError if librdkafka does not take the settings."""
        options = consumer_settings(self._settings) | self._status.callbacks()
        try:
            return self._make_consumer(options, logger=self._status.logger)
        except KafkaException as error:
            raise ValueError(refusal(self._settings, error)) from None

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            self._settings.subscription, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _rejoin(self, reason: str) -> None:
        """Leave the group, which calls us back, and join it as another member."""
        self._next_rejoin = self._clock() + _REJOIN_SECONDS
        _log.warning("kafka_rejoins", source=self.name, reason=reason)
        self._leave()
        self._give_up(list(self._owned))
        try:
            self._consumer = self._new_consumer()
        except ValueError as error:  # such as a certificate that is not there any more
            raise SourceFailedError(str(error)) from None
        self._subscribe()

    def _verify(self) -> None:
        """Never work on a partition that is not ours."""
        now = self._clock()
        if now < self._next_check or self._status.fatal:
            return
        self._next_check = now + _CHECK_SECONDS
        try:
            assigned = {partition_name(found.topic, found.partition) for found in self._consumer.assignment()}
        except KafkaException as error:
            self._status.note(f"which partitions are assigned could not be asked for: {error.args[0].str()}")
            return
        wrong = self._check.difference(
            self._owned.keys(),
            assigned,
            self._status.group_count,
            report=self._status.reports,
            rebalances=self._rebalances,
        )
        if wrong is None:
            return
        self._disagreements += 1
        _log.error(
            "kafka_membership_disagrees",
            source=self.name,
            reason=wrong,
            effect="what is not settled of our partitions is given up, and we join the group anew",
        )
        self._give_up(list(self._owned))
        self._rejoin("whose the partitions are is not clear")

    # -- the group; called by librdkafka inside poll, consume and close -----------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        stuck = [] if self._eager else [owned for name in sorted(self._stuck) if (owned := self._owned.get(name))]
        again = [TopicPartition(owned.topic, owned.number) for owned in stuck]
        starts: dict[str, Start] = {}
        if not self._closing and (partitions or again):
            taken = {owned.name: owned.next_taken for owned in stuck if owned.next_taken is not None}
            within = min(_START_SECONDS, self._settings.max_poll_interval / 4)
            finder = StartFinder(consumer, self._settings.auto_offset_reset, within)
            starts = finder.find([*partitions, *again], taken, self._refused)
            if finder.trouble and any(start.offset is None for start in starts.values()):
                self._status.note(f"where to begin could not be asked for: {finder.trouble}")
        try:
            if self._eager:
                consumer.assign(_from(partitions, starts))
            else:
                if again:
                    consumer.incremental_unassign(again)
                consumer.incremental_assign(_from([*partitions, *again], starts))
        except KafkaException as error:
            self._status.note(f"partitions could not be taken over: {error.args[0].str()}")
            return  # the check finds that out, and joins anew
        new = []
        for found in partitions:
            self._status.topic_works(found.topic)
            name = partition_name(found.topic, found.partition)
            expected = starts[name].expected if name in starts else None
            new.append(OwnedPartition(found.topic, found.partition, expected, self._file.ranges(name)))
        with self._lock:
            self._owned |= {owned.name: owned for owned in new}
        for owned in [*new, *stuck]:
            if owned.name in starts:
                self._begin(owned, starts[owned.name])
        self._rebalanced("kafka_assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        names = [partition_name(old.topic, old.partition) for old in partitions]
        settled = self._settle(names)
        self._settlements.flush()
        self._settlements.tell()
        offsets = [
            TopicPartition(old.topic, old.partition, self._settlements.stored[name])
            for old, name in zip(partitions, names, strict=True)
            if name in self._settlements.stored
        ]
        if offsets:
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                _log.warning(
                    "kafka_commit_failed",
                    source=self.name,
                    reason=error.args[0].str(),
                    effect="the new owner gets some of it again",
                )
        self._give_up(names)
        self._unassign(consumer)
        self._rebalanced("kafka_revoked", partitions, settled=settled)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up([partition_name(old.topic, old.partition) for old in partitions])
        self._unassign(consumer)
        self._rebalanced("kafka_lost", partitions, reason="the group had thrown us out; somebody else has them already")

    def _unassign(self, consumer: Consumer) -> None:
        """Answer a revocation: nothing is read any more that is not ours."""
        try:
            if self._eager:
                consumer.unassign()
            else:
                held = consumer.assignment()
                consumer.incremental_unassign(
                    [found for found in held if partition_name(found.topic, found.partition) not in self._owned]
                )
        except KafkaException as error:
            self._status.note(f"partitions could not be given back: {error.args[0].str()}")

    def _settle(self, names: list[str]) -> bool:
        """Have what is under way settled; what was not given out yet is not begun any more."""
        self._ready = deque(chunk for chunk in self._ready if chunk.partition not in names)
        if self._closing or self._handover is None:
            return not any(owned.under_way for name in names if (owned := self._owned.get(name)))
        return self._handover.settle(self.name, names, self._settings.drain_timeout)

    def _give_up(self, names: Iterable[str]) -> None:
        names = list(names)
        self._ready = deque(chunk for chunk in self._ready if chunk.partition not in names)
        if self._handover is not None:
            self._abandoned += self._handover.forget(self.name, names)
        with self._lock:
            for name in names:
                self._owned.pop(name, None)
                self._stuck.discard(name)
                self._settlements.forget(name)

    def _rebalanced(self, event: str, partitions: list[TopicPartition], **more: object) -> None:
        self._rebalances += 1
        self._share_unknown = True
        self._status.joined = event != "kafka_lost"
        if partitions:
            names = sorted(partition_name(found.topic, found.partition) for found in partitions)
            _log.info(event, source=self.name, partitions=names[:50], count=len(names), owned=len(self._owned), **more)

    def _store(self, part: Settled) -> bool:
        """Kafka commits stored positions in the background, once a second, and never an older one than it has."""
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(part.topic, part.number, part.range.next)])
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:  # that one says: not ours any more
                _log.error(
                    "kafka_position_not_stored",
                    source=self.name,
                    partition=part.range.partition,
                    reason=error.args[0].str(),
                    effect="from there on it is delivered again after a restart",
                )
            return False
        return True

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka_leaving_failed", source=self.name, reason=str(error))


def _from(partitions: list[TopicPartition], starts: dict[str, Start]) -> list[TopicPartition]:
    """The partitions, each with where to begin; where that is not known, librdkafka asks the group once more, and
    reports it if there is nothing."""
    begun = []
    for found in partitions:
        start = starts.get(partition_name(found.topic, found.partition))
        offset = OFFSET_STORED if start is None or start.offset is None else start.offset
        begun.append(TopicPartition(found.topic, found.partition, offset))
    return begun
