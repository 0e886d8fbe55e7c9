"""Another configuration beside a running connector: nothing is lost, and what did not change is not touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


def source(broker: Mosquitto, name: str, topics: str) -> str:
    return (
        f"  - type: mqtt\n    name: {name}\n    url: mqtt://127.0.0.1:{broker.port}\n"
        f"    topics: [{topics}]\n    client_id: {name}-client\n"
    )


def rules(prefix: str, topic: str = "#") -> str:
    return f'mapping:\n  rules:\n    - topic: "{topic}"\n      input: "{prefix}/{{topic}}:{{path}}"\n'


FAST = "delivery:\n  max_delay: 200ms\n"


class Reloaded:
    """A running connector whose file changes."""

    def __init__(self, connector: ConnectorProcess, sandbox: SandboxServer) -> None:
        self.connector = connector
        self.sandbox = sandbox

    def change(self, *changes: tuple[str, str], asked: bool = True) -> None:
        text = self.connector.config.read_text()
        for before, after in changes:
            assert before in text, (before, text)
            text = text.replace(before, after)
        new = self.connector.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.connector.config)
        if asked:
            self.hang_up()

    def hang_up(self) -> None:
        os.kill(self.connector.pid, signal.SIGHUP)

    def lines(self, event: str) -> list[str]:
        return [line for line in self.connector.log().splitlines() if f" {event} " in line]

    def wait(self, event: str, count: int) -> str:
        wait_until(lambda: len(self.lines(event)) == count, 60, self.connector.log)
        return self.lines(event)[-1]

    def notices(self) -> dict[str, Any]:
        port = self.connector.observe_port
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=15, trust_env=False, verify=False)
        return {notice["kind"]: notice for notice in answer.json()["notices"]}

    def arrived(self, publisher: Publisher, prefixes: list[str]) -> None:
        """Wait for all; each is there once, by the one or the other mapping, and nothing else is there."""
        publisher.wait_acknowledged()
        wait_until(lambda: self.sandbox.count_samples() >= len(publisher.sent), 60, self.connector.log)
        found = [
            ((input_id, time_us), value)
            for input_id in {input_id for input_id, _ in publisher.sent}
            for prefix in prefixes
            for time_us, value in self.sandbox.samples(f"{prefix}/{input_id}")
        ]
        assert len(found) == self.sandbox.count_samples() == len(publisher.sent)
        assert dict(found) == publisher.sent


def test_a_changed_mapping_counts_from_the_next_record_on_and_the_session_stays(
    mosquitto: Mosquitto, sandbox: SandboxServer, tmp_path: Path
) -> None:
    with ConnectorProcess(
        tmp_path, sandbox.credentials_path, source(mosquitto, "map", '"map/#"'), FAST + rules("one")
    ).start() as connector, Publisher(mosquitto.port, seed=11) as publisher:  # fmt: skip
        plant = Reloaded(connector, sandbox)
        for count, (before, after) in enumerate((("one", "two"), ("two", "three"), ("three", "two")), 1):
            for n in range(300):
                publisher.publish(f"map/{n % 20}")
            plant.change((f'"{before}/', f'"{after}/'))
            for n in range(300):
                publisher.publish(f"map/{n % 20}")
            assert "mapping=changed" in plant.wait("reloaded", count)
        publisher.publish("map/0")
        plant.arrived(publisher, ["one", "two", "three"])
        renamed = plant.wait("signal_renamed", 1)
        assert "count=" in renamed
        assert "'one/map/" in renamed

        for bad, said in (
            (('"#"', '"a/#/b"'), f"{connector.config}:"),
            (("state_dir: state", "state_dir: other"), "state_dir: a running connector cannot change this"),
        ):
            refused = len(plant.lines("reload_refused"))
            plant.change(bad, ('"two/', '"bad/'))
            assert said in plant.wait("reload_refused", refused + 1)
            notice = plant.notices()["reload_refused"]
            assert said in notice["text"]
            assert "the configuration in use stays" in notice["text"]
            publisher.publish("map/1")
            plant.arrived(publisher, ["one", "two", "three"])
            plant.change((bad[1], bad[0]), ('"bad/', '"two/'), asked=False)
        plant.hang_up()
        assert "mapping=unchanged" in plant.wait("reloaded", 4)
        assert "reload_refused" not in plant.notices()
        assert mosquitto.log().count("as map-client (") == 1, "the session was never left"
        assert connector.stop() == 0
        assert connector.ledger()[1]["balanced"]
