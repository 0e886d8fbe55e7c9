"""What threatens records in Kafka: retention, by size (the log's start moves towards us) and by age."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connector.sources.loss import Horizon, Trend


@dataclass(frozen=True, slots=True)
class PartitionView:
    """Where a partition of ours stands."""

    name: str
    topic: str
    low: int
    """The oldest offset that is there."""
    position: int
    """The next one that we read."""
    lag: int
    """Records behind it."""
    record_time: float | None
    """Time of the record that we read last, in seconds since the epoch."""


class KafkaHorizons:
    """Knows how fast log starts and our positions move. One thread calls it."""

    def __init__(self) -> None:
        self._room: dict[str, Trend] = {}
        self._age: dict[str, Trend] = {}

    def look(
        self, now: float, epoch: float, partitions: Iterable[PartitionView], retention: Mapping[str, float]
    ) -> list[Horizon]:
        """What it comes to at `now` (any clock) and `epoch` (seconds since 1970). `retention`: topic → seconds that
        it keeps a record, where that is known."""
        found: list[Horizon] = []
        seen = set()
        for view in partitions:
            seen.add(view.name)
            room = self._room.setdefault(view.name, Trend())
            age = self._age.setdefault(view.name, Trend())
            room.see(now, view.position - view.low)
            if view.lag <= 0:
                age.forget()
                found.append(Horizon("retention", math.inf, 0.0, f"nothing waits in {view.name} that could be lost"))
                continue
            found.append(
                Horizon(
                    "retention",
                    view.position - view.low,
                    -room.growth,
                    f"Kafka deletes records of {view.name} that we have not read: its log's start comes nearer",
                )
            )
            keeps = retention.get(view.topic, math.inf)
            if view.record_time is not None and math.isfinite(keeps):
                old = epoch - view.record_time
                age.see(now, old)
                found.append(
                    Horizon(
                        "retention",
                        keeps - old,
                        age.growth,
                        f"Kafka deletes records of {view.name} that we have not read: they are older than its "
                        f"retention of {keeps:.0f} s",
                    )
                )
        for name in set(self._room) - seen:
            self._room.pop(name)
            self._age.pop(name)
        return found
