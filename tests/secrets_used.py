"""Every secret that tests use. Each has `MARK` in it, so that the search at the end of a run finds it wherever it is,
also encoded; see `secret_search`. A new secret of a test belongs here."""

from __future__ import annotations

import secrets
from typing import Final

MARK: Final = "k4naryb1rd"
"""Letters and digits alone: the same in a URL, in JSON and in YAML."""

CLARIFY_SECRET: Final = f"{MARK}-clarify-secret/with+odd chars"
"""Of credentials files that tests write themselves."""
MQTT_PASSWORD: Final = f"{MARK}-mqtt-password"
KAFKA_PASSWORD: Final = f"{MARK}-kafka-password"
REGISTRY_TOKEN: Final = f"{MARK}-registry-token"
SETTING: Final = f"{MARK}-setting-and-more"
"""In any setting that holds a secret."""
WRONG: Final = f"{MARK}-wrong-secret"
"""What is refused is a secret too: mostly it is the right one with a slip in it."""


def fresh(name: str) -> str:
    """A secret that was never used before."""
    return f"{MARK}-{name}.{secrets.token_urlsafe(16)}"  # the name ends at the dot
