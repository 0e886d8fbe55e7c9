"""A journal on a recorded disk, and the model with which every state of that disk is compared.

Records are numbered in the order in which they are appended, from 0; the number of a record is its position less one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.disk_reserve import DiskReserve
from connector.ledger.journal_row import JournalRow
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.ledger.verify import verify
from connector.records import Chunk, Record
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch
from tests.recorded_disk import Disk, Files, Note, Op, Recording, Write, put
from tests.waiting import wait_until

SECONDS: Final = 20.0
NAME: Final = "mqtt.sqlite"
TOPICS: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What was said to the journal, and by it, up to one moment."""

    appended: int = 0
    """How many records were handed over to the journal."""
    durable: int = 0
    """How many records the journal has called durable."""
    settled: int = 0
    """How many records are covered by commits that were handed over."""
    damaged: frozenset[int] = frozenset()
    """The numbers of the records in rows that were damaged on purpose."""

    def after(self, op: Op) -> Facts:
        """The facts after this operation."""
        if not isinstance(op, Note):
            return self
        if op.what == "damaged":
            return replace(self, damaged=self.damaged | {op.value})
        return replace(self, **{op.what: op.value})


class Run:
    """The journal of a connector from a start to a stop. Everything that is said to it and by it is recorded."""

    def __init__(self, recording: Recording, path: Path, appended: int = 0, retry_seconds: float = 0.001) -> None:
        self.recording = recording
        self.path = path
        self.appended = self.durable = appended
        self.settled = 0
        self.polled: list[Chunk] = []
        self.file = SourceFile.open(path)
        self.settled = self.file.settled_to
        self.file.disk_reserve = DiskReserve(path, 4096)
        self.journal = DiskJournal("mqtt", self.file, 10**9, retry_seconds=retry_seconds)
        self.journal.start(linger=0.001)

    def append(self, *sizes: int, bytes_: int = 0) -> None:
        """Append one batch for each of `sizes`, the numbers of its records. A record has at least `bytes_` bytes."""
        for n in sizes:
            numbers = range(self.appended, self.appended + n)
            self.appended += n
            self.recording.note("appended", self.appended)
            self.journal.append(Batch([_record(number, bytes_) for number in numbers], lambda n=n: self._said(n)))  # type: ignore[misc]

    def _said(self, n: int) -> None:
        self.durable += n
        self.recording.note("durable", self.durable)

    def wait(self) -> None:
        """Wait until all records are durable."""
        wait_until(lambda: self.durable == self.appended, SECONDS, "all durable", every=0.0005)

    def poll(self) -> Chunk | None:
        """Poll the next chunk, and check its records and its place in the order."""
        chunk = self.journal.poll(0.005)
        if chunk is not None:
            assert [_number(record) + 1 for record in chunk.records] == list(chunk.positions)
            before = self.polled[-1].positions[-1] if self.polled else self.settled
            assert chunk.positions[0] > before, "in order"
            self.polled.append(chunk)
        return chunk

    def settle(self, n: int = 10**6) -> None:
        """Commit the first `n` chunks that were polled and are not committed."""
        chunks, self.polled = self.polled[:n], self.polled[n:]
        if not chunks:
            return
        tallies: dict[str, Tally] = {}
        for chunk in chunks:
            for record in chunk.records:
                tallies.setdefault(record.topic, Tally()).messages += Counts(received=1, inserted=1)
        self.settled = chunks[-1].positions[-1]
        self.recording.note("settled", self.settled)
        self.journal.commit(Commit("mqtt", chunks[-1].partition, self.settled, tallies))

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file. SQLite does this by itself when the log has a thousand pages."""
        with self.file._database.locked() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def poll_all(self) -> None:
        """Poll until all records are polled that are not lost."""
        wait_until(lambda: self.poll() is None and not self.journal.gauges()["journal_unread_messages"], SECONDS, "all")

    def close(self) -> None:
        """Stop as a connector does."""
        self.journal.close(SECONDS)


def _record(number: int, bytes_: int) -> Record:
    return Record(f"t{number % TOPICS}", f"{number} ".encode().ljust(bytes_, b"x"), number)


def _number(record: Record) -> int:
    assert record.payload is not None
    return int(record.payload.split()[0])


def check(files: Files, folder: Path, before: Facts, after: Facts) -> tuple[int, int]:
    """Start with these files, and check the promises: no record is missing that was called durable; no record is
    invented or out of order; exactly those records are settled that were committed; the account balances; and `journal
    verify` finds nothing but the damage. A crash cut a change short: `before` are the facts when the change began,
    `after` those at its end. Returns how many records came in, and how many of them are settled."""
    put(files, folder)
    path = folder / NAME
    file = SourceFile.open(path)
    position, incarnation = file.next_position, file.incarnation
    losses = file.lost_at_start
    file.close()
    assert losses == [], "a kill, or a power failure, is no loss"
    present: list[int] = []

    def waiting(row: JournalRow) -> None:
        assert [_number(record) + 1 for record in row.records] == list(range(row.first, row.last + 1))
        present.extend(_number(record) for record in row.records)

    said = read_statement(path, waiting)
    assert position == said.appended + 1
    assert after.durable <= said.appended <= before.appended, (after, said.appended)
    assert present == sorted(set(present)), "in order, none twice"
    lost = {number for loss in said.losses for number in _numbers(loss.first, loss.next)}
    unmet = before.damaged - lost if said.damaged_rows else frozenset()
    assert lost <= before.damaged, "no more is lost than what was damaged"
    settled = [n for n in range(said.appended) if n not in lost and n not in unmet and n not in set(present)]
    assert sum(tally.messages.received for tally in said.settled.values()) == len(settled)
    for i in range(TOPICS):
        tally = said.settled.get(f"t{i}", Tally())
        assert tally.messages.inserted == tally.messages.received == sum(number % TOPICS == i for number in settled)
    if settled:
        assert settled[-1] < before.settled, "settled by whom?"
        assert not [n for n in present if n < settled[-1]], "what is settled is a prefix"
    problems = verify(path, lambda _: None).problems
    assert bool(problems) == bool(lost or unmet), problems
    assert incarnation
    return said.appended, settled[-1] + 1 if settled else 0


def _numbers(first: int | None, after: int | None) -> Iterable[int]:
    assert first is not None
    assert after is not None
    return range(first - 1, after - 1)


@dataclass(frozen=True, slots=True)
class Crash:
    """A state in which a crash may leave the disk, and the facts before and after the change that was cut short."""

    at: int
    how: str
    files: Files
    before: Facts
    after: Facts


def crashes(
    ops: Sequence[Op],
    disk: Disk,
    facts: Facts,
    power_failures: int,
    *,
    kills: bool = True,
    only: Container[int] | None = None,
) -> Iterator[Crash]:
    """Every state in which a crash may leave this disk, at any of its changes, or only at the changes in `only`: killed
    after the change, killed in the middle of a write, and `power_failures` outcomes of a power failure after it."""
    for at, op in enumerate(ops):
        if isinstance(op, Note):
            facts = facts.after(op)
            continue
        if only is not None and at not in only:
            disk.apply(op)
            continue
        after = facts
        for follows in ops[at + 1 :]:
            if not isinstance(follows, Note):
                break
            after = after.after(follows)
        if kills and isinstance(op, Write) and len(op.data) > 512:
            torn = disk.copy()
            torn.apply(Write(op.name, op.offset, op.data[: len(op.data) // 2]))
            yield Crash(at, "killed in the middle of", torn.killed(), facts, facts)
        disk.apply(op)
        if kills:
            yield Crash(at, "killed after", disk.killed(), facts, after)
        for i in range(power_failures):
            yield Crash(at, f"power failed ({i}) after", disk.power_lost(hash((at, i))), facts, after)
