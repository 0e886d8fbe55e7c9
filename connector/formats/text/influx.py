r"""InfluxDB line protocol: `measurement,tag=value field=value,field=value timestamp`.

Commas, spaces, equals signs and backslashes in names and tag values are escaped with a backslash. A backslash before
any other character is a plain backslash. Text fields stand in double quotes; only quotes and backslashes are escaped in
them. A text field may contain line breaks, as in InfluxDB itself. A line that cannot be read does not affect other
lines.
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from connector.formats.documents import DocumentCollector
from connector.formats.format import Documents, PayloadError
from connector.formats.text.characters import decode_text
from connector.formats.text.series import series_of
from connector.records import Reason

# No pattern backtracks: each character of a text is read once.
_MEASUREMENT: Final = re.compile(r"(?:\\[^\n]|[^\\, \n])++")
_NAME: Final = re.compile(r"(?:\\[^\n]|[^\\,= \n])++")
_TEXT: Final = re.compile(r'"((?:\\.|[^"\\])*+)"', re.DOTALL)
_PLAIN: Final = re.compile(r"[^, \r\n]++")
_SPACES: Final = re.compile(r"[ \t]*+")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_TIME: Final = re.compile(r"-?\d{1,20}+(?![^ \t\r\n])", re.ASCII)
_END: Final = re.compile(r"[ \t\r]*+(?:\n|\Z)")

_ESCAPED: Final = re.compile(r"\\([,= \\])")
_ESCAPED_IN_TEXT: Final = re.compile(r'\\(["\\])')
_INTEGER: Final = re.compile(r"[+-]?\d{1,20}[iu]", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(?:\d{1,400}+(?:\.\d{0,400}+)?|\.\d{1,400}+)(?:[eE][+-]?\d{1,9})?", re.ASCII)
_NON_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_BOOLEANS: Final = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_RANGES: Final = {"i": (-(2**63), 2**63 - 1), "u": (0, 2**64 - 1)}
_MICROSECONDS: Final = {"ns": (1, 1000), "us": (1, 1), "ms": (1000, 1), "s": (1_000_000, 1)}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class InfluxFormat:
    """The format of line protocol: a line → `{"measurement": …, "tags": {…}, "fields": {…}, "series": …, "time": …}`.

    The series is a text of the measurement with all tags, such as `weather/id:7/station:oslo`: different tags give
    different texts.
    """

    name = "influx"

    def __init__(self, *, precision: str = "ns") -> None:
        """`precision` is the unit of the timestamps: ns, us, ms or s."""
        self._times, self._parts = _MICROSECONDS[precision]

    def decode(self, payload: bytes) -> Documents:
        """The documents of the lines. Raises `PayloadError`.

        Times are exact to the microsecond. The document of a line without a timestamp has no `time`.
        """
        text = decode_text(payload)
        gathered = DocumentCollector()
        number, counted_to, position = 1, 0, 0
        while True:
            position = _after(_BLANK, text, position)
            if position == len(text):
                return gathered.result()
            number += text.count("\n", counted_to, position)
            counted_to = position
            line = _Line(text, position)
            try:
                gathered.add(self._document(line))
                position = line.position
            except _BadLineError as error:
                end = text.find("\n", position)
                end = len(text) if end < 0 else end
                gathered.add_bad(f"line {number}", error, text[position : min(end, position + 200)])
                position = end

    def _document(self, line: _Line) -> dict[str, object]:
        measurement = line.take(_MEASUREMENT, "a measurement")
        tags: dict[str, object] = {}
        while line.skip(","):
            line.pair(tags, "tag")
        if not line.spaces():
            raise line.error("expected a space and fields")
        fields: dict[str, object] = {}
        line.pair(fields, "field")
        while line.skip(","):
            line.pair(fields, "field")
        name = _unescaped(measurement)
        document: dict[str, object] = {
            "measurement": name,
            "tags": tags,
            "fields": fields,
            "series": series_of(name, tags),
        }
        if line.spaces() and not line.is_at_end():
            document["time"] = self._time(line)
        line.end()
        return document

    def _time(self, line: _Line) -> datetime:
        ticks = int(line.take(_TIME, "a timestamp, which is a whole number,"))
        try:
            return _EPOCH + timedelta(microseconds=ticks * self._times // self._parts)
        except OverflowError:
            raise _BadLineError(
                Reason.TIME_OUT_OF_RANGE, f"the timestamp {ticks} is outside the calendar; is `precision` right?"
            ) from None


class _BadLineError(PayloadError):
    pass


class _Line:
    """Parses one line: every method reads at `position`, and moves it behind the text that was read."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        self.position = start

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        """The text that matches the pattern here. Raises _BadLineError; `what` names the expected text."""
        found = pattern.match(self._text, self.position)
        if found is None:
            raise self.error(f"expected {what}")
        self.position = found.end()
        return found[0]

    def skip(self, character: str) -> bool:
        """Read this character if it comes next; returns whether it did."""
        if self._text.startswith(character, self.position):
            self.position += 1
            return True
        return False

    def spaces(self) -> bool:
        """Read blanks; returns whether there were any."""
        start = self.position
        self.position = _after(_SPACES, self._text, start)
        return self.position > start

    def is_at_end(self) -> bool:
        """Whether only blanks are left in the line."""
        return _END.match(self._text, self.position) is not None

    def end(self) -> None:
        """Read the end of the line. Raises _BadLineError if more text is left."""
        self.take(_END, "the end of the line")

    def pair(self, pairs: dict[str, object], kind: str) -> None:
        """Read `name=value` and add the pair; `kind` is `tag` or `field`. Raises _BadLineError."""
        name = _unescaped(self.take(_NAME, f"the name of a {kind}"))
        if not self.skip("="):
            raise self.error(f"expected = behind the name of the {kind} {name[:40]!r}")
        if name in pairs:
            raise _BadLineError(Reason.DUPLICATE_KEY, f"the {kind} {name[:40]!r} stands twice in the line")
        pairs[name] = _unescaped(self.take(_NAME, "a tag's value")) if kind == "tag" else self._field()

    def _field(self) -> object:
        if self._text.startswith('"', self.position):
            text = self.take(_TEXT, "the closing quote of a text")
            return _ESCAPED_IN_TEXT.sub(r"\1", text[1:-1])
        start = self.position
        text = self.take(_PLAIN, "a field's value")
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _FLOAT.fullmatch(text) or _NON_FINITE.fullmatch(text):
            return float(text)
        if _INTEGER.fullmatch(text):
            value, (low, high) = int(text[:-1]), _RANGES[text[-1]]
            if low <= value <= high:
                return value
        self.position = start
        raise self.error('expected a number, a number of 64 bits with i or u behind it, a boolean, or a text in ""')

    def error(self, what: str) -> _BadLineError:
        """The error at this place, with its column; `what` describes the error."""
        end = self._text.find("\n", self.position, self.position + 30)
        found = self._text[self.position : self.position + 30 if end < 0 else end]
        column = self.position - max(self._text.rfind("\n", self._start, self.position), self._start - 1)
        return _BadLineError(
            Reason.INVALID_LINE_PROTOCOL,
            f"column {column}: {what}; found {repr(found) if found else 'the end of the line'}",
        )


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
