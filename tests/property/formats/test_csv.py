"""CSV: whatever quotes stand open, a line is read three times at most, and rows without trouble are what they are."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.formats.format import BadDocument, Documents, PayloadError
from connector.formats.text import csv_rows
from connector.formats.text.csv_rows import CsvFormat
from tests.property.fuzz import FUZZ

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(['x","', '"x,1', '"a"b,c', "1,2", '"two\nlines",3', '"",""', '"']), st.text('a1",', max_size=6)
    ),
    max_size=40,
).map("\n".join)


class Counting(csv_rows._Lines):
    reads = 0

    def __next__(self) -> str:
        type(self).reads += 1
        return super().__next__()


@FUZZ
@given(TEXTS)
def test_a_line_is_read_three_times_at_most(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_Lines", Counting)
        Counting.reads = 0
        rows = csv_rows._Rows(text, ",", '"', None)
        for _ in rows:
            pass
    lines = text.count("\n") + 1
    # each row is looked at once more, for where it begins
    assert Counting.reads <= 5 * lines + 5


@FUZZ
@given(TEXTS)
def test_a_payload_without_a_bad_row_is_read_as_pythons_reader_does(text: str) -> None:
    payload = f"a,b\n{text}".encode()
    try:
        found = CsvFormat(columns=["a", "b"], header=False).decode(payload)
    except PayloadError:
        return
    assert isinstance(found, Documents)
    if any(isinstance(document, BadDocument) for document in found):
        return
    rows = [row for row in csv.reader(StringIO(payload.decode(), newline=""), strict=True) if row]
    assert len(found) == len(rows)


@pytest.mark.parametrize("line", ['x","', '"x,1', '1,2\n"x', 'a"b","c', '"a""b","'])
@pytest.mark.parametrize("end", ["", '"a"b,c\n'])
def test_the_work_grows_with_the_payload(line: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open quotes on every line: ten times the lines are ten times the reads, whatever stands at the end."""
    monkeypatch.setattr(csv_rows, "_Lines", Counting)
    reads = []
    for lines in (50, 500):
        Counting.reads = 0
        for _ in csv_rows._Rows((line + "\n") * lines + end, ",", '"', None):
            pass
        reads.append(Counting.reads)
    assert reads[1] <= 10 * reads[0] + 20
