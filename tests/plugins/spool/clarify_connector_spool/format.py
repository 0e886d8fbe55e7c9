"""The format `telegram`: `$DEVICE,NAME=NUMBER,...*XX`, where XX is the XOR of the bytes between `$` and `*`."""

from __future__ import annotations

import re
from functools import reduce
from operator import xor
from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

INVALID: Final = Reason("invalid_telegram")
WRONG_CHECKSUM: Final = Reason("wrong_checksum")
_TELEGRAM: Final = re.compile(rb"\$(([A-Za-z0-9]+)((?:,[a-z]+=-?[0-9]+(?:\.[0-9]+)?)+))\*([0-9A-F]{2})")


class TelegramFormat:
    """A `Format`. One document a telegram: its device, and its values by their names."""

    name = "telegram"

    def __init__(self, *, checksum: bool = True) -> None:
        self._checksum = checksum

    def decode(self, payload: bytes) -> object:
        """Raises `PayloadError`."""
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the telegram is empty")
        found = _TELEGRAM.fullmatch(payload)
        if found is None:
            raise PayloadError(INVALID, "a telegram looks like $boiler,t=21.5,p=4.1*28")
        if self._checksum and checksum(found[1]) != int(found[4], 16):
            raise PayloadError(WRONG_CHECKSUM, f"the checksum is {checksum(found[1]):02X}, and the telegram says other")
        pairs = (pair.split("=") for pair in found[3].decode()[1:].split(","))
        return {"device": found[2].decode(), **{name: float(value) for name, value in pairs}}


def checksum(content: bytes) -> int:
    """Of what stands between `$` and `*`."""
    return reduce(xor, content, 0)
