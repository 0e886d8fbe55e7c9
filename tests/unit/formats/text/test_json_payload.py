"""What devices really send: every payload is decoded, or refused with a reason and a place."""

from __future__ import annotations

import math

import pytest

from connector.formats.format import PayloadError
from connector.formats.text.json_payload import JsonFormat, RepeatedKeys, decode, decode_repeated, may_repeat_keys
from connector.formats.text.ndjson import NdjsonFormat
from connector.records import Reason


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a": 1.5, "b": [true, null, "x"]}', {"a": 1.5, "b": [True, None, "x"]}),
        (b" 21.5\r\n", 21.5),
        (b"+5", 5.0),
        (b"007", 7.0),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"-1e3", -1000.0),
        (b"\xef\xbb\xbf21.5", 21.5),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'"text"', "text"),
        (b"true", True),
        (b"null", None),
        (b'{"a":18446744073709551615}', {"a": 18446744073709551615}),
    ],
)
def test_ordinary_and_odd_payloads_are_decoded(payload: bytes, expected: object) -> None:
    assert decode(payload) == expected


@pytest.mark.parametrize("text", ["NaN", "nan", "-inf", "Infinity", "+INF"])
def test_a_bare_number_that_is_not_finite_is_kept_for_the_mapping_to_reject(text: str) -> None:
    value = decode(text.encode())
    assert isinstance(value, float)
    assert not math.isfinite(value)


def test_nan_and_infinity_do_not_cost_their_neighbours() -> None:
    found = decode(b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": 2}')
    assert isinstance(found, dict)
    assert math.isnan(found["a"])
    assert (found["b"], found["c"], found["d"]) == (-math.inf, math.inf, 2)


def test_an_integer_of_any_length_is_a_number() -> None:
    found = decode(b'{"beyond 64 bits": 123456789012345678901234567890, "x": NaN, "long": ' + b"9" * 5000 + b"}")
    assert isinstance(found, dict)
    assert found["beyond 64 bits"] == pytest.approx(1.2345678901234568e29)
    assert found["long"] == math.inf


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (b"", Reason.EMPTY_PAYLOAD, "empty"),
        (b" \r\n\t", Reason.EMPTY_PAYLOAD, "empty"),
        (b'{"a": 1', Reason.INVALID_JSON, "begins '{\"a\": 1'"),
        (b"21,5", Reason.INVALID_JSON, "begins '21,5'"),
        (b"on", Reason.INVALID_JSON, "begins 'on'"),
        (b"{'a': 1}", Reason.INVALID_JSON, "not JSON"),
        (b'{"a": 1}{"a": 2}', Reason.INVALID_JSON, "not JSON"),
        (b"\x1f\x8b\x08\x00", Reason.NOT_UTF8, "byte 1 (0x8b)"),
        (b'{"a": "\xff"}', Reason.NOT_UTF8, "byte 7 (0xff)"),
        (b'{"a": "\xed\xa0\x80"}', Reason.NOT_UTF8, "byte 7"),
        (b"[" * 100_000, Reason.NESTED_TOO_DEEPLY, "nested"),
        (b'{"a":' * 100_000, Reason.NESTED_TOO_DEEPLY, "nested"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_a_reason(payload: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(PayloadError) as refused:
        decode(payload)
    assert refused.value.reason is reason
    assert said in str(refused.value)


def test_a_megabyte_of_digits_with_a_letter_behind_is_refused_at_once() -> None:
    # A pattern that backtracks would be busy for days; the time-out of this test suite would end it.
    with pytest.raises(PayloadError) as refused:
        decode(b"1" * 1_000_000 + b"x")
    assert refused.value.reason is Reason.INVALID_JSON
    assert len(str(refused.value)) < 300


def test_half_a_surrogate_pair_in_a_key_stays_readable_and_can_be_written_as_utf8() -> None:
    found = decode(b'{"\\ud800": 1, "\\ud801": 2, "\\ud83d\\ude00": 3, "e\xcc\x81": 4}')
    assert found == {"\\ud800": 1, "\\ud801": 2, "😀": 3, "e\u0301": 4}
    assert "".join(found).encode("utf-8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "keys", "repeats"),
    [
        (b'{"a":1,"b":2}', 2, False),
        (b'{"a" : 1, "b" : 2}', 2, False),
        (b'{"a":1,"a":2}', 1, True),
        (b'{"a" :1,"a":2,"b":3}', 2, True),
        (b'{"a"\n:1,"a":2}', 1, True),
        (b'{"a":1,"b":{"a":2}}', 3, False),
    ],
)
def test_whether_a_key_may_stand_twice(payload: bytes, keys: int, repeats: bool) -> None:
    assert may_repeat_keys(payload, keys) is repeats


def test_a_repeated_key_keeps_what_it_replaced() -> None:
    found = decode_repeated(b'{"a": 1, "b": 2, "a": 3, "a": 4, "c": {"d": 5}}')
    assert isinstance(found, RepeatedKeys)
    assert found == {"a": 4, "b": 2, "c": {"d": 5}}
    assert sorted(found.replaced, key=str) == [("a", 1), ("a", 3)]
    assert type(found["c"]) is dict


def test_a_deep_payload_that_must_be_read_again_is_refused_not_raised() -> None:
    with pytest.raises(PayloadError) as refused:
        decode_repeated(b'{"a":1,"a":2,"b":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert refused.value.reason is Reason.NESTED_TOO_DEEPLY


@pytest.mark.parametrize(
    ("payload", "kinds"),
    [
        (b'{"a":1}\0', {"nul"}),
        (b'{"a":1}\0\0\r\n\0', {"nul"}),
        (b'\xef\xbb\xbf{"a":1}\0', {"nul", "byte_order_mark"}),
        ('{"a":1}'.encode("utf-16"), {"encoding"}),
        (b"\xfe\xff" + '{"a":1}\0'.encode("utf-16-be"), {"encoding", "nul"}),
        ('{"a":1}'.encode("utf-16-le"), {"encoding"}),
        ('{"a":1}'.encode("utf-16-be"), {"encoding"}),
        ('{"a":1}'.encode("utf-32"), {"encoding"}),
        (b"\n\t" + b'{"a":1}  ', set()),
    ],
)
def test_an_odd_byte_costs_nothing_and_is_noted(payload: bytes, kinds: set[str]) -> None:
    noted: set[str] = set()
    assert decode(payload, noted) == {"a": 1}
    assert noted == kinds


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a"\0:1}',
        b'\0{"a":1}',
        b'{"a":1}\0x',
        b"{\0\0\0",
        b"5\0" + b"7\0",
        b'\xff\xfe{"a":1',
        b'{\0"\0a',
        b"\xfe\xff\xd8",
    ],
)
def test_bytes_that_are_odd_elsewhere_are_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(payload)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("latin-1", "°C"), ("cp1252", "€"), ("utf-16", "Ж"), ("utf-16-be", "Ж"), ("cp850", "°"), ("shift_jis", "温度")],
)
def test_a_declared_encoding(encoding: str, text: str) -> None:
    form = JsonFormat(encoding=encoding)
    assert form.decode(f'{{"u": "{text}"}}'.encode(encoding)) == {"u": text}
    assert form.decode(f'{{"u": "{text}"}}\0'.encode(encoding)) == {"u": text}
    assert form.notes.tolerated == {"nul"}
    assert form.decode(b"7" if not encoding.startswith("utf-16") else "7".encode(encoding)) == 7
    assert form.notes.tolerated == set(), "the notes are about the last payload"
    lines = NdjsonFormat(encoding=encoding).decode(f'{{"u": "{text}"}}\n{{"v": 1}}\n'.encode(encoding))
    assert lines == [{"u": text}, {"v": 1}]


def test_lines_with_marks_and_nuls() -> None:
    form = NdjsonFormat()
    for payload in (
        b'{"a":1}\n{"a":nan}\n\0',
        b'\xef\xbb\xbf{"a":1}\n{"a":nan}\0\n',
        '{"a":1}\n{"a":nan}'.encode("utf-16"),
    ):
        found = form.decode(payload)
        assert isinstance(found, list)
        assert found[0] == {"a": 1}
        assert math.isnan(found[1]["a"])
        assert "not_finite" in form.notes.tolerated

    assert form.decode(b'{"a":1}\n{"a":2}') == [{"a": 1}, {"a": 2}]
    assert form.notes.tolerated == set()
