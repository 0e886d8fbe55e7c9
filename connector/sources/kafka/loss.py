"""The forecast of loss in Kafka: when retention will delete records that were not read.

Retention by size moves the start of the log towards the position of the member. Retention by age deletes old records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connector.sources.loss import Horizon, Trend


def expired_text(partition: str, first: int, end: int) -> str:
    """Says that the offsets from `first` to before `end` were deleted before they could be read, for people.

    Only the log could say how many of these offsets had a record.
    """
    return (
        f"{partition}: the data from offset {first} to before {end} had expired before it could be read: at most "
        f"{end - first} records (markers of transactions, and records that compaction removed, have offsets, too)"
    )


@dataclass(frozen=True, slots=True)
class PartitionView:
    """The state of a partition of this member."""

    name: str
    topic: str
    low: int
    """The oldest offset of the log."""
    position: int
    """The next offset to read."""
    lag: int
    """Number of records from `position` on."""
    record_time: float | None
    """Time of the record that was read last, in seconds since the epoch; None if it is unknown."""


class KafkaHorizons:
    """Makes the forecast from the speed at which log starts and positions move. For one thread."""

    def __init__(self) -> None:
        self._room: dict[str, Trend] = {}
        self._age: dict[str, Trend] = {}

    def look(
        self, now: float, epoch: float, partitions: Iterable[PartitionView], retention: Mapping[str, float]
    ) -> list[Horizon]:
        """Returns the forecasts of all partitions, one or two for each partition.

        `now` is in seconds of any clock, `epoch` in seconds since 1970. `retention` has the seconds that a topic keeps
        a record, for the topics with a known retention.
        """
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
                    f"Kafka deletes records of {view.name} that we have not read: the start of its log comes nearer",
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
                        f"Kafka deletes records of {view.name} that we have not read: these records are older than "
                        f"the topic's retention of {keeps:.0f} s",
                    )
                )
        for name in set(self._room) - seen:
            self._room.pop(name)
            self._age.pop(name)
        return found
