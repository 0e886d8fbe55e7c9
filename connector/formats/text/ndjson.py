"""Newline-delimited JSON: one document a line. A line that is no JSON does not affect other lines."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from connector.formats.documents import DocumentCollector
from connector.formats.format import DecodingNotes, PayloadError
from connector.formats.text import json_payload
from connector.formats.text.characters import decode_text

_NOT_PLAIN: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0")


class NdjsonFormat:
    """The format of JSON lines: one document a line. Empty lines are ignored."""

    name = "ndjson"

    def __init__(self, *, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self.notes = DecodingNotes()

    def decode(self, payload: bytes) -> object:
        """The documents of the lines. Raises `PayloadError`."""
        tolerated = self.notes.cleared().tolerated
        if self._encoding != "utf-8" or payload.startswith(_NOT_PLAIN) or b"\0" in payload[-8:]:
            payload = decode_text(payload, self._encoding, tolerated).encode()
        gathered = DocumentCollector()
        for number, line in enumerate(BytesIO(payload), 1):
            if line.isspace():
                continue
            try:
                gathered.add(json_payload.decode(line, tolerated))
            except PayloadError as error:
                gathered.add_bad(f"line {number}", error, line[:400].decode(errors="backslashreplace"))
        return gathered.result()
