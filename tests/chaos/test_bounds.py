"""What happens at the bounds: a full journal, and a shutdown while Clarify is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.delivery.policy import HOLD_DELAY
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def source(port: int, more: str = "") -> str:
    return f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{port}", topics: ["plant/#"], client_id: c{more}}}'


def stored(sandbox: SandboxServer) -> dict[tuple[str, int], float]:
    return {(name, time_us): value for name in sandbox.signals() for time_us, value in sandbox.samples(name)}


@pytest.mark.parametrize("journal", ["disk, max_bytes: 64KiB", "memory, max_bytes: 64KiB"])
def test_at_the_bound_reading_stops_and_nothing_is_dropped(tmp_path: Path, journal: str) -> None:
    more = f", receive_maximum: 1000, journal: {{storage: {journal}}}"
    with SandboxServer() as sandbox, Mosquitto() as broker:
        connector = ConnectorProcess(
            tmp_path, sandbox.credentials_path, source(broker.port, more), "delivery: {max_waiting_samples: 1000}"
        )
        with connector.start(), Publisher(broker.port) as publisher:
            sandbox.kill()
            for i in range(5_000):
                publisher.publish(f"plant/{i % 10}")
            publisher.wait_acknowledged()

            def full() -> bool:
                status, problems = connector.readiness()
                return status == 503 and any("reading" in problem and "stopped" in problem for problem in problems)

            wait_until(full, 30, lambda: f"unready because of its bound: {connector.readiness()}")
            assert connector.metrics()['clarify_connector_journal_bytes{source="plant"}'] < 256 * 1024
            sandbox.start()
            wait_until(lambda: sandbox.count_samples() == 5_000, 100, "everything, after all", every=0.5)
            assert stored(sandbox) == publisher.sent
            wait_until(lambda: connector.readiness()[0] == 200, 10, "ready again")
            assert connector.stop() == 0
            status, ledger = connector.ledger()
            assert (status, ledger["messages"]["waiting"]) == (0, 0)


@pytest.mark.parametrize("journal", ["disk", "memory"])
def test_a_shutdown_without_clarify_is_bounded_and_keeps_everything(tmp_path: Path, journal: str) -> None:
    with SandboxServer() as sandbox, Mosquitto() as broker:
        connector = ConnectorProcess(
            tmp_path,
            sandbox.credentials_path,
            source(broker.port, f", journal: {journal}"),
            "delivery: {flush_timeout: 1s}",
        )
        with connector.start(), Publisher(broker.port) as publisher:
            sandbox.kill()
            for i in range(300):
                publisher.publish(f"plant/{i % 3}")
            publisher.wait_acknowledged()
            wait_until(
                lambda: connector.metrics()["clarify_connector_messages_received_total"] == 300,
                10,
                "taken in",
            )
            assert connector.stop() == 0
            assert "flush_timed_out" in connector.log()
            status, ledger = connector.ledger()
            assert status == 0
            if journal == "disk":
                assert ledger["messages"]["waiting"] == 300
            sandbox.start()
            connector.start()
            wait_until(lambda: sandbox.count_samples() == 300, 30, "everything after the next start")
            assert stored(sandbox) == publisher.sent
            assert connector.stop() == 0
            status, ledger = connector.ledger()
            assert (status, ledger["messages"]["received"], ledger["messages"]["waiting"]) == (0, 300, 0)


def test_a_second_connector_with_the_same_state_is_refused(tmp_path: Path) -> None:
    with SandboxServer() as sandbox, Mosquitto() as broker:
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source(broker.port))
        with connector.start():
            (tmp_path / "second").mkdir()
            second = ConnectorProcess(tmp_path / "second", sandbox.credentials_path, source(broker.port))
            second.config.write_text(second.config.read_text().replace("state_dir: state", "state_dir: ../state"))
            second.start(ready=False)
            assert second.wait(60) == 1
            assert "is in use by another connector" in second.log()
            assert "Traceback" not in second.log()


def test_the_connector_starts_without_any_network_and_carries_on_when_it_comes(tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        broker = Mosquitto()
        sandbox.kill()
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source(broker.port))
        with connector:
            connector.start(ready=False)
            wait_until(lambda: any("connection refused" in p for p in connector.readiness()[1]), 20, "it says why")
            try:
                broker.start()
                sandbox.start()
                with Publisher(broker.port) as publisher:
                    wait_until(lambda: connector.readiness()[0] == 200, 30, "ready")
                    publisher.publish("plant/x")
                    wait_until(lambda: sandbox.count_samples() == 1, 60, "the sample")
                    assert connector.stop() == 0
            finally:
                broker.close()


def test_revoked_credentials_never_cost_data(tmp_path: Path) -> None:
    with SandboxServer() as sandbox, Mosquitto() as broker:
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source(broker.port))
        with connector.start(), Publisher(broker.port) as publisher:
            publisher.publish("plant/x")
            wait_until(lambda: sandbox.count_samples() == 1, 20, "the first sample")
            sandbox.faults([{"method": "insert", "times": 2, "kind": "status", "status": 401}])
            for _ in range(10):
                publisher.publish("plant/x")
            wait_until(lambda: connector.metrics()["clarify_connector_insert_held"] == 1, 20, "held")
            assert connector.readiness()[0] == 503
            insert = connector.circuits()["integration.insert"]
            assert (insert["held"], insert["failures"]) == (True, 1)
            assert 0 <= insert["next_try_seconds"] <= HOLD_DELAY
            assert connector.circuits()["all"]["state"] in ("open", "half-open")
            assert connector.metrics()['clarify_connector_circuit_state{method="all"}'] >= 1
            assert connector.metrics()['clarify_connector_circuit_held{method="integration.insert"}'] == 1
            wait_until(lambda: sandbox.count_samples() == 11, 80, "everything, once it is allowed again")
            assert connector.stop() == 0
            status, ledger = connector.ledger()
            assert (status, ledger["messages"]["inserted"], ledger["messages"]["dead_lettered"]) == (0, 11, 0)
            secret = sandbox.credentials()["credentials"]["clientSecret"]
            assert secret not in connector.log()
            assert [connector.log().count(event) for event in ("circuit_open", "circuit_closed")] == [1, 1]
