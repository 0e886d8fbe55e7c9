"""Reads a data frame: from decoded JSON to integer microseconds and floats. Every mistake is named.

A request of 8 MiB holds about 300,000 times. So a valid frame takes only a few passes that run in C: one regular
expression over all times together, `datetime.fromisoformat` by `map`, and one set of the types in each series. Only if
such a pass fails, the entries are checked one by one, to name the bad entries.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import cast

from connector.sandbox.problems import Problems

INPUT_KEY = re.compile(r"[A-Za-z0-9_:.#+/-]{1,128}")
BAD_KEY = "not a valid input key: 1 to 128 characters of A-Z a-z 0-9 - _ : . # + /"

# RFC 3339 in its strict form (upper case, no blank between date and time), as Go's time package reads it.
_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_ONE_TIME = re.compile(_TIME)
_ALL_TIMES = re.compile(rf"{_TIME}(?:\n{_TIME})*+")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE_TYPES = {int, float, type(None)}


@dataclass(frozen=True, slots=True)
class Frame:
    """Times in µs since the epoch, and series with one entry for each time: a float, or None for "no value"."""

    times: Sequence[int]
    series: Mapping[str, Sequence[float | None]]

    def without_repeats(self, *, nulls_count: bool) -> Frame:
        """The same frame with unique times: the last of several values at one time counts.

        With `nulls_count`, None is a value like any other. Without `nulls_count`, None never replaces a value.
        """
        slots = {time: slot for slot, time in enumerate(dict.fromkeys(self.times))}
        if len(slots) == len(self.times):
            return self
        series: dict[str, list[float | None]] = {}
        for key, values in self.series.items():
            column = series[key] = [None] * len(slots)
            for time, value in zip(self.times, values, strict=True):
                if nulls_count or value is not None:
                    column[slots[time]] = value
        return Frame(list(slots), series)


def read_frame(data: object, problems: Problems, *, ordered: bool) -> Frame:
    """Read the frame in the parameter `data`; every mistake is added to `problems`.

    If `problems` names only series, the other series of the frame are valid. After any other mistake, the frame has no
    meaning. With `ordered`, times must strictly increase.
    """
    if not isinstance(data, dict):
        problems.add("data", "must be an object with times and series")
        return Frame([], {})
    for name in data.keys() - {"times", "series"}:
        problems.add(f"data.{name}", "unknown field")
    raw_times, raw_series = data.get("times"), data.get("series")
    times: list[int] = []
    if isinstance(raw_times, list):
        times = _read_times(raw_times, problems)
        if ordered:
            disorder = map(operator.ge, times, islice(times, 1, None))
            problems.add_at("data.times", "not later than its predecessor", _where(disorder, start=1))
    else:
        problems.add("data.times", "must be an array of RFC 3339 date-times")
    series: dict[str, Sequence[float | None]] = {}
    if isinstance(raw_series, dict):
        for key, values in raw_series.items():
            series[key] = _read_series(key, values, problems)
            if isinstance(raw_times, list) and isinstance(values, list) and len(values) != len(raw_times):
                problems.add(f"data.series.{key}", "not same length as times")
    else:
        problems.add("data.series", "must be an object of arrays")
    return Frame(times, series)


def time_text(time_us: int) -> str:
    """The time as text in an answer: RFC 3339 in UTC, with a fraction only if the fraction is not 0."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    text = moment.replace(tzinfo=None).isoformat()
    return text.rstrip("0") + "Z" if moment.microsecond else text + "Z"


def _where(flags: map[bool], start: int) -> list[int]:
    return [index for index, flag in enumerate(flags, start) if flag]


def _read_times(raw: list[object], problems: Problems) -> list[int]:
    all_good = _read_good_times(raw)
    if all_good is not None:
        return all_good
    times = [_read_time(entry) for entry in raw]
    problems.add_at("data.times", "not an RFC 3339 date-time", (i for i, time in enumerate(times) if time is None))
    return [time for time in times if time is not None]


def _read_good_times(raw: list[object]) -> list[int] | None:
    """All times in µs, read in the fast way; None if any of them is bad."""
    texts = cast("list[str]", raw)
    try:
        # An entry that is not a string makes join fail; an entry with a line break makes fromisoformat fail.
        if texts and not _ALL_TIMES.fullmatch("\n".join(texts)):
            return None
        return [_microseconds(moment) for moment in map(datetime.fromisoformat, texts)]
    except (TypeError, ValueError):
        return None


def _read_time(entry: object) -> int | None:
    if not isinstance(entry, str) or not _ONE_TIME.fullmatch(entry):
        return None
    try:
        return _microseconds(datetime.fromisoformat(entry))
    except ValueError:
        return None  # The form is right, but there is no such day or year.


def _microseconds(moment: datetime) -> int:
    # fromisoformat has already cut digits finer than a microsecond.
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _read_series(key: str, values: object, problems: Problems) -> list[float | None]:
    path = f"data.series.{key}"
    if not INPUT_KEY.fullmatch(key):
        problems.add(path, BAD_KEY)
    if not isinstance(values, list):
        problems.add(path, "must be an array of numbers and nulls")
        return []
    types = set(map(type, values))
    if not types <= _VALUE_TYPES:
        bad = (index for index, value in enumerate(values) if type(value) not in _VALUE_TYPES)
        problems.add_at(path, "neither a number nor null", bad)
        return []
    if int in types:
        return [None if value is None else float(value) for value in values]
    return values
