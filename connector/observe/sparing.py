"""Bounds the time of a core that pages with a query take, however many visitors come: data has precedence.

A person who opens a level of 100,000 topics causes some tenths of a second of work. Visitors may cause a few seconds at
once, and a fifth of the time after that. One page is made at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from connector.observe.http import AskedPage, Said, json_page

_Asked = TypeVar("_Asked")

_AT_ONCE: Final = 3.0
"""The default of `at_once`."""
_SHARE: Final = 0.2
_PATIENCE: Final = 1.5
"""Seconds that a visitor waits for its turn: less than the supervisor waits for the answer of a worker."""


class Sparing:
    """Makes pages within one common bound. Safe for threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
        at_once: float = _AT_ONCE,
    ) -> None:
        """`clock` gives seconds, `used` the seconds of a core that this thread has used, and `sleep` waits.

        `at_once` is the number of seconds of a core that may be used at once after a quiet time.
        """
        self._clock = clock
        self._used = used
        self._sleep = sleep
        self._making = threading.Lock()
        self._at_once = at_once
        self._left, self._at = at_once, clock()

    def page(self, make: Callable[[_Asked], Said]) -> Callable[[_Asked], Said]:
        """Returns a page that is made when there is time, and that refuses with 503 if this would take too long."""

        def spared(asked: _Asked) -> Said:
            if not self._making.acquire(timeout=_PATIENCE):
                return _BUSY
            try:
                now = self._clock()
                self._left, self._at = min(self._at_once, self._left + (now - self._at) * _SHARE), now
                wait = -self._left / _SHARE
                if wait > _PATIENCE:
                    return _BUSY
                self._sleep(max(0.0, wait))
                begin = self._used()
                try:
                    return make(asked)
                finally:
                    self._left -= self._used() - begin
            finally:
                self._making.release()

        return spared

    def pages(self, makes: Mapping[str, AskedPage]) -> dict[str, AskedPage]:
        """Returns these pages, by path, each as `page` returns it."""
        return {path: self.page(make) for path, make in makes.items()}


_BUSY: Final = json_page(503, {"error": "too many visitors ask for this page; data has precedence"})
