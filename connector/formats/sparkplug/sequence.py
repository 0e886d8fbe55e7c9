"""The sequence numbers of one edge node: 0 to 255 and round again, one step a message, 0 at each birth.

A step of more than one is a loss between the node and us: Sparkplug is published with QoS 0. What comes late fills its
hole; what comes twice (the same number and content as a short while ago) changes nothing. A step back by a message that
was not missed is believed only when the next message goes on from there: a single one of them is a latecomer from
before we listened. Since numbers repeat after 256, so does the count: a loss of 256 messages is not seen.
"""

from __future__ import annotations

from typing import Final

_MODULUS: Final = 256
_BACK: Final = 128
"""A step further than this may as well be one back."""


class SequenceNumbers:
    """What is expected next. After a start nothing is: the first message is taken as it is, since it may be one that
    is read again, and what was published in between was never to be had."""

    __slots__ = ("_aside", "_missing", "_next", "_recent")

    def __init__(self) -> None:
        self._next: int | None = None
        self._missing: set[int] = set()
        self._aside: tuple[int, int] | None = None
        """(next number, messages lost) if the last message was one from elsewhere and no latecomer."""
        self._recent: dict[int, int] = {}
        """Number → fingerprint of the messages of the last half round."""

    def begin(self, number: int) -> None:
        """A birth of the node: from here it counts anew."""
        self._next = (number + 1) % _MODULUS
        self._missing.clear()
        self._recent.clear()
        self._aside = None

    def lost_before(self, number: int, fingerprint: int) -> int:
        """How many messages are missing before this one; -1 if it is itself one that was counted as missing."""
        expected = self._next
        aside, self._aside = self._aside, None
        if expected is None or number == expected:
            lost = 0
        elif self._recent.get(number) == fingerprint:
            self._aside = aside
            return 0
        elif number in self._missing:
            self._missing.discard(number)
            self._recent[number] = fingerprint  # it may come twice, too
            self._aside = aside
            return -1
        elif aside is not None and aside[0] == number:
            lost = aside[1]
        else:
            lost = (number - expected) % _MODULUS
            if lost > _BACK:
                self._aside = (number + 1) % _MODULUS, lost
                return 0
            self._missing.update((expected + step) % _MODULUS for step in range(lost))
        self._missing.discard(number)
        self._next = (number + 1) % _MODULUS
        self._recent[number] = fingerprint
        self._recent.pop((number - _BACK) % _MODULUS, None)
        return lost
