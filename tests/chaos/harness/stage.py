"""What is running in a run: two brokers, a registry, a sandbox, five connectors, and a proxy on each way between them.

m0 and m1 have MQTT sessions of their own, m0 with its journal on disk, m1 with it in memory; k0, k1, … are one consumer
group. Kafka tells its clients where it is, so it has one listener for each of them, advertised at that client's proxy;
publishers use a listener without one. Mosquitto saves its sessions every second.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.brokers import Mosquitto
from tests.chaos.harness.machine import ProcessClock, TinyDisk
from tests.chaos.harness.messages import KAFKA_TOPIC
from tests.chaos.harness.orders import PublisherProcess
from tests.chaos.harness.proxy import FaultProxy, Loop
from tests.chaos.harness.schedule import MQTT
from tests.connector_process import ConnectorProcess
from tests.kafka_brokers import HOST, Kafka, need_java
from tests.ports import free_port
from tests.registries import need_registry
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

PARTITIONS: Final = 6
GROUP: Final = "chaos"
SESSION_SECONDS: Final = 6
MQTT_RATE: Final = 120.0
KAFKA_RATE: Final = 240.0
_MORE: Final = "delivery: {requests_per_second: 4, max_delay: 300ms, flush_timeout: 60s}"
_MQTT: Final = """
  - type: mqtt
    name: plant
    url: mqtt://127.0.0.1:{port}
    topics: ["{name}/#"]
    client_id: {name}
    keepalive: 10s
    journal: {journal}
"""
SCHEMAS: Final = 200
"""Schemas of the messages of m0 that are framed: each is asked for when its first message comes."""
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_REGISTRY: Final = """
schema_registries: {{main: {{url: "http://127.0.0.1:{port}/apis/ccompat/v7", timeout: 2s}}}}
mapping: {{unmatched: map, rules: [{{topic: "m0/framed/#", format: {{type: json_schema, check: true}}}}]}}
"""
_KAFKA: Final = """
  - type: kafka
    bootstrap_servers: "127.0.0.1:{port}"
    topics: [{topic}]
    group_id: {group}
    client_id: {name}
    security: plaintext
    session_timeout: {session}s
    max_poll_interval: 60s
    drain_timeout: 2s
    librdkafka: {{reconnect.backoff.max.ms: 1000}}
"""


@dataclass(slots=True)
class Member:
    """One connector with the ways to its broker and to Clarify."""

    name: str
    process: ConnectorProcess
    broker: FaultProxy
    clarify: FaultProxy
    registry: FaultProxy | None = None
    clock: ProcessClock | None = None
    disk: TinyDisk | None = None
    stopped: bool = False
    """Somebody sent it SIGSTOP."""
    away: bool = False
    """It is down on purpose."""
    exits: list[int] = field(default_factory=list)
    """Exit statuses of those times when it ended by itself."""

    @property
    def journal(self) -> Path:
        """The file behind its source."""
        return self.process.folder / "state" / ("plant.sqlite" if self.name in MQTT else "kafka.sqlite")

    @property
    def dead_letters(self) -> Path:
        """Its dead letters."""
        return self.process.folder / "state" / "dead-letters.sqlite"


class Stage:
    """Everything that runs. `start` and `close` it."""

    def __init__(self, folder: Path, seed: int, *, kafka_members: int, with_clock: bool, with_disk: bool) -> None:
        self.folder = folder
        self._seed = seed
        self._opened = ExitStack()
        self._loop = Loop()
        self._opened.callback(self._loop.close)
        self.sandbox = SandboxServer(requests_per_second=20, token_seconds=20)
        self._opened.callback(self.sandbox.close)
        self.mosquitto = Mosquitto(persistence=True)
        self._opened.callback(self.mosquitto.close)
        self.kafka = Kafka()
        self._opened.callback(self.kafka.close)
        self.registry = need_registry()
        self._kafka_ways = [self._kafka_way(f"K{i}") for i in range(kafka_members)]
        self._with_clock, self._with_disk = with_clock, with_disk
        self.members: dict[str, Member] = {}
        self.truths = {"mqtt": folder / "truth-mqtt.jsonl", "kafka": folder / "truth-kafka.jsonl"}
        self.publishers: dict[str, PublisherProcess] = {}

    def start(self, tell: Callable[[str], None]) -> Self:
        """Start the brokers, then everything else, and wait until all connectors are ready."""
        tell("starting: Mosquitto, Kafka, registry, sandbox")
        self.sandbox.start()
        self.mosquitto.start()
        self.kafka.start()
        self.kafka.create_topic(KAFKA_TOPIC, PARTITIONS)
        self._opened.enter_context(self.registry)
        schemas = [
            self.registry.register(f"s{n}", json.dumps({"$schema": _DRAFT, "title": f"s{n}", "type": "object"}), "JSON")
            for n in range(SCHEMAS)
        ]
        for name in MQTT:
            way = FaultProxy(self._loop, free_port(), self.mosquitto.port).start()
            journal = "memory" if name == "m1" else "disk"
            self._add(name, way, _MQTT.format(name=name, port=way.port, journal=journal))
        for number, way in enumerate(self._kafka_ways):
            name = f"k{number}"
            source = _KAFKA.format(
                port=way.start().port, topic=KAFKA_TOPIC, group=GROUP, name=name, session=SESSION_SECONDS
            )
            self._add(name, way, source)
        tell(f"starting: connectors {', '.join(self.members)}")
        for member in self.members.values():
            member.process.start(ready=False)
        for member in self.members.values():
            wait_until(
                lambda member=member: member.process.readiness()[0] == 200,  # type: ignore[misc]
                120,
                lambda member=member: f"{member.name} is ready; its log:\n{member.process.log()[-3000:]}",  # type: ignore[misc]
            )
        ready = time.time()
        saved = self.mosquitto.database
        wait_until(lambda: saved.exists() and saved.stat().st_mtime > ready, 60, "Mosquitto saved the new sessions")
        self._publish("mqtt", "publish_mqtt", self.mosquitto.port, self.truths["mqtt"], self._seed, MQTT_RATE, *schemas)
        self._publish(
            "kafka", "publish_kafka", self.kafka.bootstrap, PARTITIONS, self.truths["kafka"], self._seed, KAFKA_RATE
        )
        return self

    def close(self) -> None:
        """End everything, and leave the logs and what was stored in the folder."""
        for name, broker in (("mosquitto", self.mosquitto), ("kafka", self.kafka)):
            log = broker.folder / "log.txt"
            if log.exists():
                shutil.copy(log, self.folder / f"{name}.log")
        if self.sandbox.store_path.exists():
            (self.folder / "sandbox.log").write_text(self.sandbox.log())
            self.sandbox.kill()
            for store in self.sandbox.store_path.parent.glob(self.sandbox.store_path.name + "*"):
                shutil.copy(store, self.folder / store.name.replace("store", "sandbox"))
        self._opened.close()

    def sessions(self) -> Iterator[Member]:
        """The members with an MQTT session."""
        return (self.members[name] for name in MQTT)

    def group(self) -> list[Member]:
        """The members of the consumer group."""
        return [member for name, member in self.members.items() if name not in MQTT]

    def _add(self, name: str, way: FaultProxy, source: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        clarify = FaultProxy(self._loop, free_port(), self.sandbox.port).start()
        credentials = self.sandbox.credentials()
        credentials["apiUrl"] = f"http://127.0.0.1:{clarify.port}/v1/"
        (folder / "credentials.json").write_text(json.dumps(credentials))
        tormented = name == "m0"
        clock = ProcessClock(folder) if tormented and self._with_clock else None
        disk = TinyDisk(folder / "state") if tormented and self._with_disk else None
        if disk is not None:
            self._opened.callback(disk.close)
        registry = FaultProxy(self._loop, free_port(), self.registry.port).start() if tormented else None
        more = _MORE + _REGISTRY.format(port=registry.port) if registry else _MORE
        process = ConnectorProcess(
            folder, folder / "credentials.json", source, more, timeout="5s", env=clock.env if clock else None
        )
        self._opened.callback(process.kill)
        self.members[name] = Member(name, process, way, clarify, registry, clock, disk)

    def _kafka_way(self, listener: str) -> FaultProxy:
        """A listener of its own, advertised where the proxy listens."""
        inside, outside = free_port(), free_port()
        properties = self.kafka.properties
        properties["listeners"] += f",{listener}://{HOST}:{inside}"
        properties["advertised.listeners"] += f",{listener}://{HOST}:{outside}"
        properties["listener.security.protocol.map"] += f",{listener}:PLAINTEXT"
        return FaultProxy(self._loop, outside, inside)

    def _publish(self, name: str, module: str, *arguments: object) -> None:
        publisher = PublisherProcess(module, self.folder / f"publisher-{name}.log", arguments)
        self._opened.callback(publisher.close)
        self.publishers[name] = publisher


def needs() -> None:
    """Skip, with the reason, where there is no Kafka, Mosquitto or registry that may be killed."""
    from tests.brokers import need_mosquitto

    need_mosquitto()
    need_java()
    need_registry()
