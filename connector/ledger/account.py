"""The account of messages and values: the messages that came in, and their outcomes. The two sides must balance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag


class Outcome(IntFlag):
    """The outcome of a value. Each outcome is one bit, so that one integer holds several outcomes of a record."""

    INSERTED = 1
    DEAD_LETTERED = 2
    SUPERSEDED = 4
    FILTERED = 8


OUTCOMES = (Outcome.INSERTED, Outcome.DEAD_LETTERED, Outcome.SUPERSEDED, Outcome.FILTERED)
"""All outcomes, the best first."""


@dataclass(slots=True)
class Counts:
    """The number of messages, or values, that came in, and the number with each outcome."""

    received: int = 0
    inserted: int = 0
    dead_lettered: int = 0
    superseded: int = 0
    filtered: int = 0

    def add(self, outcome: Outcome, n: int) -> None:
        """Count `n` more with this outcome."""
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
        """The number with any outcome."""
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
    """The account of one topic: its messages, and the values in these messages."""

    messages: Counts = field(default_factory=Counts)
    samples: Counts = field(default_factory=Counts)

    def __iadd__(self, other: Tally) -> Tally:
        self.messages += other.messages
        self.samples += other.samples
        return self


Tallies = dict[str, Tally]
"""Topic → its account."""


def merge(into: Tallies, other: Mapping[str, Tally]) -> None:
    """Add the account of every topic of `other` to `into`."""
    for topic, tally in other.items():
        mine = into.get(topic)
        if mine is None:
            mine = into[topic] = Tally()
        mine += tally


@dataclass(frozen=True, slots=True)
class Commit:
    """A statement: every record of `partition` up to and including `position` is settled.

    `tallies` is the account of the records that no earlier commit covered.
    """

    source: str
    partition: str
    position: int
    tallies: Tallies


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The position where the reading of a partition begins or goes on, in one log that is kept elsewhere."""

    partition: str
    log: str
    """As `SettledRange.log`."""
    cluster: str
    """The cluster with the log; empty if it is unknown."""
    next: int
    """The first position that is not settled."""


@dataclass(frozen=True, slots=True)
class SettledRange:
    """Positions of a log that is kept elsewhere (Kafka, a file), from `first` to before `next`. All are settled."""

    partition: str
    first: int
    next: int
    records: int
    """The number of positions with a record: a log may have gaps."""
    redelivered: int = 0
    """The number of these records that this ledger had settled before. The ledger has one sum for the whole source, so
    a range that is read back from the ledger has 0."""
    log: str = ""
    """The log that has the positions, such as the ID of a topic: a partition that is made anew has the same name, and
    another log. Empty if it is unknown, or if a partition has one log only."""

    def continues(self, earlier: SettledRange) -> bool:
        """Whether this range begins at the end of `earlier`, in the same log."""
        return self.first == earlier.next and self.log == earlier.log

    def joined(self, later: SettledRange) -> SettledRange:
        """Returns one range for this range and `later`, which must begin at the end of this range, in the same log."""
        return SettledRange(
            self.partition,
            self.first,
            later.next,
            self.records + later.records,
            self.redelivered + later.redelivered,
            self.log,
        )
