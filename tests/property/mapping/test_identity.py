"""Identity without a mapping: two values of one message never share an input ID at one time, in any document."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Mapped, Reason, Record, Rows

ARRIVAL = 1_790_000_000_000_000
NAMES = ("id", "name", "tag", "n", "sensor", "NodeId", "deviceName", "probe", "unit", "type", "foo", "v", "value")
keys = st.one_of(st.sampled_from(NAMES), st.text(max_size=4), st.sampled_from(["a", "b", "a.b", "0", "1", "", '""']))
texts = st.one_of(st.sampled_from(["a", "b", "a.b", "0", "1", "x/y", ""]), st.text(max_size=4))
scalars = st.one_of(st.integers(0, 3), st.floats(0, 9, width=16), st.booleans(), st.none(), texts)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=14,
)


def mapped(document: object, mapper: Mapper | None = None) -> Mapped:
    payload = json.dumps(document).encode()
    return (mapper or Mapper()).map("s", Record("t", payload, ARRIVAL))


def check_apart(found: Mapped) -> None:
    assert len({sample[:2] for sample in found.samples}) == len(found.samples)


@settings(max_examples=400, deadline=None)
@given(document=documents)
@example(document={"a.b": 1, "a": {"b": 2}})
@example(document={"": {"b": 1}, "b": 2})
@example(document=[{"a.b": 1, "id": "x"}, {"a": {"b": 2}, "id": "x"}])
@example(document={"a.0": 1, "a": [2]})
@example(document={"l": [{"id": "a", "b": {"v": 1}}, {"id": "a", "tag": "b", "v": 2}]})
def test_two_values_of_one_message_never_share_an_input_at_one_time(document: object) -> None:
    mapper = Mapper()
    first = mapped(document, mapper)
    check_apart(first)
    assert mapped(document, mapper) == first, "whatever came before"
    assert mapped(document) == first, "on each replica"


ITEM_VALUES = st.dictionaries(st.sampled_from(["v", "temp", "ok"]), st.integers(0, 99), min_size=1)


@st.composite
def lists_of_named_items(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """The field that names the items, and the items."""
    field = draw(st.sampled_from(["id", "name", "tagName", "NodeId", "sensor", "probe", "n", "vendorWord"]))
    named = draw(st.lists(texts.filter(lambda text: bool(text.strip())), min_size=2, max_size=5, unique_by=str.strip))
    return field, [{field: f"x{name}", **draw(ITEM_VALUES)} for name in named]


@settings(max_examples=150, deadline=None)
@given(named=lists_of_named_items(), wrapped=st.booleans(), order=st.randoms())
def test_the_order_of_named_items_says_nothing(
    named: tuple[str, list[dict[str, Any]]], wrapped: bool, order: Any
) -> None:
    field, items = named
    shuffled = list(items)
    order.shuffle(shuffled)
    one, other = [{"values": it} if wrapped else it for it in (items, shuffled)]
    found = mapped(one)
    assert sorted(found.samples) == sorted(mapped(other).samples)
    if not found.rejects:
        assert len(found.samples) == sum(len(item) - 1 for item in items)
        assert not any(input_id.endswith(f".{field}") for input_id, _, _ in found.samples)


@settings(max_examples=150, deadline=None)
@given(named=lists_of_named_items(), left_out=st.integers(0, 4))
def test_an_item_that_is_left_out_does_not_rename_the_others(
    named: tuple[str, list[dict[str, Any]]], left_out: int
) -> None:
    _, items = named
    all_of_them = mapped({"values": items})
    fewer = [item for index, item in enumerate(items) if index != left_out]
    assert set(mapped({"values": fewer}).samples) <= set(all_of_them.samples)


@settings(max_examples=150, deadline=None)
@given(items=st.lists(st.dictionaries(st.sampled_from(["v", "id", "ts"]), st.integers(0, 2), max_size=3), max_size=5))
def test_items_of_a_rule_never_share_an_input_at_one_time(items: list[dict[str, int]]) -> None:
    for says in ({}, {"input": "{topic}/{path}"}, {"item_name": "id"}, {"input": "{topic}/{item.id}/{path}"}):
        rule = compile_rule(RuleSection.model_validate({"topic": "t", "iterate": "l", **says}))
        found = Mapper([rule]).map("s", Record("t", json.dumps({"l": items}).encode(), ARRIVAL))
        check_apart(found)


def test_each_order_of_three_items() -> None:
    items = [{"id": "a", "v": 1}, {"id": "b", "v": 2}, {"id": "c.d", "v": 3}]
    expected = sorted(mapped(items).samples)
    for order in permutations(items):
        assert sorted(mapped(list(order)).samples) == expected


def test_what_cannot_be_told_apart_is_refused() -> None:
    found = mapped({"l": [{"name": "a", "v": 1}, {"name": "a", "v": 2}, {"name": "b", "v": 3}]})
    assert [sample[0] for sample in found.samples] == ["t:l.b.v"]
    assert [(reject.reason, reject.path) for reject in found.rejects] == [(Reason.NO_IDENTITY, "l.a.v")] * 2


RULES: list[dict[str, Any] | None] = [None, {"time": "arrival"}, {"values": {"seq": {"skip": True}}}]
CELLS = st.one_of(
    st.integers(10, 15),
    st.floats(10, 19, width=16),
    st.sampled_from([None, "x", "1.5", True, 2e9, {"z": 1}, [1], "12e4"]),
)


@st.composite
def messages_with_lists(draw: st.DrawFn) -> list[object]:
    """Messages that are mostly alike, with now and then something else in them."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d.e"]), min_size=1, max_size=3, unique=True))
    found: list[object] = []
    for n in range(draw(st.integers(2, 6))):
        odd = draw(st.sampled_from(["no", "no", "no", "cell", "order", "key", "time", "more"]))
        items: list[dict[str, Any]] = [{"id": name, "unit": "C", "v": n + i} for i, name in enumerate(names)]
        if odd == "cell":
            items[0][draw(st.sampled_from(["id", "unit", "v"]))] = draw(CELLS)
        if odd == "order":
            items.reverse()
        if odd == "key":
            items[-1][draw(st.sampled_from(["w", "name", "ts", "t"]))] = draw(CELLS)
        message: dict[str, Any] = {"seq": n, "site": "oslo", "vals": items}
        if draw(st.booleans()) or odd == "time":
            message[draw(st.sampled_from(["ts", "t", "last_seen"]))] = draw(
                st.sampled_from([1_789_000_000, 1_789_000_000_000, "2026-09-01T00:00:00Z", 7, "soon"])
            )
        if odd == "more":
            message[draw(st.sampled_from(["more", "device", "a.b"]))] = draw(CELLS)
        found.append(items if draw(st.booleans()) and odd == "order" else message)
    return found


@settings(max_examples=400, deadline=None)
@given(
    messages=messages_with_lists(),
    rule=st.sampled_from([None, {"time": "arrival"}, {"values": {"seq": {"skip": True}}}]),
)
def test_messages_with_lists_become_rows_with_the_same_samples(
    messages: list[object], rule: dict[str, Any] | None
) -> None:
    rules = [] if rule is None else [compile_rule(RuleSection.model_validate({"topic": "#", **rule}))]
    records = [Record("t", json.dumps(message).encode(), ARRIVAL + n) for n, message in enumerate(messages * 2)]
    _, parts = ChunkMapper(Mapper(rules)).map("s", records)
    found: dict[int, Mapped] = {}
    for index, part in parts:
        found.update(part.one_by_one() if isinstance(part, Rows) else [(index, part)])
    for number, record in enumerate(records):
        alone = Mapper(rules).map("s", record)
        assert sorted(found[number].samples) == sorted(alone.samples)
        assert (found[number].rejects, found[number].filtered) == (alone.rejects, alone.filtered)
