"""A cluster of three real nodes that is not well: leaders and the group's coordinator move, copies are too few, and a
node without the last records becomes a leader.

One story, since each of its steps takes nodes that come and go: one member of a group goes through it with the classic
protocol, and is away while the log loses its end; another one, of another group with the new protocol, looks on.

| topic | copies, the leader first | what it is there for |
|---|---|---|
| moves | on all nodes | written all the time with acks=all: nothing is lost, nothing is said to be lost |
| small | 2, 1, both needed | while node 1 is down, what is written there cannot be read |
| unclean | 3, 1, one is enough | node 3 alone takes records, dies, and node 1 leads without them |
| regrown | 3, 1, one is enough | the same, and the log grows past the old positions before anybody comes back |
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.connector_process import ConnectorProcess
from tests.kafka_brokers import KafkaCluster, need_cluster
from tests.sandbox_server import SandboxServer
from tests.waiting import PATIENCE, wait_until

TOPICS: Final = ("moves", "small", "unclean", "regrown")
START: Final = int(time.time()) - 100_000
BEFORE, TAKEN_BACK, SINCE = 20, 30, {"unclean": 10, "regrown": 60}
"""Records that both nodes have; those that only node 3 has; those that are written when node 1 leads."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with need_cluster() as found:
        found.create_topic("__consumer_offsets", config={"cleanup.policy": "compact"}, replicas=[[1, 2, 3]])
        found.create_topic("moves", replicas=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])
        found.create_topic("small", replicas=[[2, 1]])
        for topic in SINCE:
            settings = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
            found.create_topic(topic, config=settings, replicas=[[3, 1]])
        yield found


class Written:
    """What was written into each topic: number n is a second after number n - 1, and has the value n."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._bootstrap = cluster.bootstrap
        self.count = dict.fromkeys(TOPICS, 0)
        self.refused: list[KafkaError] = []

    def write(self, topic: str, n: int, **settings: object) -> int:
        """Write so many records, acknowledged by the leader alone if not said otherwise; how many were refused."""
        refused: list[KafkaError] = []
        producer = Producer({"bootstrap.servers": self._bootstrap, "log_level": 0, "acks": 1, **settings})
        first = self.count[topic]
        for number in range(first, first + n):
            producer.produce(topic, body(number), on_delivery=lambda error, _: error and refused.append(error))
        assert producer.flush(60) == 0
        self.count[topic] += n - len(refused)
        self.refused += refused
        return len(refused)

    def ends(self, topic: str) -> dict[str, int]:
        """Partition → the end of its log; a record may be there although its writer was told nothing."""
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "nobody", "log_level": 0})
        try:
            numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
            return {
                f"{topic}[{number}]": consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
                for number in numbers
            }
        finally:
            consumer.close()

    def expected(self, topic: str) -> dict[int, float]:
        """Time in µs → value."""
        return {(START + n) * 10**6: float(n) for n in range(self.count[topic])}


class Writing(threading.Thread):
    """Writes into `moves` all the time, acknowledged by all copies."""

    def __init__(self, written: Written, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self._written = written
        settings = {"enable.idempotence": True, "delivery.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500}
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 20, **settings})
        self._over = threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        while not self._over.wait(0.01):
            number = self._written.count["moves"]
            self._written.count["moves"] += 1
            self._producer.produce("moves", body(number), partition=number % 3, on_delivery=self._delivered)
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.failed.append(error.str())

    def end(self) -> None:
        """Stop writing; all is acknowledged."""
        self._over.set()
        self.join()
        assert self._producer.flush(60) == 0
        assert not self.failed, self.failed[:3]


class Reader:
    """A connector that is a group of its own, with a Clarify of its own."""

    def __init__(self, protocol: str, cluster: KafkaCluster, sandbox: SandboxServer, folder: Path) -> None:
        folder.mkdir()
        self.sandbox = sandbox
        source = (
            f"  - {{type: kafka, bootstrap_servers: '{cluster.bootstrap}', topics: [{', '.join(TOPICS)}], "
            f"group_id: {protocol}, group_protocol: {protocol}, security: plaintext, "
            "librdkafka: {reconnect.backoff.max.ms: 500}}\n"
        )
        more = "delivery: {max_delay: 100ms, requests_per_second: 50}"
        self.process = ConnectorProcess(folder, sandbox.credentials_path, source, more)

    def stored(self, topic: str) -> dict[int, float]:
        """Time in µs → value."""
        name = f"{topic}:v"
        return dict(self.sandbox.samples(name)) if name in self.sandbox.signals() else {}

    def has(self, written: Written, *topics: str) -> None:
        """Wait until all that was written into these topics has arrived."""
        for topic in topics:
            wait_until(
                lambda topic=topic: self.stored(topic) == written.expected(topic),  # type: ignore[misc]
                PATIENCE,
                lambda topic=topic: (  # type: ignore[misc]
                    f"{topic} is complete in {self.process.folder.name}: of {written.count[topic]} are missing "
                    f"{sorted(at // 10**6 - START for at in written.expected(topic).keys() - self.stored(topic))[:90]};"
                    f"\n{self.process.log()[-3000:]}"
                ),
                every=0.1,
            )


def body(number: int) -> bytes:
    return json.dumps({"ts": START + number, "v": number}).encode()


@pytest.fixture
def readers(cluster: KafkaCluster, tmp_path: Path) -> Iterator[dict[str, Reader]]:
    with SandboxServer(requests_per_second=100) as one, SandboxServer(requests_per_second=100) as other:
        found = {
            protocol: Reader(protocol, cluster, sandbox, tmp_path / protocol)
            for protocol, sandbox in (("classic", one), ("consumer", other))
        }
        yield found
        for reader in found.values():
            reader.process.kill()


@pytest.mark.timeout(300)
def test_a_cluster_that_is_not_well(cluster: KafkaCluster, readers: dict[str, Reader]) -> None:
    written = Written(cluster)
    writing = Writing(written, cluster.bootstrap)
    classic, consumer = readers["classic"], readers["consumer"]
    for topic in ("small", *SINCE):
        written.write(topic, BEFORE)
    for reader in readers.values():
        reader.process.start(ready=False)
    writing.start()
    for reader in readers.values():
        reader.has(written, "small", *SINCE)

    # A leader, and the coordinator of both groups, is gone at once; too few copies are left of `small`.
    cluster.nodes[1].kill()
    wait_until(lambda: cluster.in_sync("small") == {2} and cluster.in_sync("regrown") == {3}, PATIENCE, "noticed", 0.1)
    assert written.write("small", 5, acks="all", **{"message.timeout.ms": 1000}) == 5, "two copies are needed"
    written.write("small", 5)  # the leader has them, and may lose them: nobody may read them yet
    for topic in SINCE:
        written.write(topic, TAKEN_BACK)
    for reader in readers.values():
        reader.has(written, *SINCE)
        assert len(reader.stored("small")) == BEFORE

    # The only node with all records dies; a node without the last ones leads, and goes on with the same offsets.
    assert classic.process.stop() == 0, classic.process.log()[-3000:]
    cluster.nodes[3].kill()
    cluster.nodes[1].launch()
    wait_until(lambda: {cluster.leader(topic) for topic in SINCE} == {1}, PATIENCE, "node 1 leads", 0.1)
    for topic, n in SINCE.items():
        written.write(topic, n)
    cluster.nodes[3].launch()
    classic.process.start(ready=False)

    for reader in readers.values():
        reader.has(written, "small", *SINCE)
    writing.end()
    for reader in readers.values():
        reader.has(written, "moves")
        assert reader.process.stop() == 0, reader.process.log()[-3000:]
        status, ledger = reader.process.ledger()
        source: dict[str, Any] = ledger["sources"]["kafka"]
        assert (status, source["expired"]) == (0, 0), source
        assert ledger["messages"]["dead_lettered"] == 0
        for topic in ("moves", "small"):
            parts = {name: part for name, part in source["partitions"].items() if name.startswith(f"{topic}[")}
            assert {(part["first"], len(part["gaps"])) for part in parts.values()} == {(0, 0)}, parts
            assert {name: part["next"] for name, part in parts.items()} == written.ends(topic), parts
            assert not [text for text in source["incidents"] if f"{topic}[" in text], source["incidents"]
        for topic in SINCE:
            assert [text for text in source["incidents"] if f"{topic}[0]" in text], "that the log lost its end is said"
    assert consumer.process.log().count("Traceback") == classic.process.log().count("Traceback") == 0
