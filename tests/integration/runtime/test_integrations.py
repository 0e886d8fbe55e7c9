"""Two integrations in one connector, over a real broker: what one of them does, the other does not notice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from connector.commands.cli import main
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

SOURCES: Final = """
  - type: mqtt
    name: plant
    url: mqtt://127.0.0.1:{port}
    topics: ["site/#"]
"""
MORE: Final = """
mapping:
  rules:
    - topic: site/{site}/{machine}
      to: "{site}"
      input: "{machine}.{field}"
      publish: {}
delivery: {max_delay: 100ms, requests_per_second: 10, metadata_requests_per_second: 10}
"""
SECONDS: Final = 1.5
"""How long one kind of trouble lasts."""


class Publishing:
    """A message for each site every 20 ms, with the time at which it was sent."""

    def __init__(self, publisher: Publisher, *sites: str) -> None:
        self._publisher = publisher
        self._sites = sites
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def __enter__(self) -> Publishing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._publisher.wait_acknowledged()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            for site in self._sites:
                self._publisher.raw(f"site/{site}/m", json.dumps({"ts": time.time(), "v": self.sent}))
            self.sent += 1


def ages(sandbox: SandboxServer, seconds: float) -> list[float]:
    """How old the newest stored sample is, looked at every 50 ms."""
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(time.time() - sandbox.samples("m.v")[-1][0] / 1e6)
        time.sleep(0.05)
    return sorted(found)


@contextmanager
def trouble(kind: str, sandbox: SandboxServer) -> Iterator[None]:
    """The sandbox refuses, throttles, or is gone."""
    if kind == "gone":
        sandbox.kill()
        yield
        sandbox.start()
        return
    sandbox.faults([{"kind": "status", "status": 403 if kind == "refused" else 429}])
    yield
    sandbox.clear_faults()


def said(*arguments: object) -> str:
    """What a command says; it must end with 0."""
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


def connector_for(folder: Path, port: int, a: SandboxServer, b: SandboxServer) -> ConnectorProcess:
    found = ConnectorProcess(folder, a.credentials_path, SOURCES.format(port=port), MORE)
    named = f"clarify:\n  name: plant-a\n  integrations: {{plant-b: {{credentials: {b.credentials_path}}}}}\n"
    found.config.write_text(found.config.read_text().replace("clarify:\n", named))
    return found


def test_what_one_integration_does_the_other_does_not_notice(tmp_path: Path, mosquitto: Mosquitto) -> None:
    chance = random.Random(20)
    with (
        SandboxServer(rate_limiter="off") as a,
        SandboxServer(rate_limiter="off") as b,
        Publisher(mosquitto.port) as publisher,
    ):
        connector = connector_for(tmp_path, mosquitto.port, a, b).start()
        with Publishing(publisher, "plant-a", "plant-b") as publishing:
            publisher.raw("site/nowhere/m", json.dumps({"v": 1}))
            wait_until(lambda: "m.v" in a.signals() and "m.v" in b.signals(), 30, "both have the signal")
            usual = ages(a, SECONDS)
            for kind in ("refused", "throttled", "gone"):
                with trouble(kind, b):
                    found = ages(a, SECONDS)
                    status, problems = connector.readiness()
                    circuits = connector.circuits()
                    metrics = connector.metrics()
                    assert found[int(len(found) * 0.95)] < usual[int(len(usual) * 0.95)] + 1, (kind, found, usual)
                    assert status == 503, kind
                    assert all("plant-b" in problem for problem in problems), (kind, problems)
                    assert circuits, kind
                    assert all(name.startswith("plant-b: ") for name in circuits), (kind, circuits)
                    assert metrics['clarify_connector_insert_failures_total{integration="plant-a"}'] == 0, kind
                    assert metrics['clarify_connector_insert_failures_total{integration="plant-b"}'] > 0, kind
            with trouble("gone", b):
                for _ in range(2):
                    time.sleep(chance.uniform(0.2, 0.8))
                    connector.kill()
                    connector.start(ready=False)
        sent = [float(i) for i in range(publishing.sent)]
        for sandbox in (a, b):
            wait_until(
                lambda sandbox=sandbox: len(sandbox.samples("m.v")) >= len(sent),  # type: ignore[misc]
                60,
                lambda: f"all stored; the log:\n{connector.log()[-3000:]}",
            )
            assert [value for _, value in sandbox.samples("m.v")] == sent, "nothing lost, nothing of the other one"
        for name in ("plant-a", "plant-b"):
            saved = json.loads(said("metadata", connector.config, "--json", "--integration", name))["signals"]
            assert {(one["input"], one["status"]) for one in saved} == {("m.v", "saved")}, name
            there = json.loads(said("signals", "--config", connector.config, "--integration", name, "--format", "json"))
            assert [one["attributes"]["input"] for one in there] == ["m.v"], name
        for asked in (["signals", "--config"], ["publish", "--json", "--plan"]):
            unnamed = CliRunner().invoke(main, [*asked, str(connector.config)])
            assert "the integration plant-a; --integration NAME takes another: plant-b" in unnamed.stderr, asked
        assert connector.stop() == 0
    ledger = json.loads(said("ledger", connector.config, "--json"))
    assert ledger["balanced"]
    assert set(ledger["sources"]["plant"]["topics"]) == {"site/plant-a/m", "site/plant-b/m → plant-b", "site/nowhere/m"}
    for line in ("site/plant-a/m", "site/plant-b/m → plant-b"):
        assert ledger["sources"]["plant"]["topics"][line]["samples"]["inserted"] == len(sent), line
    assert ledger["integrations"]["plant-b"]["samples"]["inserted"] == len(sent)
    letters = said("dead-letters", "list", connector.config, "--format", "json")
    assert "unknown_integration" in letters
    assert "'nowhere'" in letters
