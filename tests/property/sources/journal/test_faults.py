"""The disk fails: each write, sync, truncation, renaming or removal by the journal fails once, or from then on.

The journal goes on by itself, or its source stops and says why. Either way no record is lost that was called durable,
at whichever moment after the failure the machine stops. When the disk works again, so does the journal.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from pathlib import Path
from random import Random

import pytest

from connector.sources.source import SourceFailedError
from tests.property.sources.journal.run import NAME, SECONDS, Facts, Run, check, crashes
from tests.property.sources.journal.test_crash import LONG
from tests.recorded_disk import Disk, Files, Note, Recording, put, unsynced
from tests.waiting import wait_until

LASTING = 10**9


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    """The files that a killed journal has left, with records in the file and in the write-ahead log."""
    home = tmp_path_factory.mktemp("begun")
    recording = Recording(home)
    with recording.running():
        run = Run(recording, home / NAME)
        run.append(1, 2)
        run.wait()
        run.checkpoint()
        run.append(2)
        run.wait()
        ops = list(recording.ops)
        run.close()
    disk, facts = Disk(), Facts()
    for op in ops:
        disk.apply(op)
        facts = facts.after(op)
    return disk.killed(), facts


def a_day(recording: Recording, path: Path, appended: int) -> str | None:
    """Open, append, settle, return pages, recover, stop. Returns what the source or the start says if it gives up."""
    try:
        run = Run(recording, path, appended)
    except (OSError, sqlite3.OperationalError) as error:
        return str(error)
    try:
        for n in (2, 1):
            run.append(n)
            lasts = wait_for_all(run)
            while not lasts and (run.poll() or run.journal.gauges()["journal_unread_messages"]):
                continue
            run.settle(1)
        with contextlib.suppress(sqlite3.OperationalError):  # SQLite itself would try the checkpoint again
            run.checkpoint()
        run.append(1)
        wait_for_all(run)
        run.settle(1)
        if run.journal._damage.recover(sqlite3.DatabaseError("for the test")):
            run.append(1)
            wait_for_all(run)
        run.poll()
    except SourceFailedError as error:
        return str(error)
    finally:
        run.close()
    return None


def wait_for_all(run: Run) -> bool:
    """Wait until all records are durable, or until the disk has failed so often that it will not recover. Returns
    whether the failure lasts."""

    def settled() -> bool:
        if run.journal._damage.failure:
            raise SourceFailedError(run.journal._damage.failure)
        return run.durable == run.appended or run.recording.failures > 5

    wait_until(settled, SECONDS, lambda: f"durable, or told why not: {run.journal.problems()}", every=0.0002)
    if run.durable == run.appended:
        return False
    assert run.journal.problems(), "the disk fails, and nobody says so"
    return True


KINDS = list(itertools.product((1, 3, LASTING), (False, True), (0.0, 0.5)))
"""(how many changes fail, whether the disk is full, the share of a failing write that reaches the disk)"""


def test_every_change_fails(begun: tuple[Files, Facts], tmp_path: Path) -> None:
    files, facts = begun
    home, after = tmp_path / "home", tmp_path / "after"
    home.mkdir()
    after.mkdir()
    said: set[str] = set()
    for place in itertools.count():
        for kind in KINDS if LONG else KINDS[place % len(KINDS) :][:1]:
            put(files, home)
            recording = Recording(home)
            with recording.running():
                changes, full, share = kind
                recording.fail(changes, after=place, full=full, share=share)
                trouble = a_day(recording, home / NAME, facts.appended)
                if trouble is not None:
                    said.add(trouble)
                over = recording.changes <= place
            with unsynced():
                look(recording, files, facts, after, place)
        if over:
            break
    assert place > 50, "that many changes a day has"
    assert said, "nothing made it give up"
    for trouble in said:
        assert any(why in trouble for why in ("disk I/O error", "is full", "made to fail")), trouble
        assert "please report" not in trouble


def look(recording: Recording, files: Files, facts: Facts, folder: Path, seed: int) -> None:
    """Check the disk at the end, and at one moment after the first failure."""
    ops = recording.ops
    changes = [at for at, op in enumerate(ops) if not isinstance(op, Note)]
    later = changes[min(seed, len(changes) - 1) :]
    shown = {Random(seed).choice(later), changes[-1]}
    for crash in crashes(ops, Disk(files, seed), facts, 1, only=shown):
        try:
            check(crash.files, folder, crash.before, crash.after)
        except Exception as error:
            raise AssertionError(f"{crash.how} change {crash.at}, {ops[crash.at]}: {error}") from error


def test_a_commit_that_failed_and_is_durable_all_the_same_counts_once(tmp_path: Path) -> None:
    """When the sync of a transaction fails, SQLite says that the transaction has failed. But the transaction is in the
    write-ahead log, and a recovery finds it there."""
    home, after = tmp_path / "home", tmp_path / "after"
    home.mkdir()
    after.mkdir()
    recovered = 0
    for place, share in itertools.product(range(12), (0.0, 1.0)):
        put({}, home)
        recording = Recording(home)
        with recording.running():
            run = Run(recording, home / NAME, retry_seconds=SECONDS * 10)
            run.append(3)
            run.wait()
            run.poll_all()
            recording.fail(3, after=place, share=share)
            run.settle()
            wait_until(lambda: run.journal.problems() or run.file.settled_to == 3, SECONDS, "told", every=0.001)  # noqa: B023
            if run.journal.problems():  # the commit waits to be tried again
                recovered += run.journal._damage.recover(sqlite3.DatabaseError("for the test"))
            recording.fail(0)
            run.close()
        disk, facts = Disk(), Facts()
        for op in recording.ops:
            disk.apply(op)
            facts = facts.after(op)
        with unsynced():
            check(disk.killed(), after, facts, facts)
    assert recovered > 5, "there was something to find out"
