"""Known items, and rows of items: whatever came before, the outcome is that of the walk."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.chunks import ChunkMapper
from connector.mapping.documents.document_mapper import DocumentMapper
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Mapped, Reason, Record, Rows
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
    {"select": "in", "time": "ts", "quality": {"path": "q", "good": [True], "bad": "null"}},
    {"time": "t || ts", "quality": {"path": "q", "good": [True], "bad": "signal"}, "values": {"v": {}}},
    {"time": "t", "quality": {"path": "d.q", "good": [True], "bad": "drop"}},
    {"time": "t || ts", "values": {"v": {}, "w": {"states": {"x": 1, "y": 2}, "unknown_state": "learn"}}},
    {"time": "t", "values": {"v": {}, "w": {"text": "reject"}}, "input": "{item}"},
    {},
]

QUALITY = {"quality": {"path": "q", "good": [True], "bad": "drop"}, "values": {"v": {}}, "other_values": "filter"}
ROWS: list[dict[str, Any]] = [
    {"time": "t", "values": {"v": {}}, "other_values": "filter"},
    {"time": {"field": "t || ts", "unit": "ms"}, **QUALITY, "input": "{item}"},
    {"time": "ts", **QUALITY, "values": {"v": {}, "w": {}}},
    {"time": "ts", "values": {"v": {}}, "other_values": "filter"},
    {"time": "arrival", "values": {"v": {}, "w": {}}, "other_values": "filter"},
    {"time": {"field": "t", "missing": "arrival"}, "quality": {"path": "q", "good": [True, 1], "bad": "reject"}},
    {"time": "t", "values": {"v": {}, "w": {"text": "reject"}}, "input": "{item}/{field}"},
]
"""Rules whose messages may be rows."""
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
    return {**draw(SURROUNDINGS), "values": found, "in": {"values": found, "z": 1}}


SURROUNDINGS = st.fixed_dictionaries(
    {},
    optional={
        "ts": st.sampled_from(TIMES),
        "q": st.sampled_from(FIELDS["q"]),
        "plc": st.sampled_from(["p", "r", 1, True]),
    },
)


@st.composite
def steady_messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages of one machine, with the same items in each; some messages have a fault."""
    keys = draw(st.sampled_from([("id", "v"), ("id", "v", "q", "t"), ("id", "v", "w", "t"), ("t", "id", "w", "kind")]))
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    names += draw(st.sampled_from([[], [], [], ["a"], [1, "1"]]))
    steady: dict[str, Any] = {"v": 1, "w": 2.5, "q": True, "t": MS, "kind": "x"}
    around = draw(SURROUNDINGS)
    inside = draw(st.integers(0, 3)) == 3
    found = []
    for _ in range(draw(st.integers(3, 6))):
        steady["t"] = MS - draw(st.integers(0, 2))
        items: list[Any] = [{key: name if key == "id" else steady[key] for key in keys} for name in names]
        for item in items:
            item.update({"v": draw(st.integers(-3, 3))} if "v" in keys else {})
        if draw(st.integers(0, 2)) == 0:
            at, key = draw(st.integers(0, len(items) - 1)), draw(st.sampled_from(keys))
            items[at] = draw(
                st.sampled_from(FIELDS[key]).map(lambda cell, old=items[at], key=key: {**old, key: cell})
                | st.sampled_from([{}, 1, None, {**items[at], "z": 1}, dict(reversed(items[at].items()))])
            )
        if draw(st.integers(0, 3)) == 0:
            around = draw(SURROUNDINGS)
        found.append({**around, "values": items, **({"in": {"values": items, "z": 1}} if inside else {})})
    return found


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


@FUZZ
@given(
    payloads=steady_messages(),
    rule=st.sampled_from(ROWS) | st.sampled_from(RULES),
    time_kind=st.sampled_from([0, 0, 1]),
    received=st.sampled_from([ARRIVAL, ARRIVAL, ARRIVAL - 10 * 365 * 86_400_000_000]),
    alone=st.sampled_from([True, True, True, False]),
)
def test_fuzz_items_of_a_steady_message_become_what_the_walk_makes_of_them(
    payloads: list[dict[str, Any]], rule: dict[str, Any], time_kind: int, received: int, alone: bool
) -> None:
    rules = [compile_rule(RuleSection.model_validate({"topic": "#", "iterate": "values", "item_name": "id", **rule}))]
    rules += [] if alone else [compile_rule(RuleSection.model_validate({"topic": "#"}))]
    short, walk = Mapper(rules, match_all=not alone), Mapper(rules, match_all=not alone)
    chunks = ChunkMapper(short)
    records = [
        Record("t", json.dumps(payload).encode(), ARRIVAL, None, (), False, time_kind, received)
        for payload in (*payloads, *payloads)
    ]
    for chunk in (records[:3], records[3:]):
        count, parts = chunks.map("s", chunk)
        assert count == len(chunk)
        found = dict(chain.from_iterable(p.one_by_one() if isinstance(p, Rows) else [(i, p)] for i, p in parts))
        with patch.object(DocumentMapper, "_learn_item", lambda *_: None):
            assert [sorted_samples(found[i]) for i in range(count)] == [
                sorted_samples(walk.map("s", record)) for record in chunk
            ]
    assert short.observations.take() == walk.observations.take()
    assert short.take_discovered() == walk.take_discovered()
    assert short.clocks.worst(9) == walk.clocks.worst(9)


def sorted_samples(mapped: Mapped) -> Mapped:
    """The outcome, with its samples in the order of the inputs; a row has numbers as 64-bit floats."""
    samples = sorted((input_id, time_us, float(value)) for input_id, time_us, value in mapped.samples)
    return Mapped(samples, mapped.rejects, mapped.filtered, mapped.skipped, mapped.why)


@pytest.mark.parametrize("around", [{"ts": MS}, {}])
def test_items_with_one_time_become_rows_and_others_do_not(around: dict[str, Any]) -> None:
    rule = {"topic": "#", "iterate": "values", "item_name": "id", "time": "t || ts", "input": "{item}"}
    chunks = ChunkMapper(Mapper([compile_rule(RuleSection.model_validate({**rule, **QUALITY}))]))

    def parts(*times: int, quality: bool = True) -> list[type]:
        items = [{"id": f"i{n}", "v": n, "t": at, "q": quality} for n, at in enumerate(times)]
        if around:
            items = [{key: item[key] for key in ("id", "v", "q")} for item in items]
        record = Record("t", json.dumps({**around, "values": items}).encode(), ARRIVAL)
        return [type(part) for _, part in chunks.map("s", [record])[1]]

    assert [parts(MS, MS) for _ in range(3)] == [[Mapped], [Mapped], [Rows]]
    assert parts(MS, MS - 1) == [Rows if around else Mapped]
    assert parts(MS, MS, quality=False) == [Mapped]
    parts(MS, MS)
    assert parts(MS, MS) == [Rows]
    twice = json.dumps({**around, "values": [{"id": f"i{n}", "v": n, "t": MS, "q": True} for n in range(2)]})
    record = Record("t", twice.replace('"v": 1', '"v": 7, "v": 1').encode(), ARRIVAL)
    ((_, found),) = chunks.map("s", [record] * 3)[1][2:]
    assert isinstance(found, Mapped)
    assert [reject.reason for reject in found.rejects] == [Reason.DUPLICATE_KEY]
