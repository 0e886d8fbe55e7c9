"""Graphite's plain text: `path value timestamp`, also with tags: `path;tag=value value timestamp`.

The timestamp is in seconds; -1, N and no timestamp mean the time of arrival. NaN means that there is no value.
https://graphite.readthedocs.io/en/latest/feeding-carbon.html
"""

from __future__ import annotations

from math import isnan

from connector.formats.format import Documents, PayloadError
from connector.formats.text.characters import number_in
from connector.formats.text.lines import decode_lines, invalid_line
from connector.formats.text.series import series_of
from connector.records import Reason

_NOW = ("-1", "N", "n")


class GraphiteFormat:
    """The format of Graphite's lines: a line → `{"name": …, "tags": {…}, "series": …, "value": …, "time": …}`.

    The series is the path, with its tags behind it if there are any.
    """

    name = "graphite"

    def decode(self, payload: bytes) -> Documents:
        """The documents of the lines. Raises `PayloadError`."""
        return decode_lines(payload, _document)


def _document(line: str) -> dict[str, object] | None:
    if line.startswith("#"):
        return None
    parts = line.rsplit(None, 2)
    if len(parts) == 3 and number_in(parts[1]) is None and number_in(parts[2]) is not None:
        raise invalid_line("expected a path without spaces, a value and a timestamp")
    if not 2 <= len(parts) <= 3:
        raise invalid_line("expected a path, a value and a timestamp, with spaces between them")
    path, value = parts[0], number_in(parts[1])
    if value is None:
        raise invalid_line(f"the value {parts[1][:40]!r} is no number")
    if len(path.split(None, 1)) > 1:
        raise invalid_line("the path has spaces; expected a path, a value and a timestamp")
    name, *written = path.split(";")
    tags: dict[str, object] = {}
    for pair in written:
        key, sign, text = pair.partition("=")
        if not (key and sign and text):
            raise invalid_line(f"expected tag=value; found {pair[:40]!r}")
        if key in tags:
            raise PayloadError(Reason.DUPLICATE_KEY, f"the tag {key[:40]!r} stands twice in the line")
        tags[key] = text
    if not name:
        raise invalid_line("the path is empty")
    document: dict[str, object] = {
        "name": name,
        "tags": tags,
        "series": series_of(name, tags) if tags else name,
        "value": None if isnan(value) else value,
    }
    if len(parts) == 3 and parts[2] not in _NOW:
        time = number_in(parts[2])
        if time is None:
            raise PayloadError(Reason.TIME_UNREADABLE, f"the timestamp {parts[2][:40]!r} is no number")
        document["time"] = time
    return document
