"""Rules that cannot merge by accident: names that are missing, defaults, items in items, qualities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.rules.templates import TemplateError, parse_template
from connector.records import Mapped, Reason, Record

ARRIVAL = 1_790_000_000_000_000


def run(rule: dict[str, Any], *documents: object, key: bytes | None = None) -> list[Mapped]:
    mapper = Mapper([compile_rule(RuleSection.model_validate({"topic": "t", "other_values": "filter", **rule}))])
    return [mapper.map("s", Record("t", json.dumps(document).encode(), ARRIVAL, key)) for document in documents]


def inputs(found: Mapped) -> list[tuple[str, float]]:
    return [(input_id, value) for input_id, _, value in found.samples]


def reasons(found: Mapped) -> list[Reason]:
    return [reject.reason for reject in found.rejects]


# -- a variable that is empty ----------------------------------------------------------------------

EMPTY: list[object] = [{}, {"id": None}, {"id": ""}, {"id": " "}, {"id": {"x": 1}}, {"id": [1]}]


@pytest.mark.parametrize("document", EMPTY, ids=str)
def test_a_device_without_its_name_is_a_dead_letter_unless_the_rule_gives_a_default(document: dict[str, Any]) -> None:
    message = {**document, "temp": 1}
    strict = {"input": "dev/{payload.id}/{path}", "values": {"temp": {}}}
    (found,) = run(strict, message)
    assert (inputs(found), reasons(found)) == ([], [Reason.NO_IDENTITY])
    (found,) = run({**strict, "input": "dev/{payload.id|unknown}/{path}"}, message)
    assert (inputs(found), reasons(found)) == ([("dev/unknown/temp", 1)], [])
    (found,) = run({**strict, "input": "dev{payload.id|}/{path}"}, message)
    assert inputs(found) == [("dev/temp", 1)], "an empty default, written down, is a decision"


def test_a_name_that_is_there_does_not_take_the_default() -> None:
    rule = {"input": "dev/{payload.id|unknown}/{path}", "values": {"temp": {}}}
    found = run(rule, *({"id": name, "temp": 1} for name in ("a", 5, 5.0, True, "unknown")))
    assert [inputs(one)[0][0] for one in found[:4]] == ["dev/a/temp", "dev/5/temp", "dev/5/temp", "dev/true/temp"]
    assert found[4].samples[0][0] != "", "a device called like the default has its own ID, or the default's"


def test_a_key_and_a_header_have_defaults_too() -> None:
    (found,) = run({"input": "{key|none}/{header.site|here}/{path}", "values": {"v": {}}}, {"v": 1})
    assert inputs(found) == [("none/here/v", 1)]


def test_a_default_in_names_and_labels() -> None:
    assert parse_template("{a|x} {a}", ["a"]).render({"a": ""}) == "x "
    with pytest.raises(TemplateError, match="no formats"):
        parse_template("{a|x:y}", ["a"])


# -- items ----------------------------------------------------------------------------------------

ITEMS = {"iterate": "vals", "item_name": "id", "input": "it/{item}", "values": {"v": {}}}


def test_an_item_without_a_name_does_not_cost_its_neighbours() -> None:
    (found,) = run(ITEMS, {"vals": [{"id": "a", "v": 1}, {"v": 2}, {"id": None, "v": 3}, {"id": "b", "v": 4}]})
    assert inputs(found) == [("it/a", 1), ("it/b", 4)]
    assert reasons(found) == [Reason.NO_IDENTITY] * 2
    (found,) = run({**ITEMS, "input": "it/{item|none}"}, {"vals": [{"id": "a", "v": 1}, {"v": 2}]})
    assert inputs(found) == [("it/a", 1), ("it/none", 2)]


def test_one_item_in_place_of_a_list() -> None:
    (found,) = run(ITEMS, {"vals": {"id": "b", "v": 4}})
    assert inputs(found) == [("it/b", 4)]
    (found,) = run({**ITEMS, "item_name": None}, {"vals": {"a": {"v": 1}, "b": {"v": 2}}})
    assert inputs(found) == [("it/a", 1), ("it/b", 2)], "the members of an object have their keys as names"


def test_an_empty_list_is_left_out_and_a_number_has_no_values() -> None:
    (found,) = run(ITEMS, {"vals": []})
    assert (found.samples, found.rejects, found.why) == ([], [], "null")
    (found,) = run(ITEMS, {"vals": 5})
    assert (found.samples, found.why) == ([], "left_out")


NESTED = {
    "iterate": ["machines", "tags"],
    "item_name": ["name", "id"],
    "input": "{item}",
    "values": {"v": {}},
}


def nested(*machines: tuple[object, object]) -> dict[str, object]:
    return {"machines": [{"name": name, "tags": [{"id": tag, "v": 1}]} for name, tag in machines]}


def test_items_in_items_have_the_names_of_both() -> None:
    (found,) = run(NESTED, nested(("m1", "a"), ("m2", "a")))
    assert inputs(found) == [("m1.a", 1), ("m2.a", 1)]
    (found,) = run(NESTED, nested(("m1", "a"), (None, "a"), ("m2", "")))
    assert inputs(found) == [("m1.a", 1)]
    assert reasons(found) == [Reason.NO_IDENTITY] * 2


def test_two_pairs_of_names_are_never_one() -> None:
    (found,) = run(NESTED, nested(("a.b", "c"), ("a", "b.c"), ("a", "b"), ("a\\", "b")))
    assert len({input_id for input_id, _ in inputs(found)}) == 4


def test_members_in_members_are_never_one() -> None:
    rule = {"iterate": ["@", "@"], "input": "{item}", "values": {"v": {}}}
    (found,) = run(rule, {"a.b": {"c": {"v": 1}}, "a": {"b.c": {"v": 2}}})
    assert len({input_id for input_id, _ in inputs(found)}) == 2


def test_items_that_nothing_tells_apart_are_dead_letters() -> None:
    rule = {"iterate": "l", "input": "{topic}/{path}", "other_values": "map"}
    (found,) = run(rule, {"l": [{"v": 1}, {"v": 2}]})
    assert (inputs(found), reasons(found)) == ([], [Reason.NO_IDENTITY] * 2)
    assert "item_name" in found.rejects[0].message
    (found,) = run({**rule, "shared_inputs": True}, {"l": [{"v": 1}, {"v": 2}]})
    assert len(found.samples) == 2
    own_times = {"l": [{"ts": 1_789_000_000, "v": 1}, {"ts": 1_789_000_000, "v": 1}, {"ts": 1_789_000_001, "v": 2}]}
    (found,) = run(rule, own_times)
    assert [value for _, value in inputs(found)] == [1, 2], "one reading that was written twice"


# -- qualities ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "is_good", "is_bad"),
    [
        (None, [192, 192.0, "192", "Good", "GOOD", True, "true", "ok"], [0, 1, "GOOD_LOCAL_OVERRIDE", False, {}, ""]),
        ([192], ["192", 192.0, " 192 ", "192.0"], [193, "good", True]),
        (["192"], [192, "192"], [0]),
        ([True], [True, "true", "True"], [1, "1", "yes"]),
        ([1], [1, 1.0, "1"], [True, "true", 10]),
    ],
)
def test_a_quality_is_good_whether_it_is_text_or_not(
    good: list[Any] | None, is_good: list[Any], is_bad: list[Any]
) -> None:
    says = {"path": "q"} if good is None else {"path": "q", "good": good}
    rule = {"quality": says, "values": {"v": {}}}
    for quality in is_good:
        assert inputs(run(rule, {"v": 1, "q": quality})[0]), quality
    for quality in is_bad:
        found = run(rule, {"v": 1, "q": quality})[0]
        assert (found.samples, found.why) == ([], "bad_quality"), quality
