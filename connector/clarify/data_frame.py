"""Data frames: the data that is written to Clarify, and the data that is read from Clarify.

Times are stored as integers of microseconds, values as tuples. So a frame of a million values is built, merged and
written in loops that run in C. `times` and `series` give lists that a program may change. Before the frame is used,
changes of the lists are checked and taken over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import chain
from math import inf, isfinite, isnan
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import orjson

from connector.clarify import iso8601
from connector.clarify.columns import TIME_COLUMNS, column_times, column_values, pandas_columns
from connector.clarify.errors import ArgumentError
from connector.clarify.iso8601 import Instant
from connector.clarify.models import check_input_id

if TYPE_CHECKING:
    import pandas as pd

_INT_MIN: Final = -(2**63)  # integers beyond 64 bits travel as the nearest float64
_INT_MAX: Final = 2**64 - 1
_PLAIN: Final = frozenset((float, int, type(None)))

_SHOWN: Final = 20
"""The number of times, values and series that `repr` shows."""

Dumped: TypeAlias = dict[str, Any]
Value: TypeAlias = float | int | None
"""One cell of a data frame; None means no value."""


class DataFrame:
    """Times and series: each series has one value, or None, for each of the times.

    times
        Datetimes, ISO 8601 texts or numbers since 1970, in any order. Times without a zone are in the zone of this
        computer. The size of a number decides whether the number is in s, ms, µs or ns. Digits below a microsecond are
        cut.
    series
        Input ID → numbers. True and False become 1 and 0, NaN becomes None. Integers stay unchanged, but Clarify
        computes with float64, which is exact up to 2**53.

    Infinities, texts and wrong lengths raise ArgumentError, a ValueError that names the series and the index. `times`
    and `series` may be changed in place, or set. A change that breaks a rule raises ArgumentError when the frame is
    used.

    The class is long because it has a way from and into each form of the data: dict, JSON, pandas and Clarify's own.

    >>> frame = DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]})
    """

    __slots__ = ("_given_series", "_given_times", "_read_times", "_series", "_times")

    def __init__(
        self,
        times: Iterable[Instant] = (),
        series: Mapping[str, Iterable[Value]] | None = None,
    ) -> None:
        self._times = _times(times)
        self._series = {
            check_input_id(key): _values(key, values)
            for key, values in _mapping({} if series is None else series).items()
        }
        _check_lengths(self._times, self._series)
        self._given_times: list[Any] | None = None
        """The list that `times` returned or was set to. None before: then nothing can have changed."""
        self._given_series: dict[str, Any] | None = None
        """The dict that `series` returned or was set to; None before."""
        self._read_times: list[Any] = []
        """A copy of `_given_times` from the moment when `_times` was read."""

    # -- content -----------------------------------------------------------------------------------

    @property
    def times(self) -> list[datetime]:
        """The times as datetimes in UTC, or as they were set. The list may be changed."""
        if self._given_times is None:
            self._given_times = list(map(iso8601.to_datetime, self._times))
            self._read_times = self._given_times.copy()
        return self._given_times

    @times.setter
    def times(self, times: Iterable[Instant]) -> None:
        read = _times(times)
        self._given_times = times if isinstance(times, list) else list(map(iso8601.to_datetime, read))
        self._read_times, self._times = self._given_times.copy(), read

    @property
    def series(self) -> dict[str, list[Value]]:
        """Input ID, item ID or alias → values, one for each time. The dict and its lists may be changed."""
        if self._given_series is None:
            self._given_series = {key: list(values) for key, values in self._series.items()}
        return self._given_series

    @series.setter
    def series(self, series: Mapping[str, Iterable[Value]]) -> None:
        self._given_series = series if isinstance(series, dict) else dict(_mapping(series))

    @property
    def times_us(self) -> tuple[int, ...]:
        """The times in µs since 1970. Raises ArgumentError if a change of the frame broke a rule."""
        self._take_changes()
        return self._times

    @property
    def columns(self) -> Mapping[str, tuple[Value, ...]]:
        """`series`, read-only and faster. Raises ArgumentError if a change of the frame broke a rule."""
        self._take_changes()
        return self._series

    def _take_changes(self) -> None:
        """Check the changes of the lists that were given out, and take the changes over."""
        if self._given_times is None and self._given_series is None:
            return
        times, series = self._times, self._series
        read = self._read_times
        if self._given_times is not None and self._given_times != read:
            read = self._given_times.copy()
            times = _times(read)
        if self._given_series is not None:
            series = {}
            for key, values in list(self._given_series.items()):
                if isinstance(values, Iterator):  # an iterator can be read only once
                    values = self._given_series[key] = list(values)  # noqa: PLW2901
                known = self._series.get(key)
                if known is None:
                    check_input_id(key)  # the series of an answer may have other names
                is_as_known = known is not None and type(values) is list and tuple(values) == known
                series[key] = known if is_as_known and known is not None else _values(key, values)
        _check_lengths(times, series)
        self._times, self._series, self._read_times = times, series, read

    @property
    def samples(self) -> int:
        """The number of cells that hold a value."""
        return sum(len(values) - values.count(None) for values in self.columns.values())

    def __len__(self) -> int:
        """The number of times."""
        return len(self._times if self._given_times is None else self._given_times)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataFrame):
            return NotImplemented
        return self.times_us == other.times_us and self.columns == other.columns

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        times = self._given_times
        if times is None:
            times = [iso8601.to_datetime(time) for time in self._times[:_SHOWN]]
        series = self._series if self._given_series is None else self._given_series
        some = [f"{key!r}: {_shown(values)}" for key, values in list(series.items())[:_SHOWN]]
        more = f", … {len(series) - _SHOWN} more" if len(series) > _SHOWN else ""
        return f"DataFrame(times={_shown(times, len(self))}, series={{{', '.join(some)}{more}}})"

    # -- other forms ------------------------------------------------------------------------------

    def model_dump(self, *, mode: str = "python", **_: object) -> Dumped:
        """The frame as a dict of `times`, as datetimes, and `series`, like `model_dump` of pydantic.

        With `mode="json"`, the times are texts for the API. Other options have no effect on a frame.
        """
        if mode == "json":
            return self.to_wire()
        self._take_changes()
        times = list(map(iso8601.to_datetime, self._times))
        return {"times": times, "series": {key: list(values) for key, values in self._series.items()}}

    def dict(self) -> Dumped:
        """The same as `model_dump`."""
        return self.model_dump()

    def model_dump_json(self) -> str:
        """The frame as JSON text for the API."""
        return self.to_wire_bytes().decode()

    def json(self) -> str:
        """The same as `model_dump_json`."""
        return self.model_dump_json()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataFrame:
        """A frame from {"times": [...], "series": {...}}, or from a flat dict of columns.

        The time column has a name of `TIME_COLUMNS`, such as times, timestamp or date. If no column of a flat dict has
        a name of `TIME_COLUMNS`, the time column is the only column that begins with a datetime or a text. Raises
        ArgumentError if there is no time column, or more than one time column.
        """
        if "series" in data:
            series = data["series"]
            beside = [key for key in data if key != "series"]
            known = len(beside) == 1 and str(beside[0]).lower() in TIME_COLUMNS
            times = data[beside[0]] if known else None
            if not isinstance(times, Iterable) or not isinstance(series, Mapping):
                raise ArgumentError('a data frame is {"times": [...], "series": {"<input ID>": [...], ...}}')
            return cls(times, series)
        named = [key for key in data if str(key).lower() in TIME_COLUMNS]
        columns = named or [key for key, values in data.items() if _begins_with_time(values)]
        if len(columns) != 1:
            found = ", ".join(map(repr, columns)) or "none"
            raise ArgumentError(f"a data frame needs one column of times, found {found}; call it 'times'")
        return cls(data[columns[0]], {key: values for key, values in data.items() if key != columns[0]})

    @classmethod
    def from_us(cls, times_us: Iterable[int], series: Mapping[str, Iterable[Value]]) -> DataFrame:
        """A frame from µs since 1970 and values that are known to be valid. Nothing is checked."""
        frame = cls()
        frame._times = tuple(times_us)
        frame._series = {key: tuple(values) for key, values in series.items()}
        return frame

    @classmethod
    def from_pandas(cls, data: Any, time_col: str | None = None) -> DataFrame:
        """A frame from pandas. The times are the column `time_col`, the index, or the only column of times.

        Times are datetimes or ISO 8601 texts. A Series needs a name, which becomes the input ID. Raises ArgumentError
        if the times are not clear, if a time is missing, or if two columns have the same name.
        """
        return cls(*pandas_columns(data, time_col))

    def to_pandas(self) -> pd.DataFrame:
        """The frame as a pandas DataFrame: a column per series, NaN for no value, the times in UTC as the index.

        Raises ImportError if pandas is missing; the text says how to install pandas.
        """
        self._take_changes()
        try:
            import pandas as pd  # noqa: PLC0415 - an optional package
        except ImportError:
            raise ImportError(
                "to_pandas needs pandas: in a checkout of the connector, run pip install '.[pandas]'"
            ) from None
        index = pd.to_datetime(list(self._times), unit="us", utc=True)
        columns = {key: pd.array(values, dtype="float64") for key, values in self._series.items()}
        return pd.DataFrame(columns, index=index)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> DataFrame:
        """A frame from the data of an answer of the API. Raises ValueError if the data is no frame."""
        times, series = data.get("times"), data.get("series")
        if times is None and series is None:
            return cls()
        if not isinstance(times, list) or not isinstance(series, Mapping):
            raise ValueError("a data frame without times or series")  # noqa: TRY004 - the data comes from a server
        frame = cls()
        frame._times = tuple(iso8601.read_all(times))
        frame._series = {key: _known_values(key, values, len(times)) for key, values in series.items()}
        return frame

    def to_wire_bytes(self) -> bytes:
        """The frame as JSON for the API. Times are in UTC, in the shortest exact form."""
        return orjson.dumps(self.to_wire())

    def to_wire(self) -> Dumped:
        """The frame as a dict of `times`, as RFC 3339 texts, and `series`."""
        self._take_changes()
        return {"times": iso8601.texts(self._times), "series": dict(self._series)}

    # -- parts and sums ---------------------------------------------------------------------------

    @classmethod
    def merge(cls, frames: Iterable[DataFrame]) -> DataFrame:
        """One frame with all times and series of `frames`, sorted by time.

        If two frames have a value for the same time and series, the value of the later frame counts. A None never
        replaces a value. The cost grows with the number of cells. Raises TypeError for anything but frames.
        """
        given = list(frames)
        if any(not isinstance(frame, DataFrame) for frame in given):
            raise TypeError("merge takes a list of DataFrame")
        for frame in given:
            frame._take_changes()
        # Sorting a list of sorted runs, and then dropping repeats, is much faster than sorting a set.
        times = list(dict.fromkeys(sorted(chain.from_iterable(frame._times for frame in given))))
        slots: dict[int, int] = {}
        columns: dict[str, list[Value]] = {}
        for frame in given:
            first = bisect_left(times, frame._times[0]) if frame._times else 0
            end = first + len(frame._times)
            together = tuple(times[first:end]) == frame._times
            if not together and not slots:
                slots = dict(zip(times, range(len(times)), strict=True))
            places = range(first, end) if together else list(map(slots.__getitem__, frame._times))
            for key, values in frame._series.items():
                column = columns.get(key)
                is_new = column is None
                if column is None:
                    column = columns[key] = [None] * len(times)
                if together and (is_new or None not in values):
                    column[first:end] = values
                    continue
                for place, value in zip(places, values, strict=True):
                    if value is not None:
                        column[place] = value
        return cls.from_us(times, columns)

    def __add__(self, other: object) -> DataFrame:
        """This frame merged with another frame, a dict, or a pandas DataFrame or Series."""
        return DataFrame.merge([self, as_data_frame(other)])

    def rows(self, first: int, end: int) -> DataFrame:
        """A frame of the times from index `first` to before index `end`."""
        self._take_changes()
        series = {key: values[first:end] for key, values in self._series.items()}
        return DataFrame.from_us(self._times[first:end], series)

    def only(self, keys: Iterable[str]) -> DataFrame:
        """A frame of the series `keys`, with all times."""
        self._take_changes()
        return DataFrame.from_us(self._times, {key: self._series[key] for key in keys})

    def last(self, n: int) -> DataFrame:
        """A frame of the last `n` values of each series, without empty times. The times must be sorted."""
        self._take_changes()
        series: dict[str, tuple[Value, ...]] = {}
        earliest = len(self._times)
        for key, values in self._series.items():
            filled = [index for index, value in enumerate(values) if value is not None][-n:]
            kept = set(filled)
            series[key] = tuple(value if index in kept else None for index, value in enumerate(values))
            earliest = min(earliest, filled[0] if filled else earliest)
        return DataFrame.from_us(self._times, series).rows(earliest, len(self._times))._without_empty_times()

    def _without_empty_times(self) -> DataFrame:
        used = [any(cell is not None for cell in row) for row in zip(*self._series.values(), strict=True)]
        if all(used):
            return self
        kept = [index for index, is_used in enumerate(used) if is_used]
        series = {key: [values[index] for index in kept] for key, values in self._series.items()}
        return DataFrame.from_us([self._times[index] for index in kept], series)

    def between(self, first_us: int, end_us: int) -> DataFrame:
        """A frame of the times from `first_us` to before `end_us` (µs since 1970). The times must be sorted."""
        self._take_changes()
        return self.rows(bisect_left(self._times, first_us), bisect_left(self._times, end_us))


def as_data_frame(data: object) -> DataFrame:
    """A DataFrame from a DataFrame, a dict, or a pandas DataFrame or Series. Raises ArgumentError for other data."""
    if isinstance(data, DataFrame):
        return data
    if isinstance(data, Mapping):
        return DataFrame.from_dict(data)
    if type(data).__module__.partition(".")[0] == "pandas":
        return DataFrame.from_pandas(data)
    raise ArgumentError(f"{type(data).__name__} is no data: give a DataFrame, a dict, or a pandas DataFrame or Series")


def _mapping(series: Mapping[str, Iterable[Value]]) -> Mapping[str, Iterable[Value]]:
    if not isinstance(series, Mapping):
        raise ArgumentError(f"series must be a dict of input ID → values, not {_kind(series)}")
    return series


def _check_lengths(times: Sequence[int], series: Mapping[str, Sequence[Value]]) -> None:
    for key, values in series.items():
        if len(values) != len(times):
            raise ArgumentError(
                f"series {key!r} has {len(values)} values for {len(times)} times: give a value, or None, for each"
            )


def _times(times: Iterable[Instant]) -> tuple[int, ...]:
    if isinstance(times, str | bytes | Mapping) or not isinstance(times, Iterable):
        raise ArgumentError(f"times must be a list of times, not {_kind(times)}")
    if getattr(times, "dtype", None) is not None:
        return tuple(column_times(times))
    return tuple(iso8601.read_all(times))


def _begins_with_time(values: object) -> bool:
    first = next(iter(values), None) if isinstance(values, Iterable) and not isinstance(values, str) else None
    return isinstance(first, str | datetime)


def _shown(values: object, length: int | None = None) -> str:
    """The first values as text, and how many more there are. Anything may have been given, also an iterator."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return repr(values)
    length = len(values) if length is None else length
    some = [repr(value) for value in values[:_SHOWN]]
    return f"[{', '.join(some)}{f', … {length - _SHOWN} more' if length > _SHOWN else ''}]"


def _kind(value: object) -> str:
    return "a text" if isinstance(value, str | bytes) else type(value).__name__


def _values(key: str, values: Iterable[Value]) -> tuple[Value, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ArgumentError(f"series {key!r} must be a list of numbers and None")
    if hasattr(values, "tolist"):  # an iteration over numpy or pandas data gives numbers of numpy's types
        values = column_values(values)
    cells = tuple(values)
    if _are_plain(cells):
        return cells
    checked: list[Value] = []
    for index, value in enumerate(cells):
        if value is None or (type(value) is float and isfinite(value)):
            checked.append(value)
            continue
        try:
            checked.append(_number(value))
        except ValueError as error:
            raise ArgumentError(f"series {key!r}, value {index}: {error}") from None
    return tuple(checked)


def _are_plain(cells: Sequence[Value]) -> bool:
    """Whether all cells are finite floats, ints of 64 bits, or None, as most cells are. False in case of doubt."""
    kinds = set(map(type, cells))
    if not kinds <= _PLAIN:
        return False
    numbers = [cell for cell in cells if cell is not None] if type(None) in kinds else cast("Sequence[float]", cells)
    if int in kinds:
        whole = [number for number in numbers if type(number) is int]
        if not _INT_MIN <= min(whole) <= max(whole) <= _INT_MAX:
            return False
    return float not in kinds or isfinite(sum(numbers))


def _known_values(key: str, values: object, n: int) -> tuple[Value, ...]:
    if not isinstance(values, list) or len(values) != n:
        raise ValueError(f"series {key!r} has not one value for each time")
    if not set(map(type, values)) <= _PLAIN:
        raise ValueError(f"series {key!r} has a value that is no number")
    return tuple(values)


def _number(value: object) -> float | int | None:
    """A real number of any type as a float or int that JSON can hold; None for NaN and for NA of pandas."""
    if isinstance(value, Integral):  # bool is an Integral
        whole = int(value)
        if _INT_MIN <= whole <= _INT_MAX:
            return whole
        value = _nearest_float(whole)
    if type(value).__name__ == "NAType":  # of pandas, which may not be installed
        return None
    if not isinstance(value, Real | Decimal):
        raise ArgumentError(f"{value!r} is no number: give a float, int, bool or None")
    number = float(value)
    if isnan(number):
        return None
    if not isfinite(number):
        raise ArgumentError(f"{number} cannot be stored: leave the value out, or give None")
    return number


def _nearest_float(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return inf if whole > 0 else -inf
