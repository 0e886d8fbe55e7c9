"""The Kafka source without any Kafka: what it asks of its consumer, and when."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from connector.ledger.source_file import SourceFile
from connector.sources.kafka.identity import LogIdentity, write_note
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.source import KafkaSource
from connector.sources.source import SourceFailedError
from tests.scripted import Clock
from tests.unit.sources.kafka.scripted_admin import ScriptedAdmin, topic_id


class Idle:
    """A consumer without partitions, which notes when it was polled."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.polled: list[float] = []

    def assignment(self) -> list[TopicPartition]:
        return []

    def pause(self, partitions: list[TopicPartition]) -> None:
        assert partitions == []

    def poll(self, timeout: float) -> Message | None:
        assert timeout == 0
        self.polled.append(self.clock.now)
        return None


class Refused:
    """A consumer that the group does not let in, as long as `group` says so; else it gets the only partition."""

    def __init__(self, group: Group, statistics: Callable[[str], None]) -> None:
        self.group = group
        self.statistics = statistics
        self.closed = self.told = False
        self.on_assign: Callable[..., None] = lambda *_: None
        self.on_revoke = self.on_assign
        self.held: list[TopicPartition] = []
        group.made.append(self)

    def subscribe(
        self, _topics: list[str], on_assign: Callable[..., None], on_revoke: Callable[..., None], **_: object
    ) -> None:
        self.on_assign, self.on_revoke = on_assign, on_revoke
        self.group.joined_at.append(self.group.clock.now)

    def consume(self, _n: int, timeout: float) -> list[Message]:
        assert not self.closed
        self.group.clock.now += timeout
        if self.group.says_nothing:
            self.statistics('{"brokers": {"b": {"state": "UP", "nodeid": 1}}, "cgrp": {"join_state": "init"}}')
            return []
        if not self.told:
            self.told = True
            if not self.group.refuses:
                self.on_assign(self, [TopicPartition("t", 0)])
                return []
            text = f"Fatal error: {KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()}: by the coordinator"
            return [Message(error=KafkaError(KafkaError._FATAL, text))]
        return []

    def poll(self, timeout: float) -> Message | None:
        return next(iter(self.consume(1, timeout)), None)

    def assignment(self) -> list[TopicPartition]:
        return self.held

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.held = partitions

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.held = [found for found in self.held if found not in partitions]

    def committed(self, partitions: list[TopicPartition], **_: object) -> list[TopicPartition]:
        note = write_note(LogIdentity(topic_id(1), "c1"), 1)
        return [TopicPartition(found.topic, found.partition, 7, note) for found in partitions]

    def store_offsets(self, offsets: list[TopicPartition]) -> None:
        """The group keeps its position."""

    def offsets_for_times(self, partitions: list[TopicPartition], **_: object) -> list[TopicPartition]:
        return [TopicPartition(found.topic, found.partition, 7) for found in partitions]

    def list_topics(self, **_: object) -> object:
        return SimpleNamespace(
            topics={"t": SimpleNamespace(error=None, partitions=dict.fromkeys(range(self.group.partitions)))}
        )

    def pause(self, _partitions: list[TopicPartition]) -> None:
        """Nothing comes anyway."""

    def close(self) -> None:
        self.closed = True


class Group:
    """What the brokers say."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refuses = True
        self.says_nothing = False
        self.partitions = 1
        self.made: list[Refused] = []
        self.joined_at: list[float] = []


class Refusing:
    """A source of that group."""

    def __init__(self, folder: Path) -> None:
        self.group, self.admin = Group(Clock(0.0)), ScriptedAdmin()
        settings: dict[str, Any] = {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": ["t"]}
        settings |= {"group_id": "g", "security": "plaintext", "group_protocol": "consumer", "instance_id": "plant-0"}
        self.source = KafkaSource(
            KafkaSection.model_validate(settings),
            SourceFile.open(folder / "kafka.sqlite"),
            clock=self.group.clock,
            consumer=lambda settings, **_: Refused(self.group, settings["stats_cb"]),
            admin=self.admin.make,
        )
        self.source.start(None)  # type: ignore[arg-type] - nothing is ever under way

    def poll_until(self, moment: float) -> None:
        while self.group.clock.now < moment:
            assert self.source.poll(0.25) is None


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Refusing]:
    found = Refusing(tmp_path)
    yield found
    found.source.close(1)


def test_a_member_whose_former_self_was_killed_joins_once_its_session_is_over(refusing: Refusing) -> None:
    group = refusing.group
    refusing.poll_until(44)
    assert all("same instance_id" in problem for problem in refusing.source.problems())
    pauses = [later - earlier for earlier, later in zip(group.joined_at, group.joined_at[1:], strict=False)]
    assert max(pauses) <= 6, "it is in within a minute"
    assert len(pauses) <= 30, "and does not hammer at the brokers"
    assert len(set(pauses)) > 1
    group.refuses = False
    refusing.poll_until(50)
    assert [found.closed for found in group.made] == [True] * (len(group.made) - 1) + [False]
    assert refusing.source.problems() == []
    assert refusing.source.gauges()["kafka_assigned_partitions"] == 1
    joined = len(group.joined_at)
    refusing.poll_until(300)
    assert len(group.joined_at) == joined, "it stays"


@pytest.mark.parametrize(("partitions", "expected"), [(1, ["t", "^u.*"]), (2, ["t"])])
def test_messages_are_expected_where_no_other_member_has_all_partitions(
    refusing: Refusing, partitions: int, expected: list[str]
) -> None:
    refusing.group.refuses = False
    refusing.group.partitions = partitions
    refusing.poll_until(10)
    settings = {"type": "kafka", "bootstrap_servers": "b:1", "topics": ["t", "^u.*"], "group_id": "g"}
    subscriptions = KafkaSection.model_validate(settings).subscriptions()
    assert [one.text for one in subscriptions if refusing.source.expects(one)] == expected


def test_a_log_that_is_made_anew_is_read_by_a_consumer_that_does_not_know_the_old_one(refusing: Refusing) -> None:
    """librdkafka would wait for ever for a leader with an epoch as high as that of the old log."""
    group = refusing.group
    group.refuses = False
    refusing.poll_until(5)
    (consumer,) = group.made
    refusing.admin.ids["t"] = 2
    consumer.on_revoke(consumer, [TopicPartition("t", 0)])
    consumer.on_assign(consumer, [TopicPartition("t", 0)])
    assert refusing.source.problems() == ["no valid position yet in t[0]"]
    refusing.poll_until(6)
    assert [found.closed for found in group.made] == [True, False]
    assert refusing.source.problems() == []
    refusing.poll_until(100)
    assert len(group.made) == 2, "once is enough"


def test_it_goes_on_asking_while_there_is_no_room(refusing: Refusing) -> None:
    for _ in range(100):
        refusing.group.clock.now += 0.25
        refusing.source.hold()
    refusing.group.refuses = False
    for _ in range(40):
        refusing.group.clock.now += 0.25
        refusing.source.hold()
    assert refusing.source.problems() == []


def test_a_name_that_another_member_keeps_ends_visibly(refusing: Refusing) -> None:
    with pytest.raises(SourceFailedError, match="same instance_id"):
        refusing.poll_until(400)
    assert 120 < refusing.group.clock.now < 240


def test_a_member_that_is_not_let_in_for_no_known_reason_joins_anew_now_and_then(refusing: Refusing) -> None:
    group = refusing.group
    group.says_nothing = True
    refusing.poll_until(89)
    assert len(group.made) == 1
    refusing.poll_until(100)
    assert len(group.made) == 2
    refusing.poll_until(7200)
    pauses = [later - earlier for earlier, later in itertools.pairwise(group.joined_at)]
    assert min(pauses) >= 89
    assert max(pauses) > 400, "rarely, if this does not help"
    assert max(pauses) <= 760, "and never no more"
    assert len(set(pauses)) > 3


def test_who_was_never_let_in_leaves_at_once(refusing: Refusing) -> None:
    refusing.poll_until(1)
    refusing.source.leave(end_session=False)
    refusing.poll_until(2)
    assert refusing.source.leaving() is None


@pytest.mark.parametrize("interval", [1.0, 2.0, 10.0, 300.0])
def test_a_member_that_is_held_is_never_silent_for_as_long_as_the_poll_interval(
    tmp_path: Path, interval: float
) -> None:
    clock = Clock(0.0)
    consumer = Idle(clock)
    settings: dict[str, Any] = {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": ["t"], "group_id": "g"}
    settings |= {"security": "plaintext", "max_poll_interval": f"{interval}s", "session_timeout": "1s"}
    section = KafkaSection.model_validate(settings | {"drain_timeout": "500ms"})
    source = KafkaSource(
        section, SourceFile.open(tmp_path / "kafka.sqlite"), clock=clock, consumer=lambda *_, **__: consumer
    )
    for step in range(100):
        clock.now = step * 0.1
        source.hold()
    silences = [later - earlier for earlier, later in zip([0.0, *consumer.polled], consumer.polled, strict=False)]
    assert max(silences) <= min(3.1, interval / 2)
