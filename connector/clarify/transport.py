"""One exchange with Clarify: bytes out, an Answer back, or an error that says why there is none.

A thin layer on `exchange`, which bounds an exchange in time and its answer in size. Requests are not compressed, since
it is not documented that Clarify takes that. A header that cannot be read counts as absent. The meaning of a status for
the caller is decided here too, in `failure`, a pure function. Nothing is repeated here.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from connector.clarify.errors import ArgumentError, ClarifyError, NotAllowed, Refused, Retryable, TooLarge
from connector.exchange.http import BadAnswer, Exchanges, NoAnswer, Received

ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer that is read, in bytes after decompression. Ours: thousands of signals take about 1 MiB."""

_EXCERPT = 200  # characters of an answer that are shown
_LOOKED_AT = 16 * 1024  # bytes of an answer out of which they are taken
_TRACE = 100  # characters of a trace ID; a W3C traceparent has 55
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
    """Bounds in seconds. `read` and `write` hold for each pause; `total`, the sum of all, for a whole exchange.

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
        self._seconds = timeouts.total
        self.clock_offset: float | None = None
        """How far this machine's clock is ahead of the server's (negative: behind), in seconds, by the Date of the last
        answer; None before there is one."""
        self._exchanges = Exchanges(
            headers={"Accept-Encoding": "gzip", **headers},
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.connect
            ),
            verify=True if verify is None else _trust(verify),
            transport=transport,
            clock=clock,
        )

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        method: str,
        stores: bool,
        limit: int = ANSWER_BYTES,
    ) -> Answer:
        """The answer to one POST, whatever its status; Retryable if there is none, TooLarge if it is too long to read.

        `method` is what errors call this request; `stores` says whether it changes something in Clarify. `limit` is the
        greatest length of the body of the answer, in bytes.
        """
        try:
            received = self._exchanges.send("POST", url, seconds=self._seconds, limit=limit, body=body, headers=headers)
        except NoAnswer as error:
            wrong, unknown, code = _describe(error, url), stores and error.sent, None
        except BadAnswer as error:
            if error.too_long and not stores:
                raise TooLarge(
                    f"{error} Ask for less at once: fewer items, or a shorter time.", code=error.status, method=method
                ) from None
            wrong, unknown, code = str(error), stores, error.status
        else:
            return self._answer(received)
        raise Retryable(f"{wrong} {_ADVICE_RETRY}", code=code, method=method, outcome_unknown=unknown)

    def _answer(self, received: Received) -> Answer:
        now = datetime.now(UTC)
        date = received.header("Date")
        sent = _http_date(date) if date is not None else None
        if sent is not None:
            self.clock_offset = (now - sent).total_seconds()
        return Answer(
            status=received.status,
            reason=received.reason,
            body=received.body,
            retry_after=retry_after(received.header("Retry-After"), date, now),
            trace=received.header("traceparent"),
            location=received.location,
        )

    def close(self) -> None:
        """Closes the connections. A request after that is a RuntimeError."""
        self._exchanges.close()


def _describe(error: NoAnswer, url: str) -> str:
    """What happened on the line, in words, without anything out of the request."""
    kind = error.kind.__name__
    if issubclass(error.kind, httpx.ConnectTimeout | httpx.PoolTimeout):
        return f"No connection in time ({kind})."
    if issubclass(error.kind, httpx.TimeoutException):
        return f"No answer in time ({kind})."
    if "CERTIFICATE_VERIFY_FAILED" in error.said:
        return f"The server's certificate is not trusted ({error}): check apiUrl, or name the CA file to trust."
    hint = ""
    if issubclass(error.kind, httpx.RemoteProtocolError) and url.startswith("http:"):
        hint = ": if the server speaks TLS, apiUrl must begin with https://"
    elif "WRONG_VERSION_NUMBER" in error.said:
        hint = ": the server does not speak TLS, so apiUrl must begin with http://"
    elif issubclass(error.kind, httpx.ConnectError):
        hint = ": check apiUrl and the network if it stays"
    return f"The connection failed ({error}){hint}."


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
