"""The partitions that are ours at this moment, and what was read of each. No I/O.

Only this file changes that state. Others look at it, and call the method that says what happened.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from connector.ledger.account import Commit, SettledRange
from connector.records import Chunk
from connector.sources.partitions import OwnedPartition


class Assignment:
    """Our partitions. `settle`, `under_way` and `next_positions` are for any thread; the other methods are for the
    thread that polls (or closes)."""

    def __init__(self) -> None:
        self._partitions = threading.Lock()
        """Protects what is known of each partition: one thread takes, others settle."""
        self._owned: dict[str, OwnedPartition] = {}
        self._ready: deque[Chunk] = deque()
        self._stuck: set[str] = set()
        self._refused: dict[str, int | None] = {}
        self.owned: Mapping[str, OwnedPartition] = MappingProxyType(self._owned)
        """Name of a partition that is ours → the partition."""

    # -- which partitions are ours ----------------------------------------------------------------

    def add(self, new: Iterable[OwnedPartition]) -> None:
        """The group gave us these partitions."""
        with self._partitions:
            self._owned.update((owned.name, owned) for owned in new)

    def remove(self, names: Iterable[str]) -> None:
        """These partitions are not ours any more; their chunks that are ready are dropped, too."""
        names = set(names)
        self.drop_ready(names)
        with self._partitions:
            for name in names:
                self._owned.pop(name, None)
                self._stuck.discard(name)

    # -- where they are read from -----------------------------------------------------------------

    @property
    def stuck(self) -> AbstractSet[str]:
        """Partitions of ours that are not read, since the broker refused their position."""
        return self._stuck

    @property
    def refused(self) -> Mapping[str, int | None]:
        """Partition → the position that the broker refused, None for the group's position; until the partition begins
        anew."""
        return self._refused

    def position_refused(self, name: str) -> None:
        """The broker does not have our position in this partition: the partition is stuck."""
        owned = self._owned.get(name)
        if owned is not None and name not in self._stuck:
            self._stuck.add(name)
            self._refused[name] = owned.next_taken

    def assigned(self, owned: OwnedPartition, offset: int | None) -> None:
        """librdkafka reads the partition from `offset`; None: from wherever the group's position is."""
        self._stuck.discard(owned.name)
        if offset is None:
            return
        self._refused.pop(owned.name, None)
        with self._partitions:
            owned.begin_at(offset)

    # -- what is read of them ---------------------------------------------------------------------

    def take(self, owned: OwnedPartition, positions: Sequence[int], chunk: Chunk) -> None:
        """These positions were read, and became this chunk, which is ready to be given out."""
        with self._partitions:
            owned.take(positions)
        self._ready.append(chunk)

    @property
    def is_ready(self) -> bool:
        """Whether a chunk is ready to be given out."""
        return bool(self._ready)

    def give_out(self) -> Chunk | None:
        """The next chunk that is ready; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def drop_ready(self, names: Collection[str]) -> None:
        """Drop the chunks of these partitions that were not given out yet."""
        kept = [chunk for chunk in self._ready if chunk.partition not in names]
        if len(kept) < len(self._ready):
            self._ready.clear()
            self._ready.extend(kept)

    # -- how far they are settled -----------------------------------------------------------------

    def settle(self, commit: Commit) -> list[SettledRange] | None:
        """The ranges that this commit settles and that were not settled before; None if the partition is not ours any
        more."""
        with self._partitions:
            owned = self._owned.get(commit.partition)
            return None if owned is None else owned.settle(commit.position)

    def under_way(self, names: Iterable[str]) -> bool:
        """Whether any record that was taken from these partitions is not settled."""
        with self._partitions:
            return any(owned.under_way for name in names if (owned := self._owned.get(name)))

    def next_positions(self) -> dict[str, int | None]:
        """Partition → the position that is taken next; None while that is not known."""
        with self._partitions:
            return {name: found.next_taken for name, found in self._owned.items()}
