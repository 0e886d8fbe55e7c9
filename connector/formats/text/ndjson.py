"""Newline-delimited JSON: one document a line. A line that is no JSON does not affect other lines."""

from __future__ import annotations

from io import BytesIO

from connector.formats.documents import DocumentCollector
from connector.formats.format import PayloadError
from connector.formats.text import json_payload


class NdjsonFormat:
    """The format of JSON lines: one document a line. Empty lines are ignored."""

    name = "ndjson"

    def decode(self, payload: bytes) -> object:
        """The documents of the lines. Raises `PayloadError`."""
        gathered = DocumentCollector()
        for number, line in enumerate(BytesIO(payload), 1):
            if line.isspace():
                continue
            try:
                gathered.add(json_payload.decode(line))
            except PayloadError as error:
                gathered.add_bad(f"line {number}", error, line[:400].decode(errors="backslashreplace"))
        return gathered.result()
