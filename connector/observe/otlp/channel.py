"""What waits to be sent to the collector, in bounded memory, and when the next request may be made."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from connector.config.otlp import Signal

_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 60.0
_FIRST_LINE: Final = 60.0
_LAST_LINE: Final = 3600.0
"""Seconds between two lines of the log about the same failure: more from line to line, up to this."""

_Item = TypeVar("_Item")


class Channel(Generic[_Item]):
    """One signal on its way. `put` is for any thread, all else for the thread that sends."""

    def __init__(self, signal: Signal, most: int, batch: int, wake: Callable[[], None]) -> None:
        """At most `most` items wait. `wake` is called when `batch` items wait, unless the collector is away."""
        self.signal = signal
        self.due = 0.0
        """When the next request may be made, in seconds on the clock of the caller."""
        self.sent = self.dropped = self.failures = 0
        """Numbers since the start: of items that were sent and dropped, and of failed requests."""
        self.failures_in_a_row = 0
        self.dropped_now = 0
        """Number of items that were dropped since the collector took something."""
        self._most = most
        self._batch = batch
        self._wake = wake
        self._lock = threading.RLock()
        self._waiting: deque[_Item] = deque()
        self._line_due = 0.0
        self._line_gap = _FIRST_LINE

    def put(self, item: _Item) -> None:
        """Let an item wait; if the room is used up, the oldest one is dropped. Returns at once."""
        with self._lock:
            self._waiting.append(item)
            self._cut()
            full = len(self._waiting) >= self._batch
        if full and not self.failures_in_a_row:
            self._wake()

    def take(self) -> list[_Item]:
        """Take the oldest items, at most `batch`."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    def put_back(self, items: list[_Item]) -> None:
        """Let items that were not sent wait again, before all others, as far as there is room."""
        with self._lock:
            self._waiting.extendleft(reversed(items))
            self._cut()

    def drop_all(self) -> int:
        """Drop all that waits; returns the number."""
        with self._lock:
            n = len(self._waiting)
            self._waiting.clear()
            self.count_dropped(n)
        return n

    @property
    def full(self) -> bool:
        """Whether a whole batch waits, and the collector is not away."""
        return len(self._waiting) >= self._batch and not self.failures_in_a_row

    def count_dropped(self, n: int) -> None:
        """Count items that will never be sent."""
        with self._lock:
            self.dropped += n
            self.dropped_now += n

    def worked(self) -> None:
        """Note that the collector took a request."""
        self.failures_in_a_row = self.dropped_now = 0
        self._line_due, self._line_gap = 0.0, _FIRST_LINE

    def failed(self, now: float, after: float) -> tuple[float, bool]:
        """Note a failure; returns the delay until the next request, and whether the log should have a line.

        `now` and `after` are in seconds; the collector asks for a delay of at least `after`.
        """
        self.failures += 1
        self.failures_in_a_row += 1
        most = min(_LAST_DELAY, _FIRST_DELAY * 2 ** min(self.failures_in_a_row - 1, 10))
        delay = max(after, most * (0.5 + 0.5 * random.random()))  # noqa: S311 - jitter
        self.due = now + delay
        tell = now >= self._line_due
        if tell:
            self._line_due = now + self._line_gap
            self._line_gap = min(_LAST_LINE, self._line_gap * 2)
        return delay, tell

    def _cut(self) -> None:
        while len(self._waiting) > self._most:
            self._waiting.popleft()
            self.count_dropped(1)
