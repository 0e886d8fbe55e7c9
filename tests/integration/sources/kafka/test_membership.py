"""Two members of a group, driven step by step: no partition is worked on by both, whatever comes between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.source import KafkaSource
from tests.kafka_brokers import KafkaBroker, RealKafka, need_real
from tests.scripted import Clock, ScriptedHandover
from tests.waiting import wait_until

PARTITIONS = 4
PROTOCOLS = [{"group_protocol": "classic", "session_timeout": "6s"}, {"group_protocol": "consumer"}]


class Watched(Consumer):
    """One that notes when its assignment is changed outside of a rebalance callback: at a bad moment librdkafka takes
    that for the answer to a revocation that it has not told us of yet, and another member gets partitions that we
    still work on."""

    unasked: ClassVar[list[str]] = []
    made: ClassVar[list[Watched]] = []

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._called_back = False
        self.made.append(self)

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:  # type: ignore[override]
        super().subscribe(topics, **{name: self._noting(callback) for name, callback in callbacks.items()})

    def _noting(self, callback: Callable[..., None]) -> Callable[..., None]:
        def noting(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._called_back = True
            try:
                callback(consumer, partitions)
            finally:
                self._called_back = False

        return noting

    def _note(self, call: str) -> None:
        if not self._called_back:
            self.unasked.append(call)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._note("assign")
        super().assign(partitions)

    def unassign(self) -> None:
        self._note("unassign")
        super().unassign()

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._note("incremental_assign")
        super().incremental_assign(partitions)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self._note("incremental_unassign")
        super().incremental_unassign(partitions)


class Member:
    """A source that is polled by hand and settles at once what it reads."""

    def __init__(self, bootstrap: str, topic: str, folder: Path, **settings: Any) -> None:
        text = {"type": "kafka", "bootstrap_servers": bootstrap, "topics": [topic], "group_id": topic}
        self.clock = Clock()
        self.path = folder / "kafka.sqlite"
        self.file = SourceFile.open(self.path)
        section = KafkaSection.model_validate(text | {"security": "plaintext"} | settings)
        self.source = KafkaSource(section, self.file, clock=self.clock, consumer=Watched)
        self.read: dict[str, list[int]] = {}
        self.source.start(ScriptedHandover())

    @property
    def owned(self) -> float:
        return self.source.gauges()["kafka_assigned_partitions"]

    def poll(self) -> None:
        chunk = self.source.poll(0.1)
        if chunk is None:
            return
        self.read.setdefault(chunk.partition, []).extend(chunk.positions)
        counts = Counts(received=len(chunk.positions), inserted=len(chunk.positions))
        topic = chunk.partition.partition("[")[0]
        self.source.commit(Commit("kafka", chunk.partition, chunk.positions[-1], {topic: Tally(counts, counts)}))

    def poll_until(self, condition: Callable[[], object], what: str) -> None:
        def polled() -> object:
            self.poll()
            return condition()

        wait_until(polled, 30, what, every=0)

    def pause(self) -> None:
        """As if there had been no room for a while."""
        self.source.hold()
        self.clock.now += 4
        self.source.hold()

    def close(self) -> None:
        self.source.stop_reading()
        self.source.close(10)


class Other:
    """A plain consumer of the group, which notes how many partitions the member still had when it got some."""

    def __init__(self, bootstrap: str, topic: str, member: Member, protocol: str) -> None:
        self.overlaps: list[float] = []
        self.owned = 0
        self._stop = threading.Event()
        settings = {"bootstrap.servers": bootstrap, "group.id": topic, "group.protocol": protocol}
        settings |= {"auto.offset.reset": "earliest", "log_level": "0", "enable.auto.commit": "false"}
        if protocol == "classic":
            settings |= {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": "200"}

        def on_assign(_: Consumer, new: list[TopicPartition]) -> None:
            self.owned += len(new)
            if self.owned + member.owned > PARTITIONS:
                self.overlaps.append(member.owned)

        def on_revoke(_: Consumer, old: list[TopicPartition]) -> None:
            self.owned -= len(old)  # it may have had all of them while the member joined anew

        self.consumer = Consumer(settings)
        self.consumer.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_revoke)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.consumer.consume(100, 0.1)
        self.consumer.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)


def fill(kafka: RealKafka, topic: str, records: int) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    for i in range(records * PARTITIONS):
        producer.produce(topic, b"%d" % i, partition=i % PARTITIONS)
    assert producer.flush(20) == 0


def shared_out(kafka: RealKafka, group: str) -> list[int]:
    """How many partitions the group wants each member to have, as far as it has been told."""
    found = kafka.admin().describe_consumer_groups([group], request_timeout=10)[group].result(10)
    given = [member.target_assignment or member.assignment for member in found.members]
    return sorted(len(assignment.topic_partitions) for assignment in given)


def names(topic: str) -> list[str]:
    return [f"{topic}[{number}]" for number in range(PARTITIONS)]


@pytest.fixture
def make(kafka: KafkaBroker, tmp_path: Path) -> Iterator[Callable[..., Member]]:
    made: list[Member] = []

    def member(topic: str, **settings: Any) -> Member:
        folder = tmp_path / f"member-{len(made)}"
        folder.mkdir()
        Watched.unasked.clear()
        made.append(Member(kafka.bootstrap, topic, folder, **settings))
        return made[-1]

    yield member
    for found in made:
        found.close()
    assert Watched.unasked == []


def stuck_member(
    kafka: RealKafka, make: Callable[..., Member], topic: str, settings: dict[str, str], *, read_before: int
) -> Member:
    """A member that read so many records of each partition, then none for a while, and just learned that the data from
    there to before 10 has expired."""
    kafka.create_topic(topic, PARTITIONS)
    fill(kafka, topic, read_before)
    member = make(topic, **settings)
    member.poll_until(
        lambda: member.owned == PARTITIONS and sum(map(len, member.read.values())) == read_before * PARTITIONS,
        "it owns all and has read what there is",
    )
    member.pause()
    fill(kafka, topic, 20 - read_before)
    for number in range(PARTITIONS):
        kafka.delete_records(topic, number, before=10)
    member.poll_until(lambda: any("no valid position" in text for text in member.source.problems()), "it is stuck")
    return member


@pytest.mark.parametrize("read_before", [0, 5])
@pytest.mark.parametrize("settings", PROTOCOLS, ids=lambda found: found["group_protocol"])
def test_data_that_expires_while_it_waits_is_reported_and_reading_goes_on(
    kafka: KafkaBroker, make: Callable[..., Member], settings: dict[str, str], read_before: int
) -> None:
    real = need_real(kafka)
    topic = f"expires-{settings['group_protocol']}-{read_before}"
    member = stuck_member(real, make, topic, settings, read_before=read_before)
    left = 10 + read_before
    member.poll_until(lambda: sum(map(len, member.read.values())) >= left * PARTITIONS, "all that is left is read")
    assert member.read == {name: [*range(read_before), *range(10, 20)] for name in names(topic)}
    assert member.source.problems() == []
    assert member.source.gauges()["kafka_expired_total"] == (10 - read_before) * PARTITIONS
    assert member.source.gauges()["kafka_disagreements_total"] == 0
    incidents = read_statement(member.path, lambda row: None).incidents
    for name in names(topic):
        text = f"{name}: the data from offset {read_before} to before 10 had expired before it could be read"
        assert sum(text in incident for incident in incidents) == 1, incidents


@pytest.mark.parametrize("settings", PROTOCOLS, ids=lambda found: found["group_protocol"])
def test_a_stuck_partition_does_not_keep_what_the_group_wants_back(
    kafka: KafkaBroker, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    real = need_real(kafka)
    topic = f"stuck-{settings['group_protocol']}"
    member = stuck_member(real, make, topic, settings, read_before=5)
    other = Other(real.bootstrap, topic, member, settings["group_protocol"])
    try:
        wait_until(lambda: shared_out(real, topic) in ([0, 2], [2, 2]), 20, "the group wants two back")
        member.poll_until(lambda: other.owned == 2 == member.owned, "each has two")
        assert other.overlaps == []
        after = [*range(5), *range(10, 20)]
        member.poll_until(lambda: sorted(map(len, member.read.values())) == [5, 5, 15, 15], "it reads its own")
        assert list(member.read.values()).count(after) == 2
    finally:
        other.close()


@pytest.mark.parametrize("settings", PROTOCOLS, ids=lambda found: found["group_protocol"])
def test_with_latest_what_comes_after_the_first_start_is_never_left_out(
    kafka: KafkaBroker, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    """Whoever takes a partition over before anything of it was settled must not begin at its end once more."""
    real = need_real(kafka)
    topic = f"latest-{settings['group_protocol']}"
    real.create_topic(topic, PARTITIONS)
    fill(real, topic, 3)
    first = make(topic, auto_offset_reset="latest", **settings)
    first.poll_until(lambda: first.owned == PARTITIONS, "it owns all")
    first.close()
    fill(real, topic, 2)
    second = make(topic, auto_offset_reset="error", **settings)
    second.poll_until(lambda: sum(map(len, second.read.values())) == 2 * PARTITIONS, "all of the new ones")
    assert second.read == {name: [3, 4] for name in names(topic)}


def test_a_log_that_ends_before_the_position_is_read_from_its_first_record_and_committed(
    kafka: KafkaBroker, make: Callable[..., Member]
) -> None:
    """As after the topic was made anew, or the only replica that was left had less of it."""
    real = need_real(kafka)
    topic = "cut"
    real.create_topic(topic, PARTITIONS)
    fill(real, topic, 4)
    group = Consumer({"bootstrap.servers": real.bootstrap, "group.id": topic})
    group.commit(offsets=[TopicPartition(topic, number, 9) for number in range(PARTITIONS)], asynchronous=False)
    group.close()
    second = make(topic)
    second.poll_until(lambda: sum(map(len, second.read.values())) == 4 * PARTITIONS, "all of the new ones")
    assert second.read == {name: [0, 1, 2, 3] for name in names(topic)}
    (incident, *_) = read_statement(second.path, lambda row: None).incidents
    assert "position 9 is not in the log any more" in incident
    second.close()
    third = make(topic)
    third.poll_until(lambda: third.owned == PARTITIONS, "it owns all")
    fill(real, topic, 1)
    third.poll_until(lambda: sum(map(len, third.read.values())) >= PARTITIONS, "what came last")
    assert third.read == {name: [4] for name in names(topic)}, "the group's positions went back"


@pytest.mark.parametrize("settings", PROTOCOLS, ids=lambda found: found["group_protocol"])
def test_a_partition_that_the_group_did_not_give_is_not_worked_on(
    kafka: KafkaBroker, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    real = need_real(kafka)
    topic, foreign = f"ours-{settings['group_protocol']}", f"foreign-{settings['group_protocol']}"
    for name in (topic, foreign):
        real.create_topic(name, PARTITIONS)
        fill(real, name, 3)
    member = make(topic, **settings)
    member.poll_until(lambda: sum(map(len, member.read.values())) == 3 * PARTITIONS, "all of its own")
    Watched.made[-1].incremental_assign([TopicPartition(foreign, 0, 0)])
    assert Watched.unasked == ["incremental_assign"]
    Watched.unasked.clear()
    member.clock.now += 10
    member.poll_until(lambda: member.source.gauges()["kafka_disagreements_total"] == 1, "it is noticed")
    member.poll_until(lambda: member.owned == PARTITIONS and not member.source.problems(), "it has joined anew")
    fill(real, topic, 1)
    # What was not committed yet comes again: whose the partitions were was not clear.
    member.poll_until(lambda: all(positions[-1] == 3 for positions in member.read.values()), "its own goes on")
    assert {name: sorted(set(positions)) for name, positions in member.read.items()} == {
        name: [0, 1, 2, 3] for name in names(topic)
    }
