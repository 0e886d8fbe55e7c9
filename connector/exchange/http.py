"""One HTTP exchange within bounds: a request out, and an answer or an error back.

| of an answer | bound | beyond the bound |
|---|---|---|
| time, from the name's look-up to the last byte | `seconds` of `send` | the socket is closed; NoAnswer or BadAnswer |
| body, after decompression and before | `limit` of `send` | the socket is closed; BadAnswer |
| body of an answer with another status than 200 | 64 KiB | the rest is not read |
| codings of the body | one: gzip or deflate | BadAnswer |
| status line and headers; trailers | 100 KiB each (h11) | NoAnswer |
| a header that is looked at | 2,000 characters | the header counts as absent |

Redirects are not followed: a redirected POST would lose its body or leak its token. Cookies are not kept.
Nothing is repeated here.
"""

from __future__ import annotations

import os
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, cast

import httpx

from connector.exchange.network import BoundedNetwork, deadline

_CONNECTIONS = 10  # two threads use a client, so the bound is never reached
_IDLE_SECONDS = 30.0  # how long an idle connection is kept for the next request
_FAILURE_BYTES = 64 * 1024  # of an answer with another status than 200: enough for its error
_HEADER = 2_000  # characters of a header
_REASON = 200  # characters of the text beside the status, and of the text of an error
_STEP = 1024 * 1024  # bytes that are inflated at once
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_CODINGS = frozenset(("gzip", "x-gzip", "deflate"))
_QUOTED = re.compile(r"[:(\s]*(bytearray|b['\"])")
_LOCATION = "connector_location"
_AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")

# Errors that come before the request is on its way. LocalProtocolError: httpx refuses to send the request.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


@dataclass(frozen=True, slots=True)
class Received:
    """An answer: its status, the text beside the status, the decompressed body, and the headers."""

    status: int
    reason: str
    body: bytes
    headers: Mapping[str, str]
    location: str | None = None

    def header(self, name: str) -> str | None:
        """The value of a header; None if the header is absent, or longer than 2,000 characters."""
        return _short(self.headers.get(name))


class SetUpError(Exception):
    """What the environment names for all exchanges cannot be used. The text is for people, and has the remedy."""


class ExchangeError(Exception):
    """There is no answer that can be used. No error of httpx is chained, because httpx's errors hold the request."""


class NoAnswer(ExchangeError):  # noqa: N818 - the name is the case
    """The exchange ended without an answer.

    `kind` is httpx's class for the failure. `said` describes the failure, and quotes neither the request nor the
    server. `sent` is True if the request may be with the server. `proxy` is the proxy on the way, as HOST:PORT, or
    None. `refused` is the status with which the proxy refused the way to the server; None if it did not.
    """

    def __init__(self, error: httpx.RequestError, proxy: str | None = None) -> None:
        self.kind: Final = type(error)
        self.said: Final = _said(error)
        self.sent: Final = not isinstance(error, _NOT_SENT)
        self.proxy: Final = proxy
        self.refused: Final = int(self.said) if self.kind is httpx.ProxyError and self.said.isdecimal() else None
        text = f"{self.kind.__name__}: {self.said}" if self.said else self.kind.__name__
        super().__init__(text if proxy is None else f"{text}, through the proxy {proxy}")

    @property
    def is_of_proxy(self) -> bool:
        """Whether there is no connection to the proxy itself."""
        if self.proxy is None or not issubclass(self.kind, httpx.ConnectError):
            return False
        return "SSL:" not in self.said and "_ssl." not in self.said  # TLS is also spoken with the server behind it


class BadAnswer(ExchangeError):  # noqa: N818 - the name is the case
    """The answer cannot be read to its end. The text is a sentence; `too_long` is True if the length is the reason."""

    def __init__(self, wrong: str, status: int, *, too_long: bool = False) -> None:
        super().__init__(wrong)
        self.status: Final = status
        self.too_long: Final = too_long


class Exchanges:
    """A client for HTTP with bounds, on one httpx.Client. Safe for several threads."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`headers` go with every request. `timeout` bounds each step; `transport` replaces the network.

        httpx reads the proxies from the environment (HTTPS_PROXY, NO_PROXY). With `verify=True`, the environment may
        name the authorities, too (SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE). Raises SetUpError if what the
        environment names cannot be used.
        """
        self._clock = clock
        try:
            self._http = httpx.Client(
                transport=transport,
                verify=_usual_trust() if verify is True else verify,
                headers=dict(headers),
                timeout=timeout,
                limits=httpx.Limits(
                    max_connections=_CONNECTIONS,
                    max_keepalive_connections=_CONNECTIONS,
                    keepalive_expiry=_IDLE_SECONDS,
                ),
                follow_redirects=False,
                event_hooks={"response": [_put_by_location]},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # httpx cannot send every cookie back
            )
        except OSError as error:
            raise SetUpError(
                f"The certificate authorities that the environment names ({_named(_AUTHORITIES)}) cannot be used: "
                f"{error}. Name a file of certificates in PEM form."
            ) from None
        except (ValueError, ImportError, httpx.InvalidURL):  # their texts may have the password of the proxy
            raise SetUpError(
                f"The proxy that the environment names ({_named(_PROXIES)}) cannot be used: write its address as "
                "http://HOST:PORT."
            ) from None
        # httpcore takes the network as a documented argument, but httpx does not pass the argument on.
        for network in (self._http._transport, *self._http._mounts.values()):
            if isinstance(network, httpx.HTTPTransport):
                _bound(network)

    def send(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        limit: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Received:
        """The answer to one request, with any status. The whole exchange ends within `seconds`.

        `limit` is the greatest length of the body of an answer, in bytes. Raises NoAnswer and BadAnswer.
        """
        ends = self._clock() + seconds
        sent = dict(headers or {})
        content: Iterable[bytes] | None = None
        if body is not None:
            # httpx's request and response refer to each other until the garbage collector runs, perhaps a hundred
            # frames of 8 MB later. So only an iterator holds the body, and the iterator drops the body after sending.
            sent["Content-Length"] = str(len(body))
            content = iter((body,))
        try:
            with deadline(seconds), self._http.stream(method, url, content=content, headers=sent) as response:
                return self._received(response, ends, seconds, limit)
        except httpx.RequestError as error:
            failure = NoAnswer(error, self.proxy(url))
        raise failure

    def proxy(self, url: str) -> str | None:
        """The proxy on the way to this address, as HOST:PORT, without a user name; None without a proxy."""
        try:
            network = self._http._transport_for_url(httpx.URL(url))
        except httpx.InvalidURL:
            return None
        used = getattr(getattr(network, "_pool", None), "_proxy_url", None)  # httpx keeps it, but does not tell
        if used is None:
            return None
        port = used.port or {b"https": 443, b"http": 80}.get(used.scheme, 1080)
        return f"{used.host.decode('ascii', 'replace')}:{port}"

    def close(self) -> None:
        """Close the connections. A later request raises RuntimeError."""
        self._http.close()

    def _received(self, response: httpx.Response, ends: float, seconds: float, limit: int) -> Received:
        status = response.status_code
        failed = status != 200
        body = bytearray()
        try:
            for part in _decoded(cast(httpx.SyncByteStream, response.stream), response.headers, limit):
                body += part
                if failed and len(body) > _FAILURE_BYTES:
                    break
                if len(body) > limit:
                    raise BadAnswer(_too_long(limit), status, too_long=True)
                if self._clock() > ends:
                    raise BadAnswer(f"The answer did not end within {seconds:g} s.", status)
        except _Undecodable as error:
            if not failed:
                raise BadAnswer(str(error), status, too_long=error.too_long) from None
            body.clear()  # the status is enough for an error
        reason = response.reason_phrase
        return Received(
            status=status,
            reason=reason if len(reason) <= _REASON else "",
            body=bytes(body[:_FAILURE_BYTES] if failed else body),
            headers=response.headers,
            location=_short(response.extensions[_LOCATION]),
        )


class _Undecodable(Exception):  # noqa: N818
    too_long = False


def _too_long(limit: int) -> str:
    return f"The answer is longer than {limit} bytes."


def _decoded(pieces: Iterable[bytes], headers: Mapping[str, str], limit: int) -> Iterator[bytes]:
    """The body in parts of at most 1 MiB or of the length of a piece, without its coding. Raises _Undecodable.

    An empty part stands for a piece that holds nothing of the body.
    """
    codings = [name.strip().lower() for name in headers.get("Content-Encoding", "").split(",")]
    codings = [name for name in codings if name not in ("", "identity")]
    if not codings:
        yield from pieces
        return
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise _Undecodable("The answer is compressed more than once, or in a way that was not asked for.")
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    raw = 0
    try:
        for piece in pieces:
            rest = piece
            raw += len(piece)
            if raw > limit:
                error = _Undecodable(_too_long(limit))
                error.too_long = True
                raise error
            if inflating.eof and rest:
                break
            while rest and not inflating.eof:
                yield inflating.decompress(rest, _STEP)
                rest = inflating.unconsumed_tail
        yield inflating.flush()
    except zlib.error:
        raise _Undecodable("The answer cannot be decompressed.") from None
    if raw and (not inflating.eof or inflating.unused_data or rest):
        raise _Undecodable("The compressed answer does not end where its compression ends.")


def environment_trust() -> ssl.SSLContext | None:
    """The context for REQUESTS_CA_BUNDLE, a file or a folder; None if other variables say it.

    SSL_CERT_FILE and SSL_CERT_DIR have precedence, as in httpx. Raises OSError if the certificates cannot be used.
    """
    named = os.environ.get("REQUESTS_CA_BUNDLE")
    if not named or any(os.environ.get(name) for name in _AUTHORITIES[:2]):
        return None
    path = os.path.expanduser(named)  # noqa: PTH111 - leaves an unknown ~name as it is
    if os.path.isdir(path):  # noqa: PTH112
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _usual_trust() -> ssl.SSLContext:
    if any(os.environ.get(name) for name in _AUTHORITIES):  # their files may change until the next client is made
        return environment_trust() or httpx.create_ssl_context()
    return _own_trust()


@cache
def _own_trust() -> ssl.SSLContext:
    """The context for the authorities of httpx. All clients share it, as reading takes 0.8 MB of memory and 20 ms."""
    return httpx.create_ssl_context()


def _named(variables: Iterable[str]) -> str:
    return ", ".join(name for name in variables if os.environ.get(name)) or "none"


def _bound(network: httpx.HTTPTransport) -> None:
    if not isinstance(network._pool._network_backend, BoundedNetwork):
        network._pool._network_backend = BoundedNetwork()


def _put_by_location(response: httpx.Response) -> None:
    """Keep the address of a redirect away from httpx, which parses the address and cannot parse every address."""
    response.extensions[_LOCATION] = response.headers.pop("Location", None)


def _short(value: str | None) -> str | None:
    return value if value is not None and len(value) <= _HEADER else None


def _said(error: httpx.RequestError) -> str:
    """A description of the failure, without any part of the request or the answer."""
    # A LocalProtocolError quotes the refused header, which may be the header with the token.
    if isinstance(error, httpx.LocalProtocolError):
        return ""
    text = str(error)
    if isinstance(error, httpx.RemoteProtocolError):  # quotes the unreadable bytes, maybe an echo of the request
        text = _QUOTED.split(text, maxsplit=1)[0]
    elif isinstance(error, httpx.ProxyError) and text[:3].isdigit():
        text = text[:3]  # the status without the words of the proxy
    return text[:_REASON]
