"""Kafka to Clarify with a real broker and the connector as users run it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.connector_process import ConnectorProcess, drain
from tests.integration.kafka_topics import committed, end_of, kafka_source, stored
from tests.kafka_brokers import KafkaBroker, kcat_program, need_real
from tests.ports import free_port
from tests.registries import answering
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.schemas import framed
from tests.waiting import wait_until

FAST = "delivery: {max_delay: 100ms, requests_per_second: 50}"
START = int(time.time()) - 10_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


sandbox = sandbox_fixture(requests_per_second=100)


@pytest.fixture
def topic(kafka: KafkaBroker, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-z0-9_]", "-", request.node.name)[:90] + f"-{uuid.uuid4().hex[:8]}"
    need_real(kafka).create_topic(name, 3)
    return name


Make = Callable[..., ConnectorProcess]


@pytest.fixture
def make(kafka: KafkaBroker, sandbox: SandboxServer, topic: str, tmp_path: Path) -> Iterator[Make]:
    """Makes connectors of one group, each with a state of its own; whatever runs at the end is killed."""
    made: list[ConnectorProcess] = []

    def connector(settings: str = "", more: str = FAST, topics: str = "") -> ConnectorProcess:
        folder = tmp_path / f"replica-{len(made)}"
        folder.mkdir()
        source = kafka_source(kafka, topic, settings, topics)
        made.append(ConnectorProcess(folder, sandbox.credentials_path, source, more))
        return made[-1]

    yield connector
    for found in made:
        found.kill()


def write(kafka: KafkaBroker, topic: str, values: list[tuple[int, bytes | None]], **settings: object) -> None:
    """(partition, value) each, in order, a second apart from `START` on."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, **settings})
    for i, (partition, value) in enumerate(values):
        producer.produce(topic, value, partition=partition, timestamp=(START + i) * 1000)
    assert producer.flush(30) == 0


def numbers(first: int, end: int) -> list[tuple[int, bytes | None]]:
    return [(i % 3, json.dumps({"ts": START + i, "v": i}).encode()) for i in range(first, end)]


def expected(first: int, end: int) -> dict[int, float]:
    return {(START + i) * 10**6: float(i) for i in range(first, end)}


def arrived(sandbox: SandboxServer, topic: str, n: int) -> None:
    wait_until(lambda: len(stored(sandbox, topic)) >= n, 40, f"{n} records arrived", every=0.2)


def stops_with_all(connector: ConnectorProcess, sandbox: SandboxServer, topic: str, records: int) -> None:
    """It stops in order, and its ledger and the sandbox have all of these records, with no gap."""
    assert connector.stop() == 0
    status, ledger = connector.ledger()
    assert (status, stored(sandbox, topic)) == (0, expected(0, records))
    source = ledger["sources"]["kafka"]
    assert ledger["messages"]["received"] == records + source["redelivered"]
    assert all(not partition["gaps"] for partition in source["partitions"].values())


def test_every_codec_arrives_and_offsets_follow(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    for i, codec in enumerate(CODECS):
        write(kafka, topic, numbers(i * 300, (i + 1) * 300), **{"compression.type": codec})
    with make().start() as connector:
        arrived(sandbox, topic, 1500)
        wait_until(lambda: committed(kafka, topic) == [500, 500, 500], 20, "all is committed", every=0.3)
        assert connector.stop() == 0
        assert connector.ledger()[1]["messages"]["inserted"] == 1500
    assert stored(sandbox, topic) == expected(0, 1500)


def test_what_kcat_writes_arrives(kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make) -> None:
    lines = b"".join(value + b"\n" for _, value in numbers(0, 100) if value)
    subprocess.run([kcat_program(), "-P", "-b", kafka.bootstrap, "-t", topic], input=lines, check=True, timeout=30)
    with make(topics=f"'^{topic[:-3]}.*'").start() as connector:
        arrived(sandbox, topic, 100)
        assert connector.stop() == 0
    assert stored(sandbox, topic) == expected(0, 100)


def test_a_topic_that_is_made_later_is_found_by_its_pattern(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    """Within half a minute; here it is asked more often."""
    write(kafka, topic, numbers(0, 30))
    sooner = "librdkafka: {topic.metadata.refresh.interval.ms: 500}"
    with make(sooner, topics=f"'^{topic}.*'").start() as connector:
        arrived(sandbox, topic, 30)
        later = f"{topic}-later"
        kafka.create_topic(later, 3)
        write(kafka, later, numbers(0, 30))
        arrived(sandbox, later, 30)
        assert connector.stop() == 0
    assert stored(sandbox, later) == expected(0, 30)


def test_poison_tombstones_and_empty_values_block_nothing(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    odd = [(p, value) for p in range(3) for value in (b"{broken", None, b"", b"\xff\xfe")]
    write(kafka, topic, odd + numbers(len(odd), 300) + odd)
    with make().start() as connector:
        arrived(sandbox, topic, 300 - len(odd))
        wait_until(lambda: sum(committed(kafka, topic)) == 300 + len(odd), 20, "all is committed", every=0.3)
        assert connector.stop() == 0
        status, ledger = connector.ledger()
    assert status == 0
    assert stored(sandbox, topic) == expected(len(odd), 300)
    assert ledger["messages"]["filtered"] == 12, "tombstones and empty values"
    assert ledger["messages"]["dead_lettered"] == 12


def test_transactions_leave_holes_and_what_was_taken_back_never_comes(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    for n in range(20):
        producer.begin_transaction()
        for partition, value in numbers(n * 30, n * 30 + 30):
            producer.produce(topic, value, partition=partition)
        producer.flush(20)  # what is taken back has to be in the log first
        if n % 4 == 3:
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    wanted = {t: v for n in range(20) if n % 4 != 3 for t, v in expected(n * 30, n * 30 + 30).items()}
    connector = make()
    with connector.start():
        arrived(sandbox, topic, len(wanted))
        at_end = [20 * (10 + 1)] * 3  # a marker ends each transaction, and the last one was taken back
        wait_until(lambda: committed(kafka, topic) == at_end, 20, "committed to the end, over the holes", every=0.3)
        lag = 'clarify_connector_kafka_lag{source="kafka"}'
        wait_until(lambda: connector.metrics()[lag] == 0, 20, "no lag", every=0.3)
        assert connector.stop() == 0
        assert connector.ledger()[1]["messages"]["received"] == len(wanted)
    assert stored(sandbox, topic) == wanted

    # The holes expire, which is no loss, and so do 4 records with the marker behind them, which is one.
    for partition in (0, 2):
        need_real(kafka).delete_records(topic, partition, before=220)
    producer.begin_transaction()
    for partition, value in [(1, value) for _, value in numbers(600, 604)]:
        producer.produce(topic, value, partition=partition)
    producer.commit_transaction(20)
    wait_until(lambda: end_of(kafka, topic, 1) == 225, 20, "the marker is there", every=0.1)
    need_real(kafka).delete_records(topic, 1, before=225)
    write(kafka, topic, numbers(900, 930))
    with connector.start():
        arrived(sandbox, topic, len(wanted) + 30)
        assert connector.stop() == 0
        status, ledger = connector.ledger()
    assert stored(sandbox, topic) == wanted | expected(900, 930)
    source = ledger["sources"]["kafka"]
    assert (status, source["expired"]) == (0, 5)
    (incident,) = source["incidents"]
    assert f"{topic}[1]: the data from offset 220 to before 225 had expired" in incident
    assert "at most 5 records" in incident
    assert {name[-3:]: found["gaps"] for name, found in source["partitions"].items()} == {
        "[0]": [],
        "[1]": [[220, 225]],
        "[2]": [],
    }


def test_only_the_partition_whose_schema_is_missing_waits(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    """The registry is away at first. Each partition has both kinds of records, and only partition 0 a new schema."""
    avro = f"{topic}-avro"
    need_real(kafka).create_topic(avro, 2)
    write(kafka, avro, [(0, framed(7, b"\x2a")), (1, b"{}"), (0, framed(7, b"\x2c"))])
    port = free_port()
    more = (
        f"{FAST}\nschema_registries: {{main: {{url: 'http://127.0.0.1:{port}'}}}}\nmapping:\n  rules:\n"
        f"    - {{topic: {avro}, format: avro}}\n    - {{topic: {topic}}}"
    )
    with make(more=more, topics=f"{topic}, {avro}").start(ready=False) as connector:
        problem = f"{avro}[0] waits: the schema registry main cannot be asked for schema 7"
        wait_until(lambda: problem in str(connector.readiness()), 40, "it says which partition waits", every=0.2)
        write(kafka, topic, numbers(0, 300))
        arrived(sandbox, topic, 300)
        wait_until(lambda: committed(kafka, topic) == [100] * 3, 20, "the others are committed", every=0.3)
        with answering(port, {"/schemas/ids/7": b'{"schema": "\\"int\\""}'}):
            wait_until(
                lambda: len(sandbox.samples(avro) if avro in sandbox.signals() else ()) == 2, 60, "both", every=0.3
            )
        wait_until(lambda: connector.readiness() == (200, []), 20, "ready", every=0.2)
        assert connector.stop() == 0
    assert sorted(dict(sandbox.samples(avro)).values()) == [21, 22]


def test_a_kill_brings_some_again_and_loses_nothing(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    write(kafka, topic, numbers(0, 3000))
    connector = make("session_timeout: 2s", "delivery: {max_delay: 50ms, requests_per_second: 10, max_bytes: 4KiB}")
    with connector.start():
        arrived(sandbox, topic, 500)
        connector.kill()
        connector.start(ready=False)
        arrived(sandbox, topic, 3000)
        wait_until(lambda: committed(kafka, topic) == [1000] * 3, 20, "all is committed", every=0.3)
        stops_with_all(connector, sandbox, topic, 3000)


def test_a_stall_longer_than_the_poll_interval_keeps_the_membership(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    timing = "session_timeout: 2s, max_poll_interval: 3s, drain_timeout: 1s"
    connector = make(timing, "delivery: {max_delay: 100ms, requests_per_second: 50, max_waiting_samples: 1000}")
    with connector.start():
        write(kafka, topic, numbers(0, 300))
        arrived(sandbox, topic, 300)
        rebalances = connector.metrics()['clarify_connector_kafka_rebalances_total{source="kafka"}']
        sandbox.kill()
        write(kafka, topic, numbers(300, 4000))
        wait_until(
            lambda: connector.metrics()['clarify_connector_kafka_paused{source="kafka"}'] == 1,
            30,
            "reading is paused",
            every=0.2,
        )
        stalled_until = time.monotonic() + 9  # three times the poll interval
        wait_until(lambda: time.monotonic() > stalled_until, 20, "the stall is over")
        assert connector.metrics()['clarify_connector_kafka_rebalances_total{source="kafka"}'] == rebalances
        sandbox.start()
        arrived(sandbox, topic, 4000)
        assert connector.metrics()['clarify_connector_kafka_rebalances_total{source="kafka"}'] == rebalances
        assert "kafka_lost" not in connector.log()
        assert connector.stop() == 0
        assert connector.ledger()[1]["sources"]["kafka"]["redelivered"] == 0
    assert stored(sandbox, topic) == expected(0, 4000)


def test_data_that_expired_is_reported_with_its_range(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    write(kafka, topic, numbers(0, 300))
    connector = make()
    with connector.start():
        wait_until(lambda: committed(kafka, topic) == [100] * 3, 30, "all is committed", every=0.3)
        assert connector.stop() == 0
        write(kafka, topic, numbers(300, 600))
        need_real(kafka).delete_records(topic, 1, before=150)
        connector.start()
        arrived(sandbox, topic, 550)
        assert connector.stop() == 0
        status, ledger = connector.ledger()
    source = ledger["sources"]["kafka"]
    assert (status, source["expired"]) == (0, 50)
    assert source["partitions"][f"{topic}[1]"]["gaps"] == [[100, 150]]
    (incident,) = source["incidents"]
    assert f"{topic}[1]: the data from offset 100 to before 150 had expired" in incident
    assert "kafka_data_expired" in connector.log()


@pytest.mark.parametrize("policy", ["latest", "error"])
def test_where_a_new_group_begins(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make, policy: str
) -> None:
    write(kafka, topic, numbers(0, 30))
    connector = make(f"auto_offset_reset: {policy}").start(ready=False)
    if policy == "error":
        assert connector.wait(30) == 1
        assert "auto_offset_reset is error" in connector.log()
        return
    wait_until(lambda: connector.log().count("kafka_starts_at") == 3, 30, "it knows where to begin")
    write(kafka, topic, numbers(30, 60))
    arrived(sandbox, topic, 30)
    assert connector.stop() == 0
    assert stored(sandbox, topic) == expected(30, 60)


@pytest.mark.parametrize(
    "settings", ["group_protocol: consumer", "session_timeout: 3s", "assignor: range, session_timeout: 3s"]
)
def test_members_come_and_go(kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make, settings: str) -> None:
    first, second = make(settings), make(settings)
    with first.start(), second:
        write(kafka, topic, numbers(0, 900))
        second.start()
        owned = 'clarify_connector_kafka_assigned_partitions{source="kafka"}'
        wait_until(lambda: second.metrics()[owned] >= 1, 30, "the second one has a part", every=0.2)
        wait_until(lambda: first.metrics()[owned] + second.metrics()[owned] == 3, 30, "and both all", every=0.2)
        write(kafka, topic, numbers(900, 1800))
        arrived(sandbox, topic, 1800)
        assert first.stop() == 0
        wait_until(lambda: second.metrics()[owned] == 3, 30, "the second one has it all", every=0.2)
        write(kafka, topic, numbers(1800, 2100))
        arrived(sandbox, topic, 2100)
        assert second.stop() == 0
    assert stored(sandbox, topic) == expected(0, 2100)


def test_a_static_member_keeps_its_partitions_over_a_restart(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    first, second = (make(f"session_timeout: 20s, instance_id: host-{i}") for i in range(2))
    with first.start(), second.start():
        owned = 'clarify_connector_kafka_assigned_partitions{source="kafka"}'
        wait_until(lambda: first.metrics()[owned] + second.metrics()[owned] == 3, 30, "both have a part", every=0.2)
        wait_until(lambda: min(first.metrics()[owned], second.metrics()[owned]) >= 1, 30, "each has one", every=0.2)
        rebalances = second.metrics()['clarify_connector_kafka_rebalances_total{source="kafka"}']
        mine = first.metrics()[owned]
        assert first.stop() == 0
        first.start()
        wait_until(lambda: first.metrics()[owned] == mine, 30, "it has its partitions again", every=0.2)
        assert second.metrics()['clarify_connector_kafka_rebalances_total{source="kafka"}'] == rebalances
        write(kafka, topic, numbers(0, 300))
        arrived(sandbox, topic, 300)


def test_a_killed_static_member_of_the_new_protocol_gets_going_again(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    session = ConfigEntry("consumer.session.timeout.ms", "8000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, topic, incremental_configs=[session])
    need_real(kafka).admin().incremental_alter_configs([resource])[resource].result(20)
    write(kafka, topic, numbers(0, 900))
    connector = make("group_protocol: consumer, instance_id: host-0")
    with connector.start():
        arrived(sandbox, topic, 900)
        write(kafka, topic, numbers(900, 1800))
        connector.kill()
        connector.start(ready=False)  # its former self's session goes on
        wait_until(lambda: "same instance_id" in str(connector.readiness()), 30, connector.log, every=0.2)
        arrived(sandbox, topic, 1800)
        wait_until(lambda: committed(kafka, topic) == [600] * 3, 20, "all is committed", every=0.3)
        assert connector.readiness() == (200, [])
        stops_with_all(connector, sandbox, topic, 1800)


def test_a_member_that_another_one_replaced_ends_and_says_why(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    first, second = (make("session_timeout: 20s, instance_id: the-same") for _ in range(2))
    with first.start(), second.start():
        assert first.wait(60) == 1
        assert "is another one running with the same instance_id?" in first.log()
        write(kafka, topic, numbers(0, 300))
        arrived(sandbox, topic, 300)


def test_two_workers_share_the_partitions_and_the_rate(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    write(kafka, topic, numbers(0, 600))
    with make("session_timeout: 3s", FAST + "\nworkers: 2").start() as connector:
        share = 'clarify_connector_kafka_share_ratio{{source="kafka",worker="{}"}}'

        def shares() -> list[float]:
            metrics = connector.metrics()
            return sorted(metrics.get(share.format(n), 0.0) for n in (1, 2))

        wait_until(lambda: shares() == [pytest.approx(1 / 3), pytest.approx(2 / 3)], 40, "both share", every=0.3)
        write(kafka, topic, numbers(600, 1200))
        arrived(sandbox, topic, 1200)
        assert connector.stop() == 0
        status, ledger = connector.ledger()
    assert (status, stored(sandbox, topic)) == (0, expected(0, 1200))
    assert ledger["messages"]["received"] >= 1200


def test_a_drain_leaves_the_group_after_the_last_commit(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, make: Make
) -> None:
    """The other member has its partitions at once, and gets nothing again."""
    one, two = make(), make()
    one.start()
    two.start()
    write(kafka, topic, numbers(0, 3000))
    arrived(sandbox, topic, 100)
    status, said = drain(one)
    assert status == 0, said + one.log()
    write(kafka, topic, numbers(3000, 3300))
    arrived(sandbox, topic, 3300)
    assert stored(sandbox, topic) == expected(0, 3300)
    assert two.stop() == 0
    assert sum(committed(kafka, topic)) == 3300
    status, ledger = one.ledger()
    assert (status, ledger["messages"]["waiting"]) == (0, 0)
    assert two.ledger()[1]["messages"]["received"] + ledger["messages"]["received"] == 3300, one.log()
