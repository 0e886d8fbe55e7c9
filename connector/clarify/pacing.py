"""Rates and repetition: a call waits for its turn, and is repeated if a repetition may help.

The turns of each method are evenly spaced, at the rate that Clarify documents. A failed call is repeated only after a
`Retryable`. The call waits before the repetition: a back-off with jitter that doubles, or the time that the server asks
for, if this time is longer. The number of attempts and the total time have limits.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from connector.clarify.errors import ArgumentError, Retryable
from connector.clarify.limits import RATE_UNSAID, RATES

_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 30.0
_LEAST_SHARE: Final = 0.1
_MARGIN: Final = 0.005
"""Seconds between turns beyond the rate. Clocks differ a little, and the server lets an early request wait."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The limits of repetition: `attempts` includes the first attempt, `seconds` is the time for all attempts."""

    attempts: int = 6
    seconds: float = 180.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.seconds < float("inf"):
            raise ArgumentError("attempts must be at least 1, and seconds a number of at least 0")


NO_RETRIES: Final = Retries(attempts=1)


class Pacing:
    """The turns and the repetition of one client's calls. Safe for several threads."""

    def __init__(
        self,
        rates: Mapping[str, float] | None,
        retries: Retries,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`rates` maps methods to calls per second; None means no limits.

        A method without a rate gets the lowest documented rate.
        """
        self._rates = rates
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def run(self, method: str, call: Callable[[], T]) -> T:
        """The result of `call`, which waits for its turn and may be repeated. Raises the error of the last attempt."""
        began = self._clock()
        attempt = 1
        while True:
            self._wait_for_turn(method)
            try:
                return call()
            except Retryable as error:
                delay = self._delay(attempt, error)
                left = self._retries.seconds - (self._clock() - began)
                if attempt >= self._retries.attempts or delay > left:
                    raise
                _log.warning("%s; attempt %d, trying again in %.1f s", error, attempt, delay)
            self._sleep(delay)
            attempt += 1

    def _wait_for_turn(self, method: str) -> None:
        if self._rates is None:
            return
        rate = self._rates.get(method, RATE_UNSAID)
        with self._lock:
            now = self._clock()
            turn = max(now, self._next.get(method, now))
            self._next[method] = turn + 1.0 / rate + _MARGIN
        if turn > now:
            self._sleep(turn - now)

    def _delay(self, attempt: int, error: Retryable) -> float:
        delay = min(_LAST_DELAY, _FIRST_DELAY * 2.0 ** (attempt - 1))
        jittered = delay * (_LEAST_SHARE + (1 - _LEAST_SHARE) * self._chance())
        return max(jittered, error.retry_after or 0.0)


def documented_rates() -> dict[str, float]:
    """The calls per second that Clarify allows, for each method."""
    return dict(RATES)
