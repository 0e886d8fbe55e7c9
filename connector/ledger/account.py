"""What became of messages and values: outcomes, and the tallies that must balance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag


class Outcome(IntFlag):
    """What became of a value. The values are bits, so that a record can remember several."""

    INSERTED = 1
    DEAD_LETTERED = 2
    SUPERSEDED = 4
    FILTERED = 8


OUTCOMES = (Outcome.INSERTED, Outcome.DEAD_LETTERED, Outcome.SUPERSEDED, Outcome.FILTERED)


@dataclass(slots=True)
class Counts:
    """How many came in and what became of them."""

    received: int = 0
    inserted: int = 0
    dead_lettered: int = 0
    superseded: int = 0
    filtered: int = 0

    def add(self, outcome: Outcome, n: int) -> None:
        """Count `n` of this outcome."""
        if outcome is Outcome.INSERTED:
            self.inserted += n
        elif outcome is Outcome.DEAD_LETTERED:
            self.dead_lettered += n
        elif outcome is Outcome.SUPERSEDED:
            self.superseded += n
        else:
            self.filtered += n

    @property
    def settled(self) -> int:
        """All that reached an end."""
        return self.inserted + self.dead_lettered + self.superseded + self.filtered

    def __iadd__(self, other: Counts) -> Counts:
        self.received += other.received
        self.inserted += other.inserted
        self.dead_lettered += other.dead_lettered
        self.superseded += other.superseded
        self.filtered += other.filtered
        return self


@dataclass(slots=True)
class Tally:
    """One topic's account: messages, and the values in them."""

    messages: Counts = field(default_factory=Counts)
    samples: Counts = field(default_factory=Counts)

    def __iadd__(self, other: Tally) -> Tally:
        self.messages += other.messages
        self.samples += other.samples
        return self


Tallies = dict[str, Tally]
"""Topic → its account."""


def merge(into: Tallies, other: Mapping[str, Tally]) -> None:
    """Add every topic of `other` to `into`."""
    for topic, tally in other.items():
        mine = into.get(topic)
        if mine is None:
            mine = into[topic] = Tally()
        mine += tally


@dataclass(frozen=True, slots=True)
class Commit:
    """All of `partition` up to and including `position` is settled, with the account of what is new in it."""

    source: str
    partition: str
    position: int
    tallies: Tallies
