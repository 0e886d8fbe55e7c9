"""Records a second and CPU a record from Kafka to the pending columns, against a bare loop.

The bare loop does `consume(1000)`, `orjson.loads` and two dictionary look-ups a record. The connector's path is
what its intake thread does: consume, make records, decode, map, keep the books, add to the columns; whenever
90,000 records wait, columns and books are begun anew, as when a sender takes them. Both have the same consumer
settings and read the same records of the same Apache Kafka, in turns, each in a process of its own; the medians
are compared. Then two members of one group, with half of the partitions each, against one member alone: ours, two
bare loops, and two processes that do nothing but `orjson.loads`, which says how much more the machine itself does with
two. Every group has its positions beforehand, so that reading is measured and not the search for a first position; and
the topic holds more than is read, so that nobody's last batch waits to be filled.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from connector.dead_letters.letter import DeadLetter
from connector.delivery.load import PackingAccount
from connector.formats.sparkplug.nodes import TimelineChange
from connector.ledger.progress import Progress
from connector.ledger.source_file import SourceFile
from connector.mapping.mapper import Mapper
from connector.mapping.signals.input_ids import Collision, Origin, Rename
from connector.mapping.sparkplug import NodeEvent
from connector.mapping.time.clock_skew import Skew
from connector.observe.logs import configure_logs
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.pipeline.destination import Integration
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.under_way import Limits
from connector.records import SignalMetadata
from connector.runtime.connector import calm_collector
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import consumer_settings
from connector.sources.kafka.source import KafkaSource
from tests.kafka_brokers import need_kafka

TOPIC: Final = "bench"
PARTITIONS: Final = 6
_OPEN: Final = 90_000
_LEFT_OVER: Final = 2000 * PARTITIONS
"""Records in the topic that nobody has to read: `consume` waits for a full batch until its time is over."""
_SPUN: Final = 3_000_000


def payload(i: int) -> bytes:
    """A reading of two values, about 50 bytes."""
    return b'{"temperature":%d.%02d,"pressure":%d.5}' % (20 + i % 60, i % 100, 1000 + i % 30)


def _section(bootstrap: str, group: str) -> KafkaSection:
    return KafkaSection.model_validate(
        {"type": "kafka", "bootstrap_servers": bootstrap, "topics": [TOPIC], "group_id": group, "security": "plaintext"}
    )


class _Meter:
    """Time and CPU from the first record on."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._seen = 0
        self._began = self._cpu = 0.0
        self._last = time.monotonic()

    def count(self, n: int) -> bool:
        """Whether there is more to come. A group of two cannot know which part is its own: it waits a little."""
        now = time.monotonic()
        if n:
            if not self._began:
                self._began, self._cpu = now, _cpu()
            self._seen += n
            self._last = now
            self._ended, self._ended_cpu = time.monotonic(), _cpu()
        return self._seen < self._wanted and (not self._began or now - self._last < 2.0)

    def result(self) -> dict[str, float]:
        seconds = self._ended - self._began
        return {
            "records": self._seen,
            "began": self._began,
            "ended": self._ended,
            "per_second": self._seen / seconds,
            "cpu_us": (self._ended_cpu - self._cpu) / self._seen * 1e6,
        }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bare(bootstrap: str, group: str, records: int) -> dict[str, float]:
    """The least that anybody would do."""
    consumer = Consumer(consumer_settings(_section(bootstrap, group)) | {"auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    meter = _Meter(records)
    ids = {"temperature": "a", "pressure": "b"}
    n = 0
    while meter.count(n):
        messages = consumer.consume(1000, 0.2)
        n = len(messages)
        for message in messages:
            value: dict[str, float] = orjson.loads(message.value())  # type: ignore[arg-type]
            ids.get("temperature"), value.get("temperature")
    consumer.close()
    return meter.result()


def spin(_bootstrap: str, _group: str, records: int) -> dict[str, float]:
    """The processor alone: no broker, no memory to speak of."""
    body = payload(0)
    meter = _Meter(records)
    n = 1
    while meter.count(n):
        n = 1000
        for _ in range(n):
            orjson.loads(body)
    return meter.result()


class _Nothing:
    """What the pipeline tells others, here nobody."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        raise AssertionError(letters)

    def claimed(self, claims: list[tuple[str, Origin]]) -> None: ...

    def collided(self, collisions: list[Collision]) -> None:
        raise AssertionError(collisions)

    def discovered(self, signals: list[tuple[str, SignalMetadata]]) -> None: ...
    def packed(self, account: PackingAccount) -> None: ...

    def learned(self, states: list[tuple[str, str, int]]) -> None: ...

    def renamed(self, renames: list[Rename]) -> None: ...

    def births(self, source: str, said: list[TimelineChange]) -> None: ...

    def noted(self, notes: list[NodeEvent]) -> None: ...

    def clocks_off(self, skews: list[Skew]) -> None: ...

    def windows_done(self, done: Mapping[str, int]) -> None: ...

    def insert_encoded(self, data_json: bytes) -> Any:
        raise AssertionError(f"nothing is sent here, {len(data_json)} bytes")


def path(bootstrap: str, group: str, records: int) -> dict[str, float]:
    """The connector's intake."""
    configure_logs("warning", "text")
    with tempfile.TemporaryDirectory() as folder:
        source = KafkaSource(_section(bootstrap, group), SourceFile.open(Path(folder) / "kafka.sqlite"))
        nothing = _Nothing()
        limits = Limits(3600.0, 10**12, 10**9)
        pipeline = Pipeline([source], Mapper(), [Integration(nothing, limits, 1.0)], plan_frame, nothing, nothing)
        source.start(pipeline)
        calm_collector()
        meter = _Meter(records)
        n = 0
        while meter.count(n):
            chunk = source.poll(0.2)
            n = 0
            if chunk is not None:
                pipeline.intakes.of(chunk.source).take_in(chunk)
                n = len(chunk.records)
                if pipeline.status.waiting()[0] >= _OPEN:
                    held = pipeline._under_way
                    held._progress = Progress()
                    for lane in held.lanes.values():
                        lane.pending = Pending()
        source.close(5)
        return meter.result()


ROLES: Final = {"bare": bare, "path": path, "spin": spin}


def _run(role: str, bootstrap: str, group: str, records: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.kafka_path", role, bootstrap, group, str(records)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _result(process: subprocess.Popen[str]) -> dict[str, float]:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found: dict[str, float] = json.loads(text)
    return found


def _write(bootstrap: str, records: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 2_000_000})
    for i in range(records):
        producer.produce(TOPIC, payload(i), partition=i % PARTITIONS)
        if i % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def _begin_at_zero(bootstrap: str, group: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)], asynchronous=False)
    consumer.close()


def compare(records: int, rounds: int) -> dict[str, Any]:
    """Medians and ratios."""
    with need_kafka({"group.initial.rebalance.delay.ms": "3000"}) as kafka:  # two members join before either reads
        kafka.create_topic(TOPIC, PARTITIONS)
        _write(kafka.bootstrap, records + _LEFT_OVER)
        results: dict[str, list[dict[str, float]]] = {"bare": [], "path": []}
        for i in range(rounds):
            for role, found in results.items():
                _begin_at_zero(kafka.bootstrap, f"{role}-{i}")
                found.append(_result(_run(role, kafka.bootstrap, f"{role}-{i}", records)))
        medians = {
            role: {key: statistics.median(r[key] for r in found) for key in ("per_second", "cpu_us")}
            for role, found in results.items()
        }
        pairs: dict[str, list[float]] = {role: [] for role in ROLES}
        for i in range(rounds):
            for role, gains in pairs.items():
                count = _SPUN if role == "spin" else records
                gains.append(_pair(role, kafka.bootstrap, f"{role}-pair-{i}", count))
    return {
        "what": "records from Kafka to the pending columns against consume(1000) + orjson.loads + two look-ups",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "records": records,
        "rounds": rounds,
        **{role: {key: round(value, 2) for key, value in found.items()} for role, found in medians.items()},
        "rate_ratio": round(medians["path"]["per_second"] / medians["bare"]["per_second"], 3),
        "cpu_ratio": round(medians["bare"]["cpu_us"] / medians["path"]["cpu_us"], 3),
        "two_members_against_one": round(statistics.median(pairs["path"]), 2),
        "two_bare_loops_against_one": round(statistics.median(pairs["bare"]), 2),
        "two_processes_without_kafka_against_one": round(statistics.median(pairs["spin"]), 2),
    }


def _pair(role: str, bootstrap: str, group: str, records: int) -> float:
    """Two members of one group against one alone."""
    for name in (group, f"{group}-alone"):
        _begin_at_zero(bootstrap, name)
    alone = _result(_run(role, bootstrap, f"{group}-alone", records))
    both = [_run(role, bootstrap, group, records // 2) for _ in range(2)]
    results = [_result(process) for process in both]
    read = [int(found["records"]) for found in results]
    assert min(read) >= records // 2, f"they did not share the partitions evenly: {read}"
    seconds = max(r["ended"] for r in results) - min(r["began"] for r in results)
    return sum(read) / seconds / alone["per_second"]


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print(json.dumps(ROLES[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        print(json.dumps(compare(300_000, 5), indent=1))
