"""Real payloads with numbers as people and controllers write them, with bits, registers, scale factors and decimals as
bytes: each value is what its reader expects, with the rules that a user writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from connector.mapping.time.times import parse_time
from connector.records import Mapped
from tests.unit.mapping.mappers import mapper, take

ARRIVAL = "2026-05-01T06:00:05Z"
NOON = "2026-05-01T06:00:00Z"

UNITS = {
    "f00": "12.5 V", "f01": "21.5°C", "f02": "-5 dBm", "f03": "00:12:34", "f04": "0T01:00:16", "f05": "0x1F4",
    "f06": "12h30m", "f07": "1h 5min", "f08": "3/4", "f09": "5 of 10", "f10": "1'234.5", "f11": "1 234.5",
    "f12": "1 234,5", "f13": "24:0A:C4:11:22:33", "f14": "4F", "f15": "7A21", "f16": "2026-05-01", "f17": "08:00:00",
    "f18": "1.234,5 m³/h", "f19": "13.3.0(tasmota)", "f20": "2 alarms", "f21": "1e3 W", "f22": "100%", "f23": "1st",
    "f24": "22 kWh / 24 h", "f25": "230V~50Hz", "f26": "50Hz 230V", "f27": "0N", "f28": "7?", "f29": "1,234",
    "f30": "1,5",
}  # fmt: skip
_CERTAIN = [("f00", 12.5), ("f01", 21.5), ("f02", -5), ("f20", 2), ("f21", 1000), ("f22", 100)]
_LETTERS = [("f14", 4), ("f23", 1), ("f27", 0)]
"""A letter behind a number is a unit: nothing tells `4F` from a temperature in Fahrenheit."""
CONNECT: dict[str, Any] = {
    "schema": {
        "type": "struct", "optional": False,
        "fields": [
            {"field": "m", "type": "string"},
            {"field": "level", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "version": 1,
             "parameters": {"scale": "2", "connect.decimal.precision": "8"}},
            {"field": "at", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp", "version": 1},
            {"field": "day", "type": "int32", "name": "org.apache.kafka.connect.data.Date"},
        ],
    },
    "payload": {"m": "t1", "level": "CGY=", "at": 1777615200000, "day": 20574},
}  # fmt: skip
DEBEZIUM = {
    "before": None,
    "after": {"id": 1, "level": "CGY=", "vol": {"scale": 2, "value": "AcnDgA=="}},
    "op": "u",
    "ts_ms": 1777615200000,
    "source": {"ts_ms": 1777615200000},
}

ROW = {"id": 1, "level": "95o=", "vol": {"scale": 2, "value": "AcnDgA=="}}
ENVELOPE = {
    "type": "struct",
    "fields": [
        {"type": "struct", "field": "before", "fields": []},
        {
            "type": "struct",
            "field": "after",
            "fields": [
                {"field": "id", "type": "int32"},
                {**CONNECT["schema"]["fields"][1], "field": "level"},
                {"field": "vol", "type": "struct", "name": "io.debezium.data.VariableScaleDecimal"},
                {"field": "changed", "type": "int64", "name": "io.debezium.time.MicroTimestamp"},
            ],
        },
    ],
}


@dataclass(frozen=True)
class Case:
    """Messages, the rules for them, and what becomes of them."""

    rules: str
    messages: list[tuple[str, Any]]
    """(topic, payload); a payload in bytes is no JSON."""
    samples: list[tuple[str, float]]
    time: str = ARRIVAL
    refused: list[str] = field(default_factory=list)
    """The places of the rejects."""
    key: bytes | None = None


CASES = {
    "c38-sentinel": Case(
        '- {topic: "temp/{n}", input: "{n}/{path}", missing: [85, -127, 65535]}',
        [("temp/boiler", {"ds1": 85, "ds2": -127.0, "ds3": 64.5, "lux": 65535})],
        [("boiler/ds3", 64.5)],
    ),
    "c39-bits": Case(
        """
- topic: plc/{m}
  input: "{m}/{path}"
  values: {FaultWord: {bits: {emergency_stop: 0, door: 1, overheat: 2}}}
""",
        [("plc/press", {"FaultWord": 5, "ts": 1777615200})],
        [("press/FaultWord.emergency_stop", 1), ("press/FaultWord.door", 0), ("press/FaultWord.overheat", 1)],
        time=NOON,
    ),
    "c40-registers": Case(
        "- {topic: mb/1, values: {flow: {words: {of: [reg256, reg257], type: f32}}}}",
        [("mb/1", {"reg256": 16864, "reg257": 49552})],
        [("mb/1:flow", 28.094512939453125)],
    ),
    "c41-hexnum": Case(
        """
- topic: mb/2
  input: "mb2/{path}"
  number: hex
- {topic: mb/3, format: text, input: mb3, number: hex}
- topic: mb/4
  format: {type: binary, encoding: hex, fields: [{name: v, type: f32}]}
  input: mb4
""",
        [("mb/2", {"status": "0x0D0300", "v": "1F4"}), ("mb/3", b"0x1F4"), ("mb/4", b"41BC7AE1")],
        [("mb2/status", 852736), ("mb2/v", 500), ("mb3", 500), ("mb4", 23.559999465942383)],
    ),
    "c44-lab": Case(
        """
- topic: lab/{n}
  strip_unit: true
  input: "{n}/{path}"
  values: {downtime: {number: duration}, Uptime: {number: duration}, iso: {number: duration}}
""",
        [
            (
                "lab/1",
                {
                    "lead": "<0.05",
                    "turbidity": "> 100",
                    "ph": "7.2 pH",
                    "hum": "45 %",
                    "t": "21.5 °C (ok)",
                    "downtime": "00:12:34",
                    "Uptime": "0T01:00:16",
                    "iso": "PT15M",
                },
            )
        ],
        [("1/ph", 7.2), ("1/hum", 45), ("1/downtime", 754), ("1/Uptime", 3616), ("1/iso", 900)],
        refused=["lead", "turbidity", "t"],
    ),
    "c44-lab, limits": Case(
        '- {topic: "lab/{n}", input: "{n}/{path}", limit: value, values: {lead: {limit: signal}}}',
        [("lab/1", {"lead": "<0.05", "turbidity": "> 100", "ph": "7.2"})],
        [("1/lead", 0.05), ("1/turbidity", 100), ("1/ph", 7.2), ("1/lead_limit", -1)],
    ),
    "c53-debezium-decimal": Case(
        "- {preset: debezium, topic: pg.public.tank, input: 'tank/{payload.after.id}/{path}', "
        "values: {level: {number: base64, scale: 0.01}}}",
        [("pg.public.tank", DEBEZIUM)],
        [("tank/1/level", 21.5), ("tank/1/vol", 300000)],
        time=NOON,
        key=b'{"id":1}',
    ),
    "c53-debezium-decimal, with its schema": Case(
        "- {preset: debezium, topic: pg.public.tank, input: 'tank/{payload.payload.after.id}/{path}'}",
        [
            (
                "pg.public.tank",
                {"schema": ENVELOPE, "payload": {**DEBEZIUM, "after": {**ROW, "changed": 1777615200000000}}},
            )
        ],
        [("tank/1/level", -21.5), ("tank/1/vol", 300000)],
        time=NOON,
    ),
    "c56-utf8-topics": Case(
        "- {topic: 'Anlage/#', decimal_comma: true, format: text}",
        [("Anlage/Kessel 1/Rücklauf °C", b"55,5")],
        [("Anlage/Kessel_1/R_cklauf__C-9030fe8ef0", 55.5)],
    ),
    "c59-strip-unit": Case(
        '- {topic: "su/{n}", strip_unit: true, input: "{path}"}',
        [("su/1", UNITS)],
        [*_CERTAIN, *_LETTERS],
        refused=[f"f{n:02}" for n in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 24, 25, 26, 28, 29, 30)],
    ),
    "c59-strip-unit, separators": Case(
        '- {topic: "su/{n}", strip_unit: true, number: auto, input: "{path}"}',
        [("su/1", UNITS)],
        [*_CERTAIN, *_LETTERS, ("f10", 1234.5), ("f11", 1234.5), ("f12", 1234.5), ("f18", 1234.5), ("f30", 1.5)],
        refused=[f"f{n:02}" for n in (3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 19, 24, 25, 26, 28, 29)],
    ),
    "c59b-strip-unit-comma": Case(
        '- {topic: "su/{n}", strip_unit: true, decimal_comma: true, input: "{path}"}',
        [("su/1", UNITS)],
        [*_CERTAIN, *_LETTERS, ("f18", 1234.5), ("f29", 1.234), ("f30", 1.5)],
        refused=[f"f{n:02}" for n in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 19, 24, 25, 26, 28)],
    ),
    "c67-sunspec": Case(
        '- {topic: "inv/{n}", input: "{n}/{path}", scale: {path: "{path}_SF", power_of_ten: true}}',
        [("inv/1", {"W": 12345, "W_SF": -1, "V": 2301, "V_SF": -1, "Wh": 987654, "Wh_SF": 0})],
        [("1/W", 1234.5), ("1/V", 230.1), ("1/Wh", 987654)],
    ),
    "c67b-sunspec": Case(
        "- {topic: inv/1, input: '{path}', other_values: filter, "
        "values: {W: {scale: {path: W_SF, power_of_ten: true}}}}",
        [("inv/1", {"W": 12345, "W_SF": -1, "V": 2301, "V_SF": -1}), ("inv/1", {"W": 12345, "W_SF": -2})],
        [("W", 1234.5), ("W", 123.45)],
    ),
    "c85-connect-decimal": Case(
        """
- preset: kafka_connect
  topic: jdbc.tank
  input: "tank/{payload.payload.m}/{path}"
  time: at
""",
        [("jdbc.tank", CONNECT)],
        [("tank/t1/level", 21.5)],
        time=NOON,
    ),
    "c94-uptime": Case(
        "- {topic: d/1, number: duration}",
        [("d/1", {"up": "0T01:00:16", "down": "PT15M", "run": "26:03:04"})],
        [("d/1:up", 3616), ("d/1:down", 900), ("d/1:run", 93784)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_real_payload_becomes_the_numbers_that_its_reader_expects(case: Case) -> None:
    using = mapper(*yaml.safe_load(case.rules))
    arrival = parse_time(ARRIVAL)
    for _ in range(2):  # the second time by what was learned
        found: list[Mapped] = [
            take(using, payload, topic, key=case.key, time_us=arrival) for topic, payload in case.messages
        ]
        assert sorted((name, value) for one in found for name, _, value in one.samples) == sorted(case.samples)
        assert {time_us for one in found for _, time_us, _ in one.samples} == {parse_time(case.time)}
        assert [reject.path for one in found for reject in one.rejects] == case.refused
    assert not [one for one in using.observations.take() if one.kind == "decimal_as_bytes"]


def test_without_a_rule_the_ambiguous_stays_a_text_and_the_number_of_json_a_number() -> None:
    found = take(mapper({"topic": "t"}), json.dumps({"a": "1,234", "b": "1.234", "c": "00:12:34", "d": 0.1}).encode())
    assert [value for _, _, value in found.samples] == [1.234, 0.1]
    assert found.filtered == 2
