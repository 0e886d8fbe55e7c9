"""Metadata, aggregations and calculations: complete on the wire, and every broken rule named with its place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from connector.clarify import Calculation, GroupAggregation, Item, ItemAggregation, Signal, SignalInfo, query
from connector.clarify.answers import SavedSignal
from connector.clarify.validation import broken_rules

T0 = "2026-05-01T06:00:00Z"


def test_the_smallest_signal_is_complete_on_the_wire() -> None:
    assert SignalInfo(name="Boiler").to_wire() == {
        "name": "Boiler",
        "description": "",
        "labels": {},
        "sourceType": "measurement",
        "valueType": "numeric",
        "engUnit": "",
        "enumValues": {},
        "sampleInterval": None,
        "gapDetection": None,
    }


def test_python_names_and_wire_names_mean_the_same() -> None:
    ours = SignalInfo(
        name="Mode",
        description="What it does",
        labels={"site": ["Oslo", "Bergen"]},
        source_type="prediction",
        value_type="enum",
        eng_unit="-",
        enum_values={0: "off", 9999: "on"},
        sample_interval=timedelta(seconds=10),
        gap_detection="PT5M",
        annotations={"acme/line": "3"},
    )
    wire: dict[str, object] = {
        "name": "Mode",
        "description": "What it does",
        "labels": {"site": ["Oslo", "Bergen"]},
        "sourceType": "prediction",
        "valueType": "enum",
        "engUnit": "-",
        "enumValues": {"0": "off", "9999": "on"},
        "sampleInterval": "PT10S",
        "gapDetection": "PT5M",
        "annotations": {"acme/line": "3"},
    }
    assert ours.to_wire() == wire
    assert SignalInfo.model_validate(wire) == ours


def test_limits_are_inclusive() -> None:
    SignalInfo(
        name="n" * 100,
        description="d" * 1000,
        eng_unit="u" * 255,
        labels={"k" * 40: ["v"]},
        enum_values={9999: "t" * 128},
    )


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        ({"name": ""}, "name", "at least 1 character"),
        ({"name": "n" * 101}, "name", "at most 100 characters"),
        ({"name": None}, "name", "valid string"),
        ({"description": "d" * 1001}, "description", "at most 1000 characters"),
        ({"eng_unit": "u" * 256}, "engUnit", "at most 255 characters"),
        ({"labels": {"k" * 41: []}}, "labels", "1 to 40 letters"),
        ({"labels": {"a b": []}}, "labels.a b", "1 to 40 letters"),
        ({"labels": {"": []}}, "labels", "1 to 40 letters"),
        ({"labels": {"site": "Oslo"}}, "labels.site", "valid list"),
        ({"annotations": {"a.b": "x"}}, "annotations.a.b", "1 to 40 letters"),
        ({"annotations": {"a": 1}}, "annotations.a", "valid string"),
        ({"sourceType": "aggregate"}, "sourceType", "'aggregation'"),
        ({"value_type": "text"}, "valueType", "'numeric' or 'enum'"),
        ({"enumValues": {"10000": "x"}}, "enumValues.10000", "0 to 9999"),
        ({"enumValues": {-1: "x"}}, "enumValues.-1", "0 to 9999"),
        ({"enumValues": {"01": "x"}}, "enumValues.01", "0 to 9999"),
        ({"enumValues": {"9" * 5000: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {True: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {1.0: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {"1": ""}}, "enumValues.1", "at least 1 character"),
        ({"enumValues": {"1": "t" * 129}}, "enumValues.1", "at most 128 characters"),
        ({"sampleInterval": "P1M"}, "sampleInterval", "no fixed duration"),
        ({"gap_detection": "P9999999999D"}, "gapDetection", "too long"),
        ({"gap_detection": 300}, "gapDetection", "ISO 8601 text"),
        ({"gapDetection": timedelta(seconds=-1)}, "gapDetection", "below zero"),
        ({"unit": "bar"}, "unit", "unknown field"),
    ],
)
def test_a_broken_rule_names_the_field(change: dict[str, object], place: str, rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SignalInfo.model_validate({"name": "Boiler"} | change)
    said = broken_rules(caught.value)
    # Some versions of pydantic name the field as it was given, some as it is on the wire.
    assert said.replace("_", "").lower().startswith(place.lower())
    assert rule in said
    assert "\n" not in said


def test_both_names_read_a_field() -> None:
    signal = Signal(name="Boiler", engUnit="bar", gapDetection=timedelta(minutes=5))
    assert signal.eng_unit == signal.engUnit == "bar"  # type: ignore[attr-defined]
    assert signal.gap_detection == signal.gapDetection == timedelta(minutes=5)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="engineering"):
        _ = signal.engineering  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "read", "sent"),
    [
        ("PT24H", timedelta(days=1), "P1D"),
        ("P1W2DT3H4M5.25S", timedelta(days=9, hours=3, minutes=4, seconds=5, milliseconds=250), "P9DT3H4M5.25S"),
        ("PT0S", None, None),
    ],
)
def test_a_duration_is_read_as_in_an_answer(text: str, read: timedelta | None, sent: str | None) -> None:
    signal = Signal(name="Boiler", gap_detection=text)
    assert (signal.gap_detection, signal.to_wire()["gapDetection"]) == (read, sent)
    assert signal.model_dump(mode="json")["gapDetection"] == sent
    assert signal.gap_detection == SavedSignal(name="Boiler", input="b", gap_detection=text).gap_detection
    signal.sample_interval = text
    assert signal.sample_interval == read


def test_an_item_is_a_signal_and_its_visibility() -> None:
    assert Item(name="Boiler").to_wire() == {**SignalInfo(name="Boiler").to_wire(), "visible": False}
    signal = Signal(name="Boiler", labels={"hall": ["3"]}, annotations={"a": "b"})
    item = Item.of_signal(signal, visible=True)
    assert item.to_wire() == {**signal.to_wire(), "visible": True}
    selected = SavedSignal(name="Boiler", labels={"hall": ["3"]}, input="boiler", gap_detection=timedelta(minutes=5))
    assert (
        Item.of_signal(selected).to_wire() == Item(name="Boiler", labels={"hall": ["3"]}, gapDetection="PT5M").to_wire()
    )


def test_aggregations_on_the_wire() -> None:
    item = "cq3t8v5e1k7n4m0r2s6g"
    assert ItemAggregation(id=item, aggregation="avg", alias="p").to_wire() == {
        "id": item,
        "aggregation": "avg",
        "alias": "p",
    }
    new_name = ItemAggregation.model_validate(
        {"id": item, "timeAggregation": "state-seconds", "state": 1, "lag": 2, "alias": "on", "engUnit": "s"}
    )
    assert new_name.to_wire() == {
        "id": item,
        "aggregation": "state-seconds",
        "state": 1,
        "lag": 2,
        "alias": "on",
        "engUnit": "s",
    }
    # Clarify's own client shows a state with any aggregation.
    assert ItemAggregation(id=item, aggregation="max", state=1, alias="a").to_wire()["state"] == 1
    group = GroupAggregation(
        filter=query.Filter(fields={"labels.type": "pump"}).to_query(),
        time_aggregation="max",
        group_aggregation="avg",
        alias="pumps",
    )
    assert group.to_wire() == {
        "filter": {"labels.type": "pump"},
        "timeAggregation": "max",
        "groupAggregation": "avg",
        "alias": "pumps",
    }
    old = {"query": {"filter": {"labels.type": "pump"}}, "timeAggregation": "max", "groupAggregation": "avg"}
    assert GroupAggregation.model_validate({**old, "alias": "pumps"}) == group
    assert Calculation(formula="p * 2", alias="twice").to_wire() == {"formula": "p * 2", "alias": "twice"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": "x", "aggregation": "avg", "alias": "a"}, "id: 'x' cannot be an ID"),
        ({"aggregation": "median"}, "aggregation: Input should be 'count'"),
        ({"alias": "1a"}, "alias: must be a letter or _"),
        ({"alias": "a" * 29}, "alias: must be"),
        ({"aggregation": "state-rate"}, "state-rate needs a state"),
        ({"state": 10_000}, "state: Input should be less than or equal to 9999"),
        ({"lead": 1001}, "lead: Input should be less than or equal to 1000"),
        ({"more": 1}, "more: unknown field"),
    ],
)
def test_refused_aggregations(fields: dict[str, Any], said: str) -> None:
    good = {"id": "cq3t8v5e1k7n4m0r2s6g", "aggregation": "avg", "alias": "a"}
    with pytest.raises(ValidationError) as caught:
        ItemAggregation.model_validate({**good, **fields})
    assert said in broken_rules(caught.value)
