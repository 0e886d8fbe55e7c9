"""The headers of a message, also of one with a header whose name is no text."""

from __future__ import annotations

from collections.abc import Sequence
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import Message

Headers = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]

read_headers: Final[Any] = methodcaller("headers")
"""Message → its `Headers`, or None. Raises `SystemError` if the name of a header is no UTF-8.

confluent-kafka 2.16 then returns a damaged list, and leaves an exception behind. Python notices this if C code makes
the call, as here. It does not if its own optimized code makes the call: then the damaged list may end the process.
"""
NO_NAME: Final = "the name of a header is no UTF-8, so that no header of the record can be read: correct the producer"
UNREADABLE: Final = object()


def all_headers(messages: Sequence[Message]) -> list[Any]:
    """Returns the `Headers` of each message, or None; `UNREADABLE` where the name of a header is no UTF-8.

    Each message is asked once: asked again, it returns the damaged list, without any error.
    """
    found: list[Any] = []
    reading = map(Message.headers, messages)  # the call is made by C code, as in `read_headers`
    while len(found) < len(messages):
        try:
            found.extend(reading)  # what was read before an error stays in the list
        except SystemError:
            found.append(UNREADABLE)
    return found
