r"""The text formats of Prometheus and OpenMetrics: `name{label="value",…} number timestamp`.

A line is a sample of one series, and the name with all labels tells series apart; a histogram is the series of its
buckets, its sum and its count. `# TYPE`, `# UNIT` and `# HELP` describe the lines behind them. Exemplars are left out.
Timestamps are milliseconds in Prometheus' format and seconds in OpenMetrics, told apart by their size. NaN means that
there is no value. In label values, `\\`, `\"` and `\n` are escapes.
https://prometheus.io/docs/instrumenting/exposition_formats/ https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import re
from math import isnan
from typing import Final

from connector.formats.format import Documents, PayloadError
from connector.formats.text.characters import number_in
from connector.formats.text.lines import decode_lines, invalid_line
from connector.formats.text.series import series_of
from connector.records import Reason

# No pattern backtracks: each character of a text is read once.
_NAME: Final = re.compile(r"[^\W\d][\w:.]*+|:[\w:.]*+", re.ASCII)
_LABEL: Final = re.compile(r'\s*+(?:([A-Za-z_][\w.]*+)\s*+=\s*+)?"((?:\\.|[^"\\])*+)"\s*+', re.ASCII)
_QUOTED_LABEL: Final = re.compile(r'\s*+"((?:\\.|[^"\\])*+)"\s*+=', re.ASCII)
_COMMA: Final = re.compile(r",\s*+")
_REST: Final = re.compile(r"\s*+(\S++)(?:[ \t]++([+-]?[\d.eE+-]++))?[ \t]*+(?:#.*+)?", re.ASCII)
_ABOUT: Final = re.compile(r"#[ \t]*+(TYPE|UNIT|HELP)[ \t]++(\S++)[ \t]*+(.*+)")
_ESCAPE: Final = re.compile(r"\\(.)")
_SERIES_OF_A_FAMILY: Final = ("_total", "_bucket", "_count", "_sum", "_created", "_info")
_MOST_FAMILIES: Final = 10_000


class PrometheusFormat:
    """The format of Prometheus' text: a line → `{"name": …, "labels": {…}, "series": …, "value": …, "time": …}`.

    The document also has `type`, `unit` and `help` where the payload says them.
    """

    name = "prometheus"

    def decode(self, payload: bytes) -> Documents:
        """The documents of the lines. Raises `PayloadError`."""
        return decode_lines(payload, _Lines().read)


class _Lines:
    """Reads the lines of one payload: a comment may describe the lines behind it."""

    def __init__(self) -> None:
        self._families: dict[str, dict[str, str]] = {}

    def read(self, line: str) -> dict[str, object] | None:
        if line.startswith("#"):
            about = _ABOUT.fullmatch(line)
            if about and about[3] and (about[2] in self._families or len(self._families) < _MOST_FAMILIES):
                self._families.setdefault(about[2], {})[about[1].lower()] = about[3]
            return None
        found = _NAME.match(line)
        name, at = (found[0], found.end()) if found else ("", 0)
        labels: dict[str, object] = {}
        if line.startswith("{", at):
            quoted, at = _labels(line, at + 1, labels)
            name = name or quoted
        if not name:
            raise invalid_line("the line begins with no name of a metric")
        rest = _REST.fullmatch(line, at)
        value = None if rest is None else number_in(rest[1])
        if rest is None or value is None:
            raise invalid_line(f"after the name and the labels, a number is expected; found {line[at : at + 30]!r}")
        document: dict[str, object] = {
            "name": name,
            "labels": labels,
            "series": series_of(name, labels),
            "value": None if isnan(value) else value,
            **self._about(name),
        }
        if rest[2] is not None:
            time = number_in(rest[2])
            if time is None:
                raise PayloadError(Reason.TIME_UNREADABLE, f"the timestamp {rest[2][:40]!r} is no number")
            document["time"] = time
        return document

    def _about(self, name: str) -> dict[str, str]:
        found = self._families.get(name)
        if found is None and name.endswith(_SERIES_OF_A_FAMILY):
            found = self._families.get(name.rpartition("_")[0])
        return found or {}


def _labels(line: str, at: int, labels: dict[str, object]) -> tuple[str, int]:
    """Read the labels up to the closing brace; returns the quoted name of the metric, or "", and the place behind."""
    name = ""
    while not line.startswith("}", at):
        quoted = _QUOTED_LABEL.match(line, at)
        found = _LABEL.match(line, at if quoted is None else quoted.end())
        if found is None or (quoted is not None and found[1] is not None):
            raise invalid_line(f'column {at + 1}: expected label="value"; found {line[at : at + 30]!r}')
        key = found[1] if quoted is None else _unescaped(quoted[1])
        if key is None:
            name, known = _unescaped(found[2]), bool(name)
        else:
            known = key in labels
            labels[key] = _unescaped(found[2])
        if known:
            raise PayloadError(Reason.DUPLICATE_KEY, f"the label {(key or name)[:40]!r} stands twice in the line")
        at = found.end()
        comma = _COMMA.match(line, at)
        if comma is not None:
            at = comma.end()
        elif not line.startswith("}", at):
            raise invalid_line(f"column {at + 1}: expected a comma or a closing brace; found {line[at : at + 30]!r}")
    return name, at + 1


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text) if "\\" in text else text
