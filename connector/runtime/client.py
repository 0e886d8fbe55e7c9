"""Makes the client of Clarify as the configuration describes it: apart from the other parts, which commands use too."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import structlog

from connector import __version__
from connector.clarify.api import Api
from connector.clarify.credentials import Credentials, CurrentCredentials
from connector.clarify.transport import Timeouts
from connector.config.model import Config
from connector.delivery.section import ClarifySection
from connector.runtime.state_dir import StartError
from connector.threads.watched import STILL_SECONDS, moves

_log = structlog.get_logger(__name__)


class _WatchedApi(Api):
    """The client of Clarify's API for watched threads: each call says how long the call may take."""

    def _call(self, method: str, *params: bytes) -> dict[str, object]:
        moves(STILL_SECONDS + self.longest_call)
        return super()._call(method, *params)


def load_credentials(config: Config) -> dict[str, Credentials]:
    """Returns the credentials of each integration; the name of the one of `clarify` itself is empty.

    Raises `CredentialsError` for a file that cannot be used, and `StartError` for two names of one integration: they
    would send at twice the rate that Clarify allows an integration.
    """
    found: dict[str, Credentials] = {}
    for shown, name in config.clarify.names.items():
        section = config.clarify.of(name)
        loaded = Credentials.load(section.credentials, allow_insecure=section.allow_insecure)
        for other, earlier in found.items():
            if earlier.integration == loaded.integration:
                raise StartError(
                    f"clarify.integrations.{shown}: its credentials are for the integration {loaded.integration}, like "
                    f"those of {other or config.clarify.name}; Clarify's rate is for an integration: use one name"
                )
        found[name] = loaded
    return found


def open_client(config: Config, integration: str = "") -> Api:
    """Returns the client of Clarify's API for one integration; an empty name is the integration of `clarify` itself.

    Uses no network yet. Raises `CredentialsError`.
    """
    section = config.clarify.of(integration)
    return _client(section, Credentials.load(section.credentials, allow_insecure=section.allow_insecure))


def open_clients(config: Config, opened: ExitStack) -> dict[str, Api]:
    """Returns the client of each integration; raises as `load_credentials`. `opened` gets a call that closes each."""
    clients = {}
    for name, credentials in load_credentials(config).items():
        clients[name] = _client(config.clarify.of(name), credentials)
        opened.callback(clients[name].close)
    return clients


def _client(section: ClarifySection, credentials: Credentials) -> Api:
    current = CurrentCredentials(
        credentials,
        section.credentials,
        allow_insecure=section.allow_insecure,
        told=lambda problem: _say(section.credentials, problem),
    )
    return _WatchedApi(
        current,
        timeout=Timeouts(read=section.timeout, write=section.timeout),
        verify=section.ca_file,
        told_trust=lambda problem: _say(section.ca_file, problem),
        user_agent=f"clarify-connector/{__version__}",
    )


def _say(file: Path | None, problem: str | None) -> None:
    if problem is None:
        _log.info("credentials_reloaded", file=str(file))
    else:
        _log.error(
            "credentials_not_reloaded",
            file=str(file),
            reason=problem,
            effect="what was read before is used",
            remedy="mend the file; it is read again before the next request",
        )
