"""The state file, the dead letters and the ledger of ranges: with a crash at every write, and with changes that fail.

Each change is all or nothing, is durable when its method returns, and never becomes durable before an earlier change.
So after a crash the disk holds the content after one of the steps: after the last step that had returned, or after a
later one that had begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.dead_letters.letter import DeadLetter, letter_of
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLettersError
from connector.formats.sparkplug.topic import Owner
from connector.ledger.account import Commit, Counts, LogPosition, SettledRange, Tally
from connector.ledger.ledger_lines import read_tallies
from connector.ledger.ledger_tables import read_ranges
from connector.ledger.source_file import SourceFile
from connector.mapping.signals.input_ids import Origin
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import Desire, SaveInterval, rejected, saved, sending, wanted
from connector.records import Reason, Record, Reject
from connector.state.state import SignalStatus, State, approve
from tests.property.fuzz import FUZZ
from tests.recorded_disk import Disk, Note, Op, Recording, Sync, Write, put, read_folder, unsynced

LONG = FUZZ.max_examples > 150
NAME = "store.sqlite"
Step = Callable[[Any], object]


@dataclass(frozen=True)
class Kind:
    """One of the stores: how it is opened, its whole content, the steps that may be taken, and how it may fail."""

    open: Callable[[Path], Any]
    content: Callable[[Any], object]
    steps: Sequence[Step]
    fails_with: tuple[type[Exception], ...]


# -- what the connector remembers ------------------------------------------------------------------

OWNERS = [Owner("group", "node", ""), Owner("group", "node", "device")]
INTERVAL = SaveInterval(60.0)
BIG = Desire("big", b"x" * 500)


def signals(state: State) -> MetadataBook:
    return MetadataBook(state, MetadataKind.SIGNAL, "integration")


def open_state(path: Path) -> State:
    """The state file with the tables of its books, as a connector creates them at its start."""
    state = State(path)
    try:
        signals(state), MetadataBook(state, MetadataKind.ITEM, "integration")
    except BaseException:
        state.close()
        raise
    return state


STATE_STEPS: list[Step] = [
    lambda s: s.add_claims([("a", Origin("mqtt", "t", "x")), ("b", Origin("mqtt", "t", "y"))]),
    lambda s: s.add_claims([(f"id{i}", Origin("kafka", "t" * 50, str(i))) for i in range(100)]),  # several pages
    lambda s: s.add_learned_states([("a", "on", 1), ("a", "off", 0)]),
    lambda s: s.add_learned_states([("a", "on", 7), ("b", "open", 2)]),  # a text that has a number keeps it
    lambda s: s.add_windows_done({"a": 10, "b": 10}),
    lambda s: s.add_windows_done({"a": 20}),
    lambda s: s.keep_births("mqtt", [(OWNERS[0], b"born" * 500), (OWNERS[1], b"device")]),
    lambda s: s.keep_births("mqtt", [(OWNERS[0], b"again"), (OWNERS[1], None)]),
    lambda s: signals(s).revise(["a", "b"], lambda _, entry: wanted(entry, Desire("1", b"{}"), 1.0, INTERVAL)),
    lambda s: signals(s).revise([f"id{i}" for i in range(50)], lambda _, entry: wanted(entry, BIG, 1.0, INTERVAL)),
    lambda s: signals(s).revise(["a", "b"], lambda _, entry: saved(sending(entry), "1", 2.0, INTERVAL)),
    lambda s: signals(s).revise(
        ["id1"], lambda _, entry: rejected(sending(entry), "big", "is ugly", False, 2.0, INTERVAL)
    ),
    lambda s: MetadataBook(s, MetadataKind.ITEM, "integration").revise(
        ["a"], lambda _, entry: saved(entry, "2", 3.0, INTERVAL)
    ),
    lambda s: s.add_signal_statuses([("a", SignalStatus.KNOWN), ("b", SignalStatus.HELD), ("c", SignalStatus.HELD)]),
    lambda s: s.take_approved(),
    lambda s: s.add_note("packing", 1.0, "note"),
    lambda s: s.add_note("packing", 2.0, "newer note"),
]


def content_of_state(state: State) -> object:
    with state._lock:
        tables = [name for (name,) in state._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: state._connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables}


# -- dead letters ----------------------------------------------------------------------------------


def letter(number: int, size: int = 10) -> DeadLetter:
    record = Record("t", b"%d " % number + b"x" * size, number)
    return letter_of("mqtt", "p", number, "t", [Reject(Reason.INVALID_JSON, "no JSON")], record)


LETTER_STEPS: list[Step] = [
    lambda s: s.add([letter(1)]),
    lambda s: s.add([letter(2, 9000), letter(3)]),
    lambda s: s.add([letter(1), letter(4)]),  # the first letter is there already
    lambda s: s.add([letter(1)]),
    lambda s: s.forget([letter(3).key]),
    lambda s: s.add([letter(n, 3000) for n in range(5, 9)]),  # above the bound: the oldest go
    lambda s: s.add([letter(9)]),
    lambda s: s.forget([letter(n).key for n in range(5, 9)]),
]


def content_of_letters(store: SqliteLetters) -> object:
    letters = [found.key for found in store.read()]
    usage = store.usage()
    assert usage.kept == len(letters), "what is counted is there"
    return letters, usage


# -- the account of a log that is kept elsewhere (Kafka) -------------------------------------------


def settled(n: int) -> Commit:
    counts = Counts(received=n, inserted=n)
    return Commit("kafka", "t-0", n, {"t": Tally(counts, counts)})


RANGE_STEPS: list[Step] = [
    lambda f: f.remember("cluster", "here"),
    lambda f: f.ledger.begin([LogPosition("t-0", "", "", 0), LogPosition("t-1", "x", "here", 0)]),
    lambda f: f.ledger.add_ranges([SettledRange("t-0", 0, 5, 5)], [settled(5)]),
    lambda f: f.ledger.add_ranges(
        [SettledRange("t-0", 5, 9, 3), SettledRange("t-1", 0, 1, 1, 1)], [settled(3), settled(1)]
    ),
    lambda f: f.ledger.add_expired("expired", 7),
    lambda f: f.ledger.add_unread("deleted", 2),
    lambda f: f.ledger.add_commits(2, [settled(2)]),
    lambda f: f.ledger.add_ranges([SettledRange("t-0", 20, 21, 1)], [settled(1)]),
]


def content_of_ranges(file: SourceFile) -> object:
    with file._database.locked() as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        incidents = [message for (message,) in connection.execute("SELECT message FROM incidents")]
        found = read_ranges(connection), read_tallies(connection), incidents, file.ledger.positions()
    assert file.lost_at_start == []
    assert file.recovery is None
    assert meta["next_position"] == file.next_position
    del meta["incarnation"]  # a file that is created again has another incarnation
    return meta, found


KINDS = {
    "state": Kind(open_state, content_of_state, STATE_STEPS, (sqlite3.Error,)),
    "letters": Kind(
        lambda path: SqliteLetters(path, 16_000), content_of_letters, LETTER_STEPS, (sqlite3.Error, DeadLettersError)
    ),
    "ranges": Kind(SourceFile.open, content_of_ranges, RANGE_STEPS, (sqlite3.Error, OSError)),
}


def live(kind: Kind, recording: Recording, path: Path, steps: Sequence[Step]) -> list[object]:
    """Open the store, take the steps, each until it succeeds, and close the store. Returns the content before the first
    step and after each step. The recording says which step has begun (counted from 1), and which has returned."""
    store = again(kind, recording, lambda: kind.open(path))
    contents = [kind.content(store)]
    recording.note("returned", 0)
    for number, step in enumerate(steps, 1):
        recording.note("begun", number)
        again(kind, recording, lambda step=step: step(store))  # type: ignore[misc]
        contents.append(kind.content(store))
        recording.note("returned", number)
    store.close()
    return contents


def again(kind: Kind, recording: Recording, what: Callable[[], Any]) -> Any:
    """Call `what` until it does not fail any more. It may fail only in the ways that the store promises."""
    while True:
        failures = recording.failures
        try:
            return what()
        except kind.fails_with:
            if recording.failures == failures:  # the store fails although the disk does not
                raise


def look(kind: Kind, files: dict[str, bytes], folder: Path, contents: list[object], returned: int, begun: int) -> None:
    put(files, folder)
    store = kind.open(folder / NAME)
    found = kind.content(store)
    store.close()
    assert found in contents[max(0, returned) : begun + 1], (returned, begun)


def look_everywhere(
    kind: Kind, ops: Sequence[Op], folder: Path, contents: list[object], wanted: Callable[[int], bool], seed: int = 0
) -> None:
    """Check the store at every wanted change: killed in the middle of it or after it, and after a power failure."""
    disk = Disk(seed=seed)
    said = {"returned": -1, "begun": 0}
    with unsynced():
        for at, op in enumerate(ops):
            if isinstance(op, Note):
                said[op.what] = op.value
                continue
            states = []
            if wanted(at) and isinstance(op, Write) and len(op.data) > 512:
                torn = disk.copy()
                torn.apply(Write(op.name, op.offset, op.data[: len(op.data) // 2]))
                states.append(torn.killed())
            disk.apply(op)
            follows = ops[at + 1] if at + 1 < len(ops) else None
            returned = follows.value if isinstance(follows, Note) and follows.what == "returned" else said["returned"]
            if wanted(at):
                states += [disk.killed(), *(disk.power_lost(100 * at + i) for i in range(5 if LONG else 1))]
            for files in states:
                try:
                    look(kind, files, folder, contents, returned, said["begun"])
                except Exception as error:
                    raise AssertionError(f"at change {at}, {op}: {error}") from error


@pytest.mark.parametrize("name", KINDS)
def test_a_crash_at_every_write(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    home, after = tmp_path / "home", tmp_path / "after"
    home.mkdir()
    after.mkdir()
    recording = Recording(home)
    with recording.running():
        contents = live(kind, recording, home / NAME, kind.steps)
    whole = Disk()
    for op in recording.ops:
        whole.apply(op)
    assert whole.killed() == read_folder(home), "no write escaped the recording"
    look_everywhere(kind, recording.ops, after, contents, lambda _: True)


@pytest.mark.parametrize("name", KINDS)
@settings(
    FUZZ,
    max_examples=max(40, FUZZ.max_examples // 4),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_steps_in_any_order_on_a_disk_that_fails(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """Some changes in a row fail, then everything works again. A step that failed is tried again, and succeeds."""
    kind = KINDS[name]
    home, after = tmp_path / "home", tmp_path / "after"
    for folder in (home, after):
        folder.mkdir(exist_ok=True)
        put({}, folder)
    steps = data.draw(st.lists(st.sampled_from(range(len(kind.steps))), min_size=1, max_size=6), "steps")
    recording = Recording(home)
    with recording.running():
        recording.fail(
            data.draw(st.integers(0, 4), "failing"),
            after=data.draw(st.integers(0, 80), "after"),
            full=data.draw(st.booleans(), "full"),
            share=data.draw(st.sampled_from((0.0, 0.5, 1.0)), "share"),
        )
        contents = live(kind, recording, home / NAME, [kind.steps[number] for number in steps])
    chosen = set(data.draw(st.lists(st.integers(0, len(recording.ops)), max_size=6), "crashes"))
    look_everywhere(kind, recording.ops, after, contents, chosen.__contains__, data.draw(st.integers(0, 99), "seed"))


@pytest.mark.parametrize(("name", "number"), [("state", 2), ("letters", 0)])
def test_what_a_killed_process_left_is_durable_when_the_next_one_says_so(
    name: str, number: int, tmp_path: Path
) -> None:
    """A killed process has written a change and not synced it. The next process finds the change, has nothing to add,
    and says that it is durable."""
    kind = KINDS[name]
    home, after = tmp_path / "home", tmp_path / "after"
    home.mkdir()
    after.mkdir()
    first = Recording(home)
    with first.running():
        contents = live(kind, first, home / NAME, [kind.steps[number]])
    begun = first.ops.index(Note("begun", 1))
    disk = Disk()
    for at, op in enumerate(first.ops):
        disk.apply(op)
        if at <= begun or isinstance(op, Note):
            continue
        put(disk.killed(), home)
        second = Recording(home)
        with second.running():
            store = kind.open(home / NAME)
            kind.steps[number](store)
            now = len(second.ops)
            store.close()
        later = disk.copy()
        for op_ in second.ops[:now]:
            later.apply(op_)
        with unsynced():
            for seed in range(3):
                look(kind, later.power_lost(seed), after, contents, 1, 1)


def test_an_approval_beside_the_running_connector_survives_a_crash_at_every_write(tmp_path: Path) -> None:
    home, after = tmp_path / "home", tmp_path / "after"
    home.mkdir()
    after.mkdir()
    recording = Recording(home)
    with recording.running():
        state = open_state(home / NAME)
        state.add_signal_statuses([("a", SignalStatus.HELD), ("b", SignalStatus.HELD)])
        contents = [content_of_state(state)]
        recording.note("returned", 0)
        recording.note("begun", 1)
        start = len(recording.ops)
        assert approve(home / NAME, ["a"]) == 1
        contents.append(content_of_state(state))
        recording.note("returned", 1)
        recording.note("begun", 2)
        assert state.take_approved() == ["a"]
        contents.append(content_of_state(state))
        recording.note("returned", 2)
        state.close()
    look_everywhere(KINDS["state"], recording.ops, after, contents, lambda at: at >= start)


@pytest.mark.parametrize("name", KINDS)
def test_a_sync_that_failed_while_the_file_was_opened_and_a_power_failure_later(name: str, tmp_path: Path) -> None:
    """The second sync of the same log succeeds, although the disk does not have what the first sync lost."""
    kind = KINDS[name]
    home, after = tmp_path / "home", tmp_path / "after"
    for folder in (home, after):
        folder.mkdir()
    whole = Recording(home)
    with whole.running():
        live(kind, whole, home / NAME, kind.steps[:1])
    opened = whole.ops.index(Note("begun", 1))
    failed = 0
    for number in range(opened):
        put({}, home)
        recording = Recording(home)
        with recording.running():
            recording.fail(2, after=number)  # the sync, and the removal of the log when the file is closed
            contents = live(kind, recording, home / NAME, kind.steps[:1])
        sync = next((at for at, op in enumerate(recording.ops) if isinstance(op, Sync) and op.failed), None)
        if sync is not None:
            failed += 1
            look_everywhere(kind, recording.ops, after, contents, range(sync, sync + 16).__contains__)
    assert failed
