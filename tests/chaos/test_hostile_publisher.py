"""A hostile publisher cannot exhaust memory or disk, nor keep others' values away: docs/security.md has the bounds.

Small bounds are set, so that they are reached within seconds; `python -m benchmarks.hostile_publisher` does it with a
million topics and the default ones.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from backports import zstd
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.flood import flood
from benchmarks.hostile_publisher import peak_bytes, sizes
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

MIB = 1024 * 1024
TOPICS = 4_000
SMALL_BOUNDS = """
signals: {max: 200}
dead_letters: {max_bytes: 2MiB}
mapping:
  rules:
    - {topic: plant/honest}
    - {topic: plant/same/+, input: one}
    - {topic: "#"}
"""


def settled(connector: ConnectorProcess) -> float:
    name = "clarify_connector_messages_settled_total{"
    return sum(value for series, value in connector.metrics().items() if series.startswith(name))


def wait_settled(connector: ConnectorProcess, messages: int) -> None:
    wait_until(lambda: settled(connector) >= messages, 120, lambda: f"settled: {connector.metrics()}", every=0.5)


def topics() -> Iterator[tuple[bytes, bytes]]:
    """Short ones, some of the longest, some that all want one input ID, deep ones; each with one value."""
    for i in range(TOPICS):
        yield b"plant/%d" % i, b'{"value":%d}' % i
        if i % 50 == 0:
            yield (b"plant/long/%d/" % i).ljust(65_535, b"x"), b'{"value":1}'
            yield b"plant/deep%d" % i + b"/x" * 150, b'{"value":1}'
        if i % 10 == 0:
            yield b"plant/same/%d" % i, b'{"value":1}'


def test_distinct_topics_without_end(tmp_path: Path) -> None:
    with SandboxServer() as sandbox, Mosquitto() as broker:
        source = f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{broker.port}", topics: ["#"]}}'
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, SMALL_BOUNDS)
        text = connector.config.read_text()
        connector.config.write_text(text.replace("observe:\n", "observe:\n  ledger_topics: 500\n"))
        with connector.start(), Publisher(broker.port) as honest:
            honest.publish("plant/honest")
            wait_until(lambda: sandbox.count_samples() == 1, 20, "the first honest value")
            before = connector.rss_bytes()
            hostile = list(topics())
            flood(broker.port, hostile)
            honest.publish("plant/honest")
            honest.wait_acknowledged()
            everything = len(hostile) + 2
            wait_settled(connector, everything)
            assert len(sandbox.samples("plant/honest:value")) == 2
            assert len(sandbox.signals()) == 200
            grown = peak_bytes(connector.pid) - before
            assert grown < 120 * MIB, f"{grown / MIB:.0f} MiB more than before"
            assert len(re.findall(r"(?m)^\S", connector.log())) < 150, "lines"
            assert len(connector.log()) < 200_000
            assert len(str(connector.metrics())) < 40_000
            assert connector.stop() == 0
            disk = sizes(tmp_path / "state")
            disk.pop("plant.sqlite.reserve")
            assert sum(disk.values()) < 45 * MIB, disk
            status, ledger = connector.ledger()
            assert status == 0, ledger["sources"]["plant"]["problems"]
            messages = ledger["messages"]
            assert messages["received"] == everything == messages["inserted"] + messages["dead_lettered"]
            lines = ledger["sources"]["plant"]["topics"]
            assert len(lines) <= 501
            assert max(map(len, lines)) <= 1000
            assert lines["(other topics)"]["messages"]["received"] > TOPICS - 500


EXPANDING = 16
"""Payloads of a few kB that become 15,000 values each."""
BOMB = bytes(24 * MIB)
RULES = """
mapping:
  rules:
    - {topic: plant/honest}
    - {topic: evil/gzip, compression: gzip}
    - {topic: evil/zlib, compression: zlib}
    - {topic: evil/zstd, compression: zstd}
    - {topic: evil/lz4, compression: lz4}
    - {topic: evil/auto, compression: auto}
    - {topic: evil/cbor, format: cbor}
    - {topic: evil/msgpack, format: messagepack}
    - {topic: evil/avro, format: {type: avro, schema_file: lies.avsc}}
    - {topic: evil/protobuf, format: {type: protobuf, proto_file: lies.proto, message: Lies}}
    - {topic: "#"}
"""


def payloads() -> Iterator[tuple[str, bytes]]:
    """(topic, payload) of messages that claim, or become, far more than they are."""
    bombs = {
        "gzip": gzip.compress(BOMB), "zlib": zlib.compress(BOMB), "zstd": zstd.compress(BOMB),
        "lz4": lz4.frame.compress(BOMB),
    }  # fmt: skip
    for name, bomb in bombs.items():
        yield f"evil/{name}", bomb
        yield "evil/auto", bomb
        if name != "lz4":  # 800 kB
            yield "evil/auto", gzip.compress(bomb)
    values = b"{" + b",".join(b'"key%d":%d' % (i, i) for i in range(15_000)) + b"}"
    for _ in range(EXPANDING):  # each is legal, and becomes 15,000 values
        yield "evil/gzip", gzip.compress(values)
    yield "evil/json", b"[" * 100_000 + b"1" + b"]" * 100_000
    yield "evil/json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "evil/json", b"{" + b",".join(b'"k%d":1' % i for i in range(300_000)) + b"}"
    yield "evil/json", b'{"v":' + b"9" * 1_000_000 + b"}"
    yield "evil/json", b'{"v":0.' + b"9" * 1_000_000 + b"}"
    yield "evil/json", b'{"' + b"k" * 3_000_000 + b'":1}'
    yield "evil/cbor", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"
    yield "evil/cbor", b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff"
    yield "evil/cbor", b"\x81" * 100_000
    yield "evil/msgpack", b"\xdd\xff\xff\xff\xff"
    yield "evil/msgpack", b"\xdf\xff\xff\xff\xff\xa1a"
    yield "evil/msgpack", b"\x91" * 100_000
    yield "evil/avro", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    yield "evil/avro", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"
    yield "evil/protobuf", b"\x0a\xff\xff\xff\xff\x0f"
    yield "evil/protobuf", b"\x0a\x7f" * 50_000
    yield "evil/large", bytes(5 * MIB)
    yield "evil/larger", bytes(100 * MIB)


@pytest.mark.timeout(600)
def test_payloads_that_are_more_than_they_seem(tmp_path: Path) -> None:
    (tmp_path / "lies.avsc").write_text('{"type": "array", "items": "double"}')
    (tmp_path / "lies.proto").write_text(
        'syntax = "proto3"; message Lies { repeated double values = 1; Lies more = 2; }'
    )
    with SandboxServer(rate_limiter="off") as sandbox, Mosquitto() as broker:
        source = f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{broker.port}", topics: ["#"]}}'
        more = (
            RULES + "dead_letters: {max_bytes: 16MiB}\ndelivery: {max_waiting_samples: 50000, requests_per_second: 10}"
        )
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, more)
        with connector.start(), Publisher(broker.port) as honest:
            before = connector.rss_bytes()
            evil = list(payloads())
            for topic, payload in evil:
                honest.raw(topic, payload)
            honest.publish("plant/honest")
            wait_until(lambda: settled(connector) > 0, 180, lambda: f"one is settled: {connector.log()[-3000:]}")
            peak = peak_bytes(connector.pid)
            connector.kill()  # in the middle of chunks that become very much
            connector.start()
            honest.wait_acknowledged()
            with_headers = hostile_headers(broker.port)
            everything = honest.messages + with_headers

            def all_settled() -> bool:
                messages = connector.ledger()[1]["messages"]
                return bool(messages["waiting"] == 0 and messages["received"] >= everything)

            wait_until(all_settled, 120, lambda: f"settled: {connector.metrics()}", every=1.0)
            grown = max(peak, peak_bytes(connector.pid)) - before
            assert grown < 250 * MIB, f"{grown / MIB:.0f} MiB more than before"
            for name in ("key0", "key14999"):
                assert len(sandbox.samples(f"evil/gzip:{name}")) >= EXPANDING  # what came again has a time of its own
            assert len(sandbox.samples("plant/honest:value")) == 1
            assert connector.stop() == 0
            disk = sizes(tmp_path / "state")
            assert disk["dead-letters.sqlite"] < 40 * MIB, disk
            status, ledger = connector.ledger()
            assert status == 0, ledger["sources"]["plant"]["problems"]
            assert ledger["messages"]["received"] >= everything  # some came again after the kill
            assert ledger["messages"]["dead_lettered"] >= len(evil) - 20
            log = connector.log()
            assert "Traceback" not in log
            assert len(log) < 100_000


def hostile_headers(port: int) -> int:
    """Messages of MQTT 5 whose user properties are longer than anything that is kept; how many."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    properties: Any = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("name", "x" * 60_000)] * 100
    for _ in range(3):
        client.publish("evil/headers", b'{"v":1}', qos=1, properties=properties).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    return 3
