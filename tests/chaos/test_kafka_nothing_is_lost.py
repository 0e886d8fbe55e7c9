"""Nothing is lost with a group of three, Apache Kafka, and everything that can fail.

Committed offsets are compared with what Clarify's stand-in really holds, all the while: the offset is read
first and the data afterwards, so an offset that is ahead is ahead.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.connector_process import ConnectorProcess, run_command
from tests.kafka_brokers import need_kafka
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

RECORDS = int(os.environ.get("CHAOS_RECORDS", "300000"))
SEED = int(os.environ.get("CHAOS_SEED", "20261124"))
PARTITIONS = 6
REPLICAS = 3
SESSION_SECONDS = 3
SOURCES = """
  - type: kafka
    bootstrap_servers: "{bootstrap}"
    topics: [chaos]
    group_id: chaos
    security: plaintext
    session_timeout: {session}s
    max_poll_interval: 30s
    drain_timeout: 2s
"""
MORE = "delivery: {requests_per_second: 5, max_delay: 500ms}"


class Numbered(threading.Thread):
    """Writes numbered records: number n of partition p is value n of input `chaos:p`, at n ms after the start."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4",
             "log_level": 0, "delivery.timeout.ms": 120_000}
        )  # fmt: skip
        self.start_ms = int(time.time() * 1000) - RECORDS
        self.written = [0] * PARTITIONS
        self.poison = 0
        self.failed: list[str] = []

    def run(self) -> None:
        pause = 45 / (RECORDS / 1000)
        for i in range(RECORDS):
            partition = i % PARTITIONS
            n = self.written[partition]
            self.written[partition] += 1
            poison = i % 10_000 >= 10_000 - PARTITIONS  # one in every partition
            self.poison += poison
            value = b"{broken" if poison else json.dumps({"ts": self.start_ms + n, f"p{partition}": n}).encode()
            while True:
                try:
                    self._producer.produce("chaos", value, partition=partition, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            if i % 1000 == 0:
                self._producer.poll(0)
                time.sleep(pause)
        self._producer.flush(150)

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self.failed.append(str(error))


class Watch(threading.Thread):
    """Compares committed offsets with the data, again and again."""

    def __init__(self, bootstrap: str, sandbox: SandboxServer, numbered: Numbered) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos", "log_level": 0})
        self._sandbox = sandbox
        self._numbered = numbered
        self._over = threading.Event()
        self.samples = 0
        self.ahead: list[str] = []

    def run(self) -> None:
        while not self._over.wait(1.0):
            self.look()

    def look(self) -> None:
        try:
            partitions = [TopicPartition("chaos", p) for p in range(PARTITIONS)]
            committed = [max(0, found.offset) for found in self._consumer.committed(partitions, timeout=2)]
        except KafkaException:
            return  # the broker is away: nothing can be committed either
        for partition, offset in enumerate(committed):
            wanted = sum(1 for n in range(offset) if not is_poison(n, partition))
            with closing(sqlite3.connect(f"file:{self._sandbox.store_path}?mode=ro", uri=True, timeout=10)) as store:
                (held,) = store.execute(
                    "SELECT count(*) FROM samples JOIN signals ON signal = number WHERE input = ? AND time_us < ?",
                    (f"chaos:p{partition}", (self._numbered.start_ms + offset) * 1000),
                ).fetchone()
            if held < wanted:
                self.ahead.append(f"partition {partition}: committed {offset}, but only {held} of {wanted} are stored")
            self.samples += 1

    def end(self) -> None:
        self._over.set()
        self.join(30)
        self.look()
        self._consumer.close()


def is_poison(n: int, partition: int) -> bool:
    return (n * PARTITIONS + partition) % 10_000 >= 10_000 - PARTITIONS


@pytest.mark.timeout(600)
def test_a_group_of_three_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"CHAOS_SEED={SEED}")
    with (
        need_kafka({"group.initial.rebalance.delay.ms": "0"}) as kafka,
        SandboxServer(requests_per_second=20) as sandbox,
    ):
        kafka.create_topic("chaos", PARTITIONS)
        sources = SOURCES.format(bootstrap=kafka.bootstrap, session=SESSION_SECONDS)
        replicas = []
        for i in range(REPLICAS):
            folder = tmp_path / f"replica-{i}"
            folder.mkdir()
            replicas.append(ConnectorProcess(folder, sandbox.credentials_path, sources, MORE))
        numbered = Numbered(kafka.bootstrap)
        watch = Watch(kafka.bootstrap, sandbox, numbered)
        try:
            replicas[0].start()
            replicas[1].start(ready=False)
            numbered.start()
            watch.start()
            replicas[2].start(ready=False)  # joins
            torment(chance, replicas, kafka, sandbox)
            wait_until(lambda: not numbered.is_alive(), 200, "everything is written")
            assert not numbered.failed, numbered.failed[:3]
            good = RECORDS - numbered.poison
            wait_until(lambda: sandbox.count_samples() >= good, 180, "everything is stored", every=1.0)
            wait_until(lambda: lag(kafka.bootstrap, numbered.written) == 0, 60, "everything is committed", every=1.0)
            for replica in replicas:
                assert replica.stop() == 0, replica.log()[-3000:]
        finally:
            watch.end()
            for replica in replicas:
                replica.kill()
        assert watch.samples > 100
        assert watch.ahead == []
        for partition in range(PARTITIONS):
            wanted = {
                (numbered.start_ms + n) * 1000: float(n)
                for n in range(numbered.written[partition])
                if not is_poison(n, partition)
            }
            assert dict(sandbox.samples(f"chaos:p{partition}")) == wanted
        ledger = ledger_of(replicas)
        source = ledger["sources"]["kafka"]
        assert ledger["balanced"], source["problems"]
        assert {name: (p["first"], p["next"], p["gaps"]) for name, p in source["partitions"].items()} == {
            f"chaos[{p}]": (0, numbered.written[p], []) for p in range(PARTITIONS)
        }
        twice = ledger["messages"]["received"] - RECORDS
        assert twice == sum(p["records"] for p in source["partitions"].values()) - RECORDS
        assert 0 <= source["redelivered"] <= twice
        assert ledger["messages"]["dead_lettered"] >= numbered.poison
        print(f"{RECORDS} records, {twice} came twice, {watch.samples} offsets compared with the data")


def torment(chance: random.Random, replicas: list[ConnectorProcess], kafka: object, sandbox: SandboxServer) -> None:
    """Everything that can fail, in an order of chance; each replica runs at the end."""
    faults = ["leave", "kill", "stop"] * 3 + ["broker", "clarify"]
    chance.shuffle(faults)
    for fault in faults:
        time.sleep(chance.uniform(0.5, 2.0))  # the faults themselves are what is timed here
        replica = chance.choice(replicas)
        print(f"{time.strftime('%X')} {fault}")
        if fault == "leave":
            wait_until(lambda replica=replica: replica.readiness()[0] > 0, 30, "it has started")  # type: ignore[misc]
            assert replica.stop() == 0, replica.log()[-3000:]
            replica.start(ready=False)
        elif fault == "kill":
            replica.kill()
            replica.start(ready=False)
        elif fault == "stop":
            os.kill(replica.pid, signal.SIGSTOP)
            time.sleep(SESSION_SECONDS * 1.7)
            os.kill(replica.pid, signal.SIGCONT)
        elif fault == "broker":
            kafka.kill()  # type: ignore[attr-defined]
            time.sleep(2)
            kafka.start()  # type: ignore[attr-defined]
        else:
            sandbox.kill()
            time.sleep(8)
            sandbox.start()


def lag(bootstrap: str, written: list[int]) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos", "log_level": 0})
    try:
        found = consumer.committed([TopicPartition("chaos", p) for p in range(PARTITIONS)], timeout=10)
        return sum(written) - sum(max(0, partition.offset) for partition in found)
    except KafkaException:
        return -1
    finally:
        consumer.close()


def ledger_of(replicas: list[ConnectorProcess]) -> dict:  # type: ignore[type-arg]
    done = run_command("ledger", *(replica.config for replica in replicas), "--json", "--all-members")
    return json.loads(done.stdout)
