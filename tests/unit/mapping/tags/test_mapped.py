"""Rules with a tag list: what a row says of a signal, what happens without a row, and a list that changes."""

from __future__ import annotations

from typing import Any

import pytest

from connector.formats.catalogue import build_format
from connector.formats.sparkplug.datatypes import DataType
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.mapping.tags.read import read_tags
from connector.mapping.tags.source import TagListInUse
from connector.records import Mapped, Reason, SignalMetadata
from tests.sparkplug_payloads import bd_seq, metric, payload
from tests.unit.mapping.mappers import take
from tests.unit.records import ARRIVAL, record

ITEMS = {
    "topic": "{plc}/data",
    "iterate": "values",
    "item_name": "id",
    "values": {"v": {"unit": "bar", "labels": {"line": "1"}}},
    "other_values": "filter",
    "input": "{plc}/{item}",
}


class Tagged:
    """A mapper with one tag list."""

    def __init__(self, text: str, *rules: dict[str, Any], **mapping: Any) -> None:
        section = MappingSection.model_validate({"rules": rules, **mapping})
        self.mapper = Mapper(section.compile(build_format), built_in_tags=section.built_in_tags())
        (self.list,) = self.mapper.tag_lists
        self.use(text)

    list: TagListInUse

    def use(self, text: str) -> None:
        self.mapper.use_tags(self.list, read_tags(text.encode(), "tags.csv"))

    def take(self, *values: tuple[str, object], topic: str = "p1/data") -> Mapped:
        return take(self.mapper, {"values": [{"id": name, "v": value} for name, value in values]}, topic)

    def signals(self) -> dict[str, SignalMetadata]:
        return dict(self.mapper.take_discovered())


def rule(**tags: Any) -> dict[str, Any]:
    return {**ITEMS, "tags": {"file": "tags.csv", "key": "{plc}:{item}", **tags}}


def test_a_row_has_precedence_over_the_rule_and_leaves_to_it_what_is_empty() -> None:
    tagged = Tagged("key;name;unit;label:site;label:line\np1:a;Pressure;mbar;Oslo;2\np1:b;Level;;;\n", rule())
    tagged.take(("a", 1), ("b", 2), ("c", 3))
    found = tagged.signals()
    assert (found["p1/a"].name, found["p1/a"].unit) == ("Pressure", "mbar")
    assert found["p1/a"].labels == (("line", ("2",)), ("site", ("Oslo",)))
    assert (found["p1/b"].name, found["p1/b"].unit, found["p1/b"].labels) == ("Level", "bar", (("line", ("1",)),))
    assert (found["p1/c"].name, found["p1/c"].unit) == ("p1/c", "bar")
    assert list(tagged.list.unknown) == ["p1:c"]
    assert tagged.list.unknown["p1:c"].input_id == "p1/c"
    assert tagged.list.unused() == []


@pytest.mark.parametrize("times", [1, 4])
def test_scale_states_and_skip_convert_values(times: int) -> None:
    text = "key;scale;offset;states;skip\np1:a;0,5;10;;\np1:b;;;OPEN=1,CLOSED=0;\np1:c;;;;x\n"
    tagged = Tagged(text, rule())
    for _ in range(times):
        mapped = tagged.take(("a", 4), ("b", "OPEN"), ("c", 7))
        assert [(name, value) for name, _, value in mapped.samples] == [("p1/a", 12), ("p1/b", 1)]
    assert tagged.signals()["p1/b"].enum_values == (("0", "CLOSED"), ("1", "OPEN"))
    assert [reject.reason for reject in tagged.take(("b", "AJAR")).rejects] == [Reason.UNKNOWN_STATE]
    assert tagged.list.unused() == []


def test_a_state_that_comes_after_null_is_not_lost() -> None:
    tagged = Tagged("key;states\nt:door;OPEN=1\n", tags={"file": "tags.csv"})
    take(tagged.mapper, {"door": None, "v": 1})
    take(tagged.mapper, {"door": None, "v": 1})
    assert ("t:door", 1) in [(name, value) for name, _, value in take(tagged.mapper, {"door": "OPEN", "v": 1}).samples]


def test_without_rules_the_key_is_the_input_id() -> None:
    tagged = Tagged("key;name\nt:v;Speed\n", tags={"file": "tags.csv"})
    take(tagged.mapper, {"v": 1, "w": 2})
    assert {name: found.name for name, found in tagged.signals().items()} == {"t:v": "Speed"}
    assert list(tagged.list.unknown) == ["t:w"]


@pytest.mark.parametrize(
    ("unknown", "samples", "filtered", "reasons"),
    [
        ("map", ["p1/a", "p1/b"], 0, []),
        ("filter", ["p1/a"], 1, []),
        ("dead_letter", ["p1/a"], 0, [Reason.UNKNOWN_TAG]),
    ],
)
def test_a_value_without_a_row(unknown: str, samples: list[str], filtered: int, reasons: list[Reason]) -> None:
    tagged = Tagged("key\np1:a\n", rule(unknown=unknown))
    for _ in range(3):
        mapped = tagged.take(("a", 1), ("b", 2))
        ids = 2  # the names of the items are filtered, too
        assert [name for name, *_ in mapped.samples] == samples
        assert (mapped.filtered - ids, [reject.reason for reject in mapped.rejects]) == (filtered, reasons)
    assert list(tagged.list.unknown) == ["p1:b"]


@pytest.mark.parametrize(("unknown", "rejects"), [("filter", []), ("dead_letter", [Reason.UNKNOWN_TAG])])
def test_a_state_that_would_be_learned_without_a_row(unknown: str, rejects: list[Reason]) -> None:
    learns = {"values": {"v": {"unknown_state": "learn"}}}
    tagged = Tagged("key\np1:b\n", {**rule(unknown=unknown), **learns})
    for _ in range(2):
        mapped = tagged.take(("a", "RUN"), ("b", "RUN"))
        assert [name for name, *_ in mapped.samples] == ["p1/b"]
        assert [reject.reason for reject in mapped.rejects] == rejects
    assert list(tagged.list.unknown) == ["p1:a"]


def test_a_text_without_a_row_is_no_unknown_tag() -> None:
    tagged = Tagged("key\np1:b\n", rule(unknown="dead_letter"))
    assert tagged.take(("a", "running"), ("b", 1)).rejects == []
    assert not tagged.list.unknown


def test_a_new_list_names_known_signals_at_once_and_converts_from_the_next_record_on() -> None:
    tagged = Tagged("key;name;scale\np1:a;Old;\np1:c;Gone;\n", rule())
    for _ in range(3):
        tagged.take(("a", 1), ("b", 2), ("c", 3))
    tagged.signals()
    tagged.use("key;name;scale;skip\np1:a;New;10;\np1:b;Second;;x\np1:d;Not yet;;\n")
    assert {name: found.name for name, found in tagged.signals().items()} == {"p1/a": "New", "p1/c": "p1/c"}
    for _ in range(3):
        mapped = tagged.take(("a", 1), ("b", 2), ("c", 3))
        assert [(name, value) for name, _, value in mapped.samples] == [("p1/a", 10), ("p1/c", 3)]
    assert tagged.list.unused() == ["p1:d"]
    assert list(tagged.list.unknown) == ["p1:c"]
    assert tagged.mapper.ids.collisions == []


def test_a_row_for_several_signals_and_several_rows_for_one_are_told() -> None:
    one = Tagged("key;name\np1;Press\n", {"topic": "{plc}", "tags": {"file": "tags.csv", "key": "{plc}"}})
    take(one.mapper, {"v": 1, "w": 2}, "p1")
    assert "line 2 is for several signals, such as 'p1:v' and 'p1:w'" in one.list.conflicts["p1"]
    several = Tagged("key;name\na;A\nb;B\n", {"topic": "t", "tags": {"file": "tags.csv", "key": "{payload.tag}"}})
    take(several.mapper, {"tag": "a", "v": 1})
    take(several.mapper, {"tag": "b", "v": 1})
    assert "and the line of 'a' are for one signal, 't:v'" in several.list.conflicts["b"]


def test_a_scale_for_states_is_told_and_not_used() -> None:
    states = {"values": {"v": {"states": {"ON": 1}}}}
    tagged = Tagged("key;scale\np1:a;10\n", {**rule(), **states})
    assert [value for *_, value in tagged.take(("a", "ON")).samples] == [1]
    assert "is not used" in tagged.list.conflicts["p1:a"]


def test_a_quality_has_no_row() -> None:
    quality = {"quality": {"path": "q", "bad": "signal"}, "input": "{plc}/{item}/{field}"}
    tagged = Tagged("key;scale\np1:a;10\n", {**rule(unknown="dead_letter"), **quality})
    mapped = take(tagged.mapper, {"values": [{"id": "a", "v": 1, "q": 192}]}, "p1/data")
    assert [(name, value) for name, _, value in mapped.samples] == [("p1/a/v", 10), ("p1/a/q", 192)]
    assert mapped.rejects == []


def test_sparkplug_metrics_have_rows_that_have_precedence_over_births() -> None:
    sparkplug = {"preset": "sparkplug", "tags": {"file": "tags.csv"}}
    tagged = Tagged("key;name;scale\nplant/edge/Oil;Oil in the gear;10\n", sparkplug)

    def send(kind: str, alias: int, **more: Any) -> list[float]:
        oil = metric("Oil" if kind == "NBIRTH" else None, DataType.FLOAT, 0.5, alias=alias, **more)
        sent = payload(*([bd_seq(0)] if kind == "NBIRTH" else []), oil, seq=0, time_ms=ARRIVAL // 1000)
        mapped = tagged.mapper.map("mqtt", record(sent, f"spBv1.0/plant/{kind}/edge"))
        return [value for *_, value in mapped.samples]

    assert send("NBIRTH", 1, said={"engUnit": "°C", "displayName": "Oil"}) == [5]
    found = tagged.signals()["plant/edge/Oil"]
    assert (found.name, found.unit) == ("Oil in the gear", "°C")
    tagged.use("key;name;scale\nplant/edge/Oil;Gear oil;100\n")
    assert tagged.signals()["plant/edge/Oil"].name == "Gear oil"
    assert send("NDATA", 1) == [50]


def test_sparkplug_makes_no_dead_letters_of_unknown_tags() -> None:
    tags = {"file": "tags.csv", "key": "{node}/{metric}", "unknown": "dead_letter"}
    with pytest.raises(ValueError, match=r"tags\.unknown: dead_letter is not for format sparkplug_b"):
        Tagged("key\n", {"topic": "spBv1.0/#", "format": "sparkplug_b", "tags": tags})


def test_rules_of_a_preset_without_values_need_no_key() -> None:
    """Those skip messages, or describe signals."""
    tags = {"file": "tags.csv", "key": "{device}/{path}"}
    MappingSection.model_validate({"rules": [{"preset": "zigbee2mqtt", "tags": tags}]})


@pytest.mark.parametrize(
    ("mapping", "error"),
    [
        ({"rules": [rule(key="{machine}")]}, r"tags\.key: .*\{machine\} is not known here"),
        (
            {"rules": [{"topic": "{a}"}, {"topic": "{b}"}], "tags": {"file": "t.csv", "key": "{a}"}},
            r"tags\.key: .*\(in rule 2; a rule may have tags of its own\)",
        ),
        ({"presets": ["tasmota"], "tags": {"file": "t.csv", "key": "{a}"}}, r"tags\.key: .*\(in tasmota; a rule"),
        ({"tags": {"file": "t.csv", "key": "{payload.x}"}}, r"tags\.key: \{payload\.x\} needs a rule"),
        ({"tags": {"file": "t.csv", "encoding": "hex"}}, "no encoding of text"),
    ],
)
def test_a_key_that_cannot_be_made_is_an_error(mapping: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        MappingSection.model_validate(mapping)
