"""Truth against evidence: what is lost, what was invented. Pure functions."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.chaos.harness.messages import Message, stream_of

_JUST_BEFORE_US: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a run may miss because of one accident."""

    marks: frozenset[str] = frozenset()
    reported: int = 0
    """How many messages the connector says are missing: never more than these may be."""


Stored = Mapping[tuple[str, int], tuple[float, int]]
"""(input ID, time in µs) → (value, when it was stored, in µs)."""


@dataclass(slots=True)
class Verdict:
    """What became of what was published, in messages; every message has one sample, or is poison."""

    published: int = 0
    inserted: int = 0
    dead_lettered: int = 0
    lost: list[str] = field(default_factory=list)
    """Marks of messages that are nowhere, and that nobody reported."""
    lost_and_reported: list[str] = field(default_factory=list)
    """Marks of messages that an accident itself destroyed, and that the connector reported."""
    invented: list[str] = field(default_factory=list)
    """Samples and dead letters of what nobody published."""


def judge(truth: Iterable[Message], stored: Stored, letters: Iterable[str], allowed: Sequence[Allowed] = ()) -> Verdict:
    """`letters` are the marks of the dead letters; `allowed` has what may be missing, accident by accident."""
    verdict = Verdict()
    marks = set(letters)
    unknown = set(stored)
    known = set()
    for message in truth:
        verdict.published += 1
        known.add(message.mark)
        found = stored.get(message.key) if message.key else None
        if message.key and found:
            unknown.discard(message.key)
            verdict.inserted += 1
            if found[0] != message.value:
                verdict.invented.append(f"{message.key}: {found[0]} instead of {message.value}")
        elif message.mark in marks:
            verdict.dead_lettered += 1
        else:
            verdict.lost.append(message.mark)
    for accident in allowed:
        missing = [mark for mark in verdict.lost if mark in accident.marks]
        if len(missing) <= accident.reported:
            verdict.lost_and_reported += missing
            verdict.lost = [mark for mark in verdict.lost if mark not in accident.marks]
    verdict.invented += [f"sample {key}" for key in sorted(unknown)]
    verdict.invented += [f"dead letter of {mark or 'an unknown message'}" for mark in sorted(marks - known)]
    return verdict


@dataclass(frozen=True, slots=True)
class Lifted:
    """A fault that is over, when it began and ended (µs since the epoch), and the streams that it held up."""

    kind: str
    begin_us: int
    end_us: int
    streams: tuple[str, ...]


def resumed(lifted: Sequence[Lifted], stored: Stored, truth: Iterable[Message]) -> dict[str, dict[str, float]]:
    """For each kind of fault: how often, and the seconds from its end until every stream that it had held up was
    stored again, in the middle and at worst. Only those count beside which nothing else held these streams up."""
    stream = {message.key: stream_of(message.mark) for message in truth if message.key}
    moments: dict[str, list[int]] = {}
    for key, (_, at) in stored.items():
        if key in stream:
            moments.setdefault(stream[key], []).append(at)
    for times in moments.values():
        times.sort()
    seconds: dict[str, list[float]] = {}
    for fault in lifted:
        waits = [_next_after(moments.get(name, []), fault.end_us) for name in fault.streams]
        if not waits or None in waits:
            continue
        longest = max(wait for wait in waits if wait is not None)
        if not any(_beside(fault, other, longest) for other in lifted if other is not fault):
            seconds.setdefault(fault.kind, []).append(longest)
    return {
        kind: {"times": len(found), "median_s": round(statistics.median(found), 1), "max_s": round(max(found), 1)}
        for kind, found in sorted(seconds.items())
    }


def _beside(fault: Lifted, other: Lifted, seconds: float) -> bool:
    """Whether the other one held the same up, between the end of this one and so many seconds later, or just before."""
    just_before = fault.end_us - _JUST_BEFORE_US
    same = bool(set(fault.streams) & set(other.streams))
    return same and other.begin_us < fault.end_us + seconds * 1e6 and other.end_us > just_before


def _next_after(times: Sequence[int], at: int) -> float | None:
    place = bisect_right(times, at)
    return (times[place] - at) / 1e6 if place < len(times) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run says in the end."""

    seed: int
    cycles: int
    published: int
    inserted: int
    dead_lettered: int
    lost: int
    lost_and_reported: int
    invented: int
    duplicates_sent: int
    published_again: int
    kills: int
    cuts: int
    balanced: bool
    seconds: float
    drained_seconds: float
    faults: Mapping[str, int]
    left_out: Mapping[str, str]
    resumed: Mapping[str, Mapping[str, float]]
    duplicates_after: Mapping[str, int]
    """Samples sent again after each kind of fault, on average: known where a fault was alone in its cycle."""
    exits: int
    problems: Sequence[str]
    folder: str

    @property
    def good(self) -> bool:
        """Whether nothing is lost, nothing invented, and all accounts are right."""
        return not (self.lost or self.invented or self.problems) and self.balanced

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
