"""The times at which the network thread leaves its socket alone, so that one read finds several messages. No I/O.

Messages at a low, steady rate would wake the network thread one by one, although the journal writes them together. So
the wait for a common write begins before the read: after a read, the socket is left alone for the time that the journal
would wait (a rest). Then one read finds all messages of this time, and the journal writes them at once. The
acknowledgements of a rest go out at its end, and need no wake-up of their own.

A broker sends a number of messages, its window, and then waits for acknowledgements. A rest must not make such a broker
wait: no rest begins while messages come fast, or less often than the reads that a rest would save. The rests end if
more messages are unacknowledged than any usual broker stops at; if fewer messages come than came before the rests; and
if one look without a rest, now and then, finds more messages than a rest: then the broker has held some back.

A message that takes its time of arrival as the time of its samples must not wait for its read: while such messages
come, there are no rests.
"""

from __future__ import annotations

import math
from typing import Final

LEAST_SECONDS: Final = 0.02
"""A shorter rest would save too little."""
_WINDOW: Final = 10
"""The rests in a row before a look without a rest."""
_FIRST_WINDOW: Final = 5
"""The length of a window without rests in which the rate is measured, in rests."""
_LEAST_READS: Final = 2.5
"""The reads in the time of a rest that are worth a rest."""
_MOST_MESSAGES: Final = 6.5
"""The messages in the time of a rest with which rests begin."""
_MOST_UNACKNOWLEDGED: Final = 16
"""The unacknowledged messages with which rests end: Mosquitto stops at 20."""
_TOO_FEW: Final = 0.65
"""The share of the earlier rate below which rests are over: perhaps the broker waits for acknowledgements."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 64.0
"""Seconds without rests, after rests in which too few messages came."""
_ARRIVAL_SECONDS: Final = 600.0
"""Seconds without rests, after a message that took its time of arrival."""


class Rest:
    """Decides about the rests of a connection, for the thread that owns the connection. Times are seconds of a clock.

    `arrival_counts` and `wanted` are for any thread.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        """`seconds` is the length of a rest; if it is below `LEAST_SECONDS`, there are no rests."""
        self._seconds = seconds if seconds >= LEAST_SECONDS else 0.0
        self._not_before = self._not_before_arrival = -math.inf
        self._pause = _FIRST_PAUSE
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Note a new connection: nothing is known about its rate."""
        self.until = -math.inf
        """The end of the present rest; in the past if there is none."""
        self.wanted = False
        """Whether rests may begin soon, or have begun: somebody should say whether times of arrival count."""
        self._resting = self._looking = False
        self._expected = 0.0
        """The messages that come in the time of a rest."""
        self._before = 0
        """The messages of the last read, which are not acknowledged."""
        self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._began, self._reads, self._messages = now, 0, 0

    @property
    def resting(self) -> bool:
        """Whether the next read ends a rest."""
        return self._resting and not self._looking

    def arrival_counts(self, now: float) -> None:
        """Note that a message took its time of arrival, which must be exact."""
        self._not_before_arrival = now + _ARRIVAL_SECONDS

    def read(self, messages: int, now: float) -> None:
        """Note a read that found so many messages. Afterwards, `until` says whether a rest begins."""
        if not self._seconds:
            return
        if not self._resting:
            self._reads += 1
            self._messages += messages
            if now >= self._began + _FIRST_WINDOW * self._seconds:
                self._end_window(now)
        elif self._looking:
            self._look(messages, now)
        else:
            self._end_rest(messages, now)

    def _end_window(self, now: float) -> None:
        """Judge the time without rests; rests begin after two windows in a row that speak for them."""
        rests = (now - self._began) / self._seconds
        self._expected = self._messages / rests
        worth = self._reads >= _LEAST_READS * rests and self._expected <= _MOST_MESSAGES
        pays, self.wanted = worth and self.wanted, worth
        if pays and now >= max(self._not_before, self._not_before_arrival):
            self._resting, self._looking, self._before = True, False, 0
            self.until = now + self._seconds
        self._begin_window(now)

    def _end_rest(self, messages: int, now: float) -> None:
        both, self._before = self._before + messages, messages
        self._reads += 1
        self._messages += messages
        if both > _MOST_UNACKNOWLEDGED or now < self._not_before_arrival:
            self._leave(now)
        elif self._reads > 1 and both <= self._expected * 2 / 3:
            self._suspect(now)
        elif self._reads < _WINDOW:
            self.until = now + self._seconds
        elif self._messages < _TOO_FEW * self._expected * _WINDOW:
            self._suspect(now)
        else:
            self._expected = self._messages / _WINDOW
            self._looking = True
            self._begin_window(now)

    def _look(self, messages: int, now: float) -> None:
        """Go on with a look without a rest: it has the length of a rest, and its messages are read one by one."""
        self._messages += messages
        if self._messages > max(2 * self._expected, _MOST_MESSAGES):
            self._leave(now)
        elif now >= self._began + 2 * self._seconds:
            self._suspect(now)
        elif now >= self._began + self._seconds:
            self._looking, self._before, self._pause = False, messages, _FIRST_PAUSE
            self.until = now + self._seconds
            self._begin_window(now)

    def _suspect(self, now: float) -> None:
        """End the rests for longer and longer: fewer messages come than before."""
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._leave(now)
        self.wanted = False

    def _leave(self, now: float) -> None:
        self._resting = False
        self.until = -math.inf
        self._begin_window(now)
