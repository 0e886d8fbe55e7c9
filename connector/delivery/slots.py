"""Rate slots: bound the requests a second; the time between the starts of two requests has a least length."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from connector.threads.watched import STILL_SECONDS, moves

_MARGIN_SECONDS: Final = 0.005
"""Added to each interval, since clocks differ a little: the server delays a request that comes too early."""
_LOOK_SECONDS: Final = 1.0
"""Seconds after which a wait checks whether the rate has changed."""


class Slots:
    """The slots of one method. For one thread; another thread ends a wait by setting `abort`."""

    def __init__(
        self,
        per_second: float | Callable[[], float],
        abort: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`per_second` is the rate in requests a second; if it is a function, each wait calls it again."""
        self._per_second = per_second if callable(per_second) else lambda: per_second
        self._abort = abort
        self._clock = clock
        self._last: float | None = None

    def wait(self) -> bool:
        """Wait for the next slot, and take it; returns False if `abort` was set."""
        while (left := self._left()) > 0:
            moves()
            if self._abort.wait(min(left, _LOOK_SECONDS)):
                return False
        self._last = self._clock()
        return not self._abort.is_set()

    def _left(self) -> float:
        if self._last is None:
            return 0.0
        return self._last + 1.0 / self._per_second() + _MARGIN_SECONDS - self._clock()

    @property
    def aborted(self) -> bool:
        """Whether `abort` is set: every wait returns at once."""
        return self._abort.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait for `seconds` without taking a slot; returns False if `abort` was set."""
        moves(STILL_SECONDS + seconds)
        return not self._abort.wait(seconds)
