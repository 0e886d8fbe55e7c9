"""One exchange over HTTP: bytes out, an Answer back, or a Retryable that says why there is none.

A thin layer on one httpx.Client: connections are kept alive, every wait has a bound, answers are bounded in
size, redirects are not followed (a redirected POST would lose its body or leak its token), cookies are not kept,
and requests are not compressed (it is not documented that Clarify takes that). A header that cannot be read
counts as absent. What a status means for the caller is decided
here too, in `failure`, a pure function. Nothing is repeated here.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from connector.clarify.errors import ArgumentError, ClarifyError, NotAllowed, Refused, Retryable, TooLarge

ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer that is read, in bytes after decompression. Ours: thousands of signals take about 1 MiB."""

_EXCERPT = 200  # characters of an answer that are shown
_LOOKED_AT = 16 * 1024  # bytes of an answer out of which they are taken
_TRACE = 100  # characters of a trace ID; a W3C traceparent has 55
_IDLE_SECONDS = 30.0  # how long an idle connection is kept for the next request
_CONNECTIONS = 10  # two threads use a client, so this is a bound, not a limit
_LOCATION = "connector_location"
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z")

# Status codes, by what to do; 5xx and everything else that is unknown is worth another try.
_RETRYABLE = frozenset((408, 409, 423, 425, 429))
_NOT_ALLOWED = frozenset((401, 403))
_MOVED = frozenset((301, 308))  # for good: trying again will not help
# The server itself says "not now", or sends us elsewhere. After 408, 5xx and the unknown the outcome is open.
_NOT_DONE = frozenset((302, 303, 307, 409, 423, 425, 429))
_ADVICE: Final = {
    301: "The address has moved: correct apiUrl in the credentials.",
    308: "The address has moved: correct apiUrl in the credentials.",
    400: "Check apiUrl and the API version; otherwise this is a fault in this program, please report it.",
    401: "The credentials are wrong, expired or deleted: create new ones in Clarify's admin panel.",
    403: "Grant this integration access in Clarify's admin panel.",
    404: "Check apiUrl in the credentials: there is no Clarify API at this address.",
    407: "The HTTP proxy wants a user name and a password: put them into the proxy's address.",
    413: "Send less at once.",
}
_ADVICE_RETRY: Final = "Try again later."
_ADVICE_REFUSED: Final = "Check apiUrl; otherwise this is a fault in this program, please report it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Bounds in seconds. `read` and `write` hold for each pause, `answer` for a whole exchange.

    Clarify answers within 15 s or not at all, so `read` must be over that.
    """

    connect: float = 10.0
    read: float = 20.0
    write: float = 20.0
    answer: float = 120.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            seconds = getattr(self, name)
            if not 0 < seconds < float("inf"):
                raise ArgumentError(f"timeout {name} must be a number of seconds over 0, not {seconds}")

    @property
    def total(self) -> float:
        """The longest that one exchange may take."""
        return self.connect + self.write + self.read + self.answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, decompressed body, and the headers that mean something to us."""

    status: int
    reason: str
    body: bytes
    retry_after: float | None = None
    trace: str | None = None
    location: str | None = None

    def excerpt(self, hide: Callable[[str], str]) -> str:
        """The start of the body as one line of text. `hide` takes secrets out, before anything is cut."""
        text = hide(self.body[:_LOOKED_AT].decode("utf-8", errors="replace"))
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


class Transport:
    """Sends requests to Clarify. Safe for several threads."""

    def __init__(
        self,
        *,
        timeouts: Timeouts,
        headers: Mapping[str, str],
        clock: Callable[[], float],
        transport: httpx.BaseTransport | None = None,
        verify: str | os.PathLike[str] | None = None,
    ) -> None:
        """`headers` go with every request; `verify` is a CA file instead of the usual authorities.

        Proxies come from the environment, as httpx has it (HTTPS_PROXY, NO_PROXY).
        """
        self._timeouts = timeouts
        self._clock = clock
        self.clock_offset: float | None = None
        """How far this machine's clock is ahead of the server's (negative: behind), in seconds, by the Date of the last
        answer; None before there is one."""
        self._http = httpx.Client(
            transport=transport,
            verify=True if verify is None else _trust(verify),
            headers=dict(headers),
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.connect
            ),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
            ),
            follow_redirects=False,
            event_hooks={"response": [_put_by_location]},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # httpx cannot send every one that it is given
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, method: str, stores: bool) -> Answer:
        """The answer to one POST, whatever its status; Retryable if there is none, TooLarge if it is too long to read.

        `method` is what errors call this request; `stores` says whether it changes something in Clarify.
        """
        # httpx's request and response refer to each other until the garbage collector comes by, which may be a hundred
        # frames of 8 MB later: so the body is not theirs to keep, but an iterator's, which lets go of it at its end.
        length = {"Content-Length": str(len(body))}
        try:
            with self._http.stream("POST", url, content=iter((body,)), headers={**headers, **length}) as response:
                return self._receive(response, method=method, stores=stores)
        except httpx.RequestError as error:
            wrong = _describe(error)
            sent = not isinstance(error, _NOT_SENT)
        # Raised out here so that httpx's error is not chained: it holds the request and with it the secret.
        raise Retryable(f"{wrong} {_ADVICE_RETRY}", method=method, outcome_unknown=stores and sent)

    def _receive(self, response: httpx.Response, *, method: str, stores: bool) -> Answer:
        deadline = self._clock() + self._timeouts.answer
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            wrong = None
            if size > ANSWER_BYTES:
                wrong = f"The answer is longer than {ANSWER_BYTES} bytes."
                if not stores:
                    code = response.status_code
                    raise TooLarge(
                        f"{wrong} Ask for less at once: fewer items, or a shorter time.", code=code, method=method
                    )
            elif self._clock() > deadline:
                wrong = f"The answer did not end within {self._timeouts.answer:g} s."
            if wrong is not None:
                raise Retryable(
                    f"{wrong} {_ADVICE_RETRY}",
                    code=response.status_code,
                    method=method,
                    outcome_unknown=stores,
                )
        headers = response.headers
        sent = _http_date(headers.get("Date", ""))
        if sent is not None:
            self.clock_offset = (datetime.now(UTC) - sent).total_seconds()
        return Answer(
            status=response.status_code,
            reason=response.reason_phrase,
            body=b"".join(pieces),
            retry_after=retry_after(headers.get("Retry-After"), headers.get("Date"), datetime.now(UTC)),
            trace=headers.get("traceparent"),
            location=response.extensions[_LOCATION],
        )

    def close(self) -> None:
        """Closes the connections. A request after that is a RuntimeError."""
        self._http.close()


def _put_by_location(response: httpx.Response) -> None:
    """httpx takes a redirect's address apart although it is not followed, and cannot do that with every one."""
    response.extensions[_LOCATION] = response.headers.pop("Location", None)


# Errors that come before the request is on its way. LocalProtocolError: httpx would not send it.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


def _describe(error: httpx.RequestError) -> str:
    """What happened on the line, in words, without anything out of the request."""
    kind = type(error).__name__
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return f"No connection in time ({kind})."
    if isinstance(error, httpx.TimeoutException):
        return f"No answer in time ({kind})."
    # A LocalProtocolError quotes the header that it dislikes, which may be the one with the token.
    text = "" if isinstance(error, httpx.LocalProtocolError) else str(error)
    said = f"{kind}: {text}" if text else kind
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"The server's certificate is not trusted ({said}): check apiUrl, or name the CA file to trust."
    hint = ""
    if isinstance(error, httpx.RemoteProtocolError) and error.request.url.scheme == "http":
        hint = ": if the server speaks TLS, apiUrl must begin with https://"
    elif "WRONG_VERSION_NUMBER" in text:
        hint = ": the server does not speak TLS, so apiUrl must begin with http://"
    elif isinstance(error, httpx.ConnectError):
        hint = ": check apiUrl and the network if it stays"
    return f"The connection failed ({said}){hint}."


def _trust(ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ArgumentError(
            f"CA file {os.fspath(ca_file)} cannot be used: {error}. Name a file of certificates in PEM form."
        ) from error


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; None if it says nothing.

    A date is taken relative to the answer's own Date header, so that a wrong clock here does no harm, or
    to `now` without one.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.match(value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    sent = _http_date(date) if date is not None else None
    return max(0.0, (until - (now if sent is None else sent)).total_seconds())


def _http_date(text: str) -> datetime | None:
    """None if it cannot be read: the header then counts as absent."""
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):  # beside the first, it does not say which
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def hide_trace(trace: object, hide: Callable[[str], str]) -> str | None:
    """A trace ID as a server gives it, without secrets and of a length that fits a message."""
    return None if trace is None else hide(str(trace))[:_TRACE]


def failure(answer: Answer, *, method: str, stores: bool, hide: Callable[[str], str]) -> ClarifyError:
    """The error that an answer stands for whose status is not 200. `hide` takes secrets out of text."""
    error = _failure(answer, method=method, stores=stores, hide=hide)
    error.data = answer.excerpt(hide) or None
    return error


def _failure(answer: Answer, *, method: str, stores: bool, hide: Callable[[str], str]) -> ClarifyError:
    status = answer.status
    what = f"HTTP {status} {hide(answer.reason)}".rstrip()
    if answer.location is not None and 300 <= status < 400:
        what += f", redirected to {hide(answer.location)}"
    said = answer.excerpt(hide)
    if said:
        what += f": {said}"
    known = _ADVICE.get(status)
    trace = hide_trace(answer.trace, hide)
    if status in _NOT_ALLOWED:
        return NotAllowed(f"{what}. {known}", code=status, method=method, trace=trace)
    if status == 413:
        return TooLarge(f"{what}. {known}", code=status, method=method, trace=trace)
    if status in _MOVED or (400 <= status < 500 and status not in _RETRYABLE):
        return Refused(f"{what}. {known or _ADVICE_REFUSED}", code=status, method=method, trace=trace)
    return Retryable(
        f"{what}. {known or _ADVICE_RETRY}",
        code=status,
        method=method,
        trace=trace,
        retry_after=answer.retry_after,
        outcome_unknown=stores and status not in _NOT_DONE,
    )
