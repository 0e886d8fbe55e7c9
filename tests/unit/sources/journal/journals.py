"""What tests do with a journal: fill it, poll it, commit, and read its statement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.records import Chunk, Record
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch, Journal
from connector.sources.journal.memory import MemoryJournal
from tests.waiting import wait_until

SECONDS: Final = 20.0
MIB: Final = 1024 * 1024


class Durable:
    """Makes batches, and keeps the numbers of the batches that were reported durable, in order."""

    def __init__(self) -> None:
        self.order: list[int] = []

    def batch(self, number: int, n: int = 3, size: int = 10) -> Batch:
        records = [Record("t", f"{number}.{i} ".encode().ljust(size, b"."), 1) for i in range(n)]
        return Batch(records, lambda: self.order.append(number))

    def wait_for(self, n: int) -> None:
        wait_until(lambda: len(self.order) >= n, SECONDS, f"{n} durable batches", every=0.002)


def commit_of(*chunks: Chunk) -> Commit:
    """A commit of these chunks, of which all records were inserted."""
    tallies: dict[str, Tally] = {}
    for chunk in chunks:
        for record in chunk.records:
            tallies.setdefault(record.topic, Tally()).messages += Counts(received=1, inserted=1)
    last = chunks[-1]
    return Commit(last.source, last.partition, last.positions[-1], tallies)


def poll(journal: Journal) -> Chunk:
    chunk = journal.poll(SECONDS)
    assert chunk is not None
    return chunk


def poll_all(journal: Journal, n: int) -> list[Chunk]:
    """Polls chunks until they have `n` records. A poll may give nothing while damage is stepped over."""
    chunks: list[Chunk] = []
    until = time.monotonic() + SECONDS
    while sum(len(chunk.records) for chunk in chunks) < n:
        chunk = journal.poll(SECONDS)
        if chunk is not None:
            chunks.append(chunk)
        assert time.monotonic() < until
    return chunks


def payloads(chunks: list[Chunk]) -> list[bytes]:
    return [record.payload for chunk in chunks for record in chunk.records]


def settled(path: Path) -> int:
    said = read_statement(path, lambda row: None)
    return sum(tally.messages.received for tally in said.settled.values())


def disk(file: SourceFile, max_bytes: int = 100 * MIB) -> DiskJournal:
    return DiskJournal("mqtt", file, max_bytes)


def memory(file: SourceFile, max_bytes: int = 100 * MIB) -> MemoryJournal:
    return MemoryJournal("mqtt", file, max_bytes)


@contextlib.contextmanager
def started(journal: Journal) -> Iterator[Journal]:
    journal.start()
    try:
        yield journal
    finally:
        journal.close(SECONDS)
