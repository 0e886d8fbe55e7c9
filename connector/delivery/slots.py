"""Rate slots: at most so many requests a second, evenly spaced, measured from start to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_MARGIN_SECONDS: Final = 0.005
"""Clocks differ by a little; a request that is early by a hair would be made to wait by the server."""


class Slots:
    """The slots of one method. For one thread; `abort` ends a wait from another."""

    def __init__(self, per_second: float, abort: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / per_second + _MARGIN_SECONDS
        self._abort = abort
        self._clock = clock
        self._next = 0.0

    def wait(self) -> bool:
        """Wait for the next slot and take it; False if aborted."""
        while (left := self._next - self._clock()) > 0:
            if self._abort.wait(left):
                return False
        self._next = self._clock() + self._interval
        return not self._abort.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait without taking a slot; False if aborted."""
        return not self._abort.wait(seconds)
