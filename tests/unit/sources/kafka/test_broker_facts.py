"""Where logs begin and end, as the brokers say it; and what is known when they do not."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from connector.sources.kafka.broker_facts import LogBounds
from connector.sources.kafka.section import KafkaSection

SECTION = KafkaSection.model_validate(
    {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": ["t"], "group_id": "g", "security": "plaintext"}
)


class Brokers:
    """What they say of each partition: (oldest, end), or nothing but an error."""

    def __init__(self) -> None:
        self.logs: dict[str, tuple[int, int]] = {}
        self.asked = 0
        self.error = KafkaError._TIMED_OUT
        self.clients = 0

    def client(self, *_: object, **__: object) -> Any:
        self.clients += 1
        return self

    def list_offsets(self, asked: Mapping[TopicPartition, object], **_: Any) -> dict[TopicPartition, Future[Any]]:
        self.asked += 1
        answers: dict[TopicPartition, Future[Any]] = {}
        for partition, which in asked.items():
            answer: Future[Any] = Future()
            answers[partition] = answer
            log = self.logs.get(f"{partition.topic}[{partition.partition}]")
            if log is None:
                answer.set_exception(KafkaException(KafkaError(self.error)))
            else:
                answer.set_result(SimpleNamespace(offset=log[type(which).__name__ == "LatestSpec"]))
        return answers


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def bounds(brokers: Brokers) -> LogBounds:
    return LogBounds(SECTION, brokers.client)


def test_each_partition_has_its_own(brokers: Brokers, bounds: LogBounds) -> None:
    brokers.logs = {"t[0]": (10, 50), "t.x[1]": (0, 7)}
    assert bounds.ask({"t[0]", "t.x[1]"}) == {"t[0]": (10, 50), "t.x[1]": (0, 7)}
    assert bounds.lag({"t[0]": 20, "t.x[1]": 9}) == 30, "a position past an end that is old already counts as none"


def test_what_is_not_said_now_is_as_it_was(brokers: Brokers, bounds: LogBounds) -> None:
    brokers.logs = {"t[0]": (10, 50), "t[1]": (1, 2)}
    bounds.ask({"t[0]", "t[1]"})
    brokers.logs = {"t[1]": (2, 3)}
    assert bounds.ask({"t[0]", "t[1]"}) == {"t[0]": (10, 50), "t[1]": (2, 3)}
    assert bounds.ask({"t[1]"}) == {"t[1]": (2, 3)}
    assert bounds.ask({"t[0]"}) == {}, "it was somebody else's meanwhile"


def test_without_an_answer_nothing_is_known(brokers: Brokers, bounds: LogBounds) -> None:
    assert bounds.ask({"t[0]"}) == {}
    assert brokers.asked == 1, "who does not say where a log begins is not asked where it ends"
    assert bounds.lag({"t[0]": 5}) is None
    assert bounds.lag({}) is None


def test_without_partitions_nobody_is_asked(brokers: Brokers, bounds: LogBounds) -> None:
    assert bounds.ask(set()) == {}
    assert brokers.asked == 0


@pytest.mark.parametrize(
    ("error", "clients"),
    [
        (KafkaError._TIMED_OUT, [1, 2, 2]),
        (KafkaError._NOENT, [1, 2, 2]),
        (KafkaError.NOT_LEADER_FOR_PARTITION, [1] * 3),
    ],
)
def test_a_client_that_is_stuck_is_replaced_but_not_at_each_question(
    brokers: Brokers, bounds: LogBounds, monkeypatch: pytest.MonkeyPatch, error: int, clients: list[int]
) -> None:
    brokers.error = error
    found = []
    for _ in range(3):
        bounds.ask({"t[0]"})
        found.append(brokers.clients)
    assert found == clients
    brokers.logs = {"t[0]": (1, 2)}
    monkeypatch.setattr("connector.sources.kafka.broker_facts._RENEW_SECONDS", 0)
    assert bounds.ask({"t[0]"}) == {"t[0]": (1, 2)}
