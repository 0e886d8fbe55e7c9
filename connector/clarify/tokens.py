"""The Authorization header: constant for basic authentication, a token that is renewed in time for OAuth 2.0.

Tokens are costly for Clarify and rationed, so one is kept until 90 % of its life is over, and threads that
need a new one at the same time share a single request: the first one marks it as under way and does it
without holding the lock; the others wait for its outcome, good or bad, with a bound. A token that the API
refuses (401) is dropped at once, but only that very token: if another thread has renewed it meanwhile, the
new one is used. A token carries the permissions it was issued with, so after a "forbidden" it does not get
older than five minutes: a permission granted since then takes effect without a restart. A token that is refused
although it is new is tried for another minute before the next one is asked for: whatever is wrong, it is not its age.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlencode

import orjson

from connector.clarify.credentials import Credentials
from connector.clarify.errors import ClarifyError, NotAllowed, Retryable, TooLarge
from connector.clarify.transport import Answer, Timeouts, Transport, failure, hide_trace

_METHOD: Final = "oauth/token"
_ANSWER_BYTES = 64 * 1024  # of an answer with a token
_LIFE_USED = 0.9  # share of its life for which a token is used
_LIFE_UNSAID = 3600.0  # seconds, if the answer does not say; a 401 corrects it
_SAID = 500  # characters of a refusal that are shown
_REFUSED_SECONDS = 60.0  # until a token that was refused when it was new is renewed
_DISTRUSTED_AGE = 300.0  # seconds, oldest token that is used after it was forbidden something

# RFC 6749, section 5.2: some servers refuse the client with HTTP 400 and one of these.
_CLIENT_REFUSED = frozenset(("invalid_client", "unauthorized_client", "access_denied", "invalid_grant"))


class Authorization(Protocol):
    """Says what to put into the Authorization header. Safe for several threads."""

    def header(self) -> str:
        """The header's value; may ask the token endpoint, and raises ClarifyError if that fails."""

    def discard(self, header: str) -> bool:
        """The API answered 401 to this value. True if `header` may give another one now."""

    def distrust(self, header: str, *, refused: bool) -> None:
        """The API answered "forbidden" to this value, or still 401, `refused`, although it is new."""


def authorization(
    credentials: Credentials, transport: Transport, timeouts: Timeouts, clock: Callable[[], float]
) -> Authorization:
    """The kind of authorization that the credentials ask for. `clock` gives seconds, monotonic."""
    if credentials.login.type == "basic-auth":
        return BasicAuthorization(credentials)
    return TokenAuthorization(credentials, transport, timeouts, clock)


class BasicAuthorization:
    """User name and password with every request."""

    def __init__(self, credentials: Credentials) -> None:
        self._header = f"Basic {credentials.basic_value()}"

    def header(self) -> str:
        """The constant value."""
        return self._header

    def discard(self, header: str) -> bool:  # noqa: ARG002
        """There is no other value."""
        return False

    def distrust(self, header: str, *, refused: bool) -> None:
        """Nothing to renew."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    issued: float
    expires: float
    keep_until: float = 0.0
    """Until when it is not renewed, although it is refused."""


class TokenAuthorization:
    """OAuth 2.0 client credentials: a bearer token, asked for when needed."""

    def __init__(
        self, credentials: Credentials, transport: Transport, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._patience = timeouts.total
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below; never held while waiting
        self._token: _Token | None = None
        self._under_way: Future[_Token] | None = None

    def header(self) -> str:
        """The token in use, or a new one. Raises NotAllowed, Refused or Retryable."""
        with self._lock:
            if self._token is not None and self._clock() < self._token.expires:
                return self._token.header
            renewal = self._under_way
            is_ours = renewal is None
            if renewal is None:
                renewal = self._under_way = Future()
        if is_ours:
            return self._renew(renewal).header
        try:
            return renewal.result(self._patience).header
        except TimeoutError:
            wrong = f"A token request did not end within {self._patience:g} s. Try again later."
        raise Retryable(wrong, method=_METHOD)

    def discard(self, header: str) -> bool:
        """Drops the token if it is still the one in use; False if it was refused when it was new, just now."""
        with self._lock:
            if self._token is not None and self._token.header == header:
                if self._clock() < self._token.keep_until:
                    return False
                self._token = None
        return True

    def distrust(self, header: str, *, refused: bool) -> None:
        """Lets the token end five minutes after it was issued, if it is still the one in use; one that was `refused`
        is not renewed in the next minute."""
        with self._lock:
            token = self._token
            if token is not None and token.header == header:
                keep_until = token.keep_until or (self._clock() + _REFUSED_SECONDS if refused else 0.0)
                expires = min(token.expires, token.issued + _DISTRUSTED_AGE)
                self._token = replace(token, expires=expires, keep_until=keep_until)

    def _renew(self, outcome: Future[_Token]) -> _Token:
        try:
            token = self._fetch()
        except BaseException as error:
            with self._lock:
                self._under_way = None
            outcome.set_exception(error)
            raise
        with self._lock:
            self._token = token
            self._under_way = None
        outcome.set_result(token)
        return token

    def _fetch(self) -> _Token:
        asked = self._clock()
        login = self._credentials.login
        form = {
            "grant_type": "client_credentials",
            "client_id": login.client_id,
            "client_secret": login.client_secret.get_secret_value(),
            "audience": self._credentials.api_url,
        }
        try:
            answer = self._ask(form)
        except TooLarge as error:
            raise _about_the_token(error) from None
        fields = _json_object(answer.body)
        if answer.status != 200:
            raise self._refusal(answer, fields)
        access_token = fields.get("access_token")
        if not isinstance(access_token, str) or not _fits_a_header(access_token):
            raise Retryable(
                "The token endpoint answered, but without a usable access_token. Try again later.",
                code=answer.status,
                method=_METHOD,
                trace=hide_trace(answer.trace, self._credentials.hide),
            )
        life = fields.get("expires_in")
        seconds = float(life) if type(life) in (int, float) else _LIFE_UNSAID  # type: ignore[arg-type]
        return _Token(f"Bearer {access_token}", issued=asked, expires=asked + _LIFE_USED * seconds)

    def _ask(self, form: dict[str, str]) -> Answer:
        return self._transport.post(
            self._credentials.token_url,
            urlencode(form).encode(),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # a token does not get shorter
            },
            method=_METHOD,
            stores=False,
            limit=_ANSWER_BYTES,
        )

    def _refusal(self, answer: Answer, fields: dict[str, object]) -> ClarifyError:
        error = fields.get("error")
        client_refused = isinstance(error, str) and error in _CLIENT_REFUSED
        if answer.status not in (401, 403) and not (answer.status == 400 and client_refused):
            failed = failure(answer, method=_METHOD, stores=False, hide=self._credentials.hide)
            return _about_the_token(failed) if isinstance(failed, TooLarge) else failed
        said = ", ".join(text for text in (error, fields.get("error_description")) if isinstance(text, str) and text)
        said = self._credentials.hide(said)[:_SAID] or answer.excerpt(self._credentials.hide)
        said = f": {said}" if said else ""
        return NotAllowed(
            f"No token for these credentials: HTTP {answer.status}{said}. They are wrong or deleted, or "
            "apiUrl is not theirs: create new ones in Clarify's admin panel.",
            code=answer.status,
            method=_METHOD,
            trace=hide_trace(answer.trace, self._credentials.hide),
        )


def _about_the_token(error: TooLarge) -> Retryable:
    """The same complaint without blame: a TooLarge speaks of the data of a call, and a token request carries none."""
    return Retryable(error.message, code=error.code, method=error.method, trace=error.trace)


def _json_object(body: bytes) -> dict[str, object]:
    """The fields of a JSON object; none if it is anything else."""
    try:
        fields: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _fits_a_header(token: str) -> bool:
    return bool(token) and all("!" <= character <= "~" for character in token)
