"""The effect of a mapping on records: counted, packed and grouped, without a network. `report` has the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from connector.formats.format import SchemaUnavailableError
from connector.mapping.mapper import RuleShare
from connector.mapping.observations import Observation
from connector.mapping.thinning.windows import Closed, Windows
from connector.mapping.time.clock_skew import zone_hours
from connector.records import Mapped, Reason, Record, Reject, Sample, of_integration
from connector.try_out.capture import Taken
from connector.try_out.frames import FrameLimits, LivePace, Packer
from connector.try_out.mapping import RuleAt, TriedMapping

_EXAMPLES: Final = 10
_MAX_GROUPS: Final = 1000


@dataclass(slots=True)
class RuleCount:
    """The messages and values that one rule took; without a rule, the messages that no rule took."""

    rule: RuleAt | None
    messages: int = 0
    samples: int = 0
    rejects: int = 0
    values_left_out: int = 0
    values_in_windows: int = 0
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
    """Rejects of one kind: the first reject in full, and the lines of the first few."""

    reason: Reason
    rule: RuleAt | None
    path: str | None
    message: str
    topic: str
    value: str | None
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """The line numbers of the first few, in the input."""


@dataclass(slots=True)
class SchemaTrouble:
    """Messages whose schema was not available."""

    count: int = 0
    lines: list[int] = field(default_factory=list)
    """The line numbers of the first few, in the input."""


@dataclass(slots=True)
class Preview:
    """Counts the outcome of records. Call `take` for each record, and `finish` after the last record."""

    mapping: TriedMapping
    packer: Packer
    aligned: Packer
    """The packer for the same samples with times cut to whole seconds."""
    pace: LivePace
    only: str | None = None
    """The integration whose samples and signals are shown, by the name before its input IDs; None for all."""
    messages: Counter[str] = field(default_factory=Counter)
    """The number of messages `received`, and of each outcome: `mapped`, `rejected`, `left_out`, `waiting_for_schema`. A
    message with both samples and rejects is `mapped`."""
    payload_bytes: int = 0
    samples: int = 0
    values_left_out: int = 0
    first_us: int | None = None
    last_us: int | None = None
    signals: dict[str, SignalSeen] = field(default_factory=dict)
    unknown_sources: Counter[str] = field(default_factory=Counter)
    by_rule: dict[int, RuleCount] = field(default_factory=dict)
    """Number of a rule, from 1 → the count; 0 stands for no rule."""
    rejects: dict[tuple[object, ...], RejectGroup] = field(default_factory=dict)
    other_rejects: int = 0
    """The number of rejects of kinds beyond the limit of kinds."""
    values_in_windows: int = 0
    """The number of values that went into down-sampling windows."""
    windows_closed: int = 0
    """The number of closed windows; each closed window gave one sample."""
    late_for_windows: int = 0
    """The number of values that came after their window was closed; `values_left_out` counts these values, too."""
    schema_trouble: dict[str, SchemaTrouble] = field(default_factory=dict)
    """Reason why a schema is not available → the messages. The outcome of these messages is not known."""
    lags: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """(source, topic) → time from the newest sample of a message to the arrival, in µs, for the first messages."""
    _windows: Windows = field(init=False)
    _now: float = float("-inf")
    """The arrival of the newest message, in seconds since the epoch."""
    _windowed: dict[str, tuple[RuleAt | None, str]] = field(default_factory=dict)
    """Down-sampled input ID → the rule and the topic of the values."""

    def __post_init__(self) -> None:
        self._windows = self.mapping.windows()

    def take(self, taken: Taken) -> Mapped | None:
        """Maps one record, and counts the outcome. Returns the outcome; None if it needs a schema that is away."""
        record = taken.record
        source = self.mapping.source_for(taken.source)
        if taken.source is not None and source != taken.source:
            self.unknown_sources[taken.source] += 1
        self.messages["received"] += 1
        self.payload_bytes += len(record.payload or b"")
        try:
            mapped = self.mapping.map(source, record)
        except SchemaUnavailableError as error:
            self._wait(taken, str(error))
            return None
        self.messages["mapped" if mapped.samples else "rejected" if mapped.rejects else "left_out"] += 1
        self.values_left_out += mapped.filtered
        self._note_lag(source, record, mapped)
        self._now = max(self._now, (record.received_us or record.time_us) / 1e6)
        samples, rejects = iter(mapped.samples), iter(mapped.rejects)
        sent: list[Sample] = []
        closed: list[Closed] = []
        for rule, share in self.mapping.shares(source, record, mapped):
            counted = self._count(rule, share)
            for reject in islice(rejects, share.rejects):
                self._group(taken, reject, rule)
            made = list(islice(samples, share.samples))
            kept, late, complete = self._windows.take_samples(0, made, self._now)
            closed += complete
            sent += kept
            if len(kept) != len(made):
                for gone in {sample[0] for sample in made}.difference(sample[0] for sample in kept):
                    self._windowed.setdefault(gone, (rule, record.topic))
                self._count_windowed(counted, len(made) - len(kept), late)
            for sample in filter(self._is_shown, kept):
                self._see(sample, rule, record.topic)
        closed += self._windows.due(self._now)
        self._pack(sent + self._from_windows(closed))
        return mapped

    def finish(self) -> None:
        """Closes the open windows, as at the end of a log, and packs the remaining samples."""
        self._pack(self._from_windows(self._windows.end()))
        self.packer.finish()
        self.aligned.finish()
        self.pace.finish()

    def notices(self) -> list[Observation]:
        """Returns all that a person should look at, after the last record."""
        return [*self.mapping.observations, *self.clock_notices(), *self.mapping.tag_notices(), *self._not_found()]

    def _not_found(self) -> Iterator[Observation]:
        """Yields a notice for each value that a rule names, and that none of its messages had."""
        rejected = {(group.rule.number, group.path) for group in self.rejects.values() if group.rule is not None}
        for rule, name, path in self.mapping.values_not_found():
            if (rule.number, path) not in rejected:
                yield Observation(
                    "value_not_found",
                    "",
                    f"{rule}: {name}",
                    f"no message gave a value {name!r}, which {rule} names; its settings are used for nothing",
                    "compare its path with the column identity of the signals, which is the path of each value",
                )

    def clock_notices(self) -> list[Observation]:
        """Returns a notice for each topic whose times differ from the arrival by hours, like times without a zone."""
        found = []
        for (source, topic), lags in self.lags.items():
            hours = zone_hours(min(lags, key=abs))
            if hours is not None:
                found.append(
                    Observation(
                        "clock_off_by_hours",
                        source,
                        topic,
                        f"times of {topic!r} are {abs(hours):g} h {'behind' if hours > 0 else 'ahead of'} the arrival",
                        "if the times are local times without a zone, set zone in time of the rule: "
                        "time: {field: ..., zone: Europe/Oslo}",
                    )
                )
        return found

    def _note_lag(self, source: str, record: Record, mapped: Mapped) -> None:
        if mapped.samples and not record.retained:
            newest = max(sample[1] for sample in mapped.samples)
            lags = self.lags.setdefault((source, record.topic), [])
            if newest != record.time_us and len(lags) < _EXAMPLES * 4:
                lags.append((record.received_us or record.time_us) - newest)
            if not lags:
                del self.lags[source, record.topic]

    def silent_rules(self) -> list[RuleAt]:
        """Returns the rules that took no message."""
        return [rule for rule in self.mapping.rules if rule.number not in self.by_rule]

    def shown(self, mapped: Mapped) -> Mapped:
        """Returns the outcome with the samples of the integration that is shown."""
        return mapped if self.only is None else Mapped(list(filter(self._is_shown, mapped.samples)), mapped.rejects)

    def _is_shown(self, sample: Sample) -> bool:
        return self.only is None or of_integration(sample[0])[0] == self.only

    def _pack(self, samples: list[Sample]) -> None:
        mapped = Mapped(list(filter(self._is_shown, samples)))
        self.packer.add(mapped)
        self.aligned.add(mapped)
        self.pace.add(mapped, self._now)

    def _from_windows(self, closed: list[Closed]) -> list[Sample]:
        found: list[Sample] = [(window.input_id, window.start_us, window.value) for window in closed]
        self.windows_closed += len(found)
        for sample in filter(self._is_shown, found):
            rule, topic = self._windowed[sample[0]]
            self.by_rule[rule.number if rule else 0].samples += 1
            self._see(sample, rule, topic)
        return found

    def _count_windowed(self, counted: RuleCount, gone: int, late: int) -> None:
        """Counts `gone` values of a rule that are no samples yet: `late` are left out, the others are in windows."""
        counted.samples -= gone
        counted.values_left_out += late
        counted.values_in_windows += gone - late
        self.values_left_out += late
        self.late_for_windows += late
        self.values_in_windows += gone - late

    def _see(self, sample: Sample, rule: RuleAt | None, topic: str) -> None:
        input_id, time_us, value = sample
        seen = self.signals.get(input_id)
        if seen is None:
            seen = self.signals[input_id] = SignalSeen(rule=rule, topic=topic)
        seen.samples += 1
        if time_us >= seen.last_us:
            seen.last_us, seen.last_value = time_us, value
        self.samples += 1
        self.first_us = time_us if self.first_us is None else min(self.first_us, time_us)
        self.last_us = time_us if self.last_us is None else max(self.last_us, time_us)

    def _wait(self, taken: Taken, why: str) -> None:
        self.messages["waiting_for_schema"] += 1
        trouble = self.schema_trouble.setdefault(why, SchemaTrouble())
        trouble.count += 1
        if len(trouble.lines) < _EXAMPLES:
            trouble.lines.append(taken.line)

    def _count(self, rule: RuleAt | None, share: RuleShare) -> RuleCount:
        number = rule.number if rule else 0
        counted = self.by_rule.get(number)
        if counted is None:
            counted = self.by_rule[number] = RuleCount(rule)
        counted.messages += 1
        counted.samples += share.samples
        counted.rejects += share.rejects
        counted.values_left_out += share.filtered
        counted.messages_left_out += not share.samples and not share.rejects
        return counted

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


def new_preview(mapping: TriedMapping, *, frames: int, rows: int, series: int, only: str | None = None) -> Preview:
    """Returns a preview that keeps the first `frames` frames to show, with `rows` rows and `series` series each.

    With `only`, frames and signals are those of one integration.
    """
    delivery = mapping.config.delivery
    limits = FrameLimits(delivery.max_frame_bytes, delivery.max_waiting_samples, delivery.max_delay)
    return Preview(mapping, Packer(limits, frames, rows, series), Packer(limits, aligned=True), LivePace(limits), only)
