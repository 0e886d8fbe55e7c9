"""Known items: whatever came before, the outcome is that of the walk."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.documents.document_mapper import DocumentMapper
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Record
from tests.property.fuzz import FUZZ
from tests.property.mapping.promises import ARRIVAL

MS = ARRIVAL // 1000

TIMES: list[Any] = [
    MS,
    MS,
    MS - 5,
    float(MS),
    str(MS),
    "2026-09-21T12:00:00Z",
    "soon",
    "",
    None,
    5,
    True,
    [MS],
    {"a": MS},
]
VALUES: list[Any] = [1, 2.5, True, -7, 2**64 - 1, MS, None, "x", "7", "", [1], {"d": 2}, {}]
FIELDS: dict[str, list[Any]] = {
    "id": ["a", "b", "a", "b", 1, True, 1.0, "1", None, "", ["a"]],
    "kind": ["x", "y", 1, True, None],
    "v": [1, 2.5, 3, *VALUES],
    "w": VALUES,
    "a.b": [1, "x"],
    "a": [{"b": 3}, "y", 4],
    "q": [True, True, 192, "Good", False, None, 1, "1", [1]],
    "t": TIMES,
    "date": [None, "2026-09-21", MS],
    "recorded": TIMES,
}
RULES: list[dict[str, Any]] = [
    {"time": "t", "other_values": "filter", "values": {"v": {}}},
    {"time": {"field": "t || ts", "unit": "ms"}, "quality": {"path": "q", "good": [True, 192, "good"], "bad": "drop"}},
    {"time": {"field": "t", "missing": "arrival"}, "quality": {"path": "q", "good": [True, 1], "bad": "reject"}},
    {"time": "ts", "quality": {"path": "q", "good": [True], "bad": "keep"}},
    {"time": "ts", "values": {"v": {}, "w": {"scale": 0.1, "max": 10}}, "other_values": "filter"},
    {"time": "arrival", "input": "{item.kind}/{item}/{path}"},
    {"time": "arrival", "input": "{payload.plc|}/{item.kind|-}/{path}"},
    {"input": "{item}/{field}", "values": {"v": {}, "w": {"skip": True}}},
    {"input": "{item}", "values": {"v": {"thin": {"change_only": True}}}, "other_values": "filter"},
    {"input": "{item}/{field}", "shared_inputs": True, "name": "{item.kind|}"},
    {"iterate": "in.values", "input": "{item}/{field}", "text": "reject"},
    {},
]

SHAPES = [("id", "v"), ("id", "v", "q", "t"), ("id", "w", "recorded"), tuple(FIELDS)]
shapes = st.sampled_from(SHAPES) | st.permutations(list(FIELDS)).map(lambda keys: tuple(keys[:4]))


def items_of(some: list[tuple[str, ...]]) -> st.SearchStrategy[list[Any]]:
    """Lists of items, most of them with the keys of one of `some`."""
    objects = [st.fixed_dictionaries({key: st.sampled_from(FIELDS[key]) for key in keys}) for keys in some]
    return st.lists(st.one_of(*objects, st.sampled_from([1, None, "x", []])), max_size=9)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    found: Any = draw(st.lists(shapes, min_size=1, max_size=2).flatmap(items_of))
    if draw(st.booleans()):
        found = dict(zip("abcde", found, strict=False))
    around = {key: draw(st.sampled_from(TIMES)) for key in draw(st.sampled_from([(), ("ts",)]))}
    around |= {"plc": draw(st.sampled_from(["p", "r", 1, True]))} if draw(st.booleans()) else {}
    return {**around, "values": found, "in": {"values": found, "z": 1}}


@FUZZ
@given(
    payloads=st.lists(messages(), min_size=1, max_size=4),
    rule=st.sampled_from(RULES),
    named=st.booleans(),
    time_kind=st.sampled_from([0, 0, 1]),
    offset=st.sampled_from([0, 0, 50 * 365 * 86_400_000_000]),
)
def test_fuzz_items_become_what_the_walk_makes_of_them(
    payloads: list[dict[str, Any]], rule: dict[str, Any], named: bool, time_kind: int, offset: int
) -> None:
    written = {"topic": "#", "iterate": "values", **({"item_name": "id"} if named else {}), **rule}
    rules = [compile_rule(RuleSection.model_validate(written))]
    short, walk = Mapper(rules), Mapper(rules)
    for payload in [*payloads, *payloads]:
        record = Record("t", json.dumps(payload).encode(), ARRIVAL + offset, None, (), False, time_kind, ARRIVAL)
        found = short.map("s", record)
        with patch.object(DocumentMapper, "_learn_item", lambda *_: None):
            assert found == walk.map("s", record)
    assert short.observations.take() == walk.observations.take()
    assert short.take_discovered() == walk.take_discovered()
