"""The line to Clarify: raw requests and raw replies, the time, and bursts. No reply is an error here."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import httpx

from connector.exchange.http import BadAnswer, Exchanges, NoAnswer

_ANSWER_BYTES: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 40.0
_EXCHANGE_SECONDS: Final = 120.0
_SHARE: Final = 8
"""Requests of a burst that share one `Exchanges`, which has 10 connections."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: the whole address, the body and all headers."""

    url: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a request; `status` is None if no answer came, and `failure` then says why.

    `began` and `ended` are seconds of the clock of the line.
    """

    began: float
    ended: float
    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""

    @property
    def seconds(self) -> float:
        """The time from the request to the reply, in seconds."""
        return self.ended - self.began


class Line(Protocol):
    """What the probe needs of the world."""

    def now(self) -> float:
        """Seconds of a clock that is never set."""

    def wall(self) -> float:
        """Seconds since 1970."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def send(self, request: Request) -> Reply:
        """Send one request."""

    def burst(self, requests: Sequence[Request], gap: float) -> list[Reply]:
        """Send the requests `gap` seconds apart, without waiting for replies, and return the replies in this order.

        As soon as one reply has another status than 200, no further request is sent.
        """


class HttpLine:
    """A line over HTTP. Use it as a context, or close it."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """`ca_file` is a PEM file of the authorities to trust. Raises OSError if the file cannot be used."""
        self._verify: ssl.SSLContext | bool = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self._exchanges: list[Exchanges] = []

    def now(self) -> float:
        """Seconds of a clock that is never set."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def send(self, request: Request) -> Reply:
        """Send one request."""
        return self._send(request, self._exchange(0))

    def burst(self, requests: Sequence[Request], gap: float) -> list[Reply]:
        """Send the requests at once; see `Line`."""
        sent: list[Future[Reply]] = []
        with ThreadPoolExecutor(len(requests), thread_name_prefix="probe") as threads:
            for number, request in enumerate(requests):
                if any(one.done() and one.result().status != 200 for one in sent):
                    break
                sent.append(threads.submit(self._send, request, self._exchange(number // _SHARE)))
                time.sleep(gap)
            return [one.result() for one in sent]

    def _exchange(self, number: int) -> Exchanges:
        while len(self._exchanges) <= number:
            timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
            headers = {"User-Agent": "clarify-connector", "Accept": "application/json"}
            self._exchanges.append(Exchanges(headers=headers, timeout=timeout, verify=self._verify))
        return self._exchanges[number]

    @staticmethod
    def _send(request: Request, exchange: Exchanges) -> Reply:
        began = time.monotonic()
        try:
            received = exchange.send(
                "POST",
                request.url,
                seconds=_EXCHANGE_SECONDS,
                limit=_ANSWER_BYTES,
                body=request.body,
                headers=request.headers,
            )
        except (NoAnswer, BadAnswer) as error:
            return Reply(began, time.monotonic(), None, failure=str(error))
        headers = {name.lower(): value for name, value in received.headers.items()}
        return Reply(began, time.monotonic(), received.status, received.body, headers)

    def close(self) -> None:
        """Close all connections."""
        for one in self._exchanges:
            one.close()
        self._exchanges.clear()

    def __enter__(self) -> HttpLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
