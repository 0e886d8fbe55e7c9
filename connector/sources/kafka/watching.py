"""Finds the lag, and the forecast of loss, by questions to the brokers outside the reading."""

from __future__ import annotations

from collections.abc import Callable

from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.broker_facts import LogBounds, Retention
from connector.sources.kafka.intake import PartitionSorter
from connector.sources.kafka.loss import KafkaHorizons, PartitionView
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.loss import Horizon
from connector.sources.partitions import split_partition_name


class Watching:
    """The lag, and the forecast of loss. Only one thread may call `horizons`; any thread may call `lag`."""

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

    def lag(self, *, paused: bool) -> float:
        """Number of records between this member's positions and the ends of its partitions.

        While librdkafka reads, its statistics have the exact number. While reading is `paused`, the statistics do not
        change, and the last answer of the brokers is used.
        """
        asked = self._bounds.lag(self._assignment.next_positions()) if paused else None
        return self._member.lag(self._assignment.owned) if asked is None else asked

    def horizons(self, now: float) -> list[Horizon]:
        """Returns the forecasts: when the topics' retention would delete records before this member reads them.

        `now` is in seconds of any clock that only rises. Waits for the network.
        """
        positions = {name: at for name, at in self._assignment.next_positions().items() if at is not None}
        times = self._intake.record_times
        views = [
            PartitionView(
                name, split_partition_name(name)[0], low, positions[name], end - positions[name], times.get(name)
            )
            for name, (low, end) in self._bounds.ask(positions.keys()).items()
        ]
        retention = self._retention.of({view.topic for view in views}, now)
        return self._horizons.look(now, self._epoch(), views, retention)
