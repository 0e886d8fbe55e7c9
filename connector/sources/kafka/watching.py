"""Finds the lag, partitions that stand still, and the forecast of loss, by questions outside the reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from connector.brokers.kafka_probe import why_silent
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.broker_facts import LogBounds, Retention
from connector.sources.kafka.intake import PartitionSorter
from connector.sources.kafka.loss import KafkaHorizons, PartitionView
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.waiting import some
from connector.sources.loss import Horizon
from connector.sources.partitions import split_partition_name

_STILL_SECONDS: Final = 20.0
"""Seconds for which a partition may stand still, although records wait in its log."""
_PROBE_SECONDS: Final = 60.0


class Watching:
    """The lag, standstills, and the forecast of loss. Only one thread may call `horizons`; any, the other methods."""

    def __init__(
        self,
        settings: KafkaSection,
        assignment: Assignment,
        intake: PartitionSorter,
        member: Member,
        epoch: Callable[[], float],
    ) -> None:
        """`epoch` gives the time in seconds since 1970."""
        self._assignment = assignment
        self._intake = intake
        self._member = member
        self._epoch = epoch
        self._horizons = KafkaHorizons()
        self._retention = Retention(settings)
        self._bounds = LogBounds(settings)
        self._settings = settings
        self._next_probe = 0.0
        self._moved: dict[str, tuple[int, float]] = {}
        """Partition → (position, time since when records wait there)."""
        self._still: dict[str, tuple[float, int]] = {}
        """Partition → (seconds that it has stood still, number of offsets that wait)."""

    def lag(self, *, paused: bool) -> float:
        """Number of records between this member's positions and the ends of its partitions.

        While librdkafka reads, its statistics have the exact number. While reading is `paused`, or a partition stands
        still, the statistics do not change, and the last answer of the brokers is used.
        """
        asked = self._bounds.lag(self._assignment.next_positions()) if paused else None
        if asked is not None:
            return asked
        return max(
            self._member.waiting.lag(self._assignment.owned), float(sum(lag for _, lag in list(self._still.values())))
        )

    def problems(self) -> list[str]:
        """The partitions that stand still, for people."""
        found = {name: still for name, still in list(self._still.items()) if still[0] >= _STILL_SECONDS}
        if not found:
            return []
        seconds, waiting = max(seconds for seconds, _ in found.values()), sum(lag for _, lag in found.values())
        text = (
            f"no record of {some(found)} came for {seconds:.0f} s, although {waiting} wait; we join the group anew if "
            "this lasts. If that does not help, set log_level: debug, and look into the log of the partitions' leaders"
        )
        return [text]

    def still_seconds(self) -> float:
        """The longest time for which a partition has stood still, although records wait in its log; 0 if none does."""
        return max((seconds for seconds, _ in list(self._still.values())), default=0.0)

    def horizons(self, now: float, is_read: Callable[[str], bool]) -> list[Horizon]:
        """Returns the forecasts: when the topics' retention would delete records before this member reads them.

        `now` is in seconds of any clock that only rises. `is_read` says whether a partition of this member is
        read now, and not paused. Waits for the network.
        """
        if self._member.unexplained and now >= self._next_probe:
            self._next_probe = now + _PROBE_SECONDS
            self._member.explain(why_silent(self._settings))
        positions = {name: at for name, at in self._assignment.next_positions().items() if at is not None}
        times = self._intake.record_times
        views = [
            PartitionView(
                name, split_partition_name(name)[0], low, positions[name], end - positions[name], times.get(name)
            )
            for name, (low, end) in self._bounds.ask(positions.keys()).items()
        ]
        self._note_standstill(now, {view.name: view.position + view.lag for view in views if is_read(view.name)})
        retention = self._retention.of({view.topic for view in views}, now)
        return self._horizons.look(now, self._epoch(), views, retention)

    def _note_standstill(self, now: float, ends: Mapping[str, int]) -> None:
        """Compare the positions with those of the last call. `ends` has the ends of the logs, by partition."""
        moved: dict[str, tuple[int, float]] = {}
        still: dict[str, tuple[float, int]] = {}
        for name, taken in self._assignment.next_positions().items():
            end, at = ends.get(name, 0), max(taken or 0, self._member.waiting.fetched(name))
            if end <= at or self._member.waiting.waits(name):
                continue
            before, since = self._moved.get(name, (at, now))
            moved[name] = at, since if before == at else now
            if before == at and since < now:
                still[name] = now - since, end - at
        self._moved, self._still = moved, still
        for text in self.problems():
            self._member.log.say("a standstill", text, "a standstill")
