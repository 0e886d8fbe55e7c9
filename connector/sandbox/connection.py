"""Answers that break off: the connection is closed before the answer or within the answer.

An ASGI application cannot close its connection. The sandbox therefore runs uvicorn with a protocol class of its own.
This class gives the application the transport of the connection, as an ASGI extension. Two kinds of answers use the
transport. Both wait until the connection is closed: uvicorn then sees a client that left, and sends nothing itself.
"""

from __future__ import annotations

import asyncio
from typing import cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_EXTENSION = "sandbox.transport"


class SandboxProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol; the extensions of the ASGI scope also have the transport of the connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        application = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), _EXTENSION: self.transport}
            await application(scope, receive, send)

        self.app = with_transport


class CutResponse(Response):
    """No answer: the connection is closed at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        _transport(scope).abort()
        await _until_gone(receive)


class HalfResponse(Response):
    """The head and half of the body of another answer; then the connection is closed.

    If the body has less than two bytes, nothing is sent.
    """

    def __init__(self, whole: Response) -> None:
        super().__init__(status_code=whole.status_code)
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytes(self._whole.body)
        if len(body) >= 2:
            head = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self._whole.raw_headers,
            }
            await send(head)
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        _transport(scope).close()
        await _until_gone(receive)


def _transport(scope: Scope) -> asyncio.Transport:
    return cast("asyncio.Transport", scope["extensions"][_EXTENSION])


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
