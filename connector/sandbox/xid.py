"""Resource IDs (xid): 20 characters of base32hex, which sort by the time of their creation."""

from __future__ import annotations

import itertools
import secrets

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PROCESS = secrets.token_bytes(5)
_counter = itertools.count(secrets.randbits(24))


def new_id(seconds: float) -> str:
    """A new ID of the form `^[a-v0-9]{20}$` for `seconds` since the epoch, unique within and across processes."""
    stamp = int(seconds) & 0xFFFFFFFF
    serial = next(_counter) & 0xFFFFFF
    number = int.from_bytes(stamp.to_bytes(4, "big") + _PROCESS + serial.to_bytes(3, "big"), "big") << 4
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(95, -1, -5))
