"""Batches that become very large when they are unpacked: they are read, or the reason says which setting helps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connector.ledger.source_file import SourceFile
from connector.sources.kafka.range import open_range
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.source import KafkaSource
from connector.sources.range import OffsetRange, RangeAsked
from connector.sources.source import Source
from tests.kafka_brokers import KafkaBroker, RealKafka, need_real
from tests.scripted import ScriptedHandover
from tests.waiting import wait_until

RECORDS = 50
SIZE = 100_000
SMALL = 2_000_000
"""Bytes that an answer may have: less than a batch that is unpacked, more than one that is packed."""


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def topic_with_a_batch(kafka: RealKafka, codec: str) -> str:
    topic = f"batches-{codec}-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic)
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "compression.type": codec,
            "linger.ms": 10_000,  # flush ends it: all records in one batch
            "batch.size": 100_000_000,
            "message.max.bytes": 100_000_000,
        }
    )
    for _ in range(RECORDS):
        producer.produce(topic, b"x" * SIZE)
    assert producer.flush(30) == 0
    return topic


def section(kafka: RealKafka, topic: str, answer_bytes: int) -> KafkaSection:
    return KafkaSection.model_validate(
        {
            "type": "kafka",
            "bootstrap_servers": kafka.bootstrap,
            "topics": [topic],
            "group_id": topic,
            "security": "plaintext",
            "prefetch": "1MiB",
            "librdkafka": {"receive.message.max.bytes": answer_bytes},
        }
    )


def read_until_the_problem(source: Source, part: str) -> str:
    source.start(ScriptedHandover())

    def problem() -> str | None:
        assert source.poll(0.1) is None
        return next((found for found in source.problems() if part in found), None)  # type: ignore[attr-defined]

    wait_until(problem, 60, "a problem", every=0)
    return problem() or ""


def read_all(source: Source, records: int) -> None:
    source.start(ScriptedHandover())
    read: list[int] = []

    def polled() -> bool:
        chunk = source.poll(0.1)
        read.extend(chunk.positions if chunk else [])
        return len(read) >= records

    wait_until(polled, 60, "all records", every=0)


def test_a_zstd_batch_beyond_the_bound_names_the_setting_that_reads_it(
    kafka: KafkaBroker, tmp_path: Path, opened: ExitStack
) -> None:
    real = need_real(kafka)
    topic = topic_with_a_batch(real, "zstd")
    small, large = section(real, topic, SMALL), section(real, topic, 10 * SMALL)
    asked = RangeAsked(None, (OffsetRange(topic, 0, 0, RECORDS),))
    sources: list[Source] = [
        KafkaSource(small, SourceFile.open(tmp_path / "small.sqlite")),
        open_range(small, SourceFile.open(tmp_path / "range.sqlite"), asked),
    ]
    for source in sources:
        opened.callback(source.close, 10.0)
        said = read_until_the_problem(source, "receive.message.max.bytes")
        assert f"{topic}[0]: the batch at offset 0" in said
        assert f"now {SMALL}" in said
    again = open_range(large, SourceFile.open(tmp_path / "large.sqlite"), asked)
    opened.callback(again.close, 10.0)
    read_all(again, RECORDS)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4"])
def test_the_other_codecs_have_no_bound(kafka: KafkaBroker, tmp_path: Path, opened: ExitStack, codec: str) -> None:
    real = need_real(kafka)
    topic = topic_with_a_batch(real, codec)
    asked = RangeAsked(None, (OffsetRange(topic, 0, 0, RECORDS),))
    source = open_range(section(real, topic, SMALL), SourceFile.open(tmp_path / "kafka.sqlite"), asked)
    opened.callback(source.close, 10.0)
    read_all(source, RECORDS)
