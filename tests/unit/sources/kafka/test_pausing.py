"""One partition is held back, and all are paused: neither undoes the other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from connector.sources.kafka.member import Member
from connector.sources.kafka.pausing import Pausing
from connector.sources.kafka.section import KafkaSection

SETTINGS = {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": ["t"], "group_id": "g"}


class Paused:
    """A consumer of t[0] and t[1], which knows the numbers of the partitions that are paused."""

    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.refuses = False

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("t", number) for number in range(2)]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._check()
        self.paused |= {found.partition for found in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._check()
        self.paused -= {found.partition for found in partitions}

    def _check(self) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._STATE))


@pytest.fixture
def consumer() -> Paused:
    return Paused()


@pytest.fixture
def pausing(consumer: Paused) -> Pausing:
    client: Any = SimpleNamespace(consumer=consumer)
    return Pausing(KafkaSection.model_validate(SETTINGS | {"security": "plaintext"}), client, Member("kafka"))


def test_a_partition_that_is_held_back_stays_so_when_there_is_room_again(pausing: Pausing, consumer: Paused) -> None:
    pausing.hold_back("t[1]")
    assert consumer.paused == {1}
    pausing.pause()
    assert consumer.paused == {0, 1}
    pausing.resume()
    assert consumer.paused == {1}
    pausing.go_on("t[1]")
    assert consumer.paused == set()


def test_a_partition_that_may_go_on_waits_for_room(pausing: Pausing, consumer: Paused) -> None:
    pausing.hold_back("t[1]")
    pausing.pause()
    pausing.go_on("t[1]")
    assert consumer.paused == {0, 1}
    pausing.resume()
    assert consumer.paused == set()


def test_a_partition_that_was_given_away_is_nothing_to_pause(pausing: Pausing, consumer: Paused) -> None:
    pausing.hold_back("t[7]")
    pausing.go_on("t[7]")
    assert consumer.paused == set()


def test_while_librdkafka_refuses_all_stay_paused(pausing: Pausing, consumer: Paused) -> None:
    pausing.pause()
    consumer.refuses = True
    pausing.resume()
    assert pausing.paused
    consumer.refuses = False
    pausing.resume()
    assert not pausing.paused
