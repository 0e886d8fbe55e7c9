"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 60.0
"""The shortest deadline, in seconds: it costs nothing when things work, and a busy machine is no reason to fail."""


def wait_until(condition: Callable[[], T], seconds: float, what: str | Callable[[], str], every: float = 0.05) -> T:
    """The condition's first true value; fails if there is none within `seconds` (or within `PATIENCE`, if that is
    longer) with `what`, which may be made only then, such as from a log."""
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
