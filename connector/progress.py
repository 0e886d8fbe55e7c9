"""Which positions are settled, and the ledger that must balance. No I/O.

Theory of operation. Every sample that waits carries a *token*: the number of its chunk and the index of its
record in that chunk, in one integer. A chunk counts how many of its values are still open; settling names
tokens and an outcome. When nothing of a chunk is open, the chunk is settled; a position is committed only
when every chunk before it in its partition is settled too (the contiguous prefix). What a commit carries is
the tally of its chunks: per topic, how many messages and values came in and what became of them. Only this
file changes these numbers.

One sample may stand for several values (the value of a window): its token is that of a *bundle*, a negative number.
When it is settled, the value that came last has its outcome, and the others are filtered.

A partition that goes to another owner is *forgotten*: its open chunks are abandoned, never committed, and what is
settled of them later (a request was on its way) is counted as late.

A message counts once, as the best that happened to it: inserted, else dead-lettered, else superseded, else
filtered. Values count each by itself.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag

from connector.records import Chunk, Mapped

INDEX_BITS = 20
MAX_CHUNK = 1 << INDEX_BITS
"""Records in one chunk at most: the index has to fit into the token."""
_MAX_TOPICS = 100_000


class Outcome(IntFlag):
    """What became of a value. The values are bits, so that a record can remember several."""

    INSERTED = 1
    DEAD_LETTERED = 2
    SUPERSEDED = 4
    FILTERED = 8


OUTCOMES = (Outcome.INSERTED, Outcome.DEAD_LETTERED, Outcome.SUPERSEDED, Outcome.FILTERED)


class ProgressError(Exception):
    """A value was settled twice, or a record had no outcome: a bug, never the user's doing."""


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


@dataclass(slots=True)
class _OpenChunk:
    """One chunk under way; kept small, since hundreds of thousands of records may wait in small chunks."""

    source: str
    partition: str
    positions: Sequence[int]
    topics: list[str]
    values: array[int]
    """How many values each record has, rejected and filtered ones included."""
    left: array[int]
    """How many of them are still open."""
    fates: bytearray
    """Which outcomes each record has had, as bits."""
    others: dict[tuple[str, Outcome], int]
    """(topic, outcome) → values that were not inserted."""
    inserted: int = 0
    open: int = 0
    """Sum of `left`."""


class Progress:
    """Chunks under way, over all sources. The caller holds one lock around every call."""

    def __init__(self) -> None:
        self._next = 1
        self._chunks: dict[int, _OpenChunk] = {}
        self._order: dict[tuple[str, str], deque[int]] = {}
        self.open_records = 0
        self.received_records = 0
        self.received_samples = 0
        self.abandoned_records = 0
        self.abandoned_samples = 0
        self.late_samples = 0
        """Settled after their partition was forgotten."""
        self._abandoned: dict[int, _OpenChunk] = {}
        self._bundles: dict[int, tuple[int, Mapping[int, int]]] = {}
        """Token of a bundle → the token of its last value, and the tokens of all of them."""
        self._next_bundle = -1
        self._topics: dict[str, str] = {}
        """One string object a topic: chunks remember the topic of every open record."""

    def begin(self, chunk: Chunk, mapped: list[Mapped]) -> int:
        """Take over the bookkeeping of a chunk; what mapping rejected or filtered is settled at once.

        Returns the token of the chunk's first record; record i has that token plus i.
        """
        if not 0 < len(chunk.records) == len(mapped) <= MAX_CHUNK:
            raise ProgressError(f"a chunk of {len(chunk.records)} records with {len(mapped)} results")
        number = self._next
        self._next += 1
        if len(self._topics) > _MAX_TOPICS:
            self._topics.clear()
        topics = [self._topics.setdefault(record.topic, record.topic) for record in chunk.records]
        opened = _OpenChunk(
            chunk.source, chunk.partition, chunk.positions, topics, array("I"), array("I"), bytearray(len(topics)), {}
        )
        counts = [
            0 if result.rejects or result.filtered or result.skipped else len(result.samples) for result in mapped
        ]
        if all(counts):  # mostly, every record gave samples and nothing else
            opened.values.extend(counts)
            opened.left.extend(counts)
            opened.open = sum(counts)
        else:
            _open_one_by_one(opened, mapped)
        self._chunks[number] = opened
        self._order.setdefault((chunk.source, chunk.partition), deque()).append(number)
        self.open_records += len(topics)
        self.received_records += len(topics)
        self.received_samples += sum(opened.values)
        return number << INDEX_BITS

    def bundle(self, tokens: Mapping[int, int], last: int) -> int:
        """A token for one sample that stands for all these values, of which `last` came last."""
        token = self._next_bundle
        self._next_bundle -= 1
        self._bundles[token] = (last, tokens)
        return token

    def _unbundled(self, tokens: Mapping[int, int]) -> tuple[dict[int, int], Counter[int]]:
        """The tokens with each bundle's last value in its place, and the other values of the bundles."""
        found = {token: n for token, n in tokens.items() if token >= 0}
        others: Counter[int] = Counter()
        for token in tokens:
            if token < 0:
                if token not in self._bundles:
                    raise ProgressError(f"bundle {token} was settled that was not open")
                last, all_of_it = self._bundles.pop(token)
                others.update(all_of_it)
                others[last] -= 1
                found[last] = found.get(last, 0) + 1
        return found, +others

    def settle(self, tokens: Mapping[int, int], outcome: Outcome) -> None:
        """Settle values: token → how many values of that record, all with this outcome."""
        if self._bundles and min(tokens, default=0) < 0:
            tokens, others = self._unbundled(tokens)
            self.settle(others, Outcome.FILTERED)
        chunks = self._chunks
        for token, n in tokens.items():
            number = token >> INDEX_BITS
            chunk = chunks.get(number)
            if chunk is None and number in self._abandoned:
                self._take_late(number, n)
                self.late_samples += n
                continue
            index = token & (MAX_CHUNK - 1)
            if chunk is None or index >= len(chunk.left) or chunk.left[index] < n:
                raise ProgressError(f"token {token}: {n} values settled that were not open")
            chunk.left[index] -= n
            chunk.open -= n
            chunk.fates[index] |= outcome
            if outcome is Outcome.INSERTED:
                chunk.inserted += n
            else:
                _add(chunk.others, (chunk.topics[index], outcome), n)

    def commits(self) -> list[Commit]:
        """What can be committed now: one commit for each partition whose settled prefix has grown."""
        ready = []
        for (source, partition), order in self._order.items():
            tallies: Tallies = {}
            position: int | None = None
            while order and self._chunks[order[0]].open == 0:
                chunk = self._chunks.pop(order.popleft())
                merge(tallies, _close(chunk))
                self.open_records -= len(chunk.topics)
                position = chunk.positions[-1]
            if position is not None:
                ready.append(Commit(source, partition, position, tallies))
        return ready

    def only_open(self, source: str, partitions: Collection[str], tokens: Iterable[int]) -> bool:
        """Whether all that is open in these partitions are these values."""
        held = Counter(token >> INDEX_BITS for token in tokens)
        numbers = [n for partition in partitions for n in self._order.get((source, partition), ())]
        return all(self._chunks[number].open == held[number] for number in numbers)

    def open_in(self, source: str, partitions: Collection[str]) -> bool:
        """Whether anything of these partitions is under way."""
        return any(self._order.get((source, partition)) for partition in partitions)

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Abandon what is under way in these partitions; returns how many records that were."""
        records = 0
        for partition in partitions:
            for number in self._order.pop((source, partition), ()):
                chunk = self._chunks.pop(number)
                records += len(chunk.topics)
                self.abandoned_samples += sum(chunk.values)
                if chunk.open:
                    self._abandoned[number] = chunk
        self.open_records -= records
        self.abandoned_records += records
        return records

    @property
    def any_abandoned(self) -> bool:
        """Whether samples of abandoned chunks may still be on their way."""
        return bool(self._abandoned)

    def is_abandoned(self, token: int) -> bool:
        """Whether this record's partition was forgotten while it was under way; of a bundle, those of all values."""
        if token < 0:
            return all(one >> INDEX_BITS in self._abandoned for one in self._bundles[token][1])
        return token >> INDEX_BITS in self._abandoned

    def dropped(self, tokens: Mapping[int, int]) -> None:
        """Values of abandoned chunks will not be sent: token → how many."""
        if min(tokens, default=0) < 0:
            tokens, others = self._unbundled(tokens)
            self.dropped(others)
        for token, n in tokens.items():
            self._take_late(token >> INDEX_BITS, n)

    def _take_late(self, number: int, n: int) -> None:
        chunk = self._abandoned[number]
        if chunk.open < n:
            raise ProgressError(f"chunk {number}: {n} values settled late, but only {chunk.open} were open")
        chunk.open -= n
        if not chunk.open:
            del self._abandoned[number]

    def locate(self, token: int) -> tuple[str, str, int, str]:
        """(source, partition, position, topic) of a record that is still under way."""
        if token < 0:
            token = self._bundles[token][0]
        number = token >> INDEX_BITS
        chunk = self._chunks.get(number) or self._abandoned[number]
        index = token & (MAX_CHUNK - 1)
        return chunk.source, chunk.partition, chunk.positions[index], chunk.topics[index]


def _open_one_by_one(opened: _OpenChunk, mapped: list[Mapped]) -> None:
    """Book what each record gave: what mapping rejected or filtered is settled at once."""
    for i, (topic, result) in enumerate(zip(opened.topics, mapped, strict=True)):
        waiting, filtered = len(result.samples), result.filtered
        rejected = sum(1 for reject in result.rejects if reject.path is not None) if result.rejects else 0
        opened.values.append(waiting + rejected + filtered)
        opened.left.append(waiting)
        opened.open += waiting
        if result.rejects:
            opened.fates[i] |= Outcome.DEAD_LETTERED
            _add(opened.others, (topic, Outcome.DEAD_LETTERED), rejected)
        if filtered or result.skipped:
            opened.fates[i] |= Outcome.FILTERED
            _add(opened.others, (topic, Outcome.FILTERED), filtered)
        if not waiting and not opened.fates[i]:
            raise ProgressError(f"a record of topic {topic!r} has no outcome")


def _add(counts: dict[tuple[str, Outcome], int], key: tuple[str, Outcome], n: int) -> None:
    counts[key] = counts.get(key, 0) + n


def _close(chunk: _OpenChunk) -> Tallies:
    """The account of a chunk in which nothing is open."""
    tallies: Tallies = {}
    for topic, values, fate in zip(chunk.topics, chunk.values, chunk.fates, strict=True):
        tally = tallies.get(topic)
        if tally is None:
            tally = tallies[topic] = Tally()
        tally.messages.received += 1
        tally.samples.received += values
        for outcome in OUTCOMES:
            if fate & outcome:
                tally.messages.add(outcome, 1)
                break
        else:
            raise ProgressError(f"a record of topic {topic!r} was closed without an outcome")
    for (topic, outcome), n in chunk.others.items():
        tallies[topic].samples.add(outcome, n)
    inserted = 0
    for topic, tally in tallies.items():
        tally.samples.inserted = tally.samples.received - tally.samples.settled
        if tally.samples.inserted < 0:
            raise ProgressError(f"the account of topic {topic!r} does not balance: {tally}")
        inserted += tally.samples.inserted
    if inserted != chunk.inserted:
        raise ProgressError(f"{chunk.inserted} values were inserted, but the account says {inserted}")
    return tallies
