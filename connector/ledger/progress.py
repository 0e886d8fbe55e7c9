"""The settled positions, and the account that must balance. No I/O.

Theory of operation.

Tokens. Every value of a record is *open* until it has an outcome; then it is *settled*. A sample on its way to Clarify
carries a *token*: one integer with the number of its chunk and the index of its record in this chunk. Settling takes
tokens, the number of values for each token, and one outcome for all of them.

Commits. A chunk counts its open values. When no value is open, the chunk is settled. A position is committed only when
its chunk and every chunk before it in the same partition are settled (the contiguous prefix). A commit carries the
account of its chunks: for each topic, the number of messages and values that came in, and the number with each outcome.
Only this file changes these numbers. A source removes a chunk as a whole, so a chunk that the pipeline takes in several
parts is also committed as a whole.

Bundles. One sample may stand for several values, for example the value of a window. Its token names a *bundle* and is
negative. When the sample is settled, the value that arrived last gets its outcome, and the other values are filtered.

Partitions that go away. When another owner takes a partition over, the partition is *forgotten*: its open chunks are
abandoned, and never committed. A value of an abandoned chunk that is settled later, because its request was already on
its way, is counted as late.

Counting. A message counts once, with the best outcome of its values: inserted, else dead-lettered, else superseded,
else filtered. Each value counts separately.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connector.ledger.account import OUTCOMES, Commit, Counts, Outcome, Tallies, Tally, merge
from connector.records import Chunk, Mapped, Part, Rows

INDEX_BITS = 20
MAX_CHUNK = 1 << INDEX_BITS
"""The most records of a chunk: the index of a record must fit into a token."""
_INDEX = MAX_CHUNK - 1
_MAX_TOPICS = 100_000
_MAX_TOPICS_LENGTH = 16 * 1024 * 1024


_FILTERED = int(Outcome.FILTERED)
_BEST = tuple(next((best for best in OUTCOMES if bits & best), None) for bits in range(1 << len(OUTCOMES)))
"""Bits of the outcomes of a record's values → the outcome that the record counts with."""
_ALSO_INSERTED = bytes(bits | int(Outcome.INSERTED) for bits in range(256))
"""Bits of the outcomes of a record's values → the same with a value that was inserted."""
_FEWEST = 16
"""Rows from which on it pays to settle them at once."""


class ProgressError(Exception):
    """A value was settled twice, or a record has no outcome: a bug of the connector, never a mistake of the user."""


@dataclass(slots=True)
class _OpenChunk:
    """A chunk that is not committed. The object is small: hundreds of thousands of records may wait in small chunks."""

    source: str
    partition: str
    positions: Sequence[int]
    topics: list[str]
    lines: list[str]
    """For each record, its line in the ledger: the same list as `topics`, unless a line is more than the topic."""
    values: array[int]
    """For each record, the number of its values, including rejected and filtered values."""
    open_values: array[int]
    """For each record, the number of its open values."""
    outcomes: bytearray
    """For each record, the outcomes of its values so far, as bits."""
    not_inserted: dict[tuple[str, Outcome], int]
    """(topic, outcome) → number of values with this outcome, without inserted values."""
    more: bool
    """Whether another part of the same chunk of the source follows."""
    contexts: Mapping[int, bytes] | None
    """Index of a record → its trace context; None if no record has one, or nobody asks."""
    durable_us: int
    """The time at which the connector had the records, and they were durable, in µs."""
    inserted: int = 0
    open: int = 0
    """Sum of `open_values`."""


@dataclass(slots=True)
class OpenInSource:
    """The open records of one source."""

    records: int = 0
    topics: int = 0
    """Number of characters in the topics of these records."""

    def add(self, records: int, topics: int) -> None:
        """Add records whose topics have so many characters; negative numbers take them away."""
        self.records += records
        self.topics += topics


class RecordLocation(NamedTuple):
    """The place of a record in its source."""

    source: str
    partition: str
    position: int
    topic: str


class Progress:
    """The chunks of all sources that are not committed.

    The caller holds one lock around every call. Every method may raise `ProgressError`.
    """

    def __init__(self) -> None:
        self._next = 1
        """The number of the next chunk."""
        self._chunks: dict[int, _OpenChunk] = {}
        """Number → chunk."""
        self._order: dict[tuple[str, str], deque[int]] = {}
        """(source, partition) → the numbers of its chunks, in the order of their positions."""
        self.open_records = 0
        """Number of records in chunks that are not committed."""
        self.open_topics = 0
        """Number of characters in the topics of these records: each may have another topic, and topics may be long."""
        self.open_in_source: dict[str, OpenInSource] = defaultdict(OpenInSource)
        """The same for each source alone."""
        self.received_records = 0
        self.received_samples = 0
        self.abandoned_records = 0
        self.abandoned_samples = 0
        self.late_samples = 0
        """Number of values that were settled after their partition was forgotten."""
        self._abandoned: dict[int, _OpenChunk] = {}
        """Number → an abandoned chunk with values that may still be on their way."""
        self._bundles: dict[int, tuple[int, Mapping[int, int]]] = {}
        """Token of a bundle → (token of its last value, token → number of values for all of its values)."""
        self._next_bundle = -1
        self._topics: dict[str, str] = {}
        """Topic → the string object for it that all chunks share: a chunk has a topic for each of its records."""
        self._topics_length = 0

    def begin(
        self,
        chunk: Chunk,
        parts: Sequence[Part],
        *,
        more: bool = False,
        lines: list[str] | None = None,
        contexts: Mapping[int, bytes] | None = None,
    ) -> int:
        """Begin the account of a chunk; returns the token of its first record.

        Record i of the chunk has this token plus i. `parts` has the outcome of the mapping for each record; rejected
        and filtered values are settled at once. With `more`, `chunk` is one part of a chunk of its source, and another
        part follows: no part is committed before the last part is settled. `lines` has the line of each record in the
        ledger; None: the topic. `contexts` has the trace contexts of records by their index; see `contexts`.
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
        topics = self._kept(chunk.topics())
        length = _length(topics)
        if len(self._topics) > known:
            self._topics_length += length
        self.open_topics += length
        self.open_in_source[chunk.source].add(size, length)
        none = array("I", bytes(4 * size))
        opened = _OpenChunk(
            chunk.source,
            chunk.partition,
            chunk.positions,
            topics,
            topics if lines is None else self._kept(lines),
            none,
            none[:],
            bytearray(size),
            {},
            more,
            contexts,
            chunk.durable_us or chunk.records[-1].received_us or chunk.records[-1].time_us,
        )
        for index, part in parts:
            if isinstance(part, Rows):
                _open_rows(opened, part)
            else:
                _open_one(opened, index, part)
        opened.open = sum(opened.open_values)
        self._chunks[number] = opened
        self._order.setdefault((chunk.source, chunk.partition), deque()).append(number)
        self.open_records += size
        self.received_records += size
        self.received_samples += sum(opened.values)
        return number << INDEX_BITS

    def _kept(self, topics: list[str]) -> list[str]:
        """Returns the same topics, as the shared string objects."""
        keep = self._topics.setdefault
        if _all_one(topics):  # always so with Kafka
            return [keep(topics[0], topics[0])] * len(topics)
        return [keep(topic, topic) for topic in topics]

    def bundle(self, tokens: Mapping[int, int], last: int) -> int:
        """Make a bundle of values; returns the token for the sample that stands for all of them.

        `tokens` maps the token of a record to the number of its values. `last` is the token of the last value that
        arrived.
        """
        token = self._next_bundle
        self._next_bundle -= 1
        self._bundles[token] = (last, tokens)
        return token

    def _unbundled(self, tokens: Mapping[int, int]) -> tuple[dict[int, int], Counter[int]]:
        """Resolve the bundles in `tokens`, and remove them.

        Returns (the tokens with the last value of each bundle in its place, the other values of the bundles); both map
        a token to a number of values.
        """
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
        """Settle values with one outcome; `tokens` maps the token of a record to the number of its settled values."""
        if self._bundles and min(tokens, default=0) < 0:
            tokens, others = self._unbundled(tokens)
            self.settle(others, Outcome.FILTERED)
        chunks = self._chunks
        inserted = outcome is Outcome.INSERTED
        bit = int(outcome)  # converted once: arithmetic with an enum takes longer than the rest of the loop
        for token, n in tokens.items():
            number = token >> INDEX_BITS
            chunk = chunks.get(number)
            if chunk is None and number in self._abandoned:
                self._take_late(number, n)
                self.late_samples += n
                continue
            index = token & _INDEX
            if chunk is None or index >= len(chunk.open_values) or (left := chunk.open_values[index]) < n:
                raise ProgressError(f"token {token}: {n} values settled that were not open")
            chunk.open_values[index] = left - n
            chunk.open -= n
            chunk.outcomes[index] |= bit
            if inserted:
                chunk.inserted += n
            else:
                _add(chunk.not_inserted, (chunk.lines[index], outcome), n)

    def insert_runs(self, tokens: array[int], width: int) -> array[int]:
        """Settle rows as inserted, each with `width` values, where their records follow each other in a chunk.

        `tokens` has the token of each row, rising. Returns the tokens of all other rows, which are to be settled.
        """
        rest, start = tokens[:0], 0
        while len(tokens) - start >= _FEWEST and tokens[start + _FEWEST - 1] - tokens[start] < 2 * _FEWEST:
            number, at = tokens[start] >> INDEX_BITS, tokens[start] & _INDEX
            end = bisect_left(tokens, (number + 1) << INDEX_BITS, start)
            chunk, run = self._chunks.get(number), tokens[start:end]
            if chunk is None or not _insert_run(chunk, at, run, width):
                rest += run
            start = end
        return rest + tokens[start:]

    def commits(self) -> list[Commit]:
        """Returns the commits that are possible now, and removes their chunks.

        There is one commit for each partition whose settled prefix has grown since the last call.
        """
        ready = []
        for (source, partition), order in self._order.items():
            tallies: Tallies = {}
            position: int | None = None
            for _ in range(self._settled_prefix(order)):
                chunk = self._chunks.pop(order.popleft())
                merge(tallies, _close(chunk))
                self._closed(chunk)
                position = chunk.positions[-1]
            if position is not None:
                ready.append(Commit(source, partition, position, tallies))
        return ready

    def _closed(self, chunk: _OpenChunk) -> None:
        records, topics = len(chunk.topics), _length(chunk.topics)
        self.open_records -= records
        self.open_topics -= topics
        self.open_in_source[chunk.source].add(-records, -topics)

    def _settled_prefix(self, order: Iterable[int]) -> int:
        """Returns the number of chunks, from the first on, that can be committed.

        These chunks are settled, and the last of them ends a chunk of its source.
        """
        whole = 0
        for n, number in enumerate(order, 1):
            chunk = self._chunks[number]
            if chunk.open:
                break
            if not chunk.more:
                whole = n
        return whole

    def only_open(self, source: str, partitions: Collection[str], tokens: Iterable[int]) -> bool:
        """Whether no value is open in these partitions except the values with these tokens."""
        held = Counter(token >> INDEX_BITS for token in tokens)
        numbers = [n for partition in partitions for n in self._order.get((source, partition), ())]
        return all(self._chunks[number].open == held[number] for number in numbers)

    def partitions(self, source: str) -> list[str]:
        """Returns the partitions of a source with chunks that are not committed."""
        return [partition for one, partition in self._order if one == source and self._order[one, partition]]

    def open_in(self, source: str, partitions: Collection[str]) -> bool:
        """Whether any chunk of these partitions is not committed."""
        return any(self._order.get((source, partition)) for partition in partitions)

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Abandon all chunks of the partitions; returns the number of their records."""
        records = 0
        for partition in partitions:
            for number in self._order.pop((source, partition), ()):
                chunk = self._chunks.pop(number)
                records += len(chunk.topics)
                self._closed(chunk)
                self.abandoned_samples += sum(chunk.values)
                if chunk.open:
                    self._abandoned[number] = chunk
        self.abandoned_records += records
        return records

    @property
    def any_abandoned(self) -> bool:
        """Whether values of abandoned chunks may still be on their way."""
        return bool(self._abandoned)

    def is_abandoned(self, token: int) -> bool:
        """Whether the chunk of this token was abandoned; for a bundle, whether the chunks of all its values were."""
        if token < 0:
            return all(one >> INDEX_BITS in self._abandoned for one in self._bundles[token][1])
        return token >> INDEX_BITS in self._abandoned

    def dropped(self, tokens: Mapping[int, int]) -> None:
        """Record that values of abandoned chunks will not be sent; `tokens` maps a token to a number of values."""
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

    def knows(self, token: int) -> bool:
        """Whether the chunk of this token is not committed yet, so that its record can be located."""
        if token < 0:
            return token in self._bundles
        return token >> INDEX_BITS in self._chunks or token >> INDEX_BITS in self._abandoned

    def contexts(self, tokens: Iterable[int]) -> list[bytes]:
        """Returns the trace contexts of the records with these tokens, each once; a bundle stands for all its records.

        Records of chunks that are not open any more have none.
        """
        found: dict[bytes, None] = {}
        for token in tokens:
            for one in self._bundles[token][1] if token < 0 else (token,):
                chunk = self._chunks.get(one >> INDEX_BITS)
                if chunk is not None and chunk.contexts is not None and one & _INDEX in chunk.contexts:
                    found[chunk.contexts[one & _INDEX]] = None
        return list(found)

    def origin(self, token: int) -> tuple[str, int]:
        """Returns (source, time in µs at which its record was durable) of a token; an empty source if it is unknown.

        For a bundle, the record is that of its last value.
        """
        if token < 0:
            token = self._bundles[token][0] if token in self._bundles else 0
        number = token >> INDEX_BITS
        chunk = self._chunks.get(number) or self._abandoned.get(number)
        return ("", 0) if chunk is None else (chunk.source, chunk.durable_us)

    def locate(self, token: int) -> RecordLocation:
        """Returns the place of the record with this token; for a bundle, of the record of its last value.

        The chunk must not be committed yet.
        """
        if token < 0:
            token = self._bundles[token][0]
        number = token >> INDEX_BITS
        chunk = self._chunks.get(number) or self._abandoned[number]
        index = token & _INDEX
        return RecordLocation(chunk.source, chunk.partition, chunk.positions[index], chunk.topics[index])


def _open_rows(opened: _OpenChunk, rows: Rows) -> None:
    """Open the values of records with one shape, which all have the same topic."""
    indexes, width, n = rows.indexes, len(rows.inputs), len(rows.indexes)
    bits = _FILTERED if rows.filtered else 0
    if n == len(opened.topics):  # mostly these records are the whole chunk
        opened.values = array("I", [width + rows.filtered]) * n
        opened.open_values = array("I", [width]) * n
        opened.outcomes = bytearray([bits]) * n
    else:
        for index in indexes:
            opened.values[index] = width + rows.filtered
            opened.open_values[index] = width
            opened.outcomes[index] = bits
    if bits:
        _add(opened.not_inserted, (opened.lines[indexes[0]], Outcome.FILTERED), rows.filtered * n)


def _open_one(opened: _OpenChunk, index: int, result: Mapped) -> None:
    """Open the values of one record. Rejected and filtered values are settled at once."""
    waiting, filtered, topic = len(result.samples), result.filtered, opened.lines[index]
    rejected = sum(1 for reject in result.rejects if reject.path is not None) if result.rejects else 0
    opened.values[index] = waiting + rejected + filtered
    opened.open_values[index] = waiting
    if result.rejects:
        opened.outcomes[index] |= Outcome.DEAD_LETTERED
        _add(opened.not_inserted, (topic, Outcome.DEAD_LETTERED), rejected)
    if filtered or result.skipped:
        opened.outcomes[index] |= Outcome.FILTERED
        _add(opened.not_inserted, (topic, Outcome.FILTERED), filtered)
    if not waiting and not opened.outcomes[index]:
        raise ProgressError(f"a record of topic {topic!r} has no outcome")


def _insert_run(chunk: _OpenChunk, at: int, run: array[int], width: int) -> bool:
    """Settle `width` values of each record of a run as inserted; the run begins with the record `at`.

    Returns False, and settles nothing, if they do not follow each other, or have different numbers of open values.
    """
    n = len(run)
    if at + n > len(chunk.open_values) or run != array("q", range(run[0], run[0] + n)):
        return False
    opened = chunk.open_values[at]
    if opened < width or chunk.open_values[at : at + n] != array("I", [opened]) * n:
        return False
    chunk.open_values[at : at + n] = array("I", [opened - width]) * n
    chunk.outcomes[at : at + n] = chunk.outcomes[at : at + n].translate(_ALSO_INSERTED)
    chunk.open -= n * width
    chunk.inserted += n * width
    return True


def _add(counts: dict[tuple[str, Outcome], int], key: tuple[str, Outcome], n: int) -> None:
    counts[key] = counts.get(key, 0) + n


def _close(chunk: _OpenChunk) -> Tallies:
    """Returns the account of a settled chunk."""
    tallies: Tallies = {}
    for topic, values in _values_by_topic(chunk).items():
        tallies[topic] = Tally(samples=Counts(received=values))
    for (topic, bits), n in _outcomes_by_topic(chunk).items():
        best = _BEST[bits]
        if best is None:
            raise ProgressError(f"a record of topic {topic!r} was closed without an outcome")
        messages = tallies[topic].messages
        messages.received += n
        messages.add(best, n)
    for (topic, outcome), n in chunk.not_inserted.items():
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
    """Returns the number of characters in all of these topics."""
    return len(topics[0]) * len(topics) if _all_one(topics) else sum(map(len, topics))


def _all_one(topics: list[str]) -> bool:
    return topics.count(topics[0]) == len(topics)


def _values_by_topic(chunk: _OpenChunk) -> Mapping[str, int]:
    if _all_one(chunk.lines):
        return {chunk.lines[0]: sum(chunk.values)}
    values: dict[str, int] = {}
    for topic, n in zip(chunk.lines, chunk.values, strict=True):
        values[topic] = values.get(topic, 0) + n
    return values


def _outcomes_by_topic(chunk: _OpenChunk) -> Mapping[tuple[str, int], int]:
    """(topic, bits of the outcomes) → number of messages."""
    if _all_one(chunk.lines):
        return {(chunk.lines[0], bits): n for bits, n in Counter(chunk.outcomes).items()}
    return Counter(zip(chunk.lines, chunk.outcomes, strict=True))
