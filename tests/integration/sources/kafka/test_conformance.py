"""The sources that read from Kafka keep the promises of connector/sources/source.py, at a real Kafka."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from confluent_kafka import Producer

from connector.conformance.sources import (
    BreakableSourceConformance,
    BreakableStage,
    LeavingSourceConformance,
    SourceConformance,
    Stage,
)
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.section import KafkaSection
from connector.sources.range import OffsetRange, RangeAsked, RangeSource
from tests.kafka_brokers import ContainerKafka, Kafka, need_kafka

PARTITIONS = 3
PROTOCOLS = {
    "classic": {"group_protocol": "classic", "session_timeout": "6s"},
    "consumer": {"group_protocol": "consumer"},
}


class KafkaStage(BreakableStage):
    """A topic and a group of their own."""

    messages = 3000
    hold_seconds = 4.0
    """After three seconds the partitions are paused."""

    def __init__(self, kafka: Kafka | ContainerKafka, **settings: Any) -> None:
        self.kafka = kafka
        self.topic = f"conformance-{uuid.uuid4().hex[:8]}"
        kafka.create_topic(self.topic, PARTITIONS)
        self.published: Counter[int] = Counter()
        self.section = KafkaSection.model_validate(
            {
                "type": "kafka",
                "bootstrap_servers": kafka.bootstrap,
                "topics": [self.topic],
                "group_id": self.topic,
                "security": "plaintext",
                **settings,
            }
        )

    def publish(self, payloads: Sequence[bytes]) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True})
        for i, payload in enumerate(payloads):
            producer.produce(self.topic, payload, partition=i % PARTITIONS)
            self.published[i % PARTITIONS] += 1
        assert producer.flush(60) == 0

    def cut(self) -> None:
        self.kafka.stop()

    def mend(self) -> None:
        self.kafka.start()


class KafkaRangeStage(KafkaStage):
    """All that the topic has when the range is asked for."""

    finite: ClassVar[bool] = True

    def open(self, file: SourceFile) -> RangeSource:
        offsets = tuple(OffsetRange(self.topic, number, 0, end) for number, end in sorted(self.published.items()))
        return self.section.open_range(file, RangeAsked(None, offsets))


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Kafka | ContainerKafka]:
    """A Kafka that these tests may stop."""
    with need_kafka() as kafka:
        yield kafka


class TestKafka(BreakableSourceConformance, LeavingSourceConformance):
    @pytest.fixture(params=PROTOCOLS)
    def stage(self, request: pytest.FixtureRequest, own_kafka: Kafka) -> KafkaStage:
        return KafkaStage(own_kafka, **PROTOCOLS[request.param])


class TestKafkaRange(SourceConformance):
    @pytest.fixture
    def stage(self, own_kafka: Kafka) -> Stage:
        return KafkaRangeStage(own_kafka)
