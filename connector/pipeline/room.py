"""The bounds of records and samples under way, which decide whether sources may be read. Pure: no lock, no clock."""

from __future__ import annotations

from typing import Final

OPEN_RECORDS: Final = 300_000
"""Greatest number of records under way; the bookkeeping of one record takes about 60 bytes of memory."""
_OPEN_TOPICS: Final = 64 * 1024 * 1024
"""Greatest sum of the characters in the topics of all records under way."""
_RESUME_BELOW: Final = 0.75
"""Share of the room in use at which held sources are read again; each hold costs time, so holds should be few."""


class Room:
    """Compares the records and samples under way with their bounds."""

    def __init__(self, max_samples: float, now: float, max_records: int = OPEN_RECORDS) -> None:
        """At most `max_samples` and `max_records` may be under way.

        `now` is in seconds, on the clock of all later calls.
        """
        self._max_records = max_records
        self._max_samples = max_samples
        self._looked = now
        self.full = False
        """Whether sources may not be read."""
        self.held_seconds = 0.0
        """Seconds for which sources were held while samples waited, because Clarify took no samples.

        Windows do not count this time, because the rest of their values waits in the log.
        """

    def look(self, samples: float, waiting: int, records: int, topics: int, now: float) -> bool:
        """Returns whether sources may be read, for this load at `now`.

        `samples` counts all samples under way, and `waiting` counts the samples that could be sent. `records` counts
        the records under way, and `topics` the characters of their topics.
        """
        used = max(samples / self._max_samples, records / self._max_records, topics / _OPEN_TOPICS)
        if self.full and waiting:
            self.held_seconds += now - self._looked
        self._looked = now
        if used >= 1:
            self.full = True
        elif used <= _RESUME_BELOW:
            self.full = False
        return not self.full
