"""The bounds at which messages get lost: our journal, the disk, the broker's queue, and the end of our session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from connector.sources.journal.journal import JournalFill
from connector.sources.loss import Horizon, Trend


@dataclass(frozen=True, slots=True)
class MqttSituation:
    """The state of a source from which a loss is forecast."""

    fill: JournalFill
    received: int
    """The number of messages from the broker since the start."""
    connected: bool


class MqttHorizons:
    """Measures how fast messages come, and how fast the journal grows. One thread calls the methods."""

    def __init__(self, folder: Path, broker_queue: int | None, session_expiry: float) -> None:
        self._folder = folder
        self._broker_queue = broker_queue
        self.session_expiry = session_expiry
        """The seconds that the broker keeps our session: as requested, later as granted. Any thread may set it."""
        self._journal = Trend()
        self._messages = Trend()
        self._inflow = 0.0
        self._away_since: float | None = None

    def look(self, now: float, situation: MqttSituation) -> list[Horizon]:
        """The bounds at this moment. `now` is in seconds of any clock that only rises."""
        used, limit = situation.fill
        self._journal.see(now, used)
        if situation.connected and used < limit:  # the broker can send its messages now
            self._messages.see(now, situation.received)
            self._inflow = self._messages.growth
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
            self._messages.forget()  # the rate after an outage is no usual rate
        growth = self._journal.growth
        found = [
            Horizon(
                "journal",
                limit - used,
                growth,
                f"the journal is full ({limit:.0f} bytes), reading stops, and the broker's own queue fills",
            )
        ]
        free = _free_bytes(self._folder)
        if free is not None and free < limit - used:
            found.append(Horizon("disk", free, growth, "the disk of state_dir is full, and reading stops"))
        if self._away_since is not None:
            found += self._away(now - self._away_since, connected=situation.connected)
        return found

    def _away(self, seconds: float, *, connected: bool) -> list[Horizon]:
        found = []
        if self._broker_queue is not None and self._inflow > 0:
            found.append(
                Horizon(
                    "broker_queue",
                    self._broker_queue - self._inflow * seconds,
                    self._inflow,
                    f"the broker's queue for us is full (broker_queue: {self._broker_queue} messages), and the broker "
                    "drops messages",
                )
            )
        if not connected:
            found.append(
                Horizon(
                    "session_expiry",
                    self.session_expiry - seconds,
                    1.0,
                    "the broker forgets our session and its queued messages (the session is kept for "
                    f"{self.session_expiry:.0f} s)",
                )
            )
        return found


def _free_bytes(folder: Path) -> float | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return float(found.f_bavail * found.f_frsize)
