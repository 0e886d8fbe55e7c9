"""Sparkplug B from birth to death, as Eclipse Tahu's own encoder writes it, through a real broker into the sandbox."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from connector.formats.sparkplug.schema import PayloadMessage
from tests.brokers import USED, Mosquitto
from tests.connector_process import ConnectorProcess
from tests.node_packages import need_node
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

MS = 1_777_615_200_000
US = MS * 1000
MAPPING = """
delivery:
  max_delay: 200ms
mapping:
  rules:
    - preset: sparkplug
      format: {type: sparkplug_b, online: true, rebirth_requests: true, bad_quality: signal}
      values:
        Mode: {states: {Idle: 0, Running: 1}}
"""


def encode(payloads: list[dict[str, Any]]) -> list[bytes]:
    """What the independent encoder makes of them."""
    node, folder = need_node()
    USED["Eclipse Tahu's encoder of Sparkplug B"] = USED.get("Eclipse Tahu's encoder of Sparkplug B", 0) + 1
    done = subprocess.run(
        [node, "sparkplug.mjs"],
        cwd=folder,
        input=json.dumps(payloads),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [base64.b64decode(text) for text in json.loads(done.stdout)]


def metric(name: str | None, kind: str, value: Any, alias: int | None = None, **more: Any) -> dict[str, Any]:
    found = {"type": kind, "value": value, "timestamp": more.pop("at", MS), **more}
    if name is not None:
        found["name"] = name
    if alias is not None:
        found["alias"] = alias
    return found


def message(seq: int | None, *metrics: dict[str, Any], at: int = MS) -> dict[str, Any]:
    return {"timestamp": at, "metrics": list(metrics)} | ({} if seq is None else {"seq": seq})


BD_SEQ = metric("bdSeq", "Int64", 3)
PROPERTIES = {
    "engUnit": {"type": "String", "value": "°C"},
    "documentation": {"type": "String", "value": "Oil in the gear"},
    "engLow": {"type": "Double", "value": -40},
    "engHigh": {"type": "Double", "value": 125},
}
STATES = {
    "enumValues": {
        "type": "PropertySet",
        "value": {"0": {"type": "String", "value": "off"}, "1": {"type": "String", "value": "on"}},
    }
}
LIFE: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown": ("NDATA/late", message(1, metric(None, "Float", 1.5, 1))),
    "node birth": (
        "NBIRTH/edge",
        message(
            0,
            BD_SEQ,
            metric("Node Control/Rebirth", "Boolean", False),
            metric("i8", "Int8", -5, 1),
            metric("i16", "Int16", -300, 2),
            metric("i32", "Int32", -70000, 3),
            metric("i64", "Int64", -5_000_000_000, 4),
            metric("u8", "UInt8", 250, 5),
            metric("u16", "UInt16", 65000, 6),
            metric("u32", "UInt32", 4_000_000_000, 7),
            metric("u64", "UInt64", 9_000_000_000, 8),
            metric("float", "Float", 0.5, 9),
            metric("double", "Double", 0.1, 10),
            metric("bool", "Boolean", True, 11),
            metric("text", "String", "left out", 12),
            metric("date", "DateTime", MS, 13),
            metric("bytes", "Bytes", {"$bytes": "AAEC"}, 14),
            metric("null", "Float", None, 15, isNull=True),
            metric(
                "table",
                "DataSet",
                {
                    "numOfColumns": 2,
                    "columns": ["when", "level"],
                    "types": ["DateTime", "Float"],
                    "rows": [[MS - 2000, 1.5], [MS - 1000, 2.5]],
                },
                16,
            ),
        ),
    ),
    "device birth": (
        "DBIRTH/edge/press",
        message(
            1,
            metric("Oil", "Float", 60.5, 20, properties=PROPERTIES),
            metric("State", "Int32", 1, 21, properties=STATES),
            metric("Mode", "String", "Idle", 22),
            metric(
                "Motor",
                "Template",
                {
                    "templateRef": "M",
                    "isDefinition": False,
                    "metrics": [metric("Amps", "Float", 3.5), metric("On", "Boolean", True)],
                },
                23,
            ),
        ),
    ),
    "data": (
        "DDATA/edge/press",
        message(2, metric(None, "Float", 61.5, 20, at=MS + 1000), metric(None, "String", "Running", 22, at=MS + 1000)),
    ),
    "after a crash": (
        "DDATA/edge/press",
        message(
            3,
            metric(None, "Float", 62.5, 20, at=MS + 2000, properties={"Quality": {"type": "Int32", "value": 500}}),
            metric(None, "Float", 59.5, 20, at=MS - 60_000, isHistorical=True),
            metric(None, "Int32", 0, 21, at=MS + 2000),
        ),
    ),
    "after a gap": ("NDATA/edge", message(6, metric(None, "Int8", -6, 1, at=MS + 3000))),
    "late birth": ("NBIRTH/late", message(0, metric("m", "Float", 2.5, 1))),
    "other death": ("NDEATH/edge", message(None, metric("bdSeq", "Int64", 2))),
    "death": ("NDEATH/edge", message(None, BD_SEQ)),
}  # fmt: skip


@contextmanager
def commands(port: int) -> Iterator[list[tuple[str, bytes]]]:
    """What nodes are told."""
    found: list[tuple[str, bytes]] = []
    ready: list[bool] = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _userdata, told: found.append((told.topic, told.payload))
    client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("spBv1.0/+/NCMD/+")
    wait_until(lambda: ready, 10, "subscribed to commands")
    yield found
    client.disconnect()
    client.loop_stop()


@pytest.mark.timeout(300)
def test_from_birth_to_death_over_a_crash(tmp_path: Path) -> None:
    encoded = dict(zip(LIFE, encode([payload for _, payload in LIFE.values()]), strict=True))
    with SandboxServer() as sandbox, Mosquitto() as broker, commands(broker.port) as told:
        sources = f'  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ["spBv1.0/#"]\n'
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, sources, MAPPING)
        with connector.start(), Publisher(broker.port) as publisher:

            def send(*names: str) -> None:
                for name in names:
                    kind, _, rest = LIFE[name][0].partition("/")
                    publisher.raw(f"spBv1.0/plant/{kind}/{rest}", encoded[name])
                publisher.wait_acknowledged()

            send("node birth", "device birth", "data")
            wait_until(lambda: len(sandbox.samples("plant/edge/press/Oil")) == 2, 20, "the device's data")
            connector.kill()
            send("after a crash")
            connector.start()
            send("after a gap", "unknown")
            wait_until(lambda: len(told) >= 2, 30, "requests for births that are not known, or after a loss")
            assert {topic for topic, _ in told} == {"spBv1.0/plant/NCMD/late", "spBv1.0/plant/NCMD/edge"}
            for _, payload in told:
                (command,) = PayloadMessage.FromString(payload).metrics
                assert (command.name, command.datatype, command.boolean_value) == ("Node Control/Rebirth", 11, True)
            send("late birth", "unknown", "other death", "death")
            wait_until(lambda: len(sandbox.samples("plant/edge/_online")) == 2, 20, "the death")
            wait_until(lambda: len(sandbox.samples("plant/late/m")) == 1, 20, "data after the birth that was asked for")
            wait_until(lambda: connector.ledger()[1]["messages"]["waiting"] == 0, 20, "nothing waits", every=0.5)
            metrics = connector.metrics()
            wait_until(lambda: "plant/late/m" in saved(sandbox), 20, "metadata")
            assert connector.stop() == 0

        edge = {
            "i8": -5, "i16": -300, "i32": -70000, "i64": -5_000_000_000, "u8": 250, "u16": 65000,
            "u32": 4_000_000_000, "u64": 9_000_000_000, "float": 0.5, "double": 0.1, "bool": 1, "date": MS,
        }  # fmt: skip
        for name, value in edge.items():
            assert sandbox.samples(f"plant/edge/{name}")[0] == (US, value), name
        assert sandbox.samples("plant/edge/i8") == [(US, -5), (US + 3_000_000, -6)]
        assert sandbox.samples("plant/edge/table/level") == [(US - 2_000_000, 1.5), (US - 1_000_000, 2.5)]
        press = "plant/edge/press/"
        assert sandbox.samples(press + "Oil") == [
            (US - 60_000_000, 59.5), (US, 60.5), (US + 1_000_000, 61.5), (US + 2_000_000, 62.5),
        ]  # fmt: skip
        assert sandbox.samples(press + "Oil/_quality") == [(US - 60_000_000, 192), (US + 2_000_000, 500)]
        assert sandbox.samples(press + "State") == [(US, 1), (US + 2_000_000, 0)]
        assert sandbox.samples(press + "Mode") == [(US, 0), (US + 1_000_000, 1)]
        assert sandbox.samples(press + "Motor/Amps") == [(US, 3.5)]
        assert sandbox.samples(press + "Motor/On") == [(US, 1)]
        for online in ("plant/edge/_online", press + "_online"):
            assert [value for _, value in sandbox.samples(online)] == [1, 0]
        assert not [key for key in sandbox.signals() if "text" in key or "null" in key or "Control" in key]

        oil, state = (sandbox.signals()[press + name].attributes for name in ("Oil", "State"))
        assert (oil["name"], oil["engUnit"], oil["description"]) == ("Oil", "°C", "Oil in the gear")
        assert oil["labels"] == {"group": ["plant"], "node": ["edge"], "device": ["press"]}
        assert sandbox.signals()[press + "Oil"].annotations == {"range_low": "-40", "range_high": "125"}
        assert (state["valueType"], state["enumValues"]) == ("enum", {"0": "off", "1": "on"})

        assert metrics['clarify_connector_sparkplug_lost_messages_total{source="mqtt"}'] == 2, "4 and 5, counted once"
        assert metrics['clarify_connector_sparkplug_late_deaths_total{source="mqtt"}'] == 1
        assert metrics["clarify_connector_sparkplug_rebirth_requests_total"] == len(told) == 2
        letters = sqlite3.connect(connector.folder / "state" / "dead-letters.sqlite")
        ((topic, reasons),) = letters.execute("SELECT topic, reasons FROM letters").fetchall()
        assert (topic, "data_before_birth" in reasons) == ("spBv1.0/plant/NDATA/late", True)
        letters.close()
        status, ledger = connector.ledger()
        assert (status, ledger["balanced"]) == (0, True)
        assert ledger["messages"]["received"] == publisher.messages + len(told), "our own request came by too"


def saved(sandbox: SandboxServer) -> set[str]:
    return {key for key, signal in sandbox.signals().items() if signal.attributes["labels"]}
