"""The client for people: pages, windows, parts, turns, repetition, and what it says when things go wrong."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from connector.clarify import (
    NO_RETRIES,
    ApiVersionError,
    AsyncClient,
    ClarifyError,
    Client,
    DataFrame,
    InvalidParams,
    Item,
    NotAllowed,
    Retries,
    Retryable,
    Signal,
    TooLarge,
    query,
)
from connector.clarify.transport import ANSWER_BYTES
from tests.credentials import INTEGRATION, credentials
from tests.scripted import Clock
from tests.unit.clarify.server import Handler, Server

SIGNAL = "cq3t8v5e1k7n4m0r2s6g"
CREDENTIALS = credentials("basic-auth")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def client_of(handle: Handler, **options: Any) -> tuple[Client, Server]:
    server = Server(handle)
    options = {"rates": None, "sleep": lambda _: None, "now": lambda: NOW, **options}
    return Client(CREDENTIALS, transport=httpx.MockTransport(server), **options), server


def signal(number: int) -> dict[str, Any]:
    return {"type": "signals", "id": f"{number:020d}", "attributes": {"name": f"n{number}", "input": f"i{number}"}}


def inserted(_: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"signalsByInput": {key: {"id": SIGNAL, "created": False} for key in params["data"]["series"]}}


# -- selecting ------------------------------------------------------------------------------------


def selecting(stock: int) -> Handler:
    def handle(_: str, params: dict[str, Any]) -> dict[str, Any]:
        asked = params["query"]
        last = min(stock, asked["skip"] + asked["limit"])
        return {"meta": {"total": stock if asked["total"] else -1, "format": {"dataAsArray": True, "new": 1}},
                "data": [signal(n) for n in range(asked["skip"], last)], "later": True}  # fmt: skip

    return handle


@pytest.mark.parametrize(
    ("limit", "skip", "stock", "pages"),
    [
        (20, 0, 5, [(0, 20)]),
        (2500, 0, 9999, [(0, 1000), (1000, 1000), (2000, 500)]),
        (2500, 0, 1000, [(0, 1000), (1000, 1000)]),
        (2500, 7, 1200, [(7, 1000), (1007, 1000)]),
        (None, 0, 2100, [(0, 1000), (1000, 1000), (2000, 1000)]),
        (0, 0, 5, [(0, 0)]),
    ],
)
def test_more_signals_than_one_answer_holds(limit: int | None, skip: int, stock: int, pages: list[Any]) -> None:
    client, server = client_of(selecting(stock))
    response = client.select_signals(limit=limit, skip=skip, total=True).raise_for_error()
    assert [(p["query"]["skip"], p["query"]["limit"]) for _, p in server.calls] == pages
    assert response.result is not None
    expected = range(skip, min(stock, stock if limit is None else skip + limit))
    assert [found.attributes.input for found in response.result.data] == [f"i{n}" for n in expected]
    assert response.result.meta.total == stock


def test_signals_one_after_another_with_progress() -> None:
    client, _ = client_of(selecting(2100))
    told: list[tuple[int, int | None]] = []
    client.select_signals(limit=None, progress=lambda done, total: told.append((done, total)))
    assert told == [(1000, None), (2000, None), (2100, 2100)]
    told.clear()
    found = list(client.iter_signals(progress=lambda done, total: told.append((done, total))))
    assert [one.attributes.input for one in found] == [f"i{n}" for n in range(2100)]
    assert told == [(1000, None), (2000, None), (2100, 2100)]


def test_a_page_that_fails_leaves_what_came_before() -> None:
    def handle(method: str, params: dict[str, Any]) -> Any:
        return (
            {"code": -32003, "message": "Operation not permitted"}
            if params["query"]["skip"]
            else selecting(9999)(method, params)
        )

    client, _ = client_of(handle)
    response = client.select_signals(limit=3000)
    assert response.result is not None
    assert len(response.result.data) == 1000
    assert response.error is not None
    assert response.error.code == -32003
    with pytest.raises(NotAllowed, match="Grant this integration access to 'admin'"):
        response.raise_for_error()


def test_what_is_sent() -> None:
    client, server = client_of(selecting(0))
    named = query.Filter(fields={"name": query.Regex(value="^a")})
    client.select_signals(filter=named, sort=["-name"], include=["item"])
    client.select_items(filter={"name": "b"})
    assert server.calls == [
        ("admin.selectSignals", {
            "integration": INTEGRATION,
            "query": {"filter": {"name": {"$regex": "^a"}}, "sort": ["-name"], "limit": 20, "skip": 0, "total": False},
            "include": ["item"],
            "format": {"dataAsArray": True, "groupIncludedByType": True},
        }),
        ("clarify.selectItems", {
            "query": {"filter": {"name": "b"}, "sort": [], "limit": 10, "skip": 0, "total": False},
            "include": [],
            "format": {"dataAsArray": True, "groupIncludedByType": True},
        }),
    ]  # fmt: skip


# -- writing --------------------------------------------------------------------------------------


def test_a_frame_that_is_too_large_goes_in_parts() -> None:
    client, server = client_of(inserted, max_request_bytes=3000)
    frame = DataFrame(times=range(10**15, 10**15 + 200), series={"a": range(200), "b": [None, 1.5] * 100})
    told: list[tuple[int, int | None]] = []
    response = client.insert(frame, progress=lambda done, total: told.append((done, total))).raise_for_error()
    parts = [DataFrame.from_wire(params["data"]) for _, params in server.calls]
    assert len(parts) > 3
    assert all(len(part.to_wire_bytes()) <= 3000 for part in parts)
    assert DataFrame.merge(parts) == frame
    assert told[-1] == (200, 200)
    assert response.result is not None
    assert response.result.signals_by_input.keys() == {"a", "b"}
    wide = DataFrame(times=[10**15], series={f"series/{n}": [n] for n in range(300)})
    server.calls.clear()
    client.insert(wide).raise_for_error()
    assert DataFrame.merge(DataFrame.from_wire(params["data"]) for _, params in server.calls) == wide
    tiny, _ = client_of(inserted, max_request_bytes=1060)
    response = tiny.insert(wide)
    assert response.error is not None
    assert isinstance(response.error.exception, TooLarge)


def test_a_part_that_fails_says_what_was_written() -> None:
    answers = iter([None, {"code": -32602, "message": "Invalid params", "data": {"pathErrors": []}}])

    def handle(method: str, params: dict[str, Any]) -> Any:
        return next(answers) or inserted(method, params)

    client, server = client_of(handle, max_request_bytes=2000)
    response = client.insert(DataFrame(times=range(10**15, 10**15 + 100), series={"a": range(100)}))
    assert len(server.calls) == 2
    assert response.result is not None
    assert response.error is not None
    assert response.error.code == -32602


def test_eight_mebibytes_and_a_byte() -> None:
    client, server = client_of(inserted)
    rows = 310_000
    client.insert(DataFrame(times=range(10**15, 10**15 + rows), series={"a": [1.25] * rows})).raise_for_error()
    assert sum(len(params["data"]["times"]) for _, params in server.calls) == rows
    assert len(server.calls) == 2


def test_saving_both_ways() -> None:
    def handle(_: str, params: dict[str, Any]) -> Any:
        summary = {"id": SIGNAL, "created": True, "updated": False}
        return {"signalsByInput": dict.fromkeys(params["signalsByInput"], summary)}

    client, server = client_of(handle)
    arrays = client.save_signals(["a", "b"], [Signal(name="A"), {"name": "B", "engUnit": "bar"}])
    maps = client.save_signals(signals_by_input={"a": Signal(name="A"), "b": Signal(name="B", eng_unit="bar")})
    assert arrays.result == maps.result
    assert server.calls[0] == server.calls[1]
    assert arrays.result is not None
    assert arrays.result.signalsByInput["a"].id == SIGNAL  # type: ignore[attr-defined]
    many = {f"s{n}": Signal(name="x") for n in range(1001)}
    assert len(client.save_signals(signals_by_input=many).raise_for_error().result.signals_by_input) == 1001  # type: ignore[union-attr]
    assert [len(params["signalsByInput"]) for _, params in server.calls[2:]] == [500, 500, 1]
    client.save_signals(signals_by_input={"c": Signal(name="C")})
    assert server.calls[-1][1]["signalsByInput"].keys() == {"c"}, "nothing of an earlier call"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.save_signals(["a"], []), "input_ids and signals must be lists of one length"),
        (lambda c: c.save_signals(["a b"], [Signal(name="A")]), "'a b' cannot be an input ID"),
        (lambda c: c.save_signals(["a"], [{"nam": "A"}]), "'a': name: Field required; nam: unknown field"),
        (lambda c: c.publish_signals(["x"], [Item(name="A")]), "'x' cannot be an ID"),
        (
            lambda c: c.publish_signals({SIGNAL: {"name": "A", "visible": "perhaps"}}),
            "visible: Input should be a valid",
        ),
        (lambda c: c.insert({"times": [1], "series": {"a": [1, 2]}}), "series 'a' has 2 values for 1 times"),
        (lambda c: c.insert(5), "int is no data: give a DataFrame"),
        (lambda c: c.data_frame(gte="yesterday"), "'yesterday' is no ISO 8601 time"),
        (lambda c: c.data_frame(rollup="5m"), "'5m' is no rollup"),
        (lambda c: c.evaluate(None), "evaluate needs a rollup"),
        (
            lambda c: c.evaluate("PT1H", items=[{"id": SIGNAL}]),
            r"items\[0\]: aggregation: Field required; alias",
        ),
        (lambda c: c.evaluate("PT1H", calculations=[{"formula": "1", "alias": "a"}] * 101), "at most 50 .* and 100"),
        (lambda c: c.connect_signals(SIGNAL), r"needs API 1.2.*api_version=\"1.2\""),
        (lambda c: c.evaluate("PT1H", groups=[{}]), "groups in clarify.evaluate needs API 1.2"),
        (lambda c: c.select_items(skip=-1), "skip cannot be below zero"),
        (lambda c: c.select_items(limit="5"), "limit is a whole number, not '5'"),
        (lambda c: c.select_items(sort="name"), r"sort is a list, such as \['name'\]"),
        (lambda c: c.select_signals(include="item"), r"include is a list, such as \['item'\]"),
        (lambda c: c.select_signals("name"), "filter is a Filter, or a dict .* not 'name'"),
        (lambda c: c.save_signals(["a"], [Item(name="A")]), "'a': an Item is published"),
        (lambda c: c.data_frame(series="a"), r"series is a list, such as \['a'\]"),
        (lambda c: c.data_frame(last=True), "last is a whole number, not True"),
        (lambda c: c.data_frame(timeZone="Mars"), "'Mars' is no time zone"),
        (lambda c: c.data_frame(firstDayOfWeek=8), r"firstDayOfWeek is 1 \(Monday\) to 7, not 8"),
        (
            lambda c: c.evaluate("PT1H", items={"id": SIGNAL, "aggregation": "avg", "alias": "a"}),
            "items is a list of ItemAggregation",
        ),
        (
            lambda c: c.evaluate("PT1H", calculations=[{"formula": "1", "alias": "a", "engUnit": "bar"}]),
            "engUnit in clarify.evaluate needs API 1.2",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(call: Callable[[Client], Any], said: str) -> None:
    client, server = client_of(inserted)
    with pytest.raises(ValueError, match=said):
        call(client)
    assert server.calls == []


def test_connecting_in_version_1_2() -> None:
    client, server = client_of(selecting(1), api_version="1.2")
    client.connect_signals(SIGNAL, filter={"input": "a"}, dry_run=True).raise_for_error()
    client.disconnect_signals(limit=None).raise_for_error()
    assert [method for method, _ in server.calls] == ["admin.signals.connect", "admin.signals.disconnect"]
    assert server.calls[0][1]["dryRun"] is True
    assert server.calls[0][1]["item"] == SIGNAL
    assert server.calls[1][1]["query"]["limit"] == 1000
    with pytest.raises(TypeError, match="api_version must be a text"):
        Client(CREDENTIALS, 1.2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"such as 1\.1, 1\.2 or 1\.2beta1, not 'latest'"):
        Client(CREDENTIALS, "latest")
    assert issubclass(ApiVersionError, ValueError)


def test_what_the_pre_releases_of_1_2_call_differently() -> None:
    def handle(method: str, params: dict[str, Any]) -> Any:
        return {"data": {"times": [], "series": {}}} if "clarify" in method else selecting(0)(method, params)

    client, server = client_of(handle, api_version="1.2beta1")
    client.connect_signals(SIGNAL).raise_for_error()
    client.disconnect_signals().raise_for_error()
    client.data_frame().raise_for_error()
    group = {"filter": {"name": "a"}, "timeAggregation": "avg", "groupAggregation": "sum", "alias": "g"}
    client.evaluate("P1D", groups=[group]).raise_for_error()
    connect, disconnect, data_frame, evaluate = server.calls
    assert (connect[0], disconnect[0]) == ("admin.connectSignals", "admin.disconnectSignals")
    assert "total" not in data_frame[1]["query"]
    assert evaluate[1]["groups"] == [
        {"query": {"filter": {"name": "a"}}, "timeAggregation": "avg", "groupAggregation": "sum", "alias": "g"}
    ]


# -- data -----------------------------------------------------------------------------------------


def test_pages_and_windows_of_data() -> None:
    def handle(method: str, params: dict[str, Any]) -> Any:
        if method == "clarify.selectItems":
            return {"data": [signal(1)] if params["query"]["skip"] < 100 else []}
        window = params["data"]["filter"]["times"]
        skip = params["query"]["skip"]
        return {"data": {"times": [window["$gte"]], "series": {f"i{skip}": [skip]}}, "included": {"items": []}}

    client, server = client_of(handle)
    told: list[Any] = []
    response = client.data_frame(
        gte="2026-01-01T00:00:00Z", lt="2026-03-02T00:00:00Z", limit=150, include=["item"],
        progress=lambda *args: told.append(args),
    ).raise_for_error()  # fmt: skip
    asked = [(p["query"]["skip"], p["query"]["limit"], p["data"]["filter"]["times"]["$gte"][:10])
             for m, p in server.calls if m == "clarify.dataFrame"]  # fmt: skip
    assert asked == [(s, 50, d) for s in (0, 50) for d in ("2026-01-01", "2026-02-10")]
    assert response.result is not None
    assert response.result.data.series == {"i0": [0, 0], "i50": [50, 50]}
    assert told == [(1, None), (2, None), (3, None), (4, None)]


def days(params: dict[str, Any]) -> tuple[datetime, int]:
    """Begin and length of the window that is asked for."""
    first, stop = (datetime.fromisoformat(text) for text in params["data"]["filter"]["times"].values())
    return first, (stop - first).days


@pytest.mark.parametrize("method", ["data_frame", "evaluate"])
def test_windows_of_dense_data_become_shorter(method: str) -> None:
    def handle(_: str, params: dict[str, Any]) -> Any:
        first, length = days(params)
        if length > 13:
            return httpx.Response(200, content=bytes(ANSWER_BYTES + 1))
        return {"data": {"times": [first.isoformat()], "series": {"i": [length]}}}

    client, server = client_of(handle)
    told: list[Any] = []
    window: dict[str, Any] = {"gte": "2026-01-01T00:00:00Z", "lt": "2026-03-22T00:00:00Z", "rollup": "PT10S"}
    response = getattr(client, method)(**window, progress=lambda *args: told.append(args)).raise_for_error()
    lengths = [days(params)[1] for _, params in server.calls]
    assert lengths == [40, 20, *[10] * 8], "what was too long is not asked for twice"
    assert sum(response.result.data.series["i"]) == 80
    assert told[-1] == (8, 8)


def test_an_answer_that_cannot_become_shorter() -> None:
    client, server = client_of(lambda *_: httpx.Response(200, content=bytes(ANSWER_BYTES + 1)))
    for rollup, start, calls in (("window", "2026-01-01T00:00:00Z", 1), (None, "2026-01-30T23:58:00Z", 2)):
        server.calls.clear()
        error = client.data_frame(rollup=rollup, gte=start, lt="2026-01-31T00:00:00Z").error
        assert error is not None
        assert isinstance(error.exception, TooLarge)
        assert "Ask for less data in one request" in error.message
        assert len(server.calls) == calls
    server.calls.clear()
    error = client.data_frame({"name": {"$in": ["x" * 100] * 90_000}}).error
    assert error is not None
    assert "The request has" in error.message, "shorter windows would not make it smaller"
    assert server.calls == []


def test_the_last_values_of_several_windows() -> None:
    def handle(_: str, params: dict[str, Any]) -> Any:
        return {"data": {"times": [params["data"]["filter"]["times"]["$gte"]], "series": {"i": [1]}}}

    client, server = client_of(handle)
    response = client.data_frame(gte="2026-01-01T00:00:00Z", lt="2026-04-02T00:00:00Z", last=1).raise_for_error()
    assert len(server.calls) == 3
    assert response.result is not None
    assert len(response.result.data) == 1


def test_the_window_without_bounds_is_a_week_around_now() -> None:
    client, server = client_of(lambda *_: {"data": {"times": [], "series": {}}})
    client.data_frame().raise_for_error()
    client.evaluate("PT1H", items=[{"id": SIGNAL, "aggregation": "avg", "alias": "a"}], series=["a"]).raise_for_error()
    for _, params in server.calls:
        assert params["data"]["filter"]["times"] == {"$gte": "2026-04-24T12:00:00Z", "$lt": "2026-05-08T12:00:00Z"}
    assert server.calls[1][1]["data"]["filter"]["series"] == {"$in": ["a"]}
    assert "groups" not in server.calls[1][1], "API 1.1 refuses it"
    assert "outsidePoints" not in server.calls[0][1]["data"], "not documented: only if it is asked for"
    client.data_frame(outsidePoints=True).raise_for_error()
    assert server.calls[2][1]["data"]["outsidePoints"] is True


# -- turns and repetition -------------------------------------------------------------------------


def test_calls_wait_for_their_turn_by_method() -> None:
    clock = Clock()
    client, _ = client_of(inserted, rates={"integration.insert": 1.0}, sleep=clock.sleep, clock=clock)
    for _ in range(3):
        client.insert({"times": [1], "series": {"a": [1]}})
    assert [round(seconds, 2) for seconds in clock.slept] == [1.0, 1.0]
    assert inspect.signature(Client).parameters["rates"].default["clarify.selectItems"] == 10.0


def test_what_may_succeed_later_is_sent_again() -> None:
    clock = Clock()
    answers = iter([503, {"code": -32015, "message": "Try again"}, httpx.Response(429, headers={"Retry-After": "7"})])

    def handle(method: str, params: dict[str, Any]) -> Any:
        return next(answers, None) or inserted(method, params)

    client, server = client_of(handle, sleep=clock.sleep, clock=clock)
    client.insert({"times": [1], "series": {"a": [1]}}).raise_for_error()
    assert len(server.calls) == 4
    assert 0.1 <= clock.slept[0] <= 1.0
    assert 0.2 <= clock.slept[1] <= 2.0
    assert clock.slept[2] == 7.0


@pytest.mark.parametrize(
    ("retries", "attempts"), [(None, 6), (NO_RETRIES, 1), (Retries(attempts=3), 3), (Retries(seconds=0), 1)]
)
def test_repetition_has_a_bound(retries: Retries | None, attempts: int) -> None:
    clock = Clock()
    client, server = client_of(lambda *_: 503, retries=retries, sleep=clock.sleep, clock=clock)
    response = client.select_items()
    assert len(server.calls) == attempts
    assert response.error is not None
    assert response.error.code == 503
    assert response.result is None
    assert isinstance(response.error.exception, Retryable)


@pytest.mark.parametrize(
    ("answer", "code", "kind", "said"),
    [
        (401, 401, NotAllowed, "The credentials are wrong, expired or deleted"),
        (403, 403, NotAllowed, "Grant this integration access"),
        (400, 400, ClarifyError, "Check apiUrl and the API version"),
        ({"code": -32602, "message": "Invalid params", "data": {"trace": "t1", "params": {"query": ["bad"]}}},
         -32602, InvalidParams, "query: bad"),
        ({"code": -32602, "message": "Invalid", "data": {"pathErrors": [{"path": "params.query", "error": "bad"}]}},
         -32602, InvalidParams, "query: bad"),
        (httpx.Response(200, text="<html>"), 200, Retryable, "not a JSON object"),
        ([1], 200, Retryable, "neither a result nor an error"),
        ({"data": [{"id": 5}]}, 200, Retryable, "The result makes no sense: data.0.id: Input should be a valid string"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(answer: Any, code: int, kind: type[ClarifyError], said: str) -> None:
    client, server = client_of(lambda *_: answer, retries=NO_RETRIES)
    response = client.select_items()
    assert response.error is not None
    assert response.error.code == code
    assert said in response.error.explanation
    assert "not-a-real-secret" not in repr(response)
    with pytest.raises(kind):
        response.raise_for_error()
    assert len(server.calls) == 1


def test_details_of_errors() -> None:
    params = {"code": -32602, "message": "no", "data": {"trace": "t1", "params": {"query": ["bad"]}}}
    error = client_of(lambda *_: params)[0].select_items().error
    assert error is not None
    assert error.data.trace == "t1"  # type: ignore[union-attr]
    assert error.data.params == {"query": ["bad"]}  # type: ignore[union-attr]
    odd = {"code": -32602, "message": "no", "data": {"params": 5}}
    error = client_of(lambda *_: odd)[0].select_items().error
    assert error is not None
    assert error.data == "{'params': 5}"


def test_a_response_as_json() -> None:
    client, _ = client_of(inserted)
    dumped = orjson.loads(client.insert({"times": [1], "series": {"a": [1]}}).model_dump_json())
    assert dumped == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"signalsByInput": {"a": {"id": SIGNAL, "created": False}}},
        "error": None,
    }
    details = {"trace": "t1", "pathErrors": [{"path": "params.query", "error": "bad"}]}
    client, _ = client_of(lambda *_: {"code": -32602, "message": "no", "data": details})
    dumped = orjson.loads(client.select_items().model_dump_json())
    assert dumped["result"] is None
    assert dumped["error"]["code"] == -32602
    assert dumped["error"]["data"]["pathErrors"] == details["pathErrors"]
    client, _ = client_of(lambda *_: 403)
    assert client.select_items().model_dump()["error"]["data"] == "a fault on request"
    frame = {"data": {"times": ["2026-05-01T06:00:00Z"], "series": {"a": [1.5]}}}
    client, _ = client_of(lambda *_: frame)
    response = client.data_frame()
    assert response.model_dump(mode="json")["result"]["data"] == frame["data"]
    assert response.model_dump()["result"]["data"] == {
        "times": [datetime(2026, 5, 1, 6, tzinfo=UTC)],
        "series": {"a": [1.5]},
    }


def test_a_server_that_hangs() -> None:
    def hang(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("")

    client = Client(CREDENTIALS, transport=httpx.MockTransport(hang), rates=None, retries=NO_RETRIES)
    error = client.insert({"times": [1], "series": {"a": [1]}}).error
    assert error is not None
    assert error.code is None
    assert "No answer in time" in error.message
    assert error.exception.outcome_unknown  # type: ignore[attr-defined]


def test_the_same_methods_for_asyncio() -> None:
    server = Server(inserted)

    async def use() -> Any:
        async with AsyncClient(CREDENTIALS, transport=httpx.MockTransport(server), rates=None) as client:
            frames = [{"times": [1], "series": {"a": [n]}} for n in range(3)]
            return await asyncio.gather(*(client.insert(frame) for frame in frames))

    responses = asyncio.run(use())
    assert [response.error for response in responses] == [None] * 3
    assert len(server.calls) == 3
    public = {name for name, method in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert public <= set(dir(AsyncClient))
    assert "integration.insert" in (inspect.getdoc(AsyncClient.insert) or "")


def test_iterators_for_asyncio() -> None:
    server = Server(selecting(2100))

    async def use() -> list[str]:
        async with AsyncClient(CREDENTIALS, transport=httpx.MockTransport(server), rates=None) as client:
            assert client.integration == INTEGRATION
            return [one.attributes.input async for one in client.iter_signals()]

    assert asyncio.run(use()) == [f"i{n}" for n in range(2100)]
    assert len(server.calls) == 3


def test_an_iterator_for_asyncio_raises_where_a_page_fails() -> None:
    def handle(method: str, params: dict[str, Any]) -> Any:
        return 403 if params["query"]["skip"] else selecting(9999)(method, params)

    found = []

    async def use() -> None:
        async with AsyncClient(CREDENTIALS, transport=httpx.MockTransport(Server(handle)), rates=None) as client:
            async for one in client.iter_signals():
                found.append(one)

    with pytest.raises(NotAllowed):
        asyncio.run(use())
    assert len(found) == 1000


def test_every_method_explains_itself() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name
    help_text = inspect.getdoc(Client.data_frame) or ""
    undocumented = [name for name in inspect.signature(Client.data_frame).parameters if name not in help_text]
    assert undocumented == ["self"]
