"""How programs with strict types use the clients: `make lint` checks this file, test_typed_use.py runs it.

mypy and pyright must accept every line in strict mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, assert_type

import httpx

from connector.clarify import (
    AsyncClient,
    Client,
    Credentials,
    DataFrame,
    DataSelection,
    InsertResponse,
    Item,
    Response,
    Signal,
    SignalResource,
    SignalSelection,
    query,
)


async def use(credentials: Credentials, network: httpx.BaseTransport) -> list[int]:
    """Calls side by side, by tasks and by a group of tasks; the numbers of times and of signals."""
    async with AsyncClient(credentials, rates=None, transport=network, api_version="1.2") as client:
        assert_type(client, AsyncClient)
        frame = DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]})
        coroutine: Coroutine[Any, Any, Response[InsertResponse]] = client.insert(frame)
        task = asyncio.create_task(coroutine)
        assert_type(task, asyncio.Task[Response[InsertResponse]])
        async with asyncio.TaskGroup() as group:
            data = group.create_task(client.data_frame(filter={"name": "Boiler"}, gte="2026-05-01T00:00:00Z"))
            signals = group.create_task(client.select_signals(query.Filter(fields={"name": {"$ne": "x"}}), limit=5))
        assert_type(data.result(), Response[DataSelection])
        assert_type(signals.result(), Response[SignalSelection])
        found = client.iter_signals()
        assert_type(found, AsyncIterator[SignalResource])
        number = len([signal async for signal in found])
        written, read = await asyncio.gather(task, client.data_frame())
        assert_type(written, Response[InsertResponse])
        result = read.raise_for_error().result
        return [len(result.data) if result is not None else 0, number]


def make(credentials: Credentials) -> Client:
    """Metadata that is made, changed and read; the client that it is for."""
    signal = Signal(name="Boiler", value_type="enum", enum_values={0: "off"}, labels={"hall": ["3"]})
    signal.name = "Boiler 1"
    signal.labels["site"] = ["Oslo"]
    assert_type(Item.of_signal(signal, visible=True), Item)
    return Client(credentials, "1.1", rates={"integration.insert": 2.0})
