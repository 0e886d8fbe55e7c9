"""A tag list as people and spreadsheet programs save it: read as it was meant, or refused with the place."""

from __future__ import annotations

import time

import pytest

from connector.mapping.tags.read import Notation, read_tags
from connector.mapping.tags.tag import Tag, TagListError

SHEET = [
    "key;name;unit;scale;label:site;labels.line;skip;states;sample interval;# remark",
    "p1/öl;Öltank;°C;0,1;Tønsberg;A;;;10s;von Hand",
    'p1/valve;"Ventil; ""groß""";;;Tønsberg;;nein;OPEN=1, CLOSED=0;;',
    "",
    "# from here on",
    "p1/old;;;;;;WAHR;;;",
]
TAGS = {
    "p1/öl": Tag(
        "p1/öl",
        2,
        name="Öltank",
        unit="°C",
        scale=0.1,
        sample_interval="PT10S",
        labels=(("line", "A"), ("site", "Tønsberg")),
    ),
    "p1/valve": Tag(
        "p1/valve",
        3,
        name='Ventil; "groß"',
        value_type="enum",
        states={"OPEN": 1, "CLOSED": 0},
        labels=(("site", "Tønsberg"),),
    ),
    "p1/old": Tag("p1/old", 6, skip=True),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_the_usual_encodings_and_line_ends_are_told_apart(encoding: str, newline: str) -> None:
    found = read_tags(newline.join(SHEET).encode(encoding), "tags.csv")
    assert found.tags == TAGS
    assert ("cp1252" in " ".join(found.warnings)) == (encoding == "cp1252")


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep=S\n", "# made by hand\n"])
def test_the_usual_separators_are_told_apart(separator: str, first: str) -> None:
    text = first.replace("S", separator) + f'unit{separator}Key\nbar{separator}a/b\n"m{separator}s"{separator}c\n'
    tags = read_tags(text.encode(), "tags.csv").tags
    assert [(tag.key, tag.unit) for tag in tags.values()] == [("a/b", "bar"), ("c", f"m{separator}s")]


def test_a_list_of_one_column_has_no_separator() -> None:
    assert list(read_tags(b"key\na;b\nc,d\n", "tags.csv").tags) == ["a;b", "c,d"]


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (["0,5", "1,234", "12"], [0.5, 1.234, 12]),
        (["0.5", "1.234", "1e-3"], [0.5, 1.234, 0.001]),
        (["1.234", "5"], [1.234, 5]),
        (["1.234,5", "\N{MINUS SIGN}1 234,5", "1'234"], [1234.5, -1234.5, 1234]),
        (["1,234.5", "1.5"], [1234.5, 1.5]),
    ],
)
def test_the_decimal_sign_is_told_apart_by_the_whole_list(numbers: list[str], found: list[float]) -> None:
    rows = "".join(f"k{n};{number}\n" for n, number in enumerate(numbers))
    assert [tag.scale for tag in read_tags(f"key;scale\n{rows}".encode(), "t").tags.values()] == found


def test_a_decimal_sign_that_is_said_counts() -> None:
    content = b"key;scale\na;1,234\nb;2.345\n"
    by = {
        comma: [tag.scale for tag in read_tags(content, "t", Notation(decimal_comma=comma)).tags.values()]
        for comma in (True, False)
    }
    assert by == {True: [1.234, 2345], False: [1234, 2.345]}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "t.csv:1: no column is called key"),
        (b"name;unit\na;b\n", "t.csv:1: no column is called key"),
        (b"sep=;\n", "t.csv:1: has no names of columns"),
        (b"key;unit\na;b\nc;d\na;e\n", "t.csv:4: column A (key): 'a' is on line 2, too"),
        (b"key;unit\n;b\n", "t.csv:2: column A (key): is empty"),
        (b"key;unit;unit\n", "t.csv:1: column C: 'unit' is there twice"),
        (b"key;units\n", "t.csv:1: column B: 'units' is no attribute; did you mean unit?"),
        (b"key;label:a b\n", "t.csv:1: column B: 'a b' is no key of a label"),
        (b"key;name\na;b;c\n", "t.csv:2: column C: has a text, but the first line names only 2 columns"),
        (b'key;name\na;"b\nc;d\n', "t.csv:2: the quotes are wrong"),
        (b'key;name\na;"b"c\n', "t.csv:2: the quotes are wrong"),
        (b"key;scale\na;1,234\n", "t.csv:2: column B (scale): '1,234' may be 1.234 or 1234"),
        (b"key;scale\na;0,5\nb;1.234\n", "t.csv:3: column B (scale): '1.234' may be 1,234 or 1234, in a list with"),
        (b"key;scale\na;0,5\nb;0.5\n", "t.csv:2: column B (scale): the list has decimal commas ('0,5' on line 2)"),
        (b"key;scale\na;abc\n", "t.csv:2: column B (scale): 'abc' is no number"),
        (b"key;scale\na;0\n", "t.csv:2: column B (scale): 0 makes every value the same"),
        (b"key;scale\na;1e999\n", "t.csv:2: column B (scale): '1e999' is too large"),
        (b"key;scale;states\na;2;ON=1\n", "t.csv:2: column B (scale): is not for a signal with states"),
        (b"key;type\na;text\n", "t.csv:2: column B (type): 'text' is no type"),
        (b"key;states\na;ON\n", "t.csv:2: column B (states): 'ON' is no state"),
        (b"key;states\na;1=2\n", "t.csv:2: column B (states): '1=2' is no state"),
        (b"key;states\na;ON=1,ON=2\n", "t.csv:2: column B (states): 'ON' has two numbers"),
        (b"key;skip\na;maybe\n", "t.csv:2: column B (skip): 'maybe' is neither yes nor no"),
        (b"key;gap_detection\na;10\n", "t.csv:2: column B (gap_detection): '10' is no duration"),
        (b"PK\x03\x04rest", "t.csv: is the file of a spreadsheet program"),
        (b"key;name\na;b\x00\n", "t.csv:2: has a NUL byte"),
        (b"key;name\na;\x81\n", "t.csv:2: is no text in cp1252"),
    ],
)
def test_a_mistake_has_its_place_and_nothing_of_the_list_is_used(content: bytes, error: str) -> None:
    with pytest.raises(TagListError) as raised:
        read_tags(content, "t.csv")
    assert raised.value.lines[0].startswith(error)


def test_all_mistakes_are_named_together() -> None:
    with pytest.raises(TagListError) as raised:
        read_tags(b"key;skip\n" + b"a;maybe\n" * 30, "t.csv")
    assert (len(raised.value.lines), raised.value.lines[-1]) == (21, "10 more mistakes")


def test_a_mistake_in_a_long_cell_is_said_in_short() -> None:
    with pytest.raises(TagListError) as raised:
        read_tags(f"key;scale\na;{'1' * 9_000},5\nb;1.5\n".encode(), "t.csv")
    assert len(str(raised.value)) < 2_500


def test_many_columns_are_read_in_time_that_grows_with_their_number() -> None:
    def seconds(columns: int) -> float:
        started = time.process_time()
        read_tags(("key" + "".join(f";label:a{n}" for n in range(columns)) + "\n").encode(), "t.csv")
        return time.process_time() - started

    assert seconds(40_000) < 8 * seconds(10_000) + 0.1


def test_remarks_are_not_read_and_that_is_said() -> None:
    warnings = read_tags(b"key;remark;# checked\na;b;c\n", "t.csv").warnings
    assert warnings == ("t.csv: not read, since they are no attributes: 'remark'; a remark has a # before its name",)


YAML = """
p1/oil:
  name: Öltank
  unit: °C
  scale: 0.1
  sample_interval: 10s
  labels: {site: Tønsberg, line: A}
p1/valve: {states: {OPEN: 1, CLOSED: 0}}
p1/old: {skip: true}
p1/empty:
"""


def test_a_list_in_yaml_says_the_same() -> None:
    tags = read_tags(YAML.encode(), "tags.yaml", Notation(yaml=True)).tags
    assert list(tags) == ["p1/oil", "p1/valve", "p1/old", "p1/empty"]
    oil, valve, old, empty = tags.values()
    assert (oil.name, oil.unit, oil.scale, oil.sample_interval) == ("Öltank", "°C", 0.1, "PT10S")
    assert oil.labels == (("line", "A"), ("site", "Tønsberg"))
    assert (valve.value_type, valve.states) == ("enum", {"OPEN": 1, "CLOSED": 0})
    assert old.skip
    assert empty == Tag("p1/empty", 10)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: {unit: b}\nc:\n\na: {unit: d}\n", "t.yaml:4: key: 'a' is on line 1, too"),
        ("- a\n", "t.yaml:1: a tag list in YAML has a section for each key"),
        ("a: text\n", "t.yaml:1: must be a section"),
        ("a:\n  units: b\n", "t.yaml:1: 'a': 'units' is no attribute; did you mean unit?"),
        ("a: {unit: b, unit: c}\n", "t.yaml:1: unit is there twice"),
        ("a: {unit: [b]}\n", "t.yaml:1: unit must be one text or number"),
        ("a: &x {unit: b}\nc: *x\n", "t.yaml:2: must be a section"),
        ("a: {unit: 'b}\n", "t.yaml:2: not valid YAML"),
        ("? [a]\n: b\n", "t.yaml:1: a key must be plain text"),
        ("a: {}\n---\nb: {}\n", "t.yaml:3: a tag list has one document"),
    ],
)
def test_a_mistake_in_yaml_has_its_place(text: str, error: str) -> None:
    with pytest.raises(TagListError) as raised:
        read_tags(text.encode(), "t.yaml", Notation(yaml=True))
    assert raised.value.lines[0].startswith(error)
