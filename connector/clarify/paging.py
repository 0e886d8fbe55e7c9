"""Divides a long query into short queries: pages of resources, and windows of time.

Source of the longest windows: docs api/1.1/methods/clarify/data-frame. With a rollup, windows begin at the edges of
buckets, so that no bucket is cut in two.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector.clarify import iso8601
from connector.clarify.errors import ArgumentError

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_RAW_WINDOW: Final = 40 * _DAY
_EVALUATE_WINDOWS: Final = ((_DAY, 1900 * _DAY), (60 * _SECOND, 400 * _DAY))
_DATA_FRAME_WINDOWS: Final = ((30 * _DAY, 3660 * _DAY), *_EVALUATE_WINDOWS)
"""(shortest rollup, longest window for this rollup and longer rollups), in µs."""
_SHORTEST_WINDOW: Final = 60 * _SECOND
_ONE_BOUND: Final = 40 * _DAY
_NO_BOUND: Final = 7 * _DAY

_FIXED: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,6})?)\d*S)?)?\Z")
_CALENDAR: Final = re.compile(r"P(?=.)(?:(\d+)Y)?(?:(\d+)M)?\Z")
_CLOCK_CHANGE: Final = 3600 * _SECOND
"""Buckets up to this length, in µs, keep their length over changes of the clock."""
_MONTH_AT_LEAST: Final = 28 * _DAY


@dataclass(frozen=True, slots=True)
class Rollup:
    """The text of a rollup for a request, and the fields for finding the edges of the buckets."""

    text: str
    fixed_us: int = 0
    months: int = 0
    origin: datetime | None = None
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    first_day: int = 1

    @property
    def shortest_us(self) -> int:
        """The shortest possible length of a bucket, in µs."""
        return self.fixed_us or self.months * _MONTH_AT_LEAST

    def edge_before(self, time_us: int) -> int:
        """The last edge at or before `time_us`, in µs since 1970, or sometimes an earlier edge.

        Long buckets follow the local clock.
        """
        origin = self.origin or datetime(2000, 1, 1 if self.months else 1 + (self.first_day - 6) % 7)  # noqa: DTZ001 - local
        if not self.months and self.fixed_us <= _CLOCK_CHANGE:
            first = iso8601.microseconds(origin.replace(tzinfo=self.zone))
            return first + (time_us - first) // self.fixed_us * self.fixed_us
        local = iso8601.to_datetime(time_us).astimezone(self.zone).replace(tzinfo=None)
        if self.months:
            since = (local.year - origin.year) * 12 + local.month - origin.month
            number = since // self.months
        else:
            number = (local - origin) // timedelta(microseconds=self.fixed_us)
        # The edge may be too late, if the origin is within a month, or if an hour comes twice. If the local clock skips
        # the edge, the edge before counts.
        while (edge := self._edge(origin, number)) is None or edge > time_us:
            number -= 1
        return edge

    def _edge(self, origin: datetime, number: int) -> int | None:
        """The start of bucket `number` in µs; None if the local clock never shows the time of the start."""
        if self.months:
            month = origin.month - 1 + number * self.months
            year, month = origin.year + month // 12, month % 12 + 1
            day = min(origin.day, monthrange(year, month)[1])
            local = origin.replace(year=year, month=month, day=day)
        else:
            local = origin + timedelta(microseconds=number * self.fixed_us)
        moment = local.replace(tzinfo=self.zone)
        if moment.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != local:
            return None
        return iso8601.microseconds(moment)


def read_rollup(
    rollup: str | timedelta | None,
    *,
    time_zone: str | None = None,
    first_day: int | None = None,
    origin: iso8601.Instant | None = None,
) -> Rollup | None:
    """The rollup of a query; None without a rollup.

    Raises ArgumentError for a wrong rollup, time zone or weekday.
    """
    try:
        zone = ZoneInfo(time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentError(f"{time_zone!r} is no time zone such as Europe/Oslo") from None
    if first_day is not None and not 1 <= first_day <= 7:
        raise ArgumentError(f"firstDayOfWeek is 1 (Monday) to 7, not {first_day}")
    if rollup is None:
        return None
    if isinstance(rollup, timedelta):
        text = iso8601.duration_text(rollup)
        if text is None:
            raise ArgumentError("a rollup must be longer than zero")
        rollup = text
    if rollup == "window":
        return Rollup(rollup)
    start = None
    if origin is not None:
        start = iso8601.to_datetime(iso8601.read(origin)).astimezone(zone).replace(tzinfo=None)
    fixed, months = _length(rollup)
    return Rollup(rollup, fixed, months, start, zone, first_day or 1)


def _length(text: str) -> tuple[int, int]:
    """(µs, months) of a duration; one of the two is zero."""
    found = _FIXED.match(text)
    if found is not None:
        weeks, days, hours, minutes = (int(part or 0) for part in found.groups()[:4])
        seconds = round(float(found[5] or 0) * _SECOND)
        fixed = (weeks * 7 + days) * _DAY + (hours * 60 + minutes) * 60 * _SECOND + seconds
        if fixed > 0:
            return fixed, 0
    found = _CALENDAR.match(text)
    months = int(found[1] or 0) * 12 + int(found[2] or 0) if found is not None else 0
    if months == 0:
        raise ArgumentError(
            f"{text!r} is no rollup: give window, a duration such as PT5M or P1D, or months or years such as P1M"
        )
    return 0, months


def bounds(gte: iso8601.Instant | None, lt: iso8601.Instant | None, now: datetime) -> tuple[int, int]:
    """(start, end) of the window in µs since 1970.

    Without bounds, the window is from a week before `now` to a week after `now`. With one bound, the window is 40 days
    long. Raises ArgumentError if the end is before the start.
    """
    start = None if gte is None else iso8601.read(gte)
    end = None if lt is None else iso8601.read(lt)
    if start is None and end is None:
        middle = iso8601.microseconds(now)
        return middle - _NO_BOUND, middle + _NO_BOUND
    if start is None:
        assert end is not None  # noqa: S101 - `start` or `end` is set
        return end - _ONE_BOUND, end
    if end is None:
        return start, start + _ONE_BOUND
    if end < start:
        raise ArgumentError(f"the window ends ({iso8601.text(end)}) before it begins ({iso8601.text(start)})")
    return start, end


def windows(
    start: int, end: int, rollup: Rollup | None, *, data_frame: bool, size: str | timedelta | None = None
) -> Iterator[tuple[int, int]]:
    """The window in pieces of a length that one call may ask for, at least one piece. `size` makes pieces shorter."""
    if rollup is not None and rollup.text == "window":
        yield start, end
        return
    longest = _RAW_WINDOW
    if rollup is not None:
        table = _DATA_FRAME_WINDOWS if data_frame else _EVALUATE_WINDOWS
        longest = next((window for least, window in table if rollup.shortest_us >= least), _RAW_WINDOW)
    if size is not None:
        longest = min(longest, _size(size))
    while True:
        stop = start + longest
        if stop >= end:
            yield start, end
            return
        if rollup is not None:
            edge = rollup.edge_before(stop)
            stop = edge if edge > start else stop
        yield start, stop
        start = stop


def halved(windows: Sequence[tuple[int, int]], rollup: Rollup | None) -> list[tuple[int, int]]:
    """Each window cut in two, for answers that are too long. If the first window cannot be cut, all stay unchanged.

    A window of a minute or less is not cut: then the length of the window is not the cause of the long answer.
    """
    cut: list[tuple[int, int]] = []
    for first, stop in windows:
        middle = first + (stop - first) // 2
        if rollup is not None:
            middle = first if rollup.text == "window" else rollup.edge_before(middle)
        if first < middle < stop and stop - first > _SHORTEST_WINDOW:
            cut += [(first, middle), (middle, stop)]
        elif not cut:
            return list(windows)
        else:
            cut.append((first, stop))
    return cut


def _size(size: str | timedelta) -> int:
    text = iso8601.duration_text(size) if isinstance(size, timedelta) else size
    fixed, months = _length(text or "")
    return fixed or months * _MONTH_AT_LEAST


def pages(skip: int, limit: int | None, most: int) -> Iterator[tuple[int, int]]:
    """(skip, limit) of each page of at most `most` resources. Without a limit the pages never end."""
    if skip < 0 or (limit is not None and limit < 0):
        raise ArgumentError("skip and limit cannot be below zero")
    left = limit
    while left is None or left > 0:
        size = most if left is None else min(most, left)
        yield skip, size
        skip += size
        left = None if left is None else left - size


def utc_now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)
