"""The reading methods without HTTP: what they refuse, with its path, and what the switches change."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from connector.sandbox.store import Store, StoreError
from tests.sandbox_calls import call, insert, save

TIMES = ["2026-05-01T06:00:00Z", "2026-05-01T06:01:00Z"]
WINDOW = {"filter": {"times": {"$gte": "2026-05-01T00:00:00Z", "$lt": "2026-05-02T00:00:00Z"}}}


@pytest.fixture
def store(store: Store) -> Store:
    insert(store, {"times": TIMES, "series": {"a": [1, 2], "b": [None, 5]}})
    return store


def admin(store: Store, method: str, **params: Any) -> dict[str, Any]:
    switches = params.pop("switches", {})
    version = params.pop("version", "1.1")
    return call(store, method, {"integration": store.integration().id, **params}, version=version, **switches)


def publish(store: Store, key: str = "a", view: Any = None, **more: Any) -> str:
    """The ID of the item that the signal has then."""
    signal = store.signals()[key].id
    answer = admin(store, "admin.publishSignals", itemsBySignal={signal: view or {"name": key}}, **more)
    item = answer["result"]["itemsBySignal"][signal]["id"]
    assert isinstance(item, str)
    return item


def problems(answer: dict[str, Any]) -> dict[str, list[str]]:
    assert answer["error"]["code"] == -32602
    found: dict[str, list[str]] = answer["error"]["data"]["params"]
    return found


# -- queries --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "path", "said"),
    [
        ([], "query", "must be an object"),
        ({"input": 1}, "query.input", "unknown parameter"),
        ({"limit": 1001}, "query.limit", "at most 1000"),
        ({"limit": "1"}, "query.limit", "integer"),
        ({"skip": -1}, "query.skip", "negative"),
        ({"total": 1}, "query.total", "true or false"),
        ({"sort": "name"}, "query.sort", "array"),
        ({"sort": ["-colour"]}, "query.sort.0", "unknown field"),
        ({"filter": [1]}, "query.filter", "object"),
        ({"filter": {"colour": 1}}, "query.filter.colour", "unknown field"),
        ({"filter": {"labels.": 1}}, "query.filter.labels.", "unknown field"),
        ({"filter": {"name": {}}}, "query.filter.name", "operator"),
        ({"filter": {"name": {"$exists": True}}}, "query.filter.name.$exists", "unknown operator"),
        ({"filter": {"name": {"$eq": "a"}}}, "query.filter.name.$eq", "unknown operator"),
        ({"filter": {"name": {"$in": "a"}}}, "query.filter.name.$in", "array"),
        ({"filter": {"name": {"$regex": "("}}}, "query.filter.name.$regex", "not a regular expression"),
        ({"filter": {"name": ["a"]}}, "query.filter.name", "a string, a number"),
        ({"filter": {"$or": {}}}, "query.filter.$or", "array"),
        ({"filter": {"$and": [{"x": 1}]}}, "query.filter.$and.0.x", "unknown field"),
    ],
)
def test_wrong_queries(store: Store, query: Any, path: str, said: str) -> None:
    found = problems(admin(store, "admin.selectSignals", query=query))
    assert said in found[path][0]


def test_filters_nested_too_deeply(store: Store) -> None:
    query: dict[str, Any] = {"name": "a"}
    for _ in range(100):
        query = {"$and": [query]}
    found = problems(admin(store, "admin.selectSignals", query={"filter": query}))
    assert list(found.values()) == [["nested too deeply"]]


def test_nulls_count_as_missing_and_a_negative_limit_as_the_maximum(store: Store) -> None:
    empty = dict.fromkeys(("filter", "sort", "limit", "skip", "total"))
    for query in (None, {}, empty, {"limit": -1}):
        answer = admin(store, "admin.selectSignals", query=query, include=None, format=None)
        assert [found["attributes"]["input"] for found in answer["result"]["data"]] == ["a", "b"]
        assert answer["result"]["meta"]["total"] == -1


def test_times_are_compared_as_times(store: Store) -> None:
    query = {"filter": {"createdAt": {"$lte": "2026-05-01T14:00:00+02:00"}}}
    assert len(admin(store, "admin.selectSignals", query=query)["result"]["data"]) == 2


def test_sorting(store: Store) -> None:
    save(store, {"a": {"name": "z", "labels": {"x": ["2", "1"]}}, "c": {"name": "m"}})

    def inputs(*sort: str) -> list[str]:
        answer = admin(store, "admin.selectSignals", query={"sort": list(sort)})
        return [found["attributes"]["input"] for found in answer["result"]["data"]]

    assert inputs("name") == ["b", "c", "a"]
    assert inputs("-name") == ["a", "c", "b"]
    assert inputs("labels.x", "-input") == ["c", "b", "a"]


def test_layouts(store: Store) -> None:
    item = publish(store)
    asked = {"query": {"filter": {"input": "a"}}, "include": ["item"]}
    as_list = admin(store, "admin.selectSignals", **asked)["result"]
    assert as_list["included"][0]["id"] == item
    layout = {"dataAsArray": False, "groupIncludedByType": True}
    as_map = admin(store, "admin.selectSignals", format=layout, **asked)["result"]
    assert as_map["data"] == {as_list["data"][0]["id"]: as_list["data"][0]}
    assert as_map["included"] == {"items": as_list["included"]}
    assert as_map["meta"]["format"] == layout
    assert problems(admin(store, "admin.selectSignals", format={"includeResourceHashFields": False}))
    bare = admin(store, "admin.selectSignals", format={"includeResourceHashFields": False}, version="1.2")["result"]
    assert bare["data"][0]["meta"].keys() == {"annotations", "createdAt", "updatedAt"}
    assert problems(admin(store, "admin.selectSignals", format={"flattenResourceFields": True}, version="1.2"))


def test_switches_of_queries(store: Store) -> None:
    clamped = admin(store, "admin.selectSignals", query={"limit": 5000}, switches={"limits": "clamp"})
    assert len(clamped["result"]["data"]) == 2
    refused = admin(store, "admin.selectSignals", include=["item"], switches={"include_item": "refuse"})
    assert problems(refused) == {"include.0": ["no enum values registered"]}
    live = admin(store, "admin.selectSignals", switches={"format_echo": "live"})["result"]["meta"]["format"]
    assert live.keys() > {"dataAsArray", "groupIncludedByType"}
    assert problems(admin(store, "admin.selectSignals", include=["signals"])) == {
        "include.0": ["unknown relationship; there are: item"]
    }


# -- publishing -----------------------------------------------------------------------------------


def test_an_item_stays_with_its_signal(store: Store) -> None:
    signal = store.signals()["a"].id
    first = publish(store, view={"name": "A", "annotations": {"x": "1"}, "visible": True})
    again = admin(store, "admin.publishSignals", itemsBySignal={signal: {"name": "B", "annotations": {"y": "2"}}})
    assert again["result"]["itemsBySignal"][signal] == {"id": first, "created": False, "updated": True}
    item = store.items()[first]
    assert (item.attributes["name"], item.attributes["visible"], item.annotations) == ("B", False, {"x": "1", "y": "2"})
    assert item.signals == (signal,)
    only = admin(store, "admin.publishSignals", itemsBySignal={signal: {"name": "C"}}, createOnly=True)
    assert only["result"]["itemsBySignal"][signal] == {"id": first, "created": False, "updated": False}
    assert store.items()[first].attributes["name"] == "B"


def test_wrong_items(store: Store) -> None:
    signal = store.signals()["a"].id
    views = {signal: {"visible": 1, "colour": 2}, "x": {}, "0" * 20: {}}
    found = problems(admin(store, "admin.publishSignals", itemsBySignal=views, createOnly=0.5))
    assert found.keys() == {
        f"itemsBySignal.{signal}.visible", f"itemsBySignal.{signal}.colour", "itemsBySignal.x",
        "itemsBySignal." + "0" * 20, "createOnly",
    }  # fmt: skip
    assert store.items() == {}
    assert problems(admin(store, "admin.publishSignals", itemsBySignal=[])) == {"itemsBySignal": ["must be an object"]}


@pytest.mark.parametrize(
    ("switch", "version", "gap"),
    [
        ("by-version", "1.1", None),
        ("by-version", "1.2", "PT1H30M"),
        ("null", "1.2", None),
        ("PT1H30M", "1.1", "PT1H30M"),
    ],
)
def test_gap_detection_of_items(store: Store, switch: str, version: str, gap: str | None) -> None:
    item = publish(store, version=version, switches={"gap_detection": switch})
    assert store.items()[item].attributes["gapDetection"] == gap


def test_connecting_and_disconnecting(store: Store) -> None:
    item = publish(store)
    wrong = admin(store, "admin.signals.connect", item="0" * 20, version="1.2")
    assert problems(wrong) == {"item": ["no such item"]}
    asked = {"query": {"filter": {"input": "b"}}, "version": "1.2"}
    tried = admin(store, "admin.signals.connect", item=item, dryRun=True, **asked)["result"]
    assert tried["data"][0]["relationships"]["item"]["data"]["id"] == item
    assert store.signals()["b"].item is None
    done = admin(store, "admin.signals.connect", item=item, include=["item"], **asked)["result"]
    assert done["included"][0]["id"] == item
    assert store.signals()["b"].item == item
    assert admin(store, "admin.signals.connect", item=item, **asked)["result"]["data"] == [], "it is there already"
    admin(store, "admin.signals.disconnect", **asked)
    assert store.signals()["b"].item is None


# -- data -----------------------------------------------------------------------------------------


def data_of(store: Store, data: Any = WINDOW, **more: Any) -> dict[str, Any]:
    switches, version = more.pop("switches", {}), more.pop("version", "1.1")
    return call(store, "clarify.dataFrame", {"data": data, **more}, version=version, **switches)


@pytest.mark.parametrize(
    ("data", "path", "said"),
    [
        ({"from": 1}, "data.from", "unknown parameter"),
        ({"filter": {"time": {}}}, "data.filter.time", "unknown field"),
        ({"filter": {"times": {"$lte": "2026-05-01T00:00:00Z"}}}, "data.filter.times.$lte", "unknown operator"),
        ({"filter": {"times": {"$gte": "yesterday"}}}, "data.filter.times.$gte", "RFC 3339"),
        ({"filter": {"times": {"$gte": "2026-05-01T00:00:00"}}}, "data.filter.times.$gte", "offset"),
        ({"filter": {"series": ["a"]}}, "data.filter.series", "must be an object"),
        ({"filter": {"series": {"$nin": ["a"]}}}, "data.filter.series", "$in"),
        ({"rollup": 60}, "data.rollup", "a duration or window"),
        ({"rollup": "5 minutes"}, "data.rollup", "5 minutes"),
        ({"rollup": "P1D", "timeZone": "Mars/Olympus"}, "data.timeZone", "Mars/Olympus"),
        ({"timeZone": "Mars/Olympus"}, "data.timeZone", "Mars/Olympus"),
        ({"rollup": "P1D", "firstDayOfWeek": 8}, "data.firstDayOfWeek", "1 (Monday) to 7 (Sunday), not 8"),
        ({"last": 1.5}, "data.last", "integer"),
        ({"outsidePoints": "yes"}, "data.outsidePoints", "true or false"),
        ({"filter": {"times": {"$gte": "2026-01-01T00:00:00Z", "$lt": "2026-05-01T00:00:00Z"}}}, "data.filter.times",
         "longer than 40 days"),
    ],
)  # fmt: skip
def test_wrong_data_queries(store: Store, data: Any, path: str, said: str) -> None:
    assert said in problems(data_of(store, data))[path][0]


def test_longer_windows_where_they_are_not_refused(store: Store) -> None:
    item = publish(store)
    data = {"filter": {"times": {"$gte": "2026-01-01T00:00:00Z", "$lt": "2027-05-01T00:00:00Z"}}}
    answer = data_of(store, data, switches={"windows": "ignore"})
    assert answer["result"]["data"]["series"] == {item: [1, 2]}
    assert data_of(store, {**data, "rollup": "P1D"})["result"]["data"]["series"][f"{item}_sum"] == [3]


def test_the_year_one_and_nulls_count_as_missing(store: Store) -> None:
    publish(store)
    missing = {"$gte": "0001-01-01T00:00:00Z", "$lt": "0001-01-01T00:00:00Z"}
    for data in (None, {}, {"filter": {"times": missing, "series": {}}, "rollup": None, "origin": None, "last": -1},
                 {"timeZone": "", "firstDayOfWeek": 0, "origin": ""}):  # fmt: skip
        assert data_of(store, data)["result"]["data"]["times"] == TIMES


def test_data_of_items_with_their_neighbours_and_the_last_values(store: Store) -> None:
    item = publish(store)
    narrow = {"filter": {"times": {"$gte": "2026-05-01T06:00:30Z", "$lt": "2026-05-01T06:00:40Z"}}}
    assert data_of(store, narrow)["result"]["data"] == {"times": [], "series": {item: []}}
    around = data_of(store, {**narrow, "outsidePoints": True})["result"]["data"]
    assert around == {"times": TIMES, "series": {item: [1, 2]}}
    last = data_of(store, {**WINDOW, "last": 1}, format={"dataAsArray": True}, include=["item"])["result"]
    assert last["data"] == [{"times": TIMES[1:], "series": {item: [2]}}]
    assert last["included"][0]["id"] == item
    some = {"filter": {**WINDOW["filter"], "series": {"$in": [f"{item}_max"]}}, "rollup": "window"}
    assert data_of(store, some)["result"]["data"]["series"] == {f"{item}_max": [2]}


def test_seconds_in_each_state(store: Store) -> None:
    item = publish(store, view={"name": "a", "valueType": "enum", "gapDetection": "PT30S"})
    data = data_of(store, {**WINDOW, "rollup": "PT1H"})["result"]["data"]
    assert data == {"times": ["2026-05-01T06:00:00Z"], "series": {f"{item}_1": [30], f"{item}_2": [30]}}


def test_more_buckets_than_can_be_computed(store: Store) -> None:
    publish(store, view={"name": "a", "valueType": "enum"})
    answer = data_of(store, {**WINDOW, "rollup": "PT0.000001S"}, switches={"windows": "ignore"})
    assert "buckets" in problems(answer)["data.rollup"][0]


def test_versions_of_data_frame(store: Store) -> None:
    assert problems(data_of(store, query={"total": False}, version="1.2beta1")) == {
        "query.total": ["unknown parameter"]
    }
    assert "result" in data_of(store, query={"total": False}, version="1.2")


def test_samples_can_be_read_after_a_while(store: Store) -> None:
    item = publish(store)
    assert data_of(store)["result"]["data"]["series"] == {item: [1, 2]}
    assert data_of(store, switches={"read_delay": 5.0})["result"]["data"]["series"] == {item: []}


def test_partial_failure(store: Store) -> None:
    data = {"times": TIMES, "series": {"good": [1, 2], "bad": [1]}}
    assert insert(store, data)["error"]["code"] == -32602
    assert "good" not in store.signals()
    partial = insert(store, data, partial_failure="on")["error"]
    assert partial["code"] == -32021
    assert partial["data"]["partialResult"]["signalsByInput"].keys() == {"good"}
    assert store.samples("good") == [(1_777_615_200_000_000, 1.0), (1_777_615_260_000_000, 2.0)]
    whole = {"times": ["never"], "series": {"good": [1]}}
    assert insert(store, whole, partial_failure="on")["error"]["code"] == -32602


# -- evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "path", "said"),
    [
        ({"data": WINDOW}, "data.rollup", "must be set"),
        ({"items": {}}, "items", "array"),
        ({"items": [1]}, "items.0", "object"),
        ({"items": [{"id": "0" * 20, "aggregation": "avg", "alias": "a"}]}, "items.0.id", "no such item"),
        ({"items": [{"id": "x", "aggregation": "median", "alias": "1", "colour": 1}]}, "items.0.aggregation", "one of"),
        ({"items": [{"id": "x", "aggregation": "state-rate", "alias": "a"}]}, "items.0.state", "missing"),
        ({"items": [{"id": "x", "aggregation": "avg", "alias": "a", "lag": 1001}]}, "items.0.lag", "from -1000"),
        ({"calculations": [{"formula": "1 +", "alias": "a"}]}, "calculations.0.formula", "expected"),
        ({"calculations": [{"formula": "b", "alias": "a"}]}, "calculations.0.formula", "unknown name 'b'"),
        ({"calculations": [{"formula": "a", "alias": "a"}]}, "calculations.0.formula", "unknown name 'a'"),
        ({"calculations": [{"formula": "1", "alias": "a"}] * 2}, "calculations.1.alias", "used twice"),
        ({"calculations": [{"formula": "1", "alias": "b"}, {"formula": "gapfill(b)", "alias": "a"}]},
         "calculations.1.formula", "alias of an item"),
        ({"groups": []}, "groups", "unknown parameter"),
        ({"calculations": [{"formula": "1", "alias": "PI"}]}, "calculations.0.alias", "every formula knows"),
        ({"data": {**WINDOW, "rollup": "PT0.1S"}}, "data.rollup", "more than 200000 buckets"),
    ],
)  # fmt: skip
def test_wrong_evaluations(store: Store, params: dict[str, Any], path: str, said: str) -> None:
    given = {"data": {**WINDOW, "rollup": "PT1H"}, **params}
    assert said in problems(call(store, "clarify.evaluate", given))[path][0]


def test_states_in_evaluations(store: Store) -> None:
    item = publish(store, view={"name": "a", "valueType": "enum", "gapDetection": "PT30S"})
    kinds = ("state-seconds", "state-percent", "state-rate", "state-histogram-seconds")
    items = [{"id": item, "aggregation": kind, "state": 2, "alias": f"a{n}"} for n, kind in enumerate(kinds)]
    answer = call(
        store, "clarify.evaluate", {"items": items, "data": {**WINDOW, "rollup": "PT1M"}, "include": ["item"]}
    )
    series = answer["result"]["data"]["series"]
    assert [series[f"a{n}"][-1] for n in range(4)] == [30, 50, 1, 30]
    assert answer["result"]["included"][0]["id"] == item


@pytest.mark.parametrize("kind", ["count", "min", "max", "sum", "avg", "state-seconds", "state-percent", "state-rate"])
@pytest.mark.parametrize("together", ["count", "avg"])
def test_the_evaluation_of_clarify_go(store: Store, kind: str, together: str) -> None:
    """The request of its own test, as its types write it."""
    view = {"annotations": {"test/name": "x"}}
    items = [publish(store, key, {**view, "name": key}) for key in ("a", "b")]
    of_states = {"state": 1} if kind.startswith("state") else {}
    query = {"filter": {"annotations.test/name": "x"}, "limit": 10, "skip": 0, "total": False}
    group = {"alias": "g1", "query": query, "timeAggregation": kind, "groupAggregation": together}
    params = {
        "items": [{"alias": f"i{n}", "id": item, "timeAggregation": kind, **of_states} for n, item in enumerate(items)],
        "groups": [{**group, **of_states}],
        "calculations": [
            {"alias": "c1", "formula": "sin(g1)"},
            {"alias": "c2", "formula": "sin(2*PI*time_seconds/3600)"},
            {"alias": "c3", "formula": "max(c1,c2)"},
        ],
        "data": {**WINDOW, "rollup": "PT15M", "timeZone": "UTC", "firstDayOfWeek": 1, "origin": "", "last": 0},
        "include": ["items"],
        "format": {"dataAsArray": False, "groupIncludedByType": True},
    }
    result = call(store, "clarify.evaluate", params, version="1.2alpha1")["result"]
    assert result["data"]["series"].keys() == {"i0", "i1", "g1", "c1", "c2", "c3"}
    quarters = [round(value) for value in result["data"]["series"]["c2"]]
    assert quarters[:5] == [0, 1, 0, -1, 0]  # the day begins with a full hour
    assert {found["id"] for found in result["included"]["items"]} == set(items)


# -- selectItems of 1.1beta1 ----------------------------------------------------------------------


def test_items_and_data_by_one_call(store: Store) -> None:
    """What Clarify's JavaScript client sends."""
    item = publish(store, view={"name": "A", "valueType": "enum", "annotations": {"k": "v"}})
    publish(store, "b")
    items = {"include": True, "filter": {"name": "A"}}
    data = {"include": True, "notBefore": "2026-05-01T06:01:00.000Z", "before": None, "rollup": None}

    def asked(version: str = "1.1beta1", **params: Any) -> dict[str, Any]:
        return call(store, "clarify.SelectItems", params, version=version)

    result = asked(items=items, data=data)["result"]
    assert list(result["items"]) == [item]
    assert result["items"][item]["type"] == "enum"
    assert result["items"][item]["annotations"] == {"k": "v"}
    assert "valueType" not in result["items"][item]
    assert result["data"] == {"times": ["2026-05-01T06:01:00Z"], "series": {item: [2]}}
    assert asked(items={**items, "include": False}, data={})["result"] == {"items": None, "data": None}
    rolled_up = asked(items={"filter": {"name": "b"}, "limit": 1}, data={"include": True, "rollup": "window"})["result"]
    assert [values for key, values in rolled_up["data"]["series"].items() if key.endswith("_sum")] == [[5]]
    assert problems(asked(items={**items, "colour": 1}, data={**data, "before": "noon"}, query={})) == {
        "query": ["not together with items and data"],
        "items.colour": ["unknown parameter"],
        "data.before": ["must be an RFC 3339 date-time"],
    }
    assert problems(asked(items=1, data={"include": "yes"})).keys() == {"items", "data.include"}
    assert asked()["result"]["meta"]["total"] == -1
    assert problems(asked(items=items, version="1.1beta2")) == {"items": ["unknown parameter"]}


# -- the store ------------------------------------------------------------------------------------


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store.open(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 1")
    database.close()
    with pytest.raises(StoreError, match="has store version 1, this sandbox reads 2: use a new file"):
        Store.open(path)
