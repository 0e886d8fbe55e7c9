"""From a source into `UnderWay`: poll, map, write dead letters, add.

Each source has its own intake, and each intake has its own thread. All intakes share one mapper, which
maps for one intake at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.time.clock_skew import Skew
from connector.pipeline.discoveries import Announcer, Discoveries
from connector.pipeline.rejects import Rejects
from connector.pipeline.under_way import LOOK_SECONDS, UnderWay
from connector.records import Chunk, Mapped, Part, Record, Rows
from connector.sources.source import Source, SourceFailedError, SourceFinishedError, ThreadedSource
from connector.threads.watched import moves

_LONGEST_SCHEMA_WAIT: Final = 60.0

_log = structlog.get_logger(__name__)


class SharedMapper:
    """The mapper of all intakes. Safe for threads: only one thread maps at a time."""

    def __init__(self, mapper: Mapper, discoveries: Discoveries, clock: Callable[[], float]) -> None:
        self._mapper = mapper
        self._chunks = ChunkMapper(mapper)
        self._mapping = threading.Lock()
        self._announcer = Announcer(mapper, self._mapping, discoveries, clock)
        self.schema_trouble: dict[str, str] = {}
        """Source → text for people: the schema for which the intake waits, and why the schema is unavailable now."""

    def map(self, source: str, records: list[Record]) -> tuple[int, list[Part]]:
        """Map records of a source; returns the number of mapped records, and their parts.

        The number is less than `len(records)` if the schema of the next record is unavailable now, or if the parts are
        already very large. All discoveries in these records have been announced when the method returns.
        """
        with self._mapping:
            done, parts = self._chunks.map(source, records)
            if self._chunks.schema_trouble is not None:
                self.schema_trouble[source] = self._chunks.schema_trouble
            merged = self._mapper.merges_keys(source, records[0], records[-1])
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

    def keep_births(self, source: str) -> None:
        """Announce births and node events of a source, as `Announcer.keep_births` does."""
        self._announcer.keep_births(source)

    def clocks(self, most: int) -> list[Skew]:
        """Returns the `most` devices with the greatest clock errors."""
        with self._mapping:
            return self._mapper.clocks.worst(most)

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Returns source → name of a gauge → its value, about the Sparkplug nodes of this source."""
        with self._mapping:
            return self._mapper.sparkplug.gauges()


class Counters(Protocol):
    """Receives the counts of the intakes."""

    def received(self, records: int, samples: int) -> None:
        """Note the numbers of records and samples that came in since the start, from all sources."""

    def left_out(self, parts: Iterable[Mapped | Rows]) -> None:
        """Count the records that the mapping left out on purpose; `parts` are the parts of all mapped records."""


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
        commit: Callable[[], None],
        draining: threading.Event,
        aborted: threading.Event,
    ) -> None:
        """`admit` puts a reject in the place of each sample of a signal that is not let in.

        `saw` gets the name of the source and its new records. `commit` commits settled records to the sources: a chunk
        without waiting samples is settled at once.
        """
        self._source = source
        self._mapper = mapper
        self._under_way = under_way
        self._rejects = rejects
        self._admit = admit
        self._counters = counters
        self._saw = saw
        self._commit = commit
        self._draining = draining
        self._aborted = aborted
        self._schema_tries = 0

    def run(self) -> str | None:
        """Work until the end; returns the reason why the source failed, for people, or None if it did not fail."""
        finished, failure = False, None
        try:
            self._read()
        except SourceFinishedError:
            finished = True
            _log.info("source_finished", source=self._source.name, effect="all of it was read")
        except SourceFailedError as error:
            failure = f"source {self._source.name}: {error}"
            _log.error("source_failed", source=self._source.name, reason=str(error))
        finally:
            self._under_way.intake_ended(finished=finished)
        return failure

    def _read(self) -> None:
        while not self._aborted.is_set():
            moves()
            if why := ended(self._source):
                raise SourceFailedError(why)
            if not self._under_way.has_room():
                self._hold()
                continue
            chunk = self._source.poll(LOOK_SECONDS)
            if chunk is not None:
                self.take_in(chunk)
            elif self._draining.is_set():
                return

    def take_in(self, chunk: Chunk) -> None:
        """Map a chunk and add the parts.

        Most chunks are added as one part. A chunk that maps to very many samples is added part by part, each part when
        there is room.
        """
        given_away = self._under_way.times_given_away(chunk)
        rest: Chunk | None = chunk
        while rest is not None and not self._aborted.is_set():
            moves()
            done, parts = self._mapper.map(rest.source, rest.records)
            if not done:  # a schema is unavailable: the records wait, and are not rejected
                self._wait_for_schema()
                continue
            if self._schema_tries and done == len(rest.records):
                self._schema_arrived()
            first, rest = _divided(rest, done)
            if not self._add(first, parts, given_away, more=rest is not None):
                return
            while rest is not None and not self._under_way.has_room() and not self._aborted.is_set():
                moves()
                self._hold()

    def _add(self, chunk: Chunk, parts: list[Part], given_away: int, *, more: bool) -> bool:
        """Add the parts of a chunk; returns False if the chunk stays with its source.

        The chunk stays if the pipeline was aborted, or if the partition was given away while the chunk was held here.
        """
        self._mapper.keep_births(chunk.source)
        if self._admit is not None:
            parts = self._admit(parts)
        if not self._rejects.keep(chunk, parts):
            return False
        counted = self._under_way.add(chunk, parts, given_away, more=more)
        if counted is None:
            return False
        self._counters.received(*counted)
        self._counters.left_out(part for _, part in parts)
        if self._saw is not None:
            self._saw(chunk.source, chunk.records)
        self._commit()
        return True

    def _hold(self) -> None:
        self._source.hold()
        self._under_way.wait_for_change()

    def _wait_for_schema(self) -> None:
        """Wait one second, then longer from try to try; the held source keeps new records meanwhile."""
        self._schema_tries += 1
        if self._schema_tries == 1:
            _log.error(
                "schema_unavailable",
                source=self._source.name,
                reason=self._mapper.schema_trouble[self._source.name],
                effect="this source waits; trying again",
            )
        self._under_way.wait_a_while(
            min(_LONGEST_SCHEMA_WAIT, 2.0 ** min(self._schema_tries - 1, 10)), self._source.hold, self._aborted
        )

    def _schema_arrived(self) -> None:
        self._schema_tries = 0
        self._mapper.schema_trouble.pop(self._source.name, None)
        _log.info("schema_available", source=self._source.name)


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
