"""Tokens: asked for as documented, kept for 90 % of their life, shared by threads, renewed once on 401."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from connector.clarify import Api, ClarifyError, Credentials, NotAllowed, Refused, Retryable, Timeouts
from connector.clarify.credentials import CurrentCredentials
from tests.credentials import credentials
from tests.secrets_used import CLARIFY_SECRET as SECRET

Handler = Callable[[httpx.Request], httpx.Response]


class FakeClarify:
    """Issues token-1, token-2, ... and answers RPC calls; both can be replaced. Counts what it is asked."""

    def __init__(self, *, life: object = 100, token: Handler | None = None, rpc: Handler | None = None) -> None:
        self.life = life
        self.token: Handler = token or self.issue
        self.rpc: Handler = rpc or ok
        self.token_requests: list[httpx.Request] = []
        self.rpc_authorizations: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/oauth/token":
            with self._lock:
                self.token_requests.append(request)
            return self.token(request)
        assert request.url.path == "/v1/rpc"
        with self._lock:
            self.rpc_authorizations.append(request.headers["Authorization"])
        return self.rpc(request)

    def issue(self, request: httpx.Request) -> httpx.Response:
        number = len(self.token_requests)
        return httpx.Response(
            200, json={"access_token": f"token-{number}", "expires_in": self.life, "token_type": "Bearer"}
        )

    def client(self, clock: Callable[[], float] = lambda: 0.0, kind: str = "client-credentials") -> Api:
        return Api(credentials(kind), transport=httpx.MockTransport(self), clock=clock)


def ok(request: httpx.Request) -> httpx.Response:
    request_id = httpx.Response(200, content=request.content).json()["id"]
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": request_id, "result": {}})


def test_the_token_request() -> None:
    fake = FakeClarify()
    with fake.client() as client:
        assert fake.token_requests == []  # no network before the first call
        client.call("x.y", {})
    (request,) = fake.token_requests
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in request.headers
    assert parse_qs(request.content.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["EXAMPLE"],
        "client_secret": [SECRET],
        "audience": ["https://api.clarify.io/v1/"],
    }
    assert fake.rpc_authorizations == ["Bearer token-1"]


def test_a_token_is_kept_for_nine_tenths_of_its_life() -> None:
    now = 1000.0
    fake = FakeClarify(life=100)
    with fake.client(clock=lambda: now) as client:
        for elapsed in (0.0, 50.0, 89.9, 90.0, 179.9, 180.1):
            now = 1000.0 + elapsed
            client.call("x.y", {})
    assert fake.rpc_authorizations == [f"Bearer token-{n}" for n in (1, 1, 1, 2, 2, 3)]
    assert len(fake.token_requests) == 3


@pytest.mark.parametrize("life", [None, "100", True])
def test_a_token_without_a_life_is_kept_for_an_hour(life: object) -> None:
    now = 0.0
    fake = FakeClarify(life=life)
    with fake.client(clock=lambda: now) as client:
        for elapsed in (0.0, 3239.0, 3241.0):
            now = elapsed
            client.call("x.y", {})
    assert len(fake.token_requests) == 2


def test_basic_auth_needs_no_token() -> None:
    fake = FakeClarify()
    with fake.client(kind="basic-auth") as client:
        client.call("x.y", {})
    assert fake.rpc_authorizations == ["Basic " + base64.b64encode(f"EXAMPLE:{SECRET}".encode()).decode()]
    assert fake.token_requests == []


def test_basic_auth_has_nothing_to_renew() -> None:
    fake = FakeClarify(rpc=lambda request: httpx.Response(401))
    with fake.client(kind="basic-auth") as client, pytest.raises(NotAllowed):
        client.call("x.y", {})
    assert len(fake.rpc_authorizations) == 1


def test_a_refused_token_is_renewed_once() -> None:
    def only_second(request: httpx.Request) -> httpx.Response:
        return ok(request) if request.headers["Authorization"] == "Bearer token-2" else httpx.Response(401)

    fake = FakeClarify(rpc=only_second)
    with fake.client() as client:
        client.call("x.y", {})
        client.call("x.y", {})
    assert fake.rpc_authorizations == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]


def test_the_repeated_call_is_the_same() -> None:
    bodies = []

    def refuse_first(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return ok(request) if len(bodies) > 1 else httpx.Response(401)

    fake = FakeClarify(rpc=refuse_first)
    with fake.client() as client:
        client.call("x.y", {"a": 1})
    assert bodies[0] == bodies[1]


def test_refused_twice_is_not_allowed() -> None:
    fake = FakeClarify(rpc=lambda request: httpx.Response(401, text="no"))
    with fake.client() as client, pytest.raises(NotAllowed) as caught:
        client.call("x.y", {})
    assert fake.rpc_authorizations == ["Bearer token-1", "Bearer token-2"]
    assert caught.value.code == 401
    assert "create new credentials" in str(caught.value)


def test_a_token_that_is_refused_when_it_is_new_is_not_renewed_at_every_try() -> None:
    """Tokens are rationed; whoever is locked out for a weekend must not ask for one at every try."""
    now = 0.0
    fake = FakeClarify(life=86400, rpc=lambda request: httpx.Response(401))
    with fake.client(clock=lambda: now) as client:
        for elapsed in (0.0, 20.0, 40.0, 59.0, 61.0, 80.0):
            now = elapsed
            with pytest.raises(NotAllowed):
                client.call("x.y", {})
        assert fake.rpc_authorizations == [f"Bearer token-{n}" for n in (1, 2, 2, 2, 2, 2, 3, 3)]
        fake.rpc = ok
        client.call("x.y", {})  # it may become good
    assert len(fake.token_requests) == 3


def test_two_threads_with_the_same_refused_token_renew_it_once() -> None:
    both_refused = threading.Barrier(2)

    def refuse_first(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] != "Bearer token-1":
            return ok(request)
        both_refused.wait(10)
        return httpx.Response(401)

    fake = FakeClarify(rpc=refuse_first)
    with fake.client() as client, ThreadPoolExecutor(2) as threads:
        for call in [threads.submit(client.call, "x.y", {}) for _ in range(2)]:
            assert call.result(10) == {}
    assert sorted(fake.rpc_authorizations) == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2
    assert len(fake.token_requests) == 2


class AllThreadsHere:
    """A clock that stands still and knows when so many threads have looked at it."""

    def __init__(self, threads: int) -> None:
        self.now = 0.0
        self.reached = threading.Event()
        self._wanted = threads
        self._seen: set[int] | None = None

    def count_from_here(self) -> None:
        self._seen = set()

    def __call__(self) -> float:
        if self._seen is not None:
            self._seen.add(threading.get_ident())
            if len(self._seen) == self._wanted:
                self.reached.set()
        return self.now


@pytest.mark.parametrize("fails", [False, True])
def test_threads_share_one_token_request_and_its_outcome(fails: bool) -> None:
    threads = 8
    clock = AllThreadsHere(threads)
    fake = FakeClarify(life=100)

    def slow(request: httpx.Request) -> httpx.Response:
        # Every thread has found the old token too old, so every thread has decided what to do about it.
        assert clock.reached.wait(10)
        return httpx.Response(503) if fails else fake.issue(request)

    with fake.client(clock=clock) as client:
        client.call("x.y", {})
        fake.token = slow
        clock.now = 95.0
        clock.count_from_here()
        together = threading.Barrier(threads)

        def call() -> ClarifyError | None:
            together.wait(10)
            try:
                client.call("x.y", {})
            except ClarifyError as error:
                return error
            return None

        with ThreadPoolExecutor(threads) as pool:
            outcomes = [future.result(20) for future in [pool.submit(call) for _ in range(threads)]]
        assert len(fake.token_requests) == 2
        if fails:
            assert all(isinstance(error, Retryable) and error.code == 503 for error in outcomes)
        else:
            assert outcomes == [None] * threads
            assert fake.rpc_authorizations[1:] == ["Bearer token-2"] * threads

        fake.token = fake.issue
        client.call("x.y", {})  # a failure is not kept


def test_a_thread_does_not_wait_for_another_ones_token_for_ever() -> None:
    asked, answered = threading.Event(), threading.Event()

    def stuck(request: httpx.Request) -> httpx.Response:
        asked.set()
        assert answered.wait(10)
        return fake.issue(request)

    fake = FakeClarify(token=stuck)
    patience = Timeouts(connect=0.01, read=0.01, write=0.01, answer=0.01)
    client = Api(credentials(), transport=httpx.MockTransport(fake), timeout=patience, clock=lambda: 0.0)
    with client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.call, "x.y", {})
        assert asked.wait(10)
        try:
            with pytest.raises(Retryable, match=r"did not end within 0.04 s") as caught:
                client.call("x.y", {})
        finally:
            answered.set()
        assert first.result(10) == {}
    assert caught.value.method == "oauth/token"
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("forbid", [{"error": {"code": -32003, "message": "no"}}, None])
def test_a_forbidden_token_does_not_get_old(forbid: dict[str, object] | None) -> None:
    """A permission granted in the meantime is in the next token, not in this one."""
    now = 0.0

    def forbidden(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403) if forbid is None else httpx.Response(200, json={"id": None, **forbid})

    fake = FakeClarify(life=86400, rpc=forbidden)
    with fake.client(clock=lambda: now) as client:
        for elapsed in (0.0, 299.0, 301.0, 302.0):
            now = elapsed
            with pytest.raises(NotAllowed):
                client.call("x.y", {})
    assert fake.rpc_authorizations == [f"Bearer token-{n}" for n in (1, 1, 2, 2)]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (httpx.Response(401, json={"error": "access_denied", "error_description": "Unauthorized"}), NotAllowed,
         "HTTP 401: access_denied, Unauthorized. The credentials are wrong or deleted"),
        (httpx.Response(401, text="go away"), NotAllowed, "HTTP 401: go away."),
        (httpx.Response(401), NotAllowed, "HTTP 401. The credentials are wrong"),
        (httpx.Response(403, json=[]), NotAllowed, "HTTP 403"),
        (httpx.Response(400, json={"error": "invalid_client"}), NotAllowed, "invalid_client"),
        (httpx.Response(400, json={"error": "invalid_request"}), Refused, "HTTP 400"),
        (httpx.Response(404, text="nothing here"), Refused, "there is no Clarify API at this address"),
        (httpx.Response(429, headers={"Retry-After": "9"}), Retryable, "HTTP 429 Too Many Requests"),
        (httpx.Response(503), Retryable, "HTTP 503"),
        (httpx.Response(204), Retryable, "HTTP 204"),
        (httpx.Response(200, text="<html>"), Retryable, "without a usable access_token"),
        (httpx.Response(200, json={"access_token": ""}), Retryable, "without a usable access_token"),
        (httpx.Response(200, json={"access_token": "a\nb"}), Retryable, "without a usable access_token"),
        (httpx.Response(200, json={"access_token": 7}), Retryable, "without a usable access_token"),
    ],
)  # fmt: skip
def test_a_token_endpoint_that_refuses(answer: httpx.Response, kind: type[ClarifyError], said: str) -> None:
    fake = FakeClarify(token=lambda request: answer)
    with fake.client() as client, pytest.raises(kind) as caught:
        client.call("x.y", {})
    error = caught.value
    assert type(error) is kind
    assert str(error).startswith("oauth/token: ")
    assert said in str(error)
    assert error.code == answer.status_code
    assert fake.rpc_authorizations == []
    if isinstance(error, Retryable):
        assert not error.outcome_unknown  # nothing was asked of Clarify yet
        assert error.retry_after == (9.0 if error.code == 429 else None)


def test_a_line_that_breaks_while_a_token_is_asked_for() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with FakeClarify(token=fail).client() as client, pytest.raises(Retryable) as caught:
        client.call("x.y", {})
    assert caught.value.method == "oauth/token"
    assert not caught.value.outcome_unknown


def write(file: Path, number: int, kind: str = "client-credentials", **changes: str) -> None:
    """Write the credentials with another secret. No two of these files have the same length."""
    login = {"type": kind, "clientId": "id", "clientSecret": SECRET + "x" * number}
    file.write_text(json.dumps(credentials(kind) | {"credentials": login} | changes))


def test_a_changed_file_is_read_before_the_next_request(tmp_path: Path) -> None:
    file, told = tmp_path / "credentials.json", list[str | None]()
    write(file, 0)
    fake = FakeClarify()
    current = CurrentCredentials(Credentials.load(file), file, told=told.append)
    with Api(current, transport=httpx.MockTransport(fake), clock=lambda: 0.0) as client:
        for number in range(3):
            write(file, number)
            client.call("clarify.selectItems", {})
            client.call("clarify.selectItems", {})
        asked = [parse_qs(request.content.decode())["client_secret"][0] for request in fake.token_requests]
        assert asked == [SECRET, SECRET + "x", SECRET + "xx"]
        assert fake.rpc_authorizations == [f"Bearer token-{number}" for number in (1, 1, 2, 2, 3, 3)]
        write(file, 3, kind="basic-auth")
        client.call("clarify.selectItems", {})
        assert fake.rpc_authorizations[-1].startswith("Basic ")
    assert told == [None, None, None]


def test_a_file_that_cannot_be_used_or_is_for_another_integration_changes_nothing(tmp_path: Path) -> None:
    file, told = tmp_path / "credentials.json", list[str | None]()
    write(file, 0)
    fake = FakeClarify()
    current = CurrentCredentials(Credentials.load(file), file, told=told.append)
    with Api(current, transport=httpx.MockTransport(fake), clock=lambda: 0.0) as client:
        client.call("clarify.selectItems", {})
        file.write_text("{")
        client.call("clarify.selectItems", {})
        write(file, 1, integration="c" * 20)
        client.call("clarify.selectItems", {})
        file.unlink()
        client.call("clarify.selectItems", {})
        write(file, 2)
        client.call("clarify.selectItems", {})
    assert fake.rpc_authorizations == [f"Bearer token-{number}" for number in (1, 1, 1, 1, 2)]
    assert len(told) == 3
    assert "is not JSON" in str(told[0])
    assert "Restart to use another one" in str(told[1])
    assert told[2] is None
    assert SECRET not in str(told)
    assert SECRET + "xx" not in current.hide(f"the secret is {SECRET}xx, and was {SECRET}")
