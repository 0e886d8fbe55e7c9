"""The program that type checkers accept does what it says."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import orjson

from connector.clarify import AsyncClient, Client, Credentials
from tests.credentials import credentials
from tests.unit.clarify.server import Server
from tests.unit.clarify.typed_use import make, use


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "integration.insert":
        return {"signalsByInput": {}}
    if method == "clarify.dataFrame":
        return {"data": {"times": ["2026-05-01T06:00:00Z"], "series": {"a": [1]}}}
    return {"data": [{"type": "signals", "id": "0" * 20, "attributes": {"name": "a", "input": "a"}}]}


def test_calls_side_by_side() -> None:
    server = Server(answer)
    known = Credentials.load(orjson.dumps(credentials("basic-auth")).decode())
    assert asyncio.run(use(known, httpx.MockTransport(server))) == [1, 1]
    assert sorted(method for method, _ in server.calls) == [
        "admin.selectSignals", "admin.selectSignals", "clarify.dataFrame", "clarify.dataFrame", "integration.insert",
    ]  # fmt: skip
    assert make(known).api_version == "1.1"


def test_both_clients_take_the_same_arguments() -> None:
    assert inspect.signature(AsyncClient) == inspect.signature(Client)
    names = {name for name in vars(Client) if not name.startswith("_")} - {"close", "integration"}
    assert names <= vars(AsyncClient).keys()
    for name in names:
        assert inspect.signature(getattr(AsyncClient, name)) == inspect.signature(getattr(Client, name))
        assert inspect.iscoroutinefunction(getattr(AsyncClient, name)) != name.startswith("iter_")
