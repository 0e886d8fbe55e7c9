"""Rules: which records they take, where values are, how they are converted, named and timed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.mapping.rules.compiler.rule import check_compiles
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.input_ids import Origin, legal_id
from connector.records import Mapped, Reason, Record, SignalMetadata, TimeKind
from tests.unit.mapping.mappers import mapper, take
from tests.unit.records import ARRIVAL

T0 = 1_714_557_600_000_000
"""2024-05-01T10:00:00Z"""


def values(found: Mapped) -> dict[str, float]:
    assert found.rejects == []
    return {input_id: value for input_id, _, value in found.samples}


def times(found: Mapped) -> list[int]:
    assert found.rejects == []
    return [time_us for _, time_us, _ in found.samples]


# -- which records -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "payload", "taken"),
    [
        ({"type": "reading"}, {"type": "reading", "v": 1}, True),
        ({"type": "reading"}, {"type": "event", "v": 1}, False),
        ({"type": ["reading", "event"]}, {"type": "event", "v": 1}, True),
        ({"meta.ok": True}, {"meta": {"ok": True}, "v": 1}, True),
        ({"meta.ok": True}, {"meta": {"ok": 1}, "v": 1}, False),
        ({"error": None}, {"v": 1}, True),
        ({"error": None}, {"error": "E7", "v": 1}, False),
        ("length(readings) > `1`", {"readings": [1, 2]}, True),
        ("length(readings) > `1`", {"readings": [1]}, False),
        ("length(readings) > `1`", {"v": 1}, False),
        ("v", 7, False),
    ],
)
def test_a_condition_on_the_payload(when: Any, payload: Any, taken: bool) -> None:
    assert bool(take(mapper({"topic": "t", "when": when}), payload).samples) is taken


def test_the_first_rule_whose_conditions_hold_counts_and_the_rest_is_unmatched() -> None:
    using = mapper(
        {"topic": "t", "when": {"kind": "a"}, "input": "a/{path}", "other_values": "filter", "values": {"v": {}}},
        {"topic": "t", "when": {"kind": "b"}, "skip": True},
        {"topic": "t", "when": {"kind": "c"}, "input": "c/{path}"},
    )
    assert values(take(using, {"kind": "a", "v": 1, "w": 2})) == {"a/v": 1}
    assert take(using, {"kind": "b", "v": 1}).skipped
    assert values(take(using, {"kind": "c", "v": 1})) == {"c/v": 1}
    assert take(using, {"kind": "d", "v": 1}).skipped
    (reject,) = take(using, b"{").rejects
    assert (reject.reason, reject.rule) == (Reason.INVALID_JSON, 0)


def test_what_no_rule_takes_can_be_mapped_or_rejected() -> None:
    rule = {"topic": "t", "when": {"kind": "a"}}
    assert values(take(mapper(rule, unmatched="map"), {"kind": "b", "v": 1})) == {"t:v": 1}
    (reject,) = take(mapper(rule, unmatched="dead_letter"), {"kind": "b", "v": 1}).rejects
    assert reject.reason is Reason.NO_RULE


def test_headers_choose_a_rule_and_name_levels() -> None:
    using = mapper(
        {"topic": "t", "headers": {"site": "{site}/+", "type": "json"}, "input": "{site}/{path}"},
        {"topic": "t", "input": "other/{path}"},
    )
    assert values(take(using, {"v": 1}, headers=(("site", "north/1"), ("type", "json")))) == {"north/v": 1}
    assert values(take(using, {"v": 1}, headers=(("site", "north/1"),))) == {"other/v": 1}
    assert values(take(using, {"v": 1}, headers=(("site", "north"), ("type", "json")))) == {"other/v": 1}


def test_every_rule_that_takes_a_record_maps_it_where_all_may() -> None:
    using = mapper(
        {"topic": "t", "input": "raw/{path}"},
        {"topic": "t", "input": "scaled/{path}", "scale": 10},
        {"topic": "other", "input": "other/{path}"},
        {"topic": "#", "skip": True},
        match="all",
    )
    found = take(using, {"v": 1, "text": "x"})
    assert values(found) == {"raw/v": 1, "scaled/v": 10}
    assert found.filtered == 2, "accounted for once a rule"


# -- where values are --------------------------------------------------------------------------------


def test_a_value_is_found_by_its_path_and_called_by_its_name() -> None:
    using = mapper(
        {
            "topic": "t",
            "input": "{path}",
            "values": {"temp": {"path": "data.values[1].t"}, "room.humidity": {"path": "data.hum"}},
            "other_values": "filter",
        }
    )
    payload = {"data": {"values": [{"t": 1}, {"t": 2}], "hum": 3, "x": 4}, "y": [5, "z"]}
    for _ in range(3):
        found = take(using, payload)
        assert values(found) == {"temp": 2, "room.humidity": 3}
        assert found.filtered == 4
        payload["y"] = [5, "z"]


def test_jmespath_finds_the_rest() -> None:
    using = mapper(
        {
            "topic": "t",
            "input": "{path}",
            "values": {
                "t1": {"path": "sensors[?id=='t1'].value | [0]", "unit": "°C"},
                "most": {"path": "max(sensors[].value)", "scale": 10},
                "all": {"path": "sensors[].value"},
                "gone": {"path": "sensors[?id=='t9'].value | [0]"},
                "no_number": {"path": "sum(text)"},
            },
        }
    )
    found = take(using, {"sensors": [{"id": "t1", "value": 1.5}, {"id": "t2", "value": 2.5}], "text": "x"})
    assert values(found) == {"t1": 1.5, "most": 25, "all.0": 1.5, "all.1": 2.5}
    assert len(found.samples) + found.filtered >= 5
    assert dict(using.discovered) == {"t1": SignalMetadata("t1", unit="°C")}


def test_a_name_that_stands_in_the_payload_too_is_not_mixed_up_with_what_an_expression_found() -> None:
    using = mapper({"topic": "t", "values": {"v": {"path": "a[0] | [0]"}}, "other_values": "map"})
    found = take(using, {"a": [[5]], "v": 6})
    assert sorted(value for _, _, value in found.samples) == [5, 5, 6]
    assert len({input_id for input_id, _, _ in found.samples}) == 3
    assert len(using.ids.collisions) == 1


def test_items_of_a_list_are_named_by_a_field() -> None:
    using = mapper(
        {
            "topic": "t",
            "iterate": "readings",
            "item_name": "n",
            "input": "{payload.device.id}/{item}",
            "unit": "{item.unit}",
            "values": {"v": {}},
            "other_values": "filter",
        }
    )
    payload = {
        "device": {"id": 7},
        "ts": "2024-05-01T10:00:00Z",
        "readings": [{"n": "temp", "v": 21, "unit": "°C"}, {"n": "hum", "v": 40, "unit": "%"}],
    }
    found = take(using, payload)
    assert values(found) == {"7/temp": 21, "7/hum": 40}
    assert times(found) == [T0, T0], "the time that stands around them"
    assert found.filtered == 6
    assert {key: value.unit for key, value in using.discovered} == {"7/temp": "°C", "7/hum": "%"}


def test_items_of_an_object_are_named_by_their_keys_and_items_stand_in_items() -> None:
    using = mapper({"topic": "t", "iterate": ["lines", "@"], "time": "at"})
    payload = {"lines": {"l1": {"m1": {"v": 1}, "m2": 2}, "l2": {"m1": {"v": 3}}}, "at": "2024-05-01T10:00:00Z"}
    found = take(using, payload)
    assert values(found) == {"t:l1.m1.v": 1, "t:l1.m2": 2, "t:l2.m1.v": 3}
    assert times(found) == [T0] * 3


def test_parallel_arrays_are_many_readings_of_the_same_signals() -> None:
    using = mapper(
        {"topic": "t", "parallel": ["data.time", "data.temp", "data.hum"], "time": "time", "input": "{path}"}
    )
    payload: dict[str, Any] = {
        "data": {"time": [1714557600, 1714557601], "temp": [20, 21], "hum": [40, None]},
        "device": "x",
    }
    found = take(using, payload)
    assert found.samples == [("temp", T0, 20), ("hum", T0, 40), ("temp", T0 + 1_000_000, 21)]
    payload["data"]["temp"].append(22)
    (reject,) = take(using, payload).rejects
    assert reject.reason is Reason.WRONG_STRUCTURE
    assert "data.temp has 3" in reject.message
    del payload["data"]["temp"]
    assert "no array at 'data.temp'" in take(using, payload).rejects[0].message


def test_an_object_of_arrays_is_parallel_to_the_array_of_times() -> None:
    using = mapper({"topic": "t", "parallel": ["times", "series"], "time": "times", "input": "{path}"})
    frame: dict[str, Any] = {"times": [1714557600, 1714557601], "series": {"a.b": [20, None], "c": [None, 4]}}
    assert take(using, frame).samples == [("a.b", T0, 20), ("c", T0 + 1_000_000, 4)]
    nothing = take(using, {"times": [1714557600], "series": {"a.b": [None]}})
    assert (nothing.skipped, nothing.why, nothing.rejects) == (True, "null", [])
    assert take(using, {"times": [], "series": {"a.b": []}}).skipped
    frame["series"]["c"].append(5)
    assert "series.c has 3" in take(using, frame).rejects[0].message
    frame["series"]["c"] = 4
    assert "no array at 'series.c'" in take(using, frame).rejects[0].message
    frame["series"] = {"times": [1, 2]}
    assert "two arrays are called 'times'" in take(using, frame).rejects[0].message


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"zone": "a", "id": 7, "x": 5.0}, "id:7/x:5/zone:a"),
        ({"a/b": "c:d"}, "a%2Fb:c%3Ad"),
        ([{"key": "zone", "value": {"stringValue": "a"}}, {"key": "id", "value": {"intValue": "7"}}], "id:7/zone:a"),
        ([{"key": "on", "value": True}], "on:true"),
        ({"a": {"y": 1, "x": None}}, 'a:{"x"%3Anull,"y"%3A1}'),
        ({}, "none"),
        ([], "none"),
        ("x", "none"),
        (None, "none"),
        ([{"value": 3}], "none"),
    ],
)
def test_all_members_of_an_object_tell_devices_apart(tags: object, expected: str) -> None:
    rule = {"topic": "t", "values": {"v": {}}, "other_values": "filter"}
    found = take(mapper({**rule, "input": "{payload.tags.*|none}"}), {"tags": tags, "v": 1})
    assert [sample[0] for sample in found.samples] == [legal_id(expected)]
    refused = take(mapper({**rule, "input": "{payload.tags.*}"}), {"tags": tags, "v": 1})
    assert bool(refused.rejects) == (expected == "none")


def test_a_message_whose_named_values_are_null_has_none_by_design() -> None:
    using = mapper({"topic": "t", "values": {"v": {}}, "other_values": "filter"})
    nothing = take(using, {"v": None, "name": "pump"})
    assert (nothing.skipped, nothing.why, nothing.rejects) == (True, "null", [])
    assert [reject.reason for reject in take(using, {"name": "pump"}).rejects] == [Reason.NO_NUMERIC_VALUE]
    assert [reject.reason for reject in take(using, {"v": "x", "name": None}).rejects] == [Reason.NO_NUMERIC_VALUE]


@pytest.mark.parametrize("time", ["auto", "ts", "arrival"])
def test_what_a_rule_leaves_out_makes_no_dead_letters(time: str) -> None:
    using = mapper({"topic": "t", "time": time, "values": {"v": {}, "m.w": {}}, "other_values": "filter"})
    rows = [[1714557600, 2], [1714557601, 3]]
    payload = {"ts": 1714557600, "v": 1, "m": {"w": 2, "rows": rows}, "rows": rows, "stamps": [1714557600], "w": [3]}
    for _ in range(2):
        found = take(using, payload)
        assert values(found) == {"t:v": 1, "t:m.w": 2}
        assert found.rejects == []
        assert found.filtered == 10 + (time != "auto")


def test_a_list_of_readings_with_their_times() -> None:
    using = mapper({"topic": "t", "iterate": "@", "input": "{path}", "time": {"field": "at", "unit": "s"}})
    found = take(using, [{"at": 1714557600, "v": 1}, {"at": 1714557601, "v": 2}, {"v": 3}])
    assert found.samples == [("v", T0, 1), ("v", T0 + 1_000_000, 2)]
    (reject,) = found.rejects
    assert (reject.reason, reject.path) == (Reason.TIME_UNREADABLE, "2")


def test_nothing_to_take_items_from_is_a_reject_that_says_where() -> None:
    (reject,) = take(mapper({"topic": "t", "iterate": "values"}), {"v": 1}).rejects
    assert "values" in reject.message


def test_only_a_part_is_mapped_and_a_message_without_it_is_left_out() -> None:
    using = mapper({"topic": "t", "select": "payload.after", "input": "{path}"})
    found = take(using, {"payload": {"before": {"v": 1}, "after": {"v": 2}}, "x": 3})
    assert (values(found), found.filtered) == ({"v": 2}, 2)
    gone = take(using, {"payload": {"before": {"v": 1}, "after": None}})
    assert (gone.skipped, gone.filtered) == (True, 2)


def test_documents_of_a_payload_are_mapped_one_by_one() -> None:
    using = mapper(
        {"topic": "t", "format": "ndjson", "when": {"kind": "a"}, "input": "{path}"},
        {"topic": "t", "format": "ndjson", "when": {"kind": "b"}, "input": "b/{path}"},
    )
    found = take(using, b'{"kind":"a","v":1}\n{"kind":"b","v":2}\n{nonsense\n{"kind":"c","v":3}\n')
    assert found.samples == [("v", ARRIVAL, 1), ("b/v", ARRIVAL, 2)]


def test_a_line_that_cannot_be_read_costs_only_itself() -> None:
    found = take(mapper({"topic": "t", "format": "ndjson", "input": "{path}"}), b'{"v":1}\n{nonsense\n{"w":2}\n')
    assert [value for _, _, value in found.samples] == [1, 2]
    (reject,) = found.rejects
    assert (reject.path, reject.rule) == ("line 2", 0)


def test_repeated_keys_are_found_whatever_the_rule_wants() -> None:
    payload = b'{"readings": [{"n": "a", "v": 1, "v": 2}], "x": 1, "x": 3}'
    using = mapper({"topic": "t", "iterate": "readings", "item_name": "n", "values": {"v": {}}})
    found = take(using, payload)
    assert [value for _, _, value in found.samples] == [2]
    assert sorted((reject.reason, reject.path) for reject in found.rejects) == [
        (Reason.DUPLICATE_KEY, "readings.0.v"),
        (Reason.DUPLICATE_KEY, "x"),
    ]


# -- how values are converted --------------------------------------------------------------------------


NO_NUMBERS_WITH_UNITS = (
    "1\N{NO-BREAK SPACE}234,5",
    "1\N{NARROW NO-BREAK SPACE}234.5",
    "1\N{THIN SPACE}234",
    "1 234.5 kW",
    "1'234.5",
    "1\N{RIGHT SINGLE QUOTATION MARK}234",
    "1_000",
    "00:12:34",
    "0T01:00:16",
    "24:0A:C4:11:22:33",
    "24-0A-C4-11-22-33",
    "2024-05-01",
    "2024-05-01T06:00:00Z",
    "10.0.0.1",
    "13.3.0(tasmota)",
    "12/7",
    "5 of 10",
    "12h30m",
    "22 kWh / 24 h",
    "0x1F4",
    "0xFF",
    "7A21",
    "10³",
    "10⁻³ m",
    "1½ in",
    "5万",
    "21.5 ± 0.2 °C",
    "4 m3/h",
    "21.5;ok",
    "21.5\tV\tok",
    "7?",
    "5-",
    "3\N{MINUS SIGN}4",
    "3 \N{ARABIC-INDIC DIGIT FOUR}",
)


@pytest.mark.parametrize(
    ("says", "value", "wanted"),
    [
        ({"scale": 0.1}, 215, 21.5),
        ({"scale": 2, "offset": -1}, 3, 5),
        ({"offset": 1}, True, 2),
        ({"strip_unit": True}, "21.5 °C", 21.5),
        ({"strip_unit": True}, "-3.5kWh", -3.5),
        ({"strip_unit": True}, "1.5e3 m³/h", 1500),
        ({"strip_unit": True}, "21.5", 21.5),
        ({"strip_unit": True}, "21.5\N{NO-BREAK SPACE}°C", 21.5),
        ({"strip_unit": True}, "420 ppm CO₂", 420),
        ({"strip_unit": True}, "5 ℃", 5),
        ({"strip_unit": True}, "12 km/h", 12),
        ({"strip_unit": True}, "99%", 99),
        ({"strip_unit": True}, "3 €/kWh", 3),
        ({"strip_unit": True}, "...", None),
        ({"strip_unit": True}, "°C", None),
        ({"decimal_comma": True}, "21,5", 21.5),
        ({"decimal_comma": True}, "1.234,5", 1234.5),
        ({"decimal_comma": True}, "1.5", 1.5),
        ({"decimal_comma": True, "strip_unit": True}, "21,5 °C", 21.5),
        ({"decimal_comma": True, "strip_unit": True}, "1.234,5 m³/h", 1234.5),
        ({"strip_unit": True, "text": "drop"}, "00:12:34", None),
        ({"strip_unit": True, "states": {"10:20": 3}}, "10:20", 3),
        *(
            (says, text, Reason.NOT_A_NUMBER)
            for says in ({"strip_unit": True}, {"strip_unit": True, "decimal_comma": True})
            for text in NO_NUMBERS_WITH_UNITS
        ),
        ({"min": 0, "max": 100}, 100, 100),
        ({"min": 0, "out_of_range": "drop"}, -1, None),
        ({"max": 100, "scale": 10}, 11, Reason.OUT_OF_RANGE),
        ({"text": "reject"}, "ERR", Reason.NOT_A_NUMBER),
        ({"unit": "bar"}, "ERR", None),
        ({"states": {"OPEN": 1, "closed": 0}}, "open", 1),
        ({"states": {"OPEN": 1}}, "ajar", Reason.UNKNOWN_STATE),
        ({"states": {"OPEN": 1}, "unknown_state": "drop"}, "ajar", None),
        ({"states": {"OPEN": 1}}, 1, 1),
        ({"type": "enum", "enum_values": {0: "off", 1: "on"}}, "on", 1),
        ({"type": "enum", "enum_values": {0: "off", 1: "on"}}, "On ", 1),
        ({"nan": "reject"}, "1e+999", Reason.NOT_FINITE),
        ({"nan": "null"}, "1e+999", None),
        ({"nan": "drop"}, "1e+999", None),
    ],
)
def test_what_becomes_of_a_value(says: dict[str, Any], value: object, wanted: float | Reason | None) -> None:
    using = mapper({"topic": "t", "values": {"v": says}})
    for _ in range(3):  # the walk, and twice what was learned from it
        found = take(using, {"v": value, "other": 1})
        of_v = [number for input_id, _, number in found.samples if input_id == "t:v"]
        if isinstance(wanted, Reason):
            assert [(reject.reason, reject.path) for reject in found.rejects] == [(wanted, "v")]
        else:
            assert found.rejects == []
            assert of_v == ([] if wanted is None else [pytest.approx(wanted)])
            assert found.filtered == (wanted is None)


@pytest.mark.parametrize(
    "rule",
    [
        {"input": "{payload.id}/{path}"},
        {"iterate": "@", "item_name": "id", "input": "{item}/{path}"},
        {"iterate": "@", "input": "{item.id}/{path}"},
    ],
)
def test_the_name_of_a_device_is_no_number_with_a_wrong_unit(rule: dict[str, Any]) -> None:
    using = mapper({"topic": "t", "strip_unit": True, **rule})
    message = {"id": "24:0A:C4:11:22:33", "v": "21.5 °C", "up": "00:12:34"}
    found = take(using, [message] if "iterate" in rule else message)
    assert [(sample[0], sample[2]) for sample in found.samples] == [("24:0A:C4:11:22:33/v", 21.5)]
    assert [(reject.reason, (reject.path or "").rpartition(".")[2]) for reject in found.rejects] == [
        (Reason.NOT_A_NUMBER, "up")
    ]
    assert found.filtered == 1


def test_what_a_rule_says_of_values_holds_for_all_of_them_and_a_value_may_say_otherwise() -> None:
    using = mapper({"topic": "t", "scale": 10, "max": 50, "values": {"b": {"scale": 1}, "c": {"max": 100}}})
    found = take(using, {"a": 3, "b": 3, "c": 9, "d": 6})
    assert [(input_id, value) for input_id, _, value in found.samples] == [("t:a", 30), ("t:b", 3), ("t:c", 90)]
    assert [reject.path for reject in found.rejects] == ["d"]


def test_nan_of_json_is_left_out_where_the_rule_says_so() -> None:
    using = mapper({"topic": "t", "nan": "drop"})
    found = take(using, b'{"a": NaN, "b": 1}')
    assert (values(found), found.filtered) == ({"t:b": 1}, 1)


def test_states_are_learned_and_keep_their_numbers_for_ever() -> None:
    rule = {"topic": "t", "values": {"mode": {"enum_values": {1: "auto"}, "unknown_state": "learn"}}}
    first = mapper(rule)
    assert [values(take(first, {"mode": text}))["t:mode"] for text in ("auto", "hand", "service", "hand")] == [
        1,
        2,
        3,
        2,
    ]
    assert first.states.new == [("t:mode", "hand", 2), ("t:mode", "service", 3)]
    last = [metadata for _, metadata in first.discovered][-1]
    assert (last.value_type, last.enum_values) == ("enum", (("2", "hand"), ("3", "service"), ("1", "auto")))
    known = {"t:mode": {"hand": 2, "service": 3}}
    again = mapper(rule, states=known, claims=dict(first.ids.new_claims))
    assert [values(take(again, {"mode": text}))["t:mode"] for text in ("service", "wash", "hand")] == [3, 4, 2]


def test_free_text_is_not_learned_without_end() -> None:
    using = mapper({"topic": "t", "values": {"mode": {"unknown_state": "learn"}}})
    for number in range(256):
        take(using, {"mode": f"state {number}"})
    (reject,) = take(using, {"mode": "one more"}).rejects
    assert reject.reason is Reason.UNKNOWN_STATE
    (reject,) = take(using, {"mode": "x" * 200}).rejects
    assert "no state's name" in reject.message


@pytest.mark.parametrize(
    ("use", "samples", "filtered", "rejects"),
    [
        ("keep", {"a": 1, "b": 2}, 4, 0),
        ("drop", {"a": 1}, 5, 0),
        ("null", {"a": 1}, 5, 0),
        ("reject", {"a": 1}, 4, 1),
        ("signal", {"a": 1, "a/quality": 192, "b": 2, "b/quality": 24}, 2, 0),
    ],
)
def test_quality(use: str, samples: dict[str, float], filtered: int, rejects: int) -> None:
    using = mapper(
        {
            "topic": "t",
            "iterate": "@",
            "item_name": "n",
            "input": "{item}",
            "values": {"v": {}},
            "other_values": "filter",
            "quality": {"path": "q", "bad": use},
        }
    )
    found = take(using, [{"n": "a", "v": 1, "q": 192}, {"n": "b", "v": 2, "q": 24}])
    assert {input_id: value for input_id, _, value in found.samples} == samples
    assert (found.filtered, len(found.rejects)) == (filtered, rejects)
    if rejects:
        assert (found.rejects[0].reason, found.rejects[0].path) == (Reason.BAD_QUALITY, "b")


# -- times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "payload"),
    [
        ("at", {"at": "2024-05-01T10:00:00Z"}),
        ({"field": "at"}, {"at": 1714557600}),
        ({"field": "meta.at", "zone": "Europe/Oslo"}, {"meta": {"at": "2024-05-01T12:00:00"}}),
        ({"zone": "Europe/Oslo"}, {"ts": "2024-05-01T12:00:00"}),
        ({"zone": "Europe/Oslo"}, {"ts": "2024-05-01T10:00:00Z"}),
        ({"field": "at", "format": "%d.%m.%Y %H:%M:%S", "zone": "Europe/Oslo"}, {"at": "01.05.2024 12:00:00"}),
        ({"field": "at", "format": ["%d/%m/%Y %H:%M", "auto"]}, {"at": "01/05/2024 10:00"}),
        ({"field": "at", "format": ["%d/%m/%Y %H:%M", "auto"]}, {"at": "2024-05-01T10:00:00Z"}),
        ({"field": "at", "format": "%Y-%m-%dT%H:%M:%S.%f%z"}, {"at": "2024-05-01T12:00:00.000000000+0200"}),
        ({"field": "at", "unit": "ms"}, {"at": 1714557600000}),
        ({"field": "at", "unit": "ms"}, {"at": "1714557600000"}),
        ({"field": "at", "format": "excel"}, {"at": 45413.416666666664}),
        ({"field": "join('T', [date, time])", "format": "iso8601"}, {"date": "2024-05-01", "time": "10:00:00Z"}),
    ],
)
def test_times_are_found_and_read(time: Any, payload: dict[str, Any]) -> None:
    using = mapper({"topic": "t", "time": time, "values": {"v": {}}, "other_values": "filter"})
    for _ in range(3):
        (found,) = times(take(using, {**payload, "v": 1}))
        assert abs(found - T0) < 1_000


def test_a_time_from_a_header_such_as_a_user_property_of_mqtt_5() -> None:
    using = mapper({"topic": "t", "time": {"header": "sampled"}})
    assert times(take(using, {"v": 1}, headers=(("sampled", "2024-05-01T10:00:00Z"),))) == [T0]
    (reject,) = take(using, {"v": 1}).rejects
    assert (reject.reason, "sampled" in reject.message) == (Reason.TIME_UNREADABLE, True)
    either = mapper({"topic": "t", "time": {"header": "sampled", "missing": "arrival"}})
    assert times(take(either, {"v": 1})) == [ARRIVAL]


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ({"zone": "Europe/Olso"}, "no IANA time zone"),
        ({"format": "dd.mm.yyyy"}, "a pattern such as"),
        ({"format": "%Q"}, "cannot be read"),
        ({"field": "a", "header": "b"}, "exclude each other"),
        ({"field": "a..b"}, "a name is missing"),
        ({"field": "a[?"}, "nor JMESPath"),
    ],
)
def test_a_time_that_cannot_be_read_is_found_when_the_configuration_is(time: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_compiles(RuleSection.model_validate({"topic": "t", "time": time}))


def test_clocks_are_measured_and_corrected_where_the_rule_says_so() -> None:
    hour = 3_600_000_000
    says: list[Any] = ["auto", {"correct_clock": "1m"}]
    for time in says:
        using = mapper({"topic": "t", "time": time})
        found = []
        for second in range(5):
            arrival = ARRIVAL + second * 1_000_000
            payload = json.dumps({"ts": (arrival - hour) / 1e6, "v": second}).encode()
            found += using.map("mqtt", Record("t", payload, arrival)).samples
        (skew,) = using.clocks.worst(10)
        assert (skew.source, skew.device, skew.messages) == ("mqtt", "t", 5)
        assert abs(skew.lag_us - hour) < 10
        assert [off.device for off in using.clocks_off(0)] == ["t"]
        assert using.clocks_off(100) == [], "it was reported"
        late = [ARRIVAL + second * 1_000_000 - time_us for second, (_, time_us, _) in enumerate(found)]
        wrong = [abs(lag) > 1_000_000 for lag in late]
        assert wrong == ([True] * 5 if time == "auto" else [True, True, False, False, False])


@pytest.mark.parametrize("nonsense_ms", [-(2**63), -1_000_000_000_000, 2**63 - 1, 1_764_240_000_000_000_000])
def test_a_timestamp_that_is_nonsense_says_nothing_about_the_devices_clock(nonsense_ms: int) -> None:
    using = mapper({"topic": "t", "time": {"correct_clock": "1m"}})
    for second in range(10):
        measured = ARRIVAL + second * 1_000_000
        payload = json.dumps({"ts": measured // 1000, "v": second}).encode()
        arrival = measured + 200_000
        stamped = nonsense_ms * 1000 if second == 4 else arrival
        record = Record("t", payload, stamped, time_kind=TimeKind.CREATED, received_us=arrival)
        assert times(using.map("kafka", record)) == [measured]


# -- names -------------------------------------------------------------------------------------------


def test_metadata_from_topic_payload_key_and_header() -> None:
    using = mapper(
        {
            "topic": "{site...}/up",
            "input": "{site}/{key}/{path}",
            "name": "{payload.device.name} {field}",
            "description": "of {header.vendor}",
            "labels": {"site": "{site}", "model": "{payload.device.model}", "none": "{payload.gone}"},
            "annotations": {"serial": "{payload.device.serial}"},
            "sample_interval": "10s",
            "gap_detection": "5m",
            "values": {"v": {"unit": "{payload.unit}", "labels": {"kind": "main"}}},
            "other_values": "filter",
        }
    )
    payload = {"device": {"name": "Press", "model": 7.0, "serial": "A1"}, "unit": "bar", "v": 1}
    assert values(take(using, payload, "a/b/up", key=b"k", headers=(("vendor", "ACME"),))) == {"a/b/k/v": 1}
    assert dict(using.discovered) == {
        "a/b/k/v": SignalMetadata(
            "Press v",
            "of ACME",
            "bar",
            "numeric",
            (("site", ("a/b",)), ("model", ("7",)), ("kind", ("main",))),
            sample_interval="PT10S",
            gap_detection="PT5M",
            annotations=(("serial", "A1"),),
        )
    }


def test_a_device_with_a_new_name_is_the_same_device() -> None:
    rule = {"topic": "t", "input": "{payload.id}/{path}", "labels": {"name": "{payload.name}"}, "values": {"v": {}}}
    first = mapper(rule)
    take(first, {"id": "d1", "name": "Old", "v": 1})
    take(first, {"id": "d1", "name": "New", "v": 1})
    assert [input_id for input_id, _ in first.ids.new_claims] == ["d1/v"]
    assert [metadata.labels for _, metadata in first.discovered] == [(("name", ("Old",)),), (("name", ("New",)),)]
    again = mapper(rule, claims=dict(first.ids.new_claims))
    assert values(take(again, {"id": "d1", "name": "Newest", "v": 1})) == {"d1/v": 1}
    assert again.ids.collisions == []


def test_a_signal_that_a_change_of_the_mapping_renames_is_reported() -> None:
    before = mapper({"topic": "plant/{m}"})
    take(before, {"v": 1}, "plant/press")
    claims = dict(before.ids.new_claims)
    same = mapper({"topic": "plant/{m}", "labels": {"m": "{m}"}}, claims=claims)
    take(same, {"v": 1}, "plant/press")
    assert same.ids.renames == []
    after = mapper({"topic": "plant/{m}", "input": "{m}/{path}"}, claims=claims)
    for _ in range(2):
        take(after, {"v": 1}, "plant/press")
    (rename,) = after.ids.renames
    assert (rename.before, rename.now) == ("plant/press:v", "press/v")
    assert str(rename).endswith("was input 'plant/press:v' and is 'press/v' now")
    assert claims == {"plant/press:v": Origin("mqtt", "plant/press", "v")}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"input": "{lien}"}, "did you mean {line}"),
        ({"labels": {"a": "{nope}"}}, "labels.a: '{nope}': {nope} is not known here"),
        ({"values": {"v": {"name": "{nope}"}}}, "values.v.name"),
        ({"input": "{item}"}, "only in a rule with iterate"),
        ({"input": "{payload.a..b}"}, "a name is missing"),
        ({"values": {"a": {"path": "x"}, "x": {}}}, "has the path 'x' already"),
        ({"values": {"a": {"path": "x[?"}}}, "nor JMESPath"),
        ({"when": "x["}, "nor JMESPath"),
        ({"key": "{line}"}, "level of the topic already"),
        ({"headers": {"a": "{topic}"}}, "another meaning in templates"),
        ({"values": {"v": {"min": 2, "max": 1}}}, "min is greater than max"),
        ({"scale": 0}, "every value the same"),
        ({"type": "numeric", "unknown_state": "learn"}, "remove type: numeric"),
        ({"thin": {"window": "1m", "change_only": True}}, "window excludes the other settings"),
        ({"thin": {"by": "mean"}}, "window, which is missing"),
        ({"thin": {}}, "no setting is given"),
        ({"thin": {"min_interval": "1s", "at_least_every": "1m"}}, "at_least_every is for"),
        ({"type": "enum", "thin": {"window": "1m", "by": "mean"}}, "mean of states"),
    ],
)
def test_a_mistake_in_a_rule_says_what_is_wrong(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".*") as caught:
        check_compiles(RuleSection.model_validate({"topic": "plant/{line}", **rule}))
    assert message in str(caught.value)


# -- what tells devices apart ------------------------------------------------------------------------


def refusals(found: Mapped) -> list[tuple[Reason, str | None]]:
    return [(reject.reason, reject.path) for reject in found.rejects]


NOBODY = {
    "missing": ({}, "'id' of the payload is not there"),
    "null": ({"id": None}, "'id' of the payload is null"),
    "empty": ({"id": ""}, "'id' of the payload is an empty text"),
    "spaces": ({"id": " \t\u00a0"}, "'id' of the payload is an empty text"),
    "object": ({"id": {"a": "x"}}, "'id' of the payload is an object of 1, and no text or number"),
    "list": ({"id": []}, "'id' of the payload is a list of 0, and no text or number"),
    "rounded": (b'{"id": 18446744073709551617, "v": 1}', "a number that cannot identify a device"),
    "nan": (b'{"id": NaN, "v": 1}', "'id' of the payload is nan, a number that cannot identify a device"),
}


@pytest.mark.parametrize(("payload", "words"), NOBODY.values(), ids=NOBODY.keys())
def test_a_device_without_an_id_makes_no_signal(payload: dict[str, Any] | bytes, words: str) -> None:
    using = mapper({"topic": "other"}, {"topic": "t", "input": "{payload.id}/{path}"})
    raw = payload if isinstance(payload, bytes) else {**payload, "v": 1}
    for _ in range(3):  # what was learned from the others is not taken for this one
        assert values(take(using, {"id": "a", "v": 1})) == {"a/v": 1}
        found = take(using, raw)
        assert [sample for sample in found.samples if sample[0].endswith("/v")] == []
        [reject] = [reject for reject in found.rejects if reject.path == "v"]
        assert (reject.reason, reject.value, reject.rule) == (Reason.NO_IDENTITY, "1", 1)
        assert words in reject.message
        assert "by which rule 2 tells devices apart ({payload.id}: " in reject.message
    assert set(dict(using.ids.new_claims)) == {"a/v"}


@pytest.mark.parametrize(
    ("id_", "wanted"),
    [
        ("a", "a"),
        (0, "0"),
        (-7, "-7"),
        (21.0, "21"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (10**18 + 1, "1000000000000000001"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_texts_numbers_and_booleans_tell_devices_apart(id_: object, wanted: str) -> None:
    using = mapper({"topic": "t", "input": "{payload.id}/{path}", "other_values": "filter", "values": {"v": {}}})
    assert values(take(using, {"id": id_, "v": 1})) == {f"{wanted}/v": 1}


def test_long_texts_that_differ_at_their_end_are_two_devices() -> None:
    using = mapper({"topic": "t", "input": "{payload.id}/{path}"})
    made = {next(iter(values(take(using, {"id": "x" * 500 + end, "v": 1})))) for end in "ab"}
    assert len(made) == 2


@pytest.mark.parametrize(
    ("rule", "key", "headers", "words"),
    [
        ({"input": "{key}/{path}"}, None, (), "{key}: the message has no key"),
        ({"input": "{key}/{path}"}, b" ", (), "{key}: the message has no key"),
        ({"key": "#"}, None, (), "{key}: the message has no key"),
        ({"key": "{line}", "input": "{line}/{path}"}, b"", (), "{line}: the message has no key"),
        ({"input": "{header.y}/{path}"}, None, (), "{header.y}: the message has no header 'y', or an empty one"),
        (
            {"headers": {"y": "{site}"}, "input": "{site}/{path}"},
            None,
            (("y", ""),),
            "{site}: the message has no header 'y', or an empty one",
        ),
    ],
)
def test_a_message_without_its_key_or_header_makes_no_signal(
    rule: dict[str, Any], key: bytes | None, headers: tuple[tuple[str, str], ...], words: str
) -> None:
    using = mapper({"topic": "t", **rule})
    assert len(take(using, {"v": 1}, key=b"k", headers=(("y", "s"),)).samples) == 1
    found = take(using, {"v": 1, "w": "text"}, key=key, headers=headers)
    assert refusals(found) == [(Reason.NO_IDENTITY, "v")]
    assert words in found.rejects[0].message
    assert (found.samples, found.filtered) == ([], 1)


def test_a_key_that_the_input_does_not_use_may_be_missing() -> None:
    using = mapper({"topic": "t", "key": "#", "input": "{topic}/{path}"})
    assert values(take(using, {"v": 1})) == {"t/v": 1}


@pytest.mark.parametrize(
    ("says", "made"),
    [
        ({"item_name": "n"}, "t:{}.v"),
        ({"item_name": "n", "input": "{item}/{path}"}, "{}/v"),
        ({"input": "{item.n}/{path}"}, "{}/v"),
        ({"item_name": "n", "input": "{item}/{path}", "labels": {"what": "{item.what}"}}, "{}/v"),
    ],
)
@pytest.mark.parametrize("nobody", [{}, {"n": None}, {"n": ""}, {"n": " "}, {"n": ["a"]}, {"n": {"a": 1}}])
def test_an_item_without_a_name_costs_only_its_own_values(
    says: dict[str, Any], made: str, nobody: dict[str, Any]
) -> None:
    using = mapper({"topic": "t", "iterate": "readings", "other_values": "filter", "values": {"v": {}}, **says})
    items = [{"n": "a", "v": 1}, {**nobody, "v": 2}, {"n": "b", "v": 3}]
    for _ in range(3):
        found = take(using, {"readings": items})
        assert {input_id: value for input_id, _, value in found.samples} == {made.format("a"): 1, made.format("b"): 3}
        assert refusals(found) == [(Reason.NO_IDENTITY, "1.v")]
        assert "'n'" in found.rejects[0].message
        assert "of item 1 is" in found.rejects[0].message
    assert len(using.ids.new_claims) == 2


def test_what_an_item_says_is_null_is_not_taken_from_around_it() -> None:
    using = mapper({"topic": "t", "iterate": "items", "input": "{item.id}/{path}", "values": {"v": {}}})
    found = take(using, {"id": "gateway", "items": [{"id": "a", "v": 1}, {"id": None, "v": 2}, {"v": 3}]})
    assert [sample[0] for sample in found.samples] == ["a/v", "gateway/v"]
    assert refusals(found) == [(Reason.NO_IDENTITY, "1.v")]


def test_items_of_a_list_without_names_are_refused_where_the_input_names_them() -> None:
    found = take(mapper({"topic": "t", "iterate": "@", "input": "{item}/{path}"}), [{"v": 1}])
    assert refusals(found) == [(Reason.NO_IDENTITY, "0.v")]
    assert "item 0 has no name; set item_name" in found.rejects[0].message
    assert values(take(mapper({"topic": "t", "iterate": "@"}), [{"v": 1}])) == {"t:v": 1}


def test_only_the_value_whose_input_is_made_of_it_is_refused() -> None:
    using = mapper({"topic": "t", "values": {"v": {"input": "{payload.id}/v"}}})
    found = take(using, {"v": 1, "w": 2})
    assert ([sample[0] for sample in found.samples], refusals(found)) == (["t:w"], [(Reason.NO_IDENTITY, "v")])


def test_nothing_is_learned_of_a_device_without_an_id_by_states_or_expressions() -> None:
    using = mapper(
        {
            "topic": "t",
            "input": "{payload.id}/{path}",
            "values": {"mode": {"unknown_state": "learn"}, "sum": {"path": "sum(a[].v)"}},
        }
    )
    found = take(using, {"mode": "auto", "a": [{"v": 1}]})
    assert (found.samples, refusals(found)) == ([], [(Reason.NO_IDENTITY, "mode"), (Reason.NO_IDENTITY, "sum")])
    assert using.ids.new_claims == []
    found = take(using, {"id": 5, "mode": "auto", "a": [{"v": 1}]})
    assert [sample[0] for sample in found.samples] == ["5/mode", "5/sum"]


def test_a_name_or_label_that_is_not_there_refuses_nothing() -> None:
    using = mapper(
        {
            "topic": "t",
            "name": "{payload.name}",
            "labels": {"site": "{payload.site}"},
            "publish": {"name": "{payload.name}"},
        }
    )
    assert values(take(using, {"v": 1, "name": " "})) == {"t:v": 1}
    [(input_id, signal)] = using.take_discovered()
    assert (signal.name, signal.labels) == (input_id, ())
    assert signal.item is not None
    assert signal.item.name is None


def test_a_payload_that_the_first_of_all_rules_cannot_take_apart_is_one_reject() -> None:
    mapped = take(mapper({"topic": "#", "parallel": ["a"]}, {"topic": "#"}, match="all"), {"v": 1})
    assert [reject.reason for reject in mapped.rejects] == [Reason.WRONG_STRUCTURE]
