"""The progress of leaving subscriptions on a connection. No I/O.

UNSUBSCRIBE is sent once to leave, and then again and again as a question, because a broker answers in order. Leaving is
finished when an answer came, no message came between the question and the answer, and all earlier messages are
acknowledged. Then the broker holds no message that only our session would get.
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
        return not self._unsubscribed or self.acknowledged >= self.to_acknowledge

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
        self.quiet = not first and self.came == self._came_before
        return first
