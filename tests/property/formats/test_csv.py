"""Rows of CSV, whatever the quotes: what is found with three looks at a line is what is found with any number."""

from __future__ import annotations

import csv
from io import StringIO

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats.text.csv_rows import _Rows


def rows_one_by_one(text: str) -> list[tuple[int, object]]:
    """The rows of a text, each looked for from its own line to the end, however long that takes."""
    lines = StringIO(text, newline="").readlines()
    found: list[tuple[int, object]] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        reader = csv.reader(lines[at:], skipinitialspace=True, strict=True)
        try:
            found.append((at + 1, next(reader)))
            at += reader.line_num
        except csv.Error as error:
            found.append((at + 1, f"not a row: {error}"))
            at += 1
    return found


@settings(max_examples=1000, deadline=None)
@given(text=st.text(st.sampled_from('"",,x \n\n\r'), max_size=60), longest=st.integers(1, 30))
@example(text='x","\nx","\n"y"y\nx', longest=10)
@example(text='x","\nx","\nyyyyyyy\nz","\n"', longest=5)
def test_rows_are_the_same_as_if_each_were_looked_for_by_itself(text: str, longest: int) -> None:
    before = csv.field_size_limit(longest)
    try:
        rows = _Rows(text, ",", '"', None)
        found = [(rows.line, row if isinstance(row, list) else str(row)) for row in rows]
        assert found == rows_one_by_one(text)
    finally:
        csv.field_size_limit(before)
