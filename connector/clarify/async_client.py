"""The client for asyncio: the same methods, awaited. Each method runs in a thread and does not block the event loop.

async with AsyncClient("clarify-credentials.json") as client:
    (await client.insert(frame)).raise_for_error()
    async for signal in client.iter_signals(): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from connector.clarify.client import Client
from connector.clarify.limits import SELECTED_RESOURCES

P = ParamSpec("P")
R = TypeVar("R")


def _typed_like(
    method: Callable[Concatenate[Client, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[AsyncClient, P], None]]:
    """Gives a method the arguments of the client's method."""

    def typed(wrapper: Callable[..., None]) -> Callable[Concatenate[AsyncClient, P], None]:
        return wraps(method)(wrapper)

    return typed


def _awaited(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[object, object, R]]:
    """A coroutine function that runs the client's method in a thread.

    With Any instead of object, mypy would not know the results of `asyncio.gather`.
    """

    @wraps(method)
    async def run(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self.client, *args, **kwargs)

    return run


def _iterated(
    method: Callable[Concatenate[Client, P], Iterator[R]], at_once: int
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[R]]:
    """An async generator function over the client's iterator. A thread fetches `at_once` elements at a time."""

    @wraps(method)
    async def run(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        found = method(self.client, *args, **kwargs)
        while some := await asyncio.to_thread(lambda: list(islice(found, at_once))):
            for one in some:
                yield one

    return run


class AsyncClient:
    """`Client` for asyncio, with the same arguments and methods. `Client` documents the arguments and the methods.

    `client` is the `Client` that does the work. A cancelled call is not awaited any more, but its thread runs to the
    end, because the request may be at the server already.
    """

    @_typed_like(Client.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.client = Client(*args, **kwargs)

    @property
    def integration(self) -> str:
        """The ID of the integration that the credentials belong to."""
        return self.client.integration

    insert = _awaited(Client.insert)
    save_signals = _awaited(Client.save_signals)
    publish_signals = _awaited(Client.publish_signals)
    select_signals = _awaited(Client.select_signals)
    select_items = _awaited(Client.select_items)
    connect_signals = _awaited(Client.connect_signals)
    disconnect_signals = _awaited(Client.disconnect_signals)
    data_frame = _awaited(Client.data_frame)
    evaluate = _awaited(Client.evaluate)
    iter_signals = _iterated(Client.iter_signals, SELECTED_RESOURCES)
    iter_items = _iterated(Client.iter_items, SELECTED_RESOURCES)
    iter_data_frames = _iterated(Client.iter_data_frames, 1)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self.client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
