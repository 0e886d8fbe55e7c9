"""Names of Kafka topics, and patterns of them that mean the same to everybody who matches them."""

from __future__ import annotations

import re
import warnings
from typing import Final

_NAME: Final = re.compile(r"[a-zA-Z0-9._\-]{1,249}")
_UNIT: Final = r"(?:[a-zA-Z0-9_.\-()|^$]|\\[.\-]|\[\^?[a-zA-Z0-9._\-]+\])"
_REPEAT: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
_PATTERN: Final = re.compile(rf"\^(?:{_UNIT}{_REPEAT}?)*")
"""What POSIX (librdkafka), RE2 (brokers, with group_protocol: consumer) and Python read alike. `\\d`, for one, is a
digit to the latter two, and to the first the letter d."""


def checked_topic(text: str) -> str:
    """A topic's name, or a pattern of names, which begins with `^`. ValueError if it is neither."""
    if text.startswith("^"):
        try:
            with warnings.catch_warnings(action="ignore"):  # of what is refused below
                re.compile(text)
        except re.error as error:
            raise ValueError(f"the pattern {text!r} is no regular expression: {error}") from None
        if not _PATTERN.fullmatch(text):
            raise ValueError(
                f"the pattern {text!r} holds what not every Kafka understands alike; use letters, digits, '.', '\\.', "
                "[0-9], [^a-z], ( ), |, *, +, ? and {2,3}"
            )
    elif not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(
            f"{text!r} is no name of a Kafka topic (letters, digits, '.', '_' and '-', up to 249); a pattern begins "
            "with '^' and is a regular expression"
        )
    return text


def subscription(topic: str) -> str:
    """What to subscribe to. Patterns mean whole names: librdkafka would take a part, brokers would not."""
    return f"^({topic[1:]})$" if topic.startswith("^") else topic


def topic_matcher(topics: list[str]) -> re.Pattern[str]:
    """Matches (in full) the names that these topics take."""
    return re.compile("|".join(f"(?:{topic[1:] if topic.startswith('^') else re.escape(topic)})" for topic in topics))
