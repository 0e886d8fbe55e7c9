"""Reloads under load, with kills among them: nothing is lost or invented, untouched sources never reconnect, and a bad
file never takes effect.

`RELOADS=1000 CHAOS_SEED=7 make test ARGS="tests/chaos/test_reloads.py -s"` is the long run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.reloading import FAST, JSON, Reloaded, connects, rules, source
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

RELOADS = int(os.environ.get("RELOADS", "8"))
KILL_EVERY = 5 if RELOADS < 100 else 40
SEED = int(os.environ.get("CHAOS_SEED", "20261128"))
SOURCES = ("stays", "changes", "comes")

sandbox = sandbox_fixture(rate_limiter="off")


class Publishing:
    """Publishes to all sources in a thread, until it is ended."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        number = 0
        while not self._ending.is_set():
            for name in SOURCES:
                self._publisher.publish(f"{name}/{number % 5}")
            number += 1
            time.sleep(0.01)


class Files:
    """The configurations of the run: each file differs from the one before."""

    def __init__(self, broker: Mosquitto, chance: random.Random) -> None:
        self._broker = broker
        self._chance = chance
        self._prefix, self._more, self._comes = "one", False, True

    def sources(self) -> str:
        topics = '"changes/#", "more/#"' if self._more else '"changes/#"'
        there = {"stays": '"stays/#"', "changes": topics, **({"comes": '"comes/#"'} if self._comes else {})}
        return "".join(source(self._broker, name, topics) for name, topics in there.items())

    def mapping(self) -> str:
        return rules(self._prefix)

    def next(self) -> None:
        """Another good file."""
        what = self._chance.random()
        if what < 0.7:
            self._prefix = "two" if self._prefix == "one" else "one"
        elif what < 0.85:
            self._more = not self._more
        else:
            self._comes = not self._comes

    def all_there(self) -> None:
        """The last file: with every source, or the messages of a source that is away stay at the broker."""
        self._comes = True


@pytest.mark.timeout(7200)
def test_nothing_is_lost_in_reloads_and_kills(sandbox: SandboxServer, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Mosquitto() as broker, Publisher(broker.port, seed=SEED) as publisher:
        files = Files(broker, chance)
        with ConnectorProcess(
            tmp_path,
            sandbox.credentials_path,
            files.sources(),
            FAST + "  flush_timeout: 5s\n" + files.mapping(),
            observe=JSON,
        ).start() as connector:
            plant = Reloaded(connector, sandbox)
            head, _, rest = connector.config.read_text().partition("sources:\n")
            tail = rest[rest.index("state_dir:") : rest.index("mapping:")]

            def write(mapping: str) -> None:
                new = connector.config.with_suffix(".new")
                new.write_text(f"{head}sources:\n{files.sources()}{tail}{mapping}")
                new.replace(connector.config)

            publishing = Publishing(publisher)
            reloads, refused, kills = 0, 0, 0
            began = time.monotonic()
            for number in range(1, RELOADS + 1):
                if chance.random() < 0.2:
                    write(rules("bad").replace('topic: "#"', 'topic: "#/a"'))
                    plant.hang_up()
                    refused += 1
                    plant.wait("reload_refused", refused)
                files.next()
                write(files.mapping())
                plant.hang_up()
                if number % KILL_EVERY == 0:
                    time.sleep(chance.uniform(0, 1.5))  # anywhere in the reload
                    connector.kill()
                    kills += 1
                    connector.start()
                    reloads = len(plant.lines("reloaded"))
                else:
                    reloads += 1
                    plant.wait("reloaded", reloads)
            seconds = time.monotonic() - began
            files.all_there()
            write(files.mapping())
            plant.hang_up()
            publishing.end()
            publisher.wait_acknowledged()

            def found() -> dict[tuple[str, int], set[float]]:
                stored: dict[tuple[str, int], set[float]] = {}
                for key in sandbox.signals():
                    prefix, _, input_id = key.partition("/")
                    assert prefix in ("one", "two"), "a bad file has taken effect"
                    for time_us, value in sandbox.samples(key):
                        stored.setdefault((input_id, time_us), set()).add(value)
                return stored

            wait_until(lambda: sandbox.count_samples() >= len(publisher.sent), 120, connector.log)
            wait_until(lambda: len(found()) >= len(publisher.sent), 120, lambda: f"{len(found())}")
            stored = found()
            assert {at: {value} for at, value in publisher.sent.items()} == stored
            twice = sandbox.count_samples() - len(stored)
            print(
                f"\n{RELOADS} reloads in {seconds:.0f} s, {refused} bad files, {kills} kills, {len(stored)} messages: "
                f"0 lost, 0 invented, {twice} mapped twice after a kill; "
                f"connections: {[connects(broker, f'{name}-client') for name in SOURCES]}"
            )
            assert twice == 0 or kills, "only a kill repeats a record"
            assert connects(broker, "stays-client") == 1 + kills
            assert connector.stop() == 0
            assert connector.ledger()[1]["balanced"]
