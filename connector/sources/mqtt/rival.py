"""A rival: another client with our client ID, which takes our session over again and again. No I/O.

Where the broker says so (MQTT 5, reason 0x8E), the source stops after three take-overs and reports the ID. Where it
closes without a word (MQTT 3.1.1, and Mosquitto up to 2.0.11 in any version), the rival can only be suspected: the
source reports the suspicion and goes on with long pauses.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_TAKE_OVERS: Final = 3
_TAKE_OVER_WINDOW: Final = 300.0
_SILENT_CLOSES: Final = 5
_SILENT_WINDOW: Final = 60.0


class Rival:
    """Counts the ends of connections that a rival may have caused, for the thread of the source."""

    def __init__(self, client_id: str) -> None:
        self._who = f"another client connects to the broker with our client ID {client_id!r}"
        self._take_overs: deque[float] = deque(maxlen=_TAKE_OVERS)
        self._silent_closes: deque[float] = deque(maxlen=_SILENT_CLOSES)
        self._suspected = False

    def steady(self) -> None:
        """Note that a connection lasted: a rival, if any, is gone."""
        self._suspected = False

    def took_over(self, now: float) -> str | None:
        """Count a take-over at `now` (seconds). Returns the reason to stop the source, for people; None to go on."""
        self._take_overs.append(now)
        within = now - self._take_overs[0]
        if len(self._take_overs) < _TAKE_OVERS or within > _TAKE_OVER_WINDOW:
            return None
        return (
            f"{self._who} ({_TAKE_OVERS} take-overs within {within:.0f} s); each connector needs "
            "a client_id of its own. The source has stopped, so that the two do not disconnect each other for ever"
        )

    def closed(self, now: float) -> str | None:
        """Count a connection that the broker closed without a reason, at `now` (seconds). Returns the suspicion, for
        people; None without a suspicion."""
        self._silent_closes.append(now)
        if len(self._silent_closes) == _SILENT_CLOSES and now - self._silent_closes[0] <= _SILENT_WINDOW:
            self._suspected = True
        if not self._suspected:
            return None
        return (
            f"the broker closes our connections without a reason: perhaps {self._who}, and each client needs "
            "a client_id of its own; or the broker, or a device on the way, keeps no connection. The broker's log may "
            "say more"
        )
