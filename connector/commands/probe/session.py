"""Calls of one probe: authorised, paced at the documented rates, counted, and without secrets in what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from connector import ConnectorError
from connector.clarify import Credentials
from connector.clarify.limits import API_VERSION, RATE_UNSAID, RATES
from connector.commands.probe.line import Line, Reply, Request

INSERT: Final = "integration.insert"
SAVE: Final = "integration.saveSignals"
SELECT: Final = "admin.selectSignals"
PUBLISH: Final = "admin.publishSignals"
ITEMS: Final = "clarify.selectItems"
DATA: Final = "clarify.dataFrame"

_MARGIN: Final = 1.05
"""Times the documented interval between two calls of a method: clocks differ."""
_REPEATS: Final = 4
_LIFE_USED: Final = 0.5
"""The share of the life of a token for which the token is used: a burst cannot renew it."""
_SHOWN: Final = 300
_REQUEST_ID: Final = 7
_PASSING: Final = frozenset((429, 500, 502, 503, 504, -32000, -32015, -32603))


class ProbeError(ConnectorError):
    """There is no token, or one more request would go over the number that was announced."""


@dataclass(frozen=True, slots=True)
class Said:
    """What Clarify said to one call."""

    reply: Reply
    envelope: Mapping[str, Any]
    hidden: str
    """The start of the body, or the reason why there is none, without secrets."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The result; None after an error."""
        found = self.envelope.get("result")
        return found if self.reply.status == 200 and isinstance(found, dict) else None

    @property
    def error(self) -> Mapping[str, Any]:
        """The RPC error; empty without one."""
        found = self.envelope.get("error")
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> int | None:
        """The code of the RPC error, or the HTTP status if it is not 200; None after a success or without an answer."""
        if self.reply.status == 200:
            code = self.error.get("code")
            return code if isinstance(code, int) else None
        return self.reply.status

    @property
    def is_passing(self) -> bool:
        """Whether the reply says nothing about the request: forbidden, too many, broken, or later."""
        return self.is_forbidden or self.code in _PASSING

    @property
    def is_forbidden(self) -> bool:
        """Whether the integration may not call the method."""
        return self.code in (-32003, 401, 403)

    def __str__(self) -> str:
        if self.reply.status is None:
            return f"no answer ({self.hidden})"
        if self.result is not None:
            return "accepted"
        message = f" {self.error.get('message', '')}" if self.reply.status == 200 else ""
        kind = "RPC error" if self.reply.status == 200 else "HTTP"
        return f"{kind} {self.code}{message}".rstrip()


class Session:
    """Calls Clarify for the questions. `requests` counts all requests; beyond `budget`, ProbeError is raised."""

    def __init__(self, line: Line, credentials: Credentials, budget: int) -> None:
        self.line = line
        self.credentials = credentials
        self.requests = 0
        self.bytes = 0
        self.token_seconds: float | None = None
        self._budget = budget
        self._authorization = ""
        self._logged_in = 0.0
        self._turns: dict[str, float] = {}
        self._intervals: dict[str, float] = {}

    @property
    def integration(self) -> str:
        """The ID of the integration."""
        return self.credentials.integration

    def log_in(self) -> None:
        """Get a token, or make the header of basic authentication. Raises ProbeError."""
        credentials = self.credentials
        if credentials.login.type == "basic-auth":
            self._authorization = f"Basic {credentials.basic_value()}"
            return
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.login.client_id,
            "client_secret": credentials.login.client_secret.get_secret_value(),
            "audience": credentials.api_url,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        said = self._said(self._send(Request(credentials.token_url, urlencode(form).encode(), headers)))
        token = said.envelope.get("access_token")
        if said.reply.status != 200 or not isinstance(token, str):
            raise ProbeError(f"no token for these credentials: {said}. Check the credentials and apiUrl.")
        life = said.envelope.get("expires_in")
        self.token_seconds = float(life) if isinstance(life, int | float) else None
        self._authorization = f"Bearer {token}"
        self._logged_in = said.reply.began

    def request(
        self, method: str, params: object, *, version: str = API_VERSION, headers: Mapping[str, str] | None = None
    ) -> Request:
        """The request of a call, without sending it."""
        return self.raw(_body(method, params), version=version, headers=headers)

    def raw(self, body: bytes, *, version: str = API_VERSION, headers: Mapping[str, str] | None = None) -> Request:
        """A request to the RPC endpoint with any body."""
        life = self.token_seconds
        if life is not None and self.line.now() - self._logged_in > life * _LIFE_USED:
            self.log_in()
        usual = {
            "Content-Type": "application/json",
            "X-API-Version": version,
            "Authorization": self._authorization,
        }
        return Request(self.credentials.rpc_url, body, {**usual, **(headers or {})})

    def call(self, method: str, params: object, *, version: str = API_VERSION) -> Said:
        """What Clarify says to a call, in the turn of the method."""
        return self.send(method, self.request(method, params, version=version))

    def send(self, method: str, request: Request) -> Said:
        """What Clarify says to a request in the turn of `method`.

        After HTTP 429, the pace of the method is halved, and the request is sent again. A token that has ended is
        renewed once.
        """
        for _ in range(_REPEATS):
            self.wait(method)
            said = self._said(self._send(request))
            if said.reply.status == 401 and self._authorization.startswith("Bearer"):
                self.log_in()
                request = Request(request.url, request.body, {**request.headers, "Authorization": self._authorization})
            elif said.reply.status == 429:
                self._intervals[method] = self._interval(method) * 2
                self.line.sleep(max(_number(said.reply.headers.get("retry-after")), self._intervals[method]))
            else:
                break
        return said

    def burst(self, requests: Sequence[Request], gap: float = 0.01) -> list[Said]:
        """What Clarify says to requests at once, over the documented rate: stops at the first refusal."""
        self._check(len(requests))
        said = [self._said(reply) for reply in self.line.burst(requests, gap)]
        self.requests += len(said)
        self.bytes += sum(len(request.body) for request in requests[: len(said)])
        return said

    def rest(self, *methods: str) -> None:
        """Wait until a burst of these methods meets a server without a queue."""
        now = self.line.now()
        idle = max(2 * self._interval(method) for method in methods)
        self.line.sleep(idle)
        self._turns |= dict.fromkeys(methods, now + idle)

    def wait(self, method: str) -> None:
        """Wait for the turn of a method."""
        now = self.line.now()
        turn = max(now, self._turns.get(method, now))
        if turn > now:
            self.line.sleep(turn - now)
        self._turns[method] = turn + self._interval(method)

    def hide(self, text: str) -> str:
        """The text without the secret and the token."""
        token = self._authorization.partition(" ")[2]
        return self.credentials.hide(text, *([token] if token else []))

    def _interval(self, method: str) -> float:
        return self._intervals.get(method, _MARGIN / RATES.get(method, RATE_UNSAID))

    def _send(self, request: Request) -> Reply:
        self._check(1)
        self.requests += 1
        self.bytes += len(request.body)
        return self.line.send(request)

    def _check(self, requests: int) -> None:
        if self.requests + requests > self._budget:
            raise ProbeError(f"{self._budget} requests were announced, and they are spent")

    def _said(self, reply: Reply) -> Said:
        text = self.hide(reply.failure or reply.body.decode("utf-8", errors="replace"))
        try:
            envelope = orjson.loads(text)
        except orjson.JSONDecodeError:
            envelope = {}
        return Said(reply, envelope if isinstance(envelope, dict) else {}, text[:_SHOWN])


def _body(method: str, params: object) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": _REQUEST_ID, "method": method, "params": params})


def _number(text: str | None) -> float:
    """The seconds of a Retry-After header; 0 without seconds."""
    return float(text) if text is not None and text.strip().isdecimal() else 0.0
