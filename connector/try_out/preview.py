"""What a mapping makes of records: counted, packed and grouped, without a network. `report` writes it down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from connector.records import Mapped, Reason, Reject
from connector.try_out.capture import Taken
from connector.try_out.frames import FrameLimits, LivePace, Packer
from connector.try_out.mapping import RuleAt, TriedMapping

_EXAMPLES: Final = 10
_MAX_GROUPS: Final = 1000


@dataclass(slots=True)
class RuleCount:
    """What one rule took, or what none took."""

    rule: RuleAt | None
    messages: int = 0
    samples: int = 0
    rejects: int = 0
    values_left_out: int = 0
    messages_left_out: int = 0


@dataclass(slots=True)
class SignalSeen:
    """The samples of one input."""

    samples: int = 0
    last_us: int = 0
    last_value: float = 0.0
    rule: RuleAt | None = None
    topic: str = ""


@dataclass(slots=True)
class RejectGroup:
    """Rejects of one kind: the first of them in full, and where the others stand."""

    reason: Reason
    rule: RuleAt | None
    path: str | None
    message: str
    topic: str
    value: str | None
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """Of the input; the first few."""


@dataclass(slots=True)
class Preview:
    """Takes records in, one after another; `finish` when there are no more."""

    mapping: TriedMapping
    packer: Packer
    aligned: Packer
    """The same with times cut to whole seconds."""
    pace: LivePace
    messages: Counter[str] = field(default_factory=Counter)
    """`received`, and what became of them: `mapped`, `rejected`, `left_out`; one with both samples and rejects is
    `mapped`."""
    payload_bytes: int = 0
    samples: int = 0
    values_left_out: int = 0
    first_us: int | None = None
    last_us: int | None = None
    signals: dict[str, SignalSeen] = field(default_factory=dict)
    unknown_sources: Counter[str] = field(default_factory=Counter)
    by_rule: dict[int, RuleCount] = field(default_factory=dict)
    """By the rule's number; 0 is none."""
    rejects: dict[tuple[object, ...], RejectGroup] = field(default_factory=dict)
    other_rejects: int = 0
    """Rejects of further kinds, where there are too many kinds."""

    def take(self, taken: Taken) -> Mapped:
        """Map one record."""
        record = taken.record
        source = self.mapping.source_for(taken.source)
        if taken.source is not None and source != taken.source:
            self.unknown_sources[taken.source] += 1
        mapped = self.mapping.map(source, record)
        rule = self.mapping.rule_for(record, mapped)
        self._count(taken, mapped, rule)
        for input_id, time_us, value in mapped.samples:
            seen = self.signals.get(input_id)
            if seen is None:
                seen = self.signals[input_id] = SignalSeen(rule=rule, topic=record.topic)
            seen.samples += 1
            if time_us >= seen.last_us:
                seen.last_us, seen.last_value = time_us, value
            self.first_us = time_us if self.first_us is None else min(self.first_us, time_us)
            self.last_us = time_us if self.last_us is None else max(self.last_us, time_us)
        for reject in mapped.rejects:
            self._group(taken, reject, rule)
        self.packer.add(mapped)
        self.aligned.add(mapped)
        self.pace.add(mapped, (record.received_us or record.time_us) / 1e6)
        return mapped

    def finish(self) -> None:
        """Pack what is left."""
        self.packer.finish()
        self.aligned.finish()
        self.pace.finish()

    def silent_rules(self) -> list[RuleAt]:
        """Rules that took nothing."""
        return [rule for rule in self.mapping.rules if rule.number not in self.by_rule]

    def _count(self, taken: Taken, mapped: Mapped, rule: RuleAt | None) -> None:
        number = rule.number if rule else 0
        counted = self.by_rule.get(number)
        if counted is None:
            counted = self.by_rule[number] = RuleCount(rule)
        self.messages["received"] += 1
        self.messages["mapped" if mapped.samples else "rejected" if mapped.rejects else "left_out"] += 1
        self.payload_bytes += len(taken.record.payload or b"")
        self.samples += len(mapped.samples)
        self.values_left_out += mapped.filtered
        counted.messages += 1
        counted.samples += len(mapped.samples)
        counted.rejects += len(mapped.rejects)
        counted.values_left_out += mapped.filtered
        counted.messages_left_out += not mapped.samples and not mapped.rejects

    def _group(self, taken: Taken, reject: Reject, rule: RuleAt | None) -> None:
        key = (reject.reason, rule.number if rule else 0, reject.path)
        group = self.rejects.get(key)
        if group is None:
            if len(self.rejects) >= _MAX_GROUPS:
                self.other_rejects += 1
                return
            group = self.rejects[key] = RejectGroup(
                reject.reason, rule, reject.path, reject.message, taken.record.topic, reject.value
            )
        group.count += 1
        if len(group.lines) < _EXAMPLES and taken.line not in group.lines:
            group.lines.append(taken.line)


def new_preview(mapping: TriedMapping, *, frames: int, rows: int, series: int) -> Preview:
    """A preview of which the first so many frames are kept for showing, with so many rows and series each."""
    delivery = mapping.config.delivery
    limits = FrameLimits(delivery.max_frame_bytes, delivery.max_waiting_samples, delivery.max_delay)
    return Preview(mapping, Packer(limits, frames, rows, series), Packer(limits, aligned=True), LivePace(limits))
