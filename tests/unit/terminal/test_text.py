"""Text from outside does nothing on a terminal, and forges no line."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.terminal.tables import unguarded, write_csv, write_json, write_table
from connector.terminal.text import harmless_json, say_json, shown

ANY_TEXT = st.text(st.characters())  # lone surrogates, too
FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001 - those that spreadsheets of Japan take for the same
HARMLESS = {"L", "M", "N", "P", "S"}
"""Unicode's categories of characters that a terminal only shows: letters, marks, numbers, punctuation, symbols."""


def is_harmless(text: str) -> bool:
    return all(char == " " or unicodedata.category(char)[0] in HARMLESS for char in text)


@given(ANY_TEXT)
def test_what_is_shown_is_harmless_and_one_line(text: str) -> None:
    found = shown(text)
    assert is_harmless(found)
    assert len(found.splitlines()) <= 1
    found.encode()  # no lone surrogate
    assert shown(found) == found


@given(ANY_TEXT)
def test_printable_text_stays_as_it_is(text: str) -> None:
    if is_harmless(text):
        assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plant/boiler 1/°C/温度", "plant/boiler 1/°C/温度"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m\x85\x7f", r"\x9b31m\x85\x7f"),
        ("a\u202eb\u2066c\u2028\u2029", r"a\u202eb\u2066c\u2028\u2029"),
        ("\udc80\U000e0041", r"\udc80\U000e0041"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.recursive(st.text(st.characters(exclude_categories=["Cs"])), lambda inner: st.lists(inner, max_size=3)))
def test_json_is_harmless_and_means_the_same(value: object) -> None:
    out = io.StringIO()
    write_json(value, out)
    assert is_harmless(out.getvalue().replace("\n", ""))
    assert json.loads(out.getvalue()) == value


def test_json_of_the_standard_library_is_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a\x7f\x9b\x1b\u2028": ["\U0001f600\u202e"]}
    say_json(value)
    found = capsys.readouterr().out
    assert json.loads(found) == value
    assert is_harmless(found.rstrip("\n"))
    assert found.isascii()


def test_json_in_ascii_for_an_output_without_utf_8() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    write_json({"é": "😀"}, out)
    out.flush()
    assert json.loads(raw.getvalue()) == {"é": "😀"}


def test_harmless_json_keeps_characters_outside_the_first_plane() -> None:
    assert json.loads(harmless_json('"\U000e0041\U0001f600"')) == "\U000e0041\U0001f600"


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_table_has_a_line_for_each_row(rows: list[list[str]]) -> None:
    out = io.StringIO()
    write_table(["one\n", "two"], rows, out)
    lines = out.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    assert is_harmless("".join(lines))


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), min_size=1, max_size=4))
def test_csv_has_a_line_for_each_row_and_no_formula(rows: list[list[str]]) -> None:
    out = io.StringIO()
    write_csv(["one", "two"], rows, out)
    assert len(out.getvalue().split("\n")) == len(rows) + 2
    for row in csv.reader(io.StringIO(out.getvalue())):
        for cell in row:
            for part in (cell, *cell.split(";")):  # a spreadsheet of many countries splits there
                assert not part.strip().startswith(FORMULA) or part.strip(" +-").replace(".", "").isdigit()


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ('=HYPERLINK("https://evil.example")', '"\'=HYPERLINK(""https://evil.example"")"'),
        ("@SUM(1)", "'@SUM(1)"),
        ("-2+cmd|' /C calc'!A0", "'-2+cmd|' /C calc'!A0"),
        ("\t=1+1", r"\t=1+1"),
        ("\r=1+1", r"\r=1+1"),
        ("  =1+1", "'  =1+1"),
        ("plant;=1+1", "plant;'=1+1"),
        (-5.5, "-5.5"),
        (-3, "-3"),
        ("-5.5", "-5.5"),
        ("+4e-3", "+4e-3"),
        (None, ""),
        ("plant/1", "plant/1"),
    ],
)
def test_csv_guards_formulas_and_leaves_numbers(cell: object, written: str) -> None:
    out = io.StringIO()
    write_csv(["a", "b"], [[cell, 1]], out)
    assert out.getvalue() == f"a,b\n{written},1\n"


@pytest.mark.parametrize("text", ["-plant.1", "+x", "plant/1", "-5", "a-b", "'", "'a", "'=a", "'-5"])
def test_a_guard_is_taken_off_where_csv_is_read_back(text: str) -> None:
    out = io.StringIO()
    write_csv(["a"], [[text]], out)
    assert unguarded(out.getvalue().split("\n")[1]) == text
