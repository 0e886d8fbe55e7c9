"""Reads the parameter `data` of clarify.dataFrame and clarify.evaluate. Source: docs api/1.1/types/fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from connector.sandbox.method import Call
from connector.sandbox.problems import Problems
from connector.sandbox.rollups import Rollup, RollupError, parse_rollup

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000
_NO_BOUND: Final = 7 * _DAY
_ONE_BOUND: Final = 14 * _DAY
_RAW_WINDOW: Final = 40 * _DAY
_WINDOWS: Final = ((30 * _DAY, 3660 * _DAY), (_DAY, 1900 * _DAY), (60_000_000, 400 * _DAY))
"""(shortest rollup, longest window for such a rollup), in µs; the first pair is for data frames only."""
_FIELDS: Final = frozenset(("filter", "rollup", "timeZone", "firstDayOfWeek", "origin", "last", "outsidePoints"))


@dataclass(frozen=True, slots=True)
class DataQuery:
    """A checked query for data, from `first_us` to before `end_us`, in µs since the epoch.

    `last` above 0 asks for only the last `last` values of each series. `outside_points` also asks for the nearest
    sample on each side of the window.
    """

    first_us: int
    end_us: int
    rollup: Rollup | None
    last: int
    outside_points: bool
    series: frozenset[str] | None
    """Keys of the series that the answer may have; None: all series."""

    def wants(self, key: str) -> bool:
        """Whether the series `key` belongs into the answer."""
        return self.series is None or key in self.series


def read_data_query(call: Call, *, data_frame: bool) -> DataQuery:
    """Read the parameter `data`; every mistake is added to the problems of the call.

    `data_frame` says that the method is clarify.dataFrame, which allows longer windows than clarify.evaluate.
    """
    problems = call.problems
    given = _object(call.params.get("data"), "data", problems)
    for field in given.keys() - _FIELDS:
        problems.add(f"data.{field}", "unknown parameter")
    conditions = _object(given.get("filter"), "data.filter", problems)
    for field in conditions.keys() - {"times", "series"}:
        problems.add(f"data.filter.{field}", "unknown field; there are times and series")
    first, end = _window(_object(conditions.get("times"), "data.filter.times", problems), call)
    rollup = _rollup(given, problems)
    _check_window(end - first, rollup, call, data_frame=data_frame)
    last = given.get("last")
    if last is not None and (isinstance(last, bool) or not isinstance(last, int)):
        problems.add("data.last", "must be an integer")
        last = None
    outside = given.get("outsidePoints")
    if outside not in (None, True, False):
        problems.add("data.outsidePoints", "must be true or false")
    series = _series(conditions.get("series"), problems)
    return DataQuery(first, end, rollup, last if last is not None else -1, outside is True, series)


def _object(value: object, path: str, problems: Problems) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.add(path, "must be an object")
        return {}
    return value


def _time(value: object, path: str, problems: Problems) -> int | None:
    """The time in µs since the epoch; None if no time is set: some clients then send a time in year 1."""
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004, TRY301 - the handler reports both mistakes
        moment = datetime.fromisoformat(value)
    except ValueError:
        problems.add(path, "must be an RFC 3339 date-time")
        return None
    if moment.tzinfo is None:
        problems.add(path, "must be an RFC 3339 date-time, with Z or an offset")
        return None
    return None if moment.year == 1 else (moment - _EPOCH) // _MICROSECOND


def _window(times: Mapping[str, object], call: Call) -> tuple[int, int]:
    for operator in times.keys() - {"$gte", "$lt"}:
        call.problems.add(f"data.filter.times.{operator}", "unknown operator; there are $gte and $lt")
    first = _time(times.get("$gte"), "data.filter.times.$gte", call.problems)
    end = _time(times.get("$lt"), "data.filter.times.$lt", call.problems)
    now = int(call.now * 1_000_000)
    if first is None:
        first = now - _NO_BOUND if end is None else end - _ONE_BOUND
        return first, now + _NO_BOUND if end is None else end
    return first, first + _ONE_BOUND if end is None else end


def _rollup(given: Mapping[str, object], problems: Problems) -> Rollup | None:
    rollup, zone, first_day = given.get("rollup"), given.get("timeZone"), given.get("firstDayOfWeek")
    origin = _time(given.get("origin") or None, "data.origin", problems)
    if rollup is not None and not isinstance(rollup, str):
        problems.add("data.rollup", "must be null, a duration or window")
        return None
    if not isinstance(zone, str | None) or not isinstance(first_day, int | None) or isinstance(first_day, bool):
        problems.add("data", "timeZone must be a string and firstDayOfWeek an integer")
        return None
    try:
        return parse_rollup(
            rollup,
            time_zone=zone or "UTC",  # an empty string or 0 means "not set"
            first_day_of_week=first_day or 1,
            origin_us=origin,
        )
    except RollupError as error:
        problems.add(f"data.{error.field}", str(error))
        return None


def _check_window(length: int, rollup: Rollup | None, call: Call, *, data_frame: bool) -> None:
    if call.settings.windows == "ignore" or (rollup is not None and rollup.is_window):
        return
    longest = _RAW_WINDOW
    if rollup is not None:
        table = _WINDOWS if data_frame else _WINDOWS[1:]
        longest = next((window for least, window in table if rollup.shortest_us >= least), _RAW_WINDOW)
    if length > longest:
        call.problems.add("data.filter.times", f"the window is longer than {longest // _DAY} days")


def _series(value: object, problems: Problems) -> frozenset[str] | None:
    conditions = _object(value, "data.filter.series", problems)
    if not conditions:
        return None
    wanted = conditions.get("$in")
    if conditions.keys() != {"$in"} or not isinstance(wanted, list) or not all(isinstance(k, str) for k in wanted):
        problems.add("data.filter.series", "must be {$in: [series, ...]}")
        return None
    return frozenset(wanted)
