"""`workers: 2` as users run it: two members of a group in one container, with a real Kafka, one of them killed."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Producer

from tests.brokers import Mosquitto, need_mosquitto
from tests.connector_process import ConnectorProcess, drain, run_command
from tests.integration.kafka_topics import committed, kafka_source
from tests.kafka_brokers import KafkaBroker, need_real
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

PARTITIONS = 4
START_MS = int(time.time() * 1000) - 3_600_000


sandbox = sandbox_fixture(requests_per_second=100)


def connector_for(kafka: KafkaBroker, topic: str, sandbox: SandboxServer, folder: Path) -> ConnectorProcess:
    kafka.create_topic(topic, PARTITIONS)
    source = kafka_source(kafka, topic, "session_timeout: 3s, drain_timeout: 2s")
    more = "workers: 2\ndelivery: {requests_per_second: 10, max_delay: 100ms}"
    return ConnectorProcess(folder, sandbox.credentials_path, source, more)


def produce(kafka: KafkaBroker, topic: str, numbers: range) -> None:
    """Number n is the value at n ms after the start of the input of its partition."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for n in numbers:
        partition = n % PARTITIONS
        value = json.dumps({"ts": START_MS + n, f"p{partition}": n}).encode()
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0


def shares(connector: ConnectorProcess) -> list[float]:
    metrics = connector.metrics()
    return [metrics.get(f'clarify_connector_request_share_ratio{{worker="{worker}"}}', -1.0) for worker in (1, 2)]


def produce_and_look(kafka: KafkaBroker, topic: str, numbers: range, connector: ConnectorProcess) -> None:
    """Produce, and see that the page /tap shows messages of both workers, each once, and that a mapping is tried on
    messages of both."""
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{connector.observe_port}", timeout=30, trust_env=False, verify=False
    )

    def ask(**parameters: object) -> dict[str, Any]:
        found: dict[str, Any] = client.get("/tap", params=parameters).json()  # type: ignore[arg-type]
        return found

    assert client.get("/workbench.json", params={"topic": topic}).json()["missing"] == []
    after = ask()["next"]
    shown: list[tuple[int, str, int]] = []

    def both() -> bool:
        nonlocal after
        answer = ask(after=after)
        after = answer["next"]
        shown.extend((one["worker"], one["partition"], one["position"]) for one in answer["messages"])
        return {worker for worker, _, _ in shown} == {1, 2}

    producing = threading.Thread(target=produce, args=(kafka, topic, numbers))
    producing.start()
    wait_until(both, 30, "messages of both workers are shown", every=0.1)
    producing.join()
    assert len(shown) == len(set(shown))

    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/workbench.json", params={"topic": topic}).json()
        return found

    wait_until(lambda: look()["kept"] >= 200, 30, "what was written last has come, too", every=0.1)
    bench = look()
    assert (bench["kept"], bench["missing"]) == (200, [])
    text = 'rules: [{topic: "#", input: "tried/{field}"}]'
    tried = client.post("/try.json", json={"topic": topic, "text": text}).json()
    assert (tried.get("messages"), tried["missing"]) == (200, []), tried
    client.close()


def positions(kafka: KafkaBroker, topic: str) -> list[int]:
    """The number of records of each partition that are committed."""
    return [max(0, offset) for offset in committed(kafka, topic, PARTITIONS)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_two_workers_share_partitions_and_rate_and_one_may_die(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path
) -> None:
    topic = "workers-share"
    with connector_for(kafka, topic, sandbox, tmp_path) as connector:
        connector.start()
        wait_until(lambda: shares(connector) == [0.5, 0.5], 30, lambda: f"each owns half\n{connector.log()}")
        metrics = connector.metrics()
        assert metrics['clarify_connector_allowed_requests_per_second{worker="1"}'] == 5.0
        assert metrics['clarify_connector_worker_up{worker="2"}'] == 1.0
        produce_and_look(kafka, topic, range(2000), connector)
        wait_until(lambda: sandbox.count_samples() == 2000, 30, "all of the first half")

        def received() -> list[float]:
            found = connector.metrics().items()
            return [
                sum(v for k, v in found if k.startswith("clarify_connector_kafka_received") and f'"{n}"' in k)
                for n in (1, 2)
            ]

        wait_until(lambda: received() == [1000, 1000], 30, "each received a half, as the metrics of a second ago say")

        # What is not committed yet would come again to the other one, whose ledger does not know it.
        wait_until(lambda: sum(positions(kafka, topic)) == 2000, 20, "all of it is committed", every=0.2)
        victim = children(connector.pid)[1]
        os.kill(victim, signal.SIGKILL)
        produce(kafka, topic, range(2000, 4000))
        wait_until(lambda: connector.readiness()[0] != 200, 10, "not ready while one is away")
        asked = run_command("health", connector.config)
        assert asked.returncode == 0, "the others work: a health check must not stop them\n" + asked.stdout
        wait_until(lambda: sandbox.count_samples() == 4000, 40, lambda: f"all\n{connector.log()}")
        wait_until(lambda: connector.readiness()[0] == 200, 30, "ready once more")
        wait_until(lambda: shares(connector) == [0.5, 0.5], 30, lambda: f"each owns half\n{connector.log()}")
        assert victim not in children(connector.pid)
        assert "worker_died" in connector.log()
        assert re.search(r"(?s) started\s.{,400}worker=2", connector.log()), "each line says which worker wrote it"

        workers = children(connector.pid)
        assert connector.stop() == 0, connector.log()
        assert all(gone(worker) for worker in workers)
        status, ledger = connector.ledger()
        assert status == 0, ledger
        account = ledger["sources"]["kafka"]
        # What the killed one had settled and not committed may have come again to the other, who cannot know it.
        assert 0 <= account["redelivered"] <= account["appended"] - 4000
        assert ledger["samples"]["inserted"] == ledger["samples"]["received"]
        assert (tmp_path / "state" / "worker-2" / "kafka.sqlite").exists()
        assert "Traceback" not in connector.log()
    values = {value for n in range(PARTITIONS) for _, value in sandbox.samples(f"{topic}:p{n}")}
    assert values == set(range(4000))


def look_at_the_status_page(connector: ConnectorProcess, topic: str) -> None:
    """The page has the data of both workers together."""

    def get(path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{connector.observe_port}{path}"
        return httpx.get(url, params=parameters, timeout=15, trust_env=False, verify=False)

    assert "text/html" in get("/").headers["content-type"]
    processes = get("/status.json").json()["processes"]
    assert [process["worker"] for process in processes] == [1, 2]
    assert sum(process["messages"]["received"] for process in processes) == 500
    wait_until(
        lambda: (
            sum(level["messages"]["inserted"] for level in get("/topics.json", source="kafka").json()["levels"]) == 400
        ),
        30,
        "the ledgers of both workers have all of Kafka",
        every=0.2,
    )
    signals = get("/signals.json", source="kafka", topic=topic).json()["signals"]
    assert [one["id"] for one in sorted(signals, key=lambda one: one["id"])] == [f"{topic}:p{n}" for n in range(4)]
    assert {one["last"]["value"] for one in signals} == {396, 397, 398, 399}, "each worker knows the values of its part"
    assert get("/dead-letters.json").json()["letters"] == []
    assert get("/dead-letters.json", id="x").status_code == 404


def test_two_workers_and_an_mqtt_source_that_the_first_one_reads(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path
) -> None:
    need_mosquitto()
    topic = "workers-both"
    with Mosquitto() as broker, connector_for(kafka, topic, sandbox, tmp_path) as connector:
        text = connector.config.read_text()
        mqtt = f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ['#']\n"
        connector.config.write_text(text.replace("sources:\n", f"sources:\n{mqtt}", 1))
        connector.start()
        # The first one reads all of MQTT and half of Kafka, the other one nothing and half: the means of the two.
        wait_until(lambda: shares(connector) == [0.75, 0.25], 30, lambda: f"each owns half\n{connector.log()}")
        with Publisher(broker.port) as publisher:
            for n in range(100):
                publisher.raw("plant/oven", json.dumps({"ts": START_MS + n, "t": n}))
            produce(kafka, topic, range(400))
            publisher.wait_acknowledged()
        wait_until(lambda: sandbox.count_samples() == 500, 30, lambda: f"all of both\n{connector.log()}")
        look_at_the_status_page(connector, topic)
        assert connector.stop() == 0, connector.log()
        status, ledger = connector.ledger()
        assert status == 0, ledger
        assert ledger["sources"]["mqtt"]["appended"] == 100
        assert ledger["sources"]["kafka"]["appended"] == 400
        assert ledger["samples"]["inserted"] == 500
        assert not (tmp_path / "state" / "worker-2" / "mqtt.sqlite").exists()


def members(kafka: KafkaBroker, group: str) -> int:
    """How many the group has."""
    described = need_real(kafka).admin().describe_consumer_groups([group], request_timeout=20)[group].result(25)
    return len(described.members)


def stored(sandbox: SandboxServer, topic: str) -> list[set[float]]:
    """What Clarify has of each partition."""
    known = sandbox.signals()
    names = [f"{topic}:p{n}" for n in range(PARTITIONS)]
    return [{value for _, value in sandbox.samples(name)} if name in known else set() for name in names]


def test_a_drain_hands_over_what_all_workers_have(kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path) -> None:
    need_mosquitto()
    topic = f"workers-drain-{uuid.uuid4().hex[:8]}"
    with Mosquitto() as broker, connector_for(kafka, topic, sandbox, tmp_path) as connector:
        text = connector.config.read_text()
        mqtt = f"  - {{type: mqtt, url: 'mqtt://{broker.host}:{broker.port}', topics: ['#'], client_id: plant}}\n"
        connector.config.write_text(text.replace("sources:\n", f"sources:\n{mqtt}", 1))
        connector.start()
        wait_until(lambda: shares(connector) == [0.75, 0.25], 30, lambda: f"each owns half\n{connector.log()}")
        assert members(kafka, topic) == 2
        stop = threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
            while not stop.wait(0.005):
                for n in range(written, written + 40):
                    value = json.dumps({"ts": START_MS + n, f"p{n % PARTITIONS}": n}).encode()
                    producer.produce(topic, value, partition=n % PARTITIONS)
                written += 40
                producer.poll(0)
            assert producer.flush(30) == 0

        writing = threading.Thread(target=write)
        with Publisher(broker.port) as publisher:
            writing.start()
            try:
                for n in range(200):
                    publisher.publish(f"plant/{n % 7}")
                publisher.wait_acknowledged()
                wait_until(lambda: sandbox.count_samples() > 1000, 60, "all are at work")
                status, said = drain(connector)
            finally:
                stop.set()
                writing.join()
        assert status == 0, said + connector.log()
        assert "all messages are handed over" in said
        assert members(kafka, topic) == 0, "nobody has to wait for a session to end"
        reached = positions(kafka, topic)
        assert 0 < sum(reached) < written
        there = stored(sandbox, topic)
        for partition, reached_there in enumerate(reached):
            numbers = {float(n * PARTITIONS + partition) for n in range(reached_there)}
            assert there[partition] == numbers, "what is in Clarify is what is committed, neither more nor less"
        assert sandbox.count_samples() == sum(reached) + len(publisher.sent)
        status, ledger = connector.ledger()
        assert (status, ledger["messages"]["waiting"]) == (0, 0), ledger
        assert ledger["samples"]["inserted"] == sum(reached) + len(publisher.sent)

        connector.start()  # whoever comes next begins where they ended
        wait_until(lambda: sandbox.count_samples() == written + len(publisher.sent), 60, "the rest")
        assert connector.stop() == 0
        status, ledger = connector.ledger()
        assert status == 0, ledger
        assert ledger["sources"]["kafka"]["redelivered"] == 0
        assert ledger["sources"]["kafka"]["appended"] == written


def test_workers_end_when_their_supervisor_is_killed(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path
) -> None:
    with connector_for(kafka, "workers-orphans", sandbox, tmp_path) as connector:
        connector.start()
        workers = children(connector.pid)
        assert len(workers) == 2
        connector.kill()
        wait_until(lambda: all(gone(worker) for worker in workers), 20, "both ended")
        assert connector.log().count("supervisor_gone") == 2
        connector.start()  # nobody holds the state any more
        assert connector.stop() == 0


def test_a_changed_file_is_checked_by_the_supervisor_and_used_by_all_workers(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path
) -> None:
    topic = f"workers-reload-{uuid.uuid4().hex[:8]}"
    with connector_for(kafka, topic, sandbox, tmp_path) as connector:
        text = connector.config.read_text() + 'mapping: {rules: [{topic: "#", input: "new/{topic}:{path}"}]}\n'
        connector.start()
        workers = children(connector.pid)
        assert len(workers) == 2
        connector.config.write_text(text.replace("new/{topic}", "{tpoic}"))
        os.kill(connector.pid, signal.SIGHUP)
        wait_until(lambda: connector.log().count("reload_refused") == 1, 60, connector.log)
        done = run_command("reload", connector.config)
        assert (done.returncode, f"{connector.config}:" in done.stderr, "tpoic" in done.stderr) == (1, True, True)
        assert connector.log().count("reload_refused") == 2, "no worker was asked"
        page = httpx.get(f"http://127.0.0.1:{connector.observe_port}/readyz", trust_env=False, verify=False).json()
        assert [notice["kind"] for notice in page["notices"] if "worker" not in notice] == ["reload_refused"]

        connector.config.write_text(text)
        done = run_command("reload", connector.config)
        assert (done.returncode, done.stderr) == (0, ""), connector.log()
        assert done.stdout == "1 source unchanged: not touched\nmapping: changed\n"
        assert connector.log().count("] reloaded") == 3
        produce(kafka, topic, range(40))
        wait_until(lambda: sandbox.count_samples() == 40, 60, connector.log)
        assert all(key.startswith("new/") for key in sandbox.signals())
        assert children(connector.pid) == workers, "none had to be started again"
        assert connector.stop() == 0


def test_a_worker_that_cannot_start_ends_all_with_its_reason(sandbox: SandboxServer, tmp_path: Path) -> None:
    source = """
  - type: kafka
    bootstrap_servers: "127.0.0.1:9"
    topics: [t]
    group_id: g
    security: plaintext
"""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "worker-2").write_text("in the way")
    with ConnectorProcess(tmp_path, sandbox.credentials_path, source, "workers: 2") as connector:
        connector.start(ready=False)
        assert connector.wait(60) == 1
        assert "worker-2 cannot be written" in connector.log()
        assert "worker_given_up" in connector.log()
        assert "Traceback" not in connector.log()
