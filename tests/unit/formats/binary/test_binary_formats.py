"""MessagePack, CBOR and declared layouts: what independent encoders and the specifications' examples write is read;
what is damaged is refused."""

from __future__ import annotations

import base64
import math
import struct
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest

from connector.formats.binary.binary import BinaryFormat, Bits, LayoutField
from connector.formats.binary.cbor import CborFormat
from connector.formats.binary.messagepack import MessagePackFormat
from connector.formats.format import BadDocument, Documents, Format
from connector.records import Reason
from tests.unit.formats.refused import refused

# -- MessagePack: written by the msgpack package, another implementation -----------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"temp": 21.5, "ok": True, "state": None, "n": -(2**63), "m": 2**64 - 1, "nested": {"list": [1, "x", [], {}]}},
        [1, 2, 3],
        "text",
        b"\x00\xff",
        3.5,
        {},
        {"long": "x" * 70_000, "many": list(range(70_000))},
    ],
)
def test_messagepack_of_another_implementation(document: object) -> None:
    assert MessagePackFormat().decode(msgpack.packb(document)) == document
    assert MessagePackFormat().decode(msgpack.packb(document, use_bin_type=True)) == document


def test_messagepack_single_floats() -> None:
    packed = msgpack.packb({"a": 21.5, "b": [0.25, {"c": 1.5}]}, use_single_float=True)
    assert MessagePackFormat().decode(packed) == {"a": 21.5, "b": [0.25, {"c": 1.5}]}


@pytest.mark.parametrize(
    "time",
    [
        datetime(2024, 5, 1, 12, tzinfo=UTC),
        datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC),
        datetime(1950, 1, 1, tzinfo=UTC),
        datetime(2600, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    ],
)
def test_messagepack_timestamps_become_datetimes(time: datetime) -> None:
    assert MessagePackFormat().decode(msgpack.packb({"ts": time}, datetime=True)) == {"ts": time}


def test_other_extensions_become_bytes() -> None:
    assert MessagePackFormat().decode(msgpack.packb([msgpack.ExtType(5, b"ab"), 1])) == [b"ab", 1]


def test_keys_become_text() -> None:
    packed = msgpack.packb({1: "b", b"k": "c", None: "d", 2.5: "e", -7: "f"} | {0: "g"})
    assert MessagePackFormat().decode(packed) == {
        "1": "b", "k": "c", "null": "d", "2.5": "e", "-7": "f", "0": "g",
    }  # fmt: skip
    assert refused(MessagePackFormat(), msgpack.packb({1: "a", "1": "b"})).reason is Reason.DUPLICATE_KEY


@pytest.mark.parametrize(
    "packed",
    [
        b"\x82\xa1a\x01\xa1a\x02",  # {"a": 1, "a": 2}
        b"\x82\xa1a\x01\xa1a\xca\x41\xac\x00\x00",  # … with a single float
        b"\x92\x81\xa1b\xca\x41\xac\x00\x00\x82\xa1a\x01\xa1a\x02",
        b"\xde\x00\x02\xa1a\x01\xa1a\x02",
    ],
)
def test_a_key_that_stands_twice_is_not_lost_in_silence(packed: bytes) -> None:
    assert refused(MessagePackFormat(), packed).reason is Reason.DUPLICATE_KEY


def test_wasteful_encodings_repeat_no_key() -> None:
    packed = b"\xdf\x00\x00\x00\x02\xd9\x01a\xd3\x00\x00\x00\x00\x00\x00\x00\x01\xdb\x00\x00\x00\x01b\xcf" + b"\0" * 8
    assert MessagePackFormat().decode(packed) == {"a": 1, "b": 0}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY_PAYLOAD),
        (b"\xc1", Reason.INVALID_MESSAGEPACK),
        (b"\x81\xa1a", Reason.INVALID_MESSAGEPACK),
        (b"\x01\x02", Reason.INVALID_MESSAGEPACK),
        (b"\xdd\xff\xff\xff\xff", Reason.INVALID_MESSAGEPACK),
        (b"\xc7\x0c\xff" + b"\xff" * 12, Reason.INVALID_MESSAGEPACK),
        (b"\xa1\xff", Reason.INVALID_MESSAGEPACK),
        (b"\x91" * 100_000, Reason.NESTED_TOO_DEEPLY),
        (b"\x91" * 200 + b"\x01", Reason.NESTED_TOO_DEEPLY),
        (b"\x81\x91\x01\x02", Reason.MALFORMED_RECORD),
    ],
)
def test_what_is_no_messagepack_is_refused(payload: bytes, reason: Reason) -> None:
    assert refused(MessagePackFormat(), payload).reason is reason


# -- CBOR: the examples of RFC 8949, appendix A ------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("00", 0),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("c249010000000000000000", 18446744073709551616.0),
        ("3bffffffffffffffff", -18446744073709551616.0),
        ("c349010000000000000000", -18446744073709551617.0),
        ("f93e00", 1.5),
        ("fb3ff199999999999a", 1.1),
        ("fa47c35000", 100000.0),
        ("fb7e37e43c8800759c", 1.0e300),
        ("f90001", 5.960464477539063e-8),
        ("f97c00", math.inf),
        ("f4", False),
        ("f6", None),
        ("f7", None),
        ("c074323031332d30332d32315432303a30343a30305a", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c1fb41d452d9ec200000", datetime(2013, 3, 21, 20, 4, 0, 500000, tzinfo=UTC)),
        ("d74401020304", b"\x01\x02\x03\x04"),
        ("d818456449455446", b"dIETF"),
        ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("62225c", '"\\'),
        ("64f0908591", "𐅑"),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a201020304", {"1": 2, "3": 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        # RFC 8949, 3.4.4: decimal fractions and bigfloats
        ("c48221196ab3", 273.15),
        ("c5822003", 1.5),
        # RFC 8943: dates; unknown tags; self-described
        ("d903ec6a313934302d31302d3039", "1940-10-09"),
        ("d863820102", [1, 2]),
        ("d9d9f7a1616101", {"a": 1}),
        ("d81e820103", 1 / 3),
    ],
)
def test_examples_of_rfc_8949(written: str, expected: object) -> None:
    found = CborFormat().decode(bytes.fromhex(written))
    assert found == expected
    assert type(found) is type(expected)


def test_a_time_that_is_none_does_not_cost_its_neighbours() -> None:
    found = CborFormat().decode(bytes.fromhex("83c1fb7ff0000000000000c0636162630a"))
    assert found == [math.inf, "abc", 10]


def test_items_that_follow_each_other_are_documents() -> None:
    found = CborFormat().decode(bytes.fromhex("a1616101a1616102"))
    assert isinstance(found, Documents)
    assert found == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY_PAYLOAD),
        (b"\x9b\x7f" + b"\xff" * 7, Reason.INVALID_CBOR),
        (b"\x5b\x7f" + b"\xff" * 7, Reason.INVALID_CBOR),
        (b"\x61\xff", Reason.INVALID_CBOR),
        (b"\xff", Reason.INVALID_CBOR),
        (b"\x01\x1c", Reason.INVALID_CBOR),
        (b"\xa2\x61a\x01\x61a\x02", Reason.DUPLICATE_KEY),
        (b"\x81" * 100_000, Reason.NESTED_TOO_DEEPLY),
        (b"\xc6" * 100_000 + b"\x01", Reason.NESTED_TOO_DEEPLY),
        (b"\xd8\x1c\x81\xd8\x1d\x00", Reason.INVALID_CBOR),  # a list that holds itself
        (b"\xa1\x81\x01\x02", Reason.MALFORMED_RECORD),
    ],
)
def test_what_is_no_cbor_is_refused(payload: bytes, reason: Reason) -> None:
    assert refused(CborFormat(), payload).reason is reason


@pytest.mark.parametrize(
    ("format_", "payload"),
    [
        (CborFormat(), b"\x9a\x00\x04\x93\xe0" + b"\x80" * 300_000),
        (MessagePackFormat(), b"\xdd\x00\x04\x93\xe0" + b"\x90" * 300_000),
        (MessagePackFormat(), b"\xdd\x00\x04\x93\xe0" + b"\x80" * 300_000),
    ],
)
def test_nothing_but_empty_containers_takes_no_large_multiple_of_memory(format_: Format, payload: bytes) -> None:
    tracemalloc.start()
    try:
        assert refused(format_, payload).reason is Reason.TOO_MANY_VALUES
        assert tracemalloc.get_traced_memory()[1] < 8 * len(payload)
    finally:
        tracemalloc.stop()


# -- declared layouts -------------------------------------------------------------------------------


def layout(*parts: LayoutField, **settings: Any) -> BinaryFormat:
    return BinaryFormat(parts, **settings)


def test_every_type_big_and_little_endian() -> None:
    values = {
        "u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4_000_000_000, "i32": -2_000_000_000,
        "u64": 2**63, "i64": -(2**62), "f16": 1.5, "f32": 21.5, "f64": 1.1,
    }  # fmt: skip
    codes = "BbHhIiQqefd"
    parts = [LayoutField(kind, kind) for kind in values]
    for endian, sign in (("big", ">"), ("little", "<")):
        payload = struct.pack(sign + codes, *values.values())
        assert layout(*parts, endian=endian).decode(payload) == values


def test_integers_of_24_and_48_bits() -> None:
    parts = [LayoutField("u24", "a"), LayoutField("i24", "b"), LayoutField("u48", "c"), LayoutField("i48", "d")]
    payload = b"\x01\x02\x03" + b"\xff\xff\xfe" + b"\x00\x00\x00\x00\x01\x00" + b"\xff" * 6
    assert layout(*parts).decode(payload) == {"a": 0x010203, "b": -2, "c": 256, "d": -1}
    little = payload[2::-1] + payload[5:2:-1] + payload[11:5:-1] + payload[:11:-1]
    assert layout(*parts, endian="little").decode(little) == {"a": 0x010203, "b": -2, "c": 256, "d": -1}


@pytest.mark.parametrize(
    ("endian", "payload"),
    [("big", "41ac0000"), ("little", "0000ac41"), ("big-swapped", "000041ac"), ("little-swapped", "ac410000")],
)
def test_the_four_orders_of_a_float_in_two_registers(endian: str, payload: str) -> None:
    assert layout(LayoutField("f32", "x"), endian=endian).decode(bytes.fromhex(payload)) == {"x": 21.5}
    assert layout(LayoutField("f32", "x", endian=endian)).decode(bytes.fromhex(payload)) == {"x": 21.5}


def test_words_of_64_bits_are_swapped_as_a_whole() -> None:
    assert layout(LayoutField("u64", "x"), endian="big-swapped").decode(bytes.fromhex("0007000600050004")) == {
        "x": 0x0004000500060007
    }
    with pytest.raises(ValueError, match="16-bit words"):
        layout(LayoutField("u24", "x"), endian="big-swapped")


def test_booleans_bits_text_bytes_and_what_is_skipped() -> None:
    parts = [
        LayoutField("bool", "on"),
        LayoutField("skip", length=2),
        LayoutField("u16", "status", bits=(Bits("running", 0), Bits("mode", 1, 3), Bits("alarm", 15))),
        LayoutField("u8", bits=(Bits("low", 0, 4), Bits("high", 4, 4))),
        LayoutField("text", "serial", length=6),
        LayoutField("bytes", "raw", length=2),
    ]
    payload = b"\x02" + b"??" + b"\x80\x0b" + b"\xa5" + b"AB 7\0\xff" + b"\x00\x01"
    assert layout(*parts).decode(payload) == {
        "on": True, "status": 0x800B, "running": True, "mode": 5, "alarm": True,
        "low": 5, "high": 10, "serial": "AB 7", "raw": b"\x00\x01",
    }  # fmt: skip


def test_offsets_may_leave_gaps_and_overlap() -> None:
    parts = [LayoutField("u8", "a", offset=2), LayoutField("u8", "b"), LayoutField("u16", "both", offset=2)]
    assert layout(*parts).decode(b"\xff\xff\x01\x02") == {"a": 1, "b": 2, "both": 0x0102}


def test_records_repeat_until_the_end_and_get_the_header() -> None:
    format_ = layout(LayoutField("u8", "a"), LayoutField("u8", "b"), header=[LayoutField("u16", "device")], repeat=True)
    found = format_.decode(b"\x01\x00\x01\x02\x03\x04")
    assert isinstance(found, Documents)
    assert found == [{"device": 256, "a": 1, "b": 2}, {"device": 256, "a": 3, "b": 4}]
    cut = format_.decode(b"\x01\x00\x01\x02\x03")
    assert isinstance(cut, Documents)
    assert (cut[0], type(cut[1])) == ({"device": 256, "a": 1, "b": 2}, BadDocument)
    assert refused(format_, b"\x01").reason is Reason.INVALID_BINARY
    assert refused(format_, b"\x01\x00").reason is Reason.EMPTY_PAYLOAD


def test_a_payload_of_another_length_is_refused_unless_declared() -> None:
    format_ = layout(LayoutField("u16", "a"))
    assert "1 bytes, and the layout has 2" in str(refused(format_, b"\x01"))
    assert "longer: ignore" in str(refused(format_, b"\x01\x02\x03"))
    assert layout(LayoutField("u16", "a"), ignore_longer=True).decode(b"\x01\x02\x03") == {"a": 0x0102}
    assert refused(format_, b"").reason is Reason.EMPTY_PAYLOAD


def test_bytes_that_are_written_as_text() -> None:
    assert layout(LayoutField("i16", "t"), encoding="hex").decode(b" 00 D7\n") == {"t": 215}
    assert layout(LayoutField("i16", "t"), encoding="base64").decode(base64.b64encode(b"\x00\xd7") + b"\n") == {
        "t": 215
    }
    for encoding in ("hex", "base64"):
        assert refused(layout(LayoutField("i16", "t"), encoding=encoding), b"\xff!").reason is Reason.INVALID_BINARY


def test_a_float_that_is_no_number_is_left_to_the_mapping() -> None:
    found = layout(LayoutField("f32", "x"), LayoutField("u8", "y")).decode(b"\x7f\xc0\x00\x00\x05")
    assert isinstance(found, dict)
    assert (math.isnan(found["x"]), found["y"]) == (True, 5)


def test_a_layout_that_cannot_be_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="at most"):
        layout(LayoutField("u8", "a", offset=3_000_000))
