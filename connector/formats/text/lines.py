"""The lines of a payload → one document a line; a line that cannot be read does not affect other lines."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from connector.formats.documents import DocumentCollector
from connector.formats.format import Documents, PayloadError
from connector.formats.text.characters import decode_text
from connector.records import Reason


def decode_lines(payload: bytes, read: Callable[[str], object]) -> Documents:
    """The documents of the lines, without blank lines; `read` returns None for a line without a document.

    Raises `PayloadError`, as `read` does for its line.
    """
    gathered = DocumentCollector()
    for number, line in enumerate(StringIO(decode_text(payload).strip("\0")), 1):
        text = line.strip()
        if not text:
            continue
        try:
            document = read(text)
            if document is not None:
                gathered.add(document)
        except PayloadError as error:
            gathered.add_bad(f"line {number}", error, text[:200])
    return gathered.result()


def invalid_line(what: str) -> PayloadError:
    """The error of a line that is not in its format; `what` describes the mistake."""
    return PayloadError(Reason.INVALID_LINE, what)
