"""Publishing from the connector: over MQTT into the sandbox, with a person who changes items."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connector.clarify import Client, Item
from connector.metadata.item_views import ANNOTATION
from connector.sandbox.store import ItemRow, Store
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

sandbox = sandbox_fixture(each=[{"include_item": answer} for answer in ("accept", "refuse")], rate_limiter="off")


def rules(name: str = "{machine} {field}", overwrite: str = "unedited", unit: str = "bar") -> str:
    return f"""
mapping:
  rules:
    - topic: plant/{{line}}/{{machine}}
      input: "{{line}}/{{machine}}/{{path}}"
      labels: {{ line: "{{line}}" }}
      values:
        pressure: {{ unit: {unit} }}
        checksum: {{ publish: false }}
      publish:
        name: "{name}"
        labels: {{ line: "{{line}}", machine: "{{machine}}" }}
        overwrite: {overwrite}
delivery: {{ max_delay: 100ms, metadata_requests_per_second: 50 }}
"""


def connector(folder: Path, sandbox: SandboxServer, broker: Mosquitto, text: str) -> ConnectorProcess:
    source = f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ['#']\n"
    return ConnectorProcess(folder, sandbox.credentials_path, source, text)


def items(sandbox: SandboxServer) -> dict[str, ItemRow]:
    """Input → its item."""
    with Store.open(sandbox.store_path, read_only=True) as store:
        signals = store.signals()  # first: an item is made before its signal names it
        found = store.items()
        return {key: found[signal.item] for key, signal in signals.items() if signal.item is not None}


def name_of(sandbox: SandboxServer, key: str) -> object:
    return items(sandbox)[key].attributes["name"]


def inserts(sandbox: SandboxServer) -> int:
    return int(sandbox.stats()["requests"]["integration.insert"])


def send(broker: Mosquitto, *machines: str) -> None:
    with Publisher(broker.port) as publisher:
        for machine in machines:
            publisher.raw(f"plant/l1/{machine}", json.dumps({"pressure": 4.1, "checksum": 17}))
        publisher.wait_acknowledged()


def test_items_follow_the_mapping_but_not_over_a_person(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    with connector(tmp_path, sandbox, broker, rules()).start() as running:
        send(broker, "press", "oven")
        wait_until(lambda: len(items(sandbox)) == 2, 20, lambda: f"both are published\n{running.log()}")
        press = items(sandbox)["l1/press/pressure"]
        assert press.attributes["name"] == "press pressure"
        assert press.attributes["engUnit"] == "bar"
        assert press.attributes["visible"] is True
        assert press.attributes["labels"] == {"line": ["l1"], "machine": ["press"]}
        assert ANNOTATION in press.annotations
        assert sandbox.signals()["l1/press/pressure"].attributes["labels"] == {"line": ["l1"]}
        wait_until(lambda: running.metrics().get("clarify_connector_signals_published_total") == 2, 10, "counted")
        assert running.stop() == 0

    # A person gives one of them another name; then the mapping wants other names and another unit.
    signal = sandbox.signals()["l1/press/pressure"].id
    with Client(sandbox.credentials_path, rates=None) as person:
        edited = Item(name="The big press", labels={"line": ["l1"]}, visible=True, gap_detection="PT2H")
        person.publish_signals({signal: edited}).raise_for_error()
    with connector(tmp_path, sandbox, broker, rules("{field} of {machine}", unit="mbar")).start() as running:
        send(broker, "press", "oven")
        name = "pressure of oven"
        wait_until(
            lambda: items(sandbox)["l1/oven/pressure"].attributes["name"] == name,
            20,
            lambda: f"updated\n{running.log()}",
        )
        assert items(sandbox)["l1/oven/pressure"].attributes["engUnit"] == "mbar"
        wait_until(lambda: "item_left_alone" in running.log(), 20, "it says what it leaves alone")
        assert items(sandbox)["l1/press/pressure"].attributes["name"] == "The big press"
        assert running.metrics()["clarify_connector_items_left_alone_total"] == 1
        assert running.stop() == 0

    # Nothing new: nothing is asked.
    before = sandbox.stats()["requests"]
    with connector(tmp_path, sandbox, broker, rules("{field} of {machine}", unit="mbar")).start() as running:
        send(broker, "press", "oven")
        wait_until(
            lambda: sandbox.stats()["requests"]["integration.insert"] > before["integration.insert"], 20, "inserted"
        )
        assert running.stop() == 0
    after = sandbox.stats()["requests"]
    assert after["admin.publishSignals"] == before["admin.publishSignals"]
    assert after["admin.selectSignals"] == before["admin.selectSignals"]

    # Told to, the mapping wins; what is not its business stays.
    with connector(tmp_path, sandbox, broker, rules("{field} of {machine}", "always", "mbar")).start() as running:
        send(broker, "press", "oven")
        name = "pressure of press"
        wait_until(
            lambda: items(sandbox)["l1/press/pressure"].attributes["name"] == name,
            20,
            lambda: f"it wins\n{running.log()}",
        )
        assert items(sandbox)["l1/press/pressure"].attributes["gapDetection"] == "PT2H"
        assert running.stop() == 0
        assert "Traceback" not in running.log()


def test_items_that_exist_already_are_left_alone_and_the_rest_is_made(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    with Client(sandbox.credentials_path, rates=None) as person:
        result = person.insert({"times": [1777615200], "series": {"l1/press/pressure": [1]}}).raise_for_error().result
        assert result is not None
        signal = result.signals_by_input["l1/press/pressure"].id
        person.publish_signals({signal: Item(name="Mine")}).raise_for_error()
    with connector(tmp_path, sandbox, broker, rules(overwrite="never")).start() as running:
        send(broker, "press", "oven")
        wait_until(lambda: "l1/oven/pressure" in items(sandbox), 20, lambda: f"the new one\n{running.log()}")
        assert running.stop() == 0
    assert items(sandbox)["l1/press/pressure"].attributes["name"] == "Mine"
    assert "item_left_alone" not in running.log(), "it is meant"


@pytest.mark.parametrize("sandbox", [{"include_item": "accept"}], indirect=True, ids=["accept"])
def test_publishing_that_is_not_allowed_is_said_and_costs_no_data(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    refusal = {"kind": "rpc_error", "code": -32003, "message": "Operation not permitted"}
    sandbox.faults([{"method": "admin.*", **refusal}])
    with connector(tmp_path, sandbox, broker, rules()).start() as running:
        send(broker, "press")
        wait_until(lambda: "publishing_failed" in running.log(), 20, "it says why")
        assert "Grant this integration access to 'admin'" in running.log()
        wait_until(lambda: sandbox.count_samples() == 2, 20, "the data is there")
        assert running.metrics()["clarify_connector_items_waiting"] == 1
        assert running.stop() == 0
    with closing(sqlite3.connect(tmp_path / "state" / "state.sqlite")) as state:
        assert state.execute("SELECT count(*) FROM published_signals").fetchone() == (0,)
