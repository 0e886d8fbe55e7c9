"""Calls of the sandbox's methods without a server: straight into the dispatch, over any store."""

from __future__ import annotations

import json
from typing import Any

from connector.sandbox import dispatch
from connector.sandbox.rpc import RpcCall
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store
from connector.sandbox.versions import ApiVersion


def call(
    store: Store, method: str, params: Any, *, version: str = "1.1", request_id: bytes | None = b"1", **switches: Any
) -> dict[str, Any]:
    """The decoded answer to a call on behalf of the store's integration."""
    api = ApiVersion(version)
    found = dispatch.find(method, api)
    assert found is not None, f"{method} is unknown in {version}"
    outcome = dispatch.execute(
        found,
        RpcCall(request_id, method, json.dumps(params).encode()),
        version=api,
        store=store,
        settings=SandboxSettings(**switches),
        integration_id=store.integration().id,
        now=1_777_636_800.0,
    )
    assert outcome.body is not None
    answer = json.loads(outcome.body)
    assert answer.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert outcome.error_code == answer.get("error", {}).get("code")
    return answer


def insert(store: Store, data: Any, **switches: Any) -> dict[str, Any]:
    return call(store, "integration.insert", {"integration": store.integration().id, "data": data}, **switches)


def save(store: Store, signals: Any, **more: Any) -> dict[str, Any]:
    params = {"integration": store.integration().id, "signalsByInput": signals}
    return call(store, "integration.saveSignals", params | more)
