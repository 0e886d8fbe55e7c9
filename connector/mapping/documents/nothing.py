"""Messages without any reading: by design, which are left out and counted, or by mistake, which are dead letters."""

from __future__ import annotations

from typing import Final

NO_VALUE_WORDS: Final = frozenset(
    {"", "-", "--", "---", "n/a", "na", "nan", "nil", "none", "null", "unavailable", "undefined", "unknown"}
)
"""Text (in small letters) by which devices say that they have no value."""
_LONGEST_WORD: Final = 16


def is_no_value(payload: bytes) -> bool:
    """Whether a payload is nothing but a word for no value."""
    return len(payload) <= _LONGEST_WORD and payload.strip().lower().decode("utf-8", "replace") in NO_VALUE_WORDS


def nothing_because(document: object, *, drops_text: bool) -> str:
    """Why a document without a number has none by design, as a word of `FILTERED_BECAUSE`; empty if it should have
    one. `drops_text`: its rule says `text: drop`."""
    nulls = words = texts = 0
    left = [document]
    for value in left:  # which grows
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
