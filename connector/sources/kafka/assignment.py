"""What is ours at this moment, and what was read of it. No I/O."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable

from connector.ledger.account import Commit, SettledRange
from connector.records import Chunk
from connector.sources.partitions import OwnedPartition


class Assignment:
    """Our partitions. The thread that polls (or closes) changes which they are; `settle` comes from any."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Around what is known of each partition: one thread takes, others settle."""
        self.owned: dict[str, OwnedPartition] = {}
        self.ready: deque[Chunk] = deque()
        """Read, and not given out yet."""
        self.stuck: set[str] = set()
        """Partitions that are not read, since their position is not valid."""
        self.refused: dict[str, int | None] = {}
        """Partition → the position that the broker refused, None for the group's; until it has begun anew."""

    def add(self, new: Iterable[OwnedPartition]) -> None:
        """These are ours from now on."""
        with self.lock:
            self.owned |= {owned.name: owned for owned in new}

    def remove(self, names: Iterable[str]) -> None:
        """These are not ours any more."""
        with self.lock:
            for name in names:
                self.owned.pop(name, None)
                self.stuck.discard(name)

    def drop_ready(self, names: Collection[str]) -> None:
        """What was not given out of these yet is not begun any more."""
        self.ready = deque(chunk for chunk in self.ready if chunk.partition not in names)

    def settle(self, commit: Commit) -> list[SettledRange] | None:
        """What this commit settles that was not settled before; None if the partition is not ours any more."""
        with self.lock:
            owned = self.owned.get(commit.partition)
            return None if owned is None else owned.settle(commit.position)

    def under_way(self, names: Iterable[str]) -> bool:
        """Whether anything that was taken of these is not settled."""
        with self.lock:
            return any(owned.under_way for name in names if (owned := self.owned.get(name)))

    def next_positions(self) -> dict[str, int | None]:
        """Partition → what is taken next."""
        with self.lock:
            return {name: found.next_taken for name, found in self.owned.items()}

    def is_stuck(self, name: str) -> None:
        """Its position is not valid; it is not read any more."""
        owned = self.owned.get(name)
        if owned is not None and name not in self.stuck:
            self.stuck.add(name)
            self.refused[name] = owned.next_taken
