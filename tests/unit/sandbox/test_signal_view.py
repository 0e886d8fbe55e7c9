"""Reading signal metadata: defaults, the oddities of real clients, and every limit."""

from __future__ import annotations

import pytest

from connector.sandbox.problems import Problems
from connector.sandbox.signal_view import SignalView, default_attributes, read_signal_view


def read(value: object) -> SignalView:
    problems = Problems()
    view = read_signal_view("mill/feed", value, "signalsByInput.mill/feed", problems)
    assert not problems, problems.messages
    return view


def problems_of(value: object) -> dict[str, list[str]]:
    problems = Problems()
    read_signal_view("mill/feed", value, "s", problems)
    return dict(problems.messages)


def test_what_is_left_out_has_its_default_and_the_name_is_the_input_key() -> None:
    assert read({}) == SignalView(default_attributes("mill/feed"), {})
    assert read({}).attributes["name"] == "mill/feed"


def test_a_complete_view() -> None:
    view = {
        "name": "Mill feed",
        "description": "Ore into the mill",
        "labels": {"line": ["3", "1", "3"], "site/area": []},
        "sourceType": "prediction",
        "valueType": "enum",
        "engUnit": "t/h",
        "enumValues": {"0": "off", "9999": "on"},
        "sampleInterval": "PT1M",
        "gapDetection": "P0DT0H5M0.000000S",
        "annotations": {"acme/line": "3"},
    }
    read_view = read(view)
    annotations = view.pop("annotations")
    assert read_view == SignalView(
        view | {"labels": {"line": ["1", "3"], "site/area": []}, "gapDetection": "PT5M"}, annotations
    )


def test_empty_strings_and_nulls_of_real_clients_mean_the_default() -> None:
    view = {
        "name": "",
        "description": "",
        "valueType": "",
        "sourceType": "",
        "engUnit": "",
        "labels": None,
        "enumValues": None,
        "sampleInterval": None,
        "gapDetection": "",
        "annotations": None,
    }
    assert read(view) == read({})


def test_type_is_another_name_of_value_type() -> None:
    assert read({"type": "enum"}).attributes["valueType"] == "enum"
    assert list(problems_of({"type": "enum", "valueType": "enum"})) == ["s.type"]


@pytest.mark.parametrize("duration", ["PT1H30M", "P1D", "P2W", "-PT5M", "P1DT12H", "PT0.5S", "P1W2DT3H4M5.000001S"])
def test_fixed_durations(duration: str) -> None:
    assert read({"gapDetection": duration}).attributes["gapDetection"] == duration


@pytest.mark.parametrize(("given", "kept"), [("P0DT0H0M30.000000S", "PT30S"), ("P1DT00H", "P1D"), ("PT0S", None)])
def test_durations_are_kept_without_what_is_zero(given: str, kept: str | None) -> None:
    assert read({"gapDetection": given}).attributes["gapDetection"] == kept


@pytest.mark.parametrize("duration", ["P1M", "P1Y", "P", "PT", "P1DT", "5m", 300, True, "PT5"])
def test_no_fixed_durations(duration: object) -> None:
    assert list(problems_of({"sampleInterval": duration})) == ["s.sampleInterval"]


@pytest.mark.parametrize(
    ("path", "view"),
    [
        ("s", None),
        ("s", []),
        ("s.colour", {"colour": "red"}),
        ("s.input", {"input": "mill/feed"}),
        ("s.visible", {"visible": True}),
        ("s.name", {"name": "n" * 129}),
        ("s.name", {"name": None}),
        ("s.name", {"name": 5}),
        ("s.description", {"description": "d" * 1001}),
        ("s.engUnit", {"engUnit": "u" * 256}),
        ("s.sourceType", {"sourceType": "aggregate"}),
        ("s.valueType", {"valueType": "text"}),
        ("s.valueType", {"valueType": ["enum"]}),
        ("s.labels", {"labels": ["a"]}),
        ("s.labels.two words", {"labels": {"two words": ["a"]}}),
        ("s.labels.line", {"labels": {"line": "3"}}),
        ("s.labels.line", {"labels": {"line": [3]}}),
        ("s.enumValues.01", {"enumValues": {"01": "on"}}),
        ("s.enumValues.10000", {"enumValues": {"10000": "on"}}),
        ("s.enumValues.1", {"enumValues": {"1": ""}}),
        ("s.enumValues.1", {"enumValues": {"1": "v" * 129}}),
        ("s.annotations.a b", {"annotations": {"a b": "x"}}),
        ("s.annotations.a", {"annotations": {"a": None}}),
        ("s.annotations.a", {"annotations": {"a": 1}}),
    ],
)
def test_what_is_wrong_is_named(path: str, view: object) -> None:
    assert list(problems_of(view)) == [path]


def test_the_longest_texts_are_accepted() -> None:
    read({"name": "n" * 128, "description": "d" * 1000, "engUnit": "u" * 255, "enumValues": {"7": "v" * 128}})


def test_all_problems_are_reported() -> None:
    found = problems_of({"name": 1, "labels": {"a b": "x"}, "gapDetection": "P1M"})
    assert sorted(found) == ["s.gapDetection", "s.labels.a b", "s.name"]
    assert len(found["s.labels.a b"]) == 2
