"""What is known of each partition that is ours: what was taken from it, and how far it is settled. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from connector.ledger.account import SettledRange


def partition_name(topic: str, number: int) -> str:
    """How a partition is called in chunks, commits, the ledger and the log: `topic[3]`."""
    return f"{topic}[{number}]"


def split_partition_name(name: str) -> tuple[str, int]:
    """Topic and number of a partition that is called so."""
    topic, _, number = name.rpartition("[")
    return topic, int(number[:-1])


@dataclass(frozen=True, slots=True)
class _Taken:
    """One chunk that was given out."""

    last: int
    range: SettledRange


class OwnedPartition:
    """One partition from its assignment to its end."""

    def __init__(self, topic: str, number: int, start: int | None, covered: Sequence[SettledRange] = ()) -> None:
        """`start` is the group's position, None if there is none or it is not known yet; `covered` is what this
        ledger has settled of it before, in order."""
        self.topic = topic
        self.number = number
        self.name = partition_name(topic, number)
        self.next_taken = start
        """Position after the last record that was taken."""
        self._taken: deque[_Taken] = deque()
        self._firsts = [found.first for found in covered]
        self._nexts: list[int] = []
        for found in covered:  # ranges may overlap: what is covered up to here by any of them
            self._nexts.append(max(found.next, self._nexts[-1] if self._nexts else 0))
        self._covered_to = self._nexts[-1] if self._nexts else 0

    @property
    def under_way(self) -> bool:
        """Whether anything that was taken is not settled."""
        return bool(self._taken)

    def begin_at(self, position: int) -> None:
        """What is taken next begins here: the log has nothing before it, or we were told not to look."""
        self.next_taken = position

    def take(self, positions: Sequence[int]) -> None:
        """These records were given out."""
        first = positions[0] if self.next_taken is None else self.next_taken
        self.next_taken = positions[-1] + 1
        redelivered = 0
        if first < self._covered_to:
            redelivered = sum(1 for position in positions if self._is_covered(position))
        taken = SettledRange(self.name, first, self.next_taken, len(positions), redelivered)
        self._taken.append(_Taken(positions[-1], taken))

    def settle(self, position: int) -> list[SettledRange]:
        """Everything up to this position is settled: what is new of it, in ranges without a gap."""
        found: list[SettledRange] = []
        while self._taken and self._taken[0].last <= position:
            part = self._taken.popleft().range
            if found and found[-1].next == part.first:
                found[-1] = found[-1].joined(part)
            else:  # the first, or a reset lies between
                found.append(part)
        return found

    def _is_covered(self, position: int) -> bool:
        index = bisect_right(self._firsts, position) - 1
        return index >= 0 and position < self._nexts[index]
