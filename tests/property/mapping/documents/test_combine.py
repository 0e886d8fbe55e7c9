"""Registers against `struct`, bits against arithmetic; and any document: nothing is lost, and nothing breaks."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.documents.decimals import read_by_schema
from connector.mapping.mapper import Mapper
from tests.property.fuzz import FUZZ
from tests.property.mapping.promises import leaves, trees, values_of
from tests.unit.mapping.mappers import mapper, take

CODES = {"i32": "i", "u32": "I", "f32": "f", "i64": "q", "u64": "Q", "f64": "d"}
ORDERS = ["big", "big-swapped", "little", "little-swapped"]
WORDS = {
    (kind, order): mapper(
        {"topic": "t", "values": {"v": {"words": {"of": "r", "type": kind, "endian": order}}}, "other_values": "filter"}
    )
    for kind in CODES
    for order in ORDERS
}
BITS = mapper({"topic": "t", "input": "{field}", "values": {"v": {"bits": {"low": "0-6", "one": 7, "high": "8-62"}}}})


@given(
    kind=st.sampled_from(list(CODES)),
    order=st.sampled_from(ORDERS),
    raw=st.binary(min_size=8, max_size=8),
    text=st.booleans(),
)
def test_registers_are_the_number_that_struct_reads(kind: str, order: str, raw: bytes, text: bool) -> None:
    raw = raw[: int(kind[1:]) // 8]
    registers = list(struct.unpack(f">{len(raw) // 2}H", raw))
    found = take(WORDS[kind, order], {"r": ",".join(map(str, registers)) if text else registers})
    if order.endswith("-swapped"):
        raw = b"".join(raw[at : at + 2] for at in range(len(raw) - 2, -1, -2))
    (number,) = struct.unpack((">" if order.startswith("big") else "<") + CODES[kind], raw)
    if number - number != 0:  # NaN and infinity
        assert [reject.path for reject in found.rejects] == ["v"]
    else:
        assert [value for _, _, value in found.samples] == [number]


@given(st.integers(0, 2**63 - 1))
def test_bits_are_the_parts_of_their_integer(number: int) -> None:
    found = {name: value for name, _, value in take(BITS, {"v": number}).samples}
    assert found["low"] + (found["one"] << 7) + (found["high"] << 8) == number


NAMES = ["a", "b", "v", "a_SF", "v_SF", "w"]
ANY = [
    {"scale": {"path": "{path}_SF", "power_of_ten": True, "default": 0}, "missing": [1]},
    {"scale": {"path": "a"}, "offset": {"path": "b.v"}, "number": "auto"},
    {"values": {"v": {"words": {"of": ["a", "b"], "type": "i32"}}, "b": {"bits": {"on": 0}}}},
    {"values": {"v": {"words": {"of": "@", "type": "f32"}}, "a.b": {"limit": "signal"}, "b.0": {"bits": {"on": 0}}}},
]
USING: list[Mapper] = [mapper({"topic": "t", "input": "{path}", **rule}) for rule in ANY]


@FUZZ
@given(which=st.integers(0, len(ANY) - 1), document=trees(st.sampled_from(NAMES)))
def test_fuzz_combined_documents(which: int, document: Any) -> None:
    before = json.dumps(document)
    found = take(USING[which], before.encode())
    assert found.samples or found.rejects or found.skipped
    assert found.filtered >= 0
    if which < 2:
        assert values_of(found) >= leaves(document)
    assert json.dumps(document) == before


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "field": st.sampled_from(NAMES),
            "name": st.sampled_from(
                [
                    "org.apache.kafka.connect.data.Decimal",
                    "org.apache.kafka.connect.data.Timestamp",
                    "io.debezium.time.NanoTimestamp",
                    "io.debezium.data.VariableScaleDecimal",
                ]
            ),
            "parameters": st.fixed_dictionaries({"scale": st.sampled_from(["2", 2, "²", None, 10**9, -100])}),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {"fields": st.lists(inner, max_size=3)}, optional={"field": st.sampled_from(NAMES), "items": inner}
    ),
    max_leaves=6,
)
VALUES = trees(st.sampled_from([*NAMES, "scale", "value"])) | st.integers() | st.sampled_from(["CGY=", "/" * 100])


@FUZZ
@given(
    schema=SCHEMAS | st.none() | st.integers(),
    payload=VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
)
def test_fuzz_messages_of_kafka_connect(schema: Any, payload: Any) -> None:
    read_by_schema({"schema": schema, "payload": payload}, 0)
    read_by_schema(payload, 0)
