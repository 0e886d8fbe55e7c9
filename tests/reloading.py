"""A running connector whose configuration file changes: for tests of reloads."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def source(broker: Mosquitto, name: str, topics: str) -> str:
    """An MQTT source with a client ID of its own."""
    return (
        f"  - type: mqtt\n    name: {name}\n    url: mqtt://127.0.0.1:{broker.port}\n"
        f"    topics: [{topics}]\n    client_id: {name}-client\n"
    )


def rules(prefix: str, topic: str = "#") -> str:
    """A mapping whose input IDs have this prefix."""
    return f'mapping:\n  rules:\n    - topic: "{topic}"\n      input: "{prefix}/{{topic}}:{{path}}"\n'


JSON = "  log_format: json\n"
FAST = "delivery:\n  max_delay: 100ms\n  requests_per_second: 20\n"


class Reloaded:
    """A running connector whose file changes."""

    def __init__(self, connector: ConnectorProcess, sandbox: SandboxServer) -> None:
        self.connector = connector
        self.sandbox = sandbox

    def change(self, *changes: tuple[str, str], asked: bool = True) -> None:
        """Replace texts of the file; the file changes as a whole, as in an editor."""
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
        """SIGHUP."""
        os.kill(self.connector.pid, signal.SIGHUP)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        lines = [line for line in self.connector.log().split("\n") if f'"{event}"' in line and line.endswith("}")]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def wait(self, event: str, count: int) -> dict[str, Any]:
        """The last of so many lines with this event, when it is there."""
        wait_until(lambda: len(self.lines(event)) == count, 60, self.connector.log)
        return self.lines(event)[-1]

    def notices(self) -> dict[str, Any]:
        """Kind of a notice → the notice in /readyz."""
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


def connects(broker: Mosquitto, client_id: str) -> int:
    """How often this client has connected, as the broker's log says."""
    return broker.log().count(f" as {client_id} (")
