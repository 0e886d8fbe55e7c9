"""Rollups: samples in buckets of time. No I/O; times are integers of microseconds since the epoch.

Documented (docs api/1.1/types/fields, and clarify-go on the time zone of a query): the lengths, the origins, and that
buckets follow the local clock if they are longer than the change of this clock. So a day with a change of the clock is
one bucket of 23 or 25 hours. Buckets that are not longer than the change (an hour in most zones) all have the same
length of elapsed time.

Assumptions: with `window`, the time of the bucket is the start of the window. If an edge falls into the hour that the
local clock skips, the edge is at the end of this hour. If an edge falls into the hour that the local clock repeats, the
edge is in the first of the two hours, or in the second hour if the origin is in such a second hour. Months that are
counted from a 29th, 30th or 31st start on the last day of a month that is too short. The first sample of a series
enters its state.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import fsum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector.sandbox.durations import DurationError, read_length

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_MONTH_AT_LEAST: Final = 28 * _DAY
_YEAR_AT_LEAST: Final = 365 * _DAY
_USUAL_CHANGE: Final = 3600 * _SECOND
"""The change of the clock in summer, in most zones, in µs."""
_LONGEST_GAP: Final = 40 * _DAY
_MOST_SPANS: Final = 2_000_000
"""The largest number of buckets that the states of one series may fill: more would not fit into an answer."""

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - of a local clock
_NAIVE_2000: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - of a local clock
_YEAR_2000: Final = (_NAIVE_2000 - _NAIVE_EPOCH) // _MICROSECOND
_CYCLE: Final = 146_097 * _DAY
"""400 years, after which the calendar repeats."""
_CYCLE_MONTHS: Final = 4800
# Before and after the years of datetime, a zone has the offset of the nearer of these two times.
_FIRST_KNOWN: Final = (datetime(1, 1, 3, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_KNOWN: Final = (datetime(9999, 12, 29, tzinfo=UTC) - _EPOCH) // _MICROSECOND

Samples = Sequence[tuple[int, float]]
"""(time in µs, value), sorted by time."""


class RollupError(ValueError):
    """A rollup that is not possible; the message gives the reason.

    `field` is the wrong parameter: rollup, timeZone or firstDayOfWeek.
    """

    def __init__(self, message: str, field: str = "rollup") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Rollup:
    """A division of time into buckets. Made by `parse_rollup`."""

    fixed_us: int
    """The length of a bucket in µs; 0 if a bucket is a number of months, or the window."""
    months: int
    zone: ZoneInfo
    origin_us: int
    """The time of an edge, from which the others are counted."""
    local_origin_us: int
    """The origin on the local clock: microseconds since its 1970-01-01 00:00."""
    fold: int
    """Which of two moments is meant if the local clock shows a time twice; 0 or 1, as in datetime."""
    is_elapsed: bool
    """Whether all buckets have the same length of elapsed time, even when the local clock is changed."""

    @property
    def is_window(self) -> bool:
        """Whether the whole window is one bucket."""
        return not (self.fixed_us or self.months)

    @property
    def shortest_us(self) -> int:
        """The shortest possible length of a bucket in µs, without changes of the clock; 0 for `window`."""
        years, months = divmod(self.months, 12)
        return self.fixed_us or years * _YEAR_AT_LEAST + months * _MONTH_AT_LEAST

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
            if end > start:  # several edges in a time that the clock skips are one edge
                yield start, end
            start = end

    def start_of(self, time_us: int) -> int:
        """The start of the bucket that holds this time.

        Raises RollupError for `window`, whose bucket depends on the window.
        """
        if self.is_window:
            raise RollupError("the bucket of a window starts where the window does")
        return self._edge(self._number(time_us))

    def _around(self, time_us: int) -> tuple[int, int]:
        """(start, end) of the bucket that holds this time."""
        number = self._number(time_us)
        return self._edge(number), self._edge(number + 1)

    def _number(self, time_us: int) -> int:
        """The number of the bucket that holds this time, counted from the origin."""
        if self.is_elapsed:
            return (time_us - self.origin_us) // self.fixed_us
        local = time_us + _offset(time_us, self.zone)
        if self.months:
            number = (_month(local)[0] - _month(self.local_origin_us)[0]) // self.months
        else:
            number = (local - self.local_origin_us) // self.fixed_us
        # A neighbour holds the time if the local clock was changed, or if the origin is not the first of a month.
        while self._edge(number) > time_us:
            number -= 1
        while self._edge(number + 1) <= time_us:
            number += 1
        return number

    def _edge(self, number: int) -> int:
        """The start of bucket `number`, counted from the origin."""
        if self.is_elapsed:
            return self.origin_us + number * self.fixed_us
        if self.months:
            local = _months_later(self.local_origin_us, number * self.months)
        else:
            local = self.local_origin_us + number * self.fixed_us
        return _instant(local, self.zone, self.fold)


def parse_rollup(
    text: str | None, *, time_zone: str = "UTC", first_day_of_week: int = 1, origin_us: int | None = None
) -> Rollup | None:
    """The rollup of a query; None for data without a rollup.

    `first_day_of_week` is 1 (Monday) to 7 (Sunday). Raises RollupError, also for a wrong time zone or first day without
    a rollup.
    """
    if not 1 <= first_day_of_week <= 7:
        raise RollupError(f"must be 1 (Monday) to 7 (Sunday), not {first_day_of_week}", "firstDayOfWeek")
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RollupError(f"{time_zone[:60]!r} is no time zone such as Europe/Oslo", "timeZone") from None
    if text is None:
        return None
    fixed = months = 0
    if text != "window":
        try:
            fixed, months = read_length(text)
        except DurationError as error:
            raise RollupError(str(error)) from None
    if origin_us is None:
        # The year 2000 began on a Saturday: the first Monday is the 3rd, and the 1st is the first Saturday.
        days = 0 if months else (first_day_of_week + 1) % 7
        origin_us = _instant(_YEAR_2000 + days * _DAY, zone, 0)
    known = _EPOCH + timedelta(microseconds=_between_known(origin_us))
    return Rollup(
        fixed,
        months,
        zone,
        origin_us,
        local_origin_us=origin_us + _offset(origin_us, zone),
        fold=known.astimezone(zone).fold,
        is_elapsed=fixed > 0 and (zone.key == "UTC" or fixed <= _clock_change(zone)),
    )


# -- the local clock ------------------------------------------------------------------------------


def _between_known(time_us: int) -> int:
    return min(max(time_us, _FIRST_KNOWN), _LAST_KNOWN)


def _offset(time_us: int, zone: ZoneInfo) -> int:
    """The local time minus UTC at this time, in µs."""
    moment = _EPOCH + timedelta(microseconds=_between_known(time_us))
    return (moment.astimezone(zone).replace(tzinfo=None) - moment.replace(tzinfo=None)) // _MICROSECOND


def _instant(local_us: int, zone: ZoneInfo, fold: int) -> int:
    """The moment when the local clock shows this time; if the clock skips the time, the end of the skipped time."""
    time_us = local_us - _assumed_offset(local_us, zone, fold)
    if time_us + _offset(time_us, zone) == local_us:
        return time_us
    before = local_us - _assumed_offset(local_us, zone, 1)
    after = local_us - _assumed_offset(local_us, zone, 0)
    unchanged = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == unchanged:
            before = middle
        else:
            after = middle
    return after


def _assumed_offset(local_us: int, zone: ZoneInfo, fold: int) -> int:
    """The offset of a local time from UTC, in µs.

    If the local clock repeats or skips the time, `fold` 0 takes the offset before the change of the clock, and `fold` 1
    the offset after the change.
    """
    local = _NAIVE_EPOCH + timedelta(microseconds=_between_known(local_us))
    return (local.replace(tzinfo=UTC) - local.replace(tzinfo=zone, fold=fold)) // _MICROSECOND


@lru_cache(maxsize=1024)
def _clock_change(zone: ZoneInfo) -> int:
    """The change of the clock in summer, in µs: in most zones an hour, in some half an hour or two hours."""
    shifts = {
        abs(datetime(year, month, 1, tzinfo=zone).dst() or timedelta())
        for year in range(2000, 2038)
        for month in range(1, 13)
    }
    return max(shifts) // _MICROSECOND or _USUAL_CHANGE


def _month(local_us: int) -> tuple[int, datetime]:
    """Months since January 2000, and the same day and time in the 400 years from 2000, which datetime can hold."""
    cycles, rest = divmod(local_us - _YEAR_2000, _CYCLE)
    moment = _NAIVE_2000 + timedelta(microseconds=rest)
    return cycles * _CYCLE_MONTHS + (moment.year - 2000) * 12 + moment.month - 1, moment


def _months_later(local_us: int, months: int) -> int:
    """The same day and time, `months` months later; in a month that is too short, its last day."""
    month, moment = _month(local_us)
    cycles, within = divmod(month + months, _CYCLE_MONTHS)
    year, month = 2000 + within // 12, within % 12 + 1
    moved = moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))
    return _YEAR_2000 + cycles * _CYCLE + (moved - _NAIVE_2000) // _MICROSECOND


# -- samples in buckets ---------------------------------------------------------------------------


def _grouped(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int) -> Iterator[tuple[int, list[float]]]:
    """(bucket start, values) for each bucket with samples; buckets without samples cost no time."""
    index, last = bisect_left(samples, (gte_us,)), bisect_left(samples, (lt_us,))
    while index < last:
        start, end = (gte_us, lt_us) if rollup.is_window else rollup._around(samples[index][0])
        following = bisect_left(samples, (end,), index, last)
        yield start, [value for _, value in samples[index:following]]
        index = following


def _sum(values: Sequence[float]) -> float:
    try:
        return fsum(values)
    except OverflowError:
        return sum(values)


def _average(values: Sequence[float]) -> float:
    try:
        average = fsum(values) / len(values)
    except OverflowError:
        average = fsum(value / len(values) for value in values)
    return min(max(average, min(values)), max(values))  # rounding must not move the average beyond the values


_AGGREGATES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "count": lambda values: float(len(values)),
    "min": min,
    "max": max,
    "sum": _sum,
    "avg": _average,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def numeric(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int) -> dict[str, dict[int, float]]:
    """Aggregate → bucket start → value, for the buckets with samples from `gte_us` to before `lt_us`."""
    found: dict[str, dict[int, float]] = {name: {} for name in _AGGREGATES}
    for start, values in _grouped(samples, rollup, gte_us, lt_us):
        for name, aggregate in _AGGREGATES.items():
            found[name][start] = aggregate(values)
    return found


def states(
    samples: Samples, rollup: Rollup, gte_us: int, lt_us: int, *, gap_us: int | None
) -> dict[int, dict[int, float]]:
    """State → bucket start → seconds in that state.

    The state of a sample lasts until the next sample, but for at most `gap_us` (None: 40 days), and not beyond the
    window. The sample before the window gives the state at its start. Raises RollupError if the states fill more than
    two million buckets.
    """
    longest = _LONGEST_GAP if gap_us is None else gap_us
    spent: dict[int, dict[int, int]] = {}
    spans = 0
    start, end = (gte_us, lt_us) if rollup.is_window else (0, 0)
    first = max(0, bisect_left(samples, (gte_us,)) - 1)
    for index in range(first, bisect_left(samples, (lt_us,))):
        time_us, value = samples[index]
        following = samples[index + 1][0] if index + 1 < len(samples) else lt_us
        begins, ends = max(time_us, gte_us), min(following, time_us + longest, lt_us)
        if not rollup.is_window and ends > begins:
            spans += (ends - begins) // rollup.shortest_us
            if spans > _MOST_SPANS:
                raise RollupError(f"the states fill more than {_MOST_SPANS} buckets: give longer ones")
        while begins < ends:
            if not start <= begins < end:
                start, end = rollup._around(begins)
            part = min(ends, end) - begins
            buckets = spent.setdefault(int(value), {})
            buckets[start] = buckets.get(start, 0) + part
            begins += part
    return {state: {start: part / _SECOND for start, part in buckets.items()} for state, buckets in spent.items()}


def state_rate(samples: Samples, rollup: Rollup, gte_us: int, lt_us: int, state: int) -> dict[int, float]:
    """Bucket start → number of times that the state was entered, for the buckets with samples.

    A sample enters the state if the sample before it has another state. The sample before may be before the window.
    """
    first = bisect_left(samples, (gte_us,))
    before = int(samples[first - 1][1]) if first > 0 else None
    entered: dict[int, float] = {}
    for start, values in _grouped(samples, rollup, gte_us, lt_us):
        entered[start] = 0.0
        for value in values:
            now = int(value)
            entered[start] += now == state and before != state
            before = now
    return entered
