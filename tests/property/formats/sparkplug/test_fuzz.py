"""Any message on the topics of Sparkplug gives samples, rejects or filtered values: never an exception, never a
hang."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.host import Host
from connector.formats.sparkplug.schema import PayloadMessage
from connector.formats.sparkplug.sequence import SequenceNumbers
from connector.formats.sparkplug.timeline import Timeline
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Record
from tests.property.fuzz import FUZZ
from tests.property.mapping.test_mapping import check_promises
from tests.sparkplug_payloads import bd_seq, metric, payload

NOW = 1_790_000_000_000_000
RULES = MappingSection(
    rules=[{"preset": "sparkplug", "format": {"type": "sparkplug_b", "online": True, "bad_quality": "signal"}}]  # type: ignore[list-item]
).compile()
TOPICS = st.sampled_from(
    ["NBIRTH/n", "NDATA/n", "NDEATH/n", "DBIRTH/n/d", "DDATA/n/d", "DDEATH/n/d", "NCMD/n", "DCMD/n/d"]
)
uint32, uint64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
names = st.sampled_from(["a", "b", "a/b", "bdSeq", "Node Control/Rebirth", "ø ", ""]) | st.text(max_size=5)
types = st.sampled_from([int(datatype) for datatype in DataType] * 3 + [99, 2**31])
plain = st.one_of(
    st.fixed_dictionaries({"int_value": uint32 | st.integers(0, 5)}),
    st.fixed_dictionaries({"long_value": uint64 | st.integers(0, 5)}),
    st.fixed_dictionaries({"float_value": st.floats(width=32)}),
    st.fixed_dictionaries({"double_value": st.floats()}),
    st.fixed_dictionaries({"boolean_value": st.booleans()}),
    st.fixed_dictionaries({"string_value": st.text(max_size=10) | st.sampled_from(["0=a,1=b", '{"0": "x"}', "12"])}),
    st.just({}),
)
property_names = st.sampled_from(["Quality", "engUnit", "engLow", "enumValues", "documentation", "displayName", "x"])
property_values = st.recursive(
    st.builds(lambda kind, value, null: {"type": kind, "is_null": null, **value}, types, plain, st.booleans()),
    lambda inner: st.builds(
        lambda keys, values: {"propertyset_value": {"keys": keys, "values": values}},
        st.lists(st.sampled_from(["0", "1", "x"]), max_size=3),
        st.lists(inner, max_size=3),
    ),
    max_leaves=4,
)
property_sets = st.builds(
    lambda keys, values: {"keys": keys, "values": values},
    st.lists(property_names, max_size=3),
    st.lists(property_values, max_size=3),
)
data_sets = st.fixed_dictionaries(
    {
        "num_of_columns": st.integers(0, 3),
        "columns": st.lists(names, max_size=3),
        "types": st.lists(st.sampled_from([1, 9, 12, 13, 16, 99]), max_size=3),
        "rows": st.lists(st.fixed_dictionaries({"elements": st.lists(plain, max_size=3)}), max_size=3),
    }
)


def with_template(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    template = st.fixed_dictionaries(
        {"metrics": st.lists(inner, max_size=3), "is_definition": st.booleans()},
        optional={"template_ref": names, "parameters": st.lists(plain, max_size=2)},
    )
    return st.builds(lambda base, made: {**base, "template_value": made}, heads, template)


heads = st.fixed_dictionaries(
    {},
    optional={
        "name": names,
        "alias": st.integers(0, 3) | uint64,
        "timestamp": st.sampled_from([0, NOW // 1000, 2**64 - 1]) | uint64,
        "datatype": types,
        "is_null": st.booleans(),
        "is_transient": st.booleans(),
        "is_historical": st.booleans(),
        "properties": property_sets,
        "metadata": st.fixed_dictionaries({"description": st.text(max_size=3)}),
    },
)
leaves = st.builds(
    lambda head, value: {**head, **value},
    heads,
    plain
    | st.fixed_dictionaries({"bytes_value": st.binary(max_size=20)})
    | st.fixed_dictionaries({"dataset_value": data_sets}),
)
metrics = st.recursive(leaves, with_template, max_leaves=6)
payloads = st.builds(
    lambda found, head: PayloadMessage(metrics=found, **head).SerializeToString(),
    st.lists(metrics, max_size=5),
    st.fixed_dictionaries(
        {},
        optional={
            "seq": uint64 | st.integers(0, 3),
            "timestamp": st.just(NOW // 1000) | uint64,
            "uuid": st.text(max_size=2),
        },
    ),
)  # fmt: skip
valid = payload(
    bd_seq(1),
    metric("a", DataType.FLOAT, 1.5, alias=1, said={"engUnit": "A", "enumValues": {"0": "x"}}),
    metric("t", DataType.TEMPLATE, {"metrics": [metric("m", DataType.INT8, 255)]}, field="template_value"),
    seq=0,
    time_ms=NOW // 1000,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(valid)
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        data[at] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(FUZZ, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(messages=st.lists(st.tuples(TOPICS, payloads | damaged() | st.binary(max_size=50)), max_size=5))
@example(messages=[("NBIRTH/n", b"\x12\x04\x0a\x02\xff\xfe")])
def test_fuzz_messages_in_any_order(messages: list[tuple[str, bytes]]) -> None:
    mapper = Mapper(RULES)
    for number, (topic, data) in enumerate(messages):
        kind, _, rest = topic.partition("/")
        record = Record(f"spBv1.0/g/{kind}/{rest}", data, NOW + number)
        check_promises(mapper.map("mqtt", record), record)
    changes = [(owner, said) for owner, said in mapper.sparkplug.take_changes("mqtt") if said is not None]
    assert Host(remembered=changes).unreadable == []


@settings(FUZZ)
@given(
    birth=st.booleans(),
    said=st.lists(st.tuples(st.sampled_from("abcd"), types.filter(lambda t: t in range(1, 16)), plain), max_size=8),
)
def test_fuzz_every_metric_is_a_sample_a_reject_or_left_out(
    birth: bool, said: list[tuple[str, int, dict[str, Any]]]
) -> None:
    mapper = Mapper(MappingSection(rules=[{"preset": "sparkplug"}]).compile())  # type: ignore[list-item]
    data = payload(*({"name": name, "datatype": kind, **value} for name, kind, value in said), time_ms=NOW // 1000)
    mapped = mapper.map("mqtt", Record(f"spBv1.0/g/{'NBIRTH' if birth else 'NDATA'}/n", data, NOW))
    assert len(mapped.samples) + len(mapped.rejects) + mapped.filtered == len(said)
    assert all(reject.path for reject in mapped.rejects)


@settings(FUZZ)
@given(
    topic=st.text(max_size=30)
    | st.lists(st.sampled_from(["spBv1.0", "STATE", "NDATA", "DDATA", "a", ""])).map("/".join)
)
def test_fuzz_topics(topic: str) -> None:
    rules = MappingSection(rules=[{"topic": "#", "format": "sparkplug_b"}]).compile()  # type: ignore[list-item]
    record = Record(topic, valid, NOW)
    check_promises(Mapper(rules).map("mqtt", record), record)


@settings(FUZZ)
@given(data=st.binary(max_size=60))
def test_fuzz_what_was_remembered(data: bytes) -> None:
    line = Timeline()
    for candidate in (data, line.to_bytes()[: len(data)]):
        with contextlib.suppress(ValueError):
            Timeline.from_bytes(candidate)


@settings(FUZZ)
@given(numbers=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2)), max_size=60))
def test_fuzz_the_count_of_losses_never_goes_below_what_is_missing(numbers: list[tuple[int, int]]) -> None:
    sequence = SequenceNumbers()
    lost = 0
    for number, fingerprint in numbers:
        step = sequence.lost_before(number, fingerprint)
        assert -1 <= step < 256
        lost += step
        assert lost >= 0


@settings(max_examples=50, deadline=None)
@given(
    arrival=st.permutations(range(8)),
    lost=st.sets(st.integers(1, 6), max_size=3),
    twice=st.sets(st.integers(0, 7), max_size=3),
    start=st.integers(0, 255),
)
@example(arrival=[0, 4, 2, 3, 1, 5, 6, 7], lost=set(), twice={2, 3}, start=0)
def test_messages_out_of_order_and_twice_leave_the_count_of_those_that_never_came(
    arrival: list[int], lost: set[int], twice: set[int], start: int
) -> None:
    """Messages that arrive within a few places of their order: in the end, only messages that never came count as
    lost."""
    sequence = SequenceNumbers()
    sequence.begin((start - 1) % 256)
    count = 0
    for at in [*arrival, 8]:
        if at not in lost:
            for _ in range(2 if at in twice else 1):
                count += sequence.lost_before((start + at) % 256, at)
    assert count == len(lost)


def test_a_bomb_takes_no_more_memory_than_a_small_multiple_of_itself() -> None:
    """The memory of Python; the memory of the decoder is bounded by counting the parts beforehand."""
    bombs = [
        b"\x12\x00" * 600_000,
        payload(metric("t", DataType.TEMPLATE, {"metrics": [{}] * 200_000}, field="template_value")),
        payload(metric("a", DataType.INT8_ARRAY, b"\0" * 1_000_000, field="bytes_value")),
        payload(metric("s", DataType.STRING_ARRAY, b"\0" * 1_000_000, field="bytes_value")),
    ]
    long = "n" * 200_000
    members = [metric("m", DataType.INT8, 1)] * 5_000
    defined = [metric(f"m{number}", DataType.INT8, 1) for number in range(5_000)]
    bombs += [
        b"\x12\x00" * 130_000,
        payload(metric(long, DataType.TEMPLATE, {"metrics": members}, field="template_value")),
        payload(metric(long, DataType.INT8_ARRAY, b"\0" * 10_000, field="bytes_value")),
        payload(metric("m", DataType.INT8, 300, said={"states": "0=" + " " * 200_000 + "x" + " " * 200_000})),
        payload(
            metric("T", DataType.TEMPLATE, {"is_definition": True, "metrics": defined}, field="template_value"),
            *[metric("i", DataType.TEMPLATE, {"template_ref": "T"}, field="template_value")] * 5_000,
            metric("bad", DataType.INT8, 300),
        ),
    ]
    for bomb in bombs:
        mapper = Mapper(RULES)
        tracemalloc.start()
        begin = time.process_time()
        mapped = [mapper.map("mqtt", Record(f"spBv1.0/g/{kind}/n", bomb, NOW)) for kind in ("NDATA", "NBIRTH")]
        seconds = time.process_time() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(len(one.samples) <= 1 and one.rejects for one in mapped)
        assert peak < 16 * len(bomb) + 10_000_000
        assert seconds < 20, "no more than linear, with tracing"
