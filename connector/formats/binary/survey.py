"""What the heads of MessagePack and CBOR items say, without making anything of them.

An empty array is a byte there and sixty in memory, so a payload of nothing else would take a large multiple of
itself; and a map may name a key twice, of which a decoder keeps one. Both are seen here. What is wrong with a payload
is for its decoder to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from connector.formats.format import PayloadError
from connector.records import Reason

MAX_CONTAINERS: Final = 200_000


@dataclass(slots=True)
class Survey:
    """How many arrays and maps there are, and how many entries the maps have."""

    containers: int = 0
    entries: int = 0


Surveyor: TypeAlias = Callable[[bytes], Survey]


def check_containers(payload: bytes, heads: bytes, survey: Surveyor) -> None:
    """`PayloadError` if the payload has too many arrays and maps. `heads` are the bytes that begin one; only if enough
    of them stand anywhere in it is it looked at more closely."""
    if len(payload) <= MAX_CONTAINERS or len(payload) - len(payload.translate(None, heads)) <= MAX_CONTAINERS:
        return
    if survey(payload).containers > MAX_CONTAINERS:
        raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {MAX_CONTAINERS} arrays and maps in one payload")


_LENGTHS: Final = {  # head of a MessagePack item: size of the length behind it, what is added to that
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),  # bin
    0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),  # ext
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),  # str
}  # fmt: skip
_FIXED: Final = {  # head of a MessagePack item: bytes behind it
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
MESSAGEPACK_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))


def survey_messagepack(payload: bytes) -> Survey:
    """The heads of a MessagePack payload."""
    found = Survey()
    at, end = 0, len(payload)
    while at < end and found.containers <= MAX_CONTAINERS:
        head = payload[at]
        at += 1
        if 0xA0 <= head < 0xC0:
            at += head & 0x1F
        elif head in _LENGTHS:
            size, more = _LENGTHS[head]
            at += size + more + int.from_bytes(payload[at : at + size], "big")
        elif 0x80 <= head < 0xA0:
            found.containers += 1
            found.entries += head & 0x0F if head < 0x90 else 0
        elif 0xDC <= head < 0xE0:
            size = 2 if head in (0xDC, 0xDE) else 4
            found.containers += 1
            found.entries += int.from_bytes(payload[at : at + size], "big") if head >= 0xDE else 0
            at += size
        else:
            at += _FIXED.get(head, 0)
    return found


CBOR_CONTAINERS: Final = bytes(range(0x80, 0xC0))


def survey_cbor(payload: bytes) -> Survey:
    """The heads of CBOR items; of a map of unknown length no entries are counted."""
    found = Survey()
    at, end = 0, len(payload)
    while at < end and found.containers <= MAX_CONTAINERS:
        major, argument = payload[at] >> 5, payload[at] & 0x1F
        at += 1
        if 24 <= argument < 28:
            size = 1 << (argument - 24)
            argument = int.from_bytes(payload[at : at + size], "big")
            at += size
        elif argument >= 28:
            argument = 0
        if major in (2, 3):
            at += argument
        elif major in (4, 5):
            found.containers += 1
            found.entries += argument if major == 5 else 0
    return found
