"""Delays of each source: measured → received → durable → inserted, and the objective for its freshness.

The intakes note each chunk, and the senders each frame. Both count a bounded number of rows, each of which stands for
several rows of a large chunk or frame (see `ledger.delays`). The objective counts every sample.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Final

from connector.ledger.delays import Freshness, Histogram, step_for
from connector.ledger.progress import INDEX_BITS
from connector.packing.frame import Frame, RowBlock
from connector.records import Chunk, Part, Rows
from connector.sources.source import Source

MEASURED_TO_RECEIVED: Final = "measured_to_received"
RECEIVED_TO_DURABLE: Final = "received_to_durable"
DURABLE_TO_INSERTED: Final = "durable_to_inserted"
MEASURED_TO_INSERTED: Final = "measured_to_inserted"
_STAGES: Final = (MEASURED_TO_RECEIVED, DURABLE_TO_INSERTED, MEASURED_TO_INSERTED)
_RECORDS: Final = 64
"""The most records of a chunk whose delays are counted one by one."""

Origins = Callable[[Iterable[int]], list[tuple[str, int]]]
"""Tokens → (source, time in µs at which the record was durable) for each; the source is empty if it is unknown."""


class Delays:
    """The delays of all sources. Safe for threads."""

    def __init__(
        self,
        objectives: Mapping[str, float],
        earlier: Mapping[str, Freshness],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`objectives` has the objective, in seconds, of each source that has one; `earlier` the accounts of earlier
        runs. `clock` gives seconds since the epoch."""
        self.histograms: defaultdict[str, dict[str, Histogram]] = defaultdict(
            lambda: {stage: Histogram() for stage in _STAGES}
        )
        """Source → stage → its delays."""
        self.freshness = {source: Freshness(objective) for source, objective in objectives.items()}
        """Source with an objective → its account since the start."""
        self._earlier = {
            source: found
            for source, found in earlier.items()
            if source in self.freshness and found.objective == self.freshness[source].objective
        }
        self._clock = clock
        self._lock = threading.Lock()
        """Protects the accounts: each integration has a sender."""

    def accounts(self) -> dict[str, Freshness]:
        """Returns the account of each source with an objective, with earlier runs of the same objective."""
        with self._lock:
            found = {source: replace(account) for source, account in self.freshness.items()}
        for source, before in self._earlier.items():
            found[source].kept += before.kept
            found[source].missed += before.missed
        return found

    def stages(self, source: Source) -> dict[str, Histogram]:
        """Returns stage → delays of a source; without the stages that it does not have."""
        durable = source.durable_delays()
        found = self.histograms[source.name]
        return found if durable is None else {**found, RECEIVED_TO_DURABLE: durable}

    def took_in(self, chunk: Chunk, parts: Sequence[Part]) -> None:
        """Note the samples of a chunk."""
        histogram, records = self.histograms[chunk.source][MEASURED_TO_RECEIVED], chunk.records
        single = step_for(len(parts), _RECORDS)
        alike: defaultdict[int, list[int]] = defaultdict(list)
        for index, part in parts if single == 1 else parts[::single]:
            if type(part) is Rows:
                step = step_for(len(part.times), _RECORDS)
                delays = [
                    ((record := records[i]).received_us or record.time_us) - time_us
                    for i, time_us in zip(part.indexes[::step], part.times[::step], strict=True)
                ]
                histogram.add_picked(delays, len(part.times), step, single * len(part.inputs))
            elif samples := part.samples:
                received, step = records[index].received_us or records[index].time_us, step_for(len(samples), _RECORDS)
                if samples[0][1] == samples[-1][1]:
                    alike[len(samples)].append(received - samples[0][1])
                else:
                    delays = [received - time_us for _, time_us, _ in samples[::step]]
                    histogram.add_picked(delays, len(samples), step, single)
        for n, delays in alike.items():
            histogram.add_picked(delays, len(delays), 1, single * n)

    def inserted(self, frame: Frame, origins: Origins) -> None:
        """Note a frame that Clarify has stored now. To be called before its samples are settled."""
        now_us = round(self._clock() * 1e6)
        step = step_for(sum(len(block.times) for block in frame.blocks))
        by_width: defaultdict[int, tuple[array[int], array[int]]] = defaultdict(lambda: (array("q"), array("q")))
        for block in frame.blocks:
            times, tokens = by_width[len(block.inputs)]
            times.extend(block.times)
            tokens.extend(block.tokens)
        for width, (times, tokens) in by_width.items():
            rows, picked = len(times), tokens[::step]
            delays = [now_us - time_us for time_us in times[::step]]
            chunks = [token >> INDEX_BITS if token >= 0 else token for token in picked]
            first = dict(zip(chunks, picked, strict=True))
            origin = dict(zip(first, origins(first.values()), strict=True))
            sources = {source for source, _ in origin.values()}
            for source in sources - {""}:
                if len(sources) == 1:
                    self._note_stored(source, now_us, delays, chunks, origin, rows, step, width)
                else:
                    own = [origin[chunk][0] == source for chunk in chunks]
                    some = list(compress(delays, own)), list(compress(chunks, own))
                    self._note_stored(source, now_us, *some, origin, step * sum(own), step, width)
        if self.freshness:
            self._note_objectives(frame, now_us, origins)

    def _note_stored(
        self,
        source: str,
        now_us: int,
        delays: Sequence[int],
        chunks: Sequence[int],
        origin: Mapping[int, tuple[str, int]],
        rows: int,
        step: int,
        width: int,
    ) -> None:
        """Note rows of one source, of which every `step`-th is in `delays` (µs) and in `chunks`."""
        found = self.histograms[source]
        found[MEASURED_TO_INSERTED].add_picked(delays, rows, step, width)
        counts = Counter(chunks)
        for chunk, n in counts.items():
            stands_for = n * step - (len(chunks) * step - rows if chunk == chunks[-1] else 0)
            found[DURABLE_TO_INSERTED].add(now_us - origin[chunk][1], stands_for * width)

    def _note_objectives(self, frame: Frame, now_us: int, origins: Origins) -> None:
        """Count every sample of a frame. A signal with samples of several sources counts for the first of them."""
        sources = [source for source, _ in origins([block.tokens[0] for block in frame.blocks])]
        only = len(set(sources)) == 1
        for source, account in self.freshness.items():
            blocks = [block for block, one in zip(frame.blocks, sources, strict=True) if one == source]
            if not blocks:
                continue
            since_us = now_us - round(account.objective * 1e6)
            samples = frame.samples
            if not only:
                samples = sum(len(block.inputs) * len(_times(block, frame)) for block in blocks)
            missed = 0
            if frame.times[0] < since_us:
                for block in blocks:
                    missed += len(block.inputs) * sum(time_us < since_us for time_us in _times(block, frame))
            with self._lock:
                account.kept += samples - missed
                account.missed += missed


def _times(block: RowBlock, frame: Frame) -> Collection[int]:
    """Returns the times of a block's rows in the frame: of rows with the same time, only the last one is there."""
    return set(block.times) if frame.superseded else block.times
