"""The last hour in numbers, one point every ten seconds: for the lines on the status page. Bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from connector.pipeline.status import PipelineStatus
from connector.sources.source import Source

EVERY_SECONDS: Final = 10
_SECONDS: Final = 3600
_RECEIVED: Final = "_received_total"
"""The end of the name of a source's gauge that counts what came from outside."""


class Point(NamedTuple):
    """The counts of one moment. All but the waiting ones count from the start of the process."""

    at: int
    """The time, in seconds since the epoch, a multiple of `EVERY_SECONDS`."""
    messages: int
    """Messages that came in, as the sources count them."""
    samples: int
    """Samples that the mapping made of them."""
    inserted: int
    """Samples that Clarify has stored."""
    dead_letters: int
    """Messages and values that became dead letters."""
    requests: int
    """Insert requests."""
    waiting_messages: int
    """Messages that wait, in journals and in memory."""
    waiting_samples: int
    """Samples that wait in memory for a frame."""
    by_source: dict[str, int]
    """Source → its part of `messages`."""


def received(source: Source) -> int | None:
    """Returns the number of messages that a source has received since the start; None if the source does not say."""
    return next((int(value) for name, value in source.gauges().items() if name.endswith(_RECEIVED)), None)


class History:
    """The points of the last hour. One thread calls `note`; any thread calls `points`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._points: deque[Point] = deque(maxlen=_SECONDS // EVERY_SECONDS + 1)

    def note(self, status: PipelineStatus) -> None:
        """Add a point, if the last one is from an earlier ten seconds."""
        at = int(self._clock()) // EVERY_SECONDS * EVERY_SECONDS
        if self._points and self._points[-1].at == at:
            return
        self._points.append(point(status, at))

    def points(self) -> list[Point]:
        """Returns the points, the oldest first."""
        return list(self._points)


def point(status: PipelineStatus, at: int) -> Point:
    """Returns the counts of now, as a point of the time `at`."""
    sources = status.sources()
    counts = {source.name: received(source) for source in sources}
    by_source = {name: n for name, n in counts.items() if n is not None}
    told = len(by_source) == len(sources)
    records, samples = status.waiting()
    return Point(
        at,
        sum(by_source.values()) if told else status.messages.received,
        status.samples.received,
        sum(status.inserted_samples.values()),
        sum(status.reasons.values()),
        status.requests,
        records + sum(source.unread() for source in sources),
        samples,
        by_source,
    )
