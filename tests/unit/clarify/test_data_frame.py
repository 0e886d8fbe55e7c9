"""DataFrame: every form of input, exact on the wire, and every broken rule named with its place."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from connector.clarify import DataFrame

T0 = "2026-05-01T06:00:00Z"


def test_a_frame_on_the_wire() -> None:
    frame = DataFrame(
        times=[T0, datetime(2026, 5, 1, 6, 0, 10, 500_000, tzinfo=UTC), 1_777_615_220_000_001],
        series={"mill/feed_rate": [81.5, 82, None], "mill/on": [True, False, math.nan]},
    )
    assert frame.to_wire_bytes() == (
        b'{"times":["2026-05-01T06:00:00Z","2026-05-01T06:00:10.5Z","2026-05-01T06:00:20.000001Z"],'
        b'"series":{"mill/feed_rate":[81.5,82,null],"mill/on":[1,0,null]}}'
    )
    assert DataFrame.from_dict(orjson.loads(frame.to_wire_bytes())) == frame
    seconds = "datetime.datetime(2026, 5, 1, 6, 0, 20, 1, tzinfo=datetime.timezone.utc)"
    assert repr(frame).endswith(f"{seconds}], series={{'mill/feed_rate': [81.5, 82, None], 'mill/on': [1, 0, None]}})")


class _Mode(IntEnum):
    ON = 1


class _Float(float):
    pass


def test_every_kind_of_real_number_can_be_sent() -> None:
    # Fraction: a number of any kind will do at run time, although the type asks for float and int.
    values: list[Any] = [_Mode.ON, _Float(2.5), Fraction(1, 4), 2**64 - 1, 2**64, -(2**63) - 1, _Float("nan")]
    frame = DataFrame(times=range(7), series={"a": values})
    assert orjson.loads(frame.to_wire_bytes())["series"]["a"] == [
        1,
        2.5,
        0.25,
        18446744073709551615,
        1.8446744073709552e19,
        -9.223372036854775808e18,
        None,
    ]


def test_series_may_be_any_iterable_and_are_copied() -> None:
    mutable = [1.0, 2.0]
    frame = DataFrame(times=iter([0, 1]), series={"a": mutable, "b": (x for x in (1, 2))})
    mutable.append(3.0)
    assert frame.series == {"a": [1.0, 2.0], "b": [1, 2]}


def test_an_empty_frame() -> None:
    assert DataFrame(times=[], series={}).to_wire_bytes() == b'{"times":[],"series":{}}'


@pytest.mark.parametrize(
    ("times", "series", "said"),
    [
        ([T0], {"a": [math.inf]}, r"series 'a', value 0: inf cannot be stored"),
        ([T0, T0], {"a": [1.0, -math.inf]}, r"series 'a', value 1: -inf cannot be stored"),
        ([T0], {"a": [10**400]}, r"series 'a', value 0: inf"),
        ([T0], {"a": ["1"]}, r"series 'a', value 0: '1' is no number"),
        ([T0], {"a": "1"}, r"series 'a' must be a list"),
        ([T0], {"a": 1}, r"series 'a' must be a list"),
        ([T0], {"a": []}, r"series 'a' has 0 values for 1 times"),
        ([T0], {"a": [1], "b": [1, 2]}, r"series 'b' has 2 values for 1 times"),
        ([T0], {"a b": [1]}, r"'a b' cannot be an input ID"),
        ([T0], {1: [1]}, r"1 cannot be an input ID"),
        ([T0, "yesterday"], {}, r"times\[1\]: 'yesterday' is no ISO 8601 time"),
        ([math.nan], {}, r"times\[0\]: nan is no time"),
        ([True], {}, r"times\[0\]: True is no time"),
        ([None], {}, r"times\[0\]: None is no time"),
        ([10**21], {}, r"times\[0\]: .* outside the years"),
        (T0, {}, r"times must be a list"),
    ],
)
def test_refused_frames(times: object, series: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataFrame(times=times, series=series)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({}, "one column of times, found none"),
        ({"series": {}}, "a data frame is"),
        ({"times": [], "series": []}, "a data frame is"),
        ({"times": [], "series": {}, "x": 1}, "a data frame is"),
        ({"a": [1], "b": [2]}, "one column of times, found none"),
        ({"a": [T0], "b": [T0]}, "one column of times, found 'a', 'b'"),
    ],
)
def test_a_dict_must_be_a_frame(frame: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataFrame.from_dict(frame)


def test_a_dict_of_columns() -> None:
    expected = DataFrame(times=[T0], series={"a": [1]})
    assert DataFrame.from_dict({"times": [T0], "a": [1]}) == expected
    assert DataFrame.from_dict({"a": [1], "Timestamp": [1_777_615_200]}) == expected
    assert DataFrame.from_dict({"when": [datetime(2026, 5, 1, 6, tzinfo=UTC)], "a": [1]}) == expected
    counters = DataFrame.from_dict({"time": [T0], "total": [1_777_615_200]})
    assert counters.series == {"total": [1_777_615_200]}, "a number is never taken for a time because of its size"


@pytest.mark.parametrize(
    "time",
    [
        "2026-05-01T06:00:00.25Z",
        "2026-05-01 08:00:00.250+02:00",
        datetime(2026, 5, 1, 6, 0, 0, 250_000, tzinfo=UTC),
        1_777_615_200.25,
        1_777_615_200_250,
        1_777_615_200_250_000,
        1_777_615_200_250_000_000,
        np.datetime64("2026-05-01T06:00:00.25"),
    ],
)
def test_times_in_every_form(time: Any) -> None:
    frame = DataFrame(times=[time, T0], series={})
    assert frame.times_us == (1_777_615_200_250_000, 1_777_615_200_000_000)
    assert frame.times[0] == datetime(2026, 5, 1, 6, 0, 0, 250_000, tzinfo=UTC)


def test_times_without_a_zone_are_in_that_of_this_computer() -> None:
    local = datetime(2026, 5, 1, 6)  # noqa: DTZ001
    expected = (round(local.timestamp()) * 1_000_000,)
    assert DataFrame(times=[local], series={}).times_us == expected
    assert DataFrame(times=["2026-05-01T06:00:00"], series={}).times_us == expected
    assert DataFrame(times=pd.to_datetime(["2026-05-01T06:00:00"]), series={}).times_us == expected


def test_numpy_arrays() -> None:
    times = np.array(["2026-05-01T06:00:00", "2026-05-01T06:00:01"], dtype="datetime64[ns]")
    frame = DataFrame(times=times, series={"a": np.array([1.5, np.nan]), "b": np.array([1, 2])})
    assert frame.series == {"a": [1.5, None], "b": [1, 2]}
    assert frame.times_us[1] - frame.times_us[0] == 1_000_000


def test_to_pandas_and_back() -> None:
    frame = DataFrame(times=[T0, 1_777_615_200_000_001], series={"a": [1.5, None], "b": [None, 2]})
    table = frame.to_pandas()
    assert list(table.columns) == ["a", "b"]
    assert table.index[0] == pd.Timestamp(T0)
    assert table["a"].isna().tolist() == [False, True]
    assert DataFrame.from_pandas(table) == frame
    in_oslo = table.tz_convert("Europe/Oslo")
    assert DataFrame.from_pandas(in_oslo) == frame
    with_column = table.reset_index(names="when")
    assert DataFrame.from_pandas(with_column) == frame
    assert DataFrame.from_pandas(with_column, time_col="when") == frame
    assert DataFrame.from_pandas(table["a"]).series == {"a": [1.5, None]}
    assert DataFrame().to_pandas().empty


def test_what_pandas_data_needs() -> None:
    with pytest.raises(ValueError, match="a Series needs a name"):
        DataFrame.from_pandas(pd.Series([1.0], index=pd.to_datetime([T0])))
    with pytest.raises(ValueError, match=r"the times are not clear.*none"):
        DataFrame.from_pandas(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match="there is no column 'b'; there are a"):
        DataFrame.from_pandas(pd.DataFrame({"a": [1.0]}), time_col="b")


IN_UTC = pd.to_datetime([T0, "2026-05-01T06:00:01Z"])


def test_a_pandas_index_or_column_of_texts_is_the_times() -> None:
    expected = DataFrame(times=[T0], series={"a": [1]})
    assert DataFrame.from_pandas(pd.DataFrame({"a": [1]}, index=[T0])) == expected
    assert DataFrame.from_pandas(pd.DataFrame({"when": [T0], "a": [1]})) == expected
    named = pd.DataFrame({"Time": IN_UTC, "seen": IN_UTC})
    with pytest.raises(ValueError, match=r"series 'seen', value 0: '2026-.*' is no number"):
        DataFrame.from_pandas(named.astype({"seen": str}))  # the named column is the times, the other is not
    with pytest.raises(ValueError, match=r"the times are not clear.*: t, u\)"):
        DataFrame.from_pandas(pd.DataFrame({"t": IN_UTC, "u": IN_UTC, "a": [1, 2]}))


def test_what_is_missing_in_pandas_data_is_none() -> None:
    columns = {"i": pd.array([1, None], dtype="Int64"), "b": pd.array([None, True], dtype="boolean"), "o": [None, 2.5]}
    frame = DataFrame.from_pandas(pd.DataFrame(columns, index=IN_UTC))
    assert frame.series == {"i": [1, None], "b": [None, 1], "o": [None, 2.5]}
    assert DataFrame(times=IN_UTC, series={"a": columns["i"].tolist()}).series == {"a": [1, None]}
    assert DataFrame(times=[T0], series={"a": [Decimal("1.5")]}).series == {"a": [1.5]}


@pytest.mark.parametrize(
    "times",
    [
        pd.DatetimeIndex([T0, None]),
        pd.DatetimeIndex(["2026-05-01", None]),
        np.array(["2026-05-01", "NaT"], dtype="datetime64[s]"),
        [np.datetime64("2026-05-01"), np.datetime64("NaT")],
        [pd.Timestamp(T0), pd.NaT],
    ],
)
def test_a_missing_time_is_no_time_in_1677(times: Any) -> None:
    with pytest.raises(ValueError, match=r"times\[1\].*leave"):
        DataFrame(times=times, series={"a": [1, 2]})


def test_two_columns_of_one_name() -> None:
    with pytest.raises(ValueError, match="several columns of one name: 1, a"):
        DataFrame.from_pandas(pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a", 1, "1"], index=IN_UTC[:1]))


@pytest.mark.parametrize(
    ("times", "series", "said"),
    [
        (None, None, "times must be a list of times, not NoneType"),
        ("2026-05-01", None, "times must be a list of times, not a text"),
        ({"a": [1]}, [T0], "times must be a list of times, not dict"),
        ([T0], [1], "series must be a dict of input ID → values, not list"),
        ([T0], {"a": {"b": 1}}, "series 'a' must be a list of numbers and None"),
        ([T0], {"a": 1}, "series 'a' must be a list of numbers and None"),
    ],
)
def test_what_is_no_frame_at_all(times: Any, series: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataFrame(times, series)


def test_merging() -> None:
    one = DataFrame(times=[10**15, 10**15 + 2], series={"a": [1, 2], "b": [3, None]})
    two = DataFrame(times=[10**15 + 2, 10**15 + 1], series={"b": [None, 5], "c": [6, 7], "a": [None, None]})
    merged = DataFrame.merge([one, two])
    assert merged.times_us == (10**15, 10**15 + 1, 10**15 + 2)
    assert merged.series == {"a": [1, None, 2], "b": [3, 5, None], "c": [None, 7, 6]}
    assert one + {"times": [10**15], "series": {"a": [9]}} == DataFrame.merge(
        [one, DataFrame(times=[10**15], series={"a": [9]})]
    )
    assert (one + two.to_pandas()).series == merged.series
    assert DataFrame.merge([]) == DataFrame()
    with pytest.raises(TypeError, match="a list of DataFrame"):
        DataFrame.merge([one, {}])  # type: ignore[list-item]


def test_parts_of_a_frame() -> None:
    frame = DataFrame(times=range(10**15, 10**15 + 4), series={"a": [1, 2, 3, None], "b": [None, 5, None, None]})
    assert frame.samples == 4
    assert len(frame) == 4
    assert frame.rows(1, 3).series == {"a": [2, 3], "b": [5, None]}
    assert frame.between(10**15 + 1, 10**15 + 2).series == {"a": [2], "b": [5]}
    last = frame.last(1)
    assert last.times_us == (10**15 + 1, 10**15 + 2)
    assert last.series == {"a": [None, 3], "b": [5, None]}
    assert frame.only(["b"]).series == {"b": [None, 5, None, None]}


@pytest.mark.parametrize(
    "answer",
    [{"times": []}, {"times": [T0], "series": {"a": []}}, {"times": [T0], "series": {"a": ["1"]}}, {"times": 1}],
)
def test_answers_that_are_no_frames(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"times|series"):
        DataFrame.from_wire(answer)
