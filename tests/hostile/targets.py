"""Who asks a hostile server: an insert, a token request, and a look-up in a schema registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from connector.clarify import Api, ClarifyError, Credentials, Retryable, Timeouts
from connector.formats.format import PayloadError, SchemaUnavailableError
from connector.formats.schema.registry.client import SchemaRegistry
from tests.secrets_used import CLARIFY_SECRET, REGISTRY_TOKEN

STEP: Final = 0.3
TIMEOUTS: Final = Timeouts(connect=STEP, read=STEP, write=STEP, answer=STEP)
BOUND: Final = TIMEOUTS.total
"""Seconds of the longest exchange with Clarify. A request to a registry has less."""
REGISTRY: Final = 1.0
"""Seconds of a request to a registry."""
LIMITS: Final = {"insert": 64, "token": 1, "registry": 16}
"""MiB of an answer that is read."""

FRAME: Final = {"times": ["2026-05-01T06:00:00Z"], "series": {"a": [1.0]}}
LARGE: Final = b'{"times":[],"series":{"' + b"a" * 7_000_000 + b'":[]}}'


@dataclass(frozen=True)
class Target:
    """`ask` sends one request to a server at a URL; it returns the error, or None if the answer is fine."""

    name: str
    ask: Callable[[str, Path, httpx.BaseTransport | None], Exception | None]
    away: type[Exception]
    """The class of an error that says nothing about the data."""

    def __repr__(self) -> str:
        return self.name


def api(
    url: str,
    kind: str = "basic-auth",
    *,
    verify: Path | None = None,
    timeouts: Timeouts = TIMEOUTS,
    transport: httpx.BaseTransport | None = None,
) -> Api:
    """A client of Clarify with small time-outs."""
    credentials = Credentials.load(
        {
            "apiUrl": url,
            "integration": "cp1a5c9e3g7i2k6m0o4q",
            "credentials": {"type": kind, "clientId": "EXAMPLE", "clientSecret": CLARIFY_SECRET},
        }
    )
    return Api(credentials, timeout=timeouts, verify=verify, transport=transport)


def registry(url: str, folder: Path, *, transport: httpx.BaseTransport | None = None) -> SchemaRegistry:
    """A client of a schema registry with a small time-out."""
    return SchemaRegistry("main", [url], folder, token=REGISTRY_TOKEN, timeout=REGISTRY, transport=transport)


def _clarify(kind: str) -> Callable[[str, Path, httpx.BaseTransport | None], Exception | None]:
    def ask(url: str, folder: Path, transport: httpx.BaseTransport | None = None) -> Exception | None:
        with api(url, kind, transport=transport) as client:
            try:
                client.insert(FRAME)
            except ClarifyError as error:
                return error
            return None

    return ask


def _look_up(url: str, folder: Path, transport: httpx.BaseTransport | None = None) -> Exception | None:
    client = registry(url, folder, transport=transport)
    try:
        client.schema(1)
    except (SchemaUnavailableError, PayloadError) as error:
        return error
    finally:
        client.close()
    return None


TARGETS: Final = (
    Target("insert", _clarify("basic-auth"), Retryable),
    Target("token", _clarify("client-credentials"), Retryable),
    Target("registry", _look_up, SchemaUnavailableError),
)
