"""What is measured. A scenario runs one candidate once, and returns its figures.

A backlog is there before it is read: the program is ready and has stored a first message of each machine, and stands
still (SIGSTOP) while the broker's queue fills. So neither its start nor the publisher is measured.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import trustme
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.peers.candidates import BARE, OURS, TELEGRAF, TUNED, Work, command, connector_program
from benchmarks.peers.process import NullClarify, Program
from benchmarks.peers.publish import TOPICS, VALUES, apart
from tests.brokers import Mosquitto
from tests.kafka_brokers import Kafka
from tests.ports import free_port

Row = Mapping[str, float]
_PARTITIONS: Final = 6
_PATIENCE: Final = 45.0
"""Seconds without a new sample after which a candidate is stuck; Telegraf flushes every ten seconds by default."""
_RETRIES: Final = 5
"""So many requests that were too large in turn, and the candidate is stuck."""
_LONGEST_PAUSE: Final = 9.0
"""Seconds. Telegraf's member of a Kafka group is given up after ten."""
_LOG: Final = "log_type error\nlog_type warning\nlog_type subscribe\n"


class StuckError(Exception):
    """The candidate does not store what was published."""


@dataclass(frozen=True)
class Bench:
    """What all scenarios share."""

    folder: Path
    null: NullClarify
    messages: int
    """Of a backlog."""
    seconds: float
    """Of a steady rate."""
    kafka: Kafka | None


class Mqtt(NamedTuple):
    """A candidate that has subscribed."""

    program: Program
    config: Path
    port: int
    """Of the broker, without TLS."""
    subscribed: float
    """Seconds since the program was started."""


def backlog(bench: Bench, candidate: str, *, properties: bool = False, tls: bool = False) -> Row:
    """MQTT messages that the broker holds."""
    with _mqtt(bench, candidate, tls=tls) as mqtt:
        _make_known(bench, mqtt)
        mqtt.program.pause()
        _publish(mqtt.port, bench.messages, properties=properties).communicate()
        return _drained(bench, mqtt.program, bench.messages, mqtt.program.resume)


def live(bench: Bench, candidate: str) -> Row:
    """MQTT messages that are published as fast as the broker takes them."""
    with _mqtt(bench, candidate) as mqtt:
        _make_known(bench, mqtt)
        return _drained(bench, mqtt.program, bench.messages, lambda: _publish(mqtt.port, bench.messages))


def steady(bench: Bench, candidate: str, *, rate: float) -> Row:
    """So many MQTT messages a second, each with a time of its own."""
    count = round(bench.seconds * rate)
    with _mqtt(bench, candidate, own_clocks=rate >= 1000) as mqtt:
        _make_known(bench, mqtt, 2)  # the second message shows that the first one's shape stays
        bench.null.reset()
        cpu = mqtt.program.cpu()
        took = float(_publish(mqtt.port, count, rate=rate).communicate()[0])
        stats = _stored(bench, mqtt.program, VALUES * count)
        return {
            "cpu_percent": 100 * (mqtt.program.cpu() - cpu) / took,
            "rate": count / took,
            **{name: float(stats[name]) for name in ("delay_p50", "delay_p99", "inserts", "saves")},
            "megabytes": stats["bytes"] / 1e6,
            "memory_mb": mqtt.program.memory(),
        }


def start(bench: Bench, candidate: str) -> Row:
    """From exec to subscribed; at rest; and our command `health`."""
    with _mqtt(bench, candidate) as mqtt:
        cpu = mqtt.program.cpu()
        time.sleep(3)
        found = {"start_seconds": mqtt.subscribed, "start_cpu": cpu, "idle_mb": mqtt.program.memory()}
        if candidate == OURS:
            found["health_seconds"] = statistics.median(_health(mqtt.config) for _ in range(3))
        return found


def kafka(bench: Bench, candidate: str) -> Row:
    """Records of Kafka in six partitions, as many as there are messages of MQTT."""
    assert bench.kafka is not None
    broker, records = bench.kafka, bench.messages
    topic = f"{candidate}-{time.monotonic_ns()}"
    broker.create_topic(topic, _PARTITIONS)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic})
    consumer.commit(offsets=[TopicPartition(topic, n, 0) for n in range(_PARTITIONS)], asynchronous=False)
    consumer.close()
    payloads = [apart(i) for i in range(records)]
    with _folder(bench) as folder:
        if candidate == BARE:
            module = ["-m", "benchmarks.peers.bare_kafka", broker.bootstrap, topic, str(_PARTITIONS), str(records)]
            words = [sys.executable, *module]
        else:
            words = command(candidate, Work(folder, bench.null.credentials, bootstrap=broker.bootstrap, topic=topic))
        bench.null.reset()
        with closing(Program(words, folder / "log.txt")) as program:
            _produce(broker, topic, [apart(records + n) for n in range(_PARTITIONS)])  # each partition is read
            if candidate == BARE:
                _wait(program, lambda: program.lines() == 1)
            else:
                _stored(bench, program, VALUES * _PARTITIONS)
            program.pause()
            paused = time.monotonic()
            _produce(broker, topic, payloads)
            if time.monotonic() - paused > _LONGEST_PAUSE:
                raise StuckError("the machine was too busy to write the records in time; try --messages")
            if candidate != BARE:
                return _drained(bench, program, records, program.resume)
            cpu, began = program.cpu(), time.perf_counter()
            program.resume()
            _wait(program, lambda: program.lines() == 2)
            seconds = time.perf_counter() - began
            return {"cpu_us": (program.cpu() - cpu) / records * 1e6, "per_second": records / seconds}


class Scenario(NamedTuple):
    """A scenario, and who takes part."""

    run: Callable[[Bench, str], Row]
    candidates: tuple[str, ...]
    needs_kafka: bool = False


_ALL: Final = (OURS, TELEGRAF, TUNED)
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "backlog": Scenario(backlog, _ALL),
    "properties": Scenario(partial(backlog, properties=True), (OURS, TUNED)),
    "properties-tls": Scenario(partial(backlog, properties=True, tls=True), (OURS, TUNED)),
    "live": Scenario(live, _ALL),
    "steady-100": Scenario(partial(steady, rate=100), _ALL),
    "steady-1000": Scenario(partial(steady, rate=1000), _ALL),
    "kafka": Scenario(kafka, (OURS, TUNED, BARE), needs_kafka=True),
    "start": Scenario(start, (OURS, TELEGRAF)),
}


# -- parts ------------------------------------------------------------------------------------------------------------


@contextmanager
def _folder(bench: Bench) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _mqtt(bench: Bench, candidate: str, *, tls: bool = False, own_clocks: bool = False) -> Iterator[Mqtt]:
    port, secure = free_port(), free_port()
    with _folder(bench) as folder:
        settings, ca_file = f"{_LOG}listener {port} 127.0.0.1\n", None
        if tls:
            ca_file = _issue(folder)
            settings += f"listener {secure} 127.0.0.1\ncafile {ca_file}\n"
            settings += f"certfile {folder}/server.pem\nkeyfile {folder}/server.pem\n"
        with Mosquitto(settings=settings, port=port) as broker:
            work = Work(folder, bench.null.credentials, secure if tls else port, ca_file, own_clocks=own_clocks)
            words = command(candidate, work)
            with closing(Program(words, folder / "log.txt")) as program:
                _wait(program, lambda: "plant/#" in broker.log())
                yield Mqtt(program, Path(words[-1]), port, time.perf_counter() - program.began)


def _issue(folder: Path) -> Path:
    """The authority's certificate; the server's, with its key, is in server.pem."""
    folder.chmod(0o755)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "server.pem")
    )
    return folder / "ca.pem"


def _make_known(bench: Bench, mqtt: Mqtt, messages: int = 1) -> None:
    """Let the first messages of each machine be stored, which makes its signals known."""
    bench.null.reset()
    _publish(mqtt.port, messages * len(TOPICS), first=0).communicate()
    _stored(bench, mqtt.program, messages * VALUES * len(TOPICS))


def _publish(
    port: int, count: int, *, first: int = len(TOPICS), rate: float = 0.0, properties: bool = False
) -> subprocess.Popen[str]:
    words = [str(port), str(first), str(count), str(rate), "yes" if properties else "no"]
    module = [sys.executable, "-m", "benchmarks.peers.publish"]
    return subprocess.Popen([*module, *words], stdout=subprocess.PIPE, text=True)


def _produce(broker: Kafka, topic: str, payloads: list[bytes]) -> None:
    settings = {"bootstrap.servers": broker.bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
    producer = Producer(settings)
    for i, body in enumerate(payloads):
        producer.produce(topic, body, partition=i % _PARTITIONS)
    assert producer.flush(120) == 0


def _drained(bench: Bench, program: Program, count: int, begin: Callable[[], object]) -> Row:
    bench.null.reset()
    cpu, began = program.cpu(), time.perf_counter()
    begun = begin()
    stats = _stored(bench, program, VALUES * count)
    seconds = time.perf_counter() - began
    time.sleep(0.5)  # what follows an insert belongs to the message, too
    if isinstance(begun, subprocess.Popen):
        begun.communicate()
    return {
        "cpu_us": (program.cpu() - cpu) / count * 1e6,
        "per_second": count / seconds,
        "inserts": stats["inserts"],
        "saves": stats["saves"],
        "megabytes": stats["bytes"] / 1e6,
        "peak_mb": program.peak(),
    }


def _stored(bench: Bench, program: Program, samples: int) -> Mapping[str, float]:
    """The counts when so many samples are stored. Raises StuckError if there is no progress."""
    most, since = 0, time.monotonic()
    while True:
        stats = bench.null.stats()
        if stats["samples"] >= samples:
            return stats
        if stats["samples"] > most:
            most, since = stats["samples"], time.monotonic()
        silent = time.monotonic() - since
        if program.ended or silent > _PATIENCE or (stats["too_large"] >= _RETRIES and silent > _PATIENCE / 3):
            refused = f", {stats['too_large']} requests beyond 8 MiB" if stats["too_large"] else ""
            raise StuckError(f"{most} of {samples} samples stored{refused}; {program.said()}")
        time.sleep(0.05)


def _wait(program: Program, is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_done():
        if program.ended or time.monotonic() > until:
            raise StuckError(program.said())
        time.sleep(0.005)


def _health(config: Path) -> float:
    began = time.perf_counter()
    subprocess.run([str(connector_program()), "health", str(config)], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
