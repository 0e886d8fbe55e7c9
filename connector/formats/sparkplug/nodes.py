"""All edge nodes and devices that the host knows: their timelines, the bounds of memory, and the changes to be stored.

Only this file changes timelines and the counts of remembered metrics, nodes and devices. `lifecycle` decides which
birth or death begins a new epoch; `host` decides which messages were lost.

Replay. After a restart the records since the last commit are read again, while the restored timelines are newer than
these records. Until a record arrives that is newer than everything remembered of its node, the node is *in replay*:
the epoch that was in force when the record arrived counts, not the last one.

Bounds. When a birth does not fit, epochs that only a replay would need are forgotten first, then nodes and devices that
are dead. If the birth still does not fit, it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import MetricBirth, MetricTable
from connector.formats.sparkplug.sequence import SequenceNumbers
from connector.formats.sparkplug.timeline import Epoch, Timeline, latest
from connector.formats.sparkplug.topic import Owner, Topic
from connector.records import Reason


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Bounds for one message, and for everything that is remembered of one source."""

    max_payload_bytes: int = 4 * 1024 * 1024
    max_values: int = 20_000
    """The most values of one message, and the most metrics of one birth."""
    max_owners: int = 10_000
    """The most nodes and devices that are remembered."""
    max_metrics: int = 200_000
    """The most metrics that are remembered, of all nodes and devices together."""


class TimelineChange(NamedTuple):
    """A change to be stored before the message that made it is committed."""

    owner: Owner
    data: bytes | None
    """The whole timeline, as `Timeline.to_bytes` writes it; None if the stored timeline is to be deleted."""


class UnreadableTimeline(NamedTuple):
    """A stored timeline that cannot be read, and why."""

    owner: Owner
    reason: str


class RememberedCounts(NamedTuple):
    """How many nodes, devices and metrics are remembered."""

    owners: int
    """The number of nodes and devices."""
    metrics: int


class Node:
    """One edge node with its devices."""

    __slots__ = ("devices", "replay_until_us", "sequence", "timeline")

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.devices: dict[str, Timeline] = {}
        self.sequence = SequenceNumbers()
        self.replay_until_us = 0
        """Records that arrived up to this time may be read a second time; 0 as soon as a later record came."""

    def timeline_of(self, topic: Topic) -> Timeline:
        """The timeline of the node or device of this topic; a new one, which is not kept yet, for an unknown device."""
        return (self.devices.get(topic.device) or Timeline()) if topic.device else self.timeline

    def epoch(self, timeline: Timeline, arrival_us: int) -> Epoch | None:
        """The epoch of this timeline that is in force for a record that arrived at `arrival_us`."""
        return timeline.at(arrival_us) if self.replay_until_us else timeline.last()

    def replayed_epoch(self, timeline: Timeline, arrival_us: int) -> Epoch | None:
        """The epoch that the record of exactly this arrival began in an earlier run; None if the record is new."""
        return timeline.began_at(arrival_us) if self.replay_until_us else None

    def table(self, device: str, arrival_us: int) -> MetricTable | None:
        """The metrics of the birth in force, of the node itself if `device` is empty.

        None if there is no birth, or if the node or device is dead.
        """
        epoch = self.epoch(self.timeline, arrival_us)
        if not device:
            return epoch.table if epoch is not None else None
        timeline = self.devices.get(device)
        found = self.epoch(timeline, arrival_us) if timeline is not None else None
        if found is None or found.session != (epoch.from_us if epoch is not None else 0):
            return None
        return found.table


class Nodes:
    """The nodes of one source. For one thread."""

    def __init__(self, limits: HostLimits, remembered: Iterable[tuple[Owner, bytes]]) -> None:
        """`remembered` has the timelines that `take_changes` returned in earlier runs.

        A timeline that cannot be read is left out and listed in `unreadable`.
        """
        self.limits = limits
        self._nodes: dict[tuple[str, str], Node] = {}
        self._owners = 0
        self._metrics = 0
        self._changed: set[Owner] = set()
        self._forgotten: set[Owner] = set()
        self.unreadable: list[UnreadableTimeline] = []
        for owner, data in remembered:
            try:
                self._restore(owner, Timeline.from_bytes(data))
            except ValueError as error:
                self.unreadable.append(UnreadableTimeline(owner, str(error)))
        for node in self._nodes.values():
            node.replay_until_us = latest([node.timeline, *node.devices.values()])

    def counts(self) -> RememberedCounts:
        """How many nodes, devices and metrics are remembered."""
        return RememberedCounts(self._owners, self._metrics)

    def lost(self) -> dict[tuple[str, str], int]:
        """(group, node) → number of messages lost since the node was first heard; only nodes with a loss."""
        return {key: node.timeline.lost for key, node in self._nodes.items() if node.timeline.lost}

    def take_changes(self) -> list[TimelineChange]:
        """Every change since the last call: deletions first, then timelines."""
        found = [TimelineChange(owner, None) for owner in sorted(self._forgotten)]
        for owner in sorted(self._changed):
            timeline = self._timeline(owner)
            if timeline is not None:
                found.append(TimelineChange(owner, timeline.to_bytes()))
        self._changed.clear()
        self._forgotten.clear()
        return found

    def heard(self, topic: Topic, arrival_us: int) -> Node:
        """The node that sent a message on this topic.

        A record that is newer than everything remembered of the node ends the node's replay.
        """
        node = self._nodes.get((topic.group, topic.node))
        if node is None:
            node = Node()
            if len(self._nodes) < self.limits.max_owners:
                self._nodes[topic.group, topic.node] = node  # to keep the sequence numbers of the node
        if arrival_us > node.replay_until_us:
            node.replay_until_us = 0
        return node

    def add_epoch(self, node: Node, topic: Topic, epoch: Epoch) -> None:
        """Add an epoch to the timeline of this topic's node or device."""
        timeline = node.timeline_of(topic)
        last = timeline.last()
        if last is not None and not node.replay_until_us:  # the order of arrival counts, whatever the clock says
            epoch.from_us = max(epoch.from_us, last.from_us + 1)
        self._metrics -= timeline.metrics()
        if not timeline.epochs:
            self._owners += 1
            if topic.device:
                node.devices[topic.device] = timeline
        timeline.add(epoch)
        self._metrics += timeline.metrics()
        self._nodes[topic.group, topic.node] = node
        owner = Owner(topic.group, topic.node, topic.device)
        self._forgotten.discard(owner)
        self._changed.add(owner)

    def count_lost(self, node: Node, topic: Topic, lost: int, arrival_us: int) -> bool:
        """Count the messages of this node that are missing before the record that arrived at `arrival_us`.

        `lost` is the number of messages; -1 for a message that was counted as missing and came late. False if the
        record is replayed, and its loss was counted before.
        """
        timeline = node.timeline
        if node.replay_until_us and arrival_us <= timeline.lost_us:
            return False
        timeline.lost = max(0, timeline.lost + lost)
        timeline.lost_us = arrival_us
        self._changed.add(Owner(topic.group, topic.node))
        return True

    def make_room(self, metrics: int, owner: Owner) -> None:
        """Make room for a birth of this owner with `metrics` metrics. Raises `PayloadError` if there is no room."""
        for forget in (self._forget_past, self._forget_dead):
            if self._fits(metrics, owner):
                return
            forget()
        if not self._fits(metrics, owner):
            limits = self.limits
            raise PayloadError(
                Reason.TOO_MANY_METRICS,
                f"{self._owners} nodes and devices with {self._metrics} metrics are remembered; with {metrics} more "
                f"there would be too many (at most {limits.max_owners} and {limits.max_metrics})",
            )

    def last_birth(self, owner: Owner, path: str) -> MetricBirth | None:
        """The last birth of a metric that is remembered, also of a dead node or device; None if there is none."""
        timeline = self._timeline(owner)
        for epoch in reversed(timeline.epochs if timeline is not None else ()):
            if epoch.table is not None and (known := epoch.table.metrics.get(path)) is not None:
                return known.birth
        return None

    # -- details ----------------------------------------------------------------------------------

    def _restore(self, owner: Owner, timeline: Timeline) -> None:
        node = self._nodes.setdefault((owner.group, owner.node), Node())
        if owner.device:
            node.devices[owner.device] = timeline
        else:
            node.timeline = timeline
        self._owners += 1 if timeline.epochs else 0
        self._metrics += timeline.metrics()

    def _timeline(self, owner: Owner) -> Timeline | None:
        node = self._nodes.get((owner.group, owner.node))
        if node is None:
            return None
        return node.devices.get(owner.device) if owner.device else node.timeline

    def _fits(self, metrics: int, owner: Owner) -> bool:
        timeline = self._timeline(owner)
        new = 0 if timeline is not None and timeline.epochs else 1
        return (
            self._owners + new <= self.limits.max_owners
            and len(self._nodes) <= self.limits.max_owners
            and self._metrics + metrics <= self.limits.max_metrics
        )

    def _forget_past(self) -> None:
        """Forget every epoch but the last one of each timeline."""
        for (group, name), node in self._nodes.items():
            for device, timeline in (("", node.timeline), *node.devices.items()):
                if len(timeline.epochs) > 1:
                    self._metrics -= timeline.metrics()
                    timeline.forget_past()
                    self._metrics += timeline.metrics()
                    self._changed.add(Owner(group, name, device))

    def _forget_dead(self) -> None:
        """Forget devices that are dead or belong to an earlier session, and dead nodes without devices."""
        for (group, name), node in list(self._nodes.items()):
            epoch = node.timeline.last()
            session = epoch.from_us if epoch is not None else 0
            for device, timeline in list(node.devices.items()):
                last = timeline.last()
                if last is None or last.table is None or last.session != session:
                    self._metrics -= timeline.metrics()
                    self._owners -= 1
                    del node.devices[device]
                    self._forget(Owner(group, name, device))
            if not node.devices and (epoch is None or epoch.table is None):
                self._owners -= 1 if node.timeline.epochs else 0
                del self._nodes[group, name]
                self._forget(Owner(group, name))

    def _forget(self, owner: Owner) -> None:
        self._changed.discard(owner)
        self._forgotten.add(owner)
