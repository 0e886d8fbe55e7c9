"""A passive host application, without I/O: the content of each Sparkplug message, given all messages before it.

Theory of operation. Each node and each device has a *timeline* of its births and deaths (`nodes`). The birth that is in
force when a message arrives gives the metrics of the message their names, types and metadata. `lifecycle` decides what
a birth or a death changes; `host` reads one message after the other.

- Data that needs an unknown birth is rejected, never guessed: a wrong signal is worse than none. Data that carries
  names and types itself is read without a birth.
- Within one run, messages count in their order of arrival, whatever the clock says. After a restart, the records since
  the last commit are read again, with the births that were in force when these records arrived (see `nodes`). Births
  and losses that are remembered already change nothing.
- `take_changes` returns the changes of timelines. A change must be stored before the message that made it is committed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import MetricBirth, MetricTable
from connector.formats.sparkplug.lifecycle import Lifecycle
from connector.formats.sparkplug.messages import Payload
from connector.formats.sparkplug.nodes import (
    HostLimits,
    Node,
    Nodes,
    RememberedCounts,
    TimelineChange,
    UnreadableTimeline,
)
from connector.formats.sparkplug.topic import BIRTHS, COMMANDS, MessageType, Owner, Topic, TopicError, parse_topic
from connector.formats.sparkplug.values import MetricProblem, MetricReader, MetricValue
from connector.records import Reason

_PARTS_A_VALUE: Final = 8
"""The most Protobuf messages that one value may consist of: the metric, its properties, its metadata."""
_MAX_TOPICS: Final = 100_000
"""The most topics whose parsed form is kept."""


@dataclass(slots=True)
class SparkplugMessage:
    """The content of one message."""

    topic: Topic
    time_us: int
    """The time of the payload; the time of arrival if the payload has none."""
    values: list[MetricValue] = field(default_factory=list)
    problems: list[MetricProblem] = field(default_factory=list)
    filtered: int = 0
    """The number of values that are not measurements."""
    online: bool | None = None
    """True for a birth, False for a death, None for everything else."""
    died: tuple[Owner, ...] = ()
    """The owners that are dead after this message: the device, or the node and all its devices that were alive."""
    lost: int = 0
    """The number of missing messages before this one; -1 if this one was counted as missing and came late."""
    want_rebirth: str = ""
    """Why the node should send its births again; empty without a reason."""


class Host:
    """Reads the messages of all nodes of one broker. For one thread."""

    def __init__(self, limits: HostLimits | None = None, remembered: Iterable[tuple[Owner, bytes]] = ()) -> None:
        """`remembered` has the timelines that `take_changes` returned in earlier runs."""
        from connector.formats.sparkplug.payload import decode_payload  # noqa: PLC0415 - the library of Protobuf

        self._decoded = decode_payload
        self._limits = limits or HostLimits()
        self._nodes = Nodes(self._limits, remembered)
        self._lifecycle = Lifecycle(self._nodes, self._limits.max_values)
        self._topics: dict[str, Topic] = {}

    def use_limits(self, limits: HostLimits) -> None:
        """Use these limits from the next message on; what is remembered stays."""
        self._limits = self._nodes.limits = limits
        self._lifecycle.max_metrics = limits.max_values

    # -- for metrics and for the store ------------------------------------------------------------

    @property
    def unreadable(self) -> list[UnreadableTimeline]:
        """The timelines of earlier runs that cannot be read; the host does without them."""
        return self._nodes.unreadable

    @property
    def late_deaths(self) -> int:
        """The number of ignored deaths: another birth had already followed the session that the death ends."""
        return self._lifecycle.late_deaths

    def counts(self) -> RememberedCounts:
        """How many nodes, devices and metrics are remembered."""
        return self._nodes.counts()

    def lost(self) -> dict[tuple[str, str], int]:
        """(group, node) → number of messages lost since the node was first heard; only nodes with a loss."""
        return self._nodes.lost()

    def take_changes(self) -> list[TimelineChange]:
        """The changes since the last call, to be stored before any message heard until now is committed."""
        return self._nodes.take_changes()

    def last_birth(self, topic_text: str, path: str) -> MetricBirth | None:
        """The last birth of a metric that is remembered; None if there is none. `topic_text` is a topic of its data."""
        topic = self._topics.get(topic_text) or self._topic(topic_text)
        return self._nodes.last_birth(Owner(topic.group, topic.node, topic.device), path)

    # -- one message ------------------------------------------------------------------------------

    def decode(self, topic_text: str, data: bytes, arrival_us: int) -> SparkplugMessage:
        """Read one message. The only error is `PayloadError`: the message cannot be read as a whole."""
        topic = self._topics.get(topic_text) or self._topic(topic_text)
        if topic.message_type is MessageType.STATE or topic.message_type in COMMANDS:
            return SparkplugMessage(topic, arrival_us)
        limits = self._limits
        if len(data) > limits.max_payload_bytes:
            raise PayloadError(
                Reason.PAYLOAD_TOO_LARGE,
                f"{len(data)} bytes; at most {limits.max_payload_bytes} are mapped (mapping.max_payload)",
            )
        node = self._nodes.heard(topic, arrival_us)
        try:
            payload = self._decoded(data, limits.max_payload_bytes, limits.max_values * _PARTS_A_VALUE)
        except PayloadError:
            if topic.message_type in BIRTHS:
                self._lifecycle.invalid_birth(node, topic, arrival_us)
            raise
        message = SparkplugMessage(topic, payload.timestamp * 1000 if payload.HasField("timestamp") else arrival_us)
        self._hear(node, payload, data, message, arrival_us)
        return message

    def _hear(self, node: Node, payload: Payload, data: bytes, message: SparkplugMessage, arrival_us: int) -> None:
        topic = message.topic
        message_type = topic.message_type
        if message_type is MessageType.NODE_DEATH:
            message.time_us = arrival_us  # the payload was written when the node connected
            message.filtered = len(payload.metrics)
            message.died = self._lifecycle.node_death(node, topic, payload, arrival_us)
            message.online = False if message.died else None
            return
        self._count_lost(node, payload, data, message, arrival_us)
        if message_type is MessageType.DEVICE_DEATH:
            self._lifecycle.device_death(node, topic, arrival_us)
            message.filtered = len(payload.metrics)
            message.died = (Owner(topic.group, topic.node, topic.device),)
            message.online = False
        elif message_type in BIRTHS:
            message.online = True
            try:
                self._lifecycle.birth(node, topic, payload, arrival_us)
            except PayloadError:
                self._lifecycle.invalid_birth(node, topic, arrival_us)
                raise
            self._read(payload, node.table(topic.device, arrival_us), message)
        else:
            self._data(node, payload, message, arrival_us)

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
        self, node: Node, payload: Payload, data: bytes, message: SparkplugMessage, arrival_us: int
    ) -> None:
        if not payload.HasField("seq"):
            return
        topic = message.topic
        number = payload.seq & 0xFF
        if topic.message_type is MessageType.NODE_BIRTH:
            node.sequence.begin(number)
            return
        lost = node.sequence.lost_before(number, zlib.crc32(data, len(topic.device)))
        if lost and self._nodes.count_lost(node, topic, lost, arrival_us):
            message.lost = lost
            if lost > 0:
                message.want_rebirth = f"{lost} of its messages did not reach us"

    def _data(self, node: Node, payload: Payload, message: SparkplugMessage, arrival_us: int) -> None:
        topic = message.topic
        table = node.table(topic.device, arrival_us)
        self._read(payload, table, message)
        if table is None:
            who = f"{'device' if topic.device else 'node'} {topic.descriptor!r}"
            message.want_rebirth = message.want_rebirth or f"no birth of {who} is known"
            unknown = [p for p in message.problems if p.reason in (Reason.UNKNOWN_ALIAS, Reason.DATA_BEFORE_BIRTH)]
            if unknown and len(unknown) == len(message.problems) and not message.values and not message.filtered:
                message.problems = [
                    MetricProblem(
                        Reason.DATA_BEFORE_BIRTH,
                        f"{len(unknown)} metrics, but no birth of {who} is known: the birth was sent before the "
                        "connector listened, or was lost. Restart the node, or allow rebirth requests",
                    )
                ]

    def _read(self, payload: Payload, table: MetricTable | None, message: SparkplugMessage) -> None:
        reader = MetricReader(table, message.time_us, self._limits.max_values)
        reader.read(payload.metrics)
        message.values = reader.values
        message.problems += reader.problems
        message.filtered += reader.filtered
        if reader.unknown and not message.want_rebirth:
            message.want_rebirth = f"{reader.unknown} of its metrics stand in no known birth"
