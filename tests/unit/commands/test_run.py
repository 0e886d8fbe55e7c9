"""The command `run`: what a running connector with one MQTT source does not load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.ports import free_port
from tests.unit.commands.configuration import CREDENTIALS, GOOD

RUNNING = """
import os, signal, sys, threading, time
from connector.commands.cli import main

def stop_it():
    while "connector.sources.mqtt.connection" not in sys.modules or threading.active_count() < 8:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop_it, daemon=True).start()
try:
    main(["run", sys.argv[1]])
except SystemExit:
    heavy = {
        "confluent_kafka", "google.protobuf", "prometheus_client", "rich", "pygments", "fastavro", "cbor2", "lz4",
        "jsonschema", "regex", "cryptography", "pandas", "matplotlib", "starlette", "uvicorn", "amqtt", "antlr4",
        "connector.sandbox", "connector.demo", "connector.try_out", "connector.sources.kafka.source",
        "connector.formats.schema.registry.client", "opentelemetry", "connector.observe.otlp",
        "connector.clarify.names", "connector.clarify.answers", "connector.clarify.client",
        "connector.sources.kafka.section", "connector.sources.file.section", "connector.dead_letters.broker_sections",
        "connector.formats.binary.sections", "connector.formats.schema.sections",
    }
    print(sorted(heavy & sys.modules.keys()), len(sys.modules))
"""
MOST_MODULES: Final = 800
"""A module takes 60 KB and half a millisecond: load it where it is used. Raise this number only if each start uses it.
"""


def test_a_connector_with_one_mqtt_source_loads_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    """Each takes memory for as long as the connector runs, and a part of its start."""
    (tmp_path / "credentials.json").write_text(json.dumps(CREDENTIALS))
    config = tmp_path / "connector.yaml"
    config.write_text(GOOD.replace("listen: null", f"listen: '127.0.0.1:{free_port()}'"))
    done = subprocess.run(
        [sys.executable, "-c", RUNNING, str(config)], capture_output=True, text=True, timeout=90, check=False
    )
    heavy, _, modules = done.stdout.splitlines()[-1].rpartition(" ")
    assert heavy == "[]", done.stderr
    assert int(modules) <= MOST_MODULES
