"""Which positions are settled, and the ledger that must balance. No I/O.

Theory of operation. Every sample that waits carries a *token*: the number of its chunk and the index of its
record in that chunk, in one integer. A chunk counts how many of its values are still open; settling names
tokens and an outcome. When nothing of a chunk is open, the chunk is settled; a position is committed only
when every chunk before it in its partition is settled too (the contiguous prefix). What a commit carries is
the tally of its chunks: per topic, how many messages and values came in and what became of them. Only this
file changes these numbers.

A chunk that is taken in in parts is committed as a whole: its source may remove what it gave as one.

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
from dataclasses import dataclass

from connector.ledger.account import OUTCOMES, Commit, Counts, Outcome, Tallies, Tally, merge
from connector.records import Chunk, Mapped, Part, Rows

INDEX_BITS = 20
MAX_CHUNK = 1 << INDEX_BITS
"""Records in one chunk at most: the index has to fit into the token."""
_INDEX = MAX_CHUNK - 1
_MAX_TOPICS = 100_000
_MAX_TOPICS_LENGTH = 16 * 1024 * 1024


_FILTERED = int(Outcome.FILTERED)
_BEST = tuple(next((outcome for outcome in OUTCOMES if fates & outcome), None) for fates in range(1 << len(OUTCOMES)))
"""Bits of a record's outcomes → the one it counts as."""


class ProgressError(Exception):
    """A value was settled twice, or a record had no outcome: a bug, never the user's doing."""


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
    more: bool
    """Whether the rest of what its source gave as one follows."""
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
        self.open_topics = 0
        """Characters in the topics of the open records: they may be long, and each another one."""
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
        self._topics_length = 0

    def begin(self, chunk: Chunk, parts: Sequence[Part], *, more: bool = False) -> int:
        """Take over the bookkeeping of a chunk; what mapping rejected or filtered is settled at once. With `more` it is
        a part of what its source gave as one, whose rest follows: nothing of it is committed before that.

        Returns the token of the chunk's first record; record i has that token plus i.
        """
        size = len(chunk.records)
        mapped = sum(len(part.indexes) if isinstance(part, Rows) else 1 for _, part in parts)
        if not 0 < size == mapped <= MAX_CHUNK:
            raise ProgressError(f"a chunk of {size} records with {mapped} results")
        number = self._next
        self._next += 1
        if len(self._topics) > _MAX_TOPICS or self._topics_length > _MAX_TOPICS_LENGTH:
            self._topics.clear()
            self._topics_length = 0
        known = len(self._topics)
        topics = self._kept([record.topic for record in chunk.records])
        length = _length(topics)
        if len(self._topics) > known:
            self._topics_length += length
        self.open_topics += length
        none = array("I", bytes(4 * size))
        opened = _OpenChunk(
            chunk.source, chunk.partition, chunk.positions, topics, none, none[:], bytearray(size), {}, more
        )
        for index, part in parts:
            if isinstance(part, Rows):
                _open_rows(opened, part)
            else:
                _open_one(opened, index, part)
        opened.open = sum(opened.left)
        self._chunks[number] = opened
        self._order.setdefault((chunk.source, chunk.partition), deque()).append(number)
        self.open_records += size
        self.received_records += size
        self.received_samples += sum(opened.values)
        return number << INDEX_BITS

    def _kept(self, topics: list[str]) -> list[str]:
        """The same topics, as the string objects that we keep anyway."""
        keep = self._topics.setdefault
        if _all_one(topics):  # always so with Kafka
            return [keep(topics[0], topics[0])] * len(topics)
        return [keep(topic, topic) for topic in topics]

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
        inserted = outcome is Outcome.INSERTED
        bit = int(outcome)  # once: arithmetic with an enum takes longer than all the rest
        for token, n in tokens.items():
            number = token >> INDEX_BITS
            chunk = chunks.get(number)
            if chunk is None and number in self._abandoned:
                self._take_late(number, n)
                self.late_samples += n
                continue
            index = token & _INDEX
            if chunk is None or index >= len(chunk.left) or (left := chunk.left[index]) < n:
                raise ProgressError(f"token {token}: {n} values settled that were not open")
            chunk.left[index] = left - n
            chunk.open -= n
            chunk.fates[index] |= bit
            if inserted:
                chunk.inserted += n
            else:
                _add(chunk.others, (chunk.topics[index], outcome), n)

    def commits(self) -> list[Commit]:
        """What can be committed now: one commit for each partition whose settled prefix has grown."""
        ready = []
        for (source, partition), order in self._order.items():
            tallies: Tallies = {}
            position: int | None = None
            for _ in range(self._settled_prefix(order)):
                chunk = self._chunks.pop(order.popleft())
                merge(tallies, _close(chunk))
                self.open_records -= len(chunk.topics)
                self.open_topics -= _length(chunk.topics)
                position = chunk.positions[-1]
            if position is not None:
                ready.append(Commit(source, partition, position, tallies))
        return ready

    def _settled_prefix(self, order: Iterable[int]) -> int:
        """How many of these, from the first on, are settled and end what their source gave as one."""
        whole = 0
        for n, number in enumerate(order, 1):
            chunk = self._chunks[number]
            if chunk.open:
                break
            if not chunk.more:
                whole = n
        return whole

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
                self.open_topics -= _length(chunk.topics)
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
        index = token & _INDEX
        return chunk.source, chunk.partition, chunk.positions[index], chunk.topics[index]


def _open_rows(opened: _OpenChunk, rows: Rows) -> None:
    """Book records of one shape, which are of one topic."""
    indexes, width, n = rows.indexes, len(rows.inputs), len(rows.indexes)
    fate = _FILTERED if rows.filtered else 0
    if n == len(opened.topics):  # mostly, they are the whole chunk
        opened.values = array("I", [width + rows.filtered]) * n
        opened.left = array("I", [width]) * n
        opened.fates = bytearray([fate]) * n
    else:
        for index in indexes:
            opened.values[index] = width + rows.filtered
            opened.left[index] = width
            opened.fates[index] = fate
    if fate:
        _add(opened.others, (opened.topics[indexes[0]], Outcome.FILTERED), rows.filtered * n)


def _open_one(opened: _OpenChunk, index: int, result: Mapped) -> None:
    """Book what a record gave: what mapping rejected or filtered is settled at once."""
    waiting, filtered, topic = len(result.samples), result.filtered, opened.topics[index]
    rejected = sum(1 for reject in result.rejects if reject.path is not None) if result.rejects else 0
    opened.values[index] = waiting + rejected + filtered
    opened.left[index] = waiting
    if result.rejects:
        opened.fates[index] |= Outcome.DEAD_LETTERED
        _add(opened.others, (topic, Outcome.DEAD_LETTERED), rejected)
    if filtered or result.skipped:
        opened.fates[index] |= Outcome.FILTERED
        _add(opened.others, (topic, Outcome.FILTERED), filtered)
    if not waiting and not opened.fates[index]:
        raise ProgressError(f"a record of topic {topic!r} has no outcome")


def _add(counts: dict[tuple[str, Outcome], int], key: tuple[str, Outcome], n: int) -> None:
    counts[key] = counts.get(key, 0) + n


def _close(chunk: _OpenChunk) -> Tallies:
    """The account of a chunk in which nothing is open."""
    tallies: Tallies = {}
    for topic, values in _values_by_topic(chunk).items():
        tallies[topic] = Tally(samples=Counts(received=values))
    for (topic, fate), n in _fates_by_topic(chunk).items():
        best = _BEST[fate]
        if best is None:
            raise ProgressError(f"a record of topic {topic!r} was closed without an outcome")
        messages = tallies[topic].messages
        messages.received += n
        messages.add(best, n)
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


def _length(topics: list[str]) -> int:
    """Characters in all of them."""
    return len(topics[0]) * len(topics) if _all_one(topics) else sum(map(len, topics))


def _all_one(topics: list[str]) -> bool:
    return topics.count(topics[0]) == len(topics)


def _values_by_topic(chunk: _OpenChunk) -> Mapping[str, int]:
    if _all_one(chunk.topics):
        return {chunk.topics[0]: sum(chunk.values)}
    values: dict[str, int] = {}
    for topic, n in zip(chunk.topics, chunk.values, strict=True):
        values[topic] = values.get(topic, 0) + n
    return values


def _fates_by_topic(chunk: _OpenChunk) -> Mapping[tuple[str, int], int]:
    """(topic, bits of the outcomes) → messages."""
    if _all_one(chunk.topics):
        return {(chunk.topics[0], fate): n for fate, n in Counter(chunk.fates).items()}
    return Counter(zip(chunk.topics, chunk.fates, strict=True))
