"""A connector with everything, real brokers and two local Clarifies, in a healthy state and in staged faults: the pages
of metrics that Prometheus would read."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trustme
from confluent_kafka import Producer

from connector.config.otlp import OtlpSection
from connector.config.read import load_config
from connector.dead_letters.store import DeadLettersError
from connector.formats.sparkplug.datatypes import DataType
from connector.observe.metrics import metrics_page
from connector.observe.otlp.telemetry import Telemetry
from connector.packing import rates
from connector.runtime.connector import Connector
from connector.runtime.loss_watch import LossWatch
from tests.brokers import Mosquitto
from tests.kafka_brokers import RealKafka
from tests.promtool import series
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.scripted import Clock
from tests.sparkplug_payloads import bd_seq, metric, payload
from tests.waiting import wait_until

PREFIX: Final = "clarify_connector_"
CONFIG: Final = """
clarify:
  credentials: {a}
  ca_file: ca.pem
  name: a
  integrations: {{b: {{credentials: {b}}}}}
sources:
  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{port}", topics: ["site/#", "spBv1.0/#", "quiet/#"],
     client_id: staged, journal: {{max_bytes: 256KiB}}, freshness: 60s}}
  - {{type: kafka, name: lake, bootstrap_servers: "{kafka}", topics: ["{topic}"], group_id: "{topic}",
     security: plaintext}}
  - {{type: file, name: history, path: history.ndjson, topic: site/a/history}}
mapping:
  rules:
    - {{topic: site/b/+, to: b, input: "b/{{field}}"}}
    - {{topic: site/a/aligned, input: "aligned/{{field}}", align: 1s, tags: {{file: tags.csv}},
       expect_every: 10m}}
    - {{topic: site/a/window, input: "window/{{field}}", thin: {{window: 1s, wait: 0s}}}}
    - {{topic: site/a/+, labels: {{site: a}}, publish: true}}
    - {{preset: sparkplug}}
    - {{topic: "{topic}", input: "lake/{{field}}"}}
signals: {{max: 60}}
dead_letters: {{max_bytes: 64KiB}}
delivery: {{max_delay: 50ms, requests_per_second: 50, metadata_requests_per_second: 50, metadata_interval: 0s,
  max_waiting_samples: 1000, flush_timeout: 0s}}
state_dir: state
observe: {{listen: null}}
"""
VALUES: Final = 10
"""Values of one record in Kafka."""


@dataclass
class Staged:
    """The connector, what it talks to, and the pages so far."""

    connector: Connector
    a: SandboxServer
    mosquitto: Mosquitto
    publisher: Publisher
    kafka: RealKafka
    topic: str
    tags: Path
    clock: Clock
    """The clock of the forecast of a loss."""
    telemetry: Telemetry = field(default_factory=lambda: Telemetry(OtlpSection(endpoint="http://127.0.0.1"), {}))
    """For its own metrics; it sends nothing."""
    pages: dict[str, str] = field(default_factory=dict)
    """Stage → page, in the order of the stages."""

    def page(self) -> str:
        return metrics_page(self.connector, self.telemetry).decode()

    def wait(self, what: str, least: float = 1.0, **labels: str) -> None:
        """Until the metric has at least this value, and keep the page."""
        key = f"{PREFIX}{what}", frozenset(labels.items())

        def reached() -> bool:
            return series(self.page()).get(key, 0.0) >= least

        wait_until(reached, 60, lambda: f"{what} {labels} of at least {least}:\n{self.page()}", every=0.05)

    def wait_sending(self, what: str, **labels: str) -> None:
        """As `wait`, for a metric that changes with a frame: values come meanwhile."""
        key = f"{PREFIX}{what}", frozenset(labels.items())

        def reached() -> bool:
            self.send("site/a/m", v=1)
            return series(self.page()).get(key, 0.0) >= 1.0

        wait_until(reached, 60, lambda: f"{what} {labels}:\n{self.page()}", every=0.3)

    def value(self, what: str, **labels: str) -> float:
        return series(self.page())[f"{PREFIX}{what}", frozenset(labels.items())]

    def keep(self, stage: str) -> None:
        self.pages[stage] = self.page()

    def send(self, topic: str, **values: object) -> None:
        self.publisher.raw(topic, json.dumps({"ts": time.time(), **values}))

    def produce(self, records: int) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        body = json.dumps({f"v{i}": i for i in range(VALUES)})
        for i in range(records):
            producer.produce(self.topic, body, timestamp=int(time.time() * 1000) + i)
        assert producer.flush(30) == 0

    def look(self, seconds: float = 1.0) -> None:
        """Let time pass for the forecast of a loss, and make it anew."""
        self.clock.now += seconds
        self.connector.losses.look()

    def recover(self) -> None:
        """Until the connector is ready."""
        wait_until(lambda: self.look() or self.value("ready") == 1, 60, lambda: f"ready: {self.page()}", every=0.05)

    def settle(self) -> None:
        """Until nothing waits."""
        wait_until(
            lambda: (
                self.value("messages_in_memory") == 0 and self.value("journal_unread_messages", source="plant") == 0
            ),
            60,
            lambda: f"settled: {self.page()}",
            every=0.05,
        )


def healthy(it: Staged) -> None:
    """Data of all kinds flows."""
    it.keep("start")
    oil = metric("Oil", DataType.DOUBLE, 41.5, timestamp=int(time.time() * 1000))
    it.publisher.raw("spBv1.0/plant/NBIRTH/press", payload(bd_seq(0), oil, seq=0, time_ms=int(time.time() * 1000)))
    it.produce(5)
    for i in range(30):
        it.send("site/a/m", v=i)
        it.send("site/b/m", v=i)
        it.send("site/a/window", v=i)
    it.send("site/a/aligned", v=1)
    it.wait("samples_settled_total", 30, outcome="inserted")
    it.wait("integration_samples_total", 20, integration="a")
    it.wait("integration_samples_total", 20, integration="b")
    it.wait("kafka_received_total", 5, source="lake")
    it.wait("file_finished", source="history")
    it.wait_sending("signals_active", integration="a")
    it.settle()
    wait_until(lambda: it.value("signals_waiting", integration="a") == 0, 60, "metadata is saved")
    wait_until(lambda: it.value("items_waiting", integration="a") == 0, 60, "items are published")
    it.keep("healthy")


def clarify_away(it: Staged) -> None:
    """Clarify answers 503; the journal fills, Kafka's lag grows, and records expire."""
    it.a.faults([{"kind": "status", "status": 503}])
    it.send("site/a/m", v=1)
    it.wait("circuit_state", 1.0, method="integration.insert", integration="a")
    it.look()
    it.keep("before the journal fills")
    received = it.value("mqtt_received_total", source="plant")
    for i in range(1100):
        it.send("site/a/m", v=i, text="x" * 80)
    it.wait("mqtt_received_total", received + 1100, source="plant")
    it.wait("journal_bytes", 150_000, source="plant")
    it.look(61)
    it.keep("Clarify is away")
    it.produce(300)
    it.wait("kafka_paused", source="lake")
    it.produce(1500)
    it.look()
    it.wait("kafka_lag", 1000, source="lake")
    it.keep("lag")
    it.produce(1500)
    it.look()
    it.wait("kafka_lag", 2500, source="lake")
    it.keep("more lag")
    it.kafka.delete_records(it.topic, 0, 2800)
    it.a.clear_faults()
    it.wait("kafka_expired_total", source="lake")
    it.wait("kafka_assigned_partitions", source="lake")
    it.settle()
    it.recover()
    it.keep("Clarify is back")


def refused(it: Staged) -> None:
    """Clarify refuses to save metadata, then to take inserts."""
    it.a.faults([{"kind": "status", "method": "integration.saveSignals", "status": 403}])
    it.send("site/a/n", v=1)
    it.wait("circuit_held", method="integration.saveSignals", integration="a")
    it.wait("notices", kind="metadata_waits")
    it.settle()
    it.keep("metadata is refused")
    it.a.clear_faults()
    wait_until(lambda: it.value("signals_waiting", integration="a") == 0, 60, "metadata is saved")
    it.keep("metadata is saved")
    it.a.faults([{"kind": "status", "method": "integration.insert", "status": 403}])
    it.send("site/a/m", v=2)
    it.wait("insert_held", integration="a")
    it.keep("inserts are refused")
    it.a.clear_faults()
    it.settle()
    it.recover()
    it.keep("inserts are taken")


def broker_gone(it: Staged) -> None:
    """The broker is killed, and comes back without its sessions."""
    it.mosquitto.kill()
    it.wait("source_in_trouble", source="plant")
    it.look()
    it.keep("the broker is gone")
    it.mosquitto.start()
    it.wait("mqtt_lost_sessions_total", source="plant")
    it.recover()
    it.keep("the session is gone")


def bad_data(it: Staged) -> None:
    """Messages that cannot become samples, in many ways. The notices stay."""
    now_ms = int(time.time() * 1000)
    it.publisher.raw("site/a/m", "{" * 200)
    it.wait("dead_letters_total", reason="invalid_json")
    it.settle()
    it.keep("dead letters")
    for _ in range(40):
        it.publisher.raw("site/a/m", "{" + "x" * 5000)
    it.wait("dead_letters_discarded_total")
    it.settle()
    it.keep("many dead letters")
    it.publisher.raw("spBv1.0/plant/NDATA/press", payload(metric("Oil", DataType.DOUBLE, 4.0, timestamp=now_ms), seq=3))
    it.wait("sparkplug_lost_messages_total", source="plant")
    it.keep("Sparkplug messages are missing")
    at = time.time()
    for moment in (at, at + 10, at + 20, at):
        it.publisher.raw("site/a/window", json.dumps({"ts": moment, "v": 1}))
    it.wait("late_window_values_total")
    it.keep("values are late for their window")
    for i in range(300):
        it.publisher.raw("site/a/late", json.dumps({"ts": at - 600 + i, "v": i}))
    it.wait("freshness_samples_total", 100, source="plant", kept="no")
    it.settle()
    it.keep("data is old")
    it.tags.write_text("key;name;scale\nx;Feed;many\n")
    it.connector.tags.look()
    it.connector.tags.look()
    it.wait("tag_list_refused", file=str(it.tags))
    it.keep("a tag list is refused")
    for value in (1, 2):
        it.publisher.raw("site/a/m", json.dumps({"ts": 1_790_000_000, "v": value}))
        it.settle()
    it.publisher.raw("site/a/m", b'{"v": 2}\0')
    it.publisher.raw("site/a/m", b'{"v": null}')
    it.wait("notices", kind="value_overwritten")
    it.wait("notices", kind="payload_tolerated")
    it.keep("notices")
    it.send("site/a/many", **{f"v{i}": i for i in range(100)})
    it.wait("signals_held", integration="a")
    it.settle()
    it.keep("signals are held")


def trouble_inside(it: Staged) -> None:
    """Dead letters cannot be written; then nothing comes any more."""
    with pytest.MonkeyPatch.context() as patch:

        def full(*_: object) -> None:
            raise DeadLettersError("no space left on device")

        patch.setattr(it.connector.dead_letters.store, "add", full)
        it.publisher.raw("site/a/m", "{")
        it.wait("dead_letters_blocked")
        it.keep("dead letters are blocked")
    wait_until(lambda: it.value("dead_letters_blocked") == 0, 60, "they are written again")
    it.settle()
    it.keep("dead letters are written")
    it.connector.carrying.look()
    assert it.connector.silence is not None
    it.connector.silence._clock = it.connector.carrying._clock = lambda: time.monotonic() + 3600
    it.connector.carrying.look()
    it.connector.carrying.look_at_signals()
    it.wait("notices", kind="subscription_silent")
    it.wait("signals_silent", rule="2")
    it.keep("silence")


@contextmanager
def staged(kafka: RealKafka, folder: Path) -> Iterator[Staged]:
    """The connector, after all stages."""
    topic = f"staged-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic, 1)
    with ExitStack() as opened:
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        for name in ("FIRST_DELAY", "LAST_DELAY", "HOLD_DELAY"):
            patch.setattr(f"connector.delivery.policy.{name}", 0.2)
        patch.setattr(rates, "_FIRST_WINDOW", 0.5)
        with ThreadPoolExecutor() as starting:
            servers = [SandboxServer(rate_limiter="off") for _ in range(2)]
            a, b = (opened.enter_context(closing(server)) for server in starting.map(SandboxServer.start, servers))
        mosquitto = opened.enter_context(Mosquitto())
        (folder / "history.ndjson").write_text('{"ts": 1790000000, "v": 1}\n{"ts": 1790000001, "v": 2}\n')
        tags = folder / "tags.csv"
        tags.write_text("key;name\naligned/v;Feed\n")
        trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
        config = folder / "connector.yaml"
        config.write_text(
            CONFIG.format(
                a=a.credentials_path, b=b.credentials_path, port=mosquitto.port, kafka=kafka.bootstrap, topic=topic
            )
        )
        connector = Connector(load_config(config))
        opened.callback(connector.close)
        clock = Clock()
        # Not its own thread looks: a forecast takes a minute to be made, so its clock is moved by hand.
        connector.losses = LossWatch(connector.pipeline.status.sources(), 3600.0, clock=clock)
        connector.losses.start = lambda: None  # type: ignore[method-assign]
        connector.start()
        publisher = opened.enter_context(Publisher(mosquitto.port))
        it = Staged(connector, a, mosquitto, publisher, kafka, topic, tags, clock)
        it.wait("ready")
        for stage in (healthy, clarify_away, refused, broker_gone, bad_data, trouble_inside):
            stage(it)
        yield it
