"""The documented rate limit: requests above the rate are delayed, and time out if the queue is too long.

Each key (a method of an integration) has one turn every 1/rate seconds, without a burst. A request takes the next free
turn. If the wait for this turn is longer than allowed, the request takes no turn and times out.
Source: docs.clarify.io/api/1.1/rate-limits.
"""

from __future__ import annotations

import math
from collections.abc import Hashable


class Throttle:
    """The turns of each key; the caller always gives the time, in seconds of any steady clock."""

    def __init__(self, *, requests_per_second: float, queue_seconds: float) -> None:
        self._interval = 1.0 / requests_per_second
        self._queue_seconds = queue_seconds
        self._next_turn: dict[Hashable, float] = {}

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until the next free turn, 0 if a turn is free now; takes no turn."""
        return max(0.0, self._next_turn.get(key, -math.inf) - now)

    def take(self, key: Hashable, now: float, times: float = 1.0) -> float | None:
        """Take the next free turn; returns the seconds to wait for it, or None if the wait would be too long.

        The rate of this key is `times` the rate of the throttle.
        """
        wait = self.wait(key, now)
        if wait > self._queue_seconds:
            return None
        self._next_turn[key] = now + wait + self._interval / times
        return wait
