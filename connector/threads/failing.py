"""A failure that repeats while a thread tries again: in the log at once, then ever more rarely; and its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import structlog

_FIRST_PAUSE: Final = 30.0
_LAST_PAUSE: Final = 600.0
"""Seconds from the first line about a failure to the second one, and between later lines."""

_NUMBERED: Final = re.compile(r"\S*\d\S*")
"""A word with a digit: a port, a number of messages, a time."""

_log = structlog.get_logger(__name__)


class RepeatedFailure:
    """One thing that fails and is tried again. For one thread at a time."""

    def __init__(
        self,
        event: str,
        works: str | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_error: bool = True,
    ) -> None:
        """`event` is the event of the lines in the log: errors, or else warnings.

        `works` is the event of the line at the end; None if another line says so. `clock` gives seconds.
        """
        self._event = event
        self._works = works
        self._is_error = is_error
        self._clock = clock
        self._reason: str | None = None
        self._since: float | None = None
        self._next = 0.0
        self._pause = _FIRST_PAUSE
        self._failures = 0

    def failed(self, reason: str, **fields: object) -> None:
        """Count a failure. It is logged if it is the first one, has another reason, or if the pause is over."""
        now = self._clock()
        if self._since is None:
            self._since, self._failures = now, 0
        self._failures += 1
        words = _NUMBERED.sub("#", reason)
        if words != self._reason:
            self._reason, self._pause = words, _FIRST_PAUSE
        elif now < self._next:
            return
        else:
            self._pause = min(2 * self._pause, _LAST_PAUSE)
        self._next = now + self._pause
        repeated = {"failures": self._failures} if self._failures > 1 else {}
        say = _log.error if self._is_error else _log.warning
        say(self._event, **repeated, reason=reason, **fields)

    def works(self, **fields: object) -> None:
        """Log that it works again, if it had failed."""
        if self._since is None:
            return
        seconds = round(self._clock() - self._since, 1)
        self._since = self._reason = None
        if self._works is not None:
            _log.info(self._works, **fields, failures=self._failures, after_seconds=seconds)
