"""The progress of leaving subscriptions on a connection. No I/O.

UNSUBSCRIBE is sent once to leave, and then again and again as a question, because a broker answers in order. Leaving is
finished when an answer came, no message came between the question and the answer, and all earlier messages are
acknowledged. Then the broker holds no message that only our session would get.

HiveMQ gives the messages of a group to the next member when a member has nothing left to acknowledge, or loses its
connection. After UNSUBSCRIBE, the last acknowledgement wakes nobody, and the other members may get nothing until they
subscribe again. So this acknowledgement is held back, and the connection is replaced: its end wakes the others. On the
next connection, the broker may send the one message again.
"""

from __future__ import annotations


class Departure:
    """Counts messages, acknowledgements and answers of one connection."""

    def __init__(self) -> None:
        self.came = 0
        """The number of messages received on this connection."""
        self.to_acknowledge = 0
        """The number of received messages that want an acknowledgement."""
        self.acknowledged = 0
        """The number of acknowledgements sent."""
        self.held = False
        """Whether one acknowledgement is held back until the connection ends."""
        self.quiet = False
        """Whether the last message for our session has come and is acknowledged."""
        self._mid: int | None = None
        self._came_before = 0
        self._unsubscribed = False

    @property
    def may_ask(self) -> bool:
        """Whether to send UNSUBSCRIBE: at once the first time, later when no message waits for its acknowledgement."""
        if self.quiet or self._mid is not None:
            return False
        return not self._unsubscribed or self.all_acknowledged

    @property
    def all_acknowledged(self) -> bool:
        """Whether no message waits for its acknowledgement, apart from the one that is held back."""
        return self.acknowledged + self.held >= self.to_acknowledge

    def asked(self, mid: int) -> None:
        """Note that UNSUBSCRIBE was sent with this packet id."""
        self._mid = mid
        self._came_before = self.came

    def answered(self, mid: int) -> bool:
        """Note that UNSUBACK came for this packet id. Returns whether UNSUBACK was the first answer to a question."""
        if mid != self._mid:
            return False
        self._mid = None
        first, self._unsubscribed = not self._unsubscribed, True
        self.quiet = not first and not self.held and self.came == self._came_before
        return first
