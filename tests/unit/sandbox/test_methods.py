"""RPC calls without HTTP: the envelope, the table of methods, and what insert and saveSignals answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from connector.sandbox import dispatch
from connector.sandbox.rpc import BadCallError, RpcCall, RpcError, read_call, render_error
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store
from connector.sandbox.versions import SELECTORS, ApiVersion
from tests.sandbox_calls import call, insert, save

TIMES = ["2026-05-01T06:00:00Z", "2026-05-01T06:01:00Z"]


# The envelope


@pytest.mark.parametrize(
    "request_id", [b"0", b'""', b'"clarify-1"', b"1.50", b"123456789012345678901234567890", b"false", b"[1]", b"{}"]
)
def test_ids_are_kept_to_the_letter(request_id: bytes) -> None:
    read = read_call(b'{"jsonrpc":"2.0","id":' + request_id + b',"method":"m","params":{}}')
    assert read.request_id == request_id
    body = render_error(request_id, RpcError(-32601), "documented")
    assert body.startswith(b'{"jsonrpc":"2.0","id":' + request_id + b',"error"')


@pytest.mark.parametrize("member", [b"", b'"id":null,', b'"id": null ,'])
def test_without_an_id_a_call_is_a_notification(member: bytes) -> None:
    assert read_call(b"{" + member + b'"jsonrpc":"2.0","method":"m"}') == RpcCall(None, "m", None)


@pytest.mark.parametrize(
    ("body", "code", "request_id"),
    [
        (b"", -32700, b"null"),
        (b"{", -32700, b"null"),
        (b"not json", -32700, b"null"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}', -32700, b"null"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":Infinity}}', -32700, b"null"),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"m"}', -32700, b"null"),
        (b'{"jsonrpc":"2.0","id":7,"method":"\xff"}', -32700, b"7"),
        (b'{"id":1,"params":' + b"[" * 50_000 + b"]" * 50_000 + b"}", -32700, b"null"),
        (b"[]", -32600, b"null"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"m"}]', -32600, b"null"),
        (b'"m"', -32600, b"null"),
        (b"{}", -32600, b"null"),
        (b'{"id":7,"method":"m"}', -32600, b"7"),
        (b'{"jsonrpc":"1.0","id":7,"method":"m"}', -32600, b"7"),
        (b'{"jsonrpc":2.0,"id":7,"method":"m"}', -32600, b"7"),
        (b'{"jsonrpc":"2.0","id":7}', -32600, b"7"),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', -32600, b"7"),
    ],
)
def test_what_is_no_call(body: bytes, code: int, request_id: bytes) -> None:
    with pytest.raises(BadCallError) as bad:
        read_call(body)
    assert (bad.value.error.code, bad.value.request_id) == (code, request_id)


def test_other_members_are_ignored() -> None:
    assert read_call(b'{"jsonrpc":"2.0","id":1,"method":"m","auth":"x"}').method == "m"


@pytest.mark.parametrize("params", ["5", '"x"', "true"])
def test_parameters_must_be_an_object_or_an_array(store: Store, params: str) -> None:
    assert call(store, "integration.insert", json.loads(params))["error"]["code"] == -32600


def test_parameters_that_only_seemed_to_be_json_are_a_parse_error(store: Store) -> None:
    method = dispatch.find("integration.insert", ApiVersion("1.1"))
    assert method is not None
    read = read_call(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"data":"\xff"}}')
    outcome = dispatch.execute(
        method,
        read,
        version=ApiVersion("1.1"),
        store=store,
        settings=SandboxSettings(),
        integration_id=store.integration().id,
        now=0,
    )
    assert outcome.error_code == -32700


# The table


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("integration.insert", "1.0", "integration.insert"),
        ("integration.Insert", "1.1", "integration.insert"),
        ("INTEGRATION.INSERT", "1.2", "integration.insert"),
        ("integration.SaveSignals", "1.0", "integration.saveSignals"),
        ("integration.saveSignals", "1.2", "integration.saveSignals"),
        ("integration.signals.save", "1.2", "integration.saveSignals"),
        ("Integration.Signals.Save", "1.2alpha1", "integration.saveSignals"),
        ("integration.signals.save", "1.1", None),
        ("clarify.selectItems", "1.1", "clarify.selectItems"),
        ("Clarify.SelectItems", "1.1", "clarify.selectItems"),
        ("clarify.items.select", "1.1", None),
        ("clarify.items.select", "1.2", "clarify.selectItems"),
        ("admin.signals.connect", "1.1", None),
        ("admin.connectSignals", "1.2alpha1", "admin.signals.connect"),
        ("clarify.deleteItems", "1.2", None),
        ("insert", "1.1", None),
        ("save", "1.1", None),
    ],
)
def test_method_names(name: str, version: str, found: str | None) -> None:
    method = dispatch.find(name, ApiVersion(version))
    assert (method.name if method else None) == found


@pytest.mark.parametrize("selector", SELECTORS)
def test_known_versions(selector: str) -> None:
    assert ApiVersion.select(f" {selector} ") == ApiVersion(selector)


@pytest.mark.parametrize("selector", ["", "1", "1.1.2", "v1.1", "2.0", "1.3"])
def test_unknown_versions(selector: str) -> None:
    assert ApiVersion.select(selector) is None


def test_without_a_version_the_latest_stable_one_is_used() -> None:
    assert ApiVersion.select(None) == ApiVersion("1.1")


def test_methods_on_signals_take_their_integration_first() -> None:
    for method in dispatch.METHODS:
        of_signals = not method.name.startswith("clarify.")
        assert (method.parameters[0].name == "integration" and method.parameters[0].required) is of_signals


def test_methods_on_items_take_an_integration_too_as_the_documentation_shows(store: Store) -> None:
    for method in ("clarify.selectItems", "clarify.dataFrame"):
        assert "result" in call(store, method, {"integration": store.integration().id})
        assert call(store, method, {"integration": "a" * 20})["error"]["code"] == -32003


# The integration


@pytest.mark.parametrize("integration", ["", "short", "z" * 20, "C" * 20, 5, None, ["a" * 20]])
def test_a_malformed_integration_is_named(store: Store, integration: Any) -> None:
    answer = call(store, "integration.insert", {"integration": integration, "data": {"times": [], "series": {}}})
    assert answer["error"]["code"] == -32602
    assert list(answer["error"]["data"]["params"]) == ["integration"]


def test_another_integration_is_not_permitted(store: Store) -> None:
    answer = call(store, "integration.insert", {"integration": "a" * 20, "data": {}})
    assert answer["error"]["code"] == -32003
    assert answer["error"]["message"] == "Operation not permitted"


# insert


def test_an_insert_answers_with_every_series(store: Store) -> None:
    data = {"times": TIMES, "series": {"boiler/1": [4.1, None], "boiler/2": [None, None]}}
    summary = insert(store, data)["result"]["signalsByInput"]
    signals = store.signals()
    assert summary == {key: {"id": signals[key].id, "created": True} for key in ("boiler/1", "boiler/2")}
    again = insert(store, data)["result"]["signalsByInput"]
    assert again == {key: {"id": signals[key].id, "created": False} for key in ("boiler/1", "boiler/2")}
    assert store.samples("boiler/1") == [(1_777_615_200_000_000, 4.1)]


def test_an_empty_insert(store: Store) -> None:
    assert insert(store, {"times": [], "series": {}})["result"] == {"signalsByInput": {}}


def test_positional_parameters(store: Store) -> None:
    integration = store.integration().id
    data = {"times": TIMES, "series": {"a": [1, 2]}}
    assert "result" in call(store, "integration.insert", [integration, data])
    answer = call(store, "integration.insert", [integration, data, "surplus"])
    assert answer["error"]["data"]["params"] == {"2": ["unknown parameter"]}


def test_an_error_has_the_documented_shape(store: Store) -> None:
    error = insert(store, {"times": TIMES, "series": {"boiler/1": [1]}})["error"]
    trace = error["data"].pop("trace")
    assert re.fullmatch("[0-9a-f]{20}", trace)
    assert error == {
        "code": -32602,
        "message": "Invalid params",
        "data": {"params": {"data.series.boiler/1": ["not same length as times"]}},
    }


def test_an_error_in_the_live_shape(store: Store) -> None:
    data = {"times": TIMES, "series": {"b/1": [1], "b 2": ["x", 1]}}
    error = insert(store, data, error_style="live")["error"]
    assert error["data"].keys() == {"pathErrors"}
    assert error["data"]["pathErrors"][0] == {
        "path": "params.data.series.b/1",
        "error": "not same length as times",
    }
    assert [entry["path"] for entry in error["data"]["pathErrors"][1:]] == ["params.data.series.b 2"] * 2


def test_all_problems_are_reported_and_nothing_is_stored(store: Store) -> None:
    params = {"integration": "short", "data": {"times": TIMES, "series": {"a": [1, 2], "b": [1]}}, "groups": []}
    error = call(store, "integration.insert", params)["error"]
    assert sorted(error["data"]["params"]) == ["data.series.b", "groups", "integration"]
    assert error["data"]["params"]["groups"] == ["unknown parameter"]
    assert store.signals() == {}


def test_missing_parameters(store: Store) -> None:
    error = call(store, "integration.insert", {})["error"]
    assert sorted(error["data"]["params"]) == ["data", "integration"]


def test_repeated_times_the_last_value_wins_or_is_refused(store: Store) -> None:
    data = {"times": [TIMES[1], TIMES[0], TIMES[1]], "series": {"a": [1, 2, 3]}}
    assert "result" in insert(store, data)
    assert store.samples("a") == [(1_777_615_200_000_000, 2.0), (1_777_615_260_000_000, 3.0)]
    error = insert(store, data, unordered_times="reject")["error"]
    assert error["data"]["params"] == {"data.times": ["not later than its predecessor at index 1"]}


def test_stored_samples_as_an_error(store: Store) -> None:
    data = {"times": TIMES, "series": {"a": [1, None]}}
    assert "result" in insert(store, data, duplicate_times="error")
    error = insert(store, data, duplicate_times="error")["error"]
    assert list(error["data"]["params"]) == ["data.series.a"]


def test_nulls_may_erase(store: Store) -> None:
    insert(store, {"times": TIMES, "series": {"a": [1, 2]}})
    insert(store, {"times": TIMES, "series": {"a": [None, 3]}})
    assert len(store.samples("a")) == 2
    insert(store, {"times": TIMES, "series": {"a": [None, 3]}}, null_values="erase")
    assert store.samples("a") == [(1_777_615_260_000_000, 3.0)]


def test_a_broken_store_is_an_internal_error(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    params = json.dumps({"integration": store.integration().id, "data": {"times": [], "series": {"a": []}}})
    integration = store.integration().id
    method = dispatch.find("integration.insert", ApiVersion("1.1"))
    assert method is not None
    store.close()
    outcome = dispatch.execute(
        method,
        RpcCall(b"1", "integration.insert", params.encode()),
        version=ApiVersion("1.1"),
        store=store,
        settings=SandboxSettings(),
        integration_id=integration,
        now=0,
    )
    assert outcome.error_code == -32603
    assert "the store failed" in caplog.text


# saveSignals


def test_saving_answers_with_what_it_did(store: Store) -> None:
    created = save(store, {"a": {"name": "A"}, "b": {}})["result"]["signalsByInput"]
    assert {key: (entry["created"], entry["updated"]) for key, entry in created.items()} == {
        "a": (True, False),
        "b": (True, False),
    }
    updated = save(store, {"a": {"name": "B"}, "b": {}})["result"]["signalsByInput"]
    assert updated["a"] == {"id": created["a"]["id"], "created": False, "updated": True}
    assert updated["b"] == {"id": created["b"]["id"], "created": False, "updated": False}
    assert store.signals()["a"].attributes["name"] == "B"


def test_create_only(store: Store) -> None:
    save(store, {"a": {"name": "A"}})
    kept = save(store, {"a": {"name": "B"}, "b": {}}, createOnly=True)["result"]["signalsByInput"]
    assert (kept["a"]["created"], kept["a"]["updated"]) == (False, False)
    assert kept["b"]["created"] is True
    assert store.signals()["a"].attributes["name"] == "A"


def test_inputs_is_another_name_of_signals_by_input_and_input_is_not(store: Store) -> None:
    integration = store.integration().id
    name = "integration.SaveSignals"
    assert "result" in call(store, name, {"integration": integration, "inputs": {"a": {}}})
    refused = call(store, name, {"integration": integration, "input": {"a": {}}})["error"]
    assert refused["data"]["params"] == {
        "input": ["unknown parameter"],
        "signalsByInput": ["missing required parameter"],
    }
    twice = call(store, name, {"integration": integration, "inputs": {}, "signalsByInput": {}})["error"]
    assert list(twice["data"]["params"]) == ["signalsByInput"]


def test_what_1_2_added_is_unknown_to_1_1(store: Store) -> None:
    params = {"integration": store.integration().id, "signalsByInput": {}, "result": True, "format": {}}
    refused = call(store, "integration.saveSignals", params)["error"]
    assert sorted(refused["data"]["params"]) == ["format", "result"]
    assert "result" in call(store, "integration.signals.save", params, version="1.2")


def test_bad_metadata_is_named_and_nothing_is_stored(store: Store) -> None:
    error = save(store, {"good": {}, "a b": {}, "a": {"engUnit": 5, "colour": "red"}}, createOnly="yes")["error"]
    assert sorted(error["data"]["params"]) == [
        "createOnly",
        "signalsByInput.a b",
        "signalsByInput.a.colour",
        "signalsByInput.a.engUnit",
    ]
    assert store.signals() == {}


@pytest.mark.parametrize("signals", [None, [], "a"])
def test_signals_must_be_an_object(store: Store, signals: Any) -> None:
    assert save(store, signals)["error"]["data"]["params"] == {"signalsByInput": ["must be an object"]}
