"""The sandbox's buckets, aggregates and formulas against plain definitions of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.sandbox.formula import FormulaError, parse
from connector.sandbox.rollups import Rollup, RollupError, numeric, parse_rollup, state_rate, states
from tests.property.fuzz import FUZZ

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
ZONES = [
    "UTC",
    "Europe/Oslo",
    "Europe/Dublin",  # where winter is the exception
    "America/St_Johns",
    "Africa/Casablanca",
    "Australia/Lord_Howe",  # half an hour in summer
    "Antarctica/Troll",  # two hours
    "Asia/Kolkata",
    "Pacific/Apia",  # has left out a day
    "America/Juneau",  # has had one twice
]


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def made(text: str, zone: str, first_day: int, origin_us: int | None) -> Rollup:
    found = parse_rollup(text, time_zone=zone, first_day_of_week=first_day, origin_us=origin_us)
    assert found is not None
    return found


CHANGES = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-10-25T00:30:00Z",
    "2026-10-25T01:30:00Z",
    "2026-04-04T15:00:00Z",
    "2011-12-30T10:00:00Z",
    "1867-10-18T15:00:00Z",
    "2024-02-29T00:00:00Z",
    "1970-01-01T00:00:00Z",
]
TIMES = (
    st.builds(lambda change, off: us(change) + off, st.sampled_from(CHANGES), st.integers(-2 * DAY, 2 * DAY))
    | st.builds(lambda change, off: us(change) + off * 15 * 60 * SECOND, st.sampled_from(CHANGES), st.integers(-99, 99))
    | st.integers(us("0001-01-01T00:00:00Z"), us("9999-12-31T23:59:59Z"))
)
NARROW = ["PT0.7S", "PT7S", "PT1M", "PT29M", "PT40M", "PT1H", "PT61M", "PT90M", "PT2H", "PT5H", "PT23H"]
LONG = ["P1D", "P1DT1H", "P1W", "P2W", "P10D", "P1M", "P2M", "P5M", "P1Y", "P1Y1M", "P100Y"]
LENGTHS = st.sampled_from(NARROW + LONG)
ROLLUPS = st.builds(made, LENGTHS, st.sampled_from(ZONES), st.integers(1, 7), st.none() | TIMES)


@settings(max_examples=600)
@given(rollup=ROLLUPS, gte=TIMES, count=st.integers(0, 30), rest=st.integers(1, DAY))
def test_buckets_follow_each_other_and_cover_the_window(rollup: Rollup, gte: int, count: int, rest: int) -> None:
    lt = gte + count * rollup.shortest_us + min(rest, rollup.shortest_us)
    buckets = list(rollup.buckets(gte, lt))
    assert buckets[0][0] <= gte < buckets[0][1]
    assert buckets[-1][0] < lt <= buckets[-1][1]
    assert all(start < end for start, end in buckets)
    assert all(one[1] == following[0] for one, following in pairwise(buckets))
    for start, end in buckets:
        for inside in (start, (start + end) // 2, end - 1):
            assert rollup.start_of(inside) == start


CLOCK_CHANGES = st.sampled_from(
    [
        ("Europe/Oslo", "2026-03-29T01:00:00Z"),
        ("Europe/Oslo", "2026-10-25T01:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
        ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("America/Juneau", "1867-10-19T00:31:13Z"),
    ]
)
STEPS = st.integers(-300, 300).map(lambda step: step * 10 * 60 * SECOND)


@settings(max_examples=600)
@given(
    change=CLOCK_CHANGES,
    text=st.sampled_from(["PT40M", "PT61M", "PT2H", "PT150M", "PT5H", "P1D", "P1M"]),
    origin=STEPS,
    gte=STEPS,
    length=st.integers(1, 30 * HOUR),
)
def test_buckets_around_a_change_of_the_clock(
    change: tuple[str, str], text: str, origin: int, gte: int, length: int
) -> None:
    zone, at = change
    rollup = made(text, zone, 1, us(at) + origin)
    first = us(at) + gte
    buckets = list(rollup.buckets(first, first + length))
    assert buckets[0][0] <= first < buckets[0][1]
    assert buckets[-1][0] < first + length <= buckets[-1][1]
    assert all(start < end for start, end in buckets)
    assert all(one[1] == following[0] for one, following in pairwise(buckets))
    for start, end in buckets:
        for inside in range(start, end, max(1, (end - start) // 9)):
            assert rollup.start_of(inside) == start


@settings(max_examples=400)
@given(rollup=ROLLUPS, time=TIMES)
def test_the_origin_is_an_edge_and_lengths_are_what_was_asked_for(rollup: Rollup, time: int) -> None:
    assert rollup.start_of(rollup.origin_us) == rollup.origin_us
    ((start, end),) = rollup.buckets(time, time + 1)
    if rollup.is_elapsed:
        assert end - start == rollup.fixed_us
    elif start > us("1990-01-01T00:00:00Z") and end < us("2037-01-01T00:00:00Z") and "Apia" not in rollup.zone.key:
        # Nothing but the clock's change in summer can make it longer or shorter.
        longest = rollup.fixed_us or rollup.months * 31 * DAY
        assert rollup.shortest_us - 2 * HOUR <= end - start <= longest + 2 * HOUR


@settings(max_examples=300)
@given(zone=st.sampled_from(ZONES), text=st.sampled_from(["P1D", "P1W", "P1M", "P1Y"]), time=TIMES)
def test_days_begin_at_midnight_by_the_local_clock(zone: str, text: str, time: int) -> None:
    time = min(max(time, us("0002-02-01T00:00:00Z")), us("9998-12-01T00:00:00Z"))
    start = made(text, zone, 1, None).start_of(time)
    moment = EPOCH + timedelta(microseconds=start)
    local = moment.astimezone(ZoneInfo(zone))
    assert local.weekday() == 0 or text != "P1W"
    assert local.day == 1 or text not in ("P1M", "P1Y")
    assert local.month == 1 or text != "P1Y"
    if (local.hour, local.minute, local.second, local.microsecond) != (0, 0, 0, 0):
        before = (moment - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
        assert before.utcoffset() != local.utcoffset()  # there was no midnight: the clock was changed then


SAMPLES = st.lists(
    st.tuples(st.integers(1, 5 * HOUR) | st.integers(1, 5 * DAY), st.floats(-1e9, 1e9) | st.integers(0, 3).map(float)),
    max_size=30,
)


def timed(first: int, steps: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    samples = []
    for step, value in steps:
        first += step
        samples.append((first, value))
    return samples


WIDE = st.builds(
    made,
    st.sampled_from(["PT40M", "PT1H", "PT5H", "P1D", "P1W", "P1M", "P1Y", "window"]),
    st.sampled_from(ZONES),
    st.integers(1, 7),
    st.none() | TIMES,
)


@settings(max_examples=300)
@given(rollup=WIDE, first=TIMES, steps=SAMPLES, skipped=st.integers(-HOUR, 5 * DAY), length=st.integers(0, 20 * DAY))
def test_aggregates_are_those_of_each_bucket(
    rollup: Rollup, first: int, steps: Sequence[tuple[int, float]], skipped: int, length: int
) -> None:
    samples = timed(first, steps)
    gte = first + skipped
    lt = gte + length
    naive = {
        start: values
        for start, end in rollup.buckets(gte, lt)
        if (values := [value for time, value in samples if max(start, gte) <= time < min(end, lt)])
    }
    found = numeric(samples, rollup, gte, lt)
    assert found.keys() == {"count", "min", "max", "sum", "avg", "first", "last"}
    assert found["count"] == {start: len(values) for start, values in naive.items()}
    assert found["min"] == {start: min(values) for start, values in naive.items()}
    assert found["max"] == {start: max(values) for start, values in naive.items()}
    assert found["first"] == {start: values[0] for start, values in naive.items()}
    assert found["last"] == {start: values[-1] for start, values in naive.items()}
    assert found["sum"] == {start: math.fsum(values) for start, values in naive.items()}
    assert found["avg"].keys() == naive.keys()
    for start, values in naive.items():
        assert math.isclose(found["avg"][start], math.fsum(values) / len(values), abs_tol=1e-9)
        assert min(values) <= found["avg"][start] <= max(values)


@settings(max_examples=300)
@given(
    rollup=WIDE,
    first=TIMES,
    steps=st.lists(st.tuples(st.integers(1, 3 * DAY), st.sampled_from([0.0, 1.0, 1.9, 2.0])), max_size=20),
    skipped=st.integers(-HOUR, 5 * DAY),
    length=st.integers(0, 20 * DAY),
    gap=st.none() | st.integers(1, 2 * DAY),
)
def test_states_are_those_of_each_moment(
    rollup: Rollup, first: int, steps: Sequence[tuple[int, float]], skipped: int, length: int, gap: int | None
) -> None:
    samples = timed(first, steps)
    gte = first + skipped
    lt = gte + length
    naive: dict[int, dict[int, float]] = {}
    entered: dict[int, float] = {}
    for start, end in rollup.buckets(gte, lt):
        for index, (time, value) in enumerate(samples):
            until = min([time + (gap or 40 * DAY), end, lt, *(later for later, _ in samples[index + 1 : index + 2])])
            seconds = (until - max(time, start, gte)) / SECOND
            if seconds > 0:
                of_state = naive.setdefault(int(value), {})
                of_state[start] = of_state.get(start, 0) + seconds
            if max(start, gte) <= time < min(end, lt):
                enters = int(value) == 1 and (index == 0 or int(samples[index - 1][1]) != 1)
                entered[start] = entered.get(start, 0) + enters
    found = states(samples, rollup, gte, lt, gap_us=gap)
    assert {state: set(buckets) for state, buckets in found.items()} == {s: set(b) for s, b in naive.items()}
    for state, buckets in naive.items():
        assert all(math.isclose(found[state][start], seconds, abs_tol=1e-5) for start, seconds in buckets.items())
    assert state_rate(samples, rollup, gte, lt, 1) == entered


@FUZZ
@given(
    text=st.text(max_size=12) | st.text("P0123456789YMWDTHS.-", max_size=14),
    zone=st.sampled_from(ZONES) | st.text(max_size=12) | st.text("./EuropeOsl\0", max_size=12),
    first_day=st.integers(-1, 9),
    origin=st.none() | TIMES,
    time=TIMES,
)
@example(
    text="P4000Y", zone="Pacific/Apia", first_day=7, origin=us("9999-12-31T23:59:59Z"), time=us("9999-12-31T23:00:00Z")
)
@example(text="P48000M", zone="UTC", first_day=1, origin=us("0001-01-01T00:00:00Z"), time=us("9999-12-31T23:00:00Z"))
def test_whatever_is_asked_for(text: str, zone: str, first_day: int, origin: int | None, time: int) -> None:
    try:
        rollup = parse_rollup(text, time_zone=zone, first_day_of_week=first_day, origin_us=origin)
    except RollupError:
        return
    assert rollup is not None
    ((start, end),) = rollup.buckets(time, time + 1)
    assert start <= time < end


# -- formulas -------------------------------------------------------------------------------------


TEXTS = st.text(max_size=60) | st.text("ab1.e+-*/%^<>=!&|(), \nandornot", max_size=60)
SIGNS = ["(", ")", ",", "+", "-", "*", "/", "%", "^", "<", "<=", "==", "!=", "&&", "||", "!", "and", "or", "not"]
VALUES = ["1", "2.5", "1e300", "a", "b", "bucket_seconds()", "gapfill(a)"]
CALLS = ["gapfill(", "min(", "if(", "round(", "sqrt(", "exp(", "pow(", "nothing("]
PARTS = st.sampled_from(SIGNS + VALUES + CALLS)


@FUZZ
@given(TEXTS | st.lists(PARTS, max_size=25).map(" ".join))
def test_whatever_is_parsed(text: str) -> None:
    try:
        formula = parse(text)
    except FormulaError:
        return
    series = {name: [1.0, None, 0.0, -2.5, 1e308] for name in formula.names}
    found = formula.evaluate(
        series, 5, time_seconds=[0.0] * 5, bucket_seconds=[60.0] * 5, gapfill=lambda name: [2.0] * 5
    )
    assert len(found) == 5
    assert all(value is None or (type(value) is float and math.isfinite(value)) for value in found)


def _written(depth: int) -> st.SearchStrategy[tuple[str, str]]:
    """(formula, the same in Python) where both mean the same without a pair of parentheses more than needed."""
    leaf = st.sampled_from([("a", "a"), ("b", "b"), ("2", "2.0"), ("0.5", "0.5")])
    if depth == 0:
        return leaf
    inner = _written(depth - 1)
    joined = st.builds(
        lambda x, y, sign: (f"{x[0]} {sign} {y[0]}", f"{x[1]} {sign} {y[1]}"), inner, inner, st.sampled_from("+-*")
    )
    enclosed = inner.map(lambda x: (f"({x[0]})", f"({x[1]})"))
    negated = inner.map(lambda x: (f"-{x[0]}", f"-{x[1]}"))
    power = st.builds(lambda x: (f"({x[0]}) ^ 2", f"({x[1]}) ** 2"), inner)
    least = st.builds(lambda x, y: (f"min({x[0]}, {y[0]})", f"min({x[1]}, {y[1]})"), inner, inner)
    return leaf | joined | enclosed | negated | power | least


@given(_written(4), st.integers(-9, 9), st.integers(-9, 9))
def test_arithmetic_is_that_of_python(written: tuple[str, str], a: int, b: int) -> None:
    formula, python = written
    expected = eval(python, {"a": float(a), "b": float(b), "min": min})
    found = parse(formula).evaluate(
        {"a": [a], "b": [b]}, 1, time_seconds=[0.0], bucket_seconds=[60.0], gapfill=lambda name: [None]
    )
    assert found == [expected if math.isfinite(expected) else None]
