"""Waits for a condition with a deadline. Tests use it instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 60.0
"""The shortest deadline, in seconds. A long deadline costs nothing if the test passes, and helps on a busy machine."""


def wait_until(condition: Callable[[], T], seconds: float, what: str | Callable[[], str], every: float = 0.05) -> T:
    """The first true value of the condition, which is called every `every` seconds.

    Fails if there is none within `seconds`, or within `PATIENCE` if that is longer. The failure quotes `what`: a text,
    or a function that makes the text only then, such as from a log.
    """
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {said} (last: {value!r})")
        time.sleep(every)
