"""Access tokens: JSON Web Tokens signed with HMAC-SHA256, with the claims of Clarify's tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math

import orjson

from connector.sandbox.store import Integration

_HEADER = {"alg": "HS256", "typ": "JWT"}
_ROLES = "https://clfy.io/roles"


def issue(integration: Integration, *, api_url: str, now: float, seconds: int) -> str:
    """A token for the integration, valid for at least `seconds` from `now`, in seconds since the epoch."""
    claims = {
        "iss": api_url,
        "sub": f"{integration.client_id}@clients",
        "aud": api_url,
        "iat": int(now),
        "exp": math.ceil(now + seconds),
        "azp": integration.client_id,
        "gty": "client-credentials",
        _ROLES: [f"iM:{integration.id}"],
    }
    signed = f"{_encode(orjson.dumps(_HEADER))}.{_encode(orjson.dumps(claims))}"
    return f"{signed}.{_encode(_signature(integration.signing_key, signed))}"


def is_valid(token: str, integration: Integration, *, now: float) -> bool:
    """Whether the token was issued for this integration, is not revoked, and is not expired at `now`."""
    signed, _, signature = token.rpartition(".")
    try:
        given = _decode(signature)
        claims = _decode(signed.partition(".")[2])
    except (ValueError, binascii.Error):
        return False
    if not hmac.compare_digest(given, _signature(integration.signing_key, signed)):
        return False
    return now < float(orjson.loads(claims)["exp"])  # our own signature: our own claims


def _signature(key: bytes, signed: str) -> bytes:
    return hmac.new(key, signed.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
