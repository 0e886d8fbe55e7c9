"""The client's calls: what goes over the wire, what comes back, and what every failure becomes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import orjson
import pytest

from connector.clarify import (
    Api,
    ClarifyError,
    Created,
    Credentials,
    CredentialsError,
    DataFrame,
    InvalidParams,
    NotAllowed,
    Problem,
    Refused,
    Retryable,
    Saved,
    SignalInfo,
    TooLarge,
)
from tests.credentials import INTEGRATION, credentials
from tests.secrets_used import CLARIFY_SECRET as SECRET
from tests.unit.clarify.said import everything_said

SIGNAL = "cq3t8v5e1k7n4m0r2s6g"
FRAME = DataFrame(times=["2026-05-01T06:00:00Z", "2026-05-01T06:01:00Z"], series={"boiler/1/p": [4.1, None]})
Handler = Callable[[httpx.Request], httpx.Response]


def fields(kind: str = "basic-auth") -> dict[str, object]:
    return credentials(kind) | {"apiUrl": "https://api.clarify.io/v1"}  # as some files have it


def client(handler: Handler, **options: str) -> Api:
    return Api(
        Credentials.load(fields()),
        transport=httpx.MockTransport(handler),
        **options,  # type: ignore[arg-type]
    )


def envelope(request: httpx.Request) -> dict[str, object]:
    decoded = orjson.loads(request.content)
    assert isinstance(decoded, dict)
    return decoded


def answer(request: httpx.Request, **members: object) -> httpx.Response:
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": envelope(request)["id"], **members})


class Recorder:
    """Answers every call with the same result and keeps the requests."""

    def __init__(self, result: object) -> None:
        self.result = result
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return answer(request, result=self.result)


def created(*keys: str) -> dict[str, object]:
    return {"signalsByInput": {key: {"id": SIGNAL, "created": True} for key in keys}}


def failing(respond: Handler, call: Callable[[Api], object] | None = None) -> ClarifyError:
    with client(respond) as clarify, pytest.raises(ClarifyError) as caught:
        (call or insert_frame)(clarify)
    return caught.value


def insert_frame(clarify: Api) -> object:
    return clarify.insert(FRAME)


# --- what is sent


def test_the_request_of_an_insert() -> None:
    server = Recorder(created("boiler/1/p"))
    with client(server) as clarify:
        result = clarify.insert(FRAME)
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.clarify.io/v1/rpc")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-API-Version"] == "1.1"
    assert request.headers["User-Agent"] == "clarify-connector"
    assert "Content-Encoding" not in request.headers
    sent = envelope(request)
    assert isinstance(sent.pop("id"), int)
    assert sent == {
        "jsonrpc": "2.0",
        "method": "integration.insert",
        "params": {
            "integration": INTEGRATION,
            "data": {
                "times": ["2026-05-01T06:00:00Z", "2026-05-01T06:01:00Z"],
                "series": {"boiler/1/p": [4.1, None]},
            },
        },
    }
    assert result.signals_by_input == {"boiler/1/p": Created(SIGNAL, True)}


def test_version_and_user_agent_are_arguments() -> None:
    server = Recorder(created())
    with client(server, api_version="1.2", user_agent="clarify-connector/9.9.9") as clarify:
        clarify.insert(FRAME)
    assert server.requests[0].headers["X-API-Version"] == "1.2"
    assert server.requests[0].headers["User-Agent"] == "clarify-connector/9.9.9"


def test_frame_dict_and_encoded_frame_are_sent_alike() -> None:
    server = Recorder(created())
    with client(server) as clarify:
        clarify.insert(FRAME)
        clarify.insert(orjson.loads(FRAME.to_wire_bytes()))
        clarify.insert_encoded(FRAME.to_wire_bytes())
    sent = [envelope(request) for request in server.requests]
    assert len({one.pop("id") for one in sent}) == 3
    assert sent[0] == sent[1] == sent[2]


@pytest.mark.parametrize("data", [b'{"times":[],"series":{}}', FRAME.to_wire_bytes(), b" " * 100_000 + b"{}"])
def test_an_encoded_frame_is_sent_as_it_is_and_its_size_is_known(data: bytes) -> None:
    server = Recorder(created())
    with client(server) as clarify:
        for _ in range(3):
            clarify.insert_encoded(data)
        overhead = clarify.insert_overhead
    for request in server.requests:
        assert len(request.content) == len(data) + overhead
        assert data in request.content
        envelope(request)


def test_a_request_over_the_limit_is_not_sent() -> None:
    server = Recorder(created())
    with client(server) as clarify:
        most = 8 * 1024 * 1024 - clarify.insert_overhead
        clarify.insert_encoded(b"{}" + b" " * (most - 2))
        with pytest.raises(TooLarge, match="8388609 bytes") as caught:
            clarify.insert_encoded(b"{}" + b" " * (most - 1))
        views = {f"k{n}": SignalInfo(name="n", description="d" * 1000) for n in range(9000)}
        with pytest.raises(TooLarge):
            clarify.save_signals(views)
    assert caught.value.method == "integration.insert"
    assert len(server.requests) == 1


def test_the_request_of_a_save() -> None:
    server = Recorder(
        {
            "signalsByInput": {
                "a": {"id": SIGNAL, "created": True, "updated": False, "new": 1},
                "b.c": {"id": SIGNAL, "created": False, "updated": True},
            },
            "new": {},
        }
    )
    with client(server) as clarify:
        saved = clarify.save_signals(
            {"a": SignalInfo(name="A", eng_unit="bar"), "b.c": {"name": "B", "gapDetection": "PT5M"}},
            create_only=True,
        )
        clarify.save_signals({})
    sent = envelope(server.requests[0])
    assert sent["method"] == "integration.saveSignals"
    assert sent["params"] == {
        "integration": INTEGRATION,
        "signalsByInput": {
            "a": SignalInfo(name="A", eng_unit="bar").to_wire(),
            "b.c": SignalInfo(name="B", gap_detection="PT5M").to_wire(),
        },
        "createOnly": True,
    }
    assert saved.signals_by_input == {"a": Saved(SIGNAL, True, False), "b.c": Saved(SIGNAL, False, True)}
    assert envelope(server.requests[1])["params"] == {
        "integration": INTEGRATION,
        "signalsByInput": {},
        "createOnly": False,
    }


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"a b": {"name": "A"}}, "'a b' cannot be an input ID"),
        ({"a": {"name": ""}, "b": {"name": "B"}}, "signal 'a': name: "),
        ({"a": {}}, "signal 'a': name: Field required"),
        ({"a": "A"}, "signal 'a': "),
    ],
)
def test_a_save_names_the_input_that_is_wrong(signals: dict[str, dict[str, object]], said: str) -> None:
    server = Recorder({})
    with client(server) as clarify, pytest.raises(ValueError, match=said):
        clarify.save_signals(signals)
    assert server.requests == []


def test_any_method_can_be_called() -> None:
    server = Recorder({"meta": {"total": -1}, "data": []})
    with client(server) as clarify:
        assert clarify.call("clarify.selectItems", {"query": {}}) == {"meta": {"total": -1}, "data": []}
        assert clarify.integration == INTEGRATION
    assert envelope(server.requests[0])["method"] == "clarify.selectItems"
    assert envelope(server.requests[0])["params"] == {"query": {}}


def test_two_threads_insert_and_save_at_once() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        summary = {"id": SIGNAL, "created": False, "updated": False}
        return answer(request, result={"signalsByInput": {str(envelope(request)["method"]): summary}})

    with client(respond) as clarify, ThreadPoolExecutor(2) as threads:
        inserts = threads.submit(lambda: [clarify.insert(FRAME) for _ in range(200)])
        saves = threads.submit(lambda: [clarify.save_signals({"a": {"name": "A"}}) for _ in range(200)])
        assert all(set(one.signals_by_input) == {"integration.insert"} for one in inserts.result(30))
        assert all(set(one.signals_by_input) == {"integration.saveSignals"} for one in saves.result(30))


def test_credentials_may_be_given_in_any_form(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(orjson.dumps(fields()))
    for source in (path, str(path), fields(), orjson.dumps(fields()).decode(), Credentials.load(fields())):
        with Api(source) as clarify:
            assert repr(clarify) == f"Api(https://api.clarify.io/v1/, integration {INTEGRATION}, API 1.1)"
    with pytest.raises(CredentialsError, match="No such file"):
        Api(tmp_path / "none.json")


# --- what comes back


def test_an_answer_with_thousands_of_signals() -> None:
    keys = [f"plant/line{n}/t" for n in range(5000)]
    with client(Recorder(created(*keys))) as clarify:
        result = clarify.insert(FRAME)
    assert list(result.signals_by_input) == keys
    assert result.signals_by_input[keys[-1]] == Created(SIGNAL, True)


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"signalsByInput": None},
        {"signalsByInput": []},
        {"signalsByInput": {"a": None}},
        {"signalsByInput": {"a": {"id": SIGNAL}}},
        {"signalsByInput": {"a": {"id": 7, "created": True}}},
        {"signalsByInput": {"a": {"id": SIGNAL, "created": "yes"}}},
    ],
)
def test_a_result_that_makes_no_sense_is_not_taken_for_a_success(result: object) -> None:
    for call in (None, lambda clarify: clarify.save_signals({"a": {"name": "A"}})):
        error = failing(Recorder(result), call)
        assert isinstance(error, Retryable)
        assert error.outcome_unknown
        assert "makes no sense" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a JSON object: the body is empty"),
        (b"<html>\n <b>Hello</b>\x00", "not a JSON object: <html> <b>Hello</b>"),
        (b"[]", "not a JSON object"),
        (b'{"jsonrpc":"2.0","id":1000000000}', "neither a result nor an error"),
        (b'{"jsonrpc":"2.0","id":1000000000,"result":null}', "neither a result nor an error"),
        (b'{"jsonrpc":"2.0","id":1000000000,"result":[]}', "neither a result nor an error"),
        (b'{"jsonrpc":"2.0","id":1000000001,"result":{}}', "belongs to another request"),
        (b'{"jsonrpc":"2.0","id":"1000000000","result":{}}', "belongs to another request"),
        (b'{"jsonrpc":"2.0","id":null,"result":{}}', "belongs to another request"),
        (b'{"jsonrpc":"2.0","result":{}}', "belongs to another request"),
        (b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602}}', "belongs to another request"),
    ],
)
def test_an_answer_that_makes_no_sense_leaves_the_outcome_open(content: bytes, said: str) -> None:
    error = failing(lambda request: httpx.Response(200, content=content))
    assert isinstance(error, Retryable)
    assert error.outcome_unknown
    assert error.code == 200
    assert said in str(error)


def test_the_first_request_has_the_id_that_these_tests_assume() -> None:
    server = Recorder(created())
    with client(server) as clarify:
        clarify.insert(FRAME)
    assert envelope(server.requests[0])["id"] == 1_000_000_000


@pytest.mark.parametrize(
    ("status", "kind", "unknown"),
    [
        (201, Retryable, True),
        (204, Retryable, True),
        (301, Refused, None),
        (302, Retryable, False),
        (304, Retryable, True),
        (307, Retryable, False),
        (308, Refused, None),
        (400, Refused, None),
        (401, NotAllowed, None),
        (402, Refused, None),
        (403, NotAllowed, None),
        (404, Refused, None),
        (405, Refused, None),
        (407, Refused, None),
        (408, Retryable, True),
        (409, Retryable, False),
        (413, TooLarge, None),
        (415, Refused, None),
        (418, Refused, None),
        (422, Refused, None),
        (425, Retryable, False),
        (429, Retryable, False),
        (500, Retryable, True),
        (502, Retryable, True),
        (503, Retryable, True),
        (504, Retryable, True),
        (599, Retryable, True),
        (700, Retryable, True),
    ],
)
def test_what_a_status_means(status: int, kind: type[ClarifyError], unknown: bool | None) -> None:
    error = failing(lambda request: httpx.Response(status, text="said\nthe server", headers={"traceparent": "t"}))
    assert type(error) is kind
    assert (error.code, error.method, error.trace) == (status, "integration.insert", "t")
    assert f"HTTP {status}" in error.message
    assert "said the server. " in error.message
    assert getattr(error, "outcome_unknown", None) is unknown


def test_a_redirect_says_where_to() -> None:
    error = failing(lambda request: httpx.Response(301, headers={"Location": "https://new.example/"}))
    assert "redirected to https://new.example/. The address has moved: correct apiUrl" in str(error)


@pytest.mark.parametrize("status", [429, 503, 408, 200])
def test_retry_after_is_passed_on(status: int) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        error = {"code": -32015, "message": "Try again"}
        request_id = envelope(request)["id"]
        return httpx.Response(status, json={"id": request_id, "error": error}, headers={"Retry-After": "12"})

    error = failing(respond)
    assert isinstance(error, Retryable)
    assert error.retry_after == 12.0


@pytest.mark.parametrize(
    ("code", "kind", "unknown"),
    [
        (-32700, Refused, None),
        (-32600, Refused, None),
        (-32601, Refused, None),
        (-32602, InvalidParams, None),
        (-32603, Retryable, True),
        (-32000, Retryable, True),
        (-32001, Refused, None),
        (-32002, Refused, None),
        (-32003, NotAllowed, None),
        (-32009, Retryable, False),
        (-32015, Retryable, False),
        (-32021, Retryable, True),
        (-32099, Retryable, True),
        (7, Retryable, True),
        ("-32602", Retryable, True),
        (True, Retryable, True),
        (None, Retryable, True),
    ],
)
def test_what_an_rpc_error_means(code: object, kind: type[ClarifyError], unknown: bool | None) -> None:
    error_object = {"code": code, "message": "It went wrong", "data": {"trace": "3f0c", "more": "detail"}}
    error = failing(lambda request: answer(request, error=error_object))
    assert type(error) is kind
    assert error.code == (code if type(code) is int else None)
    assert (error.method, error.trace) == ("integration.insert", "3f0c")
    assert error.message.startswith("It went wrong")
    assert getattr(error, "outcome_unknown", None) is unknown


@pytest.mark.parametrize(
    "error", [{}, {"code": -32099}, {"code": -32099, "data": None}, {"code": -32099, "data": [1]}, "no", 7, []]
)
def test_an_error_of_any_shape_is_an_error(error: object) -> None:
    assert isinstance(failing(lambda request: answer(request, error=error)), Retryable)


def test_an_error_counts_more_than_a_result_and_may_have_no_id() -> None:
    parse_error = {"code": -32700, "message": "Parse error"}
    for result, has_id in ((None, True), ({}, True), (None, False)):

        def respond(request: httpx.Request, result: object = result, has_id: bool = has_id) -> httpx.Response:
            request_id = envelope(request)["id"] if has_id else None
            return httpx.Response(200, json={"id": request_id, "result": result, "error": parse_error})

        assert isinstance(failing(respond), Refused)


def test_forbidden_names_the_namespace() -> None:
    error_object = {"code": -32003, "message": "Operation not permitted"}
    error = failing(
        lambda request: answer(request, error=error_object),
        lambda clarify: clarify.call("admin.selectSignals", {}),
    )
    assert "Grant this integration access to 'admin'" in str(error)


BOTH_SHAPES = [
    {"trace": "3f0c", "params": {"data.series.a.b": ["not same length as times", "odd"], "integration": ["x"]}},
    {
        "pathErrors": [
            {"path": "params.data.series.a.b", "error": "not same length as times"},
            {"path": "params.data.series.a.b", "error": "odd"},
            {"path": "params.integration", "error": "x"},
            {"path": "params.integration", "error": "x"},
        ]
    },
]


@pytest.mark.parametrize("data", BOTH_SHAPES)
def test_both_shapes_of_invalid_params_are_read_alike(data: object) -> None:
    error_object = {"code": -32602, "message": "Invalid params", "data": data}
    error = failing(lambda request: answer(request, error=error_object))
    assert isinstance(error, InvalidParams)
    assert error.problems == [
        Problem("data.series.a.b", "not same length as times"),
        Problem("data.series.a.b", "odd"),
        Problem("integration", "x"),
    ]
    assert error.guilty_series({"a", "a.b", "c"}) == {"a.b"}
    assert "Invalid params (code -32602): data.series.a.b: not same length as times; " in str(error)


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (None, []),
        ({}, []),
        ("text", []),
        ({"params": None, "pathErrors": {}}, []),
        ({"params": {"a": "one", "b": [], "c": [7]}}, [Problem("a", "one"), Problem("c", "7")]),
        ({"pathErrors": ["odd", {"path": "params.a"}]}, [Problem("", "odd"), Problem("a", "invalid")]),
    ],
)
def test_invalid_params_of_other_shapes(data: object, problems: list[Problem]) -> None:
    error_object = {"code": -32602, "message": "Invalid params", "data": data}
    error = failing(lambda request: answer(request, error=error_object))
    assert isinstance(error, InvalidParams)
    assert error.problems == problems
    assert str(error).startswith("integration.insert: Invalid params (code -32602): ")


def test_many_problems_are_kept_but_not_all_shown() -> None:
    params = {f"data.series.k{n}": ["bad"] for n in range(1000)}
    error = failing(lambda request: answer(request, error={"code": -32602, "data": {"params": params}}))
    assert isinstance(error, InvalidParams)
    assert len(error.problems) == 1000
    assert str(error).endswith("data.series.k4: bad; and 995 more")


# --- what is never said


def echo(request: httpx.Request) -> str:
    """What a server that answers with the request it got would say, in plain text."""
    return f"{request.url} {list(request.headers.multi_items())} {request.content.decode()}"


@pytest.mark.parametrize("kind", ["basic-auth", "client-credentials"])
@pytest.mark.parametrize("where", ["token", "rpc"])
@pytest.mark.parametrize("how", [200, 302, 400, 401, 413, 500, -32602, -32003, -32600, -32015, "broken"])
def test_no_error_holds_a_secret(kind: str, where: str, how: int | str) -> None:
    def misbehave(request: httpx.Request) -> httpx.Response:
        said = echo(request)
        if how == "broken":
            raise httpx.ReadError("reset", request=request)
        assert isinstance(how, int)
        if how > 0:
            headers = {"Location": f"/?{request.headers.get('Authorization')}", "traceparent": said}
            return httpx.Response(how, text=said, headers=headers)
        data = {"trace": said, "params": {"data": [said]}, "other": said}
        return httpx.Response(200, json={"id": None, "error": {"code": how, "message": said, "data": data}})

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token") and where == "rpc":
            return httpx.Response(200, json={"access_token": "the-token", "expires_in": 3600})
        return misbehave(request)

    with (
        Api(fields(kind), transport=httpx.MockTransport(respond)) as clarify,
        pytest.raises(ClarifyError) as caught,
    ):
        clarify.insert(FRAME)
    said = everything_said(caught.value) + repr(clarify)
    basic = Credentials.load(fields()).basic_value()
    for secret in (SECRET, "clarify-secret%2Fwith", "the-token", basic):
        assert secret not in said
