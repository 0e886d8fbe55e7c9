"""`clarify-connector init`: what it recognises, and that what it writes is a configuration to start from."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

import cbor2
import lz4.frame
import msgspec
import pytest
from backports import zstd
from click.testing import Result

from connector.commands.cli import main
from connector.config.read import load_config
from connector.mapping.rules.section import RuleSection
from connector.records import Record, TimeKind
from connector.sources.file.lines import capture_line
from connector.sources.kafka.section import KafkaSection
from connector.sources.mqtt.section import MqttSection
from connector.try_out.address import AddressError, parse_address
from connector.try_out.draft import draft
from connector.try_out.grouping import group_topics
from connector.try_out.observed import Observed, TopicSeen
from connector.try_out.sniff import sniff
from connector.try_out.time_fields import find_time
from connector.try_out.vendors import preset_for, vendor_of
from connector.try_out.write_config import config_text
from tests.credentials import credentials
from tests.secret_search import SearchedCommands
from tests.secrets_used import SETTING as SECRET

NOW = 1_790_000_000_000_000
SOURCE = {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]}
KAFKA = {"type": "kafka", "bootstrap_servers": ["k:1"], "topics": ["t"], "group_id": "g"}

# -- payloads --------------------------------------------------------------------------------------

OBJECT = b'{"a": 1}'


@pytest.mark.parametrize(
    ("payload", "format_", "compression"),
    [
        (OBJECT, "json", "none"),
        (b"[1, 2]", "json", "none"),
        (b'\xef\xbb\xbf{"a": 1}', "json", "none"),
        (b"21.5", "number", "none"),
        (b" -7e3\n", "number", "none"),
        (b"21.5 \xc2\xb0C", "number_with_unit", "none"),
        (b"ON", "state", "none"),
        (b"motor stopped", "text", "none"),
        (b'{"a": 1}\n{"a": 2}\n', "ndjson", "none"),
        (b"cpu,host=a usage=1.5,n=3i 1790000000000000000", "influx", "none"),
        (b'weather temp=21.5,name="a b"\nweather temp=22', "influx", "none"),
        (b"<p><t>21.5</t></p>", "xml", "none"),
        ("<p><t>21.5 \u00b0C</t></p>".encode("utf-16"), "xml", "none"),
        (b"<p", "text", "none"),
        (b'# TYPE temp gauge\ntemp{zone="a"} 21.5 1777615200000\n', "prometheus", "none"),
        (b'temp{zone="a"} 21.5\ntemp{zone="b"} NaN', "prometheus", "none"),
        (b"plant.temp 21.5 1777615200", "graphite", "none"),
        (b"temp;zone=a 21.5 1777615200", "graphite", "none"),
        (b'level=info temp=21.5 msg="all well"\nlevel=warn temp=22', "key_value", "none"),
        (b"T=21.5;H=40;", "key_value", "none"),
        ("T=21.5°C H=45% pump=on".encode(), "key_value", "none"),
        (b"T:21.5,H:40", "key_value", "none"),
        (b"12:34:56", "text", "none"),
        (b"time: 12:30", "text", "none"),
        (b"state: on, mode: auto", "text", "none"),
        (b"AA:BB:CC", "text", "none"),
        (b"time,temp\n2026-05-01T06:00:00Z,21.5\n", "csv", "none"),
        (b"5;3,2;ok", "csv", "none"),
        (b"1, 2, 3", "csv", "none"),
        (msgspec.msgpack.encode({"temp": 21.5}), "messagepack", "none"),
        (cbor2.dumps({"temp": 21.5, "n": 3}), "cbor", "none"),
        (b"\x00\x01\xff\xfe", "binary", "none"),
        (b"", "empty", "none"),
        (b" \n", "empty", "none"),
        (gzip.compress(OBJECT, mtime=0), "json", "gzip"),
        (zlib.compress(OBJECT), "json", "zlib"),
        (zstd.compress(OBJECT), "json", "zstd"),
        (lz4.frame.compress(OBJECT), "json", "lz4"),
        (gzip.compress(OBJECT, mtime=0)[:9], "binary", "none"),
        (b"\x28\xb5\x2f\xfd\x00", "binary", "none"),
    ],
)
def test_what_a_payload_is(payload: bytes, format_: str, compression: str) -> None:
    found = sniff(payload)
    assert (found.format, found.compression) == (format_, compression)


def test_csv_has_its_delimiter_and_names() -> None:
    found = sniff(b"ts;temp\n1790000000;21,5\n")
    assert (found.delimiter, found.header, found.documents) == (";", True, ({"ts": "1790000000", "temp": "21,5"},))
    assert sniff(b"1;2").documents == ({"column1": "1", "column2": "2"},)


def test_pairs_have_their_separator_and_sign() -> None:
    assert [(found.delimiter, found.assign) for found in map(sniff, (b"a=1 b=2", b"T:1;H:2", b"a=1&b=2"))] == [
        ("space", "="), (";", ":"), ("&", "=")]  # fmt: skip


def test_a_bomb_is_unpacked_only_so_far() -> None:
    found = sniff(gzip.compress(b"1" * 100_000_000, mtime=0))
    assert found.compression == "gzip"
    assert len(repr(found.documents)) < 5_000_000


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "path", "unit", "known"),
    [
        ({"ts": 1790000000, "v": 1}, "ts", "epoch in seconds", True),
        ({"timestamp": 1790000000123, "v": 1}, "timestamp", "epoch in milliseconds", True),
        ({"time": "1790000000123456"}, "time", "epoch in microseconds", True),
        ({"time": 1790000000123456789}, "time", "epoch in nanoseconds", True),
        ({"meta": {"ts": "2026-09-21T14:13:20+02:00"}}, "meta.ts", "ISO 8601", True),
        ({"Time": "2026-09-21T14:13:20"}, "Time", "ISO 8601 without a zone, taken as UTC", True),
        ({"measTime": "2026-09-21T14:00:00Z", "v": 1}, "measTime", "ISO 8601", False),
        ({"t": 1790000000, "v": 1}, "t", "epoch in seconds", False),
        ({"t": 1790000000, "ts": 1790000000}, "ts", "epoch in seconds", True),
    ],
)
def test_where_the_time_is(document: dict[str, object], path: str, unit: str, known: bool) -> None:
    found = find_time([document], NOW)
    assert found is not None
    assert (found.path, found.unit, found.known) == (path, unit, known)


@pytest.mark.parametrize(
    "documents",
    [
        [{"v": 21.5, "name": "2026 model", "serial": 1234567}],
        [{"ts": 1790000000}, {"v": 1}],
        [{"count": 1690000000}],
        [[1, 2]],
        [],
    ],
)
def test_where_no_time_is(documents: list[object]) -> None:
    assert find_time(documents, NOW) is None


# -- topics ----------------------------------------------------------------------------------------


def seen(topic: str, payload: bytes = OBJECT, messages: int = 1) -> TopicSeen:
    return TopicSeen(topic, messages, 0, [Record(topic, payload, NOW)], [sniff(payload)])


def patterns(*topics: str, separator: str = "/") -> list[str]:
    return [group.pattern for group in group_topics(map(seen, topics), separator)]


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["plant/line1/press/telemetry", "plant/line2/press/telemetry"], ["plant/{line}/press/telemetry"]),
        (["devices/a/up", "devices/b/up"], ["devices/{device}/up"]),
        (["a/kitchen/x", "a/cellar/x"], ["a/{level2}/x"]),
        (["sensor-1/t", "sensor-2/t"], ["{sensor}/t"]),
        (["heating/t", "lights/t"], ["heating/t", "lights/t"]),
        (["a/b", "a/b/c"], ["a/b", "a/b/c"]),
        (["/x/line1", "/x/line2"], ["/x/{line}"]),
        (["topics/a/x", "topics/b/x"], ["topics/{topic_2}/x"]),  # {topic} has a meaning of its own
        (["a/{b}/c"], ["a/{level2}/c"]),
        (["a/line1/line2", "a/line2/line3"], ["a/{line}/{line_3}"]),
    ],
)
def test_topics_become_patterns(topics: list[str], expected: list[str]) -> None:
    assert patterns(*topics) == expected


def test_kafkas_topics_have_dots() -> None:
    assert patterns("plant.line1.telemetry", "plant.line2.telemetry", separator=".") == ["plant.{line}.telemetry"]


def test_topics_with_other_fields_are_of_another_kind() -> None:
    one, other = b'{"a": 1, "b": 2}', b'{"x": 1, "y": 2}'
    groups = group_topics([seen("p/m1/s", one), seen("p/m2/s", one), seen("p/info/s", other)], "/")
    assert [group.pattern for group in groups] == ["p/info/s", "p/{m}/s"]


def test_levels_that_would_make_ever_new_signals() -> None:
    [group] = group_topics([seen(f"jobs/{n:016x}/done") for n in range(3)], "/")
    assert group.levels[0].looks_like_an_id
    [many] = group_topics([seen(f"rooms/r{n}/t") for n in range(60)], "/")
    assert not many.levels[0].looks_like_an_id
    assert many.levels[0].many


@pytest.mark.parametrize(
    ("topic", "payload", "name"),
    [
        ("spBv1.0/g/NDATA/n", b"\x08\x01", "Sparkplug B"),
        ("tele/plug1/SENSOR", b'{"Time": "2026-09-21T14:13:20", "ENERGY": {"Power": 5}}', "Tasmota"),
        ("zigbee2mqtt/door", b'{"contact": true}', "Zigbee2MQTT"),
        ("homie/kettle/water/temperature", b"80.5", "Homie"),
        ("shellies/shelly1-98F4AB/relay/0/power", b"0.00", "Shelly (first generation)"),
        ("shellyplus1-a8032abe54dc/status/switch:0", b'{"id": 0, "output": true}', "Shelly"),
        ("application/1/device/0102030405060708/event/up", b'{"deviceInfo": {}, "object": {}}', "ChirpStack"),
        ("v3/app@tenant/devices/dev1/up", b'{"end_device_ids": {}}', "The Things Stack"),
        ("homeassistant/sensor/t/state", b"21.5", "Home Assistant"),
        ("kep", b'{"timestamp": 1, "values": [{"id": "a", "v": 1, "q": true, "t": 1}]}', "Kepware IoT Gateway"),
        ("opcua/json/data/a", b'{"MessageId": "1", "MessageType": "ua-data", "Messages": []}', "OPC UA PubSub"),
        ("s", b'[{"bn": "urn:dev:1:", "n": "temp", "u": "Cel", "v": 23.1}]', "SenML"),
        ("s", b'[{"n": "urn:dev:ow:10e2073a01080063", "v": 23.1}, {"n": "x", "vs": "y"}]', "SenML"),
        ("db", b'{"before": null, "after": {"id": 1}, "source": {}, "op": "c", "ts_ms": 1}', "Debezium"),
        ("db", b'{"schema": {}, "payload": {"op": "c", "after": {}, "source": {}}}', "Debezium"),
        ("c", b'{"schema": {"type": "struct"}, "payload": {"v": 1}}', "Kafka Connect"),
    ],
)
def test_who_publishes_like_this(topic: str, payload: bytes, name: str) -> None:
    found = vendor_of([seen(topic, payload)])
    assert found is not None
    assert found.name == name


def test_nobody_in_particular_publishes_like_this() -> None:
    assert vendor_of([seen("plant/press", b'{"v": 1}')]) is None
    assert vendor_of([seen("s", b'[{"a": 1}]')]) is None
    assert vendor_of([TopicSeen("s", 1, 0, [], [])]) is None
    assert vendor_of([seen("tele/a"), seen("plant/b")]) is None


def test_presets_are_found_however_they_are_spelt() -> None:
    shelly = vendor_of([seen("shellies/a")])
    assert shelly is not None
    assert preset_for(shelly, ["shelly", "shelly_gen1"]) == "shelly_gen1"
    assert preset_for(shelly, ["tasmota"]) is None


# -- addresses and secrets -------------------------------------------------------------------------


def test_an_mqtt_address() -> None:
    found = parse_address(f"mqtts://me:{SECRET}@broker.example.com:8884", ["a/#"], environment={})
    assert isinstance(found.section, MqttSection)
    assert found.section.password is not None
    assert found.section.password.get_secret_value() == SECRET
    assert found.settings == {
        "type": "mqtt",
        "url": "mqtts://broker.example.com:8884",
        "topics": ["a/#"],
        "username": "me",
        "password": "${MQTT_PASSWORD}",
    }


def test_a_password_from_the_environment_and_escapes_in_the_address() -> None:
    found = parse_address("ws://h/mqtt?x=1", ["#"], username="me", environment={"MQTT_PASSWORD": SECRET})
    assert found.settings["url"] == "ws://h/mqtt?x=1"
    assert found.settings["password"] == "${MQTT_PASSWORD}"
    escaped = parse_address("mqtt://me%40x:p%40ss@[::1]:1883", ["#"], environment={}).section
    assert isinstance(escaped, MqttSection)
    assert escaped.username == "me@x"
    assert escaped.url == "mqtt://[::1]:1883"
    assert escaped.password is not None
    assert escaped.password.get_secret_value() == "p@ss"
    assert "password" not in parse_address("mqtt://h", ["#"], environment={"MQTT_PASSWORD": SECRET}).settings


def test_a_kafka_address() -> None:
    found = parse_address("kafkas://me@a:9093,b:9093", ["t"], environment={"KAFKA_PASSWORD": SECRET})
    assert isinstance(found.section, KafkaSection)
    assert found.section.bootstrap_servers == ["a:9093", "b:9093"]
    assert found.section.sasl is not None
    assert found.settings["sasl"] == {"mechanism": "SCRAM-SHA-512", "username": "me", "password": "${KAFKA_PASSWORD}"}
    assert "sasl" not in parse_address("kafka://a:9092", ["t"], environment={}).settings


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("broker.example.com", "is not understood; write for example mqtts://"),
        ("http://broker", "'http' is not understood"),
        ("mqtt://", "the address has no host"),
        (f"mqtt://me:{SECRET}#x@h:1", "the address cannot be read"),
        ("mqtt://h:99999", "the port is not a number"),
        ("kafka://h", "a server is host:port"),
        ("kafkas://me@h:1", "set the password in the environment variable KAFKA_PASSWORD"),
        (f"mqtt://me:{SECRET}@h/path", "a path belongs only to ws://"),
    ],
)
def test_an_address_that_cannot_be_used(address: str, words: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(address, ["#"], environment={})
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)


# -- the draft -------------------------------------------------------------------------------------


def drafted(messages: dict[str, list[bytes]], source: dict[str, object] | None = None) -> list[dict[str, object]]:
    observed = Observed()
    for topic, payloads in messages.items():
        for payload in payloads:
            observed.add("", Record(topic, payload, NOW))
    return [rule.settings for rule in draft(observed, source or SOURCE).rules]


def test_what_cannot_be_read_has_no_rule_but_a_comment_that_says_why_and_what_to_set() -> None:
    observed = Observed()
    messages = {
        "a": b"ON", "b": b"21", "c": b'{"name": "x"}', "d": b"\xff\xfe", "e": b"21,5 \xc2\xb0C", "f": b"stopped: E5",
        "g": b"", "h": b'"OPEN"',
    }  # fmt: skip
    for topic, payload in messages.items():
        observed.add("", Record(topic, payload, NOW))
    found = draft(observed, SOURCE)
    assert [rule.settings for rule in found.rules] == [
        {"topic": "a", "format": "text", "states": {"OFF": 0, "ON": 1}},
        {"topic": "b"},
        {"topic": "e", "format": "text", "strip_unit": True, "decimal_comma": True},
        {"topic": "h", "states": {"CLOSED": 0, "OPEN": 1}},
    ]
    assert {str(rule.settings["topic"]): rule.settings for rule in found.without_rule} == {
        "c": {"topic": "c"},
        "d": {"topic": "d", "format": {"type": "binary", "fields": [{"name": "value", "type": "f32"}]}},
        "f": {"topic": "f", "format": "text"},
        "g": {"topic": "g"},
    }
    text = config_text(found, "a broker", "preview")
    assert "skip: true\n" not in text
    comment = " ".join(text[text.index("NOT MAPPED YET") :].replace("#", "").split())
    for words in (
        "Why: bytes whose layout is not known To do: describe the layout in format",
        "Why: no numbers or booleans came of the messages (no number or boolean in an object of 1",
    ):
        assert words in comment


def test_a_topic_that_the_unreadable_stood_before_is_tried_again() -> None:
    messages = {f"x/{n}": [b"what"] for n in "ab"} | {"x/c/d": [b"1"], "x/e": [b"2"]}
    observed = Observed()
    for topic, [payload] in messages.items():
        observed.add("", Record(topic, payload, NOW))
    found = draft(observed, SOURCE)
    taken = [seen.topic for rule in found.rules for seen in rule.group.topics]
    assert sorted(taken) == ["x/c/d", "x/e"]
    assert sorted(seen.topic for rule in found.without_rule for seen in rule.group.topics) == ["x/a", "x/b"]


def test_a_time_that_no_name_gives_away_is_named() -> None:
    assert drafted({"a": [b'{"m": {"t": 1790000000}, "v": 1}']}) == [{"topic": "a", "time": "m.t"}]
    assert drafted({"a": [b'{"m": {"ts": 1790000000}, "v": 1}']}) == [{"topic": "a"}]


@pytest.mark.parametrize(
    ("payload", "settings"),
    [
        (b"time;temp\n2026-05-01T06:00:00Z;21,5\n", {"format": {"type": "csv", "delimiter": ";", "decimal": ","}}),
        (b"1\t2", {"format": {"type": "csv", "delimiter": "tab", "columns": ["column1", "column2"]}}),
        (b'{"a": 1}\n{"a": 2}', {"format": "ndjson"}),
        (b"<p><t>1</t></p>", {"format": "xml"}),
        (b'a{b="1"} 2', {"format": "prometheus"}),
        (b"a.b 2 1777615200", {"format": "graphite"}),
        (b"T=1;H=2", {"format": {"type": "key_value", "separator": ";", "assign": "="}}),
        (b"cpu,host=a usage=1.5", {"format": "influx"}),
        (cbor2.dumps({"a": 1}), {"format": "cbor"}),
        (gzip.compress(b'{"a": 1}', mtime=0), {"compression": "gzip"}),
    ],
)
def test_a_format_is_named_where_this_version_reads_it_and_else_left_out(
    payload: bytes, settings: dict[str, object]
) -> None:
    known = settings.keys() <= RuleSection.model_fields.keys()
    assert drafted({"a": [payload]}) == ([{"topic": "a", **settings}] if known else [])


def test_a_preset_is_taken_where_this_version_has_one() -> None:
    known = "preset" in RuleSection.model_fields
    door = {"zigbee2mqtt/door": [b'{"contact": true, "battery": 97}']}
    assert drafted(door) == [{"preset": "zigbee2mqtt"} if known else {"topic": "zigbee2mqtt/door"}]
    [odd] = drafted({"tele/plug/odd/topic": [b'{"v": 1}']})  # a preset's topics are not all that are called so
    assert odd == {"topic": "tele/plug/odd/topic"}


def test_keys_tell_devices_apart() -> None:
    observed = Observed()
    for key in (b"press-1", b"press-2"):
        observed.add("", Record("plant", b'{"v": 1}', NOW, key, time_kind=TimeKind.CREATED, received_us=NOW))
    [rule] = draft(observed, KAFKA).rules
    assert rule.settings == {"topic": "plant", "key": "#"}
    assert rule.signals == ["plant/press-1:v", "plant/press-2:v"]


def test_what_comes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.try_out.observed._MAX_TOPICS", 10)
    observed = Observed()
    for n in range(100):
        observed.add("", Record(f"t/{n % 20}", b"1", NOW))
    assert (len(observed.topics), observed.messages, observed.other_topics) == (10, 100, 50)
    assert all(len(found.records) <= 8 for found in observed.topics.values())


# -- the command -----------------------------------------------------------------------------------

MESSAGES = [
    *(Record(f"plant/line{n % 2}/press/telemetry", json.dumps({"ts": 1790000000 + n, "pressure": n / 3}).encode(), NOW)
      for n in range(10)),
    Record("plant/line1/press/debug", b"heap 5123", NOW),
    Record("pri$$ce/${HOME}/# x", b'{"v": 1}', NOW),
    Record("ø/'\"\n\t/x", b"5", NOW),
    Record("yes", b"1", NOW),
    Record("tele/plug1/SENSOR", b'{"Time": "2026-09-21T14:13:20", "ENERGY": {"Power": 5}}', NOW),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "capture.ndjson").write_bytes(b"".join(capture_line("x", record) for record in MESSAGES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*options: str, status: int = 0) -> Result:
    result = SearchedCommands(env={"MQTT_PASSWORD": SECRET}).invoke(main, ["init", *options])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    return result


def test_what_is_written_passes_the_check_and_the_preview(folder: Path) -> None:
    init("--input", "capture.ndjson")
    text = (folder / "connector.yaml").read_text()
    assert "15 messages on 7 topics" in " ".join(text.replace("#", "").split())
    assert "plant/line0/press/telemetry:pressure" in text
    assert "Tasmota publishes like this" in text
    assert "ts, epoch in seconds (1790000000), found by the name" in " ".join(text.replace("#", "").split())
    (folder / "clarify-credentials.json").write_text(json.dumps(credentials(secret=SECRET)))
    checked = SearchedCommands().invoke(main, ["check", "connector.yaml"])
    assert checked.exit_code == 0, checked.output
    shown = SearchedCommands().invoke(
        main, ["preview", "connector.yaml", "--input", "capture.ndjson", "--no-clarify", "--json"]
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    wanted = {"received": 15, "mapped": 14, "rejected": 1, "left_out": 0, "waiting_for_schema": 0}
    assert found["messages"] == wanted
    assert found["rules_that_took_nothing"] == []


def test_an_address_says_what_to_write_and_its_password_is_not_written(folder: Path) -> None:
    init(f"mqtts://me:{SECRET}@broker.example.com", "--topics", "plant/#", "--input", "capture.ndjson")
    text = (folder / "connector.yaml").read_text()
    assert SECRET not in text
    config = load_config(folder / "connector.yaml", {"MQTT_PASSWORD": "other"})
    [source] = config.sources
    assert isinstance(source, MqttSection)
    assert (source.url, source.topics, source.username) == ("mqtts://broker.example.com", ["plant/#"], "me")
    assert source.password is not None
    assert source.password.get_secret_value() == "other"


def test_a_file_that_exists_is_kept(folder: Path) -> None:
    (folder / "connector.yaml").write_text("mine")
    assert "connector.yaml exists; --force replaces the file" in init("--input", "capture.ndjson", status=1).output
    assert (folder / "connector.yaml").read_text() == "mine"
    init("--input", "capture.ndjson", "--force")
    assert "mapping:" in (folder / "connector.yaml").read_text()
    init("--input", "capture.ndjson", "--output", "second.yaml")
    assert init("--input", "capture.ndjson", "--output", "-").stdout == (folder / "second.yaml").read_text().replace(
        "second.yaml", "connector.yaml"
    )


def test_a_capture_of_kafka_gets_a_kafka_source(folder: Path) -> None:
    records = [Record("plant.l1.t", b'{"v": 1}', NOW, b"k", time_kind=TimeKind.CREATED, received_us=NOW)]
    (folder / "capture.ndjson").write_bytes(b"".join(capture_line("x", record) for record in records))
    init("--input", "capture.ndjson")
    [source] = load_config(folder / "connector.yaml").sources
    assert isinstance(source, KafkaSection)
    assert source.topics == ["plant.l1.t"]


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ({"topic": "plant/a", "time": "2026-05-01T06:00:00Z", "payload": {"v": 1}}, "plant/#"),
        ({"topic": "temp", "payload": {"v": 1}}, "temp"),
        ({"topic": "+/#", "payload": {"v": 1}}, "#"),
        ({"topic": "a\0b", "payload": {"v": 1}}, "#"),
        ({"topic": "a+b/c", "time": 1790000000, "payload_text": "5"}, "#"),
    ],
)
def test_a_capture_of_mqtt_that_was_written_by_hand(folder: Path, line: dict[str, object], url: str) -> None:
    (folder / "capture.ndjson").write_text(json.dumps(line) + "\n")
    init("--input", "capture.ndjson")
    [source] = load_config(folder / "connector.yaml").sources
    assert isinstance(source, MqttSection)
    assert source.topics == [url]
    assert "this source is a guess" in (folder / "connector.yaml").read_text()


GOOD = b'{"topic": "plant/a", "payload": {"v": 1}}'


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + GOOD, b"\r\n\r\n" + GOOD + b"\r\n \r\n", GOOD + b"\n\n\n" + GOOD],
    ids=["byte order mark", "line ends of Windows", "empty lines"],
)
def test_what_editors_do_to_a_capture_does_no_harm(folder: Path, content: bytes) -> None:
    (folder / "capture.ndjson").write_bytes(content)
    assert "not read" not in init("--input", "capture.ndjson").output
    assert "could not be read" not in (folder / "connector.yaml").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"topic": "a", "payload": {"v": 1}', "the line is no record: unexpected end of data"),
        (b"[1]", "a record must be a JSON object"),
        (b'{"payload": 1}', "topic must be a text"),
        (b'{"topic": 5, "payload": 1}', "topic must be a text"),
        (b'{"topic": "a"}', "exactly one of payload, payload_text, payload_base64 is needed"),
        (b'{"topic": "a", "payload": 1, "time": "yesterday"}', "time: "),
        (b'{"topic": "a", "payload": 1, "time": []}', "time: "),
        (b'{"topic": "a", "payload": 1, "time": "2026-05-01T06:00:00Z", "time_kind": 3}', "time_kind must be one of"),
        (b'{"topic": "a", "payload": 1, "qos": 1}', "'qos' is not known; known are"),
        (b'{"topic": "a", "payload_text": 5}', "payload_text must be a text"),
        (b'{"topic": "a", "payload_base64": "?"}', "payload_base64: "),
        (b'{"topic": "a", "payload": 1, "headers": 3}', "headers must be"),
        (b'{"topic": "\xff", "payload": 1}', "the line is no record"),
        ('{"topic": "a", "payload": 1}'.encode("utf-16"), "the line is UTF-16; save the file as UTF-8"),
    ],
)
def test_a_line_that_is_no_record_is_named_with_its_file_and_number(folder: Path, line: bytes, words: str) -> None:
    (folder / "bad.ndjson").write_bytes(b"\n" + line + b"\n" + line[:9] + b"\n")
    said = init("--input", "bad.ndjson", status=1).output
    assert f"bad.ndjson, line 2: {'the line is no record: ' if 'no record' not in words else ''}" in said
    assert words in said
    assert "1 other lines cannot be read either" in said
    (folder / "some.ndjson").write_bytes(GOOD + b"\n" + line + b"\n")
    said = init("--input", "some.ndjson").output
    assert "not read: 1 lines of the capture, such as line 2: the line is no record: " in said
    assert "such as line 2: the line is no record" in " ".join(
        (folder / "connector.yaml").read_text().replace("#", "").split()
    )


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "name a broker, such as mqtt://localhost:1883, or a capture with --input"),
        (("--input", "nothere"), 2, "does not exist"),
        (("--input", os.devnull), 1, "no message came"),
        (("--input", "capture.ndjson", "--save", "x"), 2, "--save needs a broker to listen to"),
        (("kafka://h:1",), 1, "name the topics with --topics"),
        (("ftp://h",), 1, "'ftp' is not understood"),
        (("mqtt://127.0.0.1:1", "--for", "1s"), 1, "cannot connect to 127.0.0.1:1: connection refused"),
    ],
)
def test_what_cannot_be_done(folder: Path, options: tuple[str, ...], status: int, words: str) -> None:
    assert words in init(*options, status=status).output
    assert not (folder / "connector.yaml").exists()


def rules_for(*messages: tuple[str, bytes]) -> list[dict[str, object]]:
    observed = Observed()
    for topic, payload in messages:
        observed.add("", Record(topic, payload, NOW))
    return [rule.settings for rule in draft(observed, SOURCE).rules]


def test_a_semicolon_divides_columns_where_a_comma_is_one_of_decimal_numbers() -> None:
    (rule,) = rules_for(("log", b"01.05.2026 08:00:00;21,5\n01.05.2026 08:01:00;21,6\n"))
    assert rule["format"] == {"type": "csv", "delimiter": ";", "columns": ["column1", "column2"], "decimal": ","}
    assert isinstance(rule["time"], dict)
    assert (rule["time"]["field"], rule["time"]["format"]) == ("column1", "%d.%m.%Y %H:%M:%S")


def test_words_for_states_in_the_items_of_a_list() -> None:
    (rule,) = rules_for(("t", b'{"vals": [{"id": "a", "v": 1, "state": "RUN"}, {"id": "b", "v": 2, "state": "STOP"}]}'))
    assert rule == {
        "topic": "t",
        "iterate": "vals",
        "item_name": "id",
        "values": {"state": {"states": {"STOP": 0, "RUN": 1}}},
    }


def test_numbers_in_text_are_read_where_they_are_certain() -> None:
    first = {
        "t": "21.5 °C",
        "flow": "1 234,5 m³/h",
        "hours": "0,5",
        "status": "0x0D",
        "up": "0T01:00:16",
        "down": "PT5M",
    }
    unsure = {"a": "1,234", "b": "08:00:00", "c": "12-34", "version": "1.2 beta", "d": "2 of 3", "plain": "21.5"}
    first["thousands"] = "1.234"
    second = {
        "thousands": "1.234,5",
        "t": "-2 °C",
        "flow": "2,5 m³/h",
        "hours": "1,5",
        "status": "0xFF",
        "up": "2d 01:00:16",
        "down": "P1D",
    }
    (rule,) = rules_for(*[("t", json.dumps(one | unsure, ensure_ascii=False).encode()) for one in (first, second)])
    assert rule["values"] == {
        "t": {"strip_unit": True},
        "flow": {"strip_unit": True, "number": "auto"},
        "hours": {"number": "auto"},
        "status": {"number": "hex"},
        "up": {"number": "duration"},
        "down": {"number": "duration"},
    }


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        (("tele/x/S1",), "CAREFUL: the preset takes no value from the messages of 1 topic, such as tele/x/S1"),
        (("tele/x/SENSOR", "tele/x/S1", "tele/x/S2"), "the preset takes no value from the messages of 2 topics"),
        (("tele/x/SENSOR",), ""),
    ],
)
def test_what_a_preset_leaves_out_is_said(topics: tuple[str, ...], said: str) -> None:
    observed = Observed()
    for number, topic in enumerate(topics, 1):
        observed.add("", Record(topic, OBJECT, NOW), number)
    [rule] = draft(observed, SOURCE).rules
    found = [note for note in rule.notes if "takes no value" in note]
    assert rule.settings == {"preset": "tasmota"}
    assert [note[: len(said)] for note in found] == ([said] if said else [])


@pytest.mark.parametrize(
    ("payload", "settings", "note"),
    [
        (
            {"lead": "<0,05", "pH": "7,1"},
            {"values": {"lead": {"number": "auto", "limit": "value"}, "pH": {"number": "auto"}}},
            "limits such as <0.05 in lead",
        ),
        ({"Cl": ">100"}, {"values": {"Cl": {"limit": "value"}}}, "limits such as <0.05 in Cl"),
        ({"W": 12345, "W_SF": -1}, {"scale": {"path": "{path}_SF", "power_of_ten": True}}, "power of ten"),
        (
            {"W": 12345, "W_SF": -1, "Hz": 50},
            {"scale": {"path": "{path}_SF", "power_of_ten": True, "default": 0}},
            "power of ten",
        ),
        (
            {"sec": 1790000000, "nanosec": 5_000_000, "v": 1},
            {"time": {"field": "sec", "plus": {"path": "nanosec", "unit": "ns"}}},
            "the time is in two fields",
        ),
        ({"acc": [0.1, 0.2, 0.3]}, {}, "CAREFUL: each place of a list becomes a signal, such as 't:acc.2'"),
    ],
)
def test_a_shape_has_its_rule_or_a_word(payload: object, settings: dict[str, object], note: str) -> None:
    observed = Observed()
    observed.add("", Record("t", json.dumps(payload).encode(), NOW), 1)
    [rule] = draft(observed, SOURCE).rules
    assert rule.settings == {"topic": "t", **settings}
    assert any(one.startswith(note) or note in one for one in rule.notes)


def test_pairs_with_units() -> None:
    assert rules_for(("t", "T=21.5°C H=45% pump=on".encode())) == [
        {
            "topic": "t",
            "format": {"type": "key_value", "separator": "space", "assign": "="},
            "values": {"T": {"strip_unit": True}, "H": {"strip_unit": True}},
        }
    ]
