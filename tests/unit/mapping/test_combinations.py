"""Settings of rules together: each payload ends as its user means it, or is refused with a remedy, and its neighbours
are mapped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.mapping_cases import ARRIVAL, outcome

NOON = "2026-05-01T06:00:00Z"


@dataclass(frozen=True)
class Case:
    rules: str
    payloads: list[Any]
    """Payloads of the topic; a text is the payload itself."""
    samples: list[tuple[str, float]]
    refused: list[str] = field(default_factory=list)
    """A part of the text of each dead letter."""
    said: list[str] = field(default_factory=list)
    """The kinds of the observations."""
    topic: str = "t"
    time: str = ARRIVAL


CASES = {
    "a quality around the items": Case(
        "- {topic: t, iterate: v, item_name: n, input: '{item}', quality: {path: q, good: [192]}}",
        [
            {"q": 0, "v": [{"n": "a", "x": 1}]},
            {"q": 192, "v": [{"n": "a", "x": 2}]},
            {"q": 0, "v": [{"n": "a", "x": 3}]},
        ],
        [("a", 2)],
    ),
    "a quality in the item counts before one around it": Case(
        """
        - topic: t
          iterate: v
          item_name: n
          input: "{item}"
          values: {x: {}}
          other_values: filter
          quality: {path: q, good: [192]}
        """,
        [{"q": 192, "v": [{"n": "a", "x": 1, "q": 0}, {"n": "b", "x": 2}]}] * 2,
        [("b", 2)] * 2,
    ),
    "a quality beside what select takes": Case(
        "- {topic: t, select: d, quality: {path: q, good: [192]}}",
        [{"q": 0, "d": {"x": 1}}, {"q": 192, "d": {"x": 2}}],
        [("t:x", 2)],
    ),
    "a quality deeper than the rule says": Case(
        "- {topic: t, quality: {path: q, good: [192]}}",
        [{"temp": {"x": 1, "q": 0}}] * 2,
        [("t:temp.x", 1), ("t:temp.q", 0)] * 2,
        said=["quality_not_found"],
    ),
    "the mark of a limit, a bare payload": Case(
        "- {topic: t, format: text, decimal_comma: true, values: {lead: {path: '@', limit: signal}}}",
        ["<0,05", "0,7"],
        [("t:lead", 0.05), ("t:lead_limit", -1), ("t:lead", 0.7), ("t:lead_limit", 0)],
    ),
    "several signals of a value whose input does not name its path": Case(
        """
        - topic: t
          iterate: v
          item_name: n
          input: "{item}"
          number: auto
          values: {x: {limit: signal}, w: {bits: {run: 0, heat: 1}, input: "{item}/word"}}
        """,
        [{"v": [{"n": "a", "x": "<5", "w": 1}]}] * 2,
        [("a", 5), ("a/word/run", True), ("a/word/heat", False), ("a_limit", -1)] * 2,
    ),
    "bits of a series of a format": Case(
        "- {topic: t, format: prometheus, values: {value: {bits: {run: 0, heat: 1}}}}",
        ['m{a="x"} 2'],
        [("t:m/a:x/run", False), ("t:m/a:x/heat", True)],
    ),
    "a series without values costs nothing": Case(
        "- preset: data_frame\n  topic: t",
        [
            {"times": [NOON], "series": {"a": [1], "b": None, "c": [None]}},
            {"times": [NOON], "series": {}},
            {"times": [NOON], "series": {"b": None}},
        ],
        [("a", 1)],
        time=NOON,
    ),
    "bytes as a list of numbers": Case(
        "- {topic: t, decode: {path: d, format: {type: binary, fields: [{name: x, type: u16}]}}}",
        [{"d": [1, 2], "y": 3}],
        [("t:y", 3)],
        refused=["d: decode: a list, where a text should be; encoding: bytes reads a list"],
    ),
    "bytes of Node-RED": Case(
        "- {topic: t, decode: {path: d.data, encoding: bytes, format: {type: binary, fields: [{name: x, type: u16}]}}}",
        [{"d": {"type": "Buffer", "data": [1, 2]}}],
        [("t:d.data.x", 258)],
    ),
    "an array in a text that cannot be read": Case(
        "- {topic: t, decode: s, parallel: [s], input: '{path}', time: {field: ts, step: 1ms}}",
        [{"ts": NOON, "s": "1,2"}],
        [],
        refused=["s: decode: not JSON"],
    ),
    "the list around numbers names them": Case(
        "- {topic: t, iterate: [ch, s], item_name: n, input: '{item}', time: ts}",
        [{"ts": NOON, "ch": [{"n": "x", "s": [1]}, {"n": "y", "s": [3]}]}],
        [("x", 1), ("y", 3)],
        time=NOON,
    ),
    "the list around arrays names them": Case(
        "- {topic: t, iterate: ch, parallel: [s], item_name: n, input: '{item}', time: arrival, shared_inputs: true}",
        [{"ch": [{"n": "x", "s": [1]}, {"n": "y", "s": [3]}]}],
        [("x", 1), ("y", 3)],
    ),
    "no object around an object names it": Case(
        "- {topic: t, iterate: [ch, s], item_name: n, input: '{item}'}",
        [{"ch": [{"n": "x", "s": [{"v": 1}]}]}],
        [],
        refused=["item_name"],
    ),
    "ChirpStack without a codec": Case(
        """
        - preset: chirpstack
          decode: {path: data, encoding: base64, format: {type: binary, fields: [{name: x, type: u16}]}}
        """,
        [
            {
                "time": NOON,
                "deviceInfo": {"deviceName": "d", "applicationName": "x"},
                "data": "AQI=",
                "rxInfo": [{"rssi": -70}],
            }
        ],
        [("ac/x", 258), ("ac/rssi", -70)],
        topic="application/1/device/ac/event/up",
        time=NOON,
    ),
    "The Things Stack without a codec": Case(
        """
        - preset: the_things_stack
          decode:
            path: uplink_message.frm_payload
            encoding: base64
            format: {type: binary, fields: [{name: x, type: u16}]}
        """,
        [
            {
                "end_device_ids": {"application_ids": {"application_id": "a"}},
                "uplink_message": {"received_at": NOON, "frm_payload": "AQI=", "rx_metadata": [{"rssi": -70}]},
            }
        ],
        [("a/d/x", 258), ("a/d/rssi", -70)],
        topic="v3/a@t/devices/d/up",
        time=NOON,
    ),
    "a day of Excel with as many digits as a cell shows": Case(
        "- {topic: t, time: {field: at, format: excel, zone: Europe/Oslo}}",
        [{"at": 46143.3333333333, "x": 1}],
        [("t:x", 1)],
        time=NOON,
    ),
    "qualities beside values in objects": Case(
        "- {topic: t}",
        [{"a": {"x": 1, "q": 192}}, {"a": {"x": 2, "q": 0}}],
        [("t:a.x", 1), ("t:a.q", 192), ("t:a.x", 2), ("t:a.q", 0)],
        said=["quality_not_read"],
    ),
    "a quality around the items as a signal": Case(
        "- {topic: t, iterate: v, item_name: n, input: '{item}', quality: {path: q, bad: signal}}",
        [{"q": 192, "v": [{"n": "a", "x": 1}]}] * 2,
        [("a", 1), ("a/quality", 192)] * 2,
    ),
    "items that only a description tells apart": Case(
        "- {topic: t}",
        [{"m": [{"code": "1-0:1.8.0", "x": 1}, {"code": "1-0:2.8.0", "x": 2}]}] * 2,
        [("t:m.0.x", 1), ("t:m.1.x", 2)] * 2,
        said=["items_by_place"],
    ),
    "items whose places are their names": Case(
        "- {topic: t}",
        [{"m": [{"on": True, "x": 1}, {"on": False, "x": 2}]}],
        [("t:m.0.on", True), ("t:m.0.x", 1), ("t:m.1.on", False), ("t:m.1.x", 2)],
    ),
    "a quality that messages may lack": Case(
        "- {topic: t, quality: {path: q, good: [192]}}", [{"x": 1}, {"x": 2, "q": 0}], [("t:x", 1)]
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_together(name: str) -> None:
    case = CASES[name]
    found = outcome(
        [{"topic": case.topic, "payload_text" if isinstance(one, str) else "payload": one} for one in case.payloads],
        case.rules,
    )
    assert [(input_id, value) for input_id, _, value in found.samples] == case.samples
    assert {time for _, time, _ in found.samples} <= {case.time}
    assert len(found.rejects) == len(case.refused)
    for part, reject in zip(case.refused, found.rejects, strict=True):
        assert part in f"{reject.path}: {reject.message}"
    assert [one.kind for one in found.observations] == case.said
