"""The sequence numbers of one edge node: they show which messages were lost between the node and the connector.

Each message has the number of the message before it plus one, from 0 to 255 and then 0 again. A birth of the node
begins at 0. Messages can be lost because Sparkplug is published with QoS 0.

- A step of more than one is a loss.
- A message that comes late, with a missing number, is not lost any more.
- A message that comes twice (the number and content of a recent message) changes nothing.
- A step back to a number that was not missing is believed only if the next message continues from that number. A single
  message with a step back was published before the connector listened.
- A loss of exactly 256 messages is not seen, since the numbers repeat.
"""

from __future__ import annotations

from typing import Final

_MODULUS: Final = 256
_BACK: Final = 128
"""A larger step forward counts as a step back."""


class SequenceNumbers:
    """Follows the numbers of one node, and counts missing messages.

    After a start, no number is expected: the first message may be one that is read again, and messages that were
    published while the connector did not listen are not counted.
    """

    __slots__ = ("_missing", "_next", "_recent", "_unconfirmed")

    def __init__(self) -> None:
        self._next: int | None = None
        self._missing: set[int] = set()
        self._unconfirmed: tuple[int, int] | None = None
        """(next number, messages lost) if the last message was a step back that the next message may confirm."""
        self._recent: dict[int, int] = {}
        """Number → fingerprint of its message, for the last 128 numbers."""

    def begin(self, number: int) -> None:
        """Begin with the number of a birth of the node."""
        self._next = (number + 1) % _MODULUS
        self._missing.clear()
        self._recent.clear()
        self._unconfirmed = None

    def lost_before(self, number: int, fingerprint: int) -> int:
        """The number of messages missing before this one; -1 if this message was counted as missing and came late.

        `fingerprint` is a hash of the content of the message.
        """
        expected = self._next
        unconfirmed, self._unconfirmed = self._unconfirmed, None
        if expected is None or number == expected:
            lost = 0
        elif self._recent.get(number) == fingerprint:
            self._unconfirmed = unconfirmed
            return 0
        elif number in self._missing:
            self._missing.discard(number)
            self._recent[number] = fingerprint  # the message may come twice
            self._unconfirmed = unconfirmed
            return -1
        elif unconfirmed is not None and unconfirmed[0] == number:
            lost = unconfirmed[1]
        else:
            lost = (number - expected) % _MODULUS
            if lost > _BACK:
                self._unconfirmed = (number + 1) % _MODULUS, lost
                return 0
            self._missing.update((expected + step) % _MODULUS for step in range(lost))
        self._missing.discard(number)
        self._next = (number + 1) % _MODULUS
        self._recent[number] = fingerprint
        self._recent.pop((number - _BACK) % _MODULUS, None)
        return lost
