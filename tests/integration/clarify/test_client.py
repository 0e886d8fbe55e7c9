"""The client against the sandbox: what is written is read back, and filters select what they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clarify import NO_RETRIES, Client, DataFrame, Item, ItemAggregation, Signal, query
from connector.clarify.query import Comparison, Filter
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secrets_used import WRONG

T0 = 1_777_615_200_000_000
DAY = 86_400_000_000


sandbox = sandbox_fixture(
    "module", [{"error_style": style, "format_echo": style} for style in ("documented", "live")], rate_limiter="off"
)


@pytest.fixture(scope="module", params=["1.1", "1.2"])
def client(sandbox: SandboxServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(sandbox.credentials_path, request.param, rates=None) as client:
        yield client


@pytest.fixture(scope="module")
def clarify() -> Iterator[Client]:
    """For what depends neither on the version nor on the shape of errors."""
    with SandboxServer(rate_limiter="off") as server, Client(server.credentials_path, rates=None) as client:
        yield client


def published(client: Client, *inputs: str, **attributes: Any) -> dict[str, str]:
    """Input → ID of its item."""
    saved = client.save_signals(list(inputs), [Signal(name=key) for key in inputs]).raise_for_error().result
    assert saved is not None
    items = {saved.signals_by_input[key].id: Item(name=key, visible=True, **attributes) for key in inputs}
    result = client.publish_signals(items).raise_for_error().result
    assert result is not None
    return {key: result.items_by_signal[saved.signals_by_input[key].id].id for key in inputs}


values = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
frames = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        st.sets(st.integers(0, 10 * DAY), min_size=n, max_size=n).map(sorted),
        st.lists(values, min_size=n, max_size=n),
        st.lists(values, min_size=n, max_size=n),
    )
)
NUMBERS = count()


@settings(max_examples=100, deadline=None)
@given(frame=frames)
def test_any_frame_survives_insert_and_read_back(clarify: Client, frame: Any) -> None:
    offsets, *columns = frame
    keys = [f"frame/{next(NUMBERS)}" for _ in columns]
    sent = DataFrame(times=[T0 + offset for offset in offsets], series=dict(zip(keys, columns, strict=True)))
    clarify.insert(sent).raise_for_error()
    items = published(clarify, *keys)
    chosen = Filter(fields={"id": query.In(value=list(items.values()))})
    response = clarify.data_frame(chosen, gte=T0, lt=T0 + 11 * DAY).raise_for_error()
    assert response.result is not None
    assert cells(response.result.data) == {(items[key], time): value for (key, time), value in cells(sent).items()}


def cells(frame: DataFrame) -> dict[tuple[str, int], float | int | None]:
    """(series, time) → value, where there is one."""
    return {
        (key, time): value
        for key, column in frame.series.items()
        for time, value in zip(frame.times_us, column, strict=True)
        if value is not None
    }


# -- filters --------------------------------------------------------------------------------------

SITES, TYPES = ["Oslo", "Bergen", "oslo"], ["pump", "press"]
STOCK = [
    {"input": f"stock/{n}", "name": f"{TYPES[n % 2]} {n}", "description": "abc"[: n % 4],
     "labels": {"site": SITES[: n % 4], "type": [TYPES[n % 2]]} if n % 5 else {},
     "engUnit": ["bar", "°C", ""][n % 3]}
    for n in range(40)
]  # fmt: skip
FIELDS = {
    "name": [one["name"] for one in STOCK] + ["pump", ""],
    "description": ["", "a", "ab", "abc", "b"],
    "engUnit": ["bar", "°C", ""],
    "input": ["stock/3", "stock/30", "stock/99"],
    "labels.site": [*SITES, "Rome"],
    "labels.type": [*TYPES, "x"],
    "labels.none": ["x"],
}
Predicate = Callable[[dict[str, Any]], bool]


def elements(one: dict[str, Any], field: str) -> list[Any]:
    """What a comparison is about."""
    if field.startswith("labels."):
        return one["labels"].get(field.removeprefix("labels."), [None])
    return [one[field]]


def texts(found: list[Any]) -> list[str]:
    return [element for element in found if element is not None]


def comparison(field: str) -> st.SearchStrategy[tuple[Comparison, Callable[[list[Any]], bool]]]:
    """A comparison, and what it means in plain Python."""
    some = st.sampled_from(FIELDS[field])
    several = st.lists(some, max_size=4)
    patterns = some.map(re.escape) | st.sampled_from(["^p", "o", "[0-9]$", "^$", "(?i)OSLO"])
    return st.one_of(
        some.map(lambda v: (query.Equal(value=v), lambda found: v in found)),
        some.map(lambda v: (query.NotEqual(value=v), lambda found: v not in found)),
        several.map(lambda vs: (query.In(value=vs), lambda found: any(v in found for v in vs))),
        several.map(lambda vs: (query.NotIn(value=vs), lambda found: not any(v in found for v in vs))),
        patterns.map(lambda v: (query.Regex(value=v), lambda found: any(map(re.compile(v).search, texts(found))))),
        some.map(lambda v: (query.Less(value=v), lambda found: any(e is not None and e < v for e in found))),
        some.map(lambda v: (query.LessOrEqual(value=v), lambda found: any(e is not None and e <= v for e in found))),
        some.map(lambda v: (query.Greater(value=v), lambda found: any(e is not None and e > v for e in found))),
        some.map(lambda v: (query.GreaterOrEqual(value=v), lambda found: any(e is not None and e >= v for e in found))),
    )  # fmt: skip


def leaf(field: str) -> st.SearchStrategy[tuple[Filter, Predicate]]:
    return comparison(field).map(
        lambda pair: (Filter(fields={field: pair[0]}), lambda one: bool(pair[1](elements(one, field))))
    )


filters: st.SearchStrategy[tuple[Filter, Predicate]] = st.recursive(
    st.sampled_from(sorted(FIELDS)).flatmap(leaf),
    lambda inner: st.tuples(inner, inner, st.booleans()).map(
        lambda both: (
            (both[0][0] & both[1][0], lambda one: both[0][1](one) and both[1][1](one))
            if both[2]
            else (both[0][0] | both[1][0], lambda one: both[0][1](one) or both[1][1](one))
        )
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def stock(clarify: Client) -> Client:
    """A client whose integration has the signals of STOCK."""
    signals = {one["input"]: {key: value for key, value in one.items() if key != "input"} for one in STOCK}
    clarify.save_signals(signals_by_input=signals).raise_for_error()
    return clarify


@settings(max_examples=200, deadline=None)
@given(pair=filters)
def test_any_filter_selects_what_a_predicate_does(stock: Client, pair: tuple[Filter, Predicate]) -> None:
    chosen, predicate = pair
    ours = Filter(fields={"input": query.Regex(value="^stock/")})
    response = stock.select_signals(ours & chosen, limit=1000, total=True).raise_for_error()
    assert response.result is not None
    expected = [one["input"] for one in STOCK if predicate(one)]
    assert sorted(found.attributes.input for found in response.result.data) == sorted(expected)
    assert response.result.meta.total == len(expected)


# -- the rest -------------------------------------------------------------------------------------


def test_many_signals_page_by_page(clarify: Client) -> None:
    keys = [f"page/{n:04d}" for n in range(2300)]
    clarify.save_signals(keys, [Signal(name=key) for key in keys]).raise_for_error()
    chosen = Filter(fields={"input": query.Regex(value="^page/")})
    found = [found.attributes.input for found in clarify.iter_signals(chosen, sort=["-input"])]
    assert found == keys[::-1]
    some = clarify.select_signals(chosen, limit=1500, skip=600, sort=["input"]).raise_for_error()
    assert some.result is not None
    assert [found.attributes.input for found in some.result.data] == keys[600:2100]


def test_more_items_than_a_data_frame_takes_over_longer_than_a_window(client: Client) -> None:
    keys = [f"wide/{next(NUMBERS)}" for _ in range(60)]
    items = published(client, *keys)
    times = [T0, T0 + 50 * DAY, T0 + 100 * DAY]
    client.insert(
        DataFrame(times=times, series={key: [n, None, n + 0.5] for n, key in enumerate(keys)})
    ).raise_for_error()
    chosen = Filter(fields={"id": query.In(value=list(items.values()))})
    response = client.data_frame(chosen, limit=None, gte=T0, lt=T0 + 101 * DAY, include=["item"]).raise_for_error()
    assert response.result is not None
    assert len(cells(response.result.data)) == 120
    assert response.result.included is not None
    assert {one.id for one in response.result.included.items} == set(items.values())


def test_a_rollup_over_several_windows_is_that_of_one(client: Client) -> None:
    key = f"long/{next(NUMBERS)}"
    items = published(client, key)
    client.insert(
        DataFrame(times=[T0 + n * DAY // 2 for n in range(1000)], series={key: range(1000)})
    ).raise_for_error()
    window = {"gte": T0, "lt": T0 + 500 * DAY, "rollup": "P1W", "timeZone": "Europe/Oslo"}
    whole = client.data_frame({"id": items[key]}, **window).raise_for_error().result
    pieces = client.data_frame({"id": items[key]}, window_size="P50D", **window).raise_for_error().result
    assert whole is not None
    assert pieces is not None
    assert len(whole.data) == 72
    assert pieces.data == whole.data


def test_evaluate(client: Client) -> None:
    key = f"evaluate/{next(NUMBERS)}"
    item = published(client, key)[key]
    minutes = [T0 + n * 60_000_000 for n in (0, 1, 3)]
    client.insert(DataFrame(times=minutes, series={key: [10, 20, 40]})).raise_for_error()
    shifted = {"id": item, "aggregation": "sum", "lag": 1, "alias": "before"}
    response = client.evaluate(
        "PT1M",
        items=[ItemAggregation(id=item, aggregation="last", alias="x"), shifted],
        calculations=[
            {"formula": "gapfill(x) - 5", "alias": "filled"},
            {"formula": "filled / bucket_seconds()", "alias": "rate"},
        ],
        gte=T0,
        lt=T0 + 5 * 60_000_000,
    ).raise_for_error()
    assert response.result is not None
    assert response.result.data.series["x"] == [10, 20, None, 40, None]
    assert response.result.data.series["before"] == [None, 10, 20, None, 40]
    assert response.result.data.series["filled"][:2] == [5, 15]
    assert response.result.data.series["rate"][0] == 5 / 60
    wrong = client.evaluate("PT1M", calculations=[{"formula": "nobody + 1", "alias": "a"}]).error
    assert wrong is not None
    assert "unknown name 'nobody'" in wrong.explanation


def test_groups_and_connecting(sandbox: SandboxServer) -> None:
    with Client(sandbox.credentials_path, "1.2", rates=None) as client:
        keys = [f"group/{next(NUMBERS)}" for _ in range(3)]
        items = published(client, *keys, labels={"line": [keys[0]]})
        client.insert(DataFrame(times=[T0], series={key: [n] for n, key in enumerate(keys)})).raise_for_error()
        group = {
            "filter": {"labels.line": keys[0]},
            "timeAggregation": "max",
            "groupAggregation": "sum",
            "alias": "all",
        }
        response = client.evaluate(
            "PT1M", groups=[{**group, "alias": "all"}], gte=T0, lt=T0 + 60_000_000
        ).raise_for_error()
        assert response.result is not None
        assert response.result.data.series == {"all": [3]}
        extra = client.insert(DataFrame(times=[T0 + 1], series={f"{keys[0]}/b": [7]})).raise_for_error().result
        assert extra is not None
        chosen = {"input": f"{keys[0]}/b"}
        tried = client.connect_signals(items[keys[0]], chosen, dry_run=True).raise_for_error().result
        assert tried is not None
        assert [one.item for one in tried.data] == [items[keys[0]]]
        (unchanged,) = client.iter_signals(chosen)
        assert unchanged.item is None
        client.connect_signals(items[keys[0]], chosen).raise_for_error()
        both = client.data_frame({"id": items[keys[0]]}, gte=T0, lt=T0 + DAY).raise_for_error().result
        assert both is not None
        assert both.data.series == {items[keys[0]]: [0, 7]}
        client.disconnect_signals(chosen).raise_for_error()
        (loose,) = client.iter_signals(chosen)
        assert loose.item is None


def test_with_the_documented_rates_nothing_waits_long() -> None:
    with SandboxServer(queue_seconds=0.5) as sandbox, Client(sandbox.credentials_path, retries=NO_RETRIES) as client:
        for n in range(2):
            client.insert(DataFrame(times=[T0 + n], series={"a": [n]})).raise_for_error()
        for _ in range(5):
            client.select_signals().raise_for_error()
        assert sandbox.stats()["timeouts"] == 0


def test_revoked_and_wrong_credentials(sandbox: SandboxServer) -> None:
    sandbox.faults([{"method": "select_signals", "times": 1, "kind": "revoke_tokens"}])
    with Client(sandbox.credentials_path, rates=None) as client:
        client.select_signals().raise_for_error()
    fields = orjson.loads(sandbox.credentials_path.read_bytes())
    fields["credentials"]["clientSecret"] = WRONG
    with Client(fields, rates=None) as client:
        error = client.select_signals().error
        assert error is not None
        assert error.code == 401
        assert "create new credentials in Clarify's admin panel" in error.message


def test_answers_that_are_lost_are_asked_for_again(sandbox: SandboxServer) -> None:
    sandbox.faults(
        [
            {"method": "insert", "times": 1, "kind": "answer_lost"},
            {"method": "insert", "times": 1, "kind": "half_answer"},
            {"method": "insert", "times": 1, "kind": "status", "status": 503, "carried_out": True},
            {"method": "insert", "times": 1, "kind": "rpc_error", "code": -32015, "carried_out": True},
        ]
    )
    with Client(sandbox.credentials_path, rates=None, sleep=lambda _: None) as client:
        key = f"lost/{next(NUMBERS)}"
        client.insert(DataFrame(times=[T0], series={key: [1]})).raise_for_error()
        assert sandbox.samples(key) == [(T0, 1.0)]
