"""clarify.evaluate in the sandbox against plain Python: every aggregation in time, together, and shifted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.frames import time_text
from connector.sandbox.store import Store
from tests.sandbox_calls import call

T0: Final = 1_777_615_200_000_000
MINUTE: Final = 60_000_000
BUCKETS: Final = 6
ITEMS: Final = ("a", "b", "c")
IN_TIME: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "count": len, "min": min, "max": max, "sum": math.fsum, "avg": fmean,
    "first": lambda values: values[0], "last": lambda values: values[-1],
}  # fmt: skip
FORMULAS: Final = {
    "d": "(a + b) * 2 - c / 4",
    "e": "if(a > b && c <= 1, max(a, b, c), -d)",
    "f": "e / bucket_seconds()",
}
TOGETHER: Final = ("count", "min", "max", "sum", "avg")

columns = st.lists(
    st.lists(st.none() | st.integers(-1000, 1000).map(lambda n: n / 8), min_size=30, max_size=30),
    min_size=len(ITEMS),
    max_size=len(ITEMS),
)
offsets = st.lists(st.integers(-2 * MINUTE, (BUCKETS + 2) * MINUTE), min_size=30, max_size=30, unique=True).map(sorted)


def stored(store: Store, times: list[int], values: list[list[float | None]]) -> dict[str, str]:
    """Input → its item, after all is inserted."""
    integration = {"integration": store.integration().id}
    frame = {"times": list(map(time_text, times)), "series": dict(zip(ITEMS, values, strict=True))}
    created = call(store, "integration.insert", {**integration, "data": frame})["result"]["signalsByInput"]
    views = {created[key]["id"]: {"name": key, "labels": {"of": ["group"]}} for key in ITEMS}
    items = call(store, "admin.publishSignals", {**integration, "itemsBySignal": views})["result"]["itemsBySignal"]
    return {key: items[created[key]["id"]]["id"] for key in ITEMS}


def evaluated(store: Store, **params: Any) -> dict[tuple[str, int], float]:
    """(alias, bucket) → value, where there is one."""
    window = {"times": {"$gte": time_text(T0), "$lt": time_text(T0 + BUCKETS * MINUTE)}}
    data = {"rollup": "PT1M", "filter": window}
    answer = call(store, "clarify.evaluate", {"data": data, **params}, version="1.2")["result"]["data"]
    starts = {time_text(T0 + number * MINUTE): number for number in range(BUCKETS)}
    return {
        (alias, starts[time]): value
        for alias, values in answer["series"].items()
        for time, value in zip(answer["times"], values, strict=True)
        if value is not None
    }


def cut(times: list[int], values: list[float | None], number: int) -> list[float]:
    """The values in a bucket."""
    first = T0 + number * MINUTE
    return [v for t, v in zip(times, values, strict=True) if v is not None and first <= t < first + MINUTE]


@settings(max_examples=40, deadline=None)
@given(offsets=offsets, values=columns, lag=st.integers(-3, 3), lead=st.integers(-3, 3))
def test_every_aggregation(offsets: list[int], values: list[list[float | None]], lag: int, lead: int) -> None:
    times = [T0 + offset for offset in offsets]
    with Store.open(None) as store:
        items = stored(store, times, values)
        alone = [{"id": items["a"], "aggregation": kind, "alias": kind, "lag": lag, "lead": lead} for kind in IN_TIME]
        group = {"filter": {"labels.of": "group"}}
        groups = [
            {**group, "timeAggregation": kind, "groupAggregation": together, "alias": f"{kind}_{together}"}
            for kind in IN_TIME
            for together in TOGETHER
        ]
        found = evaluated(store, items=alone, groups=groups)
    expected: dict[tuple[str, int], float] = {}
    for number in range(BUCKETS):
        for kind, in_time in IN_TIME.items():
            if there := cut(times, values[0], number - lag + lead):
                expected[kind, number] = in_time(there)
            if each := [in_time(there) for column in values if (there := cut(times, column, number))]:
                expected |= {(f"{kind}_{together}", number): IN_TIME[together](each) for together in TOGETHER}
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[key], expected[key], abs_tol=1e-9) for key in expected)


@settings(max_examples=40, deadline=None)
@given(offsets=offsets, values=columns)
def test_formulas_are_what_they_say(offsets: list[int], values: list[list[float | None]]) -> None:
    times = [T0 + offset for offset in offsets]
    with Store.open(None) as store:
        items = stored(store, times, values)
        used = [{"id": items[key], "aggregation": "sum", "alias": key} for key in ITEMS]
        formulas = {
            "d": "(a + b) * 2 - c / 4",
            "e": "if(a > b && c <= 1, max(a, b, c), -d)",
            "f": "e / bucket_seconds()",
        }
        calculations = [{"alias": alias, "formula": formula} for alias, formula in formulas.items()]
        found = evaluated(store, items=used, calculations=calculations)
    for number in range(BUCKETS):
        if not all(cut(times, column, number) for column in values):
            assert not {(alias, number) for alias in FORMULAS} & found.keys()  # what misses a value has none
            continue
        a, b, c = (math.fsum(cut(times, column, number)) for column in values)
        d = (a + b) * 2 - c / 4
        e = max(a, b, c) if a > b and c <= 1 else -d
        assert (found["d", number], found["e", number], found["f", number]) == (d, e, e / 60)
