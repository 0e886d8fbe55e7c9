"""The sources that read from brokers keep the promises of connector/sources/source.py, at the real brokers."""

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
from connector.ledger.file import LogFile
from connector.sources.kafka.section import KafkaSection
from connector.sources.mqtt.section import MqttSection
from connector.sources.range import OffsetRange, RangeAsked, RangeSource
from tests.brokers import Mosquitto
from tests.kafka_brokers import ContainerKafka, Kafka, need_kafka
from tests.publisher import Publisher
from tests.secrets_used import SETTING as SECRET

PARTITIONS = 3
PROTOCOLS = {
    "classic": {"group_protocol": "classic", "session_timeout": "6s"},
    "classic, eager": {"group_protocol": "classic", "session_timeout": "6s", "assignor": "range"},
    "consumer": {"group_protocol": "consumer"},
}


class MqttStage(BreakableStage):
    """A Mosquitto of its own, which keeps sessions over a restart."""

    secrets = (SECRET,)

    def __init__(self, protocol: str, journal: str) -> None:
        self.keeps_positions = journal == "disk"  # type: ignore[misc]
        self.broker = Mosquitto(persistence=True).start()
        self.section = MqttSection.model_validate(
            {
                "type": "mqtt",
                "url": f"mqtt://127.0.0.1:{self.broker.port}",
                "topics": ["t/#"],
                "client_id": "conformance",
                "protocol": protocol,
                "journal": journal,
                "username": "connector",
                "password": SECRET,
            }
        )

    def publish(self, payloads: Sequence[bytes]) -> None:
        with Publisher(self.broker.port) as publisher:
            for payload in payloads:
                publisher.raw("t/1", payload)
            publisher.wait_acknowledged()

    def cut(self) -> None:
        self.broker.stop()

    def mend(self) -> None:
        self.broker.start()


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

    def open(self, file: LogFile) -> RangeSource:
        offsets = tuple(OffsetRange(self.topic, number, 0, end) for number, end in sorted(self.published.items()))
        return self.section.open_range(file, RangeAsked(None, offsets))


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Kafka | ContainerKafka]:
    """A Kafka that these tests may stop."""
    with need_kafka() as kafka:
        yield kafka


class TestMqtt(BreakableSourceConformance, LeavingSourceConformance):
    @pytest.fixture(params=["5 disk", "5 memory", "3.1.1 disk"])
    def stage(self, request: pytest.FixtureRequest) -> Iterator[MqttStage]:
        stage = MqttStage(*request.param.split())
        yield stage
        stage.broker.stop()
        stage.broker.database.unlink(missing_ok=True)  # Mosquitto keeps there how its clients logged in
        stage.broker.close()


class TestKafka(BreakableSourceConformance, LeavingSourceConformance):
    @pytest.fixture(params=PROTOCOLS)
    def stage(self, request: pytest.FixtureRequest, own_kafka: Kafka) -> KafkaStage:
        return KafkaStage(own_kafka, **PROTOCOLS[request.param])


class TestKafkaRange(SourceConformance):
    @pytest.fixture
    def stage(self, own_kafka: Kafka) -> Stage:
        return KafkaRangeStage(own_kafka)
