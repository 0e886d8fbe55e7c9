"""A credentials file of Clarify, for tests that need no sandbox."""

from __future__ import annotations

from typing import Any, Final

from tests.secrets_used import CLARIFY_SECRET

INTEGRATION: Final = "cp1a5c9e3g7i2k6m0o4q"
"""The ID of the integration in `credentials`."""


def credentials(kind: str = "client-credentials", secret: str = CLARIFY_SECRET) -> dict[str, Any]:
    """The content of a file that a client accepts; `kind` is `client-credentials` or `basic-auth`."""
    return {
        "apiUrl": "https://api.clarify.io/v1/",
        "integration": INTEGRATION,
        "credentials": {"type": kind, "clientId": "EXAMPLE", "clientSecret": secret},
    }
