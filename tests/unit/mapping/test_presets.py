"""Presets: a message as its product or standard documents it becomes the samples that a reader of the page expects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from connector.mapping.mapper import Mapper
from connector.mapping.presets import BUILT_IN, Presets
from connector.mapping.rules.compiler.rule import check_compiles
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.input_ids import legal_id
from connector.mapping.time.times import parse_time
from connector.records import Mapped, SignalMetadata
from tests.unit.mapping.mappers import mapper, take
from tests.unit.records import ARRIVAL


def mapped(using: Mapper, topic: str, payload: Any, *, key: bytes | None = None) -> Mapped:
    return take(using, payload.encode() if isinstance(payload, str) else payload, topic, key=key)


@dataclass
class Example:
    """A message and what becomes of it: input ID → value; its time where that is not the arrival's."""

    topic: str
    payload: Any
    samples: dict[str, float]
    time: Any = None
    rule: dict[str, Any] = field(default_factory=dict)
    key: bytes | None = None
    metadata: dict[str, SignalMetadata] = field(default_factory=dict)


ZIGBEE = {"preset": "zigbee2mqtt"}
EXAMPLES = {
    "kepware": [
        Example(
            "iotgateway",
            {
                "timestamp": 1_453_388_934_000,
                "values": [
                    {"id": "Simulation Examples.Functions.Ramp1", "v": 87, "q": True, "t": 1_453_388_933_500},
                    {"id": "Channel1.Device1.Running", "v": True, "q": True, "t": 1_453_388_933_500},
                    {"id": "Channel1.Device1.Broken", "v": 0, "q": False, "t": 1_453_388_933_500},
                    {"id": "Channel1.Device1.Name", "v": "press", "q": True, "t": 1_453_388_933_500},
                ],
            },
            {legal_id("Simulation Examples.Functions.Ramp1"): 87, "Channel1.Device1.Running": 1},
            1_453_388_933_500,
        ),
        Example(
            "site/kepware",
            {"timestamp": 1_453_388_934_000, "values": [{"id": "A.B.C", "v": 1.5, "q": True}]},
            {"A.B.C": 1.5},
            1_453_388_934_000,
            {"topic": "site/kepware"},
        ),
    ],
    "tasmota": [
        Example(
            "tele/washer/SENSOR",
            {
                "Time": "2024-05-01T12:00:00",
                "ENERGY": {
                    "TotalStartTime": "2021-01-05T12:32:26",
                    "Total": 3.185,
                    "Yesterday": 3.058,
                    "Today": 0.127,
                    "Period": 0,
                    "Power": 41,
                    "Factor": 0.84,
                    "Voltage": 231,
                    "Current": 0.21,
                },
            },
            {
                "washer/ENERGY.Total": 3.185,
                "washer/ENERGY.Yesterday": 3.058,
                "washer/ENERGY.Today": 0.127,
                "washer/ENERGY.Period": 0,
                "washer/ENERGY.Power": 41,
                "washer/ENERGY.Factor": 0.84,
                "washer/ENERGY.Voltage": 231,
                "washer/ENERGY.Current": 0.21,
            },
        ),
        Example(
            "tele/cellar/SENSOR",
            {
                "Time": "2024-05-01T12:00:00",
                "AM2301": {"Temperature": 21.3, "Humidity": 45.1, "DewPoint": 8.9},
                "TempUnit": "C",
            },
            {
                "cellar/AM2301.Temperature": 21.3,
                "cellar/AM2301.Humidity": 45.1,
                "cellar/AM2301.DewPoint": 8.9,
            },
        ),
        Example(
            "tele/lamp/STATE",
            {
                "Time": "2024-05-01T12:00:00",
                "Uptime": "0T00:05:12",
                "UptimeSec": 312,
                "Heap": 25,
                "SleepMode": "Dynamic",
                "POWER": "ON",
                "Wifi": {"AP": 1, "SSId": "plant", "RSSI": 78, "Signal": -61},
            },
            {
                "lamp/UptimeSec": 312,
                "lamp/Heap": 25,
                "lamp/POWER": 1,
                "lamp/Wifi.AP": 1,
                "lamp/Wifi.RSSI": 78,
                "lamp/Wifi.Signal": -61,
            },
        ),
        Example("stat/lamp/RESULT", {"POWER1": "OFF"}, {"lamp/POWER1": 0}),
        Example("tele/lamp/LWT", "Online", {"lamp/online": 1}),
        Example("tele/lamp/INFO1", {"Info1": {"Version": "13.4.0", "Restart": 1}}, {}),
        Example("site/tele/lamp/LWT", "Offline", {"lamp/online": 0}, rule={"base": "site"}),
    ],
    "zigbee2mqtt": [
        Example(
            "zigbee2mqtt/hall/north sensor",
            {"battery": 97.5, "humidity": 45.2, "linkquality": 120, "temperature": 21.3, "voltage": 3000},
            {
                legal_id("hall/north sensor/battery"): 97.5,
                legal_id("hall/north sensor/humidity"): 45.2,
                legal_id("hall/north sensor/linkquality"): 120,
                legal_id("hall/north sensor/temperature"): 21.3,
                legal_id("hall/north sensor/voltage"): 3000,
            },
        ),
        Example(
            "zigbee2mqtt/plug",
            {
                "current": 0.02,
                "energy": 12.4,
                "last_seen": "2024-05-01T10:00:00+02:00",
                "linkquality": 87,
                "power": 3.1,
                "state": "ON",
                "update": {"installed_version": 65, "latest_version": 65, "state": "idle"},
            },
            {"plug/current": 0.02, "plug/energy": 12.4, "plug/linkquality": 87, "plug/power": 3.1, "plug/state": 1},
            "2024-05-01T08:00:00Z",
        ),
        Example(
            "zigbee2mqtt/door",
            {"battery": 100, "contact": False, "tamper": False},
            {"door/battery": 100, "door/contact": 0, "door/tamper": 0},
        ),
        Example("zigbee2mqtt/door/availability", {"state": "offline"}, {"door/online": 0}),
        Example("zigbee2mqtt/door/availability", "online", {"door/online": 1}),
        Example("zigbee2mqtt/bridge/state", {"state": "online"}, {}),
        Example("zigbee2mqtt/hall/lamp/set", {"brightness": 100}, {}),
    ],
    "shelly": [
        Example(
            "shellyplus1pm-a8032ab12345/events/rpc",
            {
                "src": "shellyplus1pm-a8032ab12345",
                "dst": "shellyplus1pm-a8032ab12345/events",
                "method": "NotifyStatus",
                "params": {
                    "ts": 1_714_557_600.43,
                    "switch:0": {
                        "id": 0,
                        "apower": 8.9,
                        "aenergy": {"by_minute": [1.0, 2.0, 3.0], "minute_ts": 1_714_557_599, "total": 17.2},
                    },
                },
            },
            {
                "shellyplus1pm-a8032ab12345/switch:0.apower": 8.9,
                "shellyplus1pm-a8032ab12345/switch:0.aenergy.total": 17.2,
            },
            "2024-05-01T10:00:00.43Z",
        ),
        Example(
            "shellyplus1pm-a8032ab12345/status/switch:0",
            {
                "id": 0,
                "source": "init",
                "output": True,
                "apower": 0.0,
                "voltage": 230.1,
                "temperature": {"tC": 41.2, "tF": 106.1},
            },
            {
                "shellyplus1pm-a8032ab12345/switch:0.output": 1,
                "shellyplus1pm-a8032ab12345/switch:0.apower": 0,
                "shellyplus1pm-a8032ab12345/switch:0.voltage": 230.1,
                "shellyplus1pm-a8032ab12345/switch:0.temperature.tC": 41.2,
            },
        ),
        Example("shellyplus1pm-a8032ab12345/online", "true", {"shellyplus1pm-a8032ab12345/online": 1}),
        Example(
            "shellyplus1pm-a8032ab12345/events/rpc",
            {"src": "x", "method": "NotifyEvent", "params": {"ts": 1_714_557_600, "events": [{"id": 0}]}},
            {},
        ),
    ],
    "shelly_gen1": [
        Example("shellies/shellyht-CC2D76/sensor/temperature", "21.37", {"shellyht-CC2D76/sensor/temperature": 21.37}),
        Example("shellies/shelly1pm-B929CC/relay/0", "on", {"shelly1pm-B929CC/relay/0": 1}),
        Example("shellies/shelly1pm-B929CC/relay/0/power", "12.30", {"shelly1pm-B929CC/relay/0/power": 12.3}),
        Example("shellies/shellydw2-1/sensor/state", "close", {"shellydw2-1/sensor/state": 0}),
        Example("shellies/shelly1pm-B929CC/relay/0/command", "on", {}),
        Example("shellies/announce", {"id": "shelly1pm-B929CC"}, {}),
    ],
    "chirpstack": [
        Example(
            "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/0101010101010101/event/up",
            {
                "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
                "time": "2022-07-18T09:34:15.775023242+00:00",
                "deviceInfo": {
                    "applicationName": "Cold store",
                    "deviceName": "Freezer 3",
                    "devEui": "0101010101010101",
                    "tags": {"key": "value"},
                },
                "devAddr": "00189440",
                "dr": 1,
                "fPort": 1,
                "data": "qg==",
                "object": {"temperature": -21.5, "door": {"open": False}},
                "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -57, "snr": 10.5, "context": "E3OWOQ=="}],
                "txInfo": {"frequency": 868_100_000},
            },
            {
                "0101010101010101/temperature": -21.5,
                "0101010101010101/door.open": 0,
                "0101010101010101/rssi": -57,
                "0101010101010101/snr": 10.5,
            },
            "2022-07-18T09:34:15.775023Z",
            metadata={
                "0101010101010101/rssi": SignalMetadata(
                    "Freezer 3 rssi",
                    unit="dBm",
                    labels=(
                        ("device", ("Freezer 3",)),
                        ("device_eui", ("0101010101010101",)),
                        ("application", ("Cold store",)),
                    ),
                )
            },
        ),
        Example("application/1/device/2/event/join", {"time": "2022-07-18T09:34:15Z", "devAddr": "00189440"}, {}),
    ],
    "the_things_stack": [
        Example(
            "v3/cold-store@ttn/devices/freezer-3/up",
            {
                "end_device_ids": {
                    "device_id": "freezer-3",
                    "application_ids": {"application_id": "cold-store"},
                    "dev_eui": "0004A30B001C0530",
                },
                "received_at": "2022-02-12T15:15:45.787Z",
                "uplink_message": {
                    "f_port": 1,
                    "f_cnt": 5,
                    "frm_payload": "gkHe",
                    "decoded_payload": {"temperature": -18.25, "luminosity": 0.64},
                    "rx_metadata": [{"gateway_ids": {"gateway_id": "gw"}, "rssi": -35, "snr": 5.2}],
                    "received_at": "2022-02-12T15:15:45.580Z",
                },
            },
            {
                "cold-store/freezer-3/temperature": -18.25,
                "cold-store/freezer-3/luminosity": 0.64,
                "cold-store/freezer-3/rssi": -35,
                "cold-store/freezer-3/snr": 5.2,
            },
            "2022-02-12T15:15:45.580Z",
        ),
        Example("v3/cold-store@ttn/devices/freezer-3/down/sent", {"received_at": "2022-02-12T15:15:45Z"}, {}),
    ],
    "opcua_pubsub": [
        Example(
            "opcua/json/data/urn:plant/line1",
            {
                "MessageId": "32235546-05d9-4fd7-97df-ea3ff3408574",
                "MessageType": "ua-data",
                "PublisherId": "line-1",
                "Messages": [
                    {
                        "DataSetWriterId": 62541,
                        "SequenceNumber": 24,
                        "MetaDataVersion": {"MajorVersion": 1_672_531_200, "MinorVersion": 1_672_531_200},
                        "Timestamp": "2023-01-01T00:00:01Z",
                        "MessageType": "ua-keyframe",
                        "Payload": {
                            "Pressure": {"Value": 4.2, "SourceTimestamp": "2023-01-01T00:00:00.5Z"},
                            "Speed": {
                                "Value": {"Type": 11, "Body": 1480.0},
                                "SourceTimestamp": "2023-01-01T00:00:00.5Z",
                            },
                            "Broken": {
                                "Value": 7,
                                "StatusCode": {"Code": 2_156_724_224, "Symbol": "Bad"},
                                "SourceTimestamp": "2023-01-01T00:00:00.5Z",
                            },
                            "Name": {"Value": "press"},
                        },
                    }
                ],
            },
            {"line-1/62541/Pressure": 4.2, "line-1/62541/Speed": 1480},
            "2023-01-01T00:00:00.5Z",
        ),
        Example(
            "opcua/json/data/urn:plant/line1",
            {
                "MessageType": "ua-data",
                "PublisherId": "line-1",
                "Messages": [
                    {"DataSetWriterId": 2, "Timestamp": "2023-01-01T00:00:01Z", "Payload": {"Raw": 4.2, "Other": False}}
                ],
            },
            {"line-1/2/Raw": 4.2, "line-1/2/Other": 0},
            "2023-01-01T00:00:01Z",
        ),
        Example(
            "opcua/json/data/bare",
            {"DataSetWriterId": 3, "Timestamp": "2023-01-01T00:00:01Z", "Payload": {"Raw": {"Type": 10, "Body": 4.5}}},
            {"/3/Raw": 4.5},
            "2023-01-01T00:00:01Z",
        ),
        Example("opcua/json/data/urn:plant", {"MessageType": "ua-metadata", "PublisherId": "line-1"}, {}),
    ],
    "senml": [
        Example(
            "sensors/pack",
            [
                {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1, "bt": 1.714557600e9},
                {"n": "current", "u": "A", "v": 1.2},
            ],
            {"urn:dev:ow:10e2073a01080063:voltage": 120.1, "urn:dev:ow:10e2073a01080063:current": 1.2},
            "2024-05-01T10:00:00Z",
            {"topic": "sensors/pack"},
            metadata={
                "urn:dev:ow:10e2073a01080063:current": SignalMetadata("urn:dev:ow:10e2073a01080063:current", unit="A")
            },
        )
    ],
    "home_assistant": [
        Example("homeassistant/sensor/cellar_temperature/state", "18.5", {"sensor.cellar_temperature": 18.5}),
        Example("homeassistant/binary_sensor/door/state", "on", {"binary_sensor.door": 1}),
        Example("homeassistant/sensor/cellar_temperature/state", "unavailable", {}),
        Example("homeassistant/sensor/cellar_temperature/unit_of_measurement", '"°C"', {}),
        Example("ha/lock/gate/state", "locked", {"lock.gate": 1}, rule={"base": "ha"}),
    ],
    "debezium": [
        Example(
            "plant.public.readings",
            {
                "schema": {"type": "struct", "fields": [{"field": "before", "optional": True}], "version": 1},
                "payload": {
                    "before": None,
                    "after": {"id": 7, "machine": "press", "pressure": 4.2},
                    "source": {"version": "2.5.0", "ts_ms": 1_714_557_600_000, "db": "plant", "lsn": 24023128},
                    "op": "c",
                    "ts_ms": 1_714_557_600_500,
                },
            },
            {"plant/press/pressure": 4.2},
            1_714_557_600_000,
            {"topic": "plant.public.readings", "input": "plant/{payload.payload.after.machine}/{path}"},
        ),
        Example(
            "plant.public.readings",
            {
                "before": {"id": 7},
                "after": {"id": 7, "pressure": 4.3},
                "source": {"ts_ms": 1_714_557_600_000},
                "op": "u",
                "ts_ms": 1_714_557_600_500,
            },
            {"plant.public.readings/7:pressure": 4.3},
            1_714_557_600_000,
            {"topic": "plant.public.readings"},
            b"7",
        ),
        Example(  # what was there before the connector began: the database has no time of change
            "plant.public.readings",
            {"after": {"pressure": 4.4}, "source": {"ts_ms": 0}, "op": "r", "ts_ms": 1_714_557_600_500},
            {"plant.public.readings/7:pressure": 4.4},
            1_714_557_600_500,
            {"topic": "plant.public.readings"},
            b"7",
        ),
        Example(
            "plant.public.readings",
            {"after": {"pressure": 4.5}, "source": {"ts_ms": 0}, "op": "r", "ts_ms": None},
            {"plant.public.readings/7:pressure": 4.5},
            rule={"topic": "plant.public.readings"},
            key=b"7",
        ),
        Example(
            "plant.public.readings",
            {"before": {"id": 7}, "after": None, "source": {"ts_ms": 1_714_557_600_000}, "op": "d"},
            {},
            rule={"topic": "plant.public.readings"},
        ),
    ],
    "kafka_connect": [
        Example(
            "readings",
            {
                "schema": {
                    "type": "struct",
                    "fields": [{"type": "double", "optional": False, "field": "pressure"}],
                    "optional": False,
                    "name": "reading",
                },
                "payload": {"ts": 1_714_557_600_000, "pressure": 4.2},
            },
            {"readings:pressure": 4.2},
            1_714_557_600_000,
            {"topic": "readings"},
        )
    ],
}


@pytest.mark.parametrize(
    ("preset", "example"), [(preset, example) for preset, found in EXAMPLES.items() for example in found]
)
def test_a_documented_message_becomes_the_samples_that_its_reader_expects(preset: str, example: Example) -> None:
    using = mapper({"preset": preset, **example.rule})
    found = mapped(using, example.topic, example.payload, key=example.key)
    assert found.rejects == []
    assert {input_id: value for input_id, _, value in found.samples} == example.samples
    time_us = ARRIVAL if example.time is None else parse_time(example.time)
    assert {time for _, time, _ in found.samples} <= {time_us}
    if not example.samples:
        assert found.skipped
    discovered = dict(using.discovered)
    for input_id, metadata in example.metadata.items():
        assert discovered[input_id] == metadata


NO_SCALE = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal"}
ROW = {"id": 7, "price": "AUcA", "name": "pump", "size": "AUcB"}


@pytest.mark.parametrize(
    ("preset", "payload", "fields"),
    [
        (
            "debezium",
            {
                "schema": {"fields": [{"field": "after", "fields": [{"field": "id"}, {**NO_SCALE, "field": "price"}]}]},
                "payload": {"after": ROW, "source": {"ts_ms": 1_714_557_600_000}},
            },
            ["price"],
        ),
        ("debezium", {"after": {**ROW, "price": "AUc=", "of": "ab=="}, "source": {}}, ["price", "of"]),
        ("debezium", {"after": {"name": "pump", "of": "a=b=", "x": "===="}, "source": {}}, []),
        ("kafka_connect", {"schema": {"fields": [{**NO_SCALE, "field": "price"}]}, "payload": ROW}, ["price"]),
        ("kafka_connect", {"schema": {"fields": "?"}, "payload": {"price": "AUc="}}, []),
    ],
)
def test_a_decimal_that_came_as_bytes_is_said(preset: str, payload: dict[str, Any], fields: list[str]) -> None:
    using = mapper({"preset": preset, "topic": "t"})
    for _ in range(2):
        mapped(using, "t", payload, key=b"7")
    found = using.observations.take()
    said = [one.subject for one in found if one.kind == "decimal_as_bytes"]
    assert sorted(said) == sorted(f"t: {field}" for field in fields)
    assert all("decimal.handling.mode=double" in one.remedy for one in found if one.kind == "decimal_as_bytes")


def test_every_preset_has_an_example_and_says_what_it_is() -> None:
    stateful = {"sparkplug"}  # what it makes depends on births: it has tests of its own
    assert set(EXAMPLES) | stateful == set(BUILT_IN)
    assert all(Presets().about(name) for name in BUILT_IN)


def test_what_the_rule_says_itself_comes_on_top() -> None:
    using = mapper(
        {"preset": "kepware", "values": {"v": {"unit": "bar", "scale": 0.1}}, "labels": {"site": "Trondheim"}}
    )
    payload = {"timestamp": 1_453_388_934_000, "values": [{"id": "A.B", "v": 42, "q": True, "t": 1_453_388_934_000}]}
    assert mapped(using, "iotgateway", payload).samples == [("A.B", 1_453_388_934_000_000, pytest.approx(4.2))]
    assert dict(using.discovered)["A.B"] == SignalMetadata("A.B", unit="bar", labels=(("site", ("Trondheim",)),))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"preset": "tasmota", "topic": "x/#"}, "instead of topic, set base"),
        ({"preset": "senml"}, "for any topic: name the topic"),
        ({"preset": "kepware", "topic": "a", "base": "b"}, "exclude each other"),
        ({"preset": "kepware", "input": "{itme}"}, "did you mean {item}?"),
        ({"preset": "kepwear"}, "did you mean kepware?"),
        ({"topic": "a", "base": "b"}, "base is for a rule with preset"),
        ({}, "topic is required"),
    ],
)
def test_a_preset_that_is_used_wrongly(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("}", r"\}").replace("?", r"\?")):
        check_compiles(RuleSection.model_validate(rule))
