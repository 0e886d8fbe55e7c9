"""How old the data is: against what the sandbox saw; and a signal that stops, over a kill and a restart."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.mapping.time.times import format_time
from connector.runtime.ledger import read_freshness
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess, run_command
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

sandbox = sandbox_fixture(rate_limiter="off")

MAPPING = """
mapping:
  rules:
    - {topic: "plant/{machine}", input: "{machine}/{field}", expect_every: 2s}
delivery: {max_delay: 200ms, requests_per_second: 5}
"""
OBJECTIVE = 10.0


def stored_delays(sandbox: SandboxServer) -> list[float]:
    """Seconds from the time of each sample until the sandbox stored it, rising."""
    with closing(sqlite3.connect(f"file:{sandbox.store_path}?mode=ro", uri=True)) as store:
        return sorted(us / 1e6 for (us,) in store.execute("SELECT stored_us - time_us FROM samples"))


def silent_page(connector: ConnectorProcess, query: str = "") -> dict[str, Any]:
    page = f"http://127.0.0.1:{connector.observe_port}/silent{query}"
    found: dict[str, Any] = httpx.get(page, timeout=15, trust_env=False, verify=False).json()
    return found


def publish(publisher: Publisher, machine: str, ages: list[float]) -> None:
    """One sample for each of these ages, in seconds."""
    for n, age in enumerate(ages):
        us = round((time.time() - age) * 1e6) // 1000 * 1000 + n % 1000
        publisher.raw(f"plant/{machine}", json.dumps({"ts": format_time(us), "v": n}))


@contextmanager
def going_on(publisher: Publisher, machine: str) -> Iterator[None]:
    """A machine publishes, however busy the test is."""
    stopping = threading.Event()

    def go_on() -> None:
        while not stopping.wait(0.3):
            publish(publisher, machine, [0])

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_delays_objective_and_silence(tmp_path: Path, sandbox: SandboxServer, mosquitto: Mosquitto) -> None:
    source = (
        f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{mosquitto.port}", client_id: c, topics: ["plant/#"], '
        f"freshness: {OBJECTIVE:g}s}}"
    )
    chance = random.Random(1)
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, MAPPING)
    with connector.start(), Publisher(mosquitto.port) as publisher:
        # no age is near the objective: the connector hears of the storage later than the sandbox does it
        ages = [chance.uniform(0, 3) if chance.random() < 0.97 else chance.uniform(60, 90) for _ in range(3_000)]
        for machine in range(3):
            publish(publisher, f"m{machine}", ages[machine::3])
        publish(publisher, "stops", [0])
        wait_until(lambda: sandbox.count_samples() == 3_001, 60, "all is stored")
        wait_until(lambda: connector.metrics()[f"{DELAY}_count{{{TOTAL}}}"] == 3_001, 60, "all is counted")
        metrics, seen = connector.metrics(), stored_delays(sandbox)
        for quantile in (0.5, 0.9, 0.99):
            found = metrics[f'clarify_connector_delay_quantile_seconds{{quantile="{quantile}",{TOTAL}}}']
            near = pytest.approx(seen[round(quantile * len(seen)) - 1], rel=0.05, abs=0.5 if quantile < 0.99 else 0)
            assert found == near, (
                f"{quantile}; the connector counts the answer, on a busy machine later than the sandbox"
            )
        slow = sum(delay > OBJECTIVE for delay in seen)
        assert metrics[f'{DELAY}_bucket{{le="10.0",{TOTAL}}}'] == 3_001 - slow
        assert metrics[f"{DELAY}_sum{{{TOTAL}}}"] == pytest.approx(sum(seen), rel=0.05)
        for stage in ("measured_to_received", "received_to_durable", "durable_to_inserted"):
            assert metrics[f'{DELAY}_count{{source="mqtt",stage="{stage}"}}'] == pytest.approx(3_001, rel=0.02), stage
        kept = 'clarify_connector_freshness_samples_total{kept="yes",source="mqtt"}'
        missed = 'clarify_connector_freshness_samples_total{kept="no",source="mqtt"}'
        assert (metrics[kept], metrics[missed]) == (3_001 - slow, slow)
        assert metrics['clarify_connector_freshness_objective_seconds{source="mqtt"}'] == OBJECTIVE

        def is_silent() -> bool:
            if connector.metrics()['clarify_connector_signals_silent{rule="1"}'] != 3:
                return False
            return [one["input"] for one in silent_page(connector)["signals"]] == ["m1/v", "m2/v", "stops/v"]

        with going_on(publisher, "m0"):
            wait_until(is_silent, 60, "one signal goes on, and three are silent", every=0.2)
        (before,) = silent_page(connector, "?after=m2/v&limit=1")["signals"]
        assert (before["source"], before["rule"], before["expect_every"]) == ("mqtt", 1, 2.0)
        assert connector.metrics()['clarify_connector_signals_watched{rule="1"}'] == 4
        assert " of 4 signals of rule 1 (plant/{machine}) are silent" in connector.log()
        assert silent_page(connector, "?limit=1")["next"] == "m1/v"
        assert "'page' is no parameter" in silent_page(connector, "?page=2")["error"]
        state = tmp_path / "state" / "state.sqlite"
        wait_until(lambda: read_freshness(state)["mqtt"].missed == slow, 60, "the account is in the state file")
        connector.kill()
        listed = run_command("silent", connector.config, "--json")
        assert before in json.loads(listed.stdout), listed.stderr
        connector.start()
        assert before in silent_page(connector)["signals"]
        publish(publisher, "stops", [0])
        wait_until(lambda: before["input"] not in str(silent_page(connector)["signals"]), 60, "it has come back")
        assert connector.stop() == 0
    status, ledger = connector.ledger()
    assert status == 0
    seen = stored_delays(sandbox)
    slow = sum(delay > OBJECTIVE for delay in seen)
    account = ledger["freshness"]["mqtt"]
    assert (account["objective"], account["missed"]) == (OBJECTIVE, slow)
    assert account["kept"] + slow == pytest.approx(len(seen), rel=0.01), "a kill may cost the counts of some seconds"


DELAY = "clarify_connector_delay_seconds"
TOTAL = 'source="mqtt",stage="measured_to_inserted"'
