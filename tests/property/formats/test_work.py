"""The work for one message grows like the message, whatever a publisher or a registry writes into it.

Each attack is measured at two sizes, in CPU time of this thread. Eight times the input may take `MOST_GROWTH` times as
long: linear work takes 8 times, quadratic work 64 times. The least of several tries counts, and what takes less than
`SOON` at the larger size is not compared: there is nothing to stop then.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from time import thread_time

import cbor2
import msgpack
import pytest

from connector.conformance.formats import decoded
from connector.formats.binary.cbor import CborFormat
from connector.formats.binary.messagepack import MessagePackFormat
from connector.formats.format import Format, PayloadError
from connector.formats.schema.json_schema import JsonSchemaFormat
from connector.formats.schema.json_schema_check import MOST_SECONDS
from connector.formats.text.csv_rows import CsvFormat
from connector.formats.text.graphite import GraphiteFormat
from connector.formats.text.influx import InfluxFormat
from connector.formats.text.key_value import KeyValueFormat
from connector.formats.text.ndjson import NdjsonFormat
from connector.formats.text.prometheus import PrometheusFormat
from connector.formats.text.xml_elements import XmlFormat
from connector.mapping.mapper import Mapper
from connector.records import Reason, Record
from tests.format_examples import EXAMPLES
from tests.schemas import KnownSchemas, framed, registered
from tests.unit.mapping.mappers import mapper, take

SMALL, LARGE = 16_384, 131_072
MOST_GROWTH = 24.0
SOON = 0.15
NOW_US = 1_714_564_800_000_000
_PRIME = 2**61 - 1
"""Whole numbers that it divides have the hash 0 in Python."""


def least_seconds(work: Callable[[], object], tries: int = 3) -> float:
    """The least CPU time of this thread, in seconds, of several tries."""
    taken = []
    for _ in range(tries):
        started = thread_time()
        work()
        taken.append(thread_time() - started)
    return min(taken)


def check_growth(work: Callable[[int], Callable[[], object]]) -> None:
    """`work` gives the work for an input of this size."""
    large = least_seconds(work(LARGE))
    if large > SOON:
        small = least_seconds(work(SMALL))
        assert large / small < MOST_GROWTH, f"{SMALL} bytes take {small:.3f} s, and {LARGE} bytes {large:.3f} s"


def decode(format_: Format, payload: bytes) -> None:
    """Decode, and let a refusal be."""
    with suppress(PayloadError):
        format_.decode(payload)


def _head(major: int, number: int) -> bytes:
    return bytes([major << 5 | 26]) + struct.pack(">I", number)


def _big(number: int) -> bytes:
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b"\xc2" + _head(2, len(digits)) + digits


def _colliding(size: int) -> list[bytes]:
    return [_big((2**20 + number) * _PRIME) for number in range(size // 18)]


ATTACKS: dict[str, tuple[Format, Callable[[int], bytes]]] = {
    "csv: a quote is open at the end of each line": (CsvFormat(), lambda size: b"a,b\n" + b'x","\n' * (size // 5)),
    "csv: each cell opens a quote": (CsvFormat(columns=["a"]), lambda size: b'",' * (size // 2)),
    "influx: each line opens a text": (InfluxFormat(), lambda size: b'a b="\n' * (size // 6)),
    "influx: backslashes": (InfluxFormat(), lambda size: b"a b=" + b"\\" * size),
    "key_value: each pair opens a text": (KeyValueFormat(), lambda size: b'a="' * (size // 3)),
    "key_value: each line opens a text": (KeyValueFormat(separator="\n"), lambda size: b'a="\n' * (size // 4)),
    "prometheus: each label opens a text": (PrometheusFormat(), lambda size: b'a{b="' + b'",b="' * (size // 5)),
    "prometheus: each line opens a text": (PrometheusFormat(), lambda size: b'a{b="\n' * (size // 6)),
    "graphite: tags": (GraphiteFormat(), lambda size: b"a" + b";a=b" * (size // 4)),
    "xml: attributes": (
        XmlFormat(),
        lambda size: b"<a " + b" ".join(b'k%d="v"' % n for n in range(size // 12)) + b"/>",
    ),
    "xml: elements of one name": (XmlFormat(), lambda size: b"<a>" + b"<b/>" * (size // 4) + b"</a>"),
    "xml: texts in pieces": (XmlFormat(), lambda size: b"<a>" + b"x<b/>&lt;" * (size // 9) + b"</a>"),
    "xml: a token that does not end": (XmlFormat(), lambda size: b"<!--" + b"-" * size),
    "ndjson: each line is bad": (NdjsonFormat(), lambda size: b'{"a":\n' * (size // 6)),
    "cbor: keys with one hash": (
        CborFormat(),
        lambda size: _head(5, size // 18) + b"".join(key + b"\x01" for key in _colliding(size)),
    ),
    "cbor: a set with one hash": (
        CborFormat(),
        lambda size: b"\xd9\x01\x02" + _head(4, size // 18) + b"".join(_colliding(size)),
    ),
    "cbor: a decimal fraction of many digits": (
        CborFormat(),
        lambda size: b"\xc4\x82\x01\xc2" + _head(2, size) + b"\xaa" * size,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_decoders_cost_no_more_than_their_length(name: str) -> None:
    format_, payload = ATTACKS[name]

    def work(size: int) -> Callable[[], object]:
        data = payload(size)
        return lambda: decode(format_, data)

    check_growth(work)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_format_reads_a_payload_that_is_long_in_time_that_grows_like_it(name: str) -> None:
    example = EXAMPLES[name]

    def work(size: int) -> Callable[[], object]:
        data = example.payload * (size // len(example.payload) + 1)
        return lambda: decoded(example, data)

    check_growth(work)


DOCUMENTS: dict[str, Callable[[int], object]] = {
    "a long key with many values behind it": lambda size: {"k" * size: {str(i): i for i in range(size // 64)}},
    "a long key with dots": lambda size: {"k." * (size // 2): {str(i): i for i in range(size // 64)}},
    "many keys": lambda size: {f"k{number}": number for number in range(size // 16)},
    "items with names": lambda size: [{"name": f"n{number}", "v": number} for number in range(size // 24)],
    "lists beside lists of times": lambda size: {
        **{f"time{number}": [NOW_US] * 3 for number in range(size // 128)},
        **{f"v{number}": [1.5] * 4 for number in range(size // 128)},
    },
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_mapped_in_time_that_grows_like_them(name: str) -> None:
    def work(size: int) -> Callable[[], object]:
        payload = json.dumps(DOCUMENTS[name](size)).encode()
        return lambda: Mapper().map("s", Record("t", payload, NOW_US))

    check_growth(work)


RULES: dict[str, dict[str, object]] = {
    "the time of items is searched around them": {"iterate": "items"},
    "by a query": {"iterate": "items", "time": "o[?a=='c'].ts | [0]"},
    "a name of the payload": {"iterate": "items", "input": "{payload.q|unknown}/{index}/{field}"},
}


@pytest.mark.parametrize("name", RULES)
def test_items_are_mapped_in_time_that_grows_like_the_document(name: str) -> None:
    def work(size: int) -> Callable[[], object]:
        n = size // 32
        document = {"items": [{"v": i} for i in range(n)], "o": [{"a": "b"}] * n, **{f"k{i}": "" for i in range(n)}}
        payload = json.dumps(document).encode()
        return lambda: take(mapper({"topic": "t", **RULES[name]}), payload)

    check_growth(work)


def schema_format(schema: object) -> JsonSchemaFormat:
    """JSON, checked against this schema; the schema 2 takes everything."""
    return JsonSchemaFormat(KnownSchemas(registered(1, "JSON", json.dumps(schema)), registered(2, "JSON", "{}")))


def _doubling(levels: int) -> dict[str, object]:
    parts: dict[str, object] = {"a0": {}}
    for level in range(levels):
        parts[f"a{level + 1}"] = {"allOf": [{"$ref": f"#/definitions/a{level}"}] * 2}
    return {
        "definitions": parts,
        "$ref": f"#/definitions/a{levels}",
        "$schema": "http://json-schema.org/draft-07/schema#",
    }


_SLOW = r"^(.*)\1\1\1x$"
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"
_DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: dict[str, tuple[object, object]] = {
    "a pattern": ({"pattern": _SLOW}, "x" * 200_000),
    "a pattern in a part that names its own dialect": (
        {"$schema": _DRAFT_7, "properties": {"a": {"$schema": _DRAFT_7, "pattern": _SLOW}}},
        {"a": "x" * 200_000},
    ),
    "patterns of keys": ({"patternProperties": {_SLOW: {}}}, {"x" * 200_000: 1}),
    "patterns beside which no key may be": (
        {"patternProperties": {_SLOW: {}}, "additionalProperties": False},
        {"x" * 200_000: 1},
    ),
    "references that double": (_doubling(40), 1),
    "values that no part has looked at": (
        {"$schema": _DRAFT_2020, "contains": {"type": "number"}, "unevaluatedItems": False},
        list(range(100_000)),
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_check_that_takes_too_long_is_given_up_and_the_next_message_passes(name: str) -> None:
    schema, document = SCHEMAS[name]
    format_ = schema_format(schema)
    started = thread_time()
    with pytest.raises(PayloadError) as error:
        format_.decode(framed(1, json.dumps(document).encode()))
    assert error.value.reason is Reason.TOO_EXPENSIVE
    assert thread_time() - started < MOST_SECONDS + 3
    assert format_.decode(framed(2, b"1")) == 1
    with pytest.raises(PayloadError) as error:  # the budget begins anew with each message
        format_.decode(framed(1, b'"short"' if name == "a pattern" else b"{"))
    assert error.value.reason in (Reason.SCHEMA_VIOLATED, Reason.INVALID_JSON)


@pytest.mark.parametrize("pattern", ["(" * 9 + "a" + "){9}" * 9, "(" * 200 + "a" + ")?" * 200, "a|" * 100_000])
def test_patterns_that_take_long_to_compile_are_refused(pattern: str) -> None:
    with pytest.raises(PayloadError) as error:
        schema_format({"pattern": pattern}).decode(framed(1, b'"a"'))
    assert error.value.reason is Reason.SCHEMA_UNUSABLE


def test_values_that_differ_are_unique_and_equal_ones_are_not() -> None:
    format_ = schema_format({"uniqueItems": True})
    values = [1, True, "1", None, [1], {"a": 1, "b": 2}, {"a": 2, "b": 1}]
    assert format_.decode(framed(1, json.dumps(values).encode())) == values
    for twice in ([1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], [[1], [1]]):
        with pytest.raises(PayloadError) as error:
            format_.decode(framed(1, json.dumps(twice).encode()))
        assert error.value.reason is Reason.SCHEMA_VIOLATED


def test_a_place_that_is_too_long_is_a_dead_letter_and_the_rest_passes() -> None:
    mapper = Mapper()
    mapped = mapper.map("s", Record("t", json.dumps({"k" * 3_000: {"a": 1, "b": 2}, "v": 5}).encode(), NOW_US))
    assert [reject.reason for reject in mapped.rejects] == [Reason.TOO_EXPENSIVE]
    assert [sample[2] for sample in mapped.samples] == [5]
    assert mapper.map("s", Record("t", b'{"v": 6}', NOW_US)).samples[0][2] == 6


def _tuples(count: int) -> list[tuple[int, int]]:
    """Pairs of numbers whose tuples have the same hash in Python, which hashes tuples without a secret."""
    factor, other, start, all_bits = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64 - 1
    inverse = pow(other, -1, 2**64)
    found: list[tuple[int, int]] = []
    first = 0
    while len(found) < count:
        first += 1
        lane = (start + first * other) & all_bits
        lane = ((lane << 31 | lane >> 33) & all_bits) * factor & all_bits
        second = (12345 - lane) * inverse & all_bits
        if second < _PRIME:
            found.append((first, second))
    return found


def test_maps_with_keys_of_one_hash_are_refused_before_they_are_built() -> None:
    pairs = _tuples(4_000)
    head = struct.pack(">I", len(pairs))
    messagepack = b"\xdf" + head + b"".join(struct.pack(">BBQBQB", 0x92, 0xCF, a, 0xCF, b, 1) for a, b in pairs)
    cbor = b"\xba" + head + b"".join(struct.pack(">BBQBQB", 0x82, 0x1B, a, 0x1B, b, 1) for a, b in pairs)
    uuids = b"".join(b"\xd8\x25\x50" + (_PRIME * (2**60 + n)).to_bytes(16, "big") + b"\x01" for n in range(len(pairs)))
    for format_, payload in (
        (MessagePackFormat(), messagepack),
        (CborFormat(), cbor),
        (CborFormat(), b"\xbf" + uuids + b"\xff"),
        (CborFormat(), b"\x81\xba" + head + uuids),
    ):
        started = thread_time()
        with pytest.raises(PayloadError) as error:
            format_.decode(payload)
        assert error.value.reason is Reason.MALFORMED_RECORD
        assert thread_time() - started < 0.1, "building the map takes half a second and more"


def test_long_payloads_with_plain_keys_are_read() -> None:
    document = {
        "rows": [{"a": [1, 2.5, "x" * 40], "b": {"c": None, "d": True}, "n": number} for number in range(2_000)]
    }
    assert CborFormat().decode(cbor2.dumps(document)) == document
    assert CborFormat().decode(b"\xbf\x61a" + cbor2.dumps(document) + b"\x61b\x82\x01\x02\xff") == {
        "a": document,
        "b": [1, 2],
    }
    assert MessagePackFormat().decode(msgpack.packb(document)) == document


def test_a_document_of_too_many_lists_is_a_dead_letter_and_the_next_message_passes() -> None:
    mapper = Mapper()
    mapped = mapper.map("s", Record("t", b"[" + b"[]," * 300_000 + b"[]]", NOW_US))
    assert [reject.reason for reject in mapped.rejects] == [Reason.TOO_EXPENSIVE]
    assert mapper.map("s", Record("t", b'{"v": 6}', NOW_US)).samples[0][2] == 6
