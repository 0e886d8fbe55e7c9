"""Makes the client of Clarify as the configuration describes it: apart from the other parts, which commands use too."""

from __future__ import annotations

from connector import __version__
from connector.clarify import Api, Credentials, Timeouts
from connector.config.model import Config
from connector.threads.watched import STILL_SECONDS, moves


class _WatchedApi(Api):
    """The client of Clarify's API for watched threads: each call says how long the call may take."""

    def _call(self, method: str, *params: bytes) -> dict[str, object]:
        moves(STILL_SECONDS + self.longest_call)
        return super()._call(method, *params)


def open_client(config: Config, integration: str = "") -> Api:
    """Returns the client of Clarify's API for one integration; an empty name is the integration of `clarify` itself.

    Uses no network yet. Raises `CredentialsError`.
    """
    section = config.clarify.of(integration)
    return _WatchedApi(
        Credentials.load(section.credentials, allow_insecure=section.allow_insecure),
        timeout=Timeouts(read=section.timeout, write=section.timeout),
        verify=section.ca_file,
        user_agent=f"clarify-connector/{__version__}",
    )
