"""The client for asyncio: the same methods, awaited; each runs in a thread while the event loop goes on.

async with AsyncClient("clarify-credentials.json") as client:
    (await client.insert(frame)).raise_for_error()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from connector.clarify.client import Client

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(method: Callable[Concatenate[Client, P], R]) -> Callable[Concatenate[AsyncClient, P], Awaitable[R]]:
    """The method of the client, run in a thread."""

    @wraps(method)
    async def run(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self.client, *args, **kwargs)

    return run


class AsyncClient:
    """As `Client`, which is its `client`; the methods are documented there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.client = Client(*args, **kwargs)

    insert = _awaited(Client.insert)
    save_signals = _awaited(Client.save_signals)
    publish_signals = _awaited(Client.publish_signals)
    select_signals = _awaited(Client.select_signals)
    select_items = _awaited(Client.select_items)
    connect_signals = _awaited(Client.connect_signals)
    disconnect_signals = _awaited(Client.disconnect_signals)
    data_frame = _awaited(Client.data_frame)
    evaluate = _awaited(Client.evaluate)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self.client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
