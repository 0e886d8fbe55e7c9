"""The MQTT source keeps the promises of connector/sources/source.py, with each journal, at a real Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from connector.conformance.sources import (
    BreakableSourceConformance,
    BreakableStage,
    LeavingSourceConformance,
)
from connector.sources.mqtt.section import MqttSection
from tests.brokers import Mosquitto
from tests.publisher import Publisher
from tests.secrets_used import SETTING as SECRET


class MqttStage(BreakableStage):
    """A Mosquitto of its own, which keeps sessions over a restart."""

    secrets = (SECRET,)

    def __init__(self, protocol: str, journal: str) -> None:
        self.keeps_positions = journal == "disk"
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


class TestMqtt(BreakableSourceConformance, LeavingSourceConformance):
    @pytest.fixture(params=["5 disk", "5 memory", "3.1.1 disk"])
    def stage(self, request: pytest.FixtureRequest) -> Iterator[MqttStage]:
        stage = MqttStage(*request.param.split())
        yield stage
        stage.broker.stop()
        stage.broker.database.unlink(missing_ok=True)  # Mosquitto keeps there how its clients logged in
        stage.broker.close()
