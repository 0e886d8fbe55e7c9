"""Tokens that expire, are revoked, refused or not to be had, in any order: each is renewed once, and what then is not
allowed says so; nothing is asked for more often than that."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import httpx
import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from connector.clarify import Api, ClarifyError, InvalidParams, NotAllowed, Retryable
from tests.credentials import credentials

RENEWED = 60.0
"""Seconds in which a token that was refused when it was new is not renewed again."""
DISTRUSTED = 300.0


class TokenMachine(RuleBasedStateMachine):
    """A client, and a server that may refuse anything."""

    @initialize(life=st.sampled_from([10.0, 100.0, 86400.0]))
    def begin(self, life: float) -> None:
        self.now = 1000.0
        self.life = life
        self.issued: dict[str, float] = {}
        """Token → when."""
        self.revoked: set[str] = set()
        self.refused: Counter[str] = Counter()
        """Token → how many requests with it were answered with 401."""
        self.refused_when_new: dict[str, float] = {}
        self.refuses_all = False
        self.forbids = False
        self.token_endpoint = 200
        self.seen: list[str] = []
        """What was asked for in the call under way."""
        self.api = Api(
            credentials(),
            transport=httpx.MockTransport(self.serve),
            clock=lambda: self.now,
        )

    def serve(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            self.seen.append("token")
            if self.token_endpoint != 200:
                return httpx.Response(self.token_endpoint)
            token = f"t{len(self.issued)}"
            self.issued[token] = self.now
            return httpx.Response(200, json={"access_token": token, "expires_in": self.life})
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        assert token in self.issued
        if self.refuses_all or token in self.revoked or self.now > self.issued[token] + self.life:
            self.refused[token] += 1
            return httpx.Response(401)
        said = {"jsonrpc": "2.0", "id": orjson.loads(request.content)["id"]}
        if self.forbids:
            return httpx.Response(200, json={**said, "error": {"code": -32003, "message": "no"}})
        return httpx.Response(200, json={**said, "result": {}})

    @rule(seconds=st.floats(0, 20) | st.floats(0, 1000))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def revoke_all(self) -> None:
        self.revoked |= set(self.issued)

    @rule(refuses=st.booleans())
    def refuse_all(self, refuses: bool) -> None:
        self.refuses_all = refuses

    @rule(forbids=st.booleans())
    def forbid(self, forbids: bool) -> None:
        self.forbids = forbids

    @rule(status=st.sampled_from([200, 200, 401, 429, 503]))
    def break_token_endpoint(self, status: int) -> None:
        self.token_endpoint = status

    @rule()
    def call(self) -> None:
        self.seen = []
        error: ClarifyError | None = None
        try:
            self.api.call("x.y", {})
        except ClarifyError as found:
            error = found
        requests = [what for what in self.seen if what != "token"]
        assert not isinstance(error, InvalidParams), "nothing of this is the data's fault"
        assert len(requests) <= 2
        assert len(set(requests)) == len(requests), "no token twice in one call"
        assert self.seen.count("token") <= 2
        last_asked_for = max(self.issued.values(), default=0.0)
        if self.seen[-1] == "token":  # no token was to be had
            assert self.token_endpoint != 200
            assert isinstance(error, NotAllowed if self.token_endpoint == 401 else Retryable)
            return
        token = requests[-1]
        is_refused = self.refuses_all or token in self.revoked
        if not is_refused:
            assert (error is None) == (not self.forbids)
            assert error is None or (isinstance(error, NotAllowed) and error.code == -32003)
        else:
            assert isinstance(error, NotAllowed)
            assert error.code == 401
            if len(requests) == 1 and "token" not in self.seen:  # not renewed: it was new when it was refused
                assert self.now < self.refused_when_new[token] + RENEWED
            self.refused_when_new.setdefault(token, self.now)
            assert last_asked_for > self.now - RENEWED - DISTRUSTED, "it is not kept for ever"

    @rule(calls=st.integers(1, 20), apart=st.floats(0, 40))
    def hold(self, calls: int, apart: float) -> None:
        """All is refused, and slowly tried again, as the circuit does it."""
        self.refuses_all, self.token_endpoint = True, 200
        before, began = len(self.issued), self.now
        for _ in range(calls):
            self.call()
            self.now += apart
        seconds = self.now - began
        ends = seconds / min(0.9 * self.life, DISTRUSTED)  # of a token's life: then it is asked for, and once more
        assert len(self.issued) - before <= 2 + seconds / RENEWED + 2 * ends
        self.refuses_all = False

    def teardown(self) -> None:
        """When all is well again it takes one renewal, at the latest after a minute."""
        if not hasattr(self, "api"):
            return
        self.refuses_all = self.forbids = False
        self.token_endpoint = 200
        with suppress(NotAllowed):
            self.api.call("x.y", {})
        self.now += RENEWED
        self.api.call("x.y", {})
        self.api.close()


TestTokens = TokenMachine.TestCase
TestTokens.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
