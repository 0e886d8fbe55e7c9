"""The differences between two mappings of the same messages, message by message: samples and rejects, before and after.

Differences of one kind are a group: the same kind of change of the same inputs, or the same reject. A group has its
first example in full, and a small message to make a test of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from connector.mapping.signals.input_ids import Origin
from connector.records import Mapped, Reason, Reject, Sample
from connector.try_out.capture import Taken

_MOST_GROUPS: Final = 1000
LARGEST_EXAMPLE: Final = 4096
"""The largest payload of a message for a test, in bytes."""


class Kind(StrEnum):
    """What happens to a sample, if the other mapping takes the place of this one."""

    VALUE = "value"
    """Another value."""
    TIME = "time"
    """Another time."""
    BOTH = "value and time"
    RENAMED = "renamed"
    """Another input ID, and so another signal."""
    NEW = "new"
    """There was no sample before."""
    GONE = "gone"
    """There is no sample any more."""


class Example(NamedTuple):
    """A message with a difference, to make a test of."""

    taken: Taken
    after: Mapped
    """What the other mapping makes of the message."""

    @property
    def size(self) -> int:
        """The bytes of the payload."""
        return len(self.taken.record.payload or b"")


@dataclass(slots=True)
class SampleChange:
    """A kind of change of the samples of an input; `before` and `after` are the first example."""

    kind: Kind
    line: int
    topic: str
    before: Sample | None
    after: Sample | None
    example: Example | None
    """The smallest message with this change; None if all are large."""
    count: int = 1


@dataclass(slots=True)
class RejectChange:
    """A kind of reject that appears or vanishes; `reject` is the first example."""

    appears: bool
    line: int
    topic: str
    reject: Reject
    example: Example | None
    count: int = 1


class _Pairs(NamedTuple):
    both: list[tuple[Sample, Sample]]
    gone: list[Sample]
    new: list[Sample]


@dataclass(slots=True)
class Differences:
    """All differences between two mappings. Call `see` for each message."""

    before: Callable[[str], Origin | None]
    """Returns the origin of an input ID of the present mapping, and `after` that of the other one."""
    after: Callable[[str], Origin | None]
    samples: dict[tuple[Kind, str, str], SampleChange] = field(default_factory=dict)
    rejects: dict[tuple[bool, Reason, str], RejectChange] = field(default_factory=dict)
    unchanged: int = 0
    """The number of samples that stay as they are."""
    messages: int = 0
    """The number of messages with a difference."""
    in_all: int = 0
    """The number of differences."""
    further: int = 0
    """The number of differences of kinds beyond the limit of kinds."""

    def see(self, taken: Taken, before: Mapped, after: Mapped, whole: Mapped) -> None:
        """Compare the outcomes of a message; `whole` is all that the other mapping makes of it."""
        noted = self.in_all
        pairs, example = self._paired(before.samples, after.samples), Example(taken, whole)
        for one, other in pairs.both:
            if one == other:
                self.unchanged += 1
            else:
                self._note(_kind(one, other), example, one, other)
        for one in pairs.gone:
            self._note(Kind.GONE, example, one, None)
        for other in pairs.new:
            self._note(Kind.NEW, example, None, other)
        for appears, rejects, others in ((False, before.rejects, after.rejects), (True, after.rejects, before.rejects)):
            there = {(reject.reason, reject.path) for reject in others}
            for reject in rejects:
                if (reject.reason, reject.path) not in there:
                    self._note_reject(appears, example, reject)
        self.messages += self.in_all > noted

    def _paired(self, before: Sequence[Sample], after: Sequence[Sample]) -> _Pairs:
        """Pair samples of one input in their order, and then samples of one place in the message."""
        pairs = _Pairs([], [], [])
        left: dict[str, list[Sample]] = {}
        for sample in after:
            left.setdefault(sample[0], []).append(sample)
        alone: list[Sample] = []
        for sample in before:
            same = left.get(sample[0])
            if same:
                equal = same.index(sample) if sample in same else 0
                pairs.both.append((sample, same.pop(equal)))
            else:
                alone.append(sample)
        others = [sample for samples in left.values() for sample in samples]
        there, then = _by_place(alone, self.before), _by_place(others, self.after)
        moved = [(one, then[place]) for place, one in there.items() if place in then]
        pairs.both.extend(moved)
        gone, new = {one for one, _ in moved}, {other for _, other in moved}
        pairs.gone.extend(sample for sample in alone if sample not in gone)
        pairs.new.extend(sample for sample in others if sample not in new)
        return pairs

    def _note(self, kind: Kind, example: Example, before: Sample | None, after: Sample | None) -> None:
        self.in_all += 1
        key = (kind, before[0] if before else "", after[0] if after else "")
        taken = example.taken
        change = self.samples.get(key)
        if change is not None:
            change.count += 1
            change.example = _smaller(change.example, example)
        elif self._full:
            self.further += 1
        else:
            small = _smaller(None, example)
            self.samples[key] = SampleChange(kind, taken.line, taken.record.topic, before, after, small)

    def _note_reject(self, appears: bool, example: Example, reject: Reject) -> None:
        self.in_all += 1
        key = (appears, reject.reason, reject.path or "")
        taken = example.taken
        change = self.rejects.get(key)
        if change is not None:
            change.count += 1
            change.example = _smaller(change.example, example)
        elif self._full:
            self.further += 1
        else:
            small = _smaller(None, example)
            self.rejects[key] = RejectChange(appears, taken.line, taken.record.topic, reject, small)

    @property
    def _full(self) -> bool:
        return len(self.samples) + len(self.rejects) >= _MOST_GROUPS


def _kind(before: Sample, after: Sample) -> Kind:
    if before[0] != after[0]:
        return Kind.RENAMED
    if before[1] == after[1]:
        return Kind.VALUE
    return Kind.TIME if before[2] == after[2] else Kind.BOTH


def _by_place(samples: Iterable[Sample], origin: Callable[[str], Origin | None]) -> dict[tuple[str, str], Sample]:
    """Place in the message → its sample; only places with one sample."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if (place := origin(sample[0])) is not None:
            found.setdefault((place.topic, place.path), []).append(sample)
    return {place: some[0] for place, some in found.items() if len(some) == 1}


def _smaller(known: Example | None, found: Example) -> Example | None:
    if found.size > LARGEST_EXAMPLE or found.taken.record.problem:
        return known
    return found if known is None or found.size < known.size else known
