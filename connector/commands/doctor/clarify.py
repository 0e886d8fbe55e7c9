"""Looks at Clarify: name, port, TLS, token, granted access, rate, clock. Nothing is stored there."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connector import __version__
from connector.brokers.findings import Examination, Finding, advice, ok, wrong
from connector.brokers.reach import reach, speaks_tls
from connector.clarify import (
    Api,
    ClarifyError,
    Credentials,
    CredentialsError,
    InvalidParams,
    NotAllowed,
    Retryable,
    Timeouts,
)
from connector.clarify.limits import INSERTS_PER_SECOND
from connector.config.model import Config

_TOKEN: Final = "oauth/token"  # noqa: S105 - the name of a method
_NOTICED: Final = 5.0
"""The seconds that the clocks may differ without a word."""
_TOO_MANY: Final = 429


def look_at_clarify(config: Config, shown: str, asked: Examination) -> Generator[Finding, None, None]:
    """Look at Clarify, with the credentials of the integration that the configuration calls `shown`."""
    name = config.clarify.names[shown]
    section = config.clarify.of(name)
    try:
        credentials = Credentials.load(section.credentials, allow_insecure=section.allow_insecure)
    except CredentialsError as error:
        cause, _, remedy = str(error).rpartition(". ")
        yield wrong("credentials", cause, remedy)
        return
    if same := _named_before(config, shown, credentials.integration):
        yield wrong(
            "credentials",
            f"these credentials are for the integration {credentials.integration}, like those of {same}",
            "Clarify's rate is for an integration: use one name, or the credentials of another integration",
        )
    if not (yield from look_at_url(credentials.api_url, section.ca_file, asked)):
        return
    patience = Timeouts(connect=asked.seconds, write=asked.seconds, read=2 * asked.seconds, answer=asked.seconds)
    with Api(
        credentials, timeout=patience, verify=section.ca_file, user_agent=f"clarify-connector/{__version__}"
    ) as api:
        # Without the parameter `signalsByInput`, the call is refused after the check of the access.
        if not (yield from _access(api, "integration.saveSignals", {"integration": credentials.integration})):
            return
        if asked.short:
            return
        if _publishes(config, name):
            yield from _access(
                api, "admin.selectSignals", {"integration": credentials.integration, "query": {"limit": 1}}
            )
        yield from _clock(api.clock_offset, config.mapping.clock_warning)
    own = config.clarify.integrations.get(name)
    rate = config.delivery.of(own).requests_per_second
    if rate > INSERTS_PER_SECOND:
        where = "delivery" if own is None or own.requests_per_second is None else f"clarify.integrations.{name}"
        yield advice(
            "rate",
            f"{where}.requests_per_second is {rate:g}, and Clarify's documented limit is {INSERTS_PER_SECOND:g}",
            f"set requests_per_second: {INSERTS_PER_SECOND:g}, unless Clarify has granted more",
        )


def look_at_url(url: str, ca_file: Path | None, asked: Examination) -> Generator[Finding, None, bool]:
    """Look at the server of a URL, unless a proxy stands before it."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        yield ok("name", f"{host} is reached by the proxy of the environment")
        return True
    tls = (lambda: ssl.create_default_context(cafile=ca_file)) if secure else None
    sound = True
    for found in _passed(reach(host, port, asked.seconds, tls, lambda: _plain(host, port))):
        sound = sound and found.level != "wrong"
        yield replace(found, remedy=found.remedy.replace("tls.ca_file", "ca_file"))
    if sound and not secure and speaks_tls(host, port, asked.seconds):
        yield wrong("TLS", f"{host}:{port} speaks TLS, and the address begins with http://", "write https://")
        return False
    return sound


def _passed(look: Generator[Finding, None, bool]) -> Generator[Finding, None, None]:
    yield from look


def _plain(host: str, port: int) -> Finding:
    return wrong(
        "TLS", f"{host}:{port} does not speak TLS", "write http:// or name the port for TLS; is a proxy between?"
    )


def _access(api: Api, method: str, params: Mapping[str, object]) -> Generator[Finding, None, bool]:
    """Whether the integration may call a method; a call that is refused for its parameters is allowed."""
    namespace = method.partition(".")[0]
    try:
        api.call(method, params)
    except InvalidParams:
        pass
    except NotAllowed as error:
        if error.method == _TOKEN or error.code == 401:
            yield wrong("log-in", _first(error), "create new credentials in Clarify's admin panel; check apiUrl")
            return False
        yield wrong(
            "access",
            f"the integration has no access to {namespace} ({_first(error)})",
            f"grant the integration access to the namespace {namespace} in Clarify's admin panel",
        )
        return False
    except Retryable as error:
        if error.code == _TOO_MANY:
            yield advice(
                "rate",
                "Clarify asks to send less (HTTP 429)"
                + (f", and to wait {error.retry_after:g} s" if error.retry_after else ""),
                "does another program use the integration? Lower requests_per_second, or use one for each",
            )
            return True
        yield wrong("answer", _first(error), "try again; if it stays, see the status of Clarify and the network")
        return False
    except ClarifyError as error:
        yield wrong("answer", _first(error), "check apiUrl in the credentials file")
        return False
    yield ok("access", f"{namespace}: granted")
    return True


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _clock(ahead: float | None, most: float) -> Generator[Finding, None, None]:
    if ahead is None:
        yield ok("clock", "Clarify does not say its time")
        return
    text = f"the clock of this machine is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} Clarify's"
    if abs(ahead) > max(most, _NOTICED):
        yield wrong("clock", text, "set the clock of this machine (NTP): times of arrival are wrong")
    elif abs(ahead) > _NOTICED:
        yield advice("clock", text, "set the clock of this machine (NTP)")
    else:
        yield ok("clock", text)


def _publishes(config: Config, name: str) -> bool:
    """Whether a rule may publish signals of an integration; a template may name any."""
    sections = (section for rule in config.mapping.rules for section in rule.sections())
    return any(section.publish and _may_reach(config, section.to, name) for section in sections)


def _may_reach(config: Config, to: str | None, name: str) -> bool:
    return not name if to is None else "{" in to or config.clarify.names.get(to) == name


def _named_before(config: Config, shown: str, integration: str) -> str | None:
    """The earlier name of the same integration; None without one. A file that cannot be read has a look of its own."""
    for other, name in config.clarify.names.items():
        if other == shown:
            return None
        section = config.clarify.of(name)
        with suppress(CredentialsError):
            if Credentials.load(section.credentials, allow_insecure=section.allow_insecure).integration == integration:
                return other
    return None
