"""A stand-in for Clarify's API, in place of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import orjson

Handler = Callable[[str, dict[str, Any]], Any]
"""(method, parameters) → a result, an HTTP status, an error object, or a whole response."""


class Server:
    """Answers calls with what `handle` returns, and keeps them in `calls`; for `httpx.MockTransport`."""

    def __init__(self, handle: Handler) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._handle = handle

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = orjson.loads(request.content)
        self.calls.append((call["method"], call["params"]))
        answer = self._handle(call["method"], call["params"])
        if isinstance(answer, int):
            return httpx.Response(answer, text="a fault on request")
        if isinstance(answer, httpx.Response):
            return answer
        kind = "error" if isinstance(answer, dict) and "code" in answer else "result"
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": call["id"], kind: answer})
