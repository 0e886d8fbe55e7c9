"""Payloads inside fields, and payloads with an odd byte: the messages of devices, and what a user wants of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml

from connector.records import Reason
from connector.try_out.draft import draft
from connector.try_out.observed import Observed
from tests.mapping_cases import ARRIVAL, check, outcome, record_of

NOW = ARRIVAL
T0 = "2026-05-01T06:00:00Z"
LORA = """
- topic: application/+/device/{dev}/event/up
  decode:
    path: data
    encoding: base64
    format:
      type: binary
      fields: [{type: skip}, {name: temperature, type: i16}, {name: humidity, type: u16}]
      longer: ignore
  select: data
  time: time
  scale: 0.01
  input: "{dev}/{path}"
"""
BASE64_OF_GZIP = """
- topic: gz/1
  compression: auto
  input: "{topic}"
- topic: gz/2
  format: text
  decode: [{path: "@", encoding: [base64, gzip]}]
  input: "{topic}"
"""
Sample = tuple[str, str, float]

CASES: dict[str, tuple[list[dict[str, Any]], str, list[Sample]]] = {
    "JSON in a text (c12)": (
        [{"topic": "events", "payload": {"action": "message_publish", "device_id": "d49",
          "payload": '{"did":"d49","t":1777615200,"temp":20.5,"vol":"220"}'}}],
        '\n- topic: events\n  decode: payload\n  select: payload\n  input: "{payload.device_id}/{path}"\n',
        [("d49/temp", T0, 20.5), ("d49/vol", T0, 220)],
    ),
    "JSON encoded twice (c13)": (
        [{"topic": "node/1", "payload_text": '"{\\"temp\\":21.5}"'}],
        '\n- topic: node/{n}\n  decode: "@"\n  input: "node/{n}/{path}"\n',
        [("node/1/temp", NOW, 21.5)],
    ),
    "JSON in base64 (c14)": (
        [{"topic": "mqtt", "payload": {"clientid": "p1", "topic": "plant/p1", "payload": "eyJ0ZW1wIjoyMS41fQ==",
          "ts": 1777615200000}}],
        """
- topic: mqtt
  decode: {path: payload, encoding: base64}
  select: payload
  input: "{payload.topic}/{path}"
""",
        [("plant/p1/temp", T0, 21.5)],
    ),
    "bytes of LoRaWAN in base64 (c15)": (
        [{"topic": "application/1/device/ac1f/event/up", "payload": {"time": "2026-05-01T06:00:00Z",
          "deviceInfo": {"deviceName": "env1"}, "fPort": 2, "data": "AQfoFWoAAXMuAABExw=="}}],
        LORA,
        [("ac1f/temperature", T0, 20.24), ("ac1f/humidity", T0, 54.82)],
    ),
    "gzip, and gzip in base64 (c65)": (
        [{"topic": "gz/1", "payload_base64": "H4sIAC4+CWsC/6tWKlOyMqwFAD3n24QHAAAA"},
         {"topic": "gz/2", "payload_text": "H4sIAC4+CWsC/6tWKlOyMqoFAP609q8HAAAA"}],
        BASE64_OF_GZIP,
        [("gz/1", NOW, 1), ("gz/2", NOW, 2)],
    ),
    "a NUL at the end (c16)": (
        [{"topic": "dev/1", "payload_text": '{"value":15}\0'}, {"topic": "dev/2", "payload_text": "21.5\0"}],
        '\n- topic: dev/1\n  input: "dev/1/{path}"\n- topic: dev/2\n  format: text\n  input: dev/2\n',
        [("dev/1/value", NOW, 15), ("dev/2", NOW, 21.5)],
    ),
    "nan and inf of C in JSON (c18)": (
        [{"topic": "tele/x/S1", "payload_text": '{"SI7021-00":{"Temperature":17.1,"Humidity":70.0},'
          '"SI7021-02":{"Temperature":nan,"Humidity":-nan}}'},
         {"topic": "tele/x/S2", "payload_text": '{"t":NaN,"h":40}'},
         {"topic": "tele/x/S3", "payload_text": '{"t":inf,"h":41}'}],
        '\n- topic: tele/x/{s}\n  nan: drop\n  input: "{s}/{path}"\n',
        [("S1/SI7021-00.Temperature", NOW, 17.1), ("S1/SI7021-00.Humidity", NOW, 70), ("S2/h", NOW, 40),
         ("S3/h", NOW, 41)],
    ),
    "nan from Tasmota (c61)": (
        [{"topic": "tele/plug/SENSOR", "payload_text": '{"Time":"2026-05-01T08:00:00","SI7021-00":{"Temperature":17.1,'
          '"Humidity":70.0},"SI7021-02":{"Temperature":nan,"Humidity":nan},"TempUnit":"C"}'}],
        "\n- preset: tasmota\n  nan: drop\n",
        [("plug/SI7021-00.Temperature", NOW, 17.1), ("plug/SI7021-00.Humidity", NOW, 70)],
    ),
    "Latin-1 (c19)": (
        [{"topic": "plc/1", "payload_base64": "eyJ1bml0IjoisEMiLCJ0ZW1wIjoyMS41fQ=="}],
        '\n- topic: plc/{n}\n  format: {type: json, encoding: latin-1}\n  input: "plc/{n}/{path}"\n',
        [("plc/1/temp", NOW, 21.5)],
    ),
    "UTF-16 with its mark (c20)": (
        [{"topic": "plc/1", "payload_base64": "//57ACIAdABlAG0AcAAiADoAMgAxAC4ANQB9AA=="}],
        "",
        [("plc/1:temp", NOW, 21.5)],
    ),
    "JSON that is nearly JSON (c21)": (
        [{"topic": f"a/{number}", "payload_text": text} for number, text in enumerate((
            "{'temp': 21.5, 'ok': True, 'e': None}", '{"v": 5.}', '{"v": .5}', '{"v": 007}', '{"v": 1,}', '{"v": +5}',
            "{v: 5}"), 1)],
        '\n- topic: a/{n}\n  format: {type: json, lenient: true}\n  input: "{n}/{path}"\n',
        [("1/temp", NOW, 21.5), ("1/ok", NOW, 1), ("2/v", NOW, 5), ("3/v", NOW, 0.5), ("4/v", NOW, 7), ("5/v", NOW, 1),
         ("6/v", NOW, 5), ("7/v", NOW, 5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_right(case: str) -> None:
    messages, rules, expected = CASES[case]
    found = outcome(messages, rules)
    check(found, expected)
    assert found.rejects == []


@pytest.mark.parametrize(
    ("case", "tolerated"),
    [
        ("a NUL at the end (c16)", {"nul": 2}),
        ("nan and inf of C in JSON (c18)", {"not_finite": 3}),
        ("UTF-16 with its mark (c20)", {"encoding": 1}),
        ("JSON that is nearly JSON (c21)", {"lenient": 7}),
        ("Latin-1 (c19)", {}),
    ],
)
def test_what_was_overlooked_is_counted_and_said_once(case: str, tolerated: dict[str, int]) -> None:
    messages, rules, _ = CASES[case]
    found = outcome(messages, rules)
    assert found.tolerated == tolerated
    said = [one for one in found.observations if one.kind == "payload_tolerated"]
    assert [one.subject for one in said] == list(tolerated)
    assert all(messages[0]["topic"] in one.text and one.source == "s" for one in said)


def test_nan_costs_only_its_value_where_no_rule_drops_it() -> None:
    found = outcome(CASES["nan and inf of C in JSON (c18)"][0])
    assert {name: value for name, _, value in found.samples} == {
        "tele/x/S1:SI7021-00.Temperature": 17.1,
        "tele/x/S1:SI7021-00.Humidity": 70,
        "tele/x/S2:h": 40,
        "tele/x/S3:h": 41,
    }
    assert [(one.reason, one.path) for one in found.rejects] == [
        (Reason.NOT_FINITE, path) for path in ("SI7021-02.Temperature", "SI7021-02.Humidity", "t", "t")
    ]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("{'temp': 21.5}", "lenient: true"),
        ('{"v": 007}', "lenient: true"),
        ('{"v": 1}\n{"v": 2}\n', "format: ndjson"),
        ('{"v": 1}{"v": 2}', "not JSON"),
    ],
)
def test_what_is_nearly_json_is_refused_with_the_remedy(payload: str, said: str) -> None:
    found = outcome([{"topic": "a/1", "payload_text": payload}])
    assert found.samples == []
    assert [one.reason for one in found.rejects] == [Reason.INVALID_JSON]
    assert said in found.rejects[0].message


def test_bytes_that_are_json_in_latin_1_are_refused_with_the_remedy() -> None:
    found = outcome(CASES["Latin-1 (c19)"][0])
    assert found.samples == []
    assert "encoding: cp1252" in found.rejects[0].message


@pytest.mark.parametrize(
    ("case", "rules", "said"),
    [
        ("JSON in a text (c12)", "", "the text at 'payload' is JSON: add decode: payload to the rule"),
        ("JSON in a text (c12)", "\n- topic: events\n  select: payload\n", "add decode: payload to the rule"),
        ("JSON in a text (c12)", "\n- topic: events\n  iterate: payload\n", "add decode: payload to the rule"),
        ("JSON encoded twice (c13)", "", 'the payload is JSON: add decode: "@" to the rule'),
        ("JSON in base64 (c14)", "", "is JSON in base64: add decode: {path: payload, encoding: base64} to the rule"),
        (
            "gzip, and gzip in base64 (c65)",
            "\n- topic: gz/1\n  skip: true\n- topic: gz/2\n",
            'is JSON in gzip in base64: set format: text and decode: {path: "@", encoding: [base64, gzip]} in the rule',
        ),
    ],
)
def test_a_dead_letter_says_which_line_would_read_the_payload(case: str, rules: str, said: str) -> None:
    found = outcome(CASES[case][0], rules)
    assert found.samples == []
    ((reason, message),) = [(one.reason, one.message) for one in found.rejects]
    assert reason in (Reason.NO_NUMERIC_VALUE, Reason.INVALID_JSON)
    assert said in message


def test_a_payload_in_a_text_beside_values_is_said_once() -> None:
    inner = '{"rows": "[{\\"v\\": 1}, {\\"v\\": 2}]", "t": 20.5}'
    messages = [{"topic": f"e/{n}", "payload": {"qos": 1, "n": n, "l": [{"id": "a", "p": inner}]}} for n in range(3)]
    found = outcome(messages)
    assert len(found.samples) == 6
    (said,) = [one for one in found.observations if one.kind == "payload_in_text"]
    assert said.subject == "l[].p"
    assert 'decode: "l[].p"' in said.remedy
    rule = '\n- topic: e/{n}\n  decode: ["l[].p", "l[].p.rows"]\n  input: "{n}/{path}"\n'
    found = outcome(messages, rule)
    assert [one for one in found.observations if one.kind == "payload_in_text"] == []
    assert ("0/l.a.p.t", NOW, 20.5) in found.samples


def test_a_dead_letter_names_payloads_in_payloads() -> None:
    inner = json.dumps({"data": base64.b64encode(b'{"v": 1}').decode()})
    found = outcome([{"topic": "t", "payload": {"body": json.dumps({"x": inner, "y": "1", "id": "7"})}}])
    assert "decode: [body, body.x, {path: body.x.data, encoding: base64}]" in found.rejects[0].message


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "[1]", "[x]", "{x", "eyJ4", "e30=", "Weather", "Hello123", "HTTP", '{"a": "x"}', "[" * 99, "W10="],
)
def test_what_is_not_certain_is_not_said(text: str) -> None:
    found = outcome([{"topic": "t", "payload": {"text": text}}, {"topic": "u", "payload": {"text": text, "n": 1}}])
    assert "decode" not in "".join(one.message for one in found.rejects)
    assert [one for one in found.observations if one.kind == "payload_in_text"] == []


@pytest.mark.parametrize("case", [name for name in CASES if "(c15)" not in name and "(c18)" not in name])
def test_what_init_writes_is_right(case: str) -> None:
    """Left out: bytes whose layout nobody can know, and topics that only look like those of a preset."""
    messages, _, expected = CASES[case]
    observed = Observed()
    for number, message in enumerate(messages, 1):
        observed.add("", record_of(message), number)
    source = {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]}
    drafted = draft(observed, source)
    found = outcome(messages, yaml.safe_dump([rule.settings for rule in drafted.rules]))
    assert drafted.without_rule == []
    assert [sample[1:] for sample in found.samples] == [sample[1:] for sample in expected]


def test_the_search_for_a_remedy_has_an_end() -> None:
    found = outcome([{"topic": "t", "payload": [{"p": '{"v": 1}'}] * 15_000}])
    assert [one.reason for one in found.rejects] == [Reason.NO_NUMERIC_VALUE]
    assert 'decode: "[].p"' in found.rejects[0].message
    nested = "1"
    for _ in range(4):
        nested = json.dumps({"p": nested, "x": "y"})
    assert "decode: [p, p.p, " in outcome([{"topic": "t", "payload_text": nested}]).rejects[0].message
