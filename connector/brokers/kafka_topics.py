"""Names of Kafka topics, and patterns of names that Python, librdkafka and brokers match alike."""

from __future__ import annotations

import re
import warnings
from typing import Final

_NAME: Final = re.compile(r"[a-zA-Z0-9._\-]{1,249}")
_UNIT: Final = r"(?:[a-zA-Z0-9_.\-()|^$]|\\[.\-]|\[\^?[a-zA-Z0-9._\-]+\])"
_REPEAT: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
_PATTERN: Final = re.compile(rf"\^(?:{_UNIT}{_REPEAT}?)*")
"""The expressions that POSIX (librdkafka), RE2 (brokers, with group_protocol: consumer) and Python read alike.

An expression that they read differently is `\\d`: a digit for RE2 and Python, the letter d for POSIX.
"""


def checked_topic(text: str) -> str:
    """`text` itself, if it is the name of a topic, or a pattern of names, which begins with `^`.

    Raises ValueError if it is neither.
    """
    if text.startswith("^"):
        try:
            with warnings.catch_warnings(action="ignore"):  # warnings about expressions that are refused below
                re.compile(text)
        except re.error as error:
            raise ValueError(f"the pattern {text!r} is no regular expression: {error}") from None
        if not _PATTERN.fullmatch(text):
            raise ValueError(
                f"the pattern {text!r} has an expression that not every Kafka understands alike; use letters, digits, "
                "'.', '\\.', [0-9], [^a-z], ( ), |, *, +, ? and {2,3}"
            )
    elif not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(
            f"{text!r} is no name of a Kafka topic (letters, digits, '.', '_' and '-', up to 249); a pattern begins "
            "with '^' and is a regular expression"
        )
    return text


def subscription(topic: str) -> str:
    """The subscription for a topic or pattern. A pattern gets anchors, because it matches whole names.

    Without anchors, librdkafka would match parts of names, and brokers would not.
    """
    return f"^({topic[1:]})$" if topic.startswith("^") else topic


def topic_matcher(topics: list[str]) -> re.Pattern[str]:
    """A pattern whose `fullmatch` finds the names of these topics and of the patterns among them."""
    return re.compile("|".join(f"(?:{topic[1:] if topic.startswith('^') else re.escape(topic)})" for topic in topics))
