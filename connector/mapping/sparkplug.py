"""Sparkplug B → samples: the values that the host has read, with the input IDs of a rule.

All values of a node or device have one origin, the topic of its data, for every kind of message. The input ID of a
metric is made once; after that, a value costs a few dictionary look-ups. Births give signals their names, units and
states, unless the rule sets them. A birth with new metadata makes its signals known again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Final, NamedTuple

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import MetricBirth
from connector.formats.sparkplug.datatypes import DataType, type_of
from connector.formats.sparkplug.host import Host, SparkplugMessage
from connector.formats.sparkplug.nodes import HostLimits, TimelineChange
from connector.formats.sparkplug.properties import GOOD, is_good
from connector.formats.sparkplug.rule import SparkplugRule, variables_of
from connector.formats.sparkplug.topic import Owner, TopicError, data_topic, parse_topic
from connector.formats.sparkplug.values import MetricValue
from connector.mapping.documents.walk import shortened
from connector.mapping.plans import Plan, signal_metadata, value_of
from connector.mapping.rules.rules import AUTO_TIME, RECEIVED_TIME, Rule, ValueRule
from connector.mapping.rules.values import FILTERED, NOT_FINITE, Conversion, ValueRejectedError
from connector.mapping.time.times import TimeBounds, TimeError
from connector.records import FIRST_US, LAST_US, Mapped, Reason, Record, Reject, Sample, SignalMetadata

ONLINE: Final = "_online"
"""The metric that is made of births and deaths: 1 from a birth on, 0 from a death on."""
QUALITY: Final = "_quality"
"""The ending that makes the name of a quality's signal from the name of its metric."""
_ONLINE_BIRTH: Final = MetricBirth(ONLINE, DataType.BOOLEAN, states=(("0", "offline"), ("1", "online")))
_MAX_PLANS: Final = 100_000


SPARKPLUG_HELP: Final = {
    "sparkplug_nodes_and_devices": "Nodes and devices of Sparkplug whose births are remembered",
    "sparkplug_metrics": "Metrics in these births",
    "sparkplug_lost_messages_total": "Messages of Sparkplug's nodes that never reached us, by their sequence numbers",
    "sparkplug_late_deaths_total": "Deaths of sessions that another birth had followed already: ignored",
}
"""Name of a metric in `SparkplugMapping.gauges` → its help text on the metrics page."""


class NodeEvent(NamedTuple):
    """A loss, a need of births, or a birth of a node: to be logged, or to be answered with a request to the node."""

    source: str
    group: str
    node: str
    lost: int
    """Number of missing messages."""
    rebirth: str
    """The reason why the births of the node are needed; empty if they are not needed."""
    born: bool
    """Whether the node has sent its birth."""
    arrived_us: int
    """The time of arrival of the event's record, in µs since 1970."""
    ask: bool
    """Whether the rule allows to ask the node for its births."""


class UnreadableBirths(NamedTuple):
    """Stored births of a node or device that cannot be read."""

    source: str
    owner: Owner
    reason: str


def lost_by_node(events: Iterable[NodeEvent]) -> dict[tuple[str, str, str], int]:
    """(source, group, node) → messages that were lost; only nodes with a loss."""
    found: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        if event.lost:
            found[event.source, event.group, event.node] += event.lost
    return dict(found)


class SparkplugMapping:
    """Maps the messages of all sources that carry Sparkplug B. For one thread at a time."""

    def __init__(
        self,
        bounds: TimeBounds,
        limits: HostLimits,
        remembered: Mapping[str, Iterable[tuple[Owner, bytes]]],
        *,
        new_id: Callable[[Plan, str], str | None],
        learn: Callable[[Plan, str, str], int],
        discover: Callable[[Plan, str, str], None],
        check_time: Callable[[int, int], None],
        before: SparkplugMapping | None = None,
    ) -> None:
        """`remembered` is source → timelines that earlier runs stored (see `take_changes`).

        The new object takes the place of `before`, with its nodes, in place of `remembered`.

        `new_id` returns the input ID of a metric, or None if the rule leaves the metric out. `learn` returns the number
        of a state by its name. `discover` makes the metadata of a signal known. `check_time` raises `TimeError` if a
        (time, arrival) is not plausible."""
        self._bounds = bounds
        self._limits = limits
        self._new_id = new_id
        self._learn = learn
        self._discover = discover
        self._check_time = check_time
        self._hosts = {source: Host(limits, said) for source, said in remembered.items()}
        if before is not None:
            self._hosts = before._hosts
            for host in self._hosts.values():
                host.use_limits(limits)
        self.unreadable = [
            UnreadableBirths(source, *lost) for source, host in self._hosts.items() for lost in host.unreadable
        ]
        """Stored births that cannot be read."""
        self._plans: dict[tuple[str, int, str], SparkplugPlan] = {}
        self._last: tuple[str, Record, SparkplugMessage] | None = None
        """(source, record, its message) of the last record."""
        self.node_events: list[NodeEvent] = [] if before is None else before.node_events
        """Events since the caller last emptied this list."""

    # -- for metrics and for the store --------------------------------------------------------------

    def take_changes(self, source: str) -> list[TimelineChange]:
        """The changes of births and deaths in this source since the last call. They must be stored before any record
        that was mapped until now is committed."""
        host = self._hosts.get(source)
        return host.take_changes() if host is not None else []

    def plans(self) -> Iterable[SparkplugPlan]:
        """Returns the plan of each node and device under each rule."""
        return self._plans.values()

    def plans_of(self, source: str, topic: str) -> Iterator[SparkplugPlan]:
        """Yields the plans of the node or device that sends on a topic, under each rule."""
        try:
            data = parse_topic(topic).data_topic
        except TopicError:
            return
        yield from (plan for plan in self._plans.values() if plan.source == source and plan.topic == data)

    def recalled(self, plan: Plan, path: str) -> SparkplugPlan | None:
        """Returns a plan like this one that knows the last birth of a metric; None if this birth is unknown."""
        found = SparkplugPlan(plan.source, plan.topic, plan.rule)
        if not found.sparkplug.metadata or path.endswith(f"/{QUALITY}"):
            return found
        host = self._hosts.get(plan.source)
        try:
            birth = _ONLINE_BIRTH if path == ONLINE else host.last_birth(plan.topic, path) if host is not None else None
        except PayloadError:  # a signal of another rule, from before the topic was Sparkplug's
            birth = None
        if birth is None:
            return None
        found.births[path] = birth
        return found

    def gauges(self) -> dict[str, dict[str, float]]:
        """Source → name → value, for the metrics."""
        found: dict[str, dict[str, float]] = {}
        for source, host in list(self._hosts.items()):
            counts = host.counts()
            found[source] = {
                "sparkplug_nodes_and_devices": counts.owners,
                "sparkplug_metrics": counts.metrics,
                "sparkplug_lost_messages_total": sum(host.lost().values()),
                "sparkplug_late_deaths_total": host.late_deaths,
            }
        return found

    # -- one message --------------------------------------------------------------------------------

    def map(self, source: str, record: Record, rule: Rule) -> Mapped:
        """The samples and rejects of this record under this rule. Raises `PayloadError` for a record that cannot be
        read as a whole."""
        if not FIRST_US <= record.time_us <= LAST_US:
            raise PayloadError(
                Reason.TIME_OUT_OF_RANGE,
                f"the record's own timestamp, {record.time_us} µs since 1970, is in no calendar, and this timestamp "
                "orders births and deaths. To use the time of arrival instead, set timestamps: received in the source",
            )
        decoded = self._decode(source, record, rule)
        topic = decoded.topic
        if not topic.group:  # the state of a host
            return Mapped(skipped=True, why="left_out")
        plan = self._plan(source, rule, Owner(topic.group, topic.node, topic.device))
        mapped = Mapped(
            [],
            [Reject(*problem) for problem in decoded.problems],
            decoded.filtered,
        )
        self._take(plan, record, decoded, mapped)
        if decoded.online is not None and plan.sparkplug.online:
            self._add_online(source, record, rule, decoded, mapped)
        mapped.skipped = not mapped.samples and not mapped.rejects
        mapped.why = "left_out" if mapped.skipped else ""
        return mapped

    def _decode(self, source: str, record: Record, rule: Rule) -> SparkplugMessage:
        """The message of this record. The host hears each record once, even if several rules map it."""
        last = self._last
        if last is not None and last[1] is record and last[0] == source:
            return last[2]
        self._last = None
        host = self._hosts.get(source)
        if host is None:
            host = self._hosts[source] = Host(self._limits)
        arrived_us = record.time_us  # the same when it is read again
        decoded = host.decode(record.topic, record.payload or b"", arrived_us)
        self._last = source, record, decoded
        is_node_birth = decoded.online is True and not decoded.topic.device
        if decoded.lost > 0 or decoded.want_rebirth or is_node_birth:
            ask = rule.sparkplug is not None and rule.sparkplug.rebirths
            topic = decoded.topic
            self.node_events.append(
                NodeEvent(
                    source,
                    topic.group,
                    topic.node,
                    max(0, decoded.lost),
                    decoded.want_rebirth,
                    is_node_birth,
                    arrived_us,
                    ask,
                )
            )
        return decoded

    def _plan(self, source: str, rule: Rule, owner: Owner) -> SparkplugPlan:
        topic = data_topic(*owner)
        plan = self._plans.get((source, id(rule), topic))
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[source, id(rule), topic] = SparkplugPlan(source, topic, rule)
        return plan

    def _take(self, plan: SparkplugPlan, record: Record, decoded: SparkplugMessage, mapped: Mapped) -> None:
        """Values → samples: the hot path."""
        arrived_us = record.received_us or record.time_us
        oldest_us, newest_us = self._bounds.oldest_us, arrived_us + self._bounds.newest_after_arrival_us
        own_us = _own_time(record, plan.rule)
        entries, samples = plan.entries, mapped.samples
        for value in decoded.values:
            path, number, quality = value.path, value.value, value.quality
            entry = entries.get(path)
            if entry is None or entry.birth is not value.birth:
                entry = self._entry(plan, path, value.birth, number)
                if entry is None:
                    mapped.filtered += 1
                    continue
            if quality is not None and quality not in GOOD:
                if plan.sparkplug.bad_quality == "drop":
                    mapped.filtered += 1
                    continue
                if plan.sparkplug.bad_quality == "reject":
                    message = f"its quality is {quality}; good is {GOOD.start} to {GOOD.stop - 1}"
                    mapped.rejects.append(Reject(Reason.BAD_QUALITY, message, path, shortened(repr(number))))
                    continue
            time_us = value.time_us if own_us is None else own_us
            if not oldest_us <= time_us <= newest_us:
                mapped.rejects.append(self._time_reject(value, time_us, arrived_us))
                continue
            if entry.conversion is not None:
                self._convert(plan, entry, value, time_us, mapped)
            elif isinstance(number, str):
                mapped.filtered += 1
                continue
            elif -1e308 <= number <= 1e308 or isfinite(number):
                samples.append((entry.input_id, time_us, number))
            else:
                mapped.rejects.append(Reject(Reason.NOT_FINITE, NOT_FINITE, path, shortened(repr(number))))
                continue
            if plan.sparkplug.bad_quality == "signal":
                self._add_quality(plan, path, quality, time_us, samples)

    def _entry(self, plan: SparkplugPlan, path: str, birth: MetricBirth | None, value: object) -> _Entry | None:
        """The entry of a metric, with this birth; None if the metric is no signal. New metadata in the birth is made
        known."""
        known = plan.entries.get(path)
        if known is None:
            if path in plan.texts and isinstance(value, str):
                return None
            conversion = plan.conversion_of(path)
            if isinstance(value, str) and conversion is None:
                plan.texts.add(path)  # a text that no rule turns into a number
                return None
            if birth is not None:
                plan.births[path] = birth
            input_id = plan.ids[path] if path in plan.ids else self._new_id(plan, path)
            if input_id is None:
                return None
            known = plan.entries[path] = _Entry(input_id, conversion)
            known.birth = birth
            return known
        if birth is not None and birth != plan.births.get(path):
            plan.births[path] = birth
            self._discover(plan, path, known.input_id)
        known.birth = birth
        return known

    def _convert(self, plan: SparkplugPlan, entry: _Entry, value: MetricValue, time_us: int, mapped: Mapped) -> None:
        assert entry.conversion is not None  # noqa: S101 - asked only then
        try:
            number = entry.conversion.apply(value.value, lambda text: self._learn(plan, value.path, text))
        except ValueRejectedError as error:
            mapped.rejects.append(Reject(error.reason, str(error), value.path, shortened(repr(value.value))))
            return
        if number == FILTERED or isinstance(number, str):
            mapped.filtered += 1
        else:
            mapped.samples.append((entry.input_id, time_us, number))

    def _time_reject(self, value: MetricValue, time_us: int, arrived_us: int) -> Reject:
        why = f"{time_us} µs since 1970 is no plausible time"
        try:
            self._check_time(time_us, arrived_us)
        except TimeError as error:
            why = str(error)
        return Reject(Reason.TIME_OUT_OF_RANGE, why, value.path, shortened(repr(value.value)))

    # -- signals that are made of the protocol itself ------------------------------------------------

    def _add_quality(
        self, plan: SparkplugPlan, path: str, quality: int | None, time_us: int, samples: list[Sample]
    ) -> None:
        """Add a sample of the quality, if the message has a quality, or has no quality after a bad quality."""
        bad_before = path in plan.bad
        if quality is None and not bad_before:
            return
        if is_good(quality):
            plan.bad.discard(path)
        else:
            plan.bad.add(path)
        entry = self._entry(plan, f"{path}/{QUALITY}", None, 0)
        if entry is not None:
            samples.append((entry.input_id, time_us, GOOD.start if quality is None else quality & 0xFFFFFFFF))

    def _add_online(self, source: str, record: Record, rule: Rule, decoded: SparkplugMessage, mapped: Mapped) -> None:
        topic = decoded.topic
        owners = decoded.died if decoded.online is False else (Owner(topic.group, topic.node, topic.device),)
        own_us = _own_time(record, rule)
        time_us = decoded.time_us if own_us is None else own_us
        try:
            self._check_time(time_us, record.received_us or record.time_us)
        except TimeError:
            time_us = record.time_us
        for owner in owners:
            entry = self._entry(self._plan(source, rule, owner), ONLINE, _ONLINE_BIRTH, 0)
            if entry is None:
                mapped.filtered += 1
            else:
                mapped.samples.append((entry.input_id, time_us, int(decoded.online is True)))


class _Entry:
    """A metric that is a signal, under one rule."""

    __slots__ = ("birth", "conversion", "input_id")

    def __init__(self, input_id: str, conversion: Conversion | None) -> None:
        self.input_id = input_id
        self.conversion = conversion
        self.birth: MetricBirth | None = None
        """The birth of the last value: compared by identity, since it is the same object until the next birth."""


class SparkplugPlan(Plan):
    """One node or device under one rule."""

    __slots__ = ("bad", "births", "entries", "sparkplug", "texts")

    def __init__(self, source: str, topic: str, rule: Rule) -> None:
        assert rule.sparkplug is not None  # noqa: S101 - made only for such rules
        super().__init__(source, topic, rule, {**(rule.pattern.match(topic) or {}), **variables_of(topic)})
        self.sparkplug = rule.sparkplug
        self.entries: dict[str, _Entry] = {}
        self.births: dict[str, MetricBirth] = {}
        """Path → the last birth of the metric."""
        self.texts: set[str] = set()
        """Metrics that are texts and no signals."""
        self.bad: set[str] = set()
        """Metrics whose last stated quality is not good."""

    def conversion_of(self, path: str) -> Conversion | None:
        """Returns the conversion of this metric's values; None if the rule does not convert them."""
        value = value_of(self, path)
        return None if value is None else value.conversion or self.rule.conversion

    def forget_values(self) -> None:
        """Forget all findings about the metrics; the births stay."""
        super().forget_values()
        self.entries.clear()
        self.texts.clear()

    def described(
        self, value: ValueRule, path: str, input_id: str, learned: Mapping[str, int]
    ) -> SignalMetadata | None:
        """The metadata of the signal: from the rule, and for everything that the rule does not set, from the birth."""
        said = signal_metadata(self, value, path, input_id, learned)
        birth = self.births.get(path)
        if birth is None or not self.sparkplug.metadata:
            return said
        rule = self.rule
        found = said if said is not None else SignalMetadata(name=input_id)
        whole = path in (birth.path, ONLINE)  # else it is an element or a cell: the birth describes the whole metric
        name = f"{self.variables['descriptor']} online" if path == ONLINE else birth.display_name or birth.path
        states = birth.states if whole and not found.enum_values else ()
        is_integer = type_of(birth.datatype) not in (DataType.FLOAT, DataType.DOUBLE)
        as_enum = bool(states) and is_integer and value.value_type is None and rule.value_type is None
        return replace(
            found,
            name=found.name if value.name or rule.name else name if whole else name + path.removeprefix(birth.path),
            description=found.description or birth.description,
            unit=found.unit or birth.unit,
            value_type="enum" if as_enum else found.value_type,
            enum_values=states if as_enum else found.enum_values,
            labels=_labels(self, found),
            annotations=(*found.annotations, *_annotations(birth, found)),
            saved=True,
        )


def limits_of(rules: Iterable[Rule], max_payload_bytes: int, max_values: int) -> HostLimits:
    """The widest limits of all rules, since all rules share the same nodes."""
    said = [rule.sparkplug for rule in rules if rule.sparkplug is not None] or [SparkplugRule()]
    devices, metrics = max(one.max_devices for one in said), max(one.max_metrics for one in said)
    return HostLimits(max_payload_bytes, max_values, devices, metrics)


def _labels(plan: SparkplugPlan, said: SignalMetadata) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The labels of the rule, and `group`, `node` and `device` unless the rule sets them."""
    known = {key for key, _ in said.labels}
    own = ((key, plan.variables[key]) for key in ("group", "node", "device"))
    return (*said.labels, *((key, (text,)) for key, text in own if text and key not in known))


def _annotations(birth: MetricBirth, said: SignalMetadata) -> Iterable[tuple[str, str]]:
    known = {key for key, _ in said.annotations}
    for key, number in (("range_low", birth.low), ("range_high", birth.high)):
        if number is not None and key not in known:
            yield key, f"{number:g}"


def _own_time(record: Record, rule: Rule) -> int | None:
    """The time for all values of the record, if the rule sets it; None if each metric has its own time."""
    if rule.time.kind == AUTO_TIME:
        return None
    return (record.received_us or record.time_us) if rule.time.kind == RECEIVED_TIME else record.time_us
