"""The HTTP side of the sandbox.

An RPC request goes through these steps, in this order:

    token or Basic?  → 401         known version?  → 400        size, encoding  → 413, 415
    a call?  → -32700, -32600      known method?  → -32601      fault rule  → the answer that the rule orders
    turn  → delay, time-out, 429   execute in a worker thread   answer

The code of this file runs only on the event loop. So throttle, faults and counters need no lock. The work of a call
(decoding, checking, storing) runs in worker threads, and the store has one writer lock.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connector.sandbox import auth, bad_values, dispatch, faults, tokens
from connector.sandbox.address import BASE_PATH
from connector.sandbox.connection import CutResponse, HalfResponse
from connector.sandbox.faults import FAULT_RULES, Fault, FaultPlan
from connector.sandbox.method import Method
from connector.sandbox.page import page_routes
from connector.sandbox.rpc import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    TRY_AGAIN,
    BadCallError,
    RpcCall,
    RpcError,
    read_call,
)
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.stats import Stats
from connector.sandbox.store import Store
from connector.sandbox.throttle import Throttle
from connector.sandbox.versions import ApiVersion
from connector.sandbox.visitors import refusal

_SMALL_BODY_BYTES = 64 * 1024  # token requests
_RULES_BODY_BYTES = 1024 * 1024  # fault rules
_UPLOAD_SECONDS = 60.0
_WORKERS = 2
_GZIP_FORMAT = 31  # zlib's wbits for "a gzip header and nothing else"


T = TypeVar("T")


class _RefusedError(Exception):
    """The request is refused with `response`, before any further step."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class SandboxApp:
    """The sandbox as an ASGI application (`asgi`), without a listener.

    `wall_clock` gives seconds since the epoch, and dates tokens, signals and samples. `steady_clock` gives seconds of a
    clock that is never set, and measures waits. The class is long because it has one method for each address that the
    sandbox serves.
    """

    def __init__(
        self,
        store: Store,
        settings: SandboxSettings,
        *,
        api_url: str,
        with_faults: bool,
        wall_clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._api_url = api_url
        self._wall_clock = wall_clock
        self._steady_clock = steady_clock
        self._integration = store.integration()
        self._throttle = Throttle(
            requests_per_second=settings.requests_per_second, queue_seconds=settings.queue_seconds
        )
        self._faults = FaultPlan()
        self._stats = Stats()
        self._stopping = asyncio.Event()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="sandbox-worker")
        routes = [
            Route(f"{BASE_PATH}rpc", self._answering(self._rpc), methods=["POST"]),
            Route(f"{BASE_PATH}oauth/token", self._answering(self._token), methods=["POST"]),
        ]
        routes += page_routes(store, api_url=api_url, clock=wall_clock)
        if with_faults:
            routes += [
                Route("/sandbox/faults", self._from_here(self._add_faults), methods=["POST"]),
                Route("/sandbox/faults", self._from_here(self._clear_faults), methods=["DELETE"]),
                Route("/sandbox/stats", self._from_here(self._show_stats), methods=["GET"]),
            ]
        self.asgi = Starlette(routes=routes, lifespan=self._lifespan)
        self.asgi.router.redirect_slashes = False

    def stop(self) -> None:
        """End all waits, so that the listener can close soon; every waiting request gets HTTP 503.

        Call this method on the event loop.
        """
        self._stopping.set()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _answering(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except _RefusedError as refused:
                response = refused.response
            if response.status_code >= 400:
                self._stats.refusals[response.status_code] += 1
            return response

        return answer

    def _from_here(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint, for orders of this machine alone, and not of a web site that a browser on it shows."""
        name = urlsplit(self._api_url).hostname or ""

        async def answer(request: Request) -> Response:
            why = refusal(request, name)
            return await endpoint(request) if why is None else PlainTextResponse(why, 403)

        return answer

    # The token endpoint

    async def _token(self, request: Request) -> Response:
        self._stats.requests[faults.TOKEN] += 1
        body = await self._read(request, _SMALL_BODY_BYTES, partial(_refuse, 413, "the form is too large"))
        fault = self._faults.take([faults.TOKEN])
        return await self._under(fault, partial(self._issue_token, request, body))

    async def _issue_token(self, request: Request, body: bytes) -> Response:
        try:
            auth.check_token_request(
                self._integration,
                authorization=request.headers.get("authorization"),
                content_type=_media_type(request),
                body=body,
            )
        except auth.TokenRefusedError as refused:
            answer = {"error": refused.error, "error_description": refused.description}
            return _json_response(orjson.dumps(answer), refused.status)
        seconds = self._settings.token_seconds
        token = tokens.issue(self._integration, api_url=self._api_url, now=self._wall_clock(), seconds=seconds)
        grant = {
            "access_token": token,
            "scope": "invoke:integration",
            "expires_in": seconds,
            "token_type": "Bearer",
        }
        return _json_response(orjson.dumps(grant))

    # The RPC endpoint

    async def _rpc(self, request: Request) -> Response:
        if not auth.may_call(self._integration, request.headers.get("authorization"), now=self._wall_clock()):
            raise _RefusedError(_unauthorized())
        version = ApiVersion.select(request.headers.get("x-api-version"))
        if version is None:
            raise _refuse(400, "Version matching X-API-Version header not found")
        try:
            # The body gets no name here: while the call waits, only the call may hold a reference to its bytes.
            call = read_call(await self._read_json(request))
        except BadCallError as bad:
            return self._respond(dispatch.fail(bad.request_id, bad.error, self._settings))
        method = dispatch.find(call.method, version)
        if method is None:
            return self._respond(dispatch.fail(call.request_id, RpcError(METHOD_NOT_FOUND), self._settings))
        self._stats.requests[method.name] += 1
        fault = self._faults.take([method.name, method.nickname])
        if isinstance(fault, faults.RpcErrorFault):
            self._stats.faults[fault.kind] += 1
            if fault.carried_out:
                await self._perform(method, call, version)
            error = RpcError(fault.code, fault.message, data=fault.data)
            return self._respond(dispatch.fail(call.request_id, error, self._settings))
        if isinstance(fault, faults.BadValue):
            refused = bad_values.error_for(fault, call.params)
            if refused is not None:
                self._stats.faults[fault.kind] += 1
                return self._respond(dispatch.fail(call.request_id, refused, self._settings))
            fault = None
        return await self._under(fault, partial(self._perform, method, call, version))

    async def _read_json(self, request: Request) -> bytes:
        if _media_type(request) != "application/json":
            raise _refuse(415, "Content-Type must be application/json")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        zipped = encoding == "gzip" and self._settings.gzip == "accept"
        if encoding != "identity" and not zipped:
            raise _refuse(415, f"Content-Encoding {encoding!r} is not supported")
        body = await self._read(request, self._settings.max_body_bytes, self._oversize)
        return self._unzip(body) if zipped else body

    def _unzip(self, body: bytes) -> bytes:
        limit = self._settings.max_body_bytes
        unzipper = zlib.decompressobj(_GZIP_FORMAT)
        try:
            plain = unzipper.decompress(body, limit + 1)
        except zlib.error as error:
            raise _refuse(400, "the body is not gzip") from error
        if len(plain) > limit:
            raise self._oversize()
        if not unzipper.eof or unzipper.unused_data:
            raise _refuse(400, "the body is not one complete gzip member")
        return plain

    async def _read(self, request: Request, limit: int, too_large: Callable[[], _RefusedError]) -> bytes:
        """The whole body. Raises _RefusedError.

        After a refusal, the HTTP server reads the rest of the body and throws it away.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_large()
        except TimeoutError:
            raise _refuse(408, f"the body took longer than {_UPLOAD_SECONDS:.0f} seconds") from None
        except ClientDisconnect:
            raise _refuse(400, "the client left") from None
        return bytes(body)

    def _oversize(self) -> _RefusedError:
        match self._settings.oversize:
            case "413":
                return _refuse(413, f"larger than {self._settings.max_body_bytes} bytes of uncompressed JSON")
            case "-32600":
                # The request was not parsed, so its ID is not known.
                return _RefusedError(self._respond(dispatch.fail(b"null", RpcError(INVALID_REQUEST), self._settings)))
            case "reset":
                return _RefusedError(CutResponse())

    async def _perform(self, method: Method, call: RpcCall, version: ApiVersion) -> Response:
        """Wait for the turn of the call, execute the call, and return the answer.

        If the execution takes too long, the answer is a time-out, but the call is still executed.
        """
        arrived = self._steady_clock()
        if self._settings.rate_limiter == "throttle":
            await self._take_turn(method, call, arrived)
        work = asyncio.get_running_loop().run_in_executor(
            self._workers,
            partial(
                dispatch.execute,
                method,
                call,
                version=version,
                store=self._store,
                settings=self._settings,
                integration_id=self._integration.id,
                now=self._wall_clock(),
            ),
        )
        left = self._settings.total_seconds - (self._steady_clock() - arrived)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(work), left)
        except TimeoutError:
            return self._timed_out(call)
        return self._respond(outcome)

    async def _take_turn(self, method: Method, call: RpcCall, arrived: float) -> None:
        key = (self._integration.id, method.name)
        wait = self._throttle.wait(key, arrived)
        if wait > 0 and self._settings.too_many_requests != "never":
            with_header = self._settings.too_many_requests == "retry-after"
            headers = {"Retry-After": str(math.ceil(wait))} if with_header else None
            raise _RefusedError(PlainTextResponse("Too Many Requests", 429, headers))
        if wait > 0:
            self._stats.delayed += 1
        turn = self._throttle.take(key, arrived, method.rate)
        if turn is None:
            call.drop_params()
            await self._pause(self._settings.queue_seconds)
            raise _RefusedError(self._timed_out(call))
        if turn > 0:
            await self._pause(turn)

    def _timed_out(self, call: RpcCall) -> Response:
        self._stats.timeouts += 1
        match self._settings.timeout_answer:
            case "503" | "504" as status:
                return PlainTextResponse("the request timed out", int(status))
            case "drop":
                return CutResponse()
            case "-32015":
                return self._respond(dispatch.fail(call.request_id, RpcError(TRY_AGAIN), self._settings))

    def _respond(self, outcome: dispatch.CallOutcome) -> Response:
        self._stats.samples += outcome.samples
        if outcome.error_code is not None:
            self._stats.errors[outcome.error_code] += 1
        return Response(status_code=204) if outcome.body is None else _json_response(outcome.body)

    # Faults

    async def _under(  # noqa: PLR0911 - one return for each kind of fault
        self, fault: Fault | None, proceed: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer to a request under a fault; without a fault, the answer of `proceed`."""
        if fault is None:
            return await proceed()
        self._stats.faults[fault.kind] += 1
        match fault:
            case faults.Latency():
                await self._pause(fault.seconds)
                return await proceed()
            case faults.StatusFault():
                if fault.carried_out:
                    await proceed()
                again = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                return PlainTextResponse("a fault on request", fault.status, again)
            case faults.Timeout():
                await self._pause(fault.seconds)
                return CutResponse()
            case faults.AnswerLost():
                await proceed()
                return CutResponse()
            case faults.HalfAnswer():
                return HalfResponse(await proceed())
            case faults.RevokeTokens():
                await self._in_worker(partial(self._store.renew_signing_key, self._integration.id))
                self._integration = await self._in_worker(self._store.integration)
                return _unauthorized()
            case faults.Cut() | faults.RpcErrorFault() | faults.BadValue():
                return CutResponse()

    async def _add_faults(self, request: Request) -> Response:
        if _media_type(request) != "application/json":  # a form of another site can send other types without asking
            return PlainTextResponse("Content-Type must be application/json", 415)
        try:
            body = await self._read(request, _RULES_BODY_BYTES, partial(_refuse, 413, "too many rules"))
            self._faults.add(FAULT_RULES.validate_json(body))
        except _RefusedError as refused:
            return refused.response
        except ValidationError as error:
            return PlainTextResponse(str(error), 400)
        return Response(status_code=204)

    async def _clear_faults(self, _: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def _show_stats(self, _: Request) -> Response:
        stored = await self._in_worker(self._store.count_samples)
        return _json_response(orjson.dumps({**self._stats.document(), "samplesStored": stored}))

    # Waiting

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    async def _pause(self, seconds: float) -> None:
        """Wait for `seconds`. Raises _RefusedError with HTTP 503 as soon as the sandbox stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise _refuse(503, "the sandbox is stopping")


def _refuse(status: int, text: str) -> _RefusedError:
    return _RefusedError(PlainTextResponse(text, status))


def _unauthorized() -> Response:
    answer = {"error": "access_denied", "error_description": "Unauthorized"}
    return _json_response(orjson.dumps(answer), 401)


def _json_response(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
