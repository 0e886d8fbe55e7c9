"""A thread that ends unasked is seen: what passes is tried again, and what nobody foresaw makes /healthz fail."""

from __future__ import annotations

import resource
from pathlib import Path

import httpx

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

FAULT = """
from connector.sources.mqtt.source import MqttSource

def fault(*_args, **_more):
    raise RuntimeError("a fault that nobody foresaw")

MqttSource._judge = fault
"""
"""Read by Python at its start: the end of a connection raises what nobody expects."""


def mqtt(broker: Mosquitto) -> str:
    return f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["plant/#"]}}'


def lowest_free(pid: int) -> int:
    """The lowest number that this process would get for a file; what it has open in passing counts as free."""
    always = set.intersection(*({int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()} for _ in range(50)))
    return next(number for number in range(len(always) + 1) if number not in always)


def health(connector: ConnectorProcess) -> tuple[int, str | None]:
    """(status, failure) of /healthz; status 0 if it does not answer."""
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{connector.observe_port}/healthz", timeout=15, trust_env=False, verify=False
        )
    except httpx.TransportError:
        return 0, None
    return answer.status_code, answer.json()["failure"]


def test_without_free_descriptors_the_source_comes_back_when_there_are_some(
    tmp_path: Path, sandbox: SandboxServer
) -> None:
    with (
        Mosquitto(persistence=True) as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)).start() as connector,
    ):
        usual = resource.prlimit(connector.pid, resource.RLIMIT_NOFILE)
        broker.stop()
        wait_until(lambda: "mqtt_disconnected" in connector.log(), 60, connector.log)
        resource.prlimit(connector.pid, resource.RLIMIT_NOFILE, (lowest_free(connector.pid), usual[1]))
        broker.start()
        wait_until(lambda: connector.log().count("too many open files") >= 2, 60, connector.log)
        assert "ulimit -n" in connector.log()
        resource.prlimit(connector.pid, resource.RLIMIT_NOFILE, usual)
        wait_until(lambda: connector.readiness()[0] == 200, 60, connector.log)
        with Publisher(broker.port) as publisher:
            publisher.publish("plant/1")
            wait_until(lambda: sandbox.count_samples() == 1, 60, connector.log)
        assert "Traceback" not in connector.log()
        assert connector.stop() == 0


def test_a_thread_that_ends_makes_healthz_fail(tmp_path: Path, sandbox: SandboxServer) -> None:
    """Also while Clarify is away; when what was read is sent, the connector ends, for whoever starts it again."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(FAULT)
    env = {"PYTHONPATH": str(tmp_path / "python")}
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), env=env).start() as connector,
    ):
        sandbox.kill()
        with Publisher(broker.port) as publisher:
            publisher.publish("plant/1")
            publisher.wait_acknowledged()
        wait_until(lambda: any("Clarify" in problem for problem in connector.readiness()[1]), 60, connector.log)
        broker.stop()
        wait_until(lambda: health(connector)[0] == 503, 60, connector.log)
        failure = health(connector)[1]
        assert failure is not None
        assert "the thread mqtt-mqtt ended" in failure
        assert "a fault that nobody foresaw" in failure
        assert connector.log().count("Traceback") == 1, connector.log()
        sandbox.start()
        assert connector.wait(60) == 1
        assert sandbox.count_samples() == 1
        assert failure in connector.log()


MANY_FILES = """
import os, resource

resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
"""
"""Read by Python at its start: all descriptors that follow are above 1,023, which `select` cannot wait for."""


def test_with_more_than_1023_descriptors_data_and_dead_letters_flow(tmp_path: Path, sandbox: SandboxServer) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(MANY_FILES)
    env = {"PYTHONPATH": str(tmp_path / "python")}
    with Mosquitto() as broker:
        letters = f'dead_letters: {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", topic: letters}}'
        with (
            ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), letters, env=env).start() as connector,
            Publisher(broker.port) as publisher,
        ):
            assert len(list(Path(f"/proc/{connector.pid}/fd").iterdir())) > 1100
            publisher.publish("plant/1")
            wait_until(lambda: sandbox.count_samples() == 1, 60, connector.log)
            publisher.raw("plant/1", b"\xff not JSON")
            wait_until(lambda: "first_dead_letter" in connector.log(), 60, connector.log)
            assert connector.readiness()[0] == 200 or "nobody subscribes" in " ".join(connector.readiness()[1])
            assert connector.stop() == 0


def test_without_memory_nothing_is_lost_and_nothing_is_green_for_nothing(
    tmp_path: Path, sandbox: SandboxServer
) -> None:
    """Each message has 400 kB: with hardly any memory left some step fails. Then the connector goes on, or ends with a
    traceback, or says that a restart helps; after the restart everything is stored."""
    with Mosquitto(persistence=True) as broker, Publisher(broker.port) as publisher:
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)).start()
        with connector:
            size = int(Path(f"/proc/{connector.pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(connector.pid, resource.RLIMIT_AS, (size, size))
            for number in range(30):
                values = ",".join(f'"v{n}": {n}' for n in range(500))
                publisher.raw(f"plant/{number}", f'{{"pad": "{"x" * 400_000}", {values}}}'.encode())
            publisher.wait_acknowledged()

            def over() -> bool:
                all_there = sandbox.count_samples() >= 30 * 500
                return all_there or not connector.running() or health(connector)[0] == 503

            wait_until(over, 120, connector.log)
            if connector.running() and sandbox.count_samples() < 30 * 500:
                connector.kill()
            elif not connector.running():
                assert connector.wait(1) != 0
        if sandbox.count_samples() < 30 * 500:
            connector.start()
            with connector:
                wait_until(lambda: sandbox.count_samples() >= 30 * 500, 60, connector.log)
                assert connector.stop() == 0
        assert sandbox.count_samples() == 30 * 500
