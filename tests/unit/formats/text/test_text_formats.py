"""Formats that are text: each line, row or value becomes what a person reads in it, or says where it cannot be read."""

from __future__ import annotations

import contextlib
import math
from io import StringIO
from typing import Any

import pytest

from connector.formats.documents import MAX_BAD, MAX_DOCUMENTS
from connector.formats.format import BadDocument, Documents, PayloadError
from connector.formats.text import csv_rows
from connector.formats.text.csv_rows import CsvFormat
from connector.formats.text.ndjson import NdjsonFormat
from connector.formats.text.text import TextFormat
from connector.records import Reason
from tests.unit.formats.refused import refused


def bad(found: object, at: int) -> BadDocument:
    assert isinstance(found, Documents)
    one = found[at]
    assert isinstance(one, BadDocument)
    return one


# -- newline-delimited JSON ------------------------------------------------------------------------


def test_each_line_of_json_is_a_document() -> None:
    found = NdjsonFormat().decode(b'{"a": 1}\r\n\n  \n[2]\n3.5\n"x"')
    assert isinstance(found, Documents)
    assert found == [{"a": 1}, [2], 3.5, "x"]


def test_a_line_that_is_no_json_costs_only_itself() -> None:
    found = NdjsonFormat().decode(b'{"a": 1}\n{"a": \n\xff\n{"a": 3}\n')
    assert isinstance(found, Documents)
    assert (found[0], found[3]) == ({"a": 1}, {"a": 3})
    assert (bad(found, 1).where, bad(found, 1).reason, bad(found, 1).text) == (
        "line 2",
        Reason.INVALID_JSON,
        '{"a": \n',
    )
    assert (bad(found, 2).where, bad(found, 2).reason) == ("line 3", Reason.NOT_UTF8)


def test_a_payload_without_a_line_that_can_be_read_is_refused_whole() -> None:
    error = refused(NdjsonFormat(), b"one\ntwo\n")
    assert error.reason is Reason.INVALID_JSON
    assert str(error).startswith("line 1: not JSON")
    assert "nor could the 1 others" in str(error)
    assert refused(NdjsonFormat(), b" \n\n").reason is Reason.EMPTY_PAYLOAD


def test_more_documents_or_more_bad_ones_than_there_may_be_are_refused_whole() -> None:
    assert refused(NdjsonFormat(), b"1\n" * (MAX_DOCUMENTS + 1)).reason is Reason.TOO_MANY_VALUES
    assert refused(NdjsonFormat(), b"1\n" + b"x\n" * (MAX_BAD + 1)).reason is Reason.INVALID_JSON
    assert len(NdjsonFormat().decode(b"1\n" + b"x\n" * MAX_BAD)) == MAX_BAD + 1  # type: ignore[arg-type]


# -- a bare value -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.5", 21.5),
        (b" 21.5\r\n", 21.5),
        (b"21.5\0\0", 21.5),
        (b"-3", -3),
        (b"+5", 5),
        (b"007", 7),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"1e3", 1000.0),
        (b"12345678901234567890", 12345678901234567890.0),
        (b"21,5", "21,5"),
        (b"21.5 \xc2\xb0C", "21.5 °C"),
        (b"on", "on"),
        (b"0x1F", "0x1F"),
        (b"1 2", "1 2"),
        ("٢١".encode(), "٢١"),
        (b"\xef\xbb\xbf21.5", 21.5),
    ],
)
def test_a_number_is_a_number_and_anything_else_text(payload: bytes, expected: object) -> None:
    found = TextFormat().decode(payload)
    assert found == expected
    assert type(found) is type(expected)


def test_what_is_no_number_of_this_world_is_left_to_the_mapping() -> None:
    assert math.isnan(TextFormat().decode(b"NaN"))  # type: ignore[arg-type]
    assert TextFormat().decode(b"-Infinity") == -math.inf


@pytest.mark.parametrize(
    ("payload", "expected"), [(b"21,5", 21.5), (b"21", 21), (b"1.234,5", "1.234,5"), (b"21.5", "21.5")]
)
def test_a_decimal_comma_where_it_is_declared(payload: bytes, expected: object) -> None:
    assert TextFormat(decimal=",").decode(payload) == expected


def test_text_in_other_encodings() -> None:
    assert TextFormat(encoding="latin-1").decode(b"21 \xb0C") == "21 °C"
    assert TextFormat(encoding="utf-16").decode("21.5".encode("utf-16")) == 21.5
    error = refused(TextFormat(), b"21 \xb0C")
    assert (error.reason, "byte 3 (0xb0)" in str(error), "encoding" in str(error)) == (Reason.NOT_UTF8, True, True)
    assert refused(TextFormat(encoding="cp1252"), b"\x81").reason is Reason.INVALID_TEXT


def test_a_megabyte_of_digits_is_no_number_and_no_hang() -> None:
    assert TextFormat().decode(b"1" * 1_000_000 + b"x") == "1" * 1_000_000 + "x"
    assert TextFormat().decode(b"1" * 1_000_000) == "1" * 1_000_000
    assert refused(TextFormat(), b" \r\n\0").reason is Reason.EMPTY_PAYLOAD


# -- CSV --------------------------------------------------------------------------------------------


def csv(payload: str, **settings: Any) -> object:
    return CsvFormat(**settings).decode(payload.encode())


def test_the_header_names_the_columns() -> None:
    found = csv("time,temp,state\r\n2024-05-01T12:00:00Z,21.5,on\r\n2024-05-01T12:01:00Z,,off\r\n")
    assert isinstance(found, Documents)
    assert found == [
        {"time": "2024-05-01T12:00:00Z", "temp": 21.5, "state": "on"},
        {"time": "2024-05-01T12:01:00Z", "temp": None, "state": "off"},
    ]


def test_declared_columns_and_one_that_is_left_out() -> None:
    assert csv("1,2,3\n4,5,6", header=False, columns=["a", None, "c"]) == [{"a": 1, "c": 3}, {"a": 4, "c": 6}]
    assert csv("x,x,x\n4,5,6", header=True, columns=["a", None, "c"]) == [{"a": 4, "c": 6}]


def test_rfc_4180() -> None:
    # https://www.rfc-editor.org/rfc/rfc4180, section 2: quotes, delimiters, line breaks and quotes within them
    assert csv('aaa,bbb\r\n"zzz","b\r\nb,b"\r\n"a""b",1\r\n') == [
        {"aaa": "zzz", "bbb": "b\r\nb,b"},
        {"aaa": 'a"b', "bbb": 1},
    ]


def test_a_european_spreadsheet() -> None:
    payload = "Messwerte Linie 3\n\nZeit;Temperatur;Druck\n01.05.2024 12:00;21,5;1.013,25\n".encode("cp1252")
    found = CsvFormat(delimiter=";", skip_lines=2, decimal=",", encoding="cp1252").decode(payload)
    assert found == [{"Zeit": "01.05.2024 12:00", "Temperatur": 21.5, "Druck": "1.013,25"}]


def test_tabs_comments_other_quotes_and_none() -> None:
    assert csv("# made by x\na\tb\n1\t\n# more\n2\t3\n", delimiter="\t", comment="#") == [
        {"a": 1, "b": None},
        {"a": 2, "b": 3},
    ]
    assert csv("a;b\n'1;2';3", delimiter=";", quote="'") == [{"a": "1;2", "b": 3}]
    assert csv('a,b\n"1,2"', quote=None) == [{"a": '"1', "b": '2"'}]


def test_identifiers_stay_text_and_padded_measurements_become_numbers() -> None:
    assert csv("id,value\n007,0021.50\n0,-0.5") == [{"id": "007", "value": 21.5}, {"id": 0, "value": -0.5}]


def test_a_row_that_does_not_fit_costs_only_itself() -> None:
    found = csv("a,b\n1,2\n3\n4,5,6\n7,8,\n9,10")
    assert isinstance(found, Documents)
    assert [found[0], found[3], found[4]] == [{"a": 1, "b": 2}, {"a": 7, "b": 8}, {"a": 9, "b": 10}]
    assert (bad(found, 1).where, bad(found, 1).reason, bad(found, 1).text) == ("line 3", Reason.INVALID_ROW, "3")
    assert "1 cells instead of 2" in bad(found, 1).message
    assert (bad(found, 2).where, "column 3" in bad(found, 2).message) == ("line 4", True)


@pytest.mark.parametrize("row", ['"open', '"closed"too early', f'"{"x" * 200_000}"'])
def test_a_damaged_quote_costs_one_line(row: str) -> None:
    found = csv(f"a,b\n1,2\n{row},0\n3,4\n5,6\n")
    assert isinstance(found, Documents)
    assert [found[0], *found[2:]] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert (bad(found, 1).where, bad(found, 1).text) == ("line 3", (row + ",0")[:80])


@pytest.mark.parametrize(
    "payload",
    [
        "a,b\n1,2\n" + ("x" * 300 + '","\n') * 901,
        "a,b\n1,2\n" + 'x","\n' * 901,
        "a,b\n1,2\n" + 'x","\n' * 901 + '"closed"too early\n',
        "a,b\n1,2\n" + 'x","\n' * 901 + "y" * 200_000,
    ],
)
def test_quotes_that_nobody_closes_are_not_looked_for_from_each_line(
    payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    class Counting(StringIO):
        def readline(self, size: int = -1, /) -> str:
            nonlocal read
            line = super().readline(size)
            read += len(line)
            return line

    monkeypatch.setattr(csv_rows, "StringIO", Counting)
    with contextlib.suppress(PayloadError):
        csv(payload)
    assert len(payload) <= read <= 3 * len(payload)


def test_lines_are_counted_through_quoted_line_breaks() -> None:
    found = csv('a,b\n"x\ny",1\nz\n')
    assert bad(found, 1).where == "line 4"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("a,a\n1,2", "line 1 calls two columns 'a'"),
        (",\n1,2", "line 1 names no column"),
        ('"a\n1', "line 1, which should name the columns"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(payload: str, said: str) -> None:
    error = refused(CsvFormat(), payload.encode())
    assert error.reason is Reason.INVALID_ROW
    assert said in str(error)


def test_a_value_under_no_name_is_not_lost_in_silence() -> None:
    found = csv("a,,b\n1,,2\n1,9,2\n")
    assert isinstance(found, Documents)
    assert found[0] == {"a": 1, "b": 2}
    assert "column 2, which the header gives no name" in bad(found, 1).message


def test_empty_payloads() -> None:
    for payload in (b"", b"\n\n", b"a,b\n"):
        assert refused(CsvFormat(), payload).reason is Reason.EMPTY_PAYLOAD
    assert refused(CsvFormat(skip_lines=5), b"a\nb").reason is Reason.EMPTY_PAYLOAD


def test_a_header_of_a_hundred_thousand_names_is_no_hang() -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    assert refused(CsvFormat(), f"{names},c0\n".encode()).reason is Reason.INVALID_ROW


# -- odd bytes and encodings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "kinds"),
    [
        (b"a,b\n1,2\n3,4\0", {"nul"}),
        (b"a,b\n1,2\n3,4\n\0\0", {"nul"}),
        (b"a,b\r\n1,2\r\n3,4\0\r\n", {"nul"}),
        ("a,b\n1,2\n3,4".encode("utf-16"), {"encoding"}),
        (b"\xfe\xff" + "a,b\n1,2\n3,4\0".encode("utf-16-be"), {"encoding", "nul"}),
        (b"\xef\xbb\xbfa,b\n1,2\n3,4", set()),
    ],
)
def test_csv_keeps_its_last_value_whatever_is_behind_it(payload: bytes, kinds: set[str]) -> None:
    form = CsvFormat()
    assert form.decode(payload) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert form.notes.tolerated == kinds
    assert form.decode(b"a,b\n1,2\n3,4") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert form.notes.tolerated == set()


def test_a_tab_before_a_nul_still_divides_cells() -> None:
    assert CsvFormat(delimiter="\t").decode(b"a\tb\n1\t\0") == [{"a": 1, "b": None}]


def test_a_nul_elsewhere_is_no_end() -> None:
    assert CsvFormat().decode(b"a,b\n1\0,2") == [{"a": "1\0", "b": 2}]


@pytest.mark.parametrize("encoding", ["cp1250", "cp1251", "cp437", "iso-8859-15", "gb18030", "utf-16-le"])
def test_a_declared_encoding_of_columns(encoding: str) -> None:
    name = {"cp1251": "температура", "gb18030": "温度", "utf-16-le": "温度", "iso-8859-15": "€"}.get(encoding, "é")
    assert CsvFormat(encoding=encoding).decode(f"{name};x\n1;2".encode(encoding)) == [{f"{name};x": "1;2"}]
