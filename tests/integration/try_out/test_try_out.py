"""`record`, `preview`, `init` with real brokers and the local Clarify: they listen beside the connector and disturb
nobody, and on a large capture preview shows a progress bar and stays small."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from confluent_kafka import Consumer, Producer, TopicPartition

from connector.clarify import Client, Signal
from connector.commands.cli import main
from connector.mapping.time.times import format_time
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.tap import KafkaTap
from connector.sources.tap import TapError
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.integration.kafka_topics import kafka_source
from tests.kafka_brokers import KafkaBroker, MockKafka
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secret_search import SearchedCommands
from tests.secrets_used import MQTT_PASSWORD as SECRET
from tests.waiting import wait_until

MAPPING = """
mapping:
  rules:
    - topic: plant/{machine}
      name: "{machine} {field}"
      unit: bar
"""


class Command:
    """A command that listens, in a process of its own."""

    def __init__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "connector", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def finish(self, status: int = 0) -> tuple[str, str]:
        """(output, errors), when it ends by itself."""
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == status, errors + output
        assert "Traceback" not in errors
        return output, errors


def here(*arguments: str | Path, status: int = 0, env: dict[str, str] | None = None) -> tuple[str, str]:
    """(output, errors) of a command in this process, which is quicker: for those that end by themselves."""
    try:
        result = SearchedCommands(env=env).invoke(main, [str(argument) for argument in arguments])
    finally:
        structlog.reset_defaults()
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


def subscribed(broker: Mosquitto, client: str) -> bool:
    """Mosquitto with `log_type all` names the subscriptions."""
    return re.search(rf"Received SUBSCRIBE from {client}", broker.log()) is not None


@pytest.fixture
def talkative() -> Iterator[Mosquitto]:
    """A broker that says who subscribes and how."""
    with Mosquitto(settings="log_type all\nconnection_messages true") as broker:
        yield broker


def write_config(folder: Path, broker: Mosquitto, topics: str = '"#"', more: str = "", mapping: str = MAPPING) -> Path:
    file = folder / "listen.yaml"
    source = f"  - {{type: mqtt, name: plant, url: 'mqtt://127.0.0.1:{broker.port}', topics: [{topics}]{more}}}"
    file.write_text(f"clarify: {{credentials: nowhere.json}}\nsources:\n{source}\nstate_dir: state\n{mapping}")
    return file


STAMP = int(time.time()) - 3600
"""Seconds; Kafka discards what is older than its retention."""
TAP = "clarify-connector-tap-[0-9a-f]+"


@pytest.mark.parametrize("more", ["", ", qos: 0", ", protocol: '3.1.1'"])
def test_what_is_recorded_is_what_came(talkative: Mosquitto, tmp_path: Path, more: str) -> None:
    config = write_config(tmp_path, talkative, more=more)
    capture = tmp_path / "capture.ndjson"
    with Publisher(talkative.port) as publisher:
        publisher.raw("plant/kept", b"7", retain=True)
        publisher.wait_acknowledged()
        command = Command("record", config, capture, "--count", "4", "--for", "30s")
        wait_until(lambda: subscribed(talkative, TAP), 20, "it listens")
        for payload in (b'{"v": 1}', b"\xff\x00", "ø".encode()):
            publisher.raw("plant/a", payload)
        command.finish()
    lines = [json.loads(line) for line in capture.read_text().splitlines()]
    assert [line["topic"] for line in lines] == ["plant/kept"] + ["plant/a"] * 3
    assert [line.get("payload_text") for line in lines] == ["7", '{"v": 1}', None, "ø"]
    assert lines[2]["payload_base64"] == "/wA="
    assert [line.get("retained", False) for line in lines] == [True, False, False, False]
    assert {(line["source"], line["time_kind"]) for line in lines} == {("plant", "arrival")}
    assert capture.stat().st_mode & 0o077 == 0
    wait_until(lambda: re.search(rf"Client {TAP} disconnected", talkative.log()), 10, "its session is gone")


def test_a_live_connector_and_its_group_lose_nothing(talkative: Mosquitto, tmp_path: Path) -> None:
    """A shared subscription hands each message to one member: a listener must not be one."""
    with SandboxServer(rate_limiter="off") as sandbox:
        source = (
            f"  - {{type: mqtt, url: 'mqtt://127.0.0.1:{talkative.port}', topics: ['$share/g/plant/#'], client_id: me}}"
        )
        with ConnectorProcess(tmp_path, sandbox.credentials_path, source, "delivery: {max_delay: 100ms}") as connector:
            connector.start()
            command = Command("preview", connector.config, "--live", "30s", "--count", "50", "--json", "--no-clarify")
            wait_until(lambda: subscribed(talkative, TAP), 20, "it listens")
            with Publisher(talkative.port) as publisher:
                for n in range(50):
                    publisher.publish(f"plant/{n % 3}")
                publisher.wait_acknowledged()
                output, _ = command.finish()
                wait_until(lambda: sandbox.count_samples() == 50, 20, "all of it arrived")
            assert json.loads(output)["messages"]["received"] == 50
            assert connector.stop() == 0
    assert "already connected" not in talkative.log()


def test_ctrl_c_ends_the_listening_and_keeps_what_came(talkative: Mosquitto, tmp_path: Path) -> None:
    capture = tmp_path / "capture.ndjson"
    command = Command("record", write_config(tmp_path, talkative), capture, "--for", "1h")
    wait_until(lambda: subscribed(talkative, TAP), 20, "it listens")
    with Publisher(talkative.port) as publisher:
        publisher.raw("plant/a", b"1")
        publisher.wait_acknowledged()
        wait_until(capture.exists, 20, "it came")
        command.process.send_signal(signal.SIGINT)
        _, errors = command.finish()
    assert "1 messages" in errors
    assert len(capture.read_text().splitlines()) == 1


def test_a_broker_that_is_not_there_or_ends_is_one_clear_error(talkative: Mosquitto, tmp_path: Path) -> None:
    capture = tmp_path / "capture.ndjson"
    config = write_config(tmp_path, talkative, more=f", username: me, password: {SECRET}")
    command = Command("record", config, capture, "--for", "1h")
    wait_until(lambda: subscribed(talkative, TAP), 20, "it listens")
    with Publisher(talkative.port) as publisher:
        publisher.raw("plant/a", b"1")
        publisher.wait_acknowledged()
        wait_until(capture.exists, 20, "it came")
    talkative.kill()
    _, errors = command.finish(1)
    assert "source plant: the connection was lost" in errors
    assert f"1 messages are in {capture}" in errors
    _, errors = here("record", config, tmp_path / "second", "--for", "1s", status=1)
    assert "connection refused" in errors
    assert not (tmp_path / "second").exists()
    assert SECRET not in errors + capture.read_text()


def test_a_capture_that_exists_is_kept(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config, capture = write_config(tmp_path, mosquitto), tmp_path / "capture.ndjson"
    capture.write_text("mine\n")
    assert (
        "use --append to add to the file, or --force to replace the file"
        in here("record", config, capture, "--count", "1", status=1)[1]
    )
    with Publisher(mosquitto.port) as publisher:
        publisher.raw("plant/a", b"1", retain=True)
        publisher.wait_acknowledged()
        here("record", config, capture, "--count", "1", "--append")
        assert len(capture.read_text().splitlines()) == 2
        here("record", config, capture, "--count", "1", "--force")
        assert len(capture.read_text().splitlines()) == 1
        assert json.loads(here("record", config, "-", "--count", "1")[0])["payload_text"] == "1"


def test_init_listens_and_writes_what_preview_and_check_take(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with Publisher(mosquitto.port) as publisher:
        for n in range(3):
            publisher.raw(f"plant/line{n}/press", json.dumps({"ts": 1_790_000_000, "pressure": n}), retain=True)
        publisher.raw("home/lamp", b"a word or two", retain=True)
        publisher.wait_acknowledged()
    config, capture = tmp_path / "connector.yaml", tmp_path / "capture.ndjson"
    address = f"mqtt://me@127.0.0.1:{mosquitto.port}"
    arguments = ["init", address, "--count", "4", "--output", str(config), "--save", str(capture)]
    _, errors = here(*arguments, env={"MQTT_PASSWORD": SECRET})
    assert "1 rules, 3 signals or more, from 4 messages on 4 topics" in errors
    assert "not mapped yet: 1 topics, such as 'home/lamp', become dead letters" in errors
    written = config.read_text()
    assert 'topic: "plant/{line}/press"' in written
    assert 'password: "${MQTT_PASSWORD}"' in written
    assert SECRET not in written + capture.read_text() + errors
    output, _ = here("preview", config, "--input", capture, "--json", "--no-clarify")
    assert [signal["input"] for signal in json.loads(output)["signals"]] == [
        f"plant/line{n}/press:pressure" for n in range(3)
    ]


# -- Kafka -----------------------------------------------------------------------------------------


def kafka_config(folder: Path, kafka: KafkaBroker, topic: str) -> Path:
    file = folder / "listen.yaml"
    file.write_text("clarify: {credentials: nowhere.json}\nsources:\n" + kafka_source(kafka, topic))
    return file


def produce(kafka: KafkaBroker, topic: str, numbers: range, **more: Any) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for n in numbers:
        producer.produce(topic, json.dumps({"v": n}), key=f"k{n}", partition=n % 2, timestamp=STAMP * 1000 + n, **more)
    assert producer.flush(20) == 0


def test_kafka_is_read_beside_the_group(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka.create_topic(topic, 2)
    produce(kafka, topic, range(20), headers=[("unit", b"bar")])
    config, capture = kafka_config(tmp_path, kafka, topic), tmp_path / "capture.ndjson"
    here("record", config, capture, "--from-beginning", "--count", "20", "--for", "60s")
    lines = sorted(
        (json.loads(line) for line in capture.read_text().splitlines()), key=lambda line: line["key"][1:].zfill(2)
    )
    assert [json.loads(line["payload_text"])["v"] for line in lines] == list(range(20))
    assert lines[7]["key"] == "k7"
    assert lines[7]["headers"] == [["unit", "bar"]]
    assert (lines[7]["time"], lines[7]["time_kind"]) == (format_time(STAMP * 10**6 + 7000), "create_time")
    assert lines[7]["received"] > lines[7]["time"]
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    committed = consumer.committed([TopicPartition(topic, p) for p in range(2)], timeout=20)
    consumer.close()
    assert [partition.offset for partition in committed] == [-1001, -1001]


def test_kafka_from_now_on(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka.create_topic(topic, 2)
    produce(kafka, topic, range(20))
    command = Command(
        "preview", kafka_config(tmp_path, kafka, topic), "--live", "40s", "--count", "1", "--json", "--no-clarify"
    )
    stop = threading.Event()

    def go_on() -> None:
        n = 100
        while not stop.wait(0.2):
            produce(kafka, topic, range(n, n + 1))
            n += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        output, _ = command.finish()
    finally:
        stop.set()
        writer.join()
    [signal_] = json.loads(output)["signals"]
    assert signal_["last_value"] >= 100


def test_a_topic_that_is_not_there(kafka: KafkaBroker, tmp_path: Path) -> None:
    config = kafka_config(tmp_path, kafka, "nowhere-to-be-found")
    _, errors = here("record", config, tmp_path / "c", "--for", "1s", status=1)
    assert "no topic matches nowhere-to-be-found" in errors


# -- beside what Clarify has -----------------------------------------------------------------------


def test_signals_are_compared_with_those_of_clarify(tmp_path: Path) -> None:
    capture = tmp_path / "capture.ndjson"
    capture.write_text(
        "".join(json.dumps({"topic": f"plant/{m}", "payload": {"v": 1}}) + "\n" for m in ("new", "changed", "same"))
    )
    with SandboxServer(rate_limiter="off") as sandbox:
        file = tmp_path / "c.yaml"
        shutil.copy(sandbox.credentials_path, tmp_path / "credentials.json")
        file.write_text(
            "clarify: {credentials: credentials.json}\n"
            f"sources: [{{type: mqtt, url: 'mqtt://h', topics: ['#']}}]\n{MAPPING}"
            "      gap_detection: 5m\n      sample_interval: 90s\n"
        )
        durations = {"gapDetection": "PT5M", "sampleInterval": "PT90S"}
        with Client(sandbox.credentials_path) as client:
            client.save_signals(
                signals_by_input={
                    "plant/changed:v": Signal(name="by hand", eng_unit="bar", **durations),
                    "plant/same:v": Signal(name="same v", eng_unit="bar", **durations),
                }
            )
        output, _ = here("preview", file, "--input", capture, "--json")
        text, _ = here("preview", file, "--input", capture)
    found = json.loads(output)
    assert {signal["input"]: signal["status"] for signal in found["signals"]} == {
        "plant/new:v": "created",
        "plant/changed:v": "changed",
        "plant/same:v": "unchanged",
    }
    assert found["clarify"]["changed"] == {"plant/changed:v": {"name": {"before": "by hand", "after": "changed v"}}}
    assert "1 would be created, 1 changed, 1 stay unchanged" in text
    assert "changed: name" in text
    output, _ = here("preview", file, "--input", capture, "--json")
    assert "refused" in json.loads(output)["clarify"]["not_compared"]  # it is gone: said so, and no error


# -- a large capture -------------------------------------------------------------------------------


MEASURED = """
import atexit, pathlib, re, sys
out = pathlib.Path(sys.argv.pop(1))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: out.write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]))
from connector.commands.cli import main
main()
"""
"""The command line, with the most memory that it ever had, in KiB, in a file. (What the kernel says of a child counts
what its parent had.)"""


def test_ten_thousand_messages_with_a_progress_bar_in_little_memory(tmp_path: Path) -> None:
    capture, config = tmp_path / "capture.ndjson", tmp_path / "c.yaml"
    with capture.open("w") as out:
        for n in range(10_000):
            values = {f"value{i}": n * i / 7 for i in range(10)}
            payload = json.dumps({"ts": 1_790_000_000 + n / 10, **values, "text": "x" * 500})
            out.write(json.dumps({"topic": f"plant/m{n % 200}", "payload_text": payload}) + "\n")
    config.write_text(
        f"clarify: {{credentials: nowhere.json}}\nsources: [{{type: mqtt, url: 'mqtt://h', topics: ['#']}}]\n{MAPPING}"
    )
    command = [
        sys.executable,
        "-c",
        MEASURED,
        str(tmp_path / "peak.txt"),
        "preview",
        str(config),
        "--input",
        str(capture),
    ]
    terminal, its_end = pty.openpty()
    with (tmp_path / "out.txt").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=its_end, start_new_session=True)
    os.close(its_end)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    process.wait(60)
    text = (tmp_path / "out.txt").read_text()
    assert process.returncode == 0, text
    assert "10000: 10000 mapped" in text
    assert b"100%" in shown
    assert len(set(re.findall(rb"(\d+)%", shown))) > 3
    peak = int((tmp_path / "peak.txt").read_text())
    print(f"peak: {peak / 1024:.0f} MiB")
    assert peak < 200 * 1024


def test_brokers_that_go_away_end_the_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.sources.kafka.tap._TROUBLE_SECONDS", 0.5)
    monkeypatch.setattr("connector.sources.kafka.range._QUERY_SECONDS", 1.0)
    kafka = MockKafka()
    kafka.create_topic("t", 2)
    settings = {"type": "kafka", "bootstrap_servers": kafka.bootstrap, "topics": ["t"], "group_id": "g"}
    tap = KafkaTap(KafkaSection.model_validate({**settings, "security": "plaintext"}))
    try:
        assert tap.poll(0.1) == []
        assert tap.listening()
        kafka.close()
        with pytest.raises(TapError, match="source kafka: the brokers cannot be asked"):
            wait_until(lambda: tap.poll(0.1), 60, "it is noticed")
    finally:
        tap.close()
