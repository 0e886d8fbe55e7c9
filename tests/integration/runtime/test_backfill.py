"""`clarify-connector backfill` with a real Kafka: exactly the range, resumable, and no group notices."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.sources.kafka.range import KafkaRangeSource
from connector.sources.kafka.section import KafkaSection
from connector.sources.range import OffsetRange
from connector.sources.source import SourceFinishedError
from tests.connector_process import ConnectorProcess
from tests.integration.kafka_topics import committed, kafka_source, stored
from tests.kafka_brokers import KafkaBroker, need_real
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

PARTITIONS = 3
RECORDS = 3000
START = int(time.time()) - RECORDS


@pytest.fixture
def topic(kafka: KafkaBroker, request: pytest.FixtureRequest) -> str:
    """A topic with a record a second, in turn over its partitions; number i is value i."""
    name = f"{request.node.name[:60]}-{uuid.uuid4().hex[:8]}"
    need_real(kafka).create_topic(name, PARTITIONS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    for i in range(RECORDS):
        producer.produce(name, json.dumps({"v": i}).encode(), partition=i % PARTITIONS, timestamp=(START + i) * 1000)
    assert producer.flush(30) == 0
    return name


sandbox = sandbox_fixture(requests_per_second=100)


def connector_for(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, folder: Path, delivery: str
) -> ConnectorProcess:
    source = kafka_source(kafka, topic)
    return ConnectorProcess(folder, sandbox.credentials_path, source, f"delivery: {{{delivery}}}")


def backfill(connector: ConnectorProcess, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "connector", "backfill", str(connector.config), "--share", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    text, _ = process.communicate(timeout=90)
    assert process.returncode == status, text
    return text


def at(i: int) -> str:
    return datetime.fromtimestamp(START + i, UTC).isoformat()


def expected(first: int, end: int) -> dict[int, float]:
    return {(START + i) * 10**6: float(i) for i in range(first, end)}


def test_a_span_of_time(kafka: KafkaBroker, topic: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    connector = connector_for(kafka, topic, sandbox, tmp_path, "max_delay: 100ms, requests_per_second: 50")
    text = finished(backfill(connector, "--from", at(500), "--to", at(1400)))
    assert stored(sandbox, topic) == expected(500, 1400), text
    assert "The ledger balances." in text
    assert committed(kafka, topic) == [-1001] * PARTITIONS
    again = finished(backfill(connector, "--from", at(500), "--to", at(1400)))
    assert "continuing after" in again


def test_records_that_are_out_of_order_are_found(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """One from the middle of the span stands at the end, behind later ones."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    producer.produce(topic, b'{"v": 0.5}', partition=1, timestamp=(START + 700) * 1000 + 500)
    assert producer.flush(30) == 0
    connector = connector_for(kafka, topic, sandbox, tmp_path, "max_delay: 100ms, requests_per_second: 50")
    finished(backfill(connector, "--from", at(500), "--to", at(1400)))
    assert stored(sandbox, topic) == expected(500, 1400) | {(START + 700) * 10**6 + 500_000: 0.5}


def test_offsets_of_one_partition(kafka: KafkaBroker, topic: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    connector = connector_for(kafka, topic, sandbox, tmp_path, "max_delay: 100ms, requests_per_second: 50")
    finished(backfill(connector, "--offsets", f"{topic}[1]=100:103"))
    assert stored(sandbox, topic) == {(START + i) * 10**6: float(i) for i in (301, 304, 307)}
    text = finished(backfill(connector, "--offsets", f"{topic}[1]=100:5000"), 1)
    assert "has offsets 0 to before 1000, not 100 to before 5000" in text
    assert "Traceback" not in text


def test_an_interrupted_one_goes_on_beside_the_live_connector(
    kafka: KafkaBroker, topic: str, sandbox: SandboxServer, tmp_path: Path
) -> None:
    slow = "max_delay: 100ms, requests_per_second: 5, max_bytes: 5KiB"
    connector = connector_for(kafka, topic, sandbox, tmp_path, slow)
    first = backfill(connector, "--from", at(0), "--to", at(RECORDS))
    wait_until(lambda: len(stored(sandbox, topic)) > 1200, 30, "some of it arrived")
    first.kill()
    first.communicate()
    assert len(stored(sandbox, topic)) < RECORDS
    with connector.start():
        wait_until(lambda: sum(committed(kafka, topic)) == RECORDS, 60, "the live one has it all", every=0.5)
        text = finished(backfill(connector, "--from", at(0), "--to", at(RECORDS)))
        assert "continuing after" in text
        assert "continuing after 0" not in text
        assert connector.running()
        assert connector.stop() == 0
    assert stored(sandbox, topic) == expected(0, RECORDS)


@pytest.mark.parametrize(("end", "left"), [(15, [10, 11, 12, 13, 14]), (5, [])], ids=["partly", "wholly"])
def test_what_expires_before_it_is_read_is_reported(
    kafka: KafkaBroker, tmp_path: Path, end: int, left: list[int]
) -> None:
    real = need_real(kafka)
    topic = f"expired-{uuid.uuid4().hex[:8]}"
    real.create_topic(topic)
    producer = Producer({"bootstrap.servers": real.bootstrap})
    for i in range(20):
        producer.produce(topic, b"%d" % i)
    assert producer.flush(30) == 0
    section = KafkaSection.model_validate(
        {"type": "kafka", "bootstrap_servers": real.bootstrap, "topics": [topic], "group_id": topic,
         "security": "plaintext"}
    )  # fmt: skip
    path = tmp_path / "kafka.sqlite"
    source = KafkaRangeSource(section, SourceFile.open(path), [OffsetRange(topic, 0, 0, end)])
    real.delete_records(topic, 0, before=10)
    source.start(None)  # type: ignore[arg-type]
    read: list[int] = []
    try:
        while True:
            chunk = source.poll(0.1)
            if chunk is not None:
                read += chunk.positions
                n = len(chunk.positions)
                counts = Counts(received=n, inserted=n)
                source.commit(Commit("kafka", chunk.partition, chunk.positions[-1], {topic: Tally(counts, counts)}))
    except SourceFinishedError:
        pass
    source.close(10)
    assert read == left
    assert source.expired == min(end, 10)
    assert source.done == source.total == end
    (incident,) = read_statement(path, lambda row: None).incidents
    assert f"{topic}[0]: the data from offset 0 to before {min(end, 10)} had expired" in incident
