"""Recorded sessions of Home Assistant, Zigbee2MQTT and Siemens Industrial Edge: presets alone give names and units.

Each session has what vendors send beside plain entities: entities without a unit, removed and renamed ones, templates
that compute, availability, commands, groups.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.formats.catalogue import build_format
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.mapping.time.times import parse_time
from connector.records import Record, Sample, SignalMetadata

FOLDER = Path(__file__).parent / "sessions"
ARRIVAL = parse_time("2026-05-01T06:00:05Z")
SHARE = 0.95


class Session:
    """What became of messages under presets alone."""

    def __init__(self, presets: list[str], messages: list[dict[str, Any]]) -> None:
        section = MappingSection.model_validate({"presets": presets, "unmatched": "map"})
        mapper = Mapper(section.compile(build_format), unmatched="map")
        self.samples: list[Sample] = []
        self.metadata: dict[str, SignalMetadata] = {}
        self.rejected: list[str] = []
        self.described = 0
        for message in messages:
            text = message.get("payload_text", json.dumps(message.get("payload")))
            record = Record(message["topic"], text.encode(), ARRIVAL, retained=message.get("retained", False))
            found = mapper.map("s", record)
            self.samples += found.samples
            self.rejected += [message["topic"] for _ in found.rejects]
            self.described += found.why == "metadata"
            self.metadata.update(mapper.take_discovered())
        self.observations = mapper.observations.take()

    @property
    def signals(self) -> set[str]:
        return {input_id for input_id, _, _ in self.samples}


def messages_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "presets", "without_unit", "signals"),
    [
        ("home_assistant", ["home_assistant", "tasmota"], {"Burner starts", "Valve Cycles"}, 49),
        (
            "zigbee2mqtt",
            ["zigbee2mqtt"],
            {"Brightness", "brightness", "Contact", "Occupancy", "Water_leak", "Battery_low", "color.x", "color.y"},
            73,
        ),
        ("siemens_industrial_edge", ["siemens_ie"], {"state", "running", "fault", "open", "Running"}, 32),
    ],
)
def test_nearly_all_signals_have_a_name_and_a_unit(
    name: str, presets: list[str], without_unit: set[str], signals: int
) -> None:
    """`without_unit` has the ends of names of quantities to which the vendor gives no unit; states need none."""
    session = Session(presets, messages_of(name))
    named = {
        input_id: found
        for input_id, found in session.metadata.items()
        if input_id in session.signals and found.name != input_id
    }
    with_unit = {
        input_id
        for input_id, found in named.items()
        if found.unit or found.enum_values or found.name.endswith(tuple(without_unit))
    }
    assert len(session.signals) == signals
    assert len(with_unit) / signals >= SHARE, sorted(session.signals - with_unit)


def test_home_assistant_what_is_not_certain_stays_as_it_is_and_is_said() -> None:
    session = Session(["home_assistant", "tasmota"], messages_of("home_assistant"))
    assert session.signals - session.metadata.keys() == {  # a factor, and a template that computes
        "solar/inverter_77:load_w",
        "rtl_433/weatherpi/devices/Fineoffset-WS80/52013/battery_ok",
    }
    assert {one.kind for one in session.observations} == {"metadata_without_signal"}
    assert any("float(value) * 99 + 1" in one.text for one in session.observations)
    heat = session.metadata["heat/meter:energy"]
    assert (heat.name, heat.unit) == ("District heating", "MWh")  # it was called otherwise before
    assert session.metadata["solar/inverter_77:grid.lost"].enum_values == (("0", "off"), ("1", "on"))
    assert session.rejected == [  # texts that no preset takes
        "greenhouse/status",
        "greenhouse/binary_sensor/door/state",
        "greenhouse/switch/irrigation/state",
    ]


def test_zigbee2mqtt_a_renamed_device_and_a_unit_that_only_the_device_knows() -> None:
    session = Session(["zigbee2mqtt"], messages_of("zigbee2mqtt"))
    assert session.rejected == []
    assert session.described == 2
    freezer = session.metadata["freezer/temperature"]
    assert (freezer.name, freezer.unit) == ("freezer Temperature", "°C")
    assert session.metadata["freezer/voltage"].unit == "mV"
    assert dict(freezer.labels)["model"] == ("WSDCGQ11LM",)


def test_siemens_a_renamed_tag_a_new_one_and_values_before_their_names() -> None:
    session = Session(["siemens_ie"], messages_of("siemens_industrial_edge"))
    assert session.rejected == []
    names = {input_id: found.name for input_id, found in session.metadata.items()}
    assert names["s7c1/press1/101"] == "press1 GDB.press.force"
    assert names["s7c1/oven/213"] == "oven DB10.door.open"
    assert names["s7c1/oven/214"] == "oven DB10.exhaust"
    assert names["eip1/mixer/102"] == "mixer Speed"  # the same ID as of a tag of the press


SIEMENS = [
    {
        "topic": "ie/m/j/simatic/v1/eip1/dp",
        "payload": {
            "seq": 1,
            "connections": [
                {
                    "name": "mixer",
                    "type": "EthernetIP",
                    "dataPoints": [
                        {
                            "name": "default",
                            "topic": "ie/d/j/simatic/v1/eip1/dp/r/mixer/default",
                            "dataPointDefinitions": [
                                {"name": "Speed", "id": "102", "dataType": "Real", "unit": "1/min"},
                                {"name": "Running", "id": "103", "dataType": "Bool"},
                            ],
                        }
                    ],
                }
            ],
        },
        "retained": True,
    },
    {
        "topic": "ie/d/j/simatic/v1/eip1/dp/r/mixer/default",
        "payload": {
            "seq": 2,
            "vals": [
                {"id": "102", "qc": 3, "ts": "2026-05-01T06:00:00Z", "val": 1480.5},
                {"id": "103", "qc": 3, "ts": "2026-05-01T06:00:00Z", "val": 1},
            ],
        },
    },
]


@pytest.mark.parametrize("order", [1, -1])
def test_case_c02_names_and_units_in_a_retained_topic(order: int) -> None:
    session = Session(["siemens_ie"], SIEMENS[::order])
    time_us = parse_time("2026-05-01T06:00:00Z")
    assert session.samples == [("eip1/mixer/102", time_us, 1480.5), ("eip1/mixer/103", time_us, 1)]
    found = {input_id: (each.name, each.unit) for input_id, each in session.metadata.items()}
    assert found == {"eip1/mixer/102": ("mixer Speed", "1/min"), "eip1/mixer/103": ("mixer Running", "")}


def test_case_c87_discovery_beside_states() -> None:
    config = {
        "unit_of_measurement": "Ω",
        "expire_after": 180,
        "name": "Gas",
        "state_topic": "b/s",
        "qos": 1,
        "dev": {"sw": "1.2"},
    }
    session = Session(
        ["home_assistant"],
        [
            {"topic": "homeassistant/sensor/x/config", "payload": config},
            {"topic": "homeassistant/sensor/x/state", "payload_text": "21.5"},
            {"topic": "homeassistant/status", "payload_text": "online"},
            {"topic": "b/s", "payload_text": "5100"},
        ],
    )
    assert session.samples == [("sensor.x", ARRIVAL, 21.5), ("b/s", ARRIVAL, 5100)]
    assert session.rejected == []
    assert (session.metadata["b/s"].name, session.metadata["b/s"].unit) == ("Gas", "Ω")


def test_case_c88_messages_of_the_bridge_commands_and_a_cleared_topic() -> None:
    state = {
        "temperature": 21.5,
        "linkquality": 57,
        "update": {"state": "idle", "installed_version": 37, "latest_version": 37},
        "last_seen": "2026-05-01T08:00:00+02:00",
        "color": {"x": 0.3, "y": 0.3},
    }
    info = {"version": "1.33.0", "permit_join": False, "config": {"serial": {"baudrate": 115200}}}
    session = Session(
        ["zigbee2mqtt"],
        [
            {"topic": "zigbee2mqtt/Kitchen", "payload": state},
            {"topic": "zigbee2mqtt/bridge/info", "payload": info},
            {"topic": "zigbee2mqtt/Kitchen/set", "payload": {"brightness": 120}},
            {"topic": "zigbee2mqtt/bridge/devices", "payload": [{"ieee_address": "0x00", "network_address": 1}]},
            {"topic": "zigbee2mqtt/Kitchen/availability", "payload_text": "online"},
            {"topic": "zigbee2mqtt/Old", "payload_text": ""},
            {"topic": "zigbee2mqtt/Kitchen", "payload": {"temperature": None, "linkquality": None}},
        ],
    )
    seen = parse_time("2026-05-01T06:00:00Z")
    assert session.samples == [
        ("Kitchen/temperature", seen, 21.5),
        ("Kitchen/linkquality", seen, 57),
        ("Kitchen/color.x", seen, 0.3),
        ("Kitchen/color.y", seen, 0.3),
        ("Kitchen/online", ARRIVAL, 1),
    ]
    assert session.rejected == []
    assert session.observations == []
