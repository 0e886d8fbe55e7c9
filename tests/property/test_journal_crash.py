"""The journal on disk against a model, with a crash at any moment: what was called durable is never missing.

A crash is simulated by copying the database and its write-ahead log while the journal runs, and going on with
the copy. The log only grows while it is this small, so a copy of it is what a disk could hold after a crash.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from connector.progress import Commit, Counts, Tally
from connector.records import Chunk, Record
from connector.sources.journal import Batch, DiskJournal
from connector.sources.log_file import LogFile
from connector.sources.log_statement import read_statement
from tests.waiting import wait_until

SECONDS = 20.0


class JournalMachine(RuleBasedStateMachine):
    """Records are numbered in the order in which they were appended; all lists hold these numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="journal-"))
        self.generation = 0
        self.appended: list[int] = []
        self.durable: list[int] = []
        self.polled: list[Chunk] = []
        self.committed = 0
        """Records in commits that were handed over; how many of them the file has is for the journal to decide."""

    def path(self) -> Path:
        return self.folder / f"{self.generation}.sqlite"

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        self.file = LogFile.open(self.path())
        assert self.file.set_aside is None
        self.journal = DiskJournal("mqtt", self.file, 10**9)
        self.journal.start()

    @rule(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        for n in sizes:
            numbers = range(len(self.appended), len(self.appended) + n)
            self.appended += numbers
            records = [Record(f"t{number % 3}", str(number).encode(), number) for number in numbers]
            self.journal.append(Batch(records, lambda numbers=numbers: self.durable.extend(numbers)))  # type: ignore[misc]

    @rule()
    def wait_for_the_disk(self) -> None:
        wait_until(lambda: len(self.durable) == len(self.appended), SECONDS, "all durable", every=0.001)
        assert self.durable == self.appended

    @rule()
    def poll(self) -> None:
        chunk = self.journal.poll(0.005)
        if chunk is None:
            return
        first = self.committed + sum(len(earlier.records) for earlier in self.polled)
        assert [int(record.payload) for record in chunk.records] == self.appended[first : first + len(chunk.records)]
        assert list(chunk.positions) == list(range(first + 1, first + 1 + len(chunk.records)))
        self.polled.append(chunk)

    @rule(n=st.integers(1, 3))
    def commit(self, n: int) -> None:
        chunks, self.polled = self.polled[:n], self.polled[n:]
        if not chunks:
            return  # no precondition: what was polled by now depends on the disk, and a schedule must not
        tallies: dict[str, Tally] = {}
        for chunk in chunks:
            for record in chunk.records:
                tallies.setdefault(record.topic, Tally()).messages += Counts(received=1, inserted=1)
                self.committed += 1
        self.journal.commit(Commit("mqtt", chunks[-1].partition, chunks[-1].positions[-1], tallies))

    @rule()
    def crash(self) -> None:
        durable = len(self.durable)  # before the copy: what is called durable later need not be in it
        old = self.path()
        self.generation += 1
        for suffix in (".mark", "", "-wal"):  # the mark first: a later one would be ahead of the copy
            if old.with_name(old.name + suffix).exists():
                shutil.copy(old.with_name(old.name + suffix), self.path().with_name(self.path().name + suffix))
        self.journal.close(SECONDS)
        self.restart(at_least=durable)

    @rule()
    def stop(self) -> None:
        self.journal.close(SECONDS)
        assert self.durable == self.appended
        self.restart(at_least=len(self.appended), settled=self.committed)

    def restart(self, at_least: int, settled: int | None = None) -> None:
        """Go on with what the disk holds now, after checking it."""
        self.open()
        present: list[int] = []
        said = read_statement(self.path(), lambda row: present.extend(int(record.payload) for record in row.records))
        removed = sum(tally.messages.received for tally in said.settled.values())
        assert said.losses == []
        assert said.appended == removed + len(present) >= at_least
        assert removed == self.committed if settled is not None else removed <= self.committed
        assert present == self.appended[removed : said.appended], "nothing is missing, nothing is out of order"
        for i in range(3):
            tally = said.settled.get(f"t{i}", Tally())
            assert tally.messages.inserted == tally.messages.received == len(range(i, removed, 3))
        self.appended = self.appended[: said.appended]
        self.durable = list(self.appended)
        self.committed = removed
        self.polled = []

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close(SECONDS)
        shutil.rmtree(self.folder)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
