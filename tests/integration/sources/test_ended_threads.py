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
        answer = httpx.get(f"http://127.0.0.1:{connector.observe_port}/healthz", timeout=15, trust_env=False)
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
