"""Each place that may log a traceback does so with a secret in its variables, in both log formats."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from connector.clarify import ClarifyError, Client
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.ports import free_port
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secrets_used import MARK
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3] / "connector"


class Site(NamedTuple):
    """Where a traceback is logged."""

    fault: str
    """The function that raises there what nobody foresaw: module:Class.function."""
    says: str
    """What the log then says."""


GOES_ON = {
    "metadata/outbox.py": Site("connector.metadata.signals:SignalSaver.save", "signal_metadata_bug"),
    "runtime/loss_watch.py": Site("connector.runtime.loss_watch:LossWatch.look", "loss_forecast_failed"),
    "delivery/circuit.py": Site("connector.clarify.api:Api.insert_encoded", "exchange_bug"),
    "mapping/chunks.py": Site("connector.mapping.mapper:Mapper.map", "mapping_failed"),
    "runtime/reloads.py": Site("connector.runtime.reload:compare", "reload_failed"),
    "pipeline/tap.py": Site("connector.pipeline.tap:Tap._look", "tap_failed"),
    "threads/watched.py": Site("connector.runtime.carrying:Carrying.look", "thread_ended"),
    "observe/http.py": Site("connector.observe.metrics:metrics_page", "page_failed"),
    "observe/otlp/telemetry.py": Site("connector.observe.otlp.collector:Collector.send", "telemetry_failed"),
    "formats/schema/registry/client.py": Site(
        "connector.formats.schema.registry.client:SchemaRegistry._request", "registry_exchange_bug"
    ),
}
"""The process goes on after these."""
ENDS = {
    "pipeline/pipeline.py": Site("connector.pipeline.under_way:UnderWay.take", "pipeline_failed"),
    "sources/journal/writer.py": Site("connector.ledger.journal_tables:JournalTables.write", "journal_failed"),
}
"""The process ends in order after these."""
CONNECTION = {
    "sources/mqtt/source.py": Site("connector.sources.mqtt.connection:Connection.run", "mqtt_connection_failed")
}
COMMAND = {"commands/cli.py": Site("connector.config.read:load_config", "This is a bug in clarify-connector")}
SANDBOX = {"sandbox/dispatch.py": Site("connector.sandbox.store:Store.insert", "the store failed during")}

FAULT = """
import importlib, os, sqlite3

def crashing(usual):
    def crash(*args, **more):
        if any("spared" in str(getattr(one, "topic", "")) for one in args):
            return usual(*args, **more)
        secret = open(os.environ["CRASH_SECRET"], encoding="utf-8").read()
        headers = {"authorization": secret, "nested": [secret, secret.encode()]}
        kind = sqlite3.OperationalError if "sandbox" in os.environ["CRASH"] else RuntimeError
        raise kind(f"unforeseen {len(headers)}")
    return crash

for fault in os.environ["CRASH"].split():
    module, _, path = fault.partition(":")
    place = importlib.import_module(module)
    *classes, name = path.split(".")
    for one in classes:
        place = getattr(place, one)
    setattr(place, name, crashing(getattr(place, name)))
"""
"""Read by Python at its start."""


def environment(folder: Path, secret: Path, sites: Mapping[str, Site]) -> dict[str, str]:
    """The environment of a process in which these faults happen. The secret is in the file `secret`."""
    (folder / "python").mkdir(exist_ok=True)
    (folder / "python" / "sitecustomize.py").write_text(FAULT)
    faults = " ".join(site.fault for site in sites.values())
    return {"PYTHONPATH": str(folder / "python"), "CRASH": faults, "CRASH_SECRET": str(secret)}


def said(log: str, sites: Mapping[str, Site]) -> None:
    """All of these places have logged a traceback, and no secret."""
    for place, site in sites.items():
        assert site.says in log, (place, log)
    assert "unforeseen 2" in log
    assert MARK not in log


def test_every_place_is_known() -> None:
    """A new place that logs a traceback belongs into the tables above."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                with_error = any(keyword.arg == "exc_info" for keyword in node.keywords)
                logs = node.func.attr == "exception" and node.args  # without an event, it is the result of a future
                if logs or node.func.attr in ("print_exc", "format_exc", "print_exception") or with_error:
                    found.add(str(path.relative_to(ROOT)))
    assert found == {*GOES_ON, *ENDS, *CONNECTION, *COMMAND, *SANDBOX}


def sources(broker: Mosquitto, registry: int) -> str:
    return (
        f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", topics: ["plain/#", "avro/#"]}}\n'
        f'schema_registries: {{main: {{url: "http://127.0.0.1:{registry}"}}}}\n'
        'mapping: {rules: [{topic: "avro/#", format: avro}, {topic: "plain/#", unit: V}]}\n'
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_gone_on_after(tmp_path: Path, sandbox: SandboxServer, form: str) -> None:
    env = environment(tmp_path, sandbox.credentials_path, GOES_ON)
    observe = f"  log_format: {form}\n  otlp: {{endpoint: 'http://127.0.0.1:{free_port()}'}}\n"
    with Mosquitto() as broker:
        connector = ConnectorProcess(
            tmp_path, sandbox.credentials_path, sources(broker, free_port()), env=env, observe=observe
        )
        with connector.start(), Publisher(broker.port) as publisher:
            os.kill(connector.pid, signal.SIGHUP)
            httpx.get(f"http://127.0.0.1:{connector.observe_port}/tap", trust_env=False, verify=False)
            publisher.raw("plain/spared", b'{"value": 1}')
            publisher.raw("plain/poison", b'{"value": 1}')
            httpx.get(f"http://127.0.0.1:{connector.observe_port}/metrics", trust_env=False, verify=False)
            publisher.raw("avro/spared", b"\0\0\0\0\1abc")  # last: behind it, the source waits for the schema
            wait_until(lambda: all(site.says in connector.log() for site in GOES_ON.values()), 60, connector.log)
            assert (
                httpx.get(
                    f"http://127.0.0.1:{connector.observe_port}/readyz", trust_env=False, verify=False
                ).status_code
                == 503
            )
            connector.kill()
    said(connector.log(), GOES_ON)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("place", ENDS)
def test_what_ends_the_process(tmp_path: Path, sandbox: SandboxServer, form: str, place: str) -> None:
    sites = {place: ENDS[place]}
    with Mosquitto() as broker:
        env = environment(tmp_path, sandbox.credentials_path, sites)
        connector = ConnectorProcess(
            tmp_path, sandbox.credentials_path, sources(broker, free_port()), env=env, observe=f"  log_format: {form}\n"
        )
        with connector.start(ready=False), Publisher(broker.port) as publisher:
            wait_until(lambda: "mqtt_connected" in connector.log(), 60, connector.log)
            publisher.raw("plain/1", b'{"value": 1}')
            assert connector.wait(60) == 1, connector.log()
    said(connector.log(), sites)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_connection(tmp_path: Path, sandbox: SandboxServer, form: str) -> None:
    with Mosquitto() as broker:
        env = environment(tmp_path, sandbox.credentials_path, CONNECTION)
        connector = ConnectorProcess(
            tmp_path, sandbox.credentials_path, sources(broker, free_port()), env=env, observe=f"  log_format: {form}\n"
        )
        with connector.start(ready=False):
            wait_until(lambda: "mqtt_disconnected" in connector.log(), 60, connector.log)
            assert connector.stop() == 0
    said(connector.log(), CONNECTION)


def test_a_command(tmp_path: Path, sandbox: SandboxServer) -> None:
    """As with any tool, the traceback goes to standard error as text."""
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, "  []")
    done = subprocess.run(
        [sys.executable, "-m", "connector", "check", str(connector.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment(tmp_path, sandbox.credentials_path, COMMAND)},
    )
    assert done.returncode == 70
    said(done.stderr, COMMAND)


def test_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "credentials.json"
    secret.write_text(f"{MARK}-of-a-crash")
    for name, value in environment(tmp_path, secret, SANDBOX).items():
        monkeypatch.setenv(name, value)
    with SandboxServer() as server:
        monkeypatch.undo()
        with Client(str(server.credentials_path)) as client, pytest.raises(ClarifyError):
            client.insert({"times": ["2026-01-01T00:00:00Z"], "series": {"a": [1]}}).raise_for_error()
        said(server.log(), SANDBOX)
