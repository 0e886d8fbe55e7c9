"""A stand-in for the client that asks brokers about topics."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]


def topic_id(number: int) -> str:
    """The ID of a topic, as the connector writes it."""
    return str(Uuid(0, number)).translate(str.maketrans("+/", "-_"))


class ScriptedAdmin:
    """Answers at once, or not at all."""

    def __init__(self, cluster: str = "c1", partitions: int = 1) -> None:
        self.cluster = cluster
        self.ids: dict[str, int] = {}
        """Topic → a number that stands for its ID; 0 where there are no topic IDs. A topic that is not here has 1."""
        self.partitions = partitions
        self.ends: dict[str, int] = {}
        """Topic → the end of each of its logs."""
        self.refuses: int | None = None
        """The error code of each answer."""
        self.silent = False
        self.asked = 0

    def make(self, *_: object, **__: object) -> Any:
        """This client, as the class of a client would make one."""
        return self

    def _answer(self, answer: object) -> Future[Any]:
        future: Future[Any] = Future()
        if self.refuses is not None:
            future.set_exception(KafkaException(KafkaError(self.refuses)))
        elif not self.silent:
            future.set_result(answer)
        return future

    def describe_cluster(self, **_: object) -> Future[Any]:
        self.asked += 1
        return self._answer(SimpleNamespace(cluster_id=self.cluster))

    def describe_topics(self, topics: TopicCollection, **_: object) -> dict[str, Future[Any]]:
        partitions = list(range(self.partitions))
        return {
            name: self._answer(SimpleNamespace(topic_id=Uuid(0, self.ids.get(name, 1)), partitions=partitions))
            for name in topics.topic_names
        }

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], **_: object) -> dict[TopicPartition, Future[Any]]:
        return {where: self._answer(SimpleNamespace(offset=self.ends.get(where.topic, 0))) for where in asked}
