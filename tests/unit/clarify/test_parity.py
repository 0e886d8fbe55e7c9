"""Clarify's own client and ours, side by side: the same calls, answers, errors, filters and printed values."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from unittest.mock import patch

import httpx
import pyclarify
import pyclarify.fields.error
import pyclarify.query
import pytest

import connector.clarify as ours
from connector.clarify import NO_RETRIES, Client, DataFrame, Item, SourceType, ValueType, query
from connector.clarify.query import FilterError
from tests.credentials import INTEGRATION, credentials
from tests.unit.clarify.server import Server

ID: Final = "c618rbfqfsj7mjkj0ss1"
TIMES: Final = ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"]
WINDOW: Final = {"gte": TIMES[0], "lt": "2024-01-02T00:00:00Z"}
ATTRIBUTES: Final = {
    "name": "Reams", "description": "In the warehouse", "labels": {"location": ["Scranton"]},
    "sourceType": "measurement", "valueType": "enum", "engUnit": "1", "enumValues": {"0": "none"},
    "sampleInterval": None, "gapDetection": "PT2H",
}  # fmt: skip
META: Final = {
    "annotations": {"a/b": "c"}, "attributesHash": "7602afa2fe611e0c8eff17f7936e108ee29e6817",
    "relationshipsHash": "5f36b2220a14b54ee5ea290645ee34d943ea5be5",
    "updatedAt": "2022-03-25T09:58:20.264Z", "createdAt": "2021-10-11T13:48:46.958Z",
}  # fmt: skip
SELECTED: Final = {"total": 1, "format": {"dataAsArray": True, "groupIncludedByType": True}}
ITEM: Final = {
    "type": "items", "id": ID, "meta": META, "attributes": {**ATTRIBUTES, "visible": True}, "relationships": {},
}  # fmt: skip
SIGNAL: Final = {
    "type": "signals", "id": ID, "meta": META, "attributes": {**ATTRIBUTES, "input": "a"},
    "relationships": {"integration": {"data": {"type": "integrations", "id": INTEGRATION}},
                      "item": {"data": {"type": "items", "id": ID}}},
}  # fmt: skip
FRAME: Final = {"times": TIMES, "series": {ID: [1.5, None]}}
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "integration.insert": {"signalsByInput": {"a": {"id": ID, "created": True}}},
    "integration.savesignals": {"signalsByInput": {"a": {"id": ID, "created": False, "updated": True}}},
    "admin.publishsignals": {"itemsBySignal": {ID: {"id": ID, "created": False, "updated": True}}},
    "admin.selectsignals": {"meta": SELECTED, "data": [SIGNAL], "included": {"items": [ITEM]}},
    "clarify.selectitems": {"meta": SELECTED, "data": [ITEM]},
    "clarify.dataframe": {"meta": SELECTED, "data": FRAME, "included": {"items": [ITEM]}},
    "clarify.evaluate": {"meta": SELECTED, "data": FRAME},
}
CALLS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "insert": lambda c, p: c.insert(p.DataFrame(series={"a": [1, None]}, times=TIMES)),
    "saveSignals": lambda c, p: c.save_signals(input_ids=["a"], signals=[p.Signal(name="A")]),
    "publishSignals": lambda c, p: c.publish_signals(signal_ids=[ID], items=[p.Item(name="A")]),
    "selectSignals": lambda c, p: c.select_signals(include=["item"]),
    "selectItems": lambda c, p: c.select_items(),
    "dataFrame": lambda c, p: c.data_frame(include=["item"], **WINDOW),
    "evaluate": lambda c, p: c.evaluate("PT1H", calculations=[p.Calculation(formula="1", alias="c")], **WINDOW),
}


class Pair:
    """Both clients, whose requests go to one stand-in."""

    def __init__(self) -> None:
        self.answers = copy.deepcopy(ANSWERS)
        self.answer: Any = None
        """The answer to every call, instead of `answers`."""
        self.server = Server(lambda method, _: self.answer or self.answers[method.lower()])
        known = credentials("basic-auth")
        self.theirs = pyclarify.Client(known)
        self.ours = Client(known, transport=httpx.MockTransport(self.server), rates=None, retries=NO_RETRIES)

    def post(self, url: str, *, data: str, headers: dict[str, str]) -> Any:
        """What PyClarify takes for the answer of `requests.post`."""
        answer = self.server(httpx.Request("POST", url, content=data, headers=headers))
        answer.ok, answer.reason = answer.is_success, answer.reason_phrase  # type: ignore[attr-defined]
        return answer

    def both(self, call: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
        """(the answer of PyClarify, ours)."""
        return call(self.theirs, pyclarify), call(self.ours, ours)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with (
        patch("pyclarify.jsonrpc.client.requests.post", new=made.post),
        patch("pyclarify.jsonrpc.oauth2.Authenticator.get_token", return_value="token"),
    ):
        yield made


def as_json(response: Any) -> Any:
    found = json.loads(response.model_dump_json())
    return {"result": found["result"], "error": found["error"]}


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(entry) for key, entry in value.items() if entry is not None and key != "format"}
    return [without_none(entry) for entry in value] if isinstance(value, list) else value


# -- calls and answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_answers_have_the_same_dump(pair: Pair, call: Callable[[Any, Any], Any]) -> None:
    theirs, mine = pair.both(call)
    expected, found = theirs.model_dump()["result"], mine.model_dump()["result"]
    for dumped in (expected, found):
        dumped.pop("meta", None)
        (dumped.get("included") or {}).pop("signals", None)  # ours has an empty list
    assert without_none(found) == without_none(expected)
    assert mine.dict() == mine.model_dump()
    assert mine.result.dict() == mine.result.model_dump() == mine.model_dump()["result"]
    assert json.loads(mine.result.json()) == json.loads(mine.json())["result"] == mine.model_dump(mode="json")["result"]


def test_attributes_are_an_item_and_its_enums(pair: Pair) -> None:
    _, mine = pair.both(CALLS["selectItems"])
    found = mine.result.data[0].attributes
    assert isinstance(found, Item)
    assert (found.valueType.value, found.sourceType.value) == ("enum", "measurement")
    assert (found.value_type, found.source_type) == (ValueType.enum, SourceType.measurement)
    assert found.gapDetection == timedelta(hours=2)
    assert found.model_dump(mode="json") == ITEM["attributes"]
    pair.server.calls.clear()
    assert pair.ours.publish_signals({ID: found}).error is None
    assert pair.server.calls[0][1]["itemsBySignal"][ID] == ITEM["attributes"]
    signal = pair.ours.select_signals().result.data[0].attributes  # type: ignore[union-attr]
    assert pair.ours.save_signals(["a"], [signal]).error is None
    assert {**pair.server.calls[-1][1]["signalsByInput"]["a"], "input": "a"} == SIGNAL["attributes"]


NEW: Final = "added-later"
PLACES: Final[list[tuple[str, tuple[Any, ...]]]] = [
    ("selectItems", ()), ("selectItems", ("meta",)), ("selectItems", ("data", 0)),
    ("selectItems", ("data", 0, "meta")), ("selectItems", ("data", 0, "attributes")),
    ("selectSignals", ("data", 0, "attributes")), ("selectSignals", ("data", 0, "relationships")),
    ("selectSignals", ("included",)), ("selectSignals", ("included", "items", 0, "attributes")),
    ("dataFrame", ("data",)), ("evaluate", ("data",)),
    ("insert", ()), ("insert", ("signalsByInput", "a")), ("saveSignals", ("signalsByInput", "a")),
    ("publishSignals", ("itemsBySignal", ID)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "path"), PLACES, ids=str)
def test_what_clarify_adds_later_is_kept(pair: Pair, call: str, path: tuple[Any, ...]) -> None:
    part = next(answer for method, answer in pair.answers.items() if method.endswith(f".{call.lower()}"))
    for step in path:
        part = part[step]
    part["newField"] = NEW
    for response in pair.both(CALLS[call]):
        assert response.error is None
    if call != "insert" and path not in ((), ("data",)):  # ours, if it belongs to one signal or item
        assert NEW in str(as_json(response))


def test_enums_and_hashes_of_later_versions(pair: Pair) -> None:
    for resource in (pair.answers["clarify.selectitems"]["data"][0], pair.answers["admin.selectsignals"]["data"][0]):
        resource["attributes"] |= {"valueType": NEW, "sourceType": NEW}
        resource["meta"] = {"createdAt": META["createdAt"], "updatedAt": META["updatedAt"]}
    for call in ("selectItems", "selectSignals"):
        for response in pair.both(CALLS[call]):
            assert response.result.data[0].attributes.valueType == NEW


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        {"code": -32602, "message": "Invalid params", "data": {"trace": "t1", "params": {"query.limit": ["too much"]}}},
        {"code": -32602, "message": "Invalid", "data": {"pathErrors": [{"path": "params.x", "error": "bad"}]}},
        {"code": -32603, "message": "Internal error"},
        503,
        401,
    ],
    ids=["documented", "live", "internal", "503", "401"],
)
def test_errors_say_what_the_server_said(pair: Pair, call: Callable[[Any, Any], Any], answer: Any) -> None:
    pair.answer = answer
    theirs, mine = pair.both(call)
    expected = theirs.error[0] if isinstance(theirs.error, list) else theirs.error
    assert (mine.error.code, mine.error.message) == (expected.code, expected.message)
    assert without_none(mine.error.model_dump()["data"]) == without_none(expected.model_dump()["data"])
    assert mine.result is None
    assert mine.error.explanation == str(mine.error.exception)
    assert mine.error.explanation != mine.error.message


def test_an_error_for_a_test_is_made_as_in_clarifys_client() -> None:
    given: dict[str, Any] = {
        "code": -32602,
        "message": "Invalid params",
        "data": {"trace": "0", "params": {"a": ["b"]}},
    }
    theirs, made = pyclarify.fields.error.Error(**given), ours.Error(**given)
    assert made.model_dump() == {**theirs.model_dump(), "code": -32602, "explanation": "Invalid params"}
    with pytest.raises(ours.ClarifyError, match="Invalid params"):
        ours.Response(error=made).raise_for_error()


def test_an_error_without_a_server_explains_itself() -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    error = (
        Client(credentials("basic-auth"), transport=httpx.MockTransport(fail), retries=NO_RETRIES).select_items().error
    )
    assert error is not None
    assert error.message == error.explanation
    assert "check apiUrl and the network" in error.message


def test_arguments_as_the_guide_says(pair: Pair) -> None:
    """Below zero, dates, and filters from dicts: the same is asked for."""
    filters = {"fields": {"name": {"operator": "$in", "value": ["x", "y"]}}}
    calls: list[Callable[[Any, Any], Any]] = [
        lambda c, p: c.data_frame(skip=-3, limit=5, **WINDOW),
        lambda c, p: c.data_frame(gte=date(2024, 1, 1), lt=date(2024, 1, 2), limit=5),
        lambda c, p: c.select_items(filter=p.query.Filter(**filters), limit=5),
        lambda c, p: c.data_frame(rollup=timedelta(days=1), origin=TIMES[0], limit=5, **WINDOW),
        lambda c, p: c.evaluate("P1M", timeZone="Europe/Oslo", series=["c"], last=3, **WINDOW),
    ]
    for call in calls:
        pair.server.calls.clear()
        pair.both(call)
        (_, theirs), (_, mine) = pair.server.calls
        for params in (theirs, mine):
            times = params.get("data", {}).get("filter", {}).get("times", {})
            times.update({bound: datetime.fromisoformat(time) for bound, time in times.items()})
            if (origin := params.get("data", {}).get("origin")) is not None:
                params["data"]["origin"] = datetime.fromisoformat(origin)
        theirs["query"] = {**theirs["query"], "skip": max(0, theirs["query"]["skip"])} if "query" in theirs else {}
        assert without_none(mine) == without_none({key: value for key, value in theirs.items() if value != {}})
    pair.server.calls.clear()
    pair.answers["clarify.selectitems"]["data"] = []
    assert pair.ours.data_frame(limit=-1, **WINDOW).error is None  # no limit: looks for a second page
    asked = [(method, params["query"]["skip"], params["query"]["limit"]) for method, params in pair.server.calls]
    assert asked == [("clarify.dataFrame", 0, 50), ("clarify.selectItems", 50, 1)]


# -- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Signal", "Item"])
def test_metadata_can_be_changed_and_dumped(pair: Pair, kind: str) -> None:
    shown = []
    for package in (pyclarify, ours):
        view = getattr(package, kind)(
            name="A", engUnit="bar", enumValues={"0": "off"}, valueType="enum", gapDetection="PT5M"
        )
        view.name = "B"
        view.engUnit = "°C"
        view.labels["hall"] = ["3"]
        assert view.valueType.value == "enum"
        assert view.dict() == view.model_dump()
        assert view.gapDetection == view.dict()["gapDetection"] == timedelta(minutes=5)
        shown.append(json.loads(view.model_dump_json()))
    theirs, mine = map(without_none, shown)
    assert timedelta(minutes=5) == pyclarify.Signal(name="a", gapDetection=theirs.pop("gapDetection")).gapDetection
    assert mine.pop("gapDetection") == "PT5M"
    assert mine == theirs
    with pytest.raises(ValueError, match="at most 100"):
        view.name = "n" * 101
    view.labels["hall"] = "3"
    call = pair.ours.publish_signals if kind == "Item" else pair.ours.save_signals
    with pytest.raises(ValueError, match=r"labels\.hall: Input should be a valid list"):
        call({ID: view})


def test_frames_have_the_same_dump() -> None:
    for given in (
        {"timestamps": TIMES, "series": {"a": [1, None]}},
        {"timestamps": TIMES, "a": [1, None]},
        {"times": TIMES, "series": {"a": [1, None]}},
    ):
        theirs, mine = pyclarify.DataFrame.from_dict(given), DataFrame.from_dict(given)
        assert mine.dict() == mine.model_dump() == theirs.model_dump()
        assert (
            json.loads(mine.json())
            == json.loads(mine.model_dump_json())
            == {"times": TIMES, "series": {"a": [1, None]}}
        )
    mine.times.append(datetime(2024, 1, 1, 2, tzinfo=UTC))
    for dump in (mine.dict, mine.json, mine.model_dump_json):
        with pytest.raises(ValueError, match="2 values for 3 times"):
            dump()  # type: ignore[operator]


def test_parts_of_evaluations_have_the_same_json() -> None:
    for kind, fields in {
        "ItemAggregation": {"id": ID, "aggregation": "max", "state": 1, "lead": 1, "lag": 1, "alias": "i1"},
        "GroupAggregation": {"filter": {}, "timeAggregation": "max", "groupAggregation": "avg", "alias": "g1"},
        "Calculation": {"formula": "i1 * i2", "alias": "c1"},
    }.items():
        theirs, mine = (getattr(package, kind)(**fields) for package in (pyclarify, ours))
        assert mine.model_dump_json() == theirs.model_dump_json() == json.dumps(fields, separators=(",", ":"))


def test_filters_from_dicts_have_the_same_query() -> None:
    fields: dict[str, Any] = {"name": {"value": "x", "operator": "$ne"}}
    for given in (
        {"fields": fields},
        {"fields": {"name": {"value": "x"}}},
        {"and_list": [{"fields": fields}, {"or_list": [{"fields": {"id": "1"}}, {"fields": fields}]}]},
    ):
        assert query.Filter(**given).to_query() == pyclarify.query.Filter(**given).to_query()  # type: ignore[arg-type]
    assert query.Filter(fields={"n": {"$gte": 5}}).to_query() == {"n": {"$gte": 5}}
    assert (
        query.In({"a"}).to_query()
        == pyclarify.query.Filter(fields={"n": pyclarify.query.In(value={"a"})}).to_query()["n"]
    )
    for wrong in (
        {"n": {"$gte": 5, "$lt": 6}},
        {"n": {"$near": 5}},
        {"n": {"operator": ["$ne"], "value": 1}},
        {"n": {}},
    ):
        if wrong != {"n": {}}:
            with pytest.raises(FilterError, match="'n' has no comparison"):
                query.Filter(fields=wrong)
    for filters in (["x"], [{"name": "x"}]):
        with pytest.raises(FilterError, match="is no Filter"):
            query.Filter(and_list=filters)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"ab", "ab", bytearray(b"a"), 5, None, {"a": 1}])
def test_a_list_of_values_is_a_list(value: Any) -> None:
    for package in (pyclarify.query, query):
        with pytest.raises(FilterError if package is query else Exception):
            package.In(value=value)  # type: ignore[attr-defined]


# -- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in dir(pyclarify.Client) if name in vars(Client) and name[0] != "_"])
def test_help_prints_the_same_arguments(name: str) -> None:
    """Names, order and defaults; what only our client has comes after them, by name."""
    theirs, mine = (inspect.signature(getattr(package.Client, name)).parameters for package in (pyclarify, ours))
    shown = {
        key: repr(parameter.default) for key, parameter in mine.items() if parameter.kind != parameter.KEYWORD_ONLY
    }
    assert list(shown.items()) == [(key, repr(parameter.default)) for key, parameter in theirs.items()]


def test_a_printed_answer_shows_its_values(pair: Pair) -> None:
    response = CALLS["insert"](pair.ours, ours)
    created = f"CreateSummary(id='{ID}', created=True)"
    result = f"InsertResponse(signalsByInput={{'a': {created}}})"
    assert str(response) == f"Response(jsonrpc='2.0', id=1, result={result}, error=None)"
    response = CALLS["dataFrame"](pair.ours, ours)
    time = "datetime.datetime(2024, 1, 1, 1, 0, tzinfo=datetime.timezone.utc)"
    assert f"{time}], series={{'{ID}': [1.5, None]}})" in str(response)
    assert "engUnit='1'" in str(response)
    assert str(Item(name="A")).startswith("name='A' description='' labels={} sourceType=")
    long = DataFrame(range(10**15, 10**15 + 50), {f"s{n}": range(50) for n in range(30)})
    assert "17, 18, 19, … 30 more], 's1': [" in str(long)
    assert str(long).endswith("… 30 more], … 10 more})")
    long.series = {"a": (n for n in range(3)), "b": "text"}  # type: ignore[dict-item]
    assert "'b': 'text'" in repr(long)


def test_names_of_the_package() -> None:
    names = {name for name in vars(pyclarify) if name[0].isupper()} | {"query", "__version__", "__API_version__"}
    assert [name for name in names if not hasattr(ours, name)] == []
    assert [name for name in vars(pyclarify.query) if name[0].isupper() and not hasattr(query, name)] == []
