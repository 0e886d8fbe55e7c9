"""One exchange with Clarify: bytes out, and an Answer or an error back.

This module is a thin layer on `exchange`, which bounds the time of an exchange and the size of the answer. Requests are
not compressed, because Clarify does not document compressed requests. A header that cannot be read counts as absent.
The pure function `failure` decides the meaning of a status for the caller. Nothing is repeated here.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from connector.clarify.credentials import stamp_of
from connector.clarify.errors import ArgumentError, ClarifyError, NotAllowed, Refused, Retryable, TooLarge
from connector.exchange.http import BadAnswer, Exchanges, NoAnswer, Received, SetUpError

ANSWER_BYTES: Final = 64 * 1024 * 1024
"""The longest answer that is read, in bytes after decompression.

Clarify documents no limit; an answer about thousands of signals has about 1 MiB.
"""

_EXCERPT = 200  # the characters of an answer that an error shows
_LOOKED_AT = 16 * 1024  # the bytes of an answer from which these characters are taken
_TRACE = 100  # the characters of a trace ID; a W3C traceparent has 55
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z")

# Status codes, by remedy. A request with 5xx, or with an unknown status, is worth another attempt.
_RETRYABLE = frozenset((408, 409, 423, 425, 429))
_NOT_ALLOWED = frozenset((401, 403))
_MOVED = frozenset((301, 308))  # permanent: a repetition does not help
# The server itself says "not now", or redirects the request. After 408, 5xx and an unknown status, the outcome is open.
_NOT_DONE = frozenset((302, 303, 307, 409, 423, 425, 429))
_ADVICE_LOG_IN: Final = (
    "The proxy wants a valid user name and password: put both into HTTPS_PROXY (HTTP_PROXY for an http:// address), as "
    "in http://USER:PASSWORD@HOST:PORT."
)
_ADVICE: Final = {
    301: "The address has moved: correct apiUrl in the credentials.",
    308: "The address has moved: correct apiUrl in the credentials.",
    400: "Check apiUrl and the API version. If both are right, this program has a fault: please report the fault.",
    401: "The credentials are wrong, expired or deleted: create new credentials in Clarify's admin panel. "
    "A changed credentials file is read again before the next try.",
    403: "Grant this integration access in Clarify's admin panel.",
    404: "Check apiUrl in the credentials: there is no Clarify API at this address.",
    407: _ADVICE_LOG_IN,
    413: "Send less data in one request.",
}
_ADVICE_RETRY: Final = "Try again later."
_ADVICE_REFUSED: Final = "Check apiUrl. If apiUrl is right, this program has a fault: please report the fault."


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Bounds in seconds: `read` and `write` hold for each pause, and `total`, the sum of all, for a whole exchange.

    Clarify answers within 15 s or not at all. So `read` must be longer than 15 s.
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
        """The longest time of one exchange, in seconds."""
        return self.connect + self.write + self.read + self.answer


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the status, the decompressed body, and the headers that the client uses."""

    status: int
    reason: str
    body: bytes
    retry_after: float | None = None
    trace: str | None = None
    location: str | None = None
    proxy: str | None = None
    """The proxy that may have answered in place of the server, as HOST:PORT; None behind TLS, or without a proxy."""

    def excerpt(self, hide: Callable[[str], str]) -> str:
        """The start of the body as one line of text. `hide` removes secrets before the text is cut."""
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
        told: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`headers` go with every request; `verify` is a CA file to trust instead of the usual authorities.

        The environment names the proxy (HTTPS_PROXY, NO_PROXY), and without `verify` also the authorities
        (SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE). Raises ArgumentError if one of these cannot be used.

        A changed CA file is read again before the next request. Then `told` gets None, or what is wrong with the file:
        in this case the authorities that were read before stay trusted.
        """
        self._answered = False
        """Whether a server has answered, so that neither the address nor TLS can be wrong."""
        self._seconds = timeouts.total
        self._told = told
        self._ca_file = None if verify is None else Path(os.path.expanduser(verify))  # noqa: PTH111 - as in _trust
        self._stamp = stamp_of(self._ca_file)
        self._renewing = threading.Lock()
        self._former: Exchanges | None = None
        """Those of the CA file before, which another thread may still use."""
        self.clock_offset: float | None = None
        """The seconds that the local clock is ahead of the server's clock; negative if the local clock is behind.

        The number comes from the Date of the last answer. None before the first answer.
        """

        def opened() -> Exchanges:
            try:
                return Exchanges(
                    headers={"Accept-Encoding": "gzip", **headers},
                    timeout=httpx.Timeout(
                        connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.connect
                    ),
                    verify=True if verify is None else _trust(verify),
                    transport=transport,
                    clock=clock,
                )
            except SetUpError as error:
                raise ArgumentError(str(error)) from error

        self._open = opened
        self._exchanges = opened()

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
        """The answer to one POST, with any status.

        `method` is the name of the request in errors. `stores` is True if the request changes something in Clarify.
        `limit` is the greatest length of the body of the answer, in bytes. Raises Retryable if no usable answer comes.
        Raises TooLarge if the answer is too long, and the request changes nothing. Raises Refused if a proxy refuses
        the way.
        """
        self._renew()
        exchanges = self._exchanges
        try:
            received = exchanges.send("POST", url, seconds=self._seconds, limit=limit, body=body, headers=headers)
        except NoAnswer as error:
            if error.refused is not None and 400 <= error.refused < 500 and error.refused not in _RETRYABLE:
                raise Refused(_refusal(error, url), code=error.refused, method=method) from None
            wrong, unknown, code = _describe(error, url, answered=self._answered), stores and error.sent, None
        except BadAnswer as error:
            if error.too_long and not stores:
                raise TooLarge(
                    f"{error} Ask for less data in one request: fewer items, or a shorter time.",
                    code=error.status,
                    method=method,
                ) from None
            wrong, unknown, code = str(error), stores, error.status
        else:
            self._answered = True
            return self._answer(received, exchanges.proxy(url) if url.startswith("http:") else None)
        raise Retryable(f"{wrong} {_ADVICE_RETRY}", code=code, method=method, outcome_unknown=unknown)

    def _answer(self, received: Received, proxy: str | None) -> Answer:
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
            proxy=proxy,
        )

    def close(self) -> None:
        """Close the connections. A later request raises RuntimeError."""
        for exchanges in filter(None, (self._former, self._exchanges)):
            exchanges.close()

    def _renew(self) -> None:
        """Trust the authorities of a changed CA file from now on."""
        if self._ca_file is None or (stamp := stamp_of(self._ca_file)) == self._stamp:
            return
        with self._renewing:
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                renewed = self._open()
            except ArgumentError as error:  # the file may be in the middle of a change
                self._told(str(error))
                return
            if self._former is not None:
                self._former.close()
            self._former, self._exchanges = self._exchanges, renewed
        self._told(None)


def _refusal(error: NoAnswer, url: str) -> str:
    """Sentences about a proxy that refuses the way to the server."""
    host = httpx.URL(url).host
    advice = f"Allow {host} at the proxy, or name {host} in NO_PROXY if there is a way without the proxy."
    return (
        f"The proxy {error.proxy} refuses the connection to {host} (HTTP {error.refused}). "
        f"{_ADVICE_LOG_IN if error.refused == 407 else advice}"
    )


def _describe(error: NoAnswer, url: str, *, answered: bool) -> str:
    """A sentence about the failure of the connection, without any part of the request.

    `answered` is True if a server has answered before: then the address is right.
    """
    kind = error.kind.__name__ if error.proxy is None else f"{error.kind.__name__}, through the proxy {error.proxy}"
    if issubclass(error.kind, httpx.ConnectTimeout | httpx.PoolTimeout):
        return f"No connection in time ({kind})."
    if issubclass(error.kind, httpx.TimeoutException):
        return f"No answer in time ({kind})."
    if "CERTIFICATE_VERIFY_FAILED" in error.said:
        return f"The server's certificate is not trusted ({error}): check apiUrl, or name the CA file to trust."
    if error.is_of_proxy:
        return f"The proxy cannot be reached ({error}): check the proxy, HTTPS_PROXY and NO_PROXY."
    if error.refused is not None:
        return f"The proxy {error.proxy} does not reach the server (HTTP {error.refused})."
    hint = ""
    # A server of TLS ends a plain connection with its end or with a reset, whichever comes first.
    ended = httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError
    if error.proxy is not None and "WRONG_VERSION_NUMBER" in error.said:
        hint = ": the proxy or the server does not speak TLS; HTTPS_PROXY mostly begins with http://"
    elif "WRONG_VERSION_NUMBER" in error.said:
        hint = ": the server does not speak TLS, so apiUrl must begin with http://"
    elif issubclass(error.kind, httpx.ConnectError):
        hint = f": check {'the network' if answered else 'apiUrl and the network'} if the error stays"
    elif issubclass(error.kind, ended) and url.startswith("http:") and not answered and error.proxy is None:
        hint = ": if the server speaks TLS, apiUrl must begin with https://"
    return f"The connection failed ({error}){hint}."


def _trust(ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    path = os.path.expanduser(ca_file)  # noqa: PTH111 - leaves an unknown ~name as it is
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ArgumentError(
            f"CA file {path} cannot be used: {error}. Name a file of certificates in PEM form."
        ) from error


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks to wait; None without a valid header.

    The header has seconds or a date. A date is compared with the answer's own Date header, so that a wrong local clock
    does no harm. Without a Date header, the date is compared with `now`.
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
    """The date in a header; None if the date cannot be read, so that the header counts as absent."""
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):  # only ValueError is documented
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def hide_trace(trace: object, hide: Callable[[str], str]) -> str | None:
    """The trace ID of a server, without secrets and cut to the length for a message; None without an ID."""
    return None if trace is None else hide(str(trace))[:_TRACE]


def failure(answer: Answer, *, method: str, stores: bool, hide: Callable[[str], str]) -> ClarifyError:
    """The error for an answer whose status is not 200. `hide` removes secrets from a text."""
    error = _failure(answer, method=method, stores=stores, hide=hide)
    error.data = answer.excerpt(hide) or None
    error.said = f"HTTP Response Error: {hide(answer.reason)}"  # the words of Clarify's own client
    return error


def _failure(answer: Answer, *, method: str, stores: bool, hide: Callable[[str], str]) -> ClarifyError:
    status = answer.status
    what = f"HTTP {status} {hide(answer.reason)}".rstrip()
    if answer.proxy is not None:
        what += f" from the proxy {answer.proxy}" if status == 407 else f" through the proxy {answer.proxy}"
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
