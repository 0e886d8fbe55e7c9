"""How far a device's clock is from ours: measured where a message says its own time.

A message needs a while to arrive, now and then a long one, but never less than none. So the *least* lag (arrival
minus the newest time in the message) of the last minutes is the offset of the clock and the shortest way: a clock that
is ahead shows as a negative one. It is deterministic: it depends on the records alone, not on when they are read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from connector.mapping.time.times import YEAR_US

_PERIOD_US: Final = 600 * 1_000_000
_LEAST_LAG_US: Final = -20 * YEAR_US
_MOST_LAG_US: Final = 100 * YEAR_US
"""What is beyond them was not stamped by any clock: the arrival is a producer's nonsense."""
_FEWEST: Final = 3
"""Messages before anything is said about a clock."""
_HALF_HOUR_US: Final = 1_800_000_000
_MOST_HALF_HOURS: Final = 28
_NEAR_US: Final = 120_000_000
"""How far from a whole number of half hours an offset may be that is taken for a time zone."""
_MOST_DEVICES: Final = 10_000


class Skew(NamedTuple):
    """What is known of one clock."""

    source: str
    device: str
    lag_us: int
    """Positive: the clock is behind (or the way is long); negative: it is ahead."""
    messages: int


def zone_hours(lag_us: int) -> float | None:
    """The hours, in steps of a half, that an offset is near to, as of local times that are taken for UTC; None if it is
    none. Positive: the times are behind."""
    steps = round(lag_us / _HALF_HOUR_US)
    if not 1 <= abs(steps) <= _MOST_HALF_HOURS or abs(lag_us - steps * _HALF_HOUR_US) > _NEAR_US:
        return None
    return steps / 2


class DeviceLag:
    """The least lag of one device in this period and the one before."""

    __slots__ = ("before", "count", "least", "reported", "until")

    def __init__(self) -> None:
        self.before: int | None = None
        self.least = 0
        self.until = 0
        self.count = 0
        self.reported = False

    def note(self, arrived_us: int, newest_us: int) -> None:
        """A message that arrived then has this newest time."""
        lag = arrived_us - newest_us
        if not _LEAST_LAG_US <= lag <= _MOST_LAG_US:
            return
        if arrived_us >= self.until:
            self.before = self.least if self.count and arrived_us < self.until + _PERIOD_US else None
            self.least, self.until = lag, arrived_us + _PERIOD_US
        elif lag < self.least:
            self.least = lag
        self.count += 1

    @property
    def lag_us(self) -> int | None:
        """The least lag; None as long as too few messages came."""
        if self.count < _FEWEST:
            return None
        return self.least if self.before is None else min(self.least, self.before)


class Clocks:
    """The clocks of all devices, of which the ones heard of longest ago are forgotten."""

    def __init__(self) -> None:
        self._clocks: OrderedDict[tuple[str, str], DeviceLag] = OrderedDict()

    def of(self, source: str, device: str) -> DeviceLag:
        """The clock of this device."""
        clock = self._clocks.get((source, device))
        if clock is None:
            if len(self._clocks) >= _MOST_DEVICES:
                self._clocks.popitem(last=False)
            clock = self._clocks[source, device] = DeviceLag()
        else:
            self._clocks.move_to_end((source, device))
        return clock

    def worst(self, most: int) -> list[Skew]:
        """Those that are furthest off, at most so many."""
        found = [
            Skew(source, device, lag, clock.count)
            for (source, device), clock in list(self._clocks.items())
            if (lag := clock.lag_us) is not None
        ]
        return sorted(found, key=lambda skew: abs(skew.lag_us), reverse=True)[:most]

    def newly_off(self, threshold_us: int) -> list[Skew]:
        """Those that are off by more than this and were not reported yet. One is reported again after it was right."""
        found = []
        for (source, device), clock in list(self._clocks.items()):
            lag = clock.lag_us
            off = lag is not None and abs(lag) > threshold_us
            if off and not clock.reported and lag is not None:
                found.append(Skew(source, device, lag, clock.count))
            clock.reported = off
        return found
