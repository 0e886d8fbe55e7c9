"""What is running in a run: three brokers, a registry, two sandboxes, six connectors, a proxy on each way between them.

m0 and m1 have MQTT sessions of their own at Mosquitto, m0 with its journal on disk, m1 with it in memory; m2 has one at
ActiveMQ Artemis, which saves what it acknowledges; k0, k1, … are one consumer group. Kafka tells its clients where it
is, so it has one listener for each of them, advertised at that client's proxy; publishers use a listener without one.
Kafka sees each member at an address of its own, so that rights can be taken from one of them; publishers have a
listener of Mosquitto for themselves, so that rights can be taken from the others. Mosquitto saves its sessions every
second. m0 and m2 have a second integration, at a sandbox of its own: for their line1. With an even seed the group has
the new protocol (KIP-848).
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from tests.brokers import Mosquitto
from tests.chaos.harness.machine import ProcessClock, TinyDisk
from tests.chaos.harness.messages import ANEW_TOPIC, KAFKA_TOPIC, TOPICS
from tests.chaos.harness.orders import PublisherProcess
from tests.chaos.harness.proxy import FaultProxy, Loop
from tests.chaos.harness.publish_kafka import ANEW
from tests.chaos.harness.schedule import AT_ARTEMIS, AT_MOSQUITTO, MQTT
from tests.connector_process import ConnectorProcess
from tests.kafka_brokers import HOST, Kafka, RealKafka, need_java
from tests.mqtt_brokers import Artemis
from tests.ports import free_port
from tests.registries import need_registry
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

PARTITIONS: Final = 6
GROUP: Final = "chaos"
SESSION_SECONDS: Final = 6
KAFKA_SETTINGS: Final = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "group.consumer.session.timeout.ms": str(SESSION_SECONDS * 1000),
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
MOSQUITTO_SETTINGS: Final = """
per_listener_settings true
listener {{port}} 127.0.0.1
allow_anonymous true
listener {publishers} 127.0.0.1
allow_anonymous true
"""
"""The first one is the connectors'."""
MQTT_RATE: Final = 120.0
ARTEMIS_RATE: Final = 40.0
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
"""
_FRAMED: Final = '{topic: "m0/framed/#", format: {type: json_schema, check: true}}'
_SECOND: Final = "line1"
"""The level of the topics whose values go to the second integration."""
WITH_SECOND: Final = ("m0", "m2")
"""The members that have it. Their journals are on disk: where the last message of a stream has arrived, those before it
for the other integration may still wait."""
_KAFKA: Final = """
  - type: kafka
    bootstrap_servers: "127.0.0.1:{port}"
    topics: [{topics}]
    group_id: {group}
    client_id: {name}
    security: plaintext
    {protocol}
    auto_offset_reset: latest
    max_poll_interval: 60s
    drain_timeout: 2s
    librdkafka: {{reconnect.backoff.max.ms: 1000, topic.metadata.refresh.interval.ms: 1000}}
"""


@dataclass(slots=True)
class Member:
    """One connector with the ways to its broker and to Clarify."""

    name: str
    process: ConnectorProcess
    broker: FaultProxy
    clarify: FaultProxy
    second: FaultProxy | None = None
    """The way to the second integration."""
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
        self.second = SandboxServer(requests_per_second=20, token_seconds=20)
        self._opened.callback(self.second.close)
        self._publishers_port = free_port()
        self.mosquitto = Mosquitto(
            persistence=True, settings=MOSQUITTO_SETTINGS.format(publishers=self._publishers_port)
        )
        self._opened.callback(self.mosquitto.close)
        self.artemis = Artemis()
        self._opened.callback(self.artemis.close)
        self.kafka = Kafka(KAFKA_SETTINGS)
        self._opened.callback(self.kafka.close)
        self.registry = need_registry()
        self._kafka_ways = [self._kafka_way(i) for i in range(kafka_members)]
        self._with_clock, self._with_disk = with_clock, with_disk
        self.members: dict[str, Member] = {}
        self.partitions = PARTITIONS
        """Of the large topic, as of now."""
        self.truths = {name: folder / f"truth-{name}.jsonl" for name in ("mqtt", "artemis", "kafka")}
        self.publishers: dict[str, PublisherProcess] = {}

    def start(self, tell: Callable[[str], None]) -> Self:
        """Start the brokers, then everything else, and wait until all connectors are ready."""
        tell("starting: Mosquitto, Artemis, Kafka, registry, sandbox")
        for sandbox in self.sandboxes:
            sandbox.start()
        self.mosquitto.start()
        self.artemis.start()
        self.kafka.start()
        for topic in TOPICS:
            self.kafka.create_topic(topic, PARTITIONS if topic == KAFKA_TOPIC else 1)
        allow_all(self.kafka)
        self._opened.enter_context(self.registry)
        schemas = [
            self.registry.register(f"s{n}", json.dumps({"$schema": _DRAFT, "title": f"s{n}", "type": "object"}), "JSON")
            for n in range(SCHEMAS)
        ]
        for name in MQTT:
            broker = self.artemis if name in AT_ARTEMIS else self.mosquitto
            way = FaultProxy(self._loop, free_port(), broker.port).start()
            journal = "memory" if name == "m1" else "disk"
            self._add(name, way, _MQTT.format(name=name, port=way.port, journal=journal))
        for number, way in enumerate(self._kafka_ways):
            name = f"k{number}"
            protocol = "group_protocol: consumer" if self._seed % 2 == 0 else f"session_timeout: {SESSION_SECONDS}s"
            source = _KAFKA.format(
                port=way.start().port, topics=", ".join(TOPICS), group=GROUP, name=name, protocol=protocol
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
        for name, port, streams, rate in (
            ("mqtt", self._publishers_port, AT_MOSQUITTO, MQTT_RATE),
            ("artemis", self.artemis.port, AT_ARTEMIS, ARTEMIS_RATE),
        ):
            truth = self.truths[name]
            self._publish(name, "publish_mqtt", port, ",".join(streams), truth, self._seed, rate, *schemas)
        self._publish(
            "kafka", "publish_kafka", self.kafka.bootstrap, PARTITIONS, self.truths["kafka"], self._seed, KAFKA_RATE
        )
        wait_until(lambda: self.sandbox.samples(f"{ANEW_TOPIC}:{ANEW}"), 120, "the first records arrive", every=0.2)
        return self

    def close(self) -> None:
        """End everything, and leave the logs and what was stored in the folder."""
        for name, folder in (
            ("mosquitto", self.mosquitto.folder),
            ("artemis", self.artemis.folder),
            ("kafka", self.kafka.folder),
        ):
            log = folder / "log.txt"
            if log.exists():
                shutil.copy(log, self.folder / f"{name}.log")
        for sandbox, name in zip(self.sandboxes, ("sandbox", "sandbox-second"), strict=True):
            if sandbox.store_path.exists():
                (self.folder / f"{name}.log").write_text(sandbox.log())
                sandbox.kill()
                for store in sandbox.store_path.parent.glob(sandbox.store_path.name + "*"):
                    shutil.copy(store, self.folder / store.name.replace("store", name))
        self._opened.close()

    @property
    def sandboxes(self) -> tuple[SandboxServer, SandboxServer]:
        """The first and the second integration."""
        return self.sandbox, self.second

    def count_samples(self) -> int:
        """The number of samples in both integrations."""
        return sum(sandbox.count_samples() for sandbox in self.sandboxes)

    def samples(self, key: str) -> list[tuple[int, float]]:
        """The stored samples of an input, in the integration where it belongs."""
        return self.sandboxes[belongs(key)].samples(key)

    def sessions(self) -> Iterator[Member]:
        """The members with a session at Mosquitto."""
        return (self.members[name] for name in AT_MOSQUITTO)

    def committed(self, topic: str) -> int:
        """The group's position in the only partition of a topic; 0 if it has none."""
        wanted = [ConsumerGroupTopicPartitions(GROUP, [TopicPartition(topic, 0)])]
        found = self.kafka.admin().list_consumer_group_offsets(wanted, request_timeout=20)[GROUP].result(25)
        return max(0, int(found.topic_partitions[0].offset))

    def group(self) -> list[Member]:
        """The members of the consumer group."""
        return [member for name, member in self.members.items() if name not in MQTT]

    def _add(self, name: str, way: FaultProxy, source: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        clarify = self._way_to(self.sandbox, folder / "credentials.json")
        second = self._way_to(self.second, folder / "credentials-second.json") if name in WITH_SECOND else None
        tormented = name == "m0"
        clock = ProcessClock(folder) if tormented and self._with_clock else None
        disk = TinyDisk(folder / "state") if tormented and self._with_disk else None
        if disk is not None:
            self._opened.callback(disk.close)
        registry = FaultProxy(self._loop, free_port(), self.registry.port).start() if tormented else None
        rules = [_FRAMED] if registry else []
        if second is not None:
            rules.append(f'{{topic: "{name}/{_SECOND}/#", to: second}}')
        more = _MORE + (_REGISTRY.format(port=registry.port) if registry else "")
        if rules:
            more += f"\nmapping: {{unmatched: map, rules: [{', '.join(rules)}]}}\n"
        process = ConnectorProcess(
            folder, folder / "credentials.json", source, more, timeout="5s", env=clock.env if clock else None
        )
        if second is not None:
            named = "clarify:\n  integrations: {second: {credentials: credentials-second.json}}\n"
            process.config.write_text(process.config.read_text().replace("clarify:\n", named, 1))
        self._opened.callback(process.kill)
        self.members[name] = Member(name, process, way, clarify, second, registry, clock, disk)

    def _way_to(self, sandbox: SandboxServer, credentials_file: Path) -> FaultProxy:
        """A way to a sandbox, and credentials that lead there."""
        way = FaultProxy(self._loop, free_port(), sandbox.port).start()
        credentials = {**sandbox.credentials(), "apiUrl": f"http://127.0.0.1:{way.port}/v1/"}
        credentials_file.write_text(json.dumps(credentials))
        return way

    def _kafka_way(self, number: int) -> FaultProxy:
        """A listener of its own, advertised where the proxy listens."""
        listener, inside, outside = f"K{number}", free_port(), free_port()
        properties = self.kafka.properties
        properties["listeners"] += f",{listener}://{HOST}:{inside}"
        properties["advertised.listeners"] += f",{listener}://{HOST}:{outside}"
        properties["listener.security.protocol.map"] += f",{listener}:PLAINTEXT"
        return FaultProxy(self._loop, outside, inside, address(f"k{number}"))

    def _publish(self, name: str, module: str, *arguments: object) -> None:
        publisher = PublisherProcess(module, self.folder / f"publisher-{name}.log", arguments)
        self._opened.callback(publisher.close)
        self.publishers[name] = publisher


def belongs(key: str) -> int:
    """The place in `Stage.sandboxes` where an input ID belongs."""
    member, _, rest = key.partition("/")
    return int(member in WITH_SECOND and rest.startswith(f"{_SECOND}/"))


def address(member: str) -> str:
    """Where Kafka sees this member of the group: an address of its own, where this machine has more than one."""
    own = f"127.0.0.{11 + int(member[1:])}"
    with socket.socket() as probe:
        try:
            probe.bind((own, 0))
        except OSError:
            return HOST
    return own


def rule(
    kind: ResourceType,
    host: str,
    operation: AclOperation,
    permission: AclPermissionType,
    made: type[AclBinding] = AclBinding,
) -> AclBinding:
    """An access rule for everything of a kind (topics or groups), or with `made` what finds it."""
    return made(kind, "*", ResourcePatternType.LITERAL, "User:*", host, operation, permission)


def allow_all(kafka: RealKafka) -> None:
    """Once there is any rule for it, everybody needs one."""
    rules = [
        rule(kind, "*", AclOperation.ALL, AclPermissionType.ALLOW) for kind in (ResourceType.TOPIC, ResourceType.GROUP)
    ]
    for done in kafka.admin().create_acls(rules, request_timeout=20).values():
        done.result(25)


def needs() -> None:
    """Skip, with the reason, where there is no Kafka, Mosquitto, Artemis or registry that may be killed."""
    from tests.brokers import need_mosquitto

    need_mosquitto()
    need_java()
    need_registry()
    Artemis().close()
