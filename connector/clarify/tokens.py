"""The Authorization header: a constant for basic authentication, a renewed token for OAuth 2.0.

Tokens are costly for Clarify and rationed. So a token is kept until 90 % of its life is over. Threads that need a new
token at the same time share one request: the first thread marks the request as under way and sends the request without
the lock. The other threads wait for the outcome, good or bad, for a bounded time.

If the API refuses a token (401), only this token is dropped. If another thread has already renewed the token, the new
token is used. If a new token is refused, its age is not the cause. So this token is kept for another minute before the
next token is requested.

A token carries the permissions of the moment when the token was issued. So after a "forbidden", the token ends at an
age of five minutes: a permission that was granted later takes effect without a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlencode

import orjson

from connector.clarify.credentials import Credentials, CurrentCredentials
from connector.clarify.errors import ClarifyError, NotAllowed, Retryable, TooLarge
from connector.clarify.transport import Answer, Timeouts, Transport, failure, hide_trace

_METHOD: Final = "oauth/token"
_ANSWER_BYTES = 64 * 1024  # the longest answer with a token
_LIFE_USED = 0.9  # the share of a token's life for which the token is used
_LIFE_UNSAID = 3600.0  # seconds, if the answer names no life; a 401 corrects a wrong guess
_SAID = 500  # the characters of a refusal that an error shows
_REFUSED_SECONDS = 60.0  # how long a new token that was refused is kept
_DISTRUSTED_AGE = 300.0  # seconds: the largest age of a token after a "forbidden"

# RFC 6749, section 5.2: some servers refuse the client with HTTP 400 and one of these errors.
_CLIENT_REFUSED = frozenset(("invalid_client", "unauthorized_client", "access_denied", "invalid_grant"))


class Authorization(Protocol):
    """The source of the Authorization header. Safe for several threads."""

    def header(self) -> str:
        """The value of the header. The call may ask the token endpoint. Raises ClarifyError if there is no token."""

    def discard(self, header: str) -> bool:
        """Note that the API answered 401 to this value. Returns whether the next value may be another value."""

    def distrust(self, header: str, *, refused: bool) -> None:
        """Note that the API forbade a call with this value, or (`refused`) answered 401 although the value is new."""


class RenewedAuthorization:
    """The authorization for the login type of the credentials, made anew when their file changes.

    So a token of the former credentials is not used any more. An error then names new credentials that are wrong while
    a person is looking, and not when the token ends.
    """

    def __init__(
        self, credentials: CurrentCredentials, transport: Transport, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        """`clock` returns monotonic seconds."""
        self._credentials = credentials
        self._parts = transport, timeouts, clock
        self._lock = threading.Lock()
        self._made = self._make()

    def header(self) -> str:
        """As `Authorization.header`, with the credentials that the file has now."""
        return self._current().header()

    def discard(self, header: str) -> bool:
        """As `Authorization.discard`; True if the file has other credentials by now."""
        return self._current().discard(header)

    def distrust(self, header: str, *, refused: bool) -> None:
        """As `Authorization.distrust`."""
        self._current().distrust(header, refused=refused)

    def _current(self) -> Authorization:
        with self._lock:
            if self._credentials.renewed():
                self._made = self._make()
            return self._made

    def _make(self) -> Authorization:
        credentials = self._credentials.value
        if credentials.login.type == "basic-auth":
            return BasicAuthorization(credentials)
        return TokenAuthorization(credentials, *self._parts)


class BasicAuthorization:
    """User name and password with every request."""

    def __init__(self, credentials: Credentials) -> None:
        self._header = f"Basic {credentials.basic_value()}"

    def header(self) -> str:
        """The constant value."""
        return self._header

    def discard(self, header: str) -> bool:
        """Whether the value is another one, of former credentials."""
        return header != self._header

    def distrust(self, header: str, *, refused: bool) -> None:
        """Do nothing, because there is nothing to renew."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    issued: float
    expires: float
    keep_until: float = 0.0
    """The time until which the token is kept, although the API refuses the token; 0 without a refusal."""


class TokenAuthorization:
    """OAuth 2.0 client credentials: a bearer token, which is requested when a call needs a token."""

    def __init__(
        self, credentials: Credentials, transport: Transport, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._patience = timeouts.total
        self._clock = clock
        self._lock = threading.Lock()  # guards `_token` and `_under_way`; never held while waiting
        self._token: _Token | None = None
        self._under_way: Future[_Token] | None = None

    def header(self) -> str:
        """The token in use, or a new token. Raises NotAllowed, Refused or Retryable."""
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
        """Drop the token if the token is still in use.

        Returns False if the token is kept, because the API refused the token, when new, within the last minute.
        """
        with self._lock:
            if self._token is not None and self._token.header == header:
                if self._clock() < self._token.keep_until:
                    return False
                self._token = None
        return True

    def distrust(self, header: str, *, refused: bool) -> None:
        """Let the token end five minutes after its issue, if the token is still in use.

        A token that was `refused` is not renewed within the next minute.
        """
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
                "Accept-Encoding": "identity",  # compression makes no token shorter
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
            f"No token for these credentials: HTTP {answer.status}{said}. The credentials are wrong or deleted, or "
            "belong to another apiUrl: create new credentials in Clarify's admin panel. A changed credentials file is "
            "read again before the next try.",
            code=answer.status,
            method=_METHOD,
            trace=hide_trace(answer.trace, self._credentials.hide),
        )


def _about_the_token(error: TooLarge) -> Retryable:
    """The error as Retryable, because TooLarge blames the data of a call, and a token request has no data."""
    return Retryable(error.message, code=error.code, method=error.method, trace=error.trace)


def _json_object(body: bytes) -> dict[str, object]:
    """The fields of a JSON object; an empty dict for any other body."""
    try:
        fields: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _fits_a_header(token: str) -> bool:
    return bool(token) and all("!" <= character <= "~" for character in token)
