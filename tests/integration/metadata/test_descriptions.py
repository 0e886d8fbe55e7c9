"""Names and units in messages of their own: saved in Clarify for a known signal, and not forgotten by a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

MORE = """
mapping:
  rules:
    - topic: described/names
      iterate: "@"
      describes: {signal: "{item.of}", name: "{item.name}", unit: "{item.unit}"}
    - {topic: "described/{machine}", input: "{machine}/{path}"}
delivery: {max_delay: 50ms, flush_timeout: 1s}
"""
NAMES = (
    b'[{"of": "described/press:oil", "name": "Oil pressure", "unit": "bar"},'
    b' {"of": "described/press:rpm", "name": "Speed", "unit": "1/min"}]'
)

sandbox = sandbox_fixture(requests_per_second=100)


def test_a_description_reaches_a_known_signal_and_after_a_kill_one_that_is_new(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    source = f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ['described/#']\n"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, MORE)

    def attributes(input_id: str) -> dict[str, Any]:
        found = sandbox.signals().get(input_id)
        return {} if found is None else found.attributes

    with Publisher(broker.port) as publisher:
        with connector.start() as running:
            publisher.raw("described/press", b'{"oil": 4.2}')
            wait_until(lambda: "press/oil" in sandbox.signals(), 60, running.log)
            publisher.raw("described/names", NAMES)
            wait_until(lambda: attributes("press/oil").get("engUnit") == "bar", 60, running.log)
            assert attributes("press/oil")["name"] == "Oil pressure"
            running.kill()
        with connector.start() as running:
            publisher.raw("described/press", b'{"rpm": 1480}')
            wait_until(lambda: attributes("press/rpm").get("engUnit") == "1/min", 60, running.log)
            assert running.metrics()["clarify_connector_signals_failed"] == 0
            assert set(sandbox.signals()) == {"press/oil", "press/rpm"}
            assert running.stop() == 0
