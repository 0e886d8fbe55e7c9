"""The documented rate limit: requests above it are delayed, and time out when the queue is too long.

Each key (a method of an integration) has turns, one every 1/rate seconds, without a burst. A request takes
the next free turn. If that turn is further away than a request may wait, it takes none and times out.
Source: docs.clarify.io/api/1.1/rate-limits.
"""

from __future__ import annotations

import math
from collections.abc import Hashable


class Throttle:
    """Turns by key; times are seconds of any steady clock and are always given by the caller."""

    def __init__(self, *, requests_per_second: float, queue_seconds: float) -> None:
        self._interval = 1.0 / requests_per_second
        self._queue_seconds = queue_seconds
        self._next_turn: dict[Hashable, float] = {}

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until the next turn, 0 if it is free; takes nothing."""
        return max(0.0, self._next_turn.get(key, -math.inf) - now)

    def take(self, key: Hashable, now: float, times: float = 1.0) -> float | None:
        """Take the next turn: seconds to wait for it, or None if it is too far away. The key has `times` the rate."""
        wait = self.wait(key, now)
        if wait > self._queue_seconds:
            return None
        self._next_turn[key] = now + wait + self._interval / times
        return wait
