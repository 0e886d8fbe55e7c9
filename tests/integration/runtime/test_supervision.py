"""Every thread of a running connector is hung and ended: /healthz fails, names the thread, and the log says it once."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

PIPELINE = ("mqtt-mqtt", "journal-mqtt", "intake-mqtt", "sender")
OTHERS = ("signals", "items", "loss-watch", "carrying")
"""Beside these there is `observe`, the thread of the pages: without it there is no page to say so, but the log does."""
FAULT = """
import os, time
from connector.threads import watched

ORDER = os.environ["FAULT_ORDER"]
usual = watched.WatchedThread.moves

def ordered(thread):
    try:
        what, *names = open(ORDER, encoding="utf-8").read().split()
    except (OSError, ValueError):
        return None
    return what if thread.name in names else None

def moves(self, within=watched.STILL_SECONDS):
    usual(self, within / 10)
    while (what := ordered(self)) is not None:
        if what == "end":
            raise RuntimeError("a fault that nobody foresaw")
        time.sleep(0.05)

watched.WatchedThread.moves = moves
"""
"""Read by Python at its start: a thread hangs, or ends, at the place where it says that it moves; all bounds are ten
times shorter."""


class Faults:
    """Orders to the threads of a connector."""

    def __init__(self, folder: Path) -> None:
        self._order = folder / "order"
        (folder / "python").mkdir()
        (folder / "python" / "sitecustomize.py").write_text(FAULT)
        self.env = {"PYTHONPATH": str(folder / "python"), "FAULT_ORDER": str(self._order)}

    def order(self, what: str, names: tuple[str, ...]) -> None:
        new = self._order.with_suffix(".new")
        new.write_text(" ".join((what, *names)))
        new.replace(self._order)

    def over(self) -> None:
        self._order.unlink()


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


def mqtt(broker: Mosquitto) -> str:
    return f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["plant/#"]}}'


def failure(connector: ConnectorProcess) -> str:
    """Why /healthz fails; empty if it does not."""
    answer = httpx.get(f"http://127.0.0.1:{connector.observe_port}/healthz", timeout=15, trust_env=False, verify=False)
    assert (answer.status_code == 200) == answer.json()["alive"]
    return str(answer.json()["failure"] or "")


def test_threads_that_stand_still_are_named_until_they_move_again(
    tmp_path: Path, sandbox: SandboxServer, faults: Faults
) -> None:
    (tmp_path / "data").write_text("1\n")
    file = f"\n  - {{type: file, path: {tmp_path / 'data'}, topic: plant/file}}"
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker) + file, env=faults.env).start() as connector,
        Publisher(broker.port) as publisher,
    ):
        publisher.publish("plant/1")
        wait_until(lambda: sandbox.count_samples() == 2, 60, connector.log)
        assert failure(connector) == ""
        hung = (*PIPELINE, *OTHERS, "ledger-file")
        faults.order("hang", hung)
        wait_until(
            lambda: all(f"the thread {name} has not moved for" in failure(connector) for name in hung),
            60,
            connector.log,
        )
        ready, problems = connector.readiness()
        assert ready == 503
        assert all(any(f"the thread {name} has not moved" in problem for problem in problems) for name in hung)
        log = connector.log()
        assert log.count("thread_stands_still") == len(hung), log
        assert "threads/watched.py" in log, "where the thread stands"
        faults.over()
        wait_until(lambda: failure(connector) == "", 60, connector.log)
        wait_until(lambda: connector.readiness()[0] == 200, 60, connector.log)
        publisher.publish("plant/2")
        wait_until(lambda: sandbox.count_samples() == 3, 60, connector.log)
        assert connector.log().count("thread_moves_again") == len(hung)
        assert connector.stop() == 0


def test_threads_beside_the_data_that_end_are_named_and_the_data_goes_on(
    tmp_path: Path, sandbox: SandboxServer, faults: Faults
) -> None:
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), env=faults.env).start() as connector,
        Publisher(broker.port) as publisher,
    ):
        faults.order("end", OTHERS)
        wait_until(lambda: all(f"the thread {name} ended" in failure(connector) for name in OTHERS), 60, connector.log)
        assert all(f"the thread {name} ended" in " ".join(connector.readiness()[1]) for name in OTHERS)
        publisher.publish("plant/1")
        wait_until(lambda: sandbox.count_samples() == 1, 60, connector.log)
        assert connector.log().count("Traceback") == len(OTHERS)
        assert connector.stop() == 0


@pytest.mark.parametrize("name", PIPELINE)
def test_a_thread_of_the_data_that_ends_ends_the_process_in_order(
    tmp_path: Path, sandbox: SandboxServer, faults: Faults, name: str
) -> None:
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), env=faults.env).start() as connector,
    ):
        faults.order("end", (name,))
        with Publisher(broker.port) as publisher:
            publisher.publish("plant/1")  # the journal's thread may be waiting for a message
        assert connector.wait(60) == 1, connector.log()
        assert name in connector.log()
        # a connection that ends for an unknown reason is tried again: then the fault is met once more
        assert connector.log().count("Traceback") == 1 + (name == "mqtt-mqtt"), connector.log()
        faults.over()
        connector.start()
        wait_until(lambda: sandbox.count_samples() == 1, 60, connector.log)
        assert connector.stop() == 0
