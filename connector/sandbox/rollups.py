"""Rollups: samples in buckets of time. No I/O; times are integers of microseconds since the epoch.

Buckets: docs api/1.1/types/fields, and clarify-go for what they say of origins. Edges follow the local clock of the
time zone, so that a day is a day where the clock is changed; buckets that are not longer than the change itself (an
hour) have a fixed length instead. Assumptions: with `window` the bucket's time is the window's start.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_CLOCK_CHANGE: Final = 3600 * _SECOND
"""Buckets longer than that follow the local clock."""
_MONTH_AT_LEAST: Final = 28 * _DAY
_LONGEST_GAP: Final = 40 * _DAY
_LONGEST: Final = 4000 * 366 * _DAY
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - of a local clock
_MICROSECOND: Final = timedelta(microseconds=1)
_FIXED: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,6})W)?(?:([0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,12})M)?(?:([0-9]{1,12})(?:\.([0-9]{1,9}))?S)?)?"
)
_CALENDAR: Final = re.compile(r"P(?=[0-9])(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?")

Samples = Sequence[tuple[int, float]]
"""(time, value), sorted by time."""


class RollupError(ValueError):
    """A rollup that cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """How time is cut into buckets."""

    fixed_us: int
    months: int
    zone: ZoneInfo
    origin: datetime
    """An edge, on the local clock."""

    @property
    def is_window(self) -> bool:
        """Whether the whole window is one bucket."""
        return not (self.fixed_us or self.months)

    @property
    def shortest_us(self) -> int:
        """The shortest that a bucket can be."""
        return self.fixed_us or self.months * _MONTH_AT_LEAST

    def buckets(self, gte_us: int, lt_us: int) -> Iterator[tuple[int, int]]:
        """(start, end) of every bucket that overlaps the window from `gte_us` to before `lt_us`."""
        if lt_us <= gte_us:
            return
        if self.is_window:
            yield gte_us, lt_us
            return
        number = self._number(gte_us)
        start = self._edge(number)
        while start < lt_us:
            number += 1
            end = self._edge(number)
            if end > start:  # an edge in an hour that the clock leaves out falls onto the next one
                yield start, end
            start = end

    def start_of(self, time_us: int) -> int:
        """The start of the bucket that holds this time. Not for `window`."""
        return self._edge(self._number(time_us))

    def _number(self, time_us: int) -> int:
        """The number of the bucket that holds this time, counted from the origin."""
        if self._is_elapsed:
            return (time_us - self._elapsed_origin) // self.fixed_us
        local = _local(time_us, self.zone)
        if self.months:
            months = (local.year - self.origin.year) * 12 + local.month - self.origin.month
            number = months // self.months
        else:
            number = (local - self.origin) // _MICROSECOND // self.fixed_us
        while self._edge(number) > time_us:  # where the local clock is ambiguous, or the origin is within a month
            number -= 1
        while self._edge(number + 1) <= time_us:
            number += 1
        return number

    def _edge(self, number: int) -> int:
        """The start of this bucket."""
        if self._is_elapsed:
            return self._elapsed_origin + number * self.fixed_us
        try:
            if self.months:
                month = self.origin.month - 1 + number * self.months
                year = self.origin.year + month // 12
                local = _in_month(self.origin, year, month % 12 + 1)
            else:
                local = self.origin + timedelta(microseconds=number * self.fixed_us)
            return _microseconds(local.replace(tzinfo=self.zone))
        except (OverflowError, ValueError):  # before the year 1, after the year 9999
            return -_LONGEST if number < 0 else _LONGEST

    @property
    def _is_elapsed(self) -> bool:
        return 0 < self.fixed_us <= _CLOCK_CHANGE or (self.fixed_us > 0 and self.zone.key == "UTC")

    @property
    def _elapsed_origin(self) -> int:
        return _microseconds(self.origin.replace(tzinfo=self.zone))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _local(time_us: int, zone: ZoneInfo) -> datetime:
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return _NAIVE_EPOCH


def _in_month(origin: datetime, year: int, month: int) -> datetime:
    """The origin's day and time in another month, or the last day of a month that is too short."""
    for day in range(origin.day, 27, -1):
        try:
            return origin.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    return origin.replace(year=year, month=month)


def parse_rollup(
    text: str | None, *, time_zone: str = "UTC", first_day_of_week: int = 1, origin_us: int | None = None
) -> Rollup | None:
    """The rollup of a query; None for data as it is. Raises RollupError."""
    if text is None:
        return None
    if not 1 <= first_day_of_week <= 7:
        raise RollupError(f"firstDayOfWeek must be 1 (Monday) to 7 (Sunday), not {first_day_of_week}")
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RollupError(f"{time_zone!r} is no time zone such as Europe/Oslo") from None
    fixed, months = (0, 0) if text == "window" else _length(text)
    if origin_us is not None:
        origin = _local(origin_us, zone)
    else:
        origin = datetime(2000, 1, 1 if months else 2 + first_day_of_week)  # noqa: DTZ001 - a local clock; Monday is the 3rd
    return Rollup(fixed, months, zone, origin)


def _length(text: str) -> tuple[int, int]:
    """(µs, months) of a duration, one of which is 0."""
    found = _FIXED.fullmatch(text)
    if found is not None:
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:5])
        micros = int(((found[6] or "") + "000000")[:6])
        fixed = (weeks * 7 + days) * _DAY + ((hours * 60 + minutes) * 60 + seconds) * _SECOND + micros
        if 0 < fixed <= _LONGEST:
            return fixed, 0
        raise RollupError(f"{text!r} must be longer than nothing, and shorter than 4000 years")
    found = _CALENDAR.fullmatch(text)
    if found is None:
        raise RollupError(
            f"{text!r} is neither window nor a duration such as PT5M, P1DT12H or, by the calendar, P1M; months and "
            "years go with nothing else"
        )
    months = int(found[1] or 0) * 12 + int(found[2] or 0)
    if not 0 < months <= 4000 * 12:
        raise RollupError(f"{text!r} must be longer than nothing, and shorter than 4000 years")
    return 0, months


# -- samples in buckets ---------------------------------------------------------------------------


def _grouped(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int) -> Iterator[tuple[int, list[float]]]:
    """(bucket start, values) for each bucket with samples. Buckets without any cost nothing."""
    start = end = gte_us
    values: list[float] = []
    for time_us, value in samples:
        if not gte_us <= time_us < lt_us:
            continue
        if values and time_us >= end:
            yield start, values
            values = []
        if not values:
            start, end = _bucket(rollup, time_us, gte_us, lt_us)
        values.append(value)
    if values:
        yield start, values


def _bucket(rollup: Rollup, time_us: int, gte_us: int, lt_us: int) -> tuple[int, int]:
    if rollup.is_window:
        return gte_us, lt_us
    return next(rollup.buckets(time_us, time_us + 1))


def _sum(values: list[float]) -> float:
    try:
        return fsum(values)
    except OverflowError:
        return sum(values)


_AGGREGATES: Final[Mapping[str, Callable[[list[float]], float]]] = {
    "count": lambda values: float(len(values)),
    "min": min,
    "max": max,
    "sum": _sum,
    "avg": lambda values: _sum(values) / len(values),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def numeric(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int) -> dict[str, dict[int, float]]:
    """Aggregate → bucket start → value, for the buckets that have samples."""
    found: dict[str, dict[int, float]] = {name: {} for name in _AGGREGATES}
    for start, values in _grouped(samples, rollup, gte_us, lt_us):
        for name, aggregate in _AGGREGATES.items():
            found[name][start] = aggregate(values)
    return found


def states(
    samples: Samples, rollup: Rollup, gte_us: int, lt_us: int, *, gap_us: int | None
) -> dict[int, dict[int, float]]:
    """State → bucket start → seconds in that state.

    A sample holds until the next one, but for at most `gap_us` (None: 40 days), and not beyond the window; the one
    before the window counts for its beginning.
    """
    longest = _LONGEST_GAP if gap_us is None else gap_us
    spent: dict[int, dict[int, int]] = {}
    for index, (time_us, value) in enumerate(samples):
        following = samples[index + 1][0] if index + 1 < len(samples) else lt_us
        begins, ends = max(time_us, gte_us), min(following, time_us + longest, lt_us)
        if begins >= ends:
            continue
        buckets = spent.setdefault(int(value), {})
        for start, end in rollup.buckets(begins, ends) if not rollup.is_window else [(gte_us, lt_us)]:
            part = min(ends, end) - max(begins, start)
            buckets[start] = buckets.get(start, 0) + part
    return {
        state: {start: part / _SECOND for start, part in sorted(buckets.items())} for state, buckets in spent.items()
    }


def state_rate(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int, state: int) -> dict[int, float]:
    """Bucket start → how often the state was entered, for the buckets that have samples."""
    times = [time_us for time_us, _ in samples]
    first = bisect_right(times, gte_us - 1)
    before = int(samples[first - 1][1]) if first > 0 else None
    entered: dict[int, float] = {}
    for time_us, value in samples[first:]:
        if time_us >= lt_us:
            break
        start, _ = _bucket(rollup, time_us, gte_us, lt_us)
        enters = int(value) == state and before != state
        entered[start] = entered.get(start, 0.0) + enters
        before = int(value)
    return entered
