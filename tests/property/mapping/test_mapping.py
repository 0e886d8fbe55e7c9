"""Whatever comes in: the mapper never raises, every leaf is accounted for, and the same record is the same samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.clarify.limits import INPUT_ID
from connector.formats.format import PayloadError
from connector.formats.text.json_payload import decode
from connector.ledger.account import Outcome
from connector.ledger.progress import Progress
from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.section import RuleSection
from connector.packing.pending import Pending
from connector.records import AlikeRecords, Chunk, Part, Reason, Record, Rows
from tests.property.fuzz import FUZZ
from tests.property.mapping.promises import (
    ARRIVAL,
    any_keys,
    check_promises,
    keys,
    leaves,
    scalars,
    topics,
    trees,
    values_of,
)


@settings(max_examples=120, deadline=None)
@given(value=trees(keys), topic=topics)
@example(value={"a": {"b": [[], {}]}}, topic="t")
@example(value=10**400, topic="t")
def test_every_leaf_is_a_sample_a_reject_or_filtered(value: object, topic: str) -> None:
    payload = json.dumps(value).encode()
    record = Record(topic, payload, ARRIVAL)
    mapper = Mapper()
    mapped = mapper.map("mqtt", record)
    check_promises(mapped, record)
    assert values_of(mapped) == leaves(value)
    assert mapper.map("mqtt", record) == mapped, "the same record becomes the same samples"
    assert Mapper().map("mqtt", record) == mapped, "whatever came before"


@settings(max_examples=80, deadline=None)
@given(
    members=st.lists(st.tuples(st.sampled_from(["a", "b", "a b"]), st.integers(0, 9)), min_size=1, max_size=6),
    space=st.sampled_from(["", " ", "\n", "\t", " \r\n "]),
    nested=st.booleans(),
)
def test_of_repeated_keys_too_every_value_is_accounted_for(
    members: list[tuple[str, int]], space: str, nested: bool
) -> None:
    text = "{" + ",".join(f'"{key}"{space}:{value}' for key, value in members) + "}"
    mapped = Mapper().map("mqtt", Record("t", (f'{{"in":{text}}}' if nested else text).encode(), ARRIVAL))
    assert {value for _, _, value in mapped.samples} == set(dict(members).values())
    assert all(reject.reason is Reason.DUPLICATE_KEY for reject in mapped.rejects)
    assert values_of(mapped) == len(members)


@settings(max_examples=80, deadline=None)
@given(value=trees(any_keys), topic=topics)
def test_with_times_in_it_too(value: object, topic: str) -> None:
    payload = json.dumps(value).encode()
    record = Record(topic, payload, ARRIVAL)
    mapper = Mapper()
    mapped = mapper.map("mqtt", record)
    check_promises(mapped, record)
    assert values_of(mapped) <= leaves(value)
    assert mapper.map("mqtt", record) == mapped


COMPOSED: list[dict[str, Any]] = [
    {"time": {"field": "ts", "unit": "ms", "plus": {"path": "b", "unit": "us"}}},
    {"time": {"template": "{payload.ts}{payload.c|}", "missing": "arrival"}},
]
"""Rules with a time of several fields."""


@settings(max_examples=150, deadline=None)
@given(
    objects=st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "c", "ts"]),
            scalars | st.sampled_from([ARRIVAL // 1000, [1], {"d": 2}, "1790000000"]),
            max_size=4,
        ),
        min_size=2,
        max_size=6,
    ),
    rule=st.sampled_from(
        [
            {},
            {"time": "arrival"},
            {"time": "ts"},
            {"values": {"a": {"skip": True}}},
            {"other_values": "filter"},
            *COMPOSED,
        ]
    ),
)
@example(objects=[{"a": 1, "b": None}, {"a": 1, "b": 2}, {"a": 1, "b": 3}], rule={})
def test_what_came_before_changes_nothing(objects: list[dict[str, Any]], rule: dict[str, Any]) -> None:
    """The mapper remembers the objects that it has seen; what it makes of the next one must not depend on that."""
    rules = [compile_rule(RuleSection.model_validate({"topic": "#", **rule}))]
    mapper = Mapper(rules)
    for value in objects * 2:
        record = Record("t", json.dumps(value).encode(), ARRIVAL)
        mapped = mapper.map("mqtt", record)
        check_promises(mapped, record)
        assert mapped == Mapper(rules).map("mqtt", record)


SKIP_A: dict[str, Any] = {"values": {"a": {"skip": True}}}


def like_this(texts: list[str], rule: dict[str, Any] | None = None) -> Any:
    """An example: these payloads of one topic."""
    objects = [("t", text) for text in texts]
    return example(objects=objects, rule=rule or {}, offset=0, retained=False)


VALUES: list[Any] = [1, 2.5, True, -(2**63), 2**64 - 1, None, "x", "7", [1], {"d": 2}, ARRIVAL // 1000]
VALUES += [{"x": 1, "y": "s"}, {"x": 1, "ts": ARRIVAL // 1000}, {"x": 7, "ts": "soon"}, {"x": {"ts": 5, "z": 1}}]


@settings(max_examples=200, deadline=None)
@given(
    objects=st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["t", "u"]),
                st.dictionaries(
                    st.sampled_from(["a", "b", "c", "ts"]),
                    st.sampled_from(VALUES),
                    max_size=4,
                ).map(json.dumps),
            ),
            st.tuples(
                st.sampled_from(["t", "u"]), st.sampled_from(['{"a":1,"a":2}', '{"a":1e999}', "17", "{", "[]", '"a"'])
            ),
        ),
        min_size=1,
        max_size=12,
    ),
    rule=st.sampled_from(
        [
            {},
            {"time": "arrival"},
            {"time": "ts"},
            *COMPOSED,
            {"values": {"a": {"skip": True}}},
            {"other_values": "filter", "values": {"a": {}, "b": {"name": "B"}}},
            {"align": {"to": "1s"}},
            {"input": "{field}", "shared_inputs": True},
            {"scale": 0.1, "offset": 1},
            {"values": {"b": {"scale": 2, "max": 10}}},
            {"values": {"b": {"path": "a.x", "scale": 2}}, "other_values": "filter", "time": "a.ts"},
            {"values": {"a.x": {"skip": True}}, "time": "arrival"},
            {"values": {"b": {"thin": {"change_only": True}}}},
        ]
    ),
    offset=st.sampled_from([0, 0, -(2 * 86_400_000_000), 10 * 365 * 86_400_000_000]),
    retained=st.booleans(),
)
@example(
    objects=[("t", '{"a":1,"b":null}'), ("t", '{"a":1,"b":2}'), ("t", '{"a":1,"b":3}')] * 2,
    rule={},
    offset=0,
    retained=False,
)
@example(objects=[("t", '{"a":1,"b":2}'), ("t", '{"b":1,"a":2}')] * 3, rule={}, offset=0, retained=False)
@like_this(['{"a":1,"b":2}', '{"a":[1,2],"b":2}', '{"a":{"x":1},"b":2}', '{"c":1,"b":2}', '{"a":"x:y","b":2}'], SKIP_A)
@like_this(['{"a":"x","b":1}', '{"a":"7","b":1}', '{"a":null,"b":1}', '{"a":"x","b":"7"}', '{"a":true,"b":false}'])
@like_this(['{"a":1}', '{"a":1,"b":2}', '{"a":1,"c":"x"}', '{"a":1,"a":2}', '{"a":1,"b":2}', '{"a":1}'])
@example(objects=[("t", '{"a":1,"a":2}'), ("t", '{"a": 1, "b": 1}')], rule={}, offset=0, retained=True)
@like_this(['{"a":{"x":1,"q":"s"},"b":2}', '{"a":{"x":1,"r":"s"},"b":2}', '{"a":{"x":1,"r":5},"b":2}'])
@like_this(['{"a":{"x":1},"b":2}', '{"a":{"y":1},"b":2}', '{"a":{"x":1,"x":2},"b":2}', '{"a":{"x":[1]},"b":2}'])
@like_this(
    ['{"a":5,"b":2}', '{"a":5.5,"b":2}', '{"a":1e308,"b":2}', '{"a":5,"b":1}'],
    {"values": {"a": {"scale": 9e9, "min": 0}}},
)
@like_this(['{"a":5,"ts":1790000000000}', '{"a":5,"ts":"soon"}', '{"a":5,"ts":5}', '{"a":5,"ts":1790000000123}'])
def test_a_chunk_becomes_what_its_records_become(
    objects: list[tuple[str, str]], rule: dict[str, Any], offset: int, retained: bool
) -> None:
    """Rows or one by one: the same samples, in an order that keeps each input's."""
    rules = [compile_rule(RuleSection.model_validate({"topic": "#", **rule}))]
    records = [
        Record(
            topic, text.encode(), ARRIVAL + offset + i, None, (), retained and i % 2 == 0, int(bool(offset)), ARRIVAL
        )
        for i, (topic, text) in enumerate(objects * 3)
    ]
    check_chunk(rules, records, records, in_order=not rule.get("shared_inputs"))


ALIKE = [
    '{{"a":{0}}}',
    '{{"a":{0},"b":null,"ts":{1}}}',
    '{{"a": {0}.5, "ts": {1}}}',
    '{{"ts":"2026-05-01T00:00:0{0}Z","a":{0}}}',
]
ODD = ['{"a":1},{"a":2}', '[{"a":1}', '{"a":1}]', '{"a":1', ',"b":2}', '"', '{"a":"7"}', '{"a":1e999}', '{"a":[1]}', ""]
ODD += ['{"a":1,"a":2}', '{"a":1,"ts":1790000000000,"a":2}', '{"a":null}', ' {"a":3}\n', '{"a":-0}', '{"a":true}']
ODD += ['{"a":1,"b":"7","ts":1790000000000}', '{"a":1,"ts":99999999999999}', '{"a":1,"ts":1}', "[" * 1023 + "]" * 1023]
ODD += ['{"a":1,"b":"x', 'y","ts":1790000000000}']


@settings(max_examples=150, deadline=None)
@given(
    alike=st.sampled_from(ALIKE),
    n=st.integers(8, 40),
    odd=st.dictionaries(st.integers(0, 39), st.sampled_from(ODD), max_size=2),
    changed=st.dictionaries(
        st.integers(0, 39),
        st.sampled_from([{"payload": None}, {"retained": True}, {"problem": "cut"}, {"topic": "u"}]),
        max_size=1,
    ),
    rule=st.sampled_from([{}, {}, {"time": "arrival"}, {"time": "ts"}, {"scale": 0.1}, {"other_values": "filter"}]),
)
@example(
    alike=ALIKE[1],
    n=9,
    odd={
        2: '{"a":1,"b":"x',
        3: 'y","ts":1790000000000}',
        5: '{"a":1,"b":"x","ts":1790000000000},5,{"a":2,"b":"y","ts":1790000000000}',
    },
    changed={},
    rule={},
)
@example(alike=ALIKE[1], n=9, odd={5: '{"a":1,"b":"7","ts":1790000000000}'}, changed={}, rule={})
@example(alike=ALIKE[2], n=9, odd={5: '{"a":1,"ts":99999999999999}'}, changed={}, rule={})
@example(alike=ALIKE[0], n=9, odd={}, changed={5: {"retained": True}}, rule={})
@example(alike=ALIKE[0], n=9, odd={}, changed={5: {"problem": "cut"}}, rule={})
@example(alike=ALIKE[0], n=9, odd={}, changed={5: {"topic": "u"}}, rule={})
@example(alike=ALIKE[0], n=9, odd={5: '{"a":1},5,{"a":2}'}, changed={}, rule={})
def test_a_long_chunk_of_one_topic_too(
    alike: str, n: int, odd: dict[int, str], changed: dict[int, dict[str, Any]], rule: dict[str, Any]
) -> None:
    """Many records of one topic are mapped at once; odd ones among them change nothing for the others."""
    rules = [compile_rule(RuleSection.model_validate({"topic": "#", **rule}))]
    texts = [alike.format(i % 7, ARRIVAL // 1000 - i % 5) for i in range(n)]
    good = [Record("t", text.encode(), ARRIVAL + i, None, (), False, 1, ARRIVAL) for i, text in enumerate(texts)]
    records = [
        msgspec.structs.replace(record, **({"payload": odd[i].encode()} if i in odd else changed.get(i, {})))
        for i, record in enumerate(good)
    ]
    columns = zip(*((one.payload, one.time_us, one.key, one.headers) for one in good), strict=True)
    check_chunk(rules, good, AlikeRecords("t", *columns, 1, ARRIVAL), records, good)


def check_chunk(rules: list[Rule], *several: Sequence[Record], in_order: bool = True) -> None:
    """The parts of each chunk are what its records become one by one; and the clocks of the devices are the same."""
    mapper, together = (Mapper(rules, without_retained=["mqtt"]) for _ in range(2))
    chunks = ChunkMapper(together, fewest=2)
    for records in several:
        done, parts = chunks.map("mqtt", records)
        assert done == len(records)
        expected = {index: mapper.map("mqtt", record) for index, record in enumerate(records)}
        each = [
            pair for index, part in parts for pair in (part.one_by_one() if isinstance(part, Rows) else [(index, part)])
        ]
        for mapped in (*expected.values(), *(mapped for _, mapped in each)):
            # an object's keys may come in any order, and what waits is a float
            mapped.samples = sorted((input_id, at, float(value)) for input_id, at, value in mapped.samples)
        assert dict(each) == expected
        assert len(each) == len(expected)
        seen: dict[str, list[int]] = {}
        for index, mapped in each:
            for input_id in {sample[0] for sample in mapped.samples}:
                seen.setdefault(input_id, []).append(index)
        if in_order:
            assert all(indexes == sorted(indexes) for indexes in seen.values())
        check_books(parts, records)
        assert together.clocks.worst(9) == mapper.clocks.worst(9)


def check_books(parts: list[Part], records: Sequence[Record]) -> None:
    """Columns and books take the parts as they take the records one by one."""
    each = sorted(
        (pair for index, part in parts for pair in (part.one_by_one() if isinstance(part, Rows) else [(index, part)])),
        key=lambda pair: pair[0],
    )
    chunk = Chunk("s", "p", range(len(records)), records)
    by_rows, by_one = Progress(), Progress()
    token = by_rows.begin(chunk, parts)
    assert token == by_one.begin(chunk, each)
    assert by_rows.received_samples == by_one.received_samples
    sent = []
    for progress, some in ((by_rows, parts), (by_one, each)):
        pending = Pending()
        pending.add(token, some, 0.0)
        samples = [
            (input_id, at, sample_token, value)
            for block in pending.take([(table, len(table.times)) for table in pending.tables()])
            for row, (at, sample_token) in enumerate(zip(block.times, block.tokens, strict=True))
            for input_id, value in zip(
                block.inputs, block.values[row * len(block.inputs) : (row + 1) * len(block.inputs)], strict=True
            )
        ]
        sent.append(sorted(samples))
        progress.settle(Counter(sample_token for _, _, sample_token, _ in samples), Outcome.INSERTED)
    assert sent[0] == sent[1]
    assert by_rows.commits() == by_one.commits()


rule_lists = st.lists(
    st.fixed_dictionaries(
        {"topic": st.sampled_from(["#", "plant/{line}/{machine}", "+/+/press", "{first}/#"])},
        optional={
            "skip": st.booleans(),
            "input": st.sampled_from(["x", "{field}", "{path} {source}", "{topic}"]),
            "time": st.sampled_from(["auto", "arrival", "a", "a.b"]),
            "shared_inputs": st.booleans(),
            "other_values": st.sampled_from(["map", "filter"]),
            "values": st.dictionaries(keys, st.just({"skip": True}) | st.just({"input": "v"}), max_size=3),
        },
    ),
    max_size=3,
)


@settings(max_examples=80, deadline=None)
@given(sections=rule_lists, value=trees(any_keys), topic=topics, unmatched=st.sampled_from(["filter", "map"]))
def test_under_any_rules(sections: list[dict[str, Any]], value: object, topic: str, unmatched: str) -> None:
    rules = [compile_rule(RuleSection.model_validate(section)) for section in sections]
    record = Record(topic, json.dumps(value).encode(), ARRIVAL)
    mapped = Mapper(rules, unmatched=unmatched).map("mqtt", record)
    check_promises(mapped, record)


# -- fuzz ------------------------------------------------------------------------------------------

jsonish = st.lists(
    st.sampled_from(
        [
            *(b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b'"', b'"a"', b'"ts"', b"1", b"-", b"e9", b".", b"true"),
            *(
                b"NaN",
                b"Infinity",
                b"null",
                b"1712120512",
                b"\\",
                b"\\u",
                b"d800",
                b"\xef\xbb\xbf",
                b"\xff",
                b"\xc3\xb8",
            ),
        ]
    )
    | st.binary(max_size=3),
    max_size=40,
).map(b"".join)
payloads = st.binary(max_size=200) | jsonish


@FUZZ
@given(payload=payloads)
def test_fuzz_decode(payload: bytes) -> None:
    try:
        decode(payload)
    except PayloadError as error:
        refused = (error.reason, str(error))
    else:
        return
    assert refused[0] in Reason
    assert refused[1].encode("utf-8")


@FUZZ
@given(messages=st.lists(st.tuples(payloads, topics), min_size=1, max_size=4))
def test_fuzz_map(messages: list[tuple[bytes, str]]) -> None:
    mapper = Mapper()
    for payload, topic in messages:
        record = Record(topic, payload, ARRIVAL)
        check_promises(mapper.map("mqtt", record), record)
    for input_id, origin in mapper.ids.new_claims:
        assert INPUT_ID.match(input_id)
        assert origin.path.encode("utf-8") or origin.path == ""
