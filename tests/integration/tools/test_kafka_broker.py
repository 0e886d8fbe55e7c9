"""The Kafka that the other tests rely on is one: it keeps records, over a crash too, for as long as it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.integration.kafka_topics import produce, read
from tests.kafka_brokers import KafkaBroker, NamedKafka, kcat_program, need_java, need_kafka, need_real
from tests.waiting import listens, wait_until


def test_what_is_produced_can_be_read(kafka: KafkaBroker) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka.create_topic(topic, 3)
    values = [str(number).encode() for number in range(100)]
    produce(kafka.bootstrap, topic, values)
    assert read({"bootstrap.servers": kafka.bootstrap}, topic, 100) == values


def test_another_program_reads_and_writes(kafka: KafkaBroker) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka.create_topic(topic)
    where = [kcat_program(), "-b", kafka.bootstrap, "-t", topic, "-p", "0"]
    written = [*where, "-P", "-K", "=", "-H", "unit=bar"]
    subprocess.run(written, input="k=4.2\n", text=True, check=True, timeout=30, capture_output=True)
    produce(kafka.bootstrap, topic, [b"4.3"])
    done = subprocess.run(
        [*where, "-C", "-o", "beginning", "-e", "-f", "%k|%s|%h\n"],
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["k|4.2|unit=bar", "|4.3|"]


def test_records_and_committed_offsets_outlive_a_stop_and_a_crash() -> None:
    with need_kafka() as kafka:
        kafka.create_topic("plant", 2)
        port = kafka.port
        reader = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "group", "log_level": 0})
        for round_, end in enumerate((kafka.kill, kafka.stop)):
            produce(kafka.bootstrap, "plant", [b"%d" % round_])
            reader.commit(offsets=[TopicPartition("plant", 0, round_ + 1)], asynchronous=False)
            end()
            with pytest.raises(KafkaException):
                kafka.admin().list_topics(timeout=1)
            kafka.start()
            assert kafka.port == port
            assert read({"bootstrap.servers": kafka.bootstrap}, "plant", round_ + 1) == [b"0", b"1"][: round_ + 1]
            (committed,) = reader.committed([TopicPartition("plant", 0)], timeout=20)
            assert committed.offset == round_ + 1
        reader.close()


def test_records_expire_when_told_and_by_age(kafka: KafkaBroker) -> None:
    real = need_real(kafka)
    if isinstance(real, NamedKafka):
        pytest.skip("needs a Kafka that looks for what has expired often, and KAFKA_BOOTSTRAP_SERVERS names another")
    told, aged = (f"{name}-{uuid.uuid4()}" for name in ("told", "aged"))
    real.create_topic(told)
    produce(real.bootstrap, told, [b"0", b"1", b"2"])
    real.delete_records(told, 0, before=2)
    settings = {"bootstrap.servers": real.bootstrap}
    assert read(settings, told, 1, offset=2) == [b"2"]
    with pytest.raises(AssertionError, match="_AUTO_OFFSET_RESET"):
        read(settings, told, 1, offset=0)
    real.create_topic(aged, 1, {"retention.ms": "500", "segment.ms": "100"})
    produce(real.bootstrap, aged, [b"0", b"1"])
    watcher = Consumer({**settings, "group.id": "watcher"})
    where = TopicPartition(aged, 0)
    wait_until(lambda: watcher.get_watermark_offsets(where, timeout=10) == (2, 2), 30, "both are gone", every=0.2)
    watcher.close()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, which Linux has")
def test_it_does_not_outlive_the_tests(tmp_path: Path) -> None:
    need_java()
    program = "from tests.kafka_brokers import Kafka; k = Kafka().start(); print(k.port, k.folder, flush=True); input()"
    ours = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ours.stdout
    port = int(ours.stdout.readline().split()[0])
    assert listens(port)
    ours.kill()
    ours.communicate(timeout=10)
    wait_until(lambda: not listens(port), 10, "the Kafka has ended too")


# -- fetching it --------------------------------------------------------------------------------------

MAVEN = """#!/bin/sh
echo run >> "$0.runs"
while [ ! -e "$0.go" ]; do sleep 0.05; done
[ ! -e "$0.broken" ] || { echo "no network"; exit 1; }
for word in "$@"; do case "$word" in -DoutputDirectory=*) folder="${word#*=}";; esac; done
mkdir "$folder" && echo jar > "$folder/kafka.jar"
"""


@pytest.fixture
def maven(tmp_path: Path) -> Path:
    """A program called mvn that counts its runs, and waits for a file before it copies a jar."""
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(MAVEN)
    program.chmod(0o755)
    return program


def fetch(maven: Path) -> subprocess.Popen[str]:
    """Ask for the jars in a process of its own, with an empty cache."""
    places = {"PATH": f"{maven.parent}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(maven.parents[1])}
    command = [sys.executable, "-m", "tests.kafka_brokers"]
    return subprocess.Popen(command, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def at_the_lock(process: subprocess.Popen[str]) -> bool:
    return any(file.path.endswith("kafka.lock") for file in psutil.Process(process.pid).open_files())


def test_jars_are_fetched_once_however_many_ask(maven: Path) -> None:
    processes = [fetch(maven) for _ in range(3)]
    wait_until(lambda: all(at_the_lock(process) for process in processes), 30, "all three want the jars")
    maven.with_suffix(".go").touch()
    said = {process.communicate(timeout=30)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert maven.with_suffix(".runs").read_text() == "run\n"
    (where,) = said
    assert (Path(where.split()[-1]) / "kafka.jar").read_text() == "jar\n"


def test_jars_that_did_not_come_are_asked_for_again(maven: Path) -> None:
    go, broken = maven.with_suffix(".go"), maven.with_suffix(".broken")
    go.touch()
    broken.touch()
    first = fetch(maven)
    assert "no network" in first.communicate(timeout=30)[1]
    assert first.returncode != 0
    broken.unlink()
    second = fetch(maven)
    assert "is in" in second.communicate(timeout=30)[0]
    assert second.returncode == 0
