"""A source of the records of dead letters: each record once, with the original source, partition and position.

So a value that fails again becomes a letter about the same record, and replaces the old letter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.ledger.account import Commit
from connector.records import Chunk, Record
from connector.sources.source import Reread, Source, SourceFinishedError

_CHUNK_RECORDS: Final = 200
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_GONE: Final = "no letter that is replayed has the whole record"


class RecordPosition(NamedTuple):
    """The identity of a record: source, partition and position."""

    source: str
    partition: str
    """As `DeadLetter.log_partition`."""
    position: int


class ReplaySource(Source):
    """A `Source` that reads the dead letters of one source. A partition is the letters' `log_partition`."""

    def __init__(self, name: str, letters: SqliteLetters, settled: Callable[[list[RecordPosition]], None]) -> None:
        """`settled` is called with the records that were inserted, or that failed again."""
        self.name = name
        self._letters = letters
        self._settled = settled
        self._chunks = self._all_chunks()
        self._draining = threading.Event()
        self._lock = threading.Lock()
        self._under_way: dict[str, deque[int]] = {}

    def poll(self, timeout: float) -> Chunk | None:  # noqa: ARG002 - nothing is waited for
        """Return the next records of one partition, or None after `stop_reading`.

        Raises `SourceFinishedError` after the last record.
        """
        if self._draining.is_set():
            return None
        chunk = next(self._chunks, None)
        if chunk is None:
            raise SourceFinishedError
        with self._lock:
            self._under_way.setdefault(chunk.partition, deque()).extend(chunk.positions)
        return chunk

    def commit(self, commit: Commit) -> None:
        """Report the records of the commit as settled."""
        done = []
        with self._lock:
            waiting = self._under_way[commit.partition]
            while waiting and waiting[0] <= commit.position:
                done.append(RecordPosition(self.name, commit.partition, waiting.popleft()))
        self._settled(done)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Return the records at these positions from the letters."""
        found: dict[int, Record] = {}
        size = 0
        for done, position in enumerate(positions):
            if size >= max_bytes:
                return Reread(found, done, _GONE)
            record = whole_record(self._letters.of_record(self.name, partition, position))
            if record is not None:
                found[position] = record
                size += len(record.payload or b"")
        return Reread(found, len(positions), _GONE)

    def stop_reading(self) -> None:
        """Make every later `poll` return None."""
        self._draining.set()

    def close(self, timeout: float) -> None:
        """Do nothing: the source has nothing open."""

    def _all_chunks(self) -> Iterator[Chunk]:
        for partition, letters in groupby(self._letters.by_record(self.name), key=lambda letter: letter.log_partition):
            positions: list[int] = []
            records: list[Record] = []
            size = 0
            for position, about in groupby(letters, key=lambda letter: letter.position):
                record = whole_record(list(about))
                if record is None:
                    continue
                positions.append(position)
                records.append(record)
                size += len(record.payload or b"")
                if len(records) >= _CHUNK_RECORDS or size >= _CHUNK_BYTES:
                    yield Chunk(self.name, partition, positions, records)
                    positions, records, size = [], [], 0
            if records:
                yield Chunk(self.name, partition, positions, records)


def whole_record(letters: Sequence[DeadLetter]) -> Record | None:
    """Return the record of the letters, or None if no letter has the whole record."""
    return next((letter.record for letter in letters if letter.whole), None)
