"""Any bytes are a tag list or an error with its place; and what a list says is read from every notation of a list."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.mapping.tags.read import Notation, read_tags
from connector.mapping.tags.tag import Tag, TagListError
from connector.mapping.tags.written import NewTag, with_rows
from tests.property.fuzz import FUZZ

CELL = st.text(st.characters(codec="cp1252", exclude_categories=("Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
KEY = CELL.filter(lambda text: text[0] not in "'\ufeff")
TEXT = KEY.map(lambda text: text.strip()).filter(bool)
ROWS = st.dictionaries(TEXT, st.tuples(TEXT, TEXT, st.integers(1, 99_999)), max_size=8)
PIECES = st.sampled_from(
    [
        *(
            b"key;name;scale;states;skip\n",
            b"key,unit\n",
            b"a;b;0,5;ON=1;x\n",
            b"a,b\n",
            b'"',
            b"\n",
            b"\r",
            b";",
            b"sep=;",
        ),
        *(
            b"# c\n",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\x00",
            b"\x81",
            b"1.234",
            b"a: {unit: b}\n",
            b"? ",
            b"- ",
            b"&x",
            b"*x",
        ),
        *(
            b"{",
            b"[" * 2000,
            b"!!binary ",
            b"%YAML 9.9\n",
            b"---\n",
            b"labels: {a: b}",
            b"states: {A: 1}",
            b"a:\n  ",
            b"\t",
        ),
    ]
)
CONTENT = st.one_of(
    st.binary(max_size=200), st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=12).map(b"".join)
)


@FUZZ
@given(CONTENT, st.booleans(), st.sampled_from([None, "utf-8", "utf-16", "latin-1"]))
def test_fuzz_any_bytes_are_a_list_or_an_error_with_the_file(content: bytes, yaml: bool, encoding: str | None) -> None:
    lines: list[str] = []
    tags: dict[str, Tag] = {}
    try:
        tags = dict(read_tags(content, "list", Notation(yaml, encoding)).tags)
    except TagListError as error:
        lines = error.lines
    assert not lines or lines[0].startswith("list:")
    assert all(key == tag.key and tag.line >= 1 for key, tag in tags.items())


@settings(deadline=None, max_examples=60)
@given(
    ROWS,
    st.sampled_from(";,\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(
    rows: dict[str, tuple[str, str, int]], separator: str, encoding: str, comma: bool, newline: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(["name", "key", "unit", "scale"])
    for key, (name, unit, scale) in rows.items():
        writer.writerow([name, key, unit, f"{scale / 100:.2f}".replace(".", "," if comma else ".")])
    said = encoding if encoding == "cp1252" else None  # some texts in cp1252 are UTF-8 by accident
    found = read_tags(out.getvalue().encode(encoding), "list", Notation(encoding=said))
    assert {key: (tag.name, tag.unit, tag.scale) for key, tag in found.tags.items()} == {
        key: (name, unit, scale / 100) for key, (name, unit, scale) in rows.items()
    }


LINE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(LINE, max_size=6, unique=True),
    st.lists(LINE, max_size=6, unique=True),
    st.sampled_from(";,\t|"),
    st.booleans(),
)
def test_keys_that_are_written_are_read_and_what_was_there_stays(
    first: list[str], then: list[str], separator: str, yaml: bool
) -> None:
    notation = Notation(yaml)

    def rows(keys: list[str]) -> list[NewTag]:
        return [NewTag(key, key, "1", key, key) for key in keys]

    before = with_rows(None, "list", notation, rows(first), separator)
    after = with_rows(before, "list", notation, rows([key for key in then if key not in first]), separator)
    assert after.startswith(before)
    assert set(read_tags(after, "list", notation).tags) == {*first, *then}
