"""Whether sources may be read: how much may be under way at most. Pure: no lock, no clock."""

from __future__ import annotations

from typing import Final

OPEN_RECORDS: Final = 300_000
"""Records that may be under way: their bookkeeping takes about 60 bytes of memory each."""
_OPEN_TOPICS: Final = 64 * 1024 * 1024
"""Characters that the topics of the records under way may have together."""
_RESUME_BELOW: Final = 0.75
"""Sources that were held are read again when this share of the room is in use. Not earlier: to hold a source costs
something each time."""


class Room:
    """The bounds of everything that is under way, and whether one of them is reached."""

    def __init__(self, max_samples: int, now: float) -> None:
        """`max_samples` may wait at most. `now` is in seconds, on the clock of all later calls."""
        self._max_samples = max_samples
        self._looked = now
        self._full = False
        self.held_seconds = 0.0
        """For how long sources were held while samples waited: Clarify took nothing. Windows do not count this time,
        since the rest of their values waits in the log."""

    def look(self, samples: int, waiting: int, records: int, topics: int, now: float) -> bool:
        """Whether sources may be read. Under way are `samples` samples, of which `waiting` could leave, in `records`
        records with topics of `topics` characters."""
        used = max(samples / self._max_samples, records / OPEN_RECORDS, topics / _OPEN_TOPICS)
        if self._full and waiting:
            self.held_seconds += now - self._looked
        self._looked = now
        if used >= 1:
            self._full = True
        elif used <= _RESUME_BELOW:
            self._full = False
        return not self._full
