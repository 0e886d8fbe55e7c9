"""The forecast of a loss with a real Kafka: Clarify is away, nothing is read any more, the log is deleted behind us.

The connector's clocks are moved by hand, since a forecast takes a minute to be made; what the brokers say is real.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from connector.config.read import load_config
from connector.observe.metrics import metrics_page
from connector.runtime.connector import Connector
from connector.runtime.loss_watch import LossWatch
from connector.sources.kafka import broker_facts as kafka_bounds
from connector.sources.kafka.source import KafkaSource
from connector.sources.loss import readable_duration
from tests.kafka_brokers import KafkaBroker, RealKafka, need_real
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.scripted import Clock
from tests.waiting import wait_until

FULL = 1000
"""Samples that may wait."""
VALUES = 20
"""Samples of one record."""
BEFORE = 600
"""Records that are there at first: more than are read before there is no room, with the frame that is being sent."""
WARN_BELOW = 3600.0


sandbox = sandbox_fixture("module")


class Stalled:
    """A connector that has read until nothing more fits, and is paused since."""

    def __init__(
        self, kafka: RealKafka, sandbox: SandboxServer, folder: Path, settings: dict[str, str], size: int = 0
    ) -> None:
        """On a topic with these settings and `BEFORE` records of about `size` bytes."""
        self._kafka = kafka
        self.topic = topic = f"retention-{uuid.uuid4().hex[:8]}"
        self._size = size
        self.clock, self._epoch = Clock(), Clock(time.time())
        kafka.create_topic(topic, 1, settings)
        self.write(BEFORE)
        config = folder / "connector.yaml"
        config.write_text(
            f"clarify: {{credentials: {sandbox.credentials_path}}}\n"
            f"sources: [{{type: kafka, bootstrap_servers: '{kafka.bootstrap}', topics: [{topic}], group_id: {topic}, "
            f"security: plaintext}}]\nstate_dir: state\ndelivery: {{max_waiting_samples: {FULL}}}\n"
        )
        self._connector = Connector(
            load_config(config),
            make_source=lambda section, file: KafkaSource(section, file, clock=self.clock, epoch=self._epoch),  # type: ignore[arg-type]
        )
        (self._source,) = self._connector.pipeline.status.sources()
        # Not its own thread looks: that would be as soon as every five seconds.
        self._connector.losses = LossWatch([self._source], WARN_BELOW, clock=self.clock)
        self._connector.pipeline.start()
        try:
            wait_until(self._paused, 60, "no room, and paused")
        except AssertionError:
            self.close()
            raise
        self.read = int(self._source.gauges()["kafka_received_total"])
        """Records of it that it has read."""

    def _paused(self) -> bool:
        if self._connector.pipeline.status.waiting()[1] >= FULL:
            self.pass_time(0.1)
        return self._source.gauges()["kafka_paused"] == 1

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self._epoch.now += seconds

    def write(self, records: int) -> None:
        producer = Producer({"bootstrap.servers": self._kafka.bootstrap})
        body = json.dumps({f"v{i}": i for i in range(VALUES)} | {"text": "x" * self._size})
        for i in range(records):
            producer.produce(self.topic, body, key=b"%d" % i, timestamp=int(self._epoch.now * 1000))
        assert producer.flush(30) == 0

    def log_start(self) -> int:
        where = TopicPartition(self.topic, 0)
        return int(self._kafka.admin().list_offsets({where: OffsetSpec.earliest()})[where].result(20).offset)  # type: ignore[no-untyped-call]

    def lag(self) -> float:
        return self._source.gauges()["kafka_lag"]

    def look(self) -> float:
        """What the metric says after another look at the source."""
        self._connector.losses.look()
        found = re.search(
            r'^clarify_connector_time_to_loss_seconds{cause="retention",source="kafka"} (\S+)$',
            metrics_page(self._connector).decode(),
            re.MULTILINE,
        )
        assert found, "the metric is not there"
        return float(found[1])

    def warnings(self) -> list[str]:
        return [problem for problem in self._connector.problems() if "Kafka deletes records" in problem]

    def close(self) -> None:
        self._connector.close()


Stall = Callable[..., Stalled]


@pytest.fixture
def stall(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stall]:
    # On a busy machine a first connection may take longer than the connector waits at one look; it would look again.
    monkeypatch.setattr(kafka_bounds, "_SECONDS", 30.0)
    sandbox.kill()  # Clarify is away
    with ExitStack() as made:

        def connector(settings: dict[str, str], size: int = 0) -> Stalled:
            stalled = Stalled(need_real(kafka), sandbox, tmp_path, settings, size)
            made.callback(stalled.close)
            return stalled

        yield connector


def test_records_that_grow_too_old_are_seen_minutes_before(stall: Stall) -> None:
    stalled = stall({"retention.ms": "300000"})
    began = stalled.clock.now
    stalled.write(50)  # and these wait in the log
    found = []
    for _ in range(20):
        found.append(stalled.look())
        stalled.pass_time(5)
    assert stalled.lag() == BEFORE + 50 - stalled.read, "also while it is paused"
    assert found[0] == float("inf"), "one look is no trend"
    said = [seconds for seconds in found if seconds < 300]
    assert len(said) >= 7, f"after a minute it says so: {found}"
    assert [a - b for a, b in pairwise(said)] == pytest.approx([5.0] * (len(said) - 1), abs=0.1)
    passed = stalled.clock.now - 5 - began
    assert said[-1] == pytest.approx(300 - passed, abs=30), "the oldest were written a moment before"
    (warning,) = stalled.warnings()
    assert f"in {said[-1] / 60:.0f} min" in warning
    assert f"records of {stalled.topic}[0]" in warning
    assert "retention of 300 s" in warning
    stalled.pass_time(300)
    assert stalled.look() == 0
    assert "now:" in stalled.warnings()[0]


def test_a_log_that_is_too_large_is_seen_coming_nearer(stall: Stall) -> None:
    segment = 1024 * 1024
    settings = {"retention.ms": "-1", "retention.bytes": str(7 * segment), "segment.bytes": str(segment)}
    stalled = stall(settings, size=10_000)
    assert stalled.look() == float("inf")

    def forecast(more: int, beyond: int) -> tuple[float, int]:
        """(seconds, first offset of the log) after so many more records and 70 s."""
        stalled.write(more)
        start = wait_until(lambda: at if (at := stalled.log_start()) > beyond else 0, 60, "a segment is deleted")
        stalled.pass_time(70)
        return stalled.look(), start

    first, start = forecast(260, 0)
    assert 0 < start < stalled.read, "what was not read is still there"
    assert first == pytest.approx((stalled.read - start) / (start / 70), rel=0.1)
    (warning,) = stalled.warnings()
    assert f"in {readable_duration(first)} at the present rates" in warning
    assert "the start of its log comes nearer" in warning
    second, start = forecast(110, start)
    assert second < first
    third, start = forecast(800, stalled.read)
    assert third == 0, f"the log begins at {start}, and {stalled.read} would be next"


def test_a_topic_that_is_only_compacted_deletes_nothing_for_its_age(stall: Stall) -> None:
    stalled = stall({"retention.ms": "60000", "cleanup.policy": "compact"})
    stalled.write(50)
    found = []
    for _ in range(20):
        stalled.pass_time(5)
        found.append(stalled.look())
    assert found == [float("inf")] * 20
    assert stalled.warnings() == []
