"""From a source into `UnderWay`: poll, map, write dead letters, add.

Each source has its own intake, and each intake has its own thread. All intakes share one mapper, which
maps for one intake at a time.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.signals.explained import Explained
from connector.mapping.signals.input_ids import Origin
from connector.mapping.time.clock_skew import Skew
from connector.pipeline.delays import Delays
from connector.pipeline.discoveries import Announcer, Discoveries
from connector.pipeline.rejects import Rejects
from connector.pipeline.tap import Tap
from connector.pipeline.under_way import IDLE_SECONDS, LOOK_SECONDS, UnderWay
from connector.records import Chunk, Mapped, Part, Record, Rows
from connector.sources.source import Source, SourceFailedError, SourceFinishedError, ThreadedSource
from connector.threads.watched import moves

_LONGEST_SCHEMA_WAIT: Final = 60.0
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of records that may wait for schemas, roughly; above, the whole source waits."""
_RECORD_BYTES: Final = 300
"""Bytes of a record in memory, beside its payload."""
_LAST_SECONDS: Final = 0.1
"""How long a source may give nothing, after `stop_reading`, before the intake ends: a journal still writes records that
were received."""
_BEFORE_FRAME: Final = 0.01
"""The last turn before a frame begins so many seconds before the frame is due."""
_MOST_TOLD: Final = 3
"""Partitions whose missing schema is told one by one."""

_log = structlog.get_logger(__name__)


class SharedMapper:
    """The mapper of all intakes. Safe for threads: only one thread maps at a time."""

    def __init__(self, mapper: Mapper, discoveries: Discoveries, clock: Callable[[], float]) -> None:
        self.mapper = mapper
        """The mapper in use."""
        self._chunks = ChunkMapper(mapper)
        self._mapping = threading.Lock()
        self._announcer = Announcer(mapper, self._mapping, discoveries, clock)
        self.schema_trouble: dict[str, str] = {}
        """Source → text for people: the schema for which the intake waits, and why the schema is unavailable now."""

    def map(self, source: str, records: Sequence[Record]) -> tuple[int, list[Part]]:
        """Map records of a source; returns the number of mapped records, and their parts.

        The number is less than `len(records)` if the schema of the next record is unavailable now, or if the parts are
        already very large. All discoveries in these records have been announced when the method returns.
        """
        with self._mapping:
            done, parts = self._chunks.map(source, records)
            if not done and self._chunks.schema_trouble is not None:
                self.schema_trouble[source] = self._chunks.schema_trouble
            merged = self.mapper.merges_keys(source, records[0], records[-1])
        self._announcer.announce()
        if merged:
            _log.warning(
                "keys_not_told_apart",
                source=source,
                topic=records[0].topic,
                effect="records with different keys become samples of the same inputs",
                remedy="if a key is a device, use it: a rule with key: or with {key} in its input; if not, set "
                "shared_inputs: true in the rule",
            )
        return done, parts

    def between_records(self, change: Callable[[], None]) -> None:
        """Call `change` while no record is mapped, then announce its discoveries."""
        with self._mapping:
            change()
        self._announcer.announce()

    def replace(self, make: Callable[[Mapper], Mapper]) -> None:
        """Use another mapper from the next record on; `make` makes it of the mapper in use, while no record is mapped.

        All discoveries of the mapper in use are then durable, or waiting in it. If `make` raises an error, that mapper
        stays in use.
        """
        with self._announcer.announcing, self._mapping:
            self.mapper = self._announcer.mapper = make(self.mapper)
            self._chunks = ChunkMapper(self.mapper)
        self._announcer.announce()

    def forget(self, source: str) -> None:
        """Forget thinned values of a source, as `Mapper.forget`."""
        self.mapper.forget(source)

    def keep_births(self, source: str) -> None:
        """Announce births and node events of a source, as `Announcer.keep_births` does."""
        self._announcer.keep_births(source)

    def clocks(self, most: int) -> list[Skew]:
        """Returns the `most` devices with the greatest clock errors."""
        with self._mapping:
            return self.mapper.clocks.worst(most)

    def signals_of(self, source: str, topic: str, text: str, most: int) -> list[Explained]:
        """Returns the signals of a topic, of this run and of earlier ones, and why they have their input IDs.

        Returns at most `most` signals, those whose input IDs have `text`.
        """
        with self._mapping:
            found = {one.written: one for one in self.mapper.explained(source, topic, text, most)}
        for written, origin in self.claims():
            if len(found) >= most:
                break
            if (origin.source, origin.topic) == (source, topic) and text in written and written not in found:
                with self._mapping:
                    if (one := self.mapper.explained_today(written, origin)) is not None:
                        found[written] = one
        return list(found.values())

    @property
    def aligns(self) -> bool:
        """Whether a rule has moved the times of samples, which may have been times of arrival."""
        return self.mapper.aligner.shifts.aligned > 0

    def known_signals(self) -> int:
        """Returns the number of signals that the mapping remembers."""
        return len(self.mapper.ids)

    def claims(self) -> list[tuple[str, Origin]]:
        """Returns (input ID, its origin) for every signal that the mapping remembers."""
        with self._mapping:
            return self.mapper.ids.claims()

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Returns source → name of a gauge → its value, about the Sparkplug nodes of this source."""
        with self._mapping:
            return self.mapper.sparkplug.gauges()


class Counters(Protocol):
    """Receives the counts of the intakes."""

    ended: set[str]
    """The sources that will give no more records."""
    polled: dict[str, float]
    """Source → the time of its last poll, in seconds of the pipeline's clock."""

    def received(self, records: int, samples: int) -> None:
        """Note the numbers of records and samples that came in since the start, from all sources."""

    def left_out(self, parts: Iterable[Mapped | Rows]) -> None:
        """Count the records that the mapping left out on purpose; `parts` are the parts of all mapped records."""


@dataclass(slots=True)
class _Waiting:
    """A partition whose next record has a schema that is unavailable now."""

    chunks: deque[tuple[Chunk, int, int]] = field(default_factory=deque)
    """(chunk, `times_given_away` when it was polled, bytes), the oldest first."""
    reason: str = ""
    tries: int = 0
    due: float = 0.0
    """When the schema is asked for again."""
    apart: bool = False
    """Whether the source goes on with its other partitions."""


class Intake:
    """Reads one source until it ends, fails, or is asked to stop."""

    def __init__(
        self,
        source: Source,
        mapper: SharedMapper,
        under_way: UnderWay,
        rejects: Rejects,
        admit: Callable[[list[Part]], list[Part]] | None,
        counters: Counters,
        saw: Callable[[str, Sequence[Record]], None] | None,
        saw_signals: Callable[[list[Part]], None] | None,
        delays: Delays,
        tap: Tap,
        commit: Callable[[], None],
        draining: threading.Event,
        stopping: threading.Event,
    ) -> None:
        """`admit` puts a reject in the place of each sample of a signal that is not let in.

        `saw` gets the name of the source and its new records, `saw_signals` their parts, and `delays` and `tap` each
        chunk with its parts. `commit` commits settled records to the sources: a chunk without waiting samples is
        settled at once.
        """
        self._source = source
        self._threaded = source if isinstance(source, ThreadedSource) else None
        self._mapper = mapper
        self._under_way = under_way
        self._rejects = rejects
        self._admit = admit
        self._counters = counters
        self._saw = saw
        self._saw_signals = saw_signals
        self._delays = delays
        self._tap = tap
        self._commit = commit
        self._draining = draining
        self._stopping = stopping
        self.finished = False
        """Whether the source can never give more records."""
        self._waiting: dict[str, _Waiting] = {}
        self._turn_began = -math.inf
        """When this thread began to take in what had come together, on the pipeline's clock."""
        self._left: tuple[Chunk, int] | None = None
        """A polled chunk that is not taken in, because the intake was stopped; and its `times_given_away`."""

    def run(self) -> str | None:
        """Work until the end; returns the reason why the source failed, for people, or None if it did not fail."""
        failure = None
        self._counters.ended.discard(self._source.name)  # another source of this name may have ended before
        try:
            self._read()
        except SourceFinishedError:
            self.finished = True
            _log.info("source_finished", source=self._source.name, effect="all of it was read")
        except SourceFailedError as error:
            failure = f"source {self._source.name}: {error}"
            _log.error("source_failed", source=self._source.name, reason=str(error))
        finally:
            self._counters.ended.add(self._source.name)
            self._under_way.intake_ended(finished=self.finished)
        return failure

    def _read(self) -> None:
        if self._left is not None:
            left, self._left = self._left, None
            self.take_in(*left)
        while not self._stopping.is_set():
            moves()
            if self._threaded is not None and (why := self._threaded.ended()):
                raise SourceFailedError(why)
            if not self._under_way.has_room(self._source.name):
                self._hold()
                continue
            self._try_again()
            if self._all_wait() and not self._draining.is_set():
                self._hold()
                continue
            draining = self._draining.is_set()
            if not draining and not self._waiting:
                self._rest()
            try:
                seconds = _LAST_SECONDS if draining else LOOK_SECONDS if self._waiting else IDLE_SECONDS
                chunk = self._source.poll(seconds)
                self._counters.polled[self._source.name] = self._under_way.now()
            except SourceFinishedError:
                if not self._waiting or self._draining.is_set():
                    raise
                self._under_way.wait_for_change()
                continue
            if chunk is not None:
                self.take_in(chunk)
            elif draining:
                return

    def _rest(self) -> None:
        """Let records come together, so that one turn of this thread maps many of them, and caches are warm for them.

        A turn begins at most once in the time of a rest, and once more just before a frame is due, so that no sample
        waits longer for its frame. After a pause, records are taken at once.
        """
        now = self._under_way.now()
        seconds = self._turn_began + self._under_way.rest - now
        if seconds <= 0:
            self._turn_began = now
            return
        due = self._under_way.seconds_to_frame() - _BEFORE_FRAME
        if due > 0 and self._source.gather(min(seconds, due)):
            self._turn_began = self._under_way.now()

    def take_in(self, chunk: Chunk, given_away: int | None = None) -> None:
        """Map a chunk and add the parts; or keep the chunk, if its partition waits for a schema.

        `given_away` is the result of `times_given_away` when the chunk was polled; None: it was polled just now.
        """
        if given_away is None:
            given_away = self._under_way.times_given_away(chunk)
        waiting = self._waiting.get(chunk.partition)
        if waiting is None:
            rest = self._map(chunk, given_away)
            if rest is None:
                return
            waiting = self._waiting[chunk.partition] = _Waiting()
            waiting.apart = self._source.hold_back(chunk.partition)
            self._wait(waiting, rest)
            _log.error(
                "schema_unavailable",
                source=self._source.name,
                partition=chunk.partition,
                reason=waiting.reason,
                effect=f"this {'partition' if waiting.apart else 'source'} waits; trying again",
            )
            chunk = rest
        elif waiting.apart:
            self._source.hold_back(chunk.partition)  # a new assignment has begun to read it again
        size = sum(_RECORD_BYTES + len(record.payload or b"") for record in chunk.records)
        waiting.chunks.append((chunk, given_away, size))

    def _map(self, chunk: Chunk, given_away: int) -> Chunk | None:
        """Map a chunk and add the parts; returns the records from the first one on whose schema is unavailable now.

        Most chunks are added as one part. A chunk that maps to very many samples is added part by part, each part when
        there is room.
        """
        rest: Chunk | None = chunk
        while rest is not None and not self._stopping.is_set():
            moves()
            done, parts = self._mapper.map(rest.source, rest.records)
            if not done:
                return rest
            whole = rest
            first, rest = _divided(rest, done)
            if not self._add(first, parts, given_away, more=rest is not None):
                if self._stopping.is_set():  # mapped again after `resume`: no value may count as a repetition
                    self._mapper.forget(self._source.name)
                    self._left = whole, given_away
                return None
            while rest is not None and not self._under_way.has_room(self._source.name) and not self._stopping.is_set():
                moves()
                self._hold()
        if rest is not None:
            self._left = rest, given_away
        return None

    def _add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> bool:
        """Add the parts of a chunk; returns False if the chunk stays with its source.

        The chunk stays if the intake was stopped, or if the partition was given away while the chunk was held here.
        """
        self._mapper.keep_births(chunk.source)
        if self._admit is not None:
            parts = self._admit(parts)
        if not self._rejects.keep(chunk, parts, self._stopping.is_set):
            return False
        counted = self._under_way.add(chunk, parts, given_away, more=more)
        if counted is None:
            return False
        self._counters.received(*counted)
        self._counters.left_out(part for _, part in parts)
        if self._saw is not None:
            self._saw(chunk.source, chunk.records)
        if self._saw_signals is not None:
            self._saw_signals(parts)
        self._delays.took_in(chunk, parts)
        if self._source.reads_late() and (self._mapper.aligns or _takes_arrival(chunk.records, parts)):
            self._source.read_at_once()
        self._tap.took_in(chunk, parts)
        self._commit()
        return True

    def _hold(self) -> None:
        self._source.hold()
        self._under_way.wait_for_change()

    # -- partitions that wait for a schema: their records are not rejected ------------------------

    def _all_wait(self) -> bool:
        """Whether the whole source waits: it has no other partitions, or too much waits already."""
        waiting = self._waiting.values()
        return any(not each.apart for each in waiting) or (
            sum(size for each in waiting for _, _, size in each.chunks) > _MOST_WAITING_BYTES
        )

    def _wait(self, waiting: _Waiting, rest: Chunk) -> None:
        """Wait one second before the next try, then longer from try to try."""
        waiting.reason = self._mapper.schema_trouble[self._source.name]
        if waiting.apart:
            waiting.reason = f"{rest.partition} waits: {waiting.reason}"
        waiting.due = self._under_way.now() + min(_LONGEST_SCHEMA_WAIT, 2.0 ** min(waiting.tries, 10))
        waiting.tries += 1
        self._tell()

    def _try_again(self) -> None:
        """Map the records of each partition whose time has come, until a schema is unavailable again."""
        for partition, waiting in list(self._waiting.items()):
            if self._under_way.now() < waiting.due or self._stopping.is_set():
                continue
            ours = True
            while waiting.chunks and self._under_way.has_room(self._source.name):
                chunk, given_away, size = waiting.chunks[0]
                ours = given_away == self._under_way.times_given_away(chunk)
                rest = self._map(chunk, given_away) if ours else None
                if rest is not None:
                    waiting.chunks[0] = rest, given_away, size
                    if len(rest.records) < len(chunk.records):
                        waiting.tries = 0
                    self._wait(waiting, rest)
                    break
                waiting.chunks.popleft()
            if not waiting.chunks:
                del self._waiting[partition]
                self._source.go_on(partition)
                self._tell()
                if ours:
                    _log.info("schema_available", source=self._source.name, partition=partition)

    def _tell(self) -> None:
        reasons = [each.reason for each in self._waiting.values()]
        told = reasons[:_MOST_TOLD] + ([f"{len(reasons) - _MOST_TOLD} more wait"] if len(reasons) > _MOST_TOLD else [])
        if told:
            self._mapper.schema_trouble[self._source.name] = "; ".join(told)
        else:
            self._mapper.schema_trouble.pop(self._source.name, None)


def ended(source: Source) -> str | None:
    """Returns text for people that names a thread of this source that ended unexpectedly; None if no thread did."""
    return source.ended() if isinstance(source, ThreadedSource) else None


def _divided(chunk: Chunk, first: int) -> tuple[Chunk, Chunk | None]:
    """Returns the first `first` records of the chunk, and the other records, or None if there are no others."""
    if first == len(chunk.records):
        return chunk, None
    return (
        replace(chunk, positions=chunk.positions[:first], records=chunk.records[:first]),
        replace(chunk, positions=chunk.positions[first:], records=chunk.records[first:]),
    )


def _takes_arrival(records: Sequence[Record], parts: Iterable[Part]) -> bool:
    """Whether a sample has the time at which its record came in."""
    for index, part in parts:
        if isinstance(part, Rows):
            if any(records[i].time_us == time_us for i, time_us in zip(part.indexes, part.times, strict=True)):
                return True
        elif any(records[index].time_us == time_us for _, time_us, _ in part.samples):
            return True
    return False
