"""From a broker to Clarify, with programs that nobody here wrote at the far ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyclarify
import pytest

from connector.conformance.dead_letters import letters_in
from connector.dead_letters.sqlite_store import SqliteLetters
from tests.brokers import Broker, Mosquitto, mosquitto_pub_program
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def source(broker: Broker, topics: str, more: str = "") -> str:
    protocol = "" if broker.real else '\n    protocol: "3.1.1"'
    return f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: [{topics}]{protocol}\n" + "".join(
        f"    {line}\n" for line in more.splitlines()
    )


FAST = "delivery:\n  max_delay: 200ms"


def test_what_mosquitto_pub_publishes_arrives_to_the_microsecond(sandbox: SandboxServer, tmp_path: Path) -> None:
    program = mosquitto_pub_program()
    with Mosquitto() as broker, ConnectorProcess(
        tmp_path, sandbox.credentials_path, source(broker, '"plant/#"'), FAST
    ).start() as connector:  # fmt: skip
        if program is None:
            pytest.skip("needs mosquitto_pub (Debian: apt-get install mosquitto-clients)")
        publications = [
            ("plant/press/7", '{"timestamp": "2026-05-01T06:00:00.123456Z", "force": 81.25, "strokes": 17}'),
            ("plant/press/7", '{"timestamp": "2026-05-01T08:00:01.5+02:00", "force": -0.1, "strokes": 18}'),
            ("plant/oven", '{"ts": 1777615200123, "zones": [{"t": 801.5}, {"t": 799}], "on": true, "mode": "auto"}'),
            ("plant/oven/door", "1777615200.25"),
            ("plant/bare", "21.5"),
            ("plant/broken", "{not json"),
        ]
        for topic, payload in publications:
            subprocess.run(
                [program, "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload],
                check=True,
                timeout=60,
            )
        wait_until(lambda: sandbox.count_samples() >= 9, 15, "nine samples in the sandbox")
        assert connector.stop() == 0
        assert sandbox.samples("plant/press/7:force") == [(1777615200123456, 81.25), (1777615201500000, -0.1)]
        assert sandbox.samples("plant/press/7:strokes") == [(1777615200123456, 17), (1777615201500000, 18)]
        assert sandbox.samples("plant/oven:zones.0.t") == [(1777615200123000, 801.5)]
        assert sandbox.samples("plant/oven:zones.1.t") == [(1777615200123000, 799)]
        assert sandbox.samples("plant/oven:on") == [(1777615200123000, 1)]
        assert [value for _, value in sandbox.samples("plant/bare")] == [21.5]
        assert [value for _, value in sandbox.samples("plant/oven/door")] == [1777615200.25]
        assert sandbox.count_samples() == 9
        status, ledger = connector.ledger()
        assert (status, ledger["balanced"]) == (0, True)
        assert ledger["messages"] == {
            "received": 6, "inserted": 5, "dead_lettered": 1, "filtered": 0, "superseded": 0, "waiting": 0,
        }  # fmt: skip
        assert ledger["samples"]["filtered"] == 1, "the oven's mode is text"


def test_with_the_best_broker_to_be_had(broker: Broker, sandbox: SandboxServer, tmp_path: Path) -> None:
    sources = source(broker, '"best/+/value"')
    with ConnectorProcess(tmp_path, sandbox.credentials_path, sources, FAST).start() as connector:
        with Publisher(broker.port, broker.host, seed=5) as publisher:
            for i in range(500):
                publisher.publish(f"best/{i % 7}/value")
            publisher.wait_acknowledged()
        wait_until(lambda: sandbox.count_samples() == 500, 20, "all samples")
        assert connector.stop() == 0
        for (input_id, time_us), value in publisher.sent.items():
            assert (time_us, value) in sandbox.samples(input_id)
        assert connector.ledger()[0] == 0


def test_rules_name_signals_and_metadata_is_saved_once(sandbox: SandboxServer, tmp_path: Path) -> None:
    mapping = """
mapping:
  rules:
    - topic: plant/{line}/{machine}/state
      input: "{line}.{machine}.{field}"
      name: "{machine} {field}"
      labels: {line: "{line}"}
      values:
        temp: {unit: °C}
        mode: {type: enum, enum_values: {0: off, 1: on}}
        secret: {skip: true}
    - topic: plant/ignored/#
      skip: true
"""
    with Mosquitto() as broker:
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source(broker, '"plant/#"'), FAST + mapping)
        with connector.start(), Publisher(broker.port) as publisher:
            publisher.raw("plant/l1/press/state", '{"ts": 1777615200, "temp": 20.5, "mode": 1, "secret": 5}')
            publisher.raw("plant/ignored/x", '{"a": 1}')
            publisher.raw("plant/l1/press", '{"a": 1}')
            publisher.wait_acknowledged()
            wait_until(lambda: "l1.press.mode" in sandbox.signals(), 10, "the signals")
            wait_until(lambda: sandbox.signals()["l1.press.temp"].attributes["engUnit"] == "°C", 10, "metadata")
            wait_until(
                lambda: connector.metrics()["clarify_connector_signals_saved_total"] == 2, 10, "both signals saved"
            )
            assert connector.stop() == 0
            signals = sandbox.signals()
            assert set(signals) == {"l1.press.temp", "l1.press.mode"}
            assert signals["l1.press.temp"].attributes["name"] == "press temp"
            assert signals["l1.press.temp"].attributes["labels"] == {"line": ["l1"]}
            assert signals["l1.press.mode"].attributes["valueType"] == "enum"
            assert signals["l1.press.mode"].attributes["enumValues"] == {"0": "off", "1": "on"}
            status, ledger = connector.ledger()
            assert status == 0
            assert ledger["messages"]["filtered"] == 2
            # Known from the state file, so not saved again after a restart.
            connector.start()
            publisher.raw("plant/l1/press/state", '{"ts": 1777615201, "temp": 21.5}')
            wait_until(lambda: len(sandbox.samples("l1.press.temp")) == 2, 10, "the second sample")
            assert connector.metrics()["clarify_connector_signals_saved_total"] == 0
            assert connector.stop() == 0


BAD = [
    ("invalid JSON", b"{not json", "invalid_json"),
    ("empty", b" ", "empty_payload"),
    ("10 MiB", b'{"a":"' + b"x" * (10 * 1024 * 1024) + b'"}', "payload_too_large"),
    ("deep nesting", b"[" * 100_000 + b"]" * 100_000, "nested_too_deeply"),
    ("NaN", b'{"v": NaN}', "not_finite"),
    ("infinity", b'{"v": Infinity, "w": -1e999}', "not_finite"),
    ("text", b'"running"', "no_numeric_value"),
    ("1970", b'{"ts": 0, "v": 1}', "time_out_of_range"),
    ("2200", b'{"ts": "2200-01-01T00:00:00Z", "v": 1}', "time_out_of_range"),
    ("duplicate keys", b'{"v": 1, "v": 2}', "duplicate_key"),
    ("not UTF-8", b'{"v": "\xff\xfe"}', "not_utf8"),
]


def test_bad_input_becomes_dead_letters_and_its_neighbours_arrive(sandbox: SandboxServer, tmp_path: Path) -> None:

    long_topic = "bad/" + "x" * 300
    with Mosquitto() as broker, ConnectorProcess(
        tmp_path, sandbox.credentials_path, source(broker, '"bad/#", "good/#"'), FAST
    ).start() as connector, Publisher(broker.port) as publisher:  # fmt: skip
        for number, (name, payload, _) in enumerate(BAD):
            publisher.publish(f"good/{number}")
            publisher.raw(f"bad/{name.replace(' ', '-')}", payload)
            publisher.publish(f"good/{number}")
        publisher.raw("bad/Größe €/✓", '{"Temp °C": 1.5, "ts": 1777615200}')
        publisher.raw(long_topic, '{"v": 2.5, "ts": 1777615200}')
        publisher.raw("bad/text-number", '{"v": "12.5", "ts": 1777615200}')
        publisher.wait_acknowledged()
        wait_until(lambda: connector.ledger()[1]["messages"]["waiting"] == 0, 60, "nothing waits", every=0.5)
        assert connector.stop() == 0
        for (input_id, time_us), value in publisher.sent.items():
            assert (time_us, value) in sandbox.samples(input_id)
        odd = {key: sandbox.samples(key) for key in sandbox.signals() if key.startswith("bad/")}
        assert all(len(key) <= 128 for key in odd)
        assert odd.pop("bad/text-number:v") == [(1777615200000000, 12.5)]
        assert odd.pop("bad/duplicate-keys:v")[0][1] == 2
        assert sorted(samples[0][1] for samples in odd.values()) == [1.5, 2.5]
        store = SqliteLetters(connector.folder / "state" / "dead-letters.sqlite", 10**9)
        kept = {letter.topic: letter for letter in letters_in(store)}
        store.close()
        for name, payload, reason in BAD:
            letter = kept[f"bad/{name.replace(' ', '-')}"]
            assert letter.record is not None
            assert (letter.rejects[0].reason, letter.record.payload) == (reason, payload[: 512 * 1024])
            assert letter.whole is (len(payload) <= 512 * 1024)
        status, ledger = connector.ledger()
        assert status == 0, json.dumps(ledger, indent=1)
        assert ledger["messages"]["received"] == publisher.messages


def test_pyclarify_reads_back_what_came_over_mqtt(sandbox: SandboxServer, tmp_path: Path) -> None:
    with Mosquitto() as broker, ConnectorProcess(
        tmp_path, sandbox.credentials_path, source(broker, '"plant/#"'), FAST
    ).start() as connector:  # fmt: skip
        with Publisher(broker.port) as publisher:
            for second in range(90):
                ts = f"2026-05-01T06:{second // 60:02d}:{second % 60:02d}.5Z"
                publisher.raw("plant/oven", json.dumps({"ts": ts, "t": 800 + second, "p": 1.5}))
            publisher.wait_acknowledged()
        wait_until(lambda: sandbox.count_samples() == 180, 15, "all samples")
        assert connector.stop() == 0
    client = pyclarify.Client(str(sandbox.credentials_path))
    signals = {found.attributes.input: found.id for found in client.select_signals().result.data}
    items = {key: pyclarify.Item(name=key, visible=True) for key in signals}
    published = client.publish_signals(items_by_signal={signals[key]: item for key, item in items.items()})
    ids = {key: published.result.itemsBySignal[signal].id for key, signal in signals.items()}
    window = {"gte": "2026-05-01T00:00:00Z", "lt": "2026-05-02T00:00:00Z"}
    raw = client.data_frame(**window).result.data
    assert raw.series == {ids["plant/oven:t"]: [800.0 + n for n in range(90)], ids["plant/oven:p"]: [1.5] * 90}
    assert raw.times[-1].isoformat() == "2026-05-01T06:01:29.500000+00:00"
    rolled_up = client.data_frame(rollup="PT1M", **window).result.data
    assert [time.isoformat() for time in rolled_up.times] == ["2026-05-01T06:00:00+00:00", "2026-05-01T06:01:00+00:00"]
    assert rolled_up.series[f"{ids['plant/oven:t']}_avg"] == [829.5, 874.5]
    assert rolled_up.series[f"{ids['plant/oven:t']}_count"] == [60, 30]
    assert rolled_up.series[f"{ids['plant/oven:p']}_sum"] == [90, 45]
