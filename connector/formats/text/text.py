"""A bare number or text: the document is the number if the payload is one, else the text."""

from __future__ import annotations

from connector.formats.format import DecodingNotes, PayloadError
from connector.formats.text.characters import decode_text, number_in
from connector.records import Reason


class TextFormat:
    """The format of one value a payload. Blanks and NULs around the value are dropped.

    `21.5 °C` stays text: the mapping reads units.
    """

    name = "text"

    def __init__(self, *, decimal: str = ".", encoding: str = "utf-8") -> None:
        self._decimal = decimal
        self._encoding = encoding
        self.notes = DecodingNotes()

    def decode(self, payload: bytes) -> object:
        """The number or the text of the payload. Raises `PayloadError`."""
        text = decode_text(payload, self._encoding, self.notes.cleared().tolerated).strip(" \t\r\n\0")
        if not text:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        number = number_in(text, self._decimal)
        return text if number is None else number
