"""From a source into what is under way: poll, map, write dead letters, add.

Each source has an intake with a thread of its own. All intakes map with the same mapper, one at a time.
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
    """The mapper of all intakes. Safe for threads: one maps at a time."""

    def __init__(self, mapper: Mapper, discoveries: Discoveries, clock: Callable[[], float]) -> None:
        self._mapper = mapper
        self._chunks = ChunkMapper(mapper)
        self._mapping = threading.Lock()
        self._announcer = Announcer(mapper, self._mapping, discoveries, clock)
        self.schema_trouble: dict[str, str] = {}
        """Source → the schema that its intake waits for, and why the schema cannot be had now."""

    def map(self, source: str, records: list[Record]) -> tuple[int, list[Part]]:
        """Returns how many of these records were mapped, and what they became. Fewer than all are mapped where the
        schema of the next one cannot be had now, or where the parts are very much already. What the mapping saw for
        the first time has been announced when this returns."""
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
        """As `Announcer.keep_births`."""
        self._announcer.keep_births(source)

    def clocks(self, most: int) -> list[Skew]:
        """The devices whose clocks are furthest off, `most` of them."""
        with self._mapping:
            return self._mapper.clocks.worst(most)

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Source → numbers about the Sparkplug nodes that were heard there, for its gauges."""
        with self._mapping:
            return self._mapper.sparkplug.gauges()


class Counters(Protocol):
    """What an intake counts."""

    def received(self, records: int, samples: int) -> None:
        """So many records and samples came in since the start, of all sources."""

    def left_out(self, parts: Iterable[Mapped | Rows]) -> None:
        """Records became these; some of them nothing, on purpose."""


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
        """`admit` replaces samples of signals that are not let in by rejects. `saw` is told which records came
        from which source. `commit` tells the sources how far they are settled: a chunk
        of which nothing waits is settled at once."""
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
        """Work until the end. Returns why the source failed, for people; None if it did not."""
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
        """Map a chunk and add it. Mostly the chunk is one part; a chunk that becomes very much is added part by part,
        each once there is room for it."""
        given_away = self._under_way.times_given_away(chunk)
        rest: Chunk | None = chunk
        while rest is not None and not self._aborted.is_set():
            moves()
            done, parts = self._mapper.map(rest.source, rest.records)
            if not done:  # a schema is missing: nothing is rejected for that
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
        """Returns False if the chunk stays with its source: the pipeline was aborted, or the partition was given away
        while the chunk was held here."""
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
        """Wait a second, then longer from try to try; the source keeps what comes meanwhile."""
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
    """Which thread of this source ended without having been asked, for people; None if none did."""
    return source.ended() if isinstance(source, ThreadedSource) else None


def _divided(chunk: Chunk, first: int) -> tuple[Chunk, Chunk | None]:
    """The first records of the chunk, and the others if there are any."""
    if first == len(chunk.records):
        return chunk, None
    return (
        replace(chunk, positions=chunk.positions[:first], records=chunk.records[:first]),
        replace(chunk, positions=chunk.positions[first:], records=chunk.records[first:]),
    )
