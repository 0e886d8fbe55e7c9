"""The state of a partition of this process: how far it was read, and how far it is settled. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from connector.ledger.account import SettledRange


def partition_name(topic: str, number: int) -> str:
    """Returns the name of a partition in chunks, commits, the ledger and the log, such as `topic[3]`."""
    return f"{topic}[{number}]"


def split_partition_name(name: str) -> tuple[str, int]:
    """(topic, number) of the partition with this name."""
    topic, _, number = name.rpartition("[")
    return topic, int(number[:-1])


@dataclass(frozen=True, slots=True)
class _Taken:
    """One chunk that was given out, and is not settled yet."""

    last: int
    """The position of its last record."""
    range: SettledRange


class OwnedPartition:
    """One partition, from its assignment until it is given away."""

    def __init__(
        self, topic: str, number: int, start: int | None, covered: Sequence[SettledRange] = (), log: str = ""
    ) -> None:
        """`start` is the group's position; None if there is no position, or if it is not known yet.

        `covered` has the ranges of the log `log` that this ledger has settled before, in order. They may overlap.
        """
        self.topic = topic
        self.number = number
        self.name = partition_name(topic, number)
        self.log = log
        """As `SettledRange.log`."""
        self.next_taken = start
        """The next position to take; None if it is not known."""
        self._taken: deque[_Taken] = deque()
        self._firsts = [found.first for found in covered]
        self._nexts: list[int] = []
        for found in covered:  # ranges may overlap: the end is the largest end of all ranges up to this one
            self._nexts.append(max(found.next, self._nexts[-1] if self._nexts else 0))
        self._covered_to = self._nexts[-1] if self._nexts else 0

    @property
    def under_way(self) -> bool:
        """Whether a record that was taken is not settled yet."""
        return bool(self._taken)

    def name_log(self, log: str) -> None:
        """Give a name to the log of the records that were taken, and of those that follow."""
        self.log = log
        self._taken = deque(replace(taken, range=replace(taken.range, log=log)) for taken in self._taken)

    def begin_at(self, position: int) -> None:
        """Go on taking at `position`; the records before it are skipped."""
        self.next_taken = position

    def take(self, positions: Sequence[int]) -> None:
        """Record that a chunk with these positions was given out."""
        first = positions[0] if self.next_taken is None else self.next_taken
        self.next_taken = positions[-1] + 1
        redelivered = 0
        if first < self._covered_to:
            redelivered = sum(1 for position in positions if self._is_covered(position))
        taken = SettledRange(self.name, first, self.next_taken, len(positions), redelivered, self.log)
        self._taken.append(_Taken(positions[-1], taken))

    def step_over(self, end: int) -> SettledRange | None:
        """Record that no record before `end` is left to take: there are only markers of transactions, and the like.

        Returns the positions that are settled by this at once. Positions after a record that is not settled yet are
        settled with this record.
        """
        first, self.next_taken = self.next_taken, end if self.next_taken is None else max(self.next_taken, end)
        if first is None or first >= end:
            return None
        if not self._taken:
            return SettledRange(self.name, first, end, 0, log=self.log)
        self._taken[-1] = replace(self._taken[-1], range=replace(self._taken[-1].range, next=end))
        return None

    def settle(self, position: int) -> list[SettledRange]:
        """Settle all chunks up to `position`; returns the newly settled ranges, joined where there is no gap."""
        found: list[SettledRange] = []
        while self._taken and self._taken[0].last <= position:
            taken = self._taken.popleft()
            part = taken.range
            if found and part.continues(found[-1]):
                found[-1] = found[-1].joined(part)
            else:  # the first range, or a range after a reset of the position
                found.append(part)
            if taken.last == position:  # after a reset, later chunks may have lower positions
                break
        return found

    def _is_covered(self, position: int) -> bool:
        index = bisect_right(self._firsts, position) - 1
        return index >= 0 and position < self._nexts[index]
