"""Authentication: Basic and Bearer on every RPC request, and the OAuth 2.0 token request.

An integration has two separate credentials, as in Clarify's admin panel. The OAuth client (ID and secret) is valid only
at the token endpoint. The API key (the integration ID as user, and a password) is valid only for Basic authentication.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import parse_qs, unquote_plus

from connector.sandbox import tokens
from connector.sandbox.store import Integration

FORM = "application/x-www-form-urlencoded"


class TokenRefusedError(Exception):
    """A refused token request, with the HTTP status and the two fields of the JSON answer."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.status = status
        self.error = error
        self.description = description


def may_call(integration: Integration, authorization: str | None, *, now: float) -> bool:
    """Whether the Authorization header permits RPC calls for the integration at `now`, in seconds since the epoch."""
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return tokens.is_valid(rest.strip(), integration, now=now)
    user = _basic(authorization)
    return user is not None and _same(user, (integration.id, integration.password))


def check_token_request(integration: Integration, *, authorization: str | None, content_type: str, body: bytes) -> None:
    """Check that a request for a token is a client-credentials request with the right ID and secret.

    ID and secret may be in the form or in a Basic header; clarify-go tries the header first. Raises TokenRefusedError.
    """
    if content_type != FORM:
        raise TokenRefusedError(400, "invalid_request", f"the body must be {FORM}")
    try:
        form = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise TokenRefusedError(400, "invalid_request", "the body is not a form") from error
    repeated = [name for name, values in form.items() if len(values) > 1]
    if repeated:
        raise TokenRefusedError(400, "invalid_request", f"given twice: {', '.join(sorted(repeated))}")
    if "grant_type" not in form:
        raise TokenRefusedError(400, "invalid_request", "grant_type is missing")
    if form["grant_type"] != ["client_credentials"]:
        raise TokenRefusedError(400, "unsupported_grant_type", "grant_type must be client_credentials")
    client = (form.get("client_id", [""])[0], form.get("client_secret", [""])[0])
    basic = _basic(authorization)
    if basic is not None:
        # RFC 6749, section 2.3.1: both halves of the header are form-encoded.
        client = (unquote_plus(basic[0]), unquote_plus(basic[1]))
    if not _same(client, (integration.client_id, integration.client_secret)):
        raise TokenRefusedError(401, "access_denied", "Unauthorized")


def _basic(authorization: str | None) -> tuple[str, str] | None:
    """User and password of a Basic header; None if there is no readable Basic header."""
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


def _same(given: tuple[str, str], right: tuple[str, str]) -> bool:
    # Both halves are always compared, so that the time taken does not reveal the wrong half.
    same = [hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, right, strict=True)]
    return all(same)
