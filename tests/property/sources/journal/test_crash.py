"""The journal is compared with a model, with a crash at every write: no record is missing that was called durable.

A crash is a kill before, in the middle of or after a write, or a power failure. A power failure may take along any part
of the data that was not synced (see `tests/recorded_disk.py`).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from connector.ledger.source_file import SourceFile
from tests.property.fuzz import FUZZ
from tests.property.sources.journal.run import NAME, Facts, Run, check, crashes
from tests.recorded_disk import Disk, Note, Recording, Remove, Rename, Sync, Truncate, Write, put, read_folder, unsynced

LONG: Final = FUZZ.max_examples > 150


def a_life(recording: Recording, path: Path) -> None:
    """Everything that a journal does in its life, with few records."""
    run = Run(recording, path)
    run.append(3)
    run.wait()
    run.append(1, 2)
    run.wait()
    run.poll_all()
    run.settle(1)
    run.append(4, bytes_=3000)  # a row of several pages
    run.wait()
    run.checkpoint()
    run.append(2)  # from here on the write-ahead log begins anew
    run.wait()
    run.settle(1)
    run.append(1)
    run.wait()
    run.file.journal.give_back(all_of_it=True)
    run.close()
    run = Run(recording, path, run.appended)
    damage(recording, path, 10, 11)
    run.poll_all()
    run.append(1)
    run.wait()
    run.settle(2)
    run.file.set_aside("for the test")
    run.append(1)
    run.wait()
    run.close()


def damage(recording: Recording, path: Path, *numbers: int) -> None:
    """Damage one byte of the row that has exactly the records with these numbers."""
    for number in numbers:
        recording.note("damaged", number)
    found = path.read_bytes().index(b"%d " % numbers[0])
    recording.damage(NAME, found + 1, b"#")


def test_a_crash_at_every_write_of_a_life(tmp_path: Path) -> None:
    (tmp_path / "life").mkdir()
    (tmp_path / "after").mkdir()
    recording = Recording(tmp_path / "life")
    with recording.running():
        a_life(recording, tmp_path / "life" / NAME)
    whole = Disk()
    for op in recording.ops:
        whole.apply(op)
    assert whole.killed() == read_folder(tmp_path / "life"), "no write escaped the recording"
    assert {Write, Truncate, Sync, Rename, Remove} <= set(map(type, recording.ops))
    check_all(recording, Disk(), Facts(), tmp_path / "after")


def check_all(recording: Recording, disk: Disk, facts: Facts, folder: Path, *, kills: bool = True) -> None:
    """Check every state in which a crash during this recording may leave the disk."""
    with unsynced():
        for crash in crashes(recording.ops, disk, facts, 10 if LONG else 1 if kills else 4, kills=kills):
            try:
                check(crash.files, folder, crash.before, crash.after)
            except Exception as error:
                raise AssertionError(f"{crash.how} change {crash.at}, {recording.ops[crash.at]}: {error}") from error


def test_a_power_failure_after_a_restart_after_a_kill(tmp_path: Path) -> None:
    """A killed process has written records and not synced them. The next process takes them over, and makes them
    durable."""
    first, second, after = (tmp_path / name for name in ("first", "second", "after"))
    for folder in (first, second, after):
        folder.mkdir()
    recording = Recording(first)
    with recording.running():
        run = Run(recording, first / NAME)
        run.append(2)
        run.wait()
        run.poll_all()
        begun = len(recording.ops)
        run.append(1)
        run.settle()
        run.wait()
        run.close()
    disk, facts = Disk(), Facts()
    for at, op in enumerate(recording.ops):
        disk.apply(op)
        facts = facts.after(op)
        if at < begun or isinstance(op, Note):
            continue
        with unsynced():
            appended, settled = check(disk.killed(), after, facts, facts)
        put(disk.killed(), second)
        restarted = Recording(second)
        with restarted.running():
            run = Run(restarted, second / NAME, appended)
            start = restarted.ops[:8]  # other tests look at the stop
            run.close()
            restarted.ops[:] = start
        check_all(restarted, disk.copy(), replace(facts, settled=max(settled, facts.settled)), after, kills=False)


def test_a_crash_at_every_write_of_a_recovery(tmp_path: Path) -> None:
    """The first page of a file is damaged, and most records are in the write-ahead log. A start sets the file aside."""
    home, after = tmp_path / "home", tmp_path / "after"
    for folder in (home, after):
        folder.mkdir()
    recording = Recording(home)
    with recording.running():
        run = Run(recording, home / NAME)
        run.append(1)
        run.wait()
        run.checkpoint()
        run.append(2, 1)
        run.wait()
        killed = len(recording.ops)
        run.close()
    disk, facts = Disk(), Facts()
    for op in recording.ops[:killed]:
        disk.apply(op)
        facts = facts.after(op)
    put(disk.killed(), home)
    assert NAME + "-wal" in disk.killed()
    recording = Recording(home)
    with recording.running():
        recording.damage(NAME, 0, b"x" * 100)
        assert SourceFile.open(home / NAME).recovery is not None
    check_all(recording, disk, facts, after)


class JournalMachine(RuleBasedStateMachine):
    """Any schedule of operations, over any number of crashes, on a disk that fails now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory(prefix="journal-")
        self.folder = Path(self.temporary.name)
        (self.folder / "after").mkdir()
        self.generation = 0
        self.disk = Disk()
        """The disk at the last start."""
        self.facts = Facts()

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        self.generation += 1
        home = self.folder / str(self.generation)
        home.mkdir()
        put(self.disk.killed(), home)
        self.recording = Recording(home)
        self.running = self.recording.running()
        self.running.__enter__()
        self.run = Run(self.recording, home / NAME, self.facts.appended)

    @rule(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), large=st.booleans())
    def append(self, sizes: list[int], large: bool) -> None:
        self.run.append(*sizes, bytes_=2000 if large else 0)

    @rule()
    def wait_for_the_disk(self) -> None:
        self.run.wait()

    @rule()
    def poll(self) -> None:
        self.run.poll()

    @rule(n=st.integers(1, 3))
    def settle(self, n: int) -> None:
        self.run.settle(n)

    @rule()
    def checkpoint(self) -> None:
        self.run.wait()
        self.run.checkpoint()

    @rule()
    def give_back(self) -> None:
        self.run.wait()
        self.run.file.journal.give_back(all_of_it=True)

    @rule()
    def set_aside(self) -> None:
        self.run.wait()
        self.run.file.set_aside("for the test")

    @rule(
        changes=st.integers(1, 6),
        after=st.integers(0, 6),
        full=st.booleans(),
        share=st.sampled_from((0.0, 0.5, 1.0)),
    )
    def fail(self, changes: int, after: int, full: bool, share: float) -> None:
        """Let some of the next changes fail. The journal tries again, and succeeds when the disk works again."""
        self.run.append(1)
        self.recording.fail(changes, after=after, full=full, share=share)
        self.run.append(1)
        self.run.wait()
        self.recording.fail(0)

    @rule(at=st.floats(0, 1), how=st.sampled_from(("killed", "power failed", "stopped")), seed=st.integers(0, 2**32))
    def crash(self, at: float, how: str, seed: int) -> None:
        """Crash at any change since the last start; the changes of an orderly stop are included. Then start again."""
        self.stop()
        ops = self.recording.ops
        k = len(ops) if how == "stopped" else int(at * len(ops))
        for op in ops[:k]:
            self.disk.apply(op)
            self.facts = self.facts.after(op)
        if how == "power failed":
            self.disk = Disk(self.disk.power_lost(seed), seed)
        with unsynced():
            appended, settled = check(self.disk.killed(), self.folder / "after", self.facts, self.facts)
        if how == "stopped":
            assert (appended, settled) == (self.facts.appended, self.facts.settled)
        self.facts = Facts(appended, self.facts.durable, settled)
        self.open()

    def stop(self) -> None:
        self.run.close()
        self.running.__exit__(None, None, None)

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.stop()
        self.temporary.cleanup()


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=max(25, FUZZ.max_examples // 6), stateful_step_count=25, deadline=None)
