"""Counts arrays, maps and entries in MessagePack and CBOR by the heads of items, without decoding the items.

An empty array takes one byte in the payload and sixty in memory. So a payload of empty arrays would take a large
multiple of its length. A map may also have a key twice, and a decoder keeps only one of the two entries. The counts
show both. An invalid payload is not reported here: its decoder reports it.
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
    """The counts of one payload."""

    containers: int = 0
    """The number of arrays and maps."""
    entries: int = 0
    """The number of entries of all maps together."""


Surveyor: TypeAlias = Callable[[bytes], Survey]


def check_containers(payload: bytes, heads: bytes, survey: Surveyor) -> None:
    """Raise `PayloadError` if the payload has too many arrays and maps.

    `heads` are the bytes with which an array or a map begins. Only a payload with enough such bytes, at any place, is
    surveyed.
    """
    if len(payload) <= MAX_CONTAINERS or len(payload) - len(payload.translate(None, heads)) <= MAX_CONTAINERS:
        return
    if survey(payload).containers > MAX_CONTAINERS:
        raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {MAX_CONTAINERS} arrays and maps in one payload")


def check_keys(payload: bytes, has_odd_keys: Callable[[bytes], bool]) -> None:
    """Raise `PayloadError` if keys of maps are themselves arrays or maps, or have a tag.

    Such keys are chosen easily so that all have the same hash; a map of them then costs quadratic time. The time for a
    short payload is small, so only a longer one is looked through.
    """
    if len(payload) > _SHORT and has_odd_keys(payload):
        raise PayloadError(Reason.MALFORMED_RECORD, "a key of a map is an array or a map, or has a tag")


_SHORT: Final = 32 * 1024
_DEEPEST: Final = 2_000


class _Frame:
    """An array or a map during the look through a payload."""

    __slots__ = ("is_map", "left")

    def __init__(self, left: int, is_map: bool) -> None:
        self.left = left
        """The number of items to come, keys and values; negative, and counted down, for an indefinite length."""
        self.is_map = is_map


def messagepack_has_odd_keys(payload: bytes) -> bool:
    """Whether a key is an array or a map. False for a payload that its decoder refuses at an earlier place."""
    frames: list[_Frame] = []
    at, end = 0, len(payload)
    while at < end and len(frames) <= _DEEPEST:
        head = payload[at]
        at += 1
        is_key = False
        if frames:
            is_key = frames[-1].is_map and frames[-1].left % 2 == 0
            frames[-1].left -= 1
        if 0xA0 <= head < 0xC0:
            at += head & 0x1F
        elif head in _LENGTHS:
            size, more = _LENGTHS[head]
            at += size + more + int.from_bytes(payload[at : at + size], "big")
        elif 0x80 <= head < 0xA0 or 0xDC <= head < 0xE0:
            if is_key:
                return True
            is_map = head < 0x90 or head >= 0xDE
            size = 0 if head < 0xA0 else 2 if head in (0xDC, 0xDE) else 4
            count = int.from_bytes(payload[at : at + size], "big") if size else head & 0x0F
            at += size
            frames.append(_Frame(2 * count if is_map else count, is_map))
        else:
            at += _FIXED.get(head, 0)
        while frames and frames[-1].left == 0:
            frames.pop()
    return False


def cbor_has_odd_keys(payload: bytes) -> bool:
    """Whether a key is an array or a map, or has a tag. False for a payload that its decoder refuses before."""
    frames: list[_Frame] = []
    at, end = 0, len(payload)
    while at < end and len(frames) <= _DEEPEST:
        head = payload[at]
        major, argument = head >> 5, head & 0x1F
        at += 1
        if head == 0xFF:  # the end of an indefinite length
            if frames:
                frames.pop()
        else:
            indefinite = argument == 31
            if 24 <= argument < 28:
                size = 1 << (argument - 24)
                argument = int.from_bytes(payload[at : at + size], "big")
                at += size
            if frames and frames[-1].is_map and frames[-1].left % 2 == 0 and major in (4, 5, 6):
                return True
            if major == 6:
                continue  # the item is behind its tag
            if frames:
                frames[-1].left -= 1
            if indefinite:
                frames.append(_Frame(-2, major == 5))
            elif major in (2, 3):
                at += argument
            elif major in (4, 5):
                frames.append(_Frame(argument * (2 if major == 5 else 1), major == 5))
        while frames and frames[-1].left == 0:
            frames.pop()
    return False


_LENGTHS: Final = {  # head of a MessagePack item: bytes of the length behind the head, number to add to the length
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),  # bin
    0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),  # ext
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),  # str
}  # fmt: skip
_FIXED: Final = {  # head of a MessagePack item: bytes behind the head
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
MESSAGEPACK_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))


def survey_messagepack(payload: bytes) -> Survey:
    """The counts of a MessagePack payload; counting stops just above `MAX_CONTAINERS`."""
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
    """The counts of a CBOR payload; counting stops just above `MAX_CONTAINERS`.

    The entries of a map of indefinite length are not counted.
    """
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
