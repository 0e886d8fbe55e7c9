"""CSV and similar formats: rows of cells → one document a row, an object of its columns.

A cell that is a number becomes a number, an empty cell becomes null, any other cell becomes text. Whole numbers that
begin with a zero are identifiers and stay text. A bad row does not affect other rows. This includes a row with a quote
that is never closed: reading continues at the line after the one in which the row begins. No line is read more than
three times, whatever the quotes.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final

from connector.formats.documents import DocumentCollector
from connector.formats.format import DecodingNotes, Documents, PayloadError
from connector.formats.text.characters import decode_text, number_in
from connector.records import Reason

_IDENTIFIER: Final = re.compile(r"0\d+", re.ASCII)


class CsvFormat:
    """The format of rows of cells between delimiters: one document a row."""

    name = "csv"

    def __init__(
        self,
        *,
        delimiter: str = ",",
        header: bool = True,
        columns: Sequence[str | None] | None = None,
        skip_lines: int = 0,
        decimal: str = ".",
        quote: str | None = '"',
        comment: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        """`columns` are the names of the columns, from the left; None leaves a column out.

        `header` says that the first row has names. They count if there are no `columns`.
        """
        self._delimiter = delimiter
        self._header = header
        self._columns = columns
        self._skip_lines = skip_lines
        self._decimal = decimal
        self._quote = quote
        self._comment = comment
        self._encoding = encoding
        self.notes = DecodingNotes()

    def decode(self, payload: bytes) -> Documents:
        """The documents of the rows. Raises `PayloadError`."""
        notes = self.notes.cleared()
        rows = _Rows(decode_text(payload, self._encoding, notes.tolerated), self._delimiter, self._quote, self._comment)
        rows.skip(self._skip_lines)
        columns = self._names(rows)
        gathered = DocumentCollector()
        for cells in rows:
            try:
                document = cells if isinstance(cells, PayloadError) else self._document(columns, cells)
            except _BadRowError as error:
                document = error
            if isinstance(document, PayloadError):
                gathered.add_bad(f"line {rows.line}", document, rows.beginning)
            else:
                gathered.add(document)
        return gathered.result()

    def _names(self, rows: _Rows) -> Sequence[str | None]:
        """The names of the columns; reads the header if there is one. Raises `PayloadError` if it names no columns."""
        if not self._header:
            return self._columns or ()
        first = next(rows, None)
        if first is None:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        if isinstance(first, PayloadError):
            raise PayloadError(first.reason, f"line {rows.line}, which should name the columns: {first}")
        if self._columns is not None:
            return self._columns
        names = [cell.strip() or None for cell in first]
        known = [name for name in names if name is not None]
        if len(set(known)) < len(known) or not known:
            wrong = f"calls two columns {Counter(known).most_common(1)[0][0]!r}" if known else "names no column"
            raise PayloadError(
                Reason.INVALID_ROW, f"line {rows.line} {wrong}; name them with `columns` and `header: true`"
            )
        return names

    def _document(self, columns: Sequence[str | None], cells: list[str]) -> dict[str, object]:
        if len(cells) < len(columns):
            raise _BadRowError(f"{len(cells)} cells instead of {len(columns)}; is `delimiter` right?")
        for extra, cell in enumerate(cells[len(columns) :], len(columns) + 1):
            if cell.strip():
                raise _BadRowError(f"a value in column {extra}, which has no name; {len(columns)} have one")
        document: dict[str, object] = {}
        for column, (name, cell) in enumerate(zip(columns, cells, strict=False), 1):
            if name is not None:
                document[name] = self._value(cell)
            elif self._columns is None and cell.strip():
                raise _BadRowError(f"a value in column {column}, which the header gives no name")
        return document

    def _value(self, cell: str) -> object:
        text = cell.strip()
        if not text:
            return None
        if _IDENTIFIER.fullmatch(text):
            return text
        number = number_in(text, self._decimal)
        return text if number is None else number


class _BadRowError(PayloadError):
    def __init__(self, message: str) -> None:
        super().__init__(Reason.INVALID_ROW, message)


class _Lines(Iterator[str]):
    """The lines of a text. Reading can go back to an earlier place."""

    def __init__(self, text: str) -> None:
        self._stream = StringIO(text, newline="")
        self.number = 1
        """The number of the next line, from 1."""
        self.row = 0
        """The number of the line in which the present row begins; 0 while no row is being read."""
        self._lost_to = 0
        """The number of the last line that a failed row has reached."""
        self._lost_why = ""

    def __next__(self) -> str:
        if 0 < self.row < self.number <= self._lost_to:
            raise csv.Error(self._lost_why)
        line = self._stream.readline()
        if not line:
            raise StopIteration
        self.number += 1
        return line

    def lost(self, why: str) -> None:
        """Note that the present row failed at this place, after quoted line breaks.

        Any other row that goes on over a line break before this place fails, too: a quote that is open at the beginning
        of a line ends at the same place, in whatever row it was opened. (Two rows that are inside quotes at the same
        place have the same opening quote, so their cells have the same length, too.)
        """
        if self.number - 1 > self._lost_to:
            self._lost_to, self._lost_why = self.number - 1, why

    def here(self) -> tuple[int, int]:
        """The present place, for `back`."""
        return self._stream.tell(), self.number

    def back(self, place: tuple[int, int]) -> None:
        """Continue from this place, even after the end of the text."""
        self._stream.seek(place[0])
        self.number = place[1]


class _Rows(Iterator["list[str] | _BadRowError"]):
    """The rows of a text: a list of cells for each row, or the error of a bad row."""

    def __init__(self, text: str, delimiter: str, quote: str | None, comment: str | None) -> None:
        self._lines = _Lines(text)
        self._comment = comment
        self.line = 0
        """The number of the line in which the last row begins, from 1."""
        self.beginning = ""
        """The first characters of the last row."""
        self._reader = csv.reader(
            self._lines,
            delimiter=delimiter,
            quotechar=quote,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            skipinitialspace=not delimiter.isspace(),
            strict=True,
        )

    def skip(self, lines: int) -> None:
        """Leave out this number of lines."""
        for _ in range(lines):
            next(self._lines, None)

    def __next__(self) -> list[str] | _BadRowError:
        start = self._lines.here()
        line = next(self._lines)
        while not line.strip() or (self._comment and line.startswith(self._comment)):
            start = self._lines.here()
            line = next(self._lines)
        self.line = start[1]
        self.beginning = line[:200].rstrip("\r\n")
        behind = self._lines.here()
        self._lines.back(start)
        self._lines.row = self.line
        try:
            return next(self._reader)
        except csv.Error as error:
            self._lines.lost(str(error))
            self._lines.back(behind)  # the end of the row is unknown: only its first line is certainly bad
            return _BadRowError(f"not a row: {error}")
        finally:
            self._lines.row = 0
