"""The Kafka source without any Kafka: what it asks of its consumer, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, TopicPartition

from connector.ledger.source_file import SourceFile
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.source import KafkaSource
from tests.scripted import Clock


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
