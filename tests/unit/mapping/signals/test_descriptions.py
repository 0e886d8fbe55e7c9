"""Messages that describe signals: names and units reach the signals whenever they come, and change no input ID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.mapping.mapper import Mapper
from connector.mapping.observations import Observations
from connector.mapping.plans import Plan
from connector.mapping.rules.compiler.rule import check_compiles, compile_rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.descriptions import Described, Descriptions
from connector.mapping.tags.read import read_tags
from connector.records import Reason, SignalMetadata
from connector.state.state import State, read_memory
from tests.unit.mapping.mappers import mapper, take
from tests.unit.records import record

VALUES = {"topic": "plant/#"}
NAMES = {
    "topic": "meta/{line}",
    "iterate": "tags",
    "describes": {
        "signal": "plant/{line}:{item.field}",
        "name": "{item.name}",
        "description": "{payload.about}",
        "unit": "{item.unit}",
        "labels": {"line": "{line}", "area": "{item.area}"},
        "states": "states",
    },
}
OIL = {"tags": [{"field": "oil", "name": "Oil  pressure", "unit": "bar", "area": "north"}], "about": "Line 7"}
OIL_SAID = SignalMetadata(
    "Oil pressure", "Line 7", "bar", labels=(("line", ("l7",)), ("area", ("north",)))
)  # blanks of names are one


def described(using: Mapper) -> dict[str, SignalMetadata]:
    return dict(using.take_discovered())


@pytest.mark.parametrize("first", ["values", "names"])
def test_a_description_counts_before_and_after_the_values_and_changes_no_id(first: str) -> None:
    using = mapper(NAMES, VALUES)
    messages = [("plant/l7", {"oil": 4.2, "rpm": 5}), ("meta/l7", OIL)]
    ids = set()
    found = {}
    for topic, payload in messages if first == "values" else reversed(messages):
        ids |= {input_id for input_id, _, _ in take(using, payload, topic).samples}
        found |= described(using)
    assert ids == {"plant/l7:oil", "plant/l7:rpm"}
    assert found == {"plant/l7:oil": OIL_SAID}
    assert {input_id for input_id, _, _ in take(using, {"oil": 4.2}, "plant/l7").samples} == {"plant/l7:oil"}
    assert using.ids.renames == using.ids.collisions == []


def test_the_same_again_is_nothing_new_and_a_change_reaches_the_signals_that_are_there() -> None:
    using = mapper(NAMES, VALUES)
    for _ in range(3):
        take(using, {"oil": 4.2}, "plant/l7")
    take(using, OIL, "meta/l7")
    assert described(using) == {"plant/l7:oil": OIL_SAID}
    assert len(using.take_descriptions()) == 1
    take(using, OIL, "meta/l7")
    assert described(using) == {}
    assert using.take_descriptions() == []
    take(using, {"tags": [{"field": "oil", "name": "Oil", "unit": "mbar"}]}, "meta/l7")
    assert described(using)["plant/l7:oil"] == SignalMetadata("Oil", unit="mbar", labels=(("line", ("l7",)),))
    assert take(using, {"oil": 4.3}, "plant/l7").samples[0][0] == "plant/l7:oil"


def test_a_description_is_counted_as_metadata_and_one_that_cannot_be_read_is_a_dead_letter() -> None:
    using = mapper(NAMES, VALUES)
    read = take(using, OIL, "meta/l7")
    assert (read.samples, read.rejects, read.filtered, read.skipped, read.why) == ([], [], 5, True, "metadata")
    (reject,) = take(using, b"{", "meta/l7").rejects
    assert reject.reason is Reason.INVALID_JSON
    assert reject.rule == 0
    assert take(using, b"", "meta/l7").why == "cleared"
    assert take(using, {"oil": 1}, "plant/l7").samples
    assert described(using) == {"plant/l7:oil": OIL_SAID}  # an empty message takes no name away


def test_what_names_no_signal_is_said_once() -> None:
    using = mapper(NAMES, VALUES)
    for _ in range(2):
        assert take(using, {"tags": [{"name": "Oil"}]}, "meta/l7").why == "metadata"
    (said,) = using.observations.take()
    assert (said.kind, said.subject) == ("metadata_without_signal", "meta/{line}")
    assert '"meta/l7"' in said.text.replace("'", '"')
    assert '{"name":"Oil"}' in said.text


def test_descriptions_outlive_a_restart_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    rules = [{**NAMES, "topic": "+/{line}"} if each is NAMES else each for each in (VALUES, NAMES)]
    before = mapper(*rules)
    take(before, OIL, "b/l7")
    take(before, {"tags": [{"field": "oil", "name": "Oil of c", "unit": "psi"}]}, "c/l7")
    take(before, {"tags": [{"field": "oil", "name": "Oil of a"}]}, "a/l7")
    file = tmp_path / "state.sqlite"
    state = State(file)
    state.add_descriptions(before.take_descriptions())
    after = mapper(*rules, descriptions=state.descriptions())
    state.close()
    assert [one.topic for one in read_memory(file).descriptions] == ["b/l7", "c/l7", "a/l7"]
    take(after, {"oil": 1}, "plant/l7")
    found = described(after)["plant/l7:oil"]
    assert (found.name, found.unit, found.description) == ("Oil of a", "psi", "Line 7")  # c says no description


def test_what_the_configuration_says_counts_and_a_preset_yields() -> None:
    kitchen = {
        "friendly_name": "k",
        "definition": {"exposes": [{"property": "temperature", "name": "T", "unit": "°F"}]},
    }
    over: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({}, ("k temperature", "°F")),
        ({"name": "mine"}, ("mine", "°F")),
        ({"values": {"temperature": {"unit": "K"}}}, ("k temperature", "K")),
    ]
    for written, (name, unit) in over:
        using = mapper({"preset": "zigbee2mqtt", **written})
        take(using, [kitchen], "zigbee2mqtt/bridge/devices")
        take(using, {"temperature": 1}, "zigbee2mqtt/k")
        found = described(using)["k/temperature"]
        assert (found.name, found.unit) == (name, unit)
    using = mapper(NAMES, {**VALUES, "values": {"oil": {"unit": "Pa"}}, "labels": {"line": "mine"}})
    take(using, OIL, "meta/l7")
    take(using, {"oil": 1}, "plant/l7")
    found = described(using)["plant/l7:oil"]
    assert (found.name, found.unit, found.labels) == ("Oil pressure", "Pa", (("line", ("mine",)), ("area", ("north",))))


@pytest.mark.parametrize(
    "more",
    [
        {"scale": 0.001},
        {"offset": 273.15},
        {"scale": 0.001, "unit": "MPa"},
        {"scale": {"path": "factor", "default": 10}},
    ],
)
def test_a_value_that_the_rule_converts_has_not_the_unit_of_the_payload(more: dict[str, Any]) -> None:
    for rule in ({**VALUES, **more}, {**VALUES, "values": {"oil": more}}):
        using = mapper(NAMES, rule)
        take(using, OIL, "meta/l7")
        take(using, {"oil": 1}, "plant/l7")
        found = described(using)["plant/l7:oil"]
        assert (found.name, found.unit) == ("Oil pressure", more.get("unit", ""))


def test_a_description_in_a_text_of_its_message_is_decoded() -> None:
    using = mapper({**NAMES, "decode": "said", "iterate": "said.tags"}, VALUES)
    take(using, {"said": json.dumps(OIL), "about": "Line 7"}, "meta/l7")
    take(using, {"oil": 4.2}, "plant/l7")
    assert described(using) == {"plant/l7:oil": OIL_SAID}
    (reject,) = take(using, {"said": "{"}, "meta/l7").rejects
    assert "decode: not JSON" in reject.message


@pytest.mark.parametrize(("row", "unit"), [("0,1;", ""), ("0,1;kPa", "kPa"), (";", "bar")])
def test_a_value_that_a_tag_list_scales_has_not_the_unit_of_the_payload(row: str, unit: str) -> None:
    using = mapper(NAMES, {**VALUES, "tags": {"file": "tags.csv"}})
    using.use_tags(using.tag_lists[0], read_tags(f"key;scale;unit\nplant/l7:oil;{row}\n".encode(), "tags.csv"))
    take(using, OIL, "meta/l7")
    take(using, {"oil": 1}, "plant/l7")
    assert described(using)["plant/l7:oil"].unit == unit


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ({"0": "off", "1": "on"}, (("0", "off"), ("1", "on"))),
        (["off", "on"], (("0", "off"), ("1", "on"))),
        ({"0": "off", "x": "on", "2": 7, "-1": "no", "3": ""}, (("0", "off"),)),
        ("off,on", ()),
    ],
)
def test_names_of_states_make_an_enum_unless_the_rule_says_another(states: object, found: object) -> None:
    payload = {"tags": [{"field": "oil", "states": states}]}
    for rule, expected in ((VALUES, found), ({**VALUES, "type": "numeric"}, ())):
        using = mapper(NAMES, rule)
        take(using, payload, "meta/l7")
        take(using, {"oil": 1}, "plant/l7")
        assert described(using)["plant/l7:oil"].enum_values == expected


def test_signals_of_expressions_items_and_other_rules_are_described_by_what_they_are_called() -> None:
    names = {"topic": "meta", "iterate": "@", "describes": {"signal": "{item.of}", "name": "{item.is}"}}
    using = mapper(
        names,
        {"topic": "jmes", "values": {"t1": {"path": "s[?id=='t1'].v | [0]"}}},
        {"topic": "items", "iterate": "@", "item_name": "id", "input": "{item}/{path}"},
        {"topic": "own/{m}", "described_as": "{m}/{payload.id}/{path}", "input": "{m}:{path}"},
    )
    take(using, {"s": [{"id": "t1", "v": 1}]}, "jmes")
    take(using, [{"id": "a", "v": 1}], "items")
    take(using, {"id": "x", "v": 1}, "own/m")
    take(using, {"v": 1}, "own/n")  # what it is called cannot be known
    described(using)
    said = {"jmes:t1": "J", "items:a.v": "I", "m/x/v": "O", "n//v": "?"}
    take(using, [{"of": of, "is": name} for of, name in said.items()], "meta")
    assert {input_id: found.name for input_id, found in described(using).items()} == {
        "jmes:t1": "J",
        "a/v": "I",
        "m:v": "O",
    }


def test_two_bases_and_two_sources_with_the_same_names_stay_apart() -> None:
    using = mapper({"preset": "zigbee2mqtt", "base": "+/z2m", "input": "{topic}/{path}"})

    def exposes(unit: str) -> list[Any]:
        return [{"friendly_name": "k", "definition": {"exposes": [{"property": "t", "name": "t", "unit": unit}]}}]

    take(using, exposes("°C"), "north/z2m/bridge/devices")
    take(using, exposes("°F"), "south/z2m/bridge/devices")
    for base in ("north", "south"):
        take(using, {"t": 1}, f"{base}/z2m/k")
    assert {i: found.unit for i, found in described(using).items()} == {
        "north/z2m/k/t": "°C",
        "south/z2m/k/t": "°F",
    }


def test_descriptions_are_bounded_and_what_has_no_room_is_said() -> None:
    observations = Observations()
    known = [Described("s", f"t{number}", "m", b'{"unit":"bar"}') for number in range(5)]
    descriptions = Descriptions(known, observations, most=3)
    assert len(descriptions) == 3
    plan = Plan("s", "m", compile_rule(RuleSection.model_validate(NAMES)), {"line": "l7"})
    assert descriptions.take(plan, record(), {}, OIL).why == "metadata"
    assert descriptions.take_new() == []
    (said,) = observations.take()
    assert said.kind == "metadata_not_remembered"
    assert "plant/l7:oil" in said.text


def test_texts_that_never_become_samples_take_no_room_of_signals_that_are_described_later() -> None:
    descriptions = Descriptions([], Observations(), most_asked=10)
    rule = descriptions.for_signals_of(compile_rule(RuleSection.model_validate(VALUES)))
    using = Mapper([rule])
    take(using, {"oil": 1}, "plant/l7")
    for number in range(100):
        take(using, {"oil": 1, f"text {number}": "-"}, "plant/l7")
        assert len(descriptions._asked) <= 10
    plan = Plan("mqtt", "meta/l7", compile_rule(RuleSection.model_validate(NAMES)), {"line": "l7"})
    descriptions.take(plan, record(), {}, OIL)
    (affected,) = descriptions.take_affected()
    assert affected.ids["oil"] == "plant/l7:oil"


SIBLING = {"topic": "{thing...}/unit", "format": "text", "describes": {"signal": "{thing}", "unit": "{payload.@}"}}
UA_UNIT = {"DisplayName": {"Locale": "en", "Text": "°C"}, "UnitId": 4408652}
UA_KEY = {"Name": "0:EngineeringUnits"}


def ua(unit: dict[str, Any]) -> dict[str, Any]:
    field = {
        "Name": "T",
        "Description": {"Text": "Inlet"},
        "Properties": [{"Key": "x"}, {"Key": UA_KEY, "Value": unit}],
    }
    return {
        "MessageType": "ua-metadata",
        "PublisherId": "P",
        "DataSetWriterId": 7,
        "MetaData": {"Name": "M", "Fields": [field]},
    }


UA_DATA = {
    "MessageType": "ua-data",
    "PublisherId": "P",
    "Messages": [{"DataSetWriterId": 7, "Payload": {"T": {"Value": 2}}}],
}
HOMIE = {
    "name": "Kettle",
    "nodes": {"w": {"name": "Water", "properties": {"t": {"name": "Temperature", "unit": "°C"}}}},
}


@pytest.mark.parametrize(
    ("rules", "messages", "expected"),
    [
        ([SIBLING, VALUES], [("plant/t", 1), ("plant/t/unit", b"bar")], {"plant/t": ("plant/t", "bar")}),
        (
            [{"preset": "homie"}],
            [
                ("homie/d/$homie", b"4.0.0"),
                ("homie/d/n/$name", b"12"),
                ("homie/d/n/t/$name", b"Temperature"),
                ("homie/d/n/t/$unit", "°C".encode()),
                ("homie/d/n/t/$datatype", b"float"),
                ("homie/d/$fw/version", b"1.2"),
                ("homie/d/n/t", b"21.5"),
                ("homie/d/n/t/set", b"22"),
                ("homie/d/n/on", b"true"),
            ],
            {"d/n/t": ("d n Temperature", "°C"), "d/n/on": ("d n on", "")},
        ),
        (
            [{"preset": "homie"}],
            [("homie/5/k/w/t", b"80"), ("homie/5/k/$state", b"ready"), ("homie/5/k/$description", HOMIE)],
            {"k/w/t": ("Kettle Water Temperature", "°C")},
        ),
        (
            [{"preset": "opcua_pubsub"}],
            [
                ("opcua/json/metadata/P/g/7", ua({"Type": 22, "Body": {"Body": UA_UNIT}})),
                ("opcua/json/data/P/g", UA_DATA),
            ],
            {"P/7/T": ("M T", "°C")},
        ),
        (
            [{"preset": "opcua_pubsub"}],
            [("opcua/json/data/P/g", UA_DATA), ("opcua/json/data/P/g", ua({"UaType": 22, "Value": UA_UNIT}))],
            {"P/7/T": ("M T", "°C")},
        ),
        (
            [{"preset": "home_assistant"}],
            [
                ("homeassistant/sensor/x/state", b"21"),
                ("homeassistant/sensor/x/unit_of_measurement", '"°C"'.encode()),
                ("homeassistant/sensor/x/friendly_name", b'"Kitchen"'),
                ("homeassistant/sensor/x/device_class", b'"temperature"'),
            ],
            {"sensor.x": ("Kitchen", "°C")},
        ),
    ],
)
def test_names_and_units_of_what_is_sent_in_the_field(
    rules: list[dict[str, Any]], messages: list[tuple[str, Any]], expected: dict[str, tuple[str, str]]
) -> None:
    using = mapper(*rules)
    samples = {}
    for topic, payload in messages:
        found = take(using, payload, topic)
        assert found.rejects == [], topic
        samples |= {input_id: value for input_id, _, value in found.samples}
    assert samples.keys() == expected.keys()
    assert {i: (found.name, found.unit) for i, found in described(using).items()} == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({**NAMES, "values": {"v": {}}}, "values is for rules with values"),
        ({**NAMES, "unit": "bar"}, "unit is for rules with values"),
        ({"topic": "t", "describes": {"signal": "{path}"}}, "{path} belongs to a value"),
        ({"topic": "t", "describes": {"signal": "{outer.a}"}}, "{outer.a} is not known here"),
        ({"topic": "t", "describes": {"signal": "{item}"}}, "known only in a rule with iterate"),
        ({"topic": "t", "describes": {"signal": "{lin}"}}, "describes.signal: "),
        ({"topic": "t", "describes": {"signal": "a", "labels": {"x": "{lin}"}}}, "describes.labels.x: "),
        ({"topic": "t", "describes": {"signal": "{payload.a..b}"}}, "describes.signal: 'a..b'"),
        ({"topic": "t", "iterate": "@", "describes": {"signal": "{outer.a..b}"}}, "describes: 'a..b'"),
        ({"topic": "t", "describes": {"name": "a"}}, "signal"),
        ({"topic": "t", "iterate": "@", "input": "{outer.a}"}, "{outer.a} is not known here"),
    ],
)
def test_a_rule_that_cannot_describe_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        check_compiles(RuleSection.model_validate(rule))
    assert message in str(refused.value)


def test_rules_without_descriptions_ask_nobody() -> None:
    using = mapper(VALUES)
    take(using, {"oil": 1}, "plant/l7")
    plan = using.plain_plan("mqtt", "plant/l7")
    assert plan is not None
    assert plan.rule.attribute_sources == ()
    assert using.take_descriptions() == []
    assert json.dumps(list(plan.refined)) == "[]"
