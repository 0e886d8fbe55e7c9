"""Messages without any reading: by design, then they are filtered, or by mistake, then they are dead letters."""

from __future__ import annotations

from typing import Final

NO_VALUE_WORDS: Final = frozenset(
    {"", "-", "--", "---", "n/a", "na", "nan", "nil", "none", "null", "unavailable", "undefined", "unknown"}
)
"""Texts (in small letters) by which devices report that they have no value."""
_LONGEST_WORD: Final = 16


def is_no_value(payload: bytes) -> bool:
    """Whether the whole payload is a word for no value."""
    return len(payload) <= _LONGEST_WORD and payload.strip().lower().decode("utf-8", "replace") in NO_VALUE_WORDS


def nothing_because(document: object, *, drops_text: bool) -> str:
    """Returns the reason why a document has no number by design, a key of `FILTERED_BECAUSE`.

    The result is empty if the document should have a number. `drops_text` says that its rule has `text: drop`.
    """
    nulls = words = texts = 0
    left = [document]
    for value in left:  # the list grows in this loop
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif value is None:
            nulls += 1
        elif isinstance(value, str) and value.strip().lower() in NO_VALUE_WORDS:
            words += 1
        else:
            texts += 1
    if texts:
        return "text" if drops_text else ""
    return "unavailable" if words else "null"
