"""Sparkplug B in the mapping: input IDs, metadata from births, quality, deaths, times, and restarts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connector.formats.sparkplug.datatypes import DataType
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Mapped, Reason, Record, SignalMetadata
from tests.sparkplug_payloads import bd_seq, metric, payload

NOW = 1_790_000_000_000_000
MS = NOW // 1000


class Mapping:
    """A mapper with one rule; messages arrive one each millisecond."""

    def __init__(self, rule: dict[str, Any] | None = None, like: Mapping | None = None, **more: Any) -> None:
        rules = [rule or {"preset": "sparkplug"}, *more.pop("rules", [])]
        births = {} if like is None else {"mqtt": [c for c in like.mapper.sparkplug.take_changes("mqtt") if c[1]]}
        section = MappingSection(rules=rules, **more)  # type: ignore[arg-type]
        self.mapper = Mapper(section.compile(), births=births, match_all=section.match == "all")
        self.now_us = NOW if like is None else like.now_us

    def send(self, topic: str, *metrics: dict[str, Any], seq: int | None = None, time_ms: int | None = MS) -> Mapped:
        return self.raw("spBv1.0/" + topic, payload(*metrics, seq=seq, time_ms=time_ms))

    def raw(self, topic: str, data: bytes) -> Mapped:
        self.now_us += 1000
        return self.mapper.map("mqtt", Record(topic, data, self.now_us))

    def metadata(self) -> dict[str, SignalMetadata]:
        return dict(self.mapper.take_discovered())


def on(name: str, alias: int, **said: Any) -> dict[str, Any]:
    return metric(name, DataType.FLOAT, 0.5, alias=alias, **({"said": said} if said else {}))


def data(alias: int, value: float = 1.5, **more: Any) -> dict[str, Any]:
    return metric(None, None, value, field="float_value", alias=alias, **more)


def test_a_node_and_its_device_under_the_preset() -> None:
    mapping = Mapping()
    assert mapping.send("plant/NBIRTH/edge", bd_seq(0), on("Load", 1), seq=0).samples == [("plant/edge/Load", NOW, 0.5)]
    mapped = mapping.send("plant/DBIRTH/edge/press", on("Oil/Temp", 2, engUnit="°C"), seq=1)
    assert mapped.samples == [("plant/edge/press/Oil/Temp", NOW, 0.5)]
    assert mapping.send("plant/DDATA/edge/press", data(2), seq=2).samples == [("plant/edge/press/Oil/Temp", NOW, 1.5)]
    assert mapping.send("plant/NDATA/edge", data(1), seq=3).samples == [("plant/edge/Load", NOW, 1.5)]
    for topic in ("spBv1.0/plant/NCMD/edge", "spBv1.0/STATE/scada"):
        assert mapping.raw(topic, b"{}") == Mapped(skipped=True, why="left_out")


@pytest.mark.parametrize("time_us", [1_764_240_000_000_000_000_000, -(2**63) * 1000])
def test_a_record_that_cannot_be_put_in_order_is_rejected_and_changes_nothing(time_us: int) -> None:
    mapping = Mapping()
    mapping.send("plant/NBIRTH/edge", bd_seq(0), on("Load", 1), seq=0)
    mapping.mapper.sparkplug.take_changes("mqtt")
    birth = payload(bd_seq(1), on("Load", 2), seq=0, time_ms=MS)
    (reject,) = mapping.mapper.map("mqtt", Record("spBv1.0/plant/NBIRTH/edge", birth, time_us)).rejects
    assert reject.reason == Reason.TIME_OUT_OF_RANGE
    assert f"{time_us} µs since 1970" in reject.message
    assert mapping.mapper.sparkplug.take_changes("mqtt") == []
    assert mapping.send("plant/NDATA/edge", data(1), seq=1).samples == [("plant/edge/Load", NOW, 1.5)]


def test_births_give_metadata_and_rules_say_it_otherwise() -> None:
    said = {"engUnit": "°C", "documentation": "In the gear", "displayName": "Oil", "engLow": -40, "engHigh": 120.5}
    mapping = Mapping()
    mapping.send("plant/DBIRTH/edge/press", on("Oil", 2, **said), seq=1)
    labels = (("group", ("plant",)), ("node", ("edge",)), ("device", ("press",)))
    assert mapping.metadata() == {
        "plant/edge/press/Oil": SignalMetadata(
            name="Oil",
            description="In the gear",
            unit="°C",
            labels=labels,
            annotations=(("range_low", "-40"), ("range_high", "120.5")),
        )
    }
    mapping.send("plant/DDATA/edge/press", data(2))
    assert mapping.metadata() == {}, "once"
    mapping.send("plant/DBIRTH/edge/press", on("Oil", 2, **said), seq=1)
    assert mapping.metadata() == {}, "a birth that says nothing new"
    mapping.send("plant/DBIRTH/edge/press", on("Oil", 2, engUnit="K"), seq=1)
    assert mapping.metadata()["plant/edge/press/Oil"].unit == "K"

    rule = {
        "topic": "spBv1.0/{area}/+/#",
        "format": "sparkplug_b",
        "input": "{area}.{node}.{field}",
        "name": "{device}: {metric}",
        "labels": {"group": "{group}!", "made": "by {descriptor}"},
        "values": {"Oil/T": {"unit": "F", "scale": 2}, "secret": {"skip": True}},
    }
    mapping = Mapping(rule)
    mapped = mapping.send("plant/DBIRTH/edge/press", on("Oil/T", 2, **said), on("secret", 3), seq=1)
    assert (mapped.samples, mapped.filtered) == ([("plant.edge.T", NOW, 1.0)], 1)
    found = mapping.metadata()["plant.edge.T"]
    assert (found.name, found.unit, found.description) == ("press: Oil/T", "F", "In the gear")
    assert found.labels == (
        ("group", ("plant!",)),
        ("made", ("by plant/edge/press",)),
        ("node", ("edge",)),
        ("device", ("press",)),
    )
    mapping = Mapping({"topic": "spBv1.0/#", "format": {"type": "sparkplug_b", "metadata": False}})
    mapping.send("plant/DBIRTH/edge/press", on("Oil", 2, **said), seq=1)
    assert mapping.metadata() == {}


def test_states_of_a_birth_make_an_enum_signal() -> None:
    mapping = Mapping()
    states = {"0": "off", "1": "on"}
    mapping.send(
        "g/NBIRTH/n",
        metric("mode", DataType.INT32, 1, said={"enumValues": states}),
        metric("speed", DataType.FLOAT, 1.0, said={"enumValues": states}),
    )
    found = mapping.metadata()
    assert (found["g/n/mode"].value_type, found["g/n/mode"].enum_values) == ("enum", (("0", "off"), ("1", "on")))
    assert found["g/n/speed"].value_type == "numeric", "a float is no state"


def test_text_is_left_out_unless_a_rule_makes_states_of_it() -> None:
    state = metric("state", DataType.STRING, "Running")
    mapped = Mapping().send("g/NBIRTH/n", state, metric("serial", DataType.STRING, "42"))
    assert mapped == Mapped(filtered=2, skipped=True, why="left_out")
    mapping = Mapping({"preset": "sparkplug", "values": {"state": {"states": {"Idle": 0, "Running": 1}}}})
    assert mapping.send("g/NBIRTH/n", state).samples == [("g/n/state", NOW, 1)]


@pytest.mark.parametrize(
    ("use", "samples", "filtered", "reasons"),
    [
        ("keep", [("g/n/m", 1.0), ("g/n/m", 2.0), ("g/n/m", 3.0)], 0, []),
        ("drop", [("g/n/m", 2.0), ("g/n/m", 3.0)], 1, []),
        ("reject", [("g/n/m", 2.0), ("g/n/m", 3.0)], 0, [Reason.BAD_QUALITY]),
        (
            "signal",
            [
                ("g/n/m", 1.0),
                ("g/n/m/_quality", 500),
                ("g/n/m", 2.0),
                ("g/n/m/_quality", 192),
                ("g/n/m", 3.0),
                ("g/n/m/_quality", 192),
            ],
            0,
            [],
        ),
    ],
)
def test_quality(use: str, samples: list[tuple[str, float]], filtered: int, reasons: list[Reason]) -> None:
    mapping = Mapping({"preset": "sparkplug", "format": {"type": "sparkplug_b", "bad_quality": use}})
    mapping.send("g/NBIRTH/n", on("m", 1), seq=0)
    mapped = mapping.send(
        "g/NDATA/n",
        data(1, 1.0, said={"Quality": 500}),
        data(1, 2.0),
        data(1, 3.0, said={"Quality": 192}),
    )
    assert [(input_id, value) for input_id, _, value in mapped.samples] == samples
    assert mapped.filtered == filtered
    assert [reject.reason for reject in mapped.rejects] == reasons


def test_births_and_deaths_as_a_signal() -> None:
    mapping = Mapping({"preset": "sparkplug", "format": {"type": "sparkplug_b", "online": True}})
    assert mapping.send("g/NBIRTH/n", bd_seq(0), seq=0).samples == [("g/n/_online", NOW, 1)]
    assert mapping.send("g/DBIRTH/n/d", seq=1).samples == [("g/n/d/_online", NOW, 1)]
    assert mapping.metadata()["g/n/d/_online"].enum_values == (("0", "offline"), ("1", "online"))
    assert mapping.send("g/DDATA/n/d", seq=2).samples == []
    mapped = mapping.send("g/NDEATH/n", bd_seq(0), time_ms=None)
    assert mapped.samples == [("g/n/_online", mapping.now_us, 0), ("g/n/d/_online", mapping.now_us, 0)]
    assert mapped.filtered == 1
    assert Mapping().send("g/NDEATH/n", bd_seq(0)) == Mapped(filtered=1, skipped=True, why="left_out")


def test_times() -> None:
    for time, expected in (("auto", NOW - 5_000_000), ("arrival", NOW + 1000)):
        mapping = Mapping({"preset": "sparkplug", "time": time})
        mapped = mapping.send("g/NBIRTH/n", on("m", 1) | {"timestamp": MS - 5000})
        assert mapped.samples == [("g/n/m", expected, 0.5)]
    mapped = Mapping().send("g/NBIRTH/n", on("m", 1) | {"timestamp": 5}, on("n", 2))
    assert [(reject.reason, reject.path) for reject in mapped.rejects] == [(Reason.TIME_OUT_OF_RANGE, "m")]
    assert "time: arrival" in mapped.rejects[0].message
    assert len(mapped.samples) == 1


def test_what_cannot_be_read_is_rejected_with_its_rule() -> None:
    mapping = Mapping()
    mapped = mapping.send("g/DDATA/n/d", data(1), data(2))
    assert [(reject.reason, reject.path, reject.rule) for reject in mapped.rejects] == [
        (Reason.DATA_BEFORE_BIRTH, None, 0)
    ]
    assert mapping.raw("spBv1.0/g/NDATA/n", b"\xff").rejects[0].reason is Reason.INVALID_SPARKPLUG
    mapped = mapping.send("g/NBIRTH/n", on("a", 1), metric("nan", DataType.DOUBLE, float("nan")), seq=0)
    assert [(reject.reason, reject.path) for reject in mapped.rejects] == [(Reason.NOT_FINITE, "nan")]
    assert len(mapped.samples) == 1


def test_what_a_node_means_survives_a_restart_with_its_metadata() -> None:
    mapping = Mapping()
    mapping.send("g/NBIRTH/n", bd_seq(0), on("m", 1, engUnit="A"), seq=0)
    before = mapping.metadata()
    mapping = Mapping(like=mapping)
    assert mapping.send("g/NDATA/n", data(1), seq=200).samples == [("g/n/m", NOW, 1.5)]
    assert mapping.metadata() == before


def test_two_rules_hear_a_record_once_and_both_map_it() -> None:
    more = {"topic": "spBv1.0/#", "format": "sparkplug_b", "input": "copy/{metric}", "shared_inputs": True}
    mapping = Mapping(rules=[more], match="all")
    mapping.send("g/NBIRTH/n", on("m", 1), seq=0)
    mapped = mapping.send("g/NDATA/n", data(1), seq=1)
    assert [sample[0] for sample in mapped.samples] == ["g/n/m", "copy/m"]
    assert mapping.mapper.sparkplug.gauges()["mqtt"]["sparkplug_lost_messages_total"] == 0


def test_losses_and_births_that_are_needed_are_noted() -> None:
    mapping = Mapping({"preset": "sparkplug", "format": {"type": "sparkplug_b", "rebirth_requests": True}})
    mapping.send("g/NDATA/n", data(1), seq=5)
    mapping.send("g/NBIRTH/n", on("m", 1), seq=0)
    mapping.send("g/NDATA/n", data(1), seq=1)
    mapping.send("g/NDATA/n", data(1), seq=4)
    noted = mapping.mapper.sparkplug.node_events
    assert [(note.lost, bool(note.rebirth), note.born) for note in noted] == [
        (0, True, False),
        (0, False, True),
        (2, True, False),
    ]
    assert all(note.ask for note in noted)
    assert mapping.mapper.sparkplug.gauges()["mqtt"]["sparkplug_lost_messages_total"] == 2


def test_a_node_metric_and_a_device_metric_of_one_name_are_kept_apart() -> None:
    mapping = Mapping()
    one = mapping.send("g/NBIRTH/n", on("d/m", 1), seq=0).samples
    two = mapping.send("g/DBIRTH/n/d", on("m", 1), seq=1).samples
    assert one[0][0] == "g/n/d/m"
    assert two[0][0].startswith("g/n/d/m-")
    again = Mapper(
        MappingSection(rules=[{"preset": "sparkplug"}]).compile(), claims=dict(mapping.mapper.ids.new_claims)
    )
    record = Record("spBv1.0/g/DBIRTH/n/d", payload(on("m", 1)), NOW)
    assert again.map("mqtt", record).samples[0][0] == two[0][0], "whoever comes first after a restart"


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ({"topic": "spBv1.0/+/NDATA/+"}, "level 3 is 'NDATA'"),
        ({"topic": "spBv1.0/#", "input": "{metrik}"}, "did you mean {metric}"),
        ({"topic": "spBv1.0/#", "when": "a"}, "when is not for format sparkplug_b"),
        ({"topic": "spBv1.0/#", "iterate": "a"}, "iterate is not for format sparkplug_b"),
        ({"topic": "spBv1.0/#", "quality": {"path": "q"}}, "bad_quality"),
        ({"topic": "spBv1.0/#", "time": "ts"}, "only auto"),
        ({"topic": "spBv1.0/#", "compression": "gzip"}, "a compressed payload is marked"),
        ({"topic": "spBv1.0/#", "values": {"a": {"path": "b"}}}, "the key is the name"),
    ],
)
def test_what_a_rule_cannot_say(rule: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what.replace("{", r"\{").replace("}", r"\}")):
        MappingSection(rules=[rule | {"format": "sparkplug_b"}])  # type: ignore[list-item]
