"""Signal metadata with the connector as users run it: no kill forgets it, and trouble with it holds up no sample."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx

from connector.formats.sparkplug.datatypes import DataType
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess, run_command
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.sparkplug_payloads import bd_seq, metric, payload
from tests.waiting import wait_until

BIRTH = "spBv1.0/plant/NBIRTH/press"
OIL = "plant/press:Oil"
MS = 1_777_615_200_000
MORE = """
mapping:
  unmatched: map
  rules:
    - {preset: sparkplug, input: "{group}/{node}:{metric}"}
    - {topic: flow/#, labels: {kind: flow}}
delivery: {max_delay: 100ms, flush_timeout: 1s}
"""


sandbox = sandbox_fixture(requests_per_second=100)


def connector(folder: Path, sandbox: SandboxServer, broker: Mosquitto) -> ConnectorProcess:
    source = f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ['spBv1.0/#', 'flow/#']\n"
    return ConnectorProcess(folder, sandbox.credentials_path, source, MORE)


def metadata(running: ConnectorProcess, *options: str) -> dict[str, Any]:
    done = run_command("metadata", running.config, "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def flow(publisher: Publisher, sandbox: SandboxServer, messages: int) -> None:
    """Samples come in, and arrive."""
    before = sandbox.count_samples()
    for i in range(messages):
        publisher.publish(f"flow/{i % 5}")
    wait_until(lambda: sandbox.count_samples() >= before + messages, 60, "samples arrive")


def test_a_birth_is_described_after_a_kill_although_the_node_sends_nothing_more(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    sandbox.faults([{"method": "integration.saveSignals", "kind": "status", "status": 503}])
    with connector(tmp_path, sandbox, broker).start() as running, Publisher(broker.port) as publisher:
        oil = metric("Oil", DataType.DOUBLE, 41.5, timestamp=MS, said={"engUnit": "°C"})
        publisher.raw(BIRTH, payload(bd_seq(0), oil, seq=0, timestamp=MS))
        wait_until(lambda: OIL in sandbox.signals(), 60, lambda: f"the birth's values arrive\n{running.log()}")
        wait_until(lambda: "save_signals_failed" in running.log(), 60, "it is said")
        flow(publisher, sandbox, 50)
        answer = httpx.get(f"http://127.0.0.1:{running.observe_port}/readyz", timeout=60, trust_env=False, verify=False)
        assert answer.status_code == 200
        assert any(
            notice["kind"] == "metadata_waits" and "metadata of signals" in notice["text"] and "503" in notice["text"]
            for notice in answer.json()["notices"]
        )
        assert running.metrics()["clarify_connector_signals_waiting"] >= 6
        wait_until(lambda: metadata(running)["trouble"], 60, "the command tells why")
        running.kill()
    assert not sandbox.signals()[OIL].attributes["engUnit"]
    sandbox.clear_faults()
    with connector(tmp_path, sandbox, broker).start() as running:
        wait_until(lambda: sandbox.signals()[OIL].attributes["engUnit"] == "°C", 60, running.log)
        wait_until(lambda: metadata(running, "--saved", OIL)["signals"], 60, "and it is remembered")
        assert running.stop() == 0
    requests = sandbox.stats()["requests"]["integration.saveSignals"]
    with connector(tmp_path, sandbox, broker).start() as running, Publisher(broker.port, seed=2) as publisher:
        flow(publisher, sandbox, 5)
        assert running.stop() == 0
    assert sandbox.stats()["requests"]["integration.saveSignals"] == requests, "nothing is saved twice"


def test_a_request_that_hangs_holds_up_neither_samples_nor_the_end(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    sandbox.faults([{"method": "integration.saveSignals", "kind": "timeout", "seconds": 600}])
    with connector(tmp_path, sandbox, broker).start() as running, Publisher(broker.port) as publisher:
        for _ in range(3):
            flow(publisher, sandbox, 20)
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 60
        assert running.ledger()[0] == 0
    assert {line["status"] for line in metadata(running)["signals"]} == {"waiting"}
