"""The partitions that this member has at this moment, and how far each is read and settled. No I/O.

Only this file changes that state. Other modules read the state, and call a method to report an event.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from confluent_kafka import Message, TopicPartition

from connector.ledger.account import Commit, SettledRange
from connector.records import Chunk
from connector.sources.kafka.identity import LogIdentity, LogRead, Position
from connector.sources.partitions import OwnedPartition


class Assignment:
    """The partitions of this member.

    Any thread may call `settle`, `under_way` and `next_positions`. Only the thread that polls (or closes) may call the
    other methods.
    """

    def __init__(self) -> None:
        self._partitions = threading.Lock()
        """Protects the positions of each partition: one thread takes records in, other threads settle them."""
        self._owned: dict[str, OwnedPartition] = {}
        self._ready: deque[Chunk] = deque()
        self._stuck: set[str] = set()
        self._refused: dict[str, int | None] = {}
        self._logs: dict[str, LogRead] = {}
        self.owned: Mapping[str, OwnedPartition] = MappingProxyType(self._owned)
        """Name of a partition → the partition, for the partitions of this member."""

    # -- the partitions of this member ------------------------------------------------------------

    def add(self, new: Iterable[OwnedPartition]) -> None:
        """Add partitions that the group has assigned to this member."""
        with self._partitions:
            self._owned.update((owned.name, owned) for owned in new)

    def remove(self, names: Iterable[str]) -> None:
        """Remove partitions that this member no longer has, and drop their chunks that are ready."""
        names = set(names)
        self.drop_ready(names)
        with self._partitions:
            for name in names:
                self._owned.pop(name, None)
                self._logs.pop(name, None)
                self._stuck.discard(name)

    # -- the positions where reading begins -------------------------------------------------------

    @property
    def stuck(self) -> AbstractSet[str]:
        """Partitions of this member that are not read, since their position is not valid."""
        return self._stuck

    @property
    def refused(self) -> Mapping[str, int | None]:
        """Partition → the position that the broker refused; None stands for the group's position.

        An entry stays until the partition is assigned with a known offset.
        """
        return self._refused

    def position_refused(self, name: str) -> None:
        """Mark a partition as stuck: its log does not have the next position to read, or is another log."""
        owned = self._owned.get(name)
        if owned is not None and name not in self._stuck:
            self._stuck.add(name)
            self._refused[name] = owned.next_taken

    def assigned(self, owned: OwnedPartition, offset: int | None, at: Position) -> None:
        """Record that librdkafka reads the partition from `offset`; None stands for the group's position.

        `at` is the same position, with its log.
        """
        self._stuck.discard(owned.name)
        self._logs[owned.name] = LogRead(at)
        if offset is None:
            return
        self._refused.pop(owned.name, None)
        with self._partitions:
            owned.begin_at(offset)

    # -- the logs of the partitions ---------------------------------------------------------------

    def log(self, name: str) -> LogIdentity | None:
        """The identity of the log that is read in a partition of this member; None while reading has not begun."""
        return self._logs[name].identity if name in self._logs else None

    def log_found(self, name: str, identity: LogIdentity) -> None:
        """Record the identity of a log that was unknown when reading began."""
        self._logs[name].identity = identity
        with self._partitions:
            self._owned[name].name_log(identity.log)

    def continues(self, owned: OwnedPartition, before: Message) -> bool:
        """Whether the log may go on from `before`, a message before the next position; else the partition is stuck."""
        log = self._logs.get(owned.name)
        if log is not None and not log.continues(before):
            self.position_refused(owned.name)
        return owned.name not in self._stuck

    def position(self, name: str, offset: int) -> Position:
        """A position of this member, with its log and its leader epoch."""
        return self._logs[name].position(offset) if name in self._logs else Position(offset)

    def to_commit(self, name: str, offset: int) -> TopicPartition | None:
        """A position to commit, with a note about its log; None if this member does not read the partition."""
        owned, log = self._owned.get(name), self._logs.get(name)
        return None if owned is None or log is None else log.at(owned.topic, owned.number, offset)

    # -- the chunks that were read ----------------------------------------------------------------

    def take(self, owned: OwnedPartition, positions: Sequence[int], chunk: Chunk, messages: Sequence[Message]) -> None:
        """Record that the positions of `messages` were read; `chunk` holds their records and is ready to be given out.

        Nothing is taken from a partition that is stuck: the records may be from another log.
        """
        if owned.name in self._stuck:
            return
        if owned.name in self._logs:
            self._logs[owned.name].read(messages)
        with self._partitions:
            owned.take(positions)
        self._ready.append(chunk)

    def step_over(self, name: str, end: int) -> SettledRange | None:
        """Record that a partition has no more records before `end`, as `OwnedPartition.step_over`."""
        with self._partitions:
            owned = self._owned.get(name)
            if owned is None or name in self._stuck:
                return None
            if name in self._logs and (owned.next_taken is None or owned.next_taken < end):
                self._logs[name].stepped_over(end)
            return owned.step_over(end)

    @property
    def is_ready(self) -> bool:
        """Whether a chunk is ready to be given out."""
        return bool(self._ready)

    def give_out(self) -> Chunk | None:
        """Returns the next chunk that is ready; None if no chunk is ready."""
        return self._ready.popleft() if self._ready else None

    def drop_ready(self, names: Collection[str]) -> None:
        """Drop the chunks of the partitions `names` that were not given out yet."""
        kept = [chunk for chunk in self._ready if chunk.partition not in names]
        if len(kept) < len(self._ready):
            self._ready.clear()
            self._ready.extend(kept)

    # -- the settled positions --------------------------------------------------------------------

    def settle(self, commit: Commit) -> list[SettledRange] | None:
        """Returns the ranges that the commit settles and that were not settled before.

        Returns None if this member no longer has the partition.
        """
        with self._partitions:
            owned = self._owned.get(commit.partition)
            return None if owned is None else owned.settle(commit.position)

    def under_way(self, names: Iterable[str]) -> bool:
        """Whether a record that was read from the partitions `names` is not settled yet."""
        with self._partitions:
            return any(owned.under_way for name in names if (owned := self._owned.get(name)))

    def next_positions(self) -> dict[str, int | None]:
        """Partition → the next position to read; None while the position is unknown."""
        with self._partitions:
            return {name: found.next_taken for name, found in self._owned.items()}
