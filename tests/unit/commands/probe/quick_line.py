"""A line to a sandbox in this process, whose time runs only while somebody waits: minutes take milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final
from urllib.parse import urlsplit

from connector.clarify import Credentials
from connector.commands.probe.line import Reply, Request
from connector.sandbox.app import SandboxApp
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store

API_URL: Final = "http://127.0.0.1:8090/v1/"
_WALL: Final = 1_780_000_000.5


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer, and whose workers work at once."""

    def __init__(self) -> None:
        self.clock = 0.0
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.clock

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        assert executor is not None
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - belongs to whoever awaits the result
            done.set_exception(error)
        return done


class _Skipping(selectors.SelectSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and for nothing"
        self._loop.clock += max(0.0, timeout)
        return super().select(0)


class _Transport:
    """The transport of a connection, as the sandbox cuts it."""

    is_cut = False

    def abort(self) -> None:
        self.is_cut = True

    close = abort


class QuickLine:
    """A `Line` to a sandbox with these switches. `sent` has all requests; `interrupt_at` ends the run at a request."""

    def __init__(self, interrupt_at: int | None = None, **switches: Any) -> None:
        self._loop = _Loop()
        self.store = Store.open(None)
        self.app = SandboxApp(
            self.store,
            SandboxSettings(**switches),
            api_url=API_URL,
            with_faults=True,
            wall_clock=self.wall,
            steady_clock=self._loop.time,
        )
        self.sent: list[tuple[float, Request]] = []
        self.interrupt_at = interrupt_at

    def credentials(self) -> Credentials:
        integration = self.store.integration()
        login = {"type": "client-credentials", "clientId": integration.client_id,
                 "clientSecret": integration.client_secret}  # fmt: skip
        return Credentials.load({"apiUrl": API_URL, "integration": integration.id, "credentials": login})

    def close(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self.store.close()

    # What a line is

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return _WALL + self._loop.time()

    def sleep(self, seconds: float) -> None:
        self._loop.clock += seconds

    def send(self, request: Request) -> Reply:
        return self._loop.run_until_complete(self._send(request))

    def burst(self, requests: Sequence[Request], gap: float) -> list[Reply]:
        return self._loop.run_until_complete(self._burst(requests, gap))

    async def _burst(self, requests: Sequence[Request], gap: float) -> list[Reply]:
        sent: list[asyncio.Task[Reply]] = []
        for request in requests:
            if any(one.done() and one.result().status != 200 for one in sent):
                break
            sent.append(asyncio.ensure_future(self._send(request)))
            await asyncio.sleep(gap)
        return list(await asyncio.gather(*sent))

    async def _send(self, request: Request) -> Reply:
        self.sent.append((self.now(), request))
        if self.interrupt_at is not None and len(self.sent) >= self.interrupt_at:
            raise KeyboardInterrupt
        began, transport = self.now(), _Transport()
        given = [{"type": "http.request", "body": request.body, "more_body": False}]
        status, body, headers = None, b"", {}

        async def receive() -> dict[str, object]:
            return given.pop() if given else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal status, body, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                body += message.get("body", b"")

        url = urlsplit(request.url)
        scope = {
            "type": "http", "method": "POST", "path": url.path, "raw_path": url.path.encode(), "query_string": b"",
            "headers": [(name.lower().encode(), value.encode())
                        for name, value in {"host": url.netloc, **request.headers}.items()],
            "scheme": "http", "server": (url.hostname, url.port), "client": ("127.0.0.1", 1), "root_path": "",
            "http_version": "1.1", "extensions": {"sandbox.transport": transport},
        }  # fmt: skip
        await self.app.asgi(scope, receive, send)  # type: ignore[arg-type]
        if transport.is_cut or status is None:
            return Reply(began, self.now(), None, failure="the connection was closed")
        return Reply(began, self.now(), status, body, headers)
