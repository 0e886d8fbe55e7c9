"""Columns of numpy and pandas as plain Python: finds the column of times, and reads times and values.

Neither package is imported here: a program that has columns of a package has imported the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final

from connector.clarify import iso8601
from connector.clarify.errors import ArgumentError

TIME_COLUMNS: Final = frozenset(("times", "time", "timestamp", "timestamps", "datetime", "date", "ts"))
"""The names of a column of times."""
_NOT_A_TIME: Final = -(2**63)
"""The number by which numpy and pandas store a missing time."""


def pandas_columns(data: Any, time_col: str | None) -> tuple[Any, dict[str, Any]]:
    """(times, series by name) of a pandas DataFrame or Series. ArgumentError if the column of times is not clear."""
    if not hasattr(data, "columns"):
        if data.name is None:
            raise ArgumentError("a Series needs a name, which becomes the input ID: series.rename('...')")
        data = data.to_frame()
    names = list(map(str, data.columns))
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ArgumentError(f"there are several columns of one name: {', '.join(repeated)}")
    if time_col is not None and time_col not in data.columns:
        raise ArgumentError(f"there is no column {time_col!r}; there are {', '.join(names)}")
    if time_col is None and not _are_times(data.index):
        time_col = _time_column(data)
    times = data.index if time_col is None else data[time_col]
    return times, {str(column): data[column] for column in data.columns if column != time_col}


def _time_column(data: Any) -> Any:
    found = [column for column in data.columns if _are_times(data[column])]
    named = [column for column in found or data.columns if str(column).lower() in TIME_COLUMNS]
    for candidates in (named, found):
        if len(candidates) == 1:
            return candidates[0]
    raise ArgumentError(
        "the times are not clear: set a DatetimeIndex, or name the column with time_col "
        f"(columns of times: {', '.join(map(str, found)) or 'none'})"
    )


def _are_times(column: Any) -> bool:
    """Whether a column has datetimes, or begins with a datetime or with the text of a time."""
    if column.dtype.kind == "M":
        return True
    first = next(iter(islice(column, 1)), None)
    if isinstance(first, str):
        try:
            datetime.fromisoformat(first)
        except ValueError:
            return False
        return True
    return isinstance(first, datetime)


def column_times(times: Any) -> list[int]:
    """The times of a column in µs since 1970. Times of numpy are in UTC.

    Times of pandas without a zone are in the zone of this computer.

    ArgumentError names the index of a value that is no time, or of a missing time.
    """
    if times.dtype.kind != "M":
        return iso8601.read_all(times.tolist())
    zone = getattr(times.dtype, "tz", None)
    if zone is not None:
        times = _without_zone(_without_zone(times, "tz_convert", "UTC"), "tz_localize", None)
    counted = times.astype("datetime64[us]").astype("int64").tolist()
    if _NOT_A_TIME in counted:
        raise ArgumentError(f"times[{counted.index(_NOT_A_TIME)}] is missing: leave the row out")
    if zone is not None or not hasattr(times, "array"):  # only the columns of pandas have `array`
        return list(map(int, counted))
    as_datetimes: Callable[[], list[Any]] = times.astype("datetime64[us]").tolist
    return iso8601.read_all(as_datetimes())


def _without_zone(times: Any, method: str, argument: str | None) -> Any:
    """The result of a method for times. A column has the methods in `dt`, an index has the methods directly."""
    return getattr(getattr(times, "dt", times), method)(argument)


def column_values(values: Any) -> Iterable[Any]:
    """The values of a column; None for a missing value."""
    if not hasattr(values, "isna"):  # numpy's
        listed: list[Any] = values.tolist()
        return listed
    missing = values.isna()
    if not missing.any():
        return list(values.tolist())
    return [None if is_missing else value for value, is_missing in zip(values.tolist(), missing, strict=True)]
