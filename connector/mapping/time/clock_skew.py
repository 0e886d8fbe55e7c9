"""Measures the offset between a device's clock and the connector's clock, from messages that have a time.

A message needs some time to arrive, sometimes a long time, but never a negative time. So the *least* lag (arrival minus
the newest time in the message) of the last minutes is the offset of the clock plus the shortest delay. The lag of a
clock that is ahead is negative. The result depends only on the records, and not on the time when they are read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from operator import sub
from typing import Final, NamedTuple

from connector.mapping.time.times import YEAR_US

_PERIOD_US: Final = 600 * 1_000_000
_LEAST_LAG_US: Final = -20 * YEAR_US
_MOST_LAG_US: Final = 100 * YEAR_US
"""No clock is so far off: outside of these two, a producer has set a wrong time of arrival."""
_FEWEST: Final = 3
"""The least messages for a statement about a clock."""
_HALF_HOUR_US: Final = 1_800_000_000
_MOST_HALF_HOURS: Final = 28
_NEAR_US: Final = 120_000_000
"""The largest difference (µs) between an offset that counts as a time zone and a multiple of half an hour."""
_MOST_DEVICES: Final = 10_000


class Skew(NamedTuple):
    """The offset of one device's clock."""

    source: str
    device: str
    lag_us: int
    """The least lag: positive if the clock is behind (or the delay is long), negative if the clock is ahead."""
    messages: int


def zone_hours(lag_us: int) -> float | None:
    """Returns the hours, in steps of half an hour, if an offset looks like a local time that is read as UTC; else None.

    The result is positive if the times are behind.
    """
    steps = round(lag_us / _HALF_HOUR_US)
    if not 1 <= abs(steps) <= _MOST_HALF_HOURS or abs(lag_us - steps * _HALF_HOUR_US) > _NEAR_US:
        return None
    return steps / 2


class DeviceLag:
    """The least lag of one device, in this period of 10 minutes and the period before."""

    __slots__ = ("before", "count", "least", "reported", "until")

    def __init__(self) -> None:
        self.before: int | None = None
        self.least = 0
        self.until = 0
        self.count = 0
        self.reported = False

    def note(self, arrived_us: int, newest_us: int) -> None:
        """Record a message: its time of arrival and its newest time, in µs since 1970."""
        lag = arrived_us - newest_us
        if not _LEAST_LAG_US <= lag <= _MOST_LAG_US:
            return
        if arrived_us >= self.until:
            self.before = self.least if self.count and arrived_us < self.until + _PERIOD_US else None
            self.least, self.until = lag, arrived_us + _PERIOD_US
        elif lag < self.least:
            self.least = lag
        self.count += 1

    def note_all(self, arrived_us: Sequence[int], newest_us: Sequence[int]) -> None:
        """Record messages, as `note` for each whose two times differ."""
        lags = list(map(sub, arrived_us, newest_us))
        least, most = min(lags), max(lags)
        if 0 < least <= most <= _MOST_LAG_US and max(arrived_us) < self.until:
            self.least = min(self.least, least)
            self.count += len(lags)
            return
        for arrived, newest in zip(arrived_us, newest_us, strict=True):
            if arrived != newest:
                self.note(arrived, newest)

    @property
    def lag_us(self) -> int | None:
        """The least lag in µs; None until enough messages have come."""
        if self.count < _FEWEST:
            return None
        return self.least if self.before is None else min(self.least, self.before)


class Clocks:
    """The clocks of the 10,000 devices that were looked up last."""

    def __init__(self) -> None:
        self._clocks: OrderedDict[tuple[str, str], DeviceLag] = OrderedDict()

    def of(self, source: str, device: str) -> DeviceLag:
        """Returns the clock of a device."""
        clock = self._clocks.get((source, device))
        if clock is None:
            if len(self._clocks) >= _MOST_DEVICES:
                self._clocks.popitem(last=False)
            clock = self._clocks[source, device] = DeviceLag()
        else:
            self._clocks.move_to_end((source, device))
        return clock

    def worst(self, most: int) -> list[Skew]:
        """Returns the clocks with the largest offsets, the largest first; at most `most`."""
        found = [
            Skew(source, device, lag, clock.count)
            for (source, device), clock in list(self._clocks.items())
            if (lag := clock.lag_us) is not None
        ]
        return sorted(found, key=lambda skew: abs(skew.lag_us), reverse=True)[:most]

    def newly_off(self, threshold_us: int) -> list[Skew]:
        """Returns the clocks that are off by more than `threshold_us` and were not reported yet.

        A clock is reported again if it was right in between.
        """
        found = []
        for (source, device), clock in list(self._clocks.items()):
            lag = clock.lag_us
            off = lag is not None and abs(lag) > threshold_us
            if off and not clock.reported and lag is not None:
                found.append(Skew(source, device, lag, clock.count))
            clock.reported = off
        return found
