"""The filters that a broker refuses, over all connections of a source: the reasons, and when to ask again. No I/O.

A broker refuses a filter in SUBACK, or by a limit in CONNACK. A broker may also end the connection instead of answering
SUBSCRIBE. Then the filters are requested one by one on the next connections. A filter at which the connection ends
twice is set aside for minutes, so that all other filters are served; after the first such filter, one end is enough.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_SOON: Final = 30.0
"""The first pause, in seconds, after a refusal that may pass without a person."""
_LATER: Final = 60.0
"""The first pause, in seconds, after a refusal that a person can take back at the broker."""
_ASIDE: Final = 300.0
"""The first pause, in seconds, of a filter at which the broker ends the connection."""
_LONGEST: Final = 3600.0
_PAUSES: Final = {0x80: _SOON, 0x83: _SOON, 0x91: _SOON, 0x97: _SOON, 0x87: _LATER}
"""Reason code of SUBACK → the first pause. With another code, only a new connection can help."""
_CLOSINGS: Final = 2
"""The first filter at which the broker has ended this many connections is set aside."""
_SHOWN: Final = 20


@dataclass(slots=True)
class _Refusal:
    reason: str
    pause: float = 0.0
    """The pause before the next request, in seconds; 0: only a new connection can help."""
    again: float = 0.0
    """The time of the next request, in seconds of the clock."""
    aside: bool = False
    """Whether a new connection does not request the filter before `again`."""


class Refusals:
    """The refused filters of one source. The thread of the source changes them; any thread may read them."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        """`clock` gives seconds; `chance` gives a number from 0 to 1, by which a fleet does not ask all at once."""
        self._clock = clock
        self._chance = chance
        self._known: dict[str, _Refusal] = {}
        self._closings: Counter[str] = Counter()
        self.one_by_one = False
        """Whether filters are requested one by one, since the broker ended a connection instead of answering."""

    def reasons(self) -> dict[str, str]:
        """Filter → the reason of the broker and a remedy, for people."""
        return {topic: refusal.reason for topic, refusal in self._known.copy().items()}

    def text(self) -> str:
        """All refused filters with their reasons, for people; empty without a refused filter."""
        reasons = self.reasons()
        shown = ", ".join(f"{topic!r} ({why})" for topic, why in list(reasons.items())[:_SHOWN])
        more = f" and {len(reasons) - _SHOWN} more filters" if len(reasons) > _SHOWN else ""
        return f"the broker did not grant {shown}{more}" if reasons else ""

    def connected(self) -> None:
        """Forget the refusals of the last connection, except the filters that are set aside."""
        self._known = {topic: refusal for topic, refusal in self._known.items() if refusal.aside}

    def refuse(self, topic: str, reason: str, code: int | None = None) -> None:
        """Note that the broker refused a filter in SUBACK with this code, or None for a limit of the broker."""
        self._note(topic, reason, _PAUSES.get(code or 0, 0.0), aside=False)

    def grant(self, topic: str) -> None:
        """Note that the broker granted a filter."""
        self._known.pop(topic, None)
        self._closings.pop(topic, None)

    def answered(self) -> None:
        """Note that the broker has answered all requests of a connection."""
        self.one_by_one = any(refusal.aside for refusal in self._known.values())

    def due(self) -> list[str]:
        """The filters to request again now."""
        now = self._clock()
        return [topic for topic, refusal in self._known.items() if refusal.pause and now >= refusal.again]

    def aside(self) -> set[str]:
        """The filters that a new connection must not request yet."""
        return {topic for topic, refusal in self._known.items() if refusal.aside} - set(self.due())

    def ended(self, unanswered: Sequence[str], reason: str) -> bool:
        """Note that the broker ended the connection while a SUBSCRIBE for these filters had no answer.

        Returns whether a filter was set aside.
        """
        if len(unanswered) > 1:
            self.one_by_one = True
            return False
        (topic,) = unanswered
        self._closings[topic] += 1
        if self._closings[topic] < _CLOSINGS and not any(refusal.aside for refusal in self._known.values()):
            return False
        self._note(topic, reason, _ASIDE, aside=True)
        return True

    def _note(self, topic: str, reason: str, first: float, *, aside: bool) -> None:
        known = self._known.get(topic)
        pause = min(_LONGEST, known.pause * 2) if known is not None and known.pause else first
        self._known[topic] = _Refusal(reason, pause, self._clock() + pause * (0.5 + 0.5 * self._chance()), aside)
