"""Births and deaths: which messages begin a new epoch of a node or device, and which change nothing.

- NBIRTH begins a new session of the node: earlier births of the node's devices do not count any more.
- NDEATH ends the session whose birth has the same `bdSeq`, and with it the node and all its devices. The NDEATH of an
  earlier session, which a broker may send late, is ignored and counted.
- DBIRTH and DDEATH begin and end a device within the session of its node.
- A birth that cannot be used (unreadable, too many metrics) still ends the validity of the birth before it.
- A birth or death that is read a second time after a restart is in the timeline already and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import BD_SEQ, MetricTable, TooManyMetricsError, read_births
from connector.formats.sparkplug.messages import Metric, Payload
from connector.formats.sparkplug.nodes import Node, Nodes
from connector.formats.sparkplug.timeline import Epoch
from connector.formats.sparkplug.topic import Owner, Topic
from connector.records import Reason


class Lifecycle:
    """Decides on births and deaths of the nodes of one source. For one thread."""

    def __init__(self, nodes: Nodes, max_metrics: int) -> None:
        """`max_metrics` is the most metrics of one birth."""
        self._nodes = nodes
        self.max_metrics = max_metrics
        self.late_deaths = 0
        """The number of ignored deaths: another birth had already followed the session that the death ends."""

    def birth(self, node: Node, topic: Topic, payload: Payload, arrival_us: int) -> None:
        """Begin a new epoch with the metrics of this NBIRTH or DBIRTH.

        Raises `PayloadError` if the birth has too many metrics, or exceeds the bounds of memory.
        """
        timeline = node.timeline_of(topic)
        replayed = node.replayed_epoch(timeline, arrival_us)
        if replayed is not None and replayed.table is not None:
            return
        node_epoch = node.epoch(node.timeline, arrival_us)
        defined_before = node_epoch.table.definitions if topic.device and node_epoch and node_epoch.table else {}
        try:
            births, defined = read_births(payload.metrics, defined_before, self.max_metrics)
        except TooManyMetricsError:
            raise PayloadError(
                Reason.TOO_MANY_VALUES, f"a birth of more than {self.max_metrics} metrics (mapping.max_values)"
            ) from None
        session = node_epoch.from_us if topic.device and node_epoch else 0
        table = MetricTable(births, defined)
        before = node.epoch(timeline, arrival_us)
        if (
            topic.device
            and before is not None
            and before.session == session
            and before.table is not None
            and before.table.same_as(table)
        ):
            return  # the device repeats its birth
        self._nodes.make_room(len(table), Owner(topic.group, topic.node, topic.device))
        bd_seq = None if topic.device else _bd_seq(payload.metrics)
        self._nodes.add_epoch(node, topic, Epoch(arrival_us, session, table, bd_seq))

    def invalid_birth(self, node: Node, topic: Topic, arrival_us: int) -> None:
        """Note a birth that cannot be used: it still ends the validity of the birth before it."""
        timeline = node.timeline_of(topic)
        if node.replayed_epoch(timeline, arrival_us) is not None:
            return
        epoch = node.epoch(timeline, arrival_us)
        if epoch is not None and epoch.table is not None:
            self._nodes.add_epoch(node, topic, Epoch(arrival_us, epoch.session, None))

    def node_death(self, node: Node, topic: Topic, payload: Payload, arrival_us: int) -> tuple[Owner, ...]:
        """End the session of this node.

        Returns the node and its devices that were alive; nothing if the death belongs to an earlier session.
        """
        before_us = arrival_us - 1  # the timeline of a replayed record contains the death itself
        epoch = node.epoch(node.timeline, before_us)
        bd_seq = _bd_seq(payload.metrics)
        if (
            epoch is not None
            and epoch.table is not None
            and None not in (epoch.bd_seq, bd_seq)
            and epoch.bd_seq != bd_seq
        ):
            self.late_deaths += 1
            return ()
        owner = Owner(topic.group, topic.node)
        alive = [device for device in node.devices if node.table(device, before_us) is not None]
        replayed = node.replayed_epoch(node.timeline, arrival_us)
        if replayed is None and (epoch is None or epoch.table is not None):
            self._nodes.make_room(0, owner)
            self._nodes.add_epoch(node, topic, Epoch(arrival_us, 0, None, bd_seq))
        return (owner, *(Owner(topic.group, topic.node, device) for device in alive))

    def device_death(self, node: Node, topic: Topic, arrival_us: int) -> None:
        """End the epoch of this device."""
        if node.replayed_epoch(node.timeline_of(topic), arrival_us) is not None:
            return
        if node.table(topic.device, arrival_us - 1) is not None:
            node_epoch = node.epoch(node.timeline, arrival_us)
            self._nodes.add_epoch(node, topic, Epoch(arrival_us, node_epoch.from_us if node_epoch else 0, None))


def _bd_seq(metrics: Iterable[Metric]) -> int | None:
    for metric in metrics:
        if metric.name == BD_SEQ:
            found = metric.WhichOneof("value")
            return getattr(metric, found) if found in ("int_value", "long_value") else None
    return None
