"""Nothing is lost: 20,000 acknowledged messages, and everything that can fail does, with the real broker.

What Mosquitto itself forgets between two saves of its sessions is not ours; the test keeps it out by
construction: the broker is killed only when the publisher pauses and a save has happened since.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

MESSAGES = 20_000
KILLS = 10
OUTAGE_SECONDS = 60
SEED = int(os.environ.get("CHAOS_SEED", "20261123"))


class PausablePublishing:
    """Publishes in a thread until told how many; can be held while the broker is tormented."""

    def __init__(self, publisher: Publisher, rate: float) -> None:
        self._publisher = publisher
        self._rate = rate
        self._go = threading.Event()
        self._go.set()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hold(self) -> None:
        """No more until `resume`; everything sent is acknowledged when this returns."""
        self._go.clear()
        assert self._idle.wait(60)
        self._publisher.wait_acknowledged()

    def resume(self) -> None:
        self._idle.clear()
        self._go.set()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        held = 0.0
        for i in range(MESSAGES):
            if not self._go.is_set():
                at = time.monotonic()
                self._idle.set()
                self._go.wait()
                held += time.monotonic() - at
            self._publisher.publish(f"plant/line{i % 5}/machine{i % 50}")
            ahead = (i + 1) / self._rate - (time.monotonic() - began - held)
            if ahead > 0:
                time.sleep(ahead)


def after(publisher: Publisher, messages: int) -> Callable[[], bool]:
    return lambda: publisher.messages >= messages


@pytest.mark.timeout(600)
def test_20_000_messages_survive_everything(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    sources = """
  - type: mqtt
    name: plant
    url: mqtt://127.0.0.1:{port}
    topics: ["plant/#"]
"""
    with SandboxServer() as sandbox, Mosquitto(persistence=True) as broker:
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, sources.format(port=broker.port))
        with connector.start(), Publisher(broker.port, seed=SEED) as publisher:
            publishing = PausablePublishing(publisher, rate=200)
            publishing.start()
            stop_killing = threading.Event()
            kills = 0

            def kill_at_random() -> None:
                nonlocal kills
                while kills < KILLS and not stop_killing.wait(chance.uniform(1, 9)):
                    connector.kill()
                    kills += 1
                    connector.start(ready=False)

            killer = threading.Thread(target=kill_at_random, daemon=True)
            killer.start()
            # (e) answers are lost after the data was stored
            sandbox.faults([{"method": "insert", "times": 3, "kind": "answer_lost"}])
            # (c) the broker is stopped and comes back with its sessions
            wait_until(after(publisher, 3_000), 60, "3,000 messages published")
            broker.stop()
            broker.start()
            # (b) Clarify is away for a minute
            wait_until(after(publisher, 6_000), 60, "6,000 messages published")
            sandbox.kill()
            outage_over = time.monotonic() + OUTAGE_SECONDS
            # (c) the broker is killed, in a quiet moment after it saved its sessions
            wait_until(after(publisher, 9_000), 60, "9,000 messages published")
            publishing.hold()
            quiet_since = time.time()
            wait_until(
                lambda: broker.database.exists() and broker.database.stat().st_mtime > quiet_since + 1,
                20,
                "Mosquitto saved its sessions",
            )
            broker.kill()
            broker.start()
            publishing.resume()
            wait_until(lambda: time.monotonic() > outage_over, OUTAGE_SECONDS, "the outage is over")
            sandbox.start()
            sandbox.faults([{"method": "insert", "times": 1, "kind": "answer_lost"}])
            wait_until(publishing.done, 180, "all messages published")
            publisher.wait_acknowledged()
            killer.join(90)
            stop_killing.set()
            assert kills == KILLS
            wait_until(lambda: sandbox.count_samples() >= MESSAGES, 180, "all samples in the sandbox", every=0.5)
            wait_until(lambda: connector.ledger()[1]["messages"]["waiting"] == 0, 60, "nothing waits", every=0.5)
            assert connector.stop() == 0, connector.log()

            stored = {
                (input_id, time_us): value
                for input_id in sandbox.signals()
                for time_us, value in sandbox.samples(input_id)
            }
            assert len(publisher.sent) == MESSAGES
            missing = publisher.sent.keys() - stored.keys()
            invented = stored.keys() - publisher.sent.keys()
            assert not missing, f"{len(missing)} lost, for example {sorted(missing)[:3]}"
            assert not invented, f"{len(invented)} invented, for example {sorted(invented)[:3]}"
            assert stored == publisher.sent
            status, ledger = connector.ledger()
            assert (status, ledger["balanced"], ledger["messages"]["waiting"]) == (0, True, 0), ledger
            assert ledger["messages"]["received"] >= MESSAGES
            assert ledger["messages"]["inserted"] + ledger["messages"]["superseded"] == ledger["messages"]["received"]
