"""A topic that is made anew, and partitions, topics and members without a position, with a real Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from connector.ledger.source_file import SourceFile
from connector.ledger.statement import Statement, read_statement
from connector.sources.kafka.identity import LogIdentity
from connector.sources.kafka.section import KafkaSection
from connector.sources.range import OffsetRange, RangeAsked, RangeError
from tests.integration.kafka_topics import committed, produce
from tests.integration.sources.kafka.test_membership import Member
from tests.kafka_brokers import KafkaBroker, RealKafka, need_real
from tests.waiting import wait_until

PROTOCOLS = [{"group_protocol": "classic", "session_timeout": "6s"}, {"group_protocol": "consumer"}]
SOON = {"librdkafka": {"topic.metadata.refresh.interval.ms": 200}}
"""New topics and partitions are found at once, and not after 30 s."""

both = pytest.mark.parametrize("settings", PROTOCOLS, ids=lambda found: found["group_protocol"])


@pytest.fixture
def real(kafka: KafkaBroker) -> RealKafka:
    return need_real(kafka)


@pytest.fixture
def make(kafka: KafkaBroker, tmp_path: Path) -> Iterator[Callable[..., Member]]:
    made: list[Member] = []

    def member(topic: str, folder: str = "a", **settings: Any) -> Member:
        """A member with the state in `folder`."""
        (tmp_path / folder).mkdir(exist_ok=True)
        made.append(Member(kafka.bootstrap, topic, tmp_path / folder, auto_offset_reset="latest", **settings))
        return made[-1]

    yield member
    for found in made:
        found.close()


def write(real: RealKafka, topic: str, records: int, partition: int = 0) -> None:
    produce(real.bootstrap, topic, [b"%d" % i for i in range(records)], partition)


def topic_id(real: RealKafka, topic: str) -> str:
    found = real.admin().describe_topics(TopicCollection([topic]))[topic].result(10)
    return str(found.topic_id).translate(str.maketrans("+/", "-_"))


def make_anew(real: RealKafka, topic: str) -> None:
    before = topic_id(real, topic)
    real.admin().delete_topics([topic])[topic].result(20)

    def created() -> bool:
        real.create_topic(topic)
        return topic_id(real, topic) != before

    wait_until(created, 20, "the topic is made anew")


def joined(member: Member, partitions: int = 1) -> None:
    member.poll_until(lambda: member.owned == partitions, "it has the partitions")


def settles(real: RealKafka, member: Member, topic: str, first: int, end: int, partition: int = 0) -> None:
    """It reads until these offsets, of the topic as it is now, are settled, and the position is given to librdkafka."""
    name, log = f"{topic}[{partition}]", topic_id(real, topic)

    def settled() -> bool:
        member.clock.now += 0.5
        ranges = [(part.first, part.next) for part in member.file.ledger.ranges(name, log)]
        return ranges[-1:] == [(first, end)] and member.source._settlements.stored.get(name) == end

    member.poll_until(settled, f"{name} is settled from {first} to before {end}")


def read_and_left(real: RealKafka, make: Callable[..., Member], topic: str, records: int) -> None:
    """A member that came when the topic had five records has read so many more, and has left."""
    real.create_topic(topic)
    write(real, topic, 5)
    member = make(topic)
    joined(member)
    write(real, topic, records)
    settles(real, member, topic, 5, 5 + records)
    member.close()


def statement(member: Member) -> Statement:
    return read_statement(member.path, lambda row: None)


@both
def test_a_topic_that_is_made_anew_while_it_is_read_loses_nothing(
    kafka: KafkaBroker, real: RealKafka, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    topic = f"anew-{settings['group_protocol']}"
    real.create_topic(topic)
    member = make(topic, **settings)
    joined(member)
    write(real, topic, 10)
    settles(real, member, topic, 0, 10)
    old = topic_id(real, topic)
    make_anew(real, topic)
    write(real, topic, 30)
    settles(real, member, topic, 0, 30)
    new = topic_id(real, topic)
    found = statement(member)
    assert found.redelivered == 0, "records of another log did not come again"
    assert (found.expired, found.unread) == (0, 0)
    assert {part.log for part in found.ranges} == {old, new}
    (incident,) = found.incidents
    assert f"{topic}[0]: the topic was deleted and made anew: topic ID {new}" in incident
    assert member.source.problems() == []
    member.close()
    assert committed(kafka, topic, 1) == [30]
    after = make(topic, **settings)
    joined(after)
    write(real, topic, 1)
    settles(real, after, topic, 0, 31)
    assert statement(after).incidents == found.incidents, "once is enough"


@both
def test_what_the_old_log_still_had_is_a_loss(
    real: RealKafka, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    topic = f"unread-{settings['group_protocol']}"
    real.create_topic(topic)
    member = make(topic, **settings)
    joined(member)
    write(real, topic, 10)
    settles(real, member, topic, 0, 10)
    old = topic_id(real, topic)
    member.pause()
    write(real, topic, 5)

    def looked() -> bool:
        member.clock.now += 1
        member.source.hold()
        return member.source._identities.end_of_log(f"{topic}[0]", LogIdentity(old)) == 15

    wait_until(looked, 20, "it has seen the end of the log")
    make_anew(real, topic)
    write(real, topic, 30)
    settles(real, member, topic, 0, 30)
    found = statement(member)
    read_of_old = max(part.next for part in found.ranges if part.log == old)
    assert found.unread == max(0, 15 - read_of_old) == member.source.gauges()["kafka_expired_total"]
    assert (found.expired, found.redelivered) == (0, 0)
    assert len(found.incidents) == 1


@pytest.mark.parametrize("kept_by", ["ledger", "group"])
def test_a_topic_that_is_made_anew_while_nobody_reads_it(
    kafka: KafkaBroker, real: RealKafka, make: Callable[..., Member], kept_by: str
) -> None:
    """The brokers delete the positions with the topic. A member that still runs may commit one after that."""
    topic = f"away-{kept_by}"
    real.create_topic(topic)
    member = make(topic)
    joined(member)
    write(real, topic, 10)
    settles(real, member, topic, 0, 10)
    member.close()
    group = Consumer({"bootstrap.servers": real.bootstrap, "group.id": topic})
    kept = group.committed([TopicPartition(topic, 0)], timeout=10)
    make_anew(real, topic)
    write(real, topic, 30)
    if kept_by == "group":
        group.commit(offsets=kept, asynchronous=False)
    else:
        wait_until(lambda: committed(kafka, topic, 1) == [-1001], 20, "the position is deleted")
    group.close()
    after = make(topic, folder="a" if kept_by == "ledger" else "another member")
    joined(after)
    settles(real, after, topic, 0, 30)
    found = statement(after)
    assert (found.redelivered, found.expired, found.unread) == (0, 0, 0)
    (incident,) = found.incidents
    assert "the topic was deleted and made anew" in incident
    assert "was read up to offset 10: whether it had later records is not known" in incident


@both
def test_partitions_and_topics_that_appear_are_read_from_their_first_record(
    real: RealKafka, make: Callable[..., Member], settings: dict[str, str]
) -> None:
    topic = f"appear-{settings['group_protocol']}"
    late, by_pattern = f"late-{topic}", f"pattern-{topic}-1"
    real.create_topic(topic)
    write(real, topic, 5)
    pattern = settings["group_protocol"] == "classic"  # with the new protocol, brokers look for topics every 10 s
    section = {"topics": [topic, late, *([f"^pattern-{topic}.*"] if pattern else [])], **SOON, **settings}
    member = make(topic, **section)
    joined(member)
    write(real, topic, 1)
    settles(real, member, topic, 5, 6)
    real.admin().create_partitions([NewPartitions(topic, 2)])[topic].result(20)
    for new in (late, by_pattern):
        real.create_topic(new)
        write(real, new, 3)
    wait_until(lambda: written(real, topic, 1), 20, "the new partition is written")
    joined(member, 3 + pattern)
    settles(real, member, topic, 0, 3, 1)
    settles(real, member, late, 0, 3)
    if pattern:
        settles(real, member, by_pattern, 0, 3)


def written(real: RealKafka, topic: str, partition: int) -> bool:
    """Whether three records could be written to a partition that was just added."""
    try:
        write(real, topic, 3, partition)
    except KafkaException:  # the producer does not know the partition yet
        return False
    return True


def test_a_partition_that_was_added_while_nobody_was_there_is_new_to_a_member_that_knows_nothing(
    real: RealKafka, make: Callable[..., Member]
) -> None:
    topic = "added"
    read_and_left(real, make, topic, 1)
    real.admin().create_partitions([NewPartitions(topic, 2)])[topic].result(20)
    wait_until(lambda: written(real, topic, 1), 20, "the new partition is written")
    after = make(topic, folder="b")
    joined(after, 2)
    settles(real, after, topic, 0, 3, 1)


def test_a_member_knows_a_topic_that_is_made_anew_also_if_it_never_had_its_partition(
    real: RealKafka, make: Callable[..., Member]
) -> None:
    """Kafka deletes the group's positions with the topic, and this member has read nothing of the log before."""
    topics = ["never-a", "never-b"]
    for topic in topics:
        real.create_topic(topic)
    members = [make("^never-.*", folder=folder, **SOON) for folder in "ab"]

    def each_has_one() -> bool:
        members[1].poll()
        return all(member.owned == 1 for member in members)

    members[0].poll_until(each_has_one, "each has a partition")
    (theirs,) = (topic for topic in topics if f"{topic}[0]" in members[1].source._assignment.owned)
    write(real, theirs, 10)
    settles(real, members[1], theirs, 0, 10)
    members[0].poll_until(lambda: not members[0].source._at_start.unknown, "it knows the logs of all topics")
    for member in members:
        member.close()
    make_anew(real, theirs)
    write(real, theirs, 30)
    after = make("^never-.*", folder="a", **SOON)
    joined(after, 2)
    settles(real, after, theirs, 0, 30)
    (incident,) = statement(after).incidents
    assert f"{theirs}[0]: the topic was deleted and made anew" in incident


def test_where_the_group_has_forgotten_its_positions_the_ledger_helps(
    real: RealKafka, make: Callable[..., Member]
) -> None:
    """As after `offsets.retention.minutes` without a member."""
    topic = "forgotten"
    read_and_left(real, make, topic, 5)
    (done,) = real.admin().delete_consumer_groups([topic]).values()
    done.result(20)
    write(real, topic, 5)
    after = make(topic)
    joined(after)
    settles(real, after, topic, 5, 15)
    assert statement(after).redelivered == 0
    assert statement(after).incidents == []


def test_records_that_came_in_place_of_others_are_read(real: RealKafka, make: Callable[..., Member]) -> None:
    """As after an unclean election: the leader that was left had less of the log, and got other records since."""
    topic = "epoch"
    real.create_topic(topic)
    write(real, topic, 20)
    group = Consumer({"bootstrap.servers": real.bootstrap, "group.id": topic})
    group.commit(offsets=[TopicPartition(topic, 0, 10, "", 0)], asynchronous=False)
    member = make(topic)
    joined(member)
    settles(real, member, topic, 10, 20)
    assert statement(member).incidents == [], "the record before has the same epoch"
    member.close()
    group.commit(offsets=[TopicPartition(topic, 0, 20, "", 7)], asynchronous=False)
    group.close()
    after = make(topic, folder="b")
    settles(real, after, topic, 0, 20)
    (incident,) = statement(after).incidents
    assert "position 20 is not in the log any more: the log was cut" in incident


def test_a_backfill_does_not_go_on_in_another_log(real: RealKafka, tmp_path: Path) -> None:
    topic = "backfill"
    real.create_topic(topic)
    write(real, topic, 10)
    text = {"type": "kafka", "bootstrap_servers": real.bootstrap, "topics": [topic], "group_id": topic}
    section = KafkaSection.model_validate(text | {"security": "plaintext"})
    asked = RangeAsked(None, (OffsetRange(topic, 0, 2, 8),))
    for _ in range(2):
        section.open_range(SourceFile.open(tmp_path / "kafka.sqlite"), asked).close(5)
    make_anew(real, topic)
    write(real, topic, 10)
    file = SourceFile.open(tmp_path / "kafka.sqlite")
    with pytest.raises(RangeError, match="topic 'backfill' was deleted and made anew since this backfill began"):
        section.open_range(file, asked)
    file.close()
