"""A passive host application, without I/O: what each message of Sparkplug says, given all that came before it.

Theory of operation. Each node and each device has a *timeline* of its births and deaths. What is in force when a
message comes gives its metrics their names, types and metadata:

- NBIRTH begins a new session of the node: the births of its devices before it do not count any more.
- NDEATH ends the session whose birth has its `bdSeq`, and with it all devices; that of an earlier session, sent late by
  the broker, is ignored. DDEATH ends a device.
- Data that needs a birth which we do not have is rejected, never guessed: a wrong signal is worse than none. Data with
  names and types in it is read all the same.

Of one run, messages are taken in their order, whatever the clock says. After a restart those since the last commit come
again, while the timelines are as they were later on. So until a record is newer than all that was remembered of its
node, what was in force *when it arrived* counts, and births and losses that are remembered already change nothing.

Changes of timelines are handed out by `take_changes`, to be stored before the message that made them is committed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import BD_SEQ, Table, TooManyMetricsError, read_births
from connector.formats.sparkplug.payload import decode_payload
from connector.formats.sparkplug.schema import Metric, Payload
from connector.formats.sparkplug.sequence import Sequence
from connector.formats.sparkplug.timeline import Epoch, Timeline, latest
from connector.formats.sparkplug.topic import COMMANDS, Kind, Topic, TopicError, parse_topic
from connector.formats.sparkplug.values import MetricReader, Problem, Value
from connector.records import Reason

_PARTS_A_VALUE: Final = 8
_BIRTHS: Final = (Kind.NODE_BIRTH, Kind.DEVICE_BIRTH)
_MAX_TOPICS: Final = 100_000


class Owner(NamedTuple):
    """A node, or a device behind it."""

    group: str
    node: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message and all of them together may take."""

    max_payload_bytes: int = 4 * 1024 * 1024
    max_values: int = 20_000
    """Values, and metrics of a birth, in one message."""
    max_owners: int = 10_000
    """Nodes and devices that are remembered."""
    max_metrics: int = 200_000
    """Metrics that are remembered, of all nodes and devices together."""


@dataclass(slots=True)
class Decoded:
    """What one message says."""

    topic: Topic
    time_us: int
    """The payload's time, or that of its arrival."""
    values: list[Value] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    filtered: int = 0
    """Values in it that are no measurements."""
    online: bool | None = None
    """Whether the message says that its node or device lives (a birth) or is gone (a death)."""
    died: tuple[Owner, ...] = ()
    """Who is gone with it: the device, or the node and all its devices."""
    lost: int = 0
    """Messages of this node that should have come before it and did not; -1 for one that only came late."""
    want_rebirth: str = ""
    """Why the node should send its births again; empty if it need not."""


class _Node:
    """One node with its devices."""

    __slots__ = ("devices", "known_until_us", "line", "sequence")

    def __init__(self) -> None:
        self.line = Timeline()
        self.devices: dict[str, Timeline] = {}
        self.sequence = Sequence()
        self.known_until_us = 0
        """Records that arrived until then may be read again; 0 once a later one came."""


class Host:
    """Hears the nodes of one broker. For one thread."""

    def __init__(self, limits: Limits | None = None, remembered: Iterable[tuple[Owner, bytes]] = ()) -> None:
        """`remembered` is what `take_changes` gave in earlier runs; what cannot be read of it is left out, and named
        in `unreadable`."""
        self._limits = limits or Limits()
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._topics: dict[str, Topic] = {}
        self._owners = 0
        self._metrics = 0
        self._changed: set[Owner] = set()
        self._forgotten: set[Owner] = set()
        self.unreadable: list[tuple[Owner, str]] = []
        self.late_deaths = 0
        """Deaths of sessions that had been followed by another birth."""
        for owner, data in remembered:
            try:
                self._restore(owner, Timeline.from_bytes(data))
            except ValueError as error:
                self.unreadable.append((owner, str(error)))
        for node in self._nodes.values():
            node.known_until_us = latest([node.line, *node.devices.values()])

    # -- for whoever watches ----------------------------------------------------------------------

    def sizes(self) -> tuple[int, int]:
        """(nodes and devices, metrics) that are remembered."""
        return self._owners, self._metrics

    def lost(self) -> dict[tuple[str, str], int]:
        """(group, node) → messages that never reached us, since it was first heard; only of those that lost any."""
        return {key: node.line.lost for key, node in self._nodes.items() if node.line.lost}

    def take_changes(self) -> list[tuple[Owner, bytes | None]]:
        """What has to be stored before anything that came until now is committed; None: to be deleted."""
        found: list[tuple[Owner, bytes | None]] = [(owner, None) for owner in sorted(self._forgotten)]
        for owner in sorted(self._changed):
            line = self._line(owner)
            if line is not None:
                found.append((owner, line.to_bytes()))
        self._changed.clear()
        self._forgotten.clear()
        return found

    # -- one message ------------------------------------------------------------------------------

    def decode(self, topic_text: str, data: bytes, arrival_us: int) -> Decoded:
        """What this message says. Raises `PayloadError` for one that cannot be read as a whole, and nothing else."""
        topic = self._topics.get(topic_text) or self._topic(topic_text)
        if topic.kind is Kind.STATE or topic.kind in COMMANDS:
            return Decoded(topic, arrival_us)
        limits = self._limits
        if len(data) > limits.max_payload_bytes:
            raise PayloadError(
                Reason.PAYLOAD_TOO_LARGE,
                f"{len(data)} bytes; at most {limits.max_payload_bytes} are mapped (mapping.max_payload)",
            )
        node = self._node(topic)
        if arrival_us > node.known_until_us:
            node.known_until_us = 0
        try:
            payload = decode_payload(data, limits.max_payload_bytes, limits.max_values * _PARTS_A_VALUE)
        except PayloadError:
            if topic.kind in _BIRTHS:
                self._void(node, topic, arrival_us)
            raise
        decoded = Decoded(topic, payload.timestamp * 1000 if payload.HasField("timestamp") else arrival_us)
        self._hear(node, topic, payload, data, decoded, arrival_us)
        return decoded

    def _hear(
        self, node: _Node, topic: Topic, payload: Payload, data: bytes, decoded: Decoded, arrival_us: int
    ) -> None:
        if topic.kind is Kind.NODE_DEATH:
            decoded.time_us = arrival_us  # its payload was written when the node connected
            self._node_death(node, payload, decoded, arrival_us)
            return
        self._count_lost(node, topic, payload, data, decoded, arrival_us)
        if topic.kind is Kind.DEVICE_DEATH:
            self._device_death(node, decoded, arrival_us)
            decoded.filtered = len(payload.metrics)
        elif topic.kind in _BIRTHS:
            try:
                self._birth(node, payload, decoded, arrival_us)
            except PayloadError:
                self._void(node, topic, arrival_us)
                raise
            self._read(payload, self._table(node, topic, arrival_us), decoded)
        else:
            self._data(node, payload, decoded, arrival_us)

    def _topic(self, text: str) -> Topic:
        try:
            topic = parse_topic(text)
        except TopicError as error:
            raise PayloadError(Reason.INVALID_SPARKPLUG, f"topic {text[:200]!r}: {error}") from None
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        self._topics[text] = topic
        return topic

    def _count_lost(
        self, node: _Node, topic: Topic, payload: Payload, data: bytes, decoded: Decoded, arrival_us: int
    ) -> None:
        if not payload.HasField("seq"):
            return
        number = payload.seq & 0xFF
        if topic.kind is Kind.NODE_BIRTH:
            node.sequence.begin(number)
            return
        lost = node.sequence.lost_before(number, zlib.crc32(data, len(topic.device)))
        if not lost or (node.known_until_us and arrival_us <= node.line.lost_us):
            return  # nothing, or counted before the restart
        decoded.lost = lost
        node.line.lost = max(0, node.line.lost + lost)
        node.line.lost_us = arrival_us
        if lost > 0:
            decoded.want_rebirth = f"{lost} of its messages did not reach us"
        self._changed.add(Owner(topic.group, topic.node))

    # -- births and deaths ------------------------------------------------------------------------

    def _birth(self, node: _Node, payload: Payload, decoded: Decoded, arrival_us: int) -> None:
        topic = decoded.topic
        decoded.online = True
        line = self._line_of(node, topic)
        known = line.began_at(arrival_us) if node.known_until_us else None
        if known is not None and known.table is not None:
            return  # read again
        node_epoch = self._in_force(node.line, node, arrival_us)
        defined_before = node_epoch.table.definitions if topic.device and node_epoch and node_epoch.table else {}
        limit = self._limits.max_values
        try:
            births, defined = read_births(payload.metrics, defined_before, limit)
        except TooManyMetricsError:
            raise PayloadError(
                Reason.TOO_MANY_VALUES, f"a birth of more than {limit} metrics (mapping.max_values)"
            ) from None
        session = node_epoch.from_us if topic.device and node_epoch else 0
        table = Table(births, defined)
        before = self._in_force(line, node, arrival_us)
        if (
            topic.device
            and before is not None
            and before.session == session
            and before.table is not None
            and before.table.same_as(table)
        ):
            return  # it says what we know already
        self._make_room(len(table), Owner(topic.group, topic.node, topic.device))
        self._add(node, topic, Epoch(arrival_us, session, table, None if topic.device else _bd_seq(payload.metrics)))

    def _void(self, node: _Node, topic: Topic, arrival_us: int) -> None:
        """A birth that we cannot take: what was said before it does not hold any more all the same."""
        line = self._line_of(node, topic)
        if node.known_until_us and line.began_at(arrival_us) is not None:
            return  # read again
        epoch = self._in_force(line, node, arrival_us)
        if epoch is not None and epoch.table is not None:
            self._add(node, topic, Epoch(arrival_us, epoch.session, None))

    def _node_death(self, node: _Node, payload: Payload, decoded: Decoded, arrival_us: int) -> None:
        topic = decoded.topic
        decoded.filtered = len(payload.metrics)
        before_us = arrival_us - 1  # read again, the death itself is in its timeline already
        epoch = self._in_force(node.line, node, before_us)
        bd_seq = _bd_seq(payload.metrics)
        if (
            epoch is not None
            and epoch.table is not None
            and None not in (epoch.bd_seq, bd_seq)
            and epoch.bd_seq != bd_seq
        ):
            self.late_deaths += 1
            return
        decoded.online = False
        decoded.died = (
            Owner(topic.group, topic.node),
            *(
                Owner(topic.group, topic.node, device)
                for device in node.devices
                if self._table(node, Topic(Kind.DEVICE_DATA, topic.group, topic.node, device), before_us) is not None
            ),
        )
        known = node.line.began_at(arrival_us) if node.known_until_us else None
        if known is None and (epoch is None or epoch.table is not None):
            self._make_room(0, Owner(topic.group, topic.node))
            self._add(node, topic, Epoch(arrival_us, 0, None, bd_seq))

    def _device_death(self, node: _Node, decoded: Decoded, arrival_us: int) -> None:
        topic = decoded.topic
        decoded.online = False
        decoded.died = (Owner(topic.group, topic.node, topic.device),)
        line = self._line_of(node, topic)
        if node.known_until_us and line.began_at(arrival_us) is not None:
            return
        if self._table(node, topic, arrival_us - 1) is not None:
            node_epoch = self._in_force(node.line, node, arrival_us)
            self._add(node, topic, Epoch(arrival_us, node_epoch.from_us if node_epoch else 0, None))

    def _add(self, node: _Node, topic: Topic, epoch: Epoch) -> None:
        line = self._line_of(node, topic)
        owner = Owner(topic.group, topic.node, topic.device)
        last = line.last()
        if last is not None and not node.known_until_us:  # the order is what counts, whatever the clock says
            epoch.from_us = max(epoch.from_us, last.from_us + 1)
        self._metrics -= line.metrics()
        if not line.epochs:
            self._owners += 1
            if topic.device:
                node.devices[topic.device] = line
        line.add(epoch)
        self._metrics += line.metrics()
        self._nodes[topic.group, topic.node] = node
        self._forgotten.discard(owner)
        self._changed.add(owner)

    # -- data -------------------------------------------------------------------------------------

    def _data(self, node: _Node, payload: Payload, decoded: Decoded, arrival_us: int) -> None:
        topic = decoded.topic
        table = self._table(node, topic, arrival_us)
        self._read(payload, table, decoded)
        if table is None:
            who = f"{'device' if topic.device else 'node'} {topic.descriptor!r}"
            decoded.want_rebirth = decoded.want_rebirth or f"no birth of {who} is known"
            unknown = [p for p in decoded.problems if p.reason in (Reason.UNKNOWN_ALIAS, Reason.DATA_BEFORE_BIRTH)]
            if unknown and len(unknown) == len(decoded.problems) and not decoded.values and not decoded.filtered:
                decoded.problems = [
                    Problem(
                        Reason.DATA_BEFORE_BIRTH,
                        f"{len(unknown)} metrics, but no birth of {who} is known: it was sent before we listened, "
                        "or was lost. Restart the node, or allow rebirth requests",
                    )
                ]

    def _read(self, payload: Payload, table: Table | None, decoded: Decoded) -> None:
        reader = MetricReader(table, decoded.time_us, self._limits.max_values)
        reader.read(payload.metrics)
        decoded.values = reader.values
        decoded.problems += reader.problems
        decoded.filtered += reader.filtered
        if reader.unknown and not decoded.want_rebirth:
            decoded.want_rebirth = f"{reader.unknown} of its metrics stand in no birth that we have"

    # -- what is in force -------------------------------------------------------------------------

    @staticmethod
    def _in_force(line: Timeline, node: _Node, arrival_us: int) -> Epoch | None:
        return line.at(arrival_us) if node.known_until_us else line.last()

    def _table(self, node: _Node, topic: Topic, arrival_us: int) -> Table | None:
        """The metrics of the birth in force, None if there is none, or its node or device is gone."""
        epoch = self._in_force(node.line, node, arrival_us)
        if not topic.device:
            return epoch.table if epoch is not None else None
        line = node.devices.get(topic.device)
        found = self._in_force(line, node, arrival_us) if line is not None else None
        if found is None or found.session != (epoch.from_us if epoch is not None else 0):
            return None
        return found.table

    # -- nodes and devices ------------------------------------------------------------------------

    def _node(self, topic: Topic) -> _Node:
        """The node; one that is not known is remembered when something is known of it."""
        found = self._nodes.get((topic.group, topic.node))
        if found is None:
            found = _Node()
            if len(self._nodes) < self._limits.max_owners:
                self._nodes[topic.group, topic.node] = found  # for its sequence numbers
        return found

    def _line(self, owner: Owner) -> Timeline | None:
        node = self._nodes.get((owner.group, owner.node))
        if node is None:
            return None
        return node.devices.get(owner.device) if owner.device else node.line

    @staticmethod
    def _line_of(node: _Node, topic: Topic) -> Timeline:
        return (node.devices.get(topic.device) or Timeline()) if topic.device else node.line

    def _restore(self, owner: Owner, line: Timeline) -> None:
        node = self._nodes.setdefault((owner.group, owner.node), _Node())
        if owner.device:
            node.devices[owner.device] = line
        else:
            node.line = line
        self._owners += 1 if line.epochs else 0
        self._metrics += line.metrics()

    # -- bounds -----------------------------------------------------------------------------------

    def _make_room(self, metrics: int, owner: Owner) -> None:
        """Let go of what is only needed for records that come again, then of the dead; else refuse."""
        for make in (self._forget_past, self._forget_dead):
            if self._fits(metrics, owner):
                return
            make()
        if not self._fits(metrics, owner):
            limits = self._limits
            raise PayloadError(
                Reason.TOO_MANY_METRICS,
                f"{self._owners} nodes and devices with {self._metrics} metrics are remembered; with {metrics} more "
                f"there would be too many (at most {limits.max_owners} and {limits.max_metrics})",
            )

    def _fits(self, metrics: int, owner: Owner) -> bool:
        line = self._line(owner)
        new = 0 if line is not None and line.epochs else 1
        return (
            self._owners + new <= self._limits.max_owners
            and len(self._nodes) <= self._limits.max_owners
            and self._metrics + metrics <= self._limits.max_metrics
        )

    def _forget_past(self) -> None:
        for (group, name), node in self._nodes.items():
            for device, line in (("", node.line), *node.devices.items()):
                if len(line.epochs) > 1:
                    self._metrics -= line.metrics()
                    line.forget_past()
                    self._metrics += line.metrics()
                    self._changed.add(Owner(group, name, device))

    def _forget_dead(self) -> None:
        for (group, name), node in list(self._nodes.items()):
            epoch = node.line.last()
            session = epoch.from_us if epoch is not None else 0
            for device, line in list(node.devices.items()):
                last = line.last()
                if last is None or last.table is None or last.session != session:
                    self._metrics -= line.metrics()
                    self._owners -= 1
                    del node.devices[device]
                    self._forget(Owner(group, name, device))
            if not node.devices and (epoch is None or epoch.table is None):
                self._owners -= 1 if node.line.epochs else 0
                del self._nodes[group, name]
                self._forget(Owner(group, name))

    def _forget(self, owner: Owner) -> None:
        self._changed.discard(owner)
        self._forgotten.add(owner)


def _bd_seq(metrics: Iterable[Metric]) -> int | None:
    for metric in metrics:
        if metric.name == BD_SEQ:
            found = metric.WhichOneof("value")
            return getattr(metric, found) if found in ("int_value", "long_value") else None
    return None
