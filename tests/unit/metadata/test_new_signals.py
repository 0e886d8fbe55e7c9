"""The memory for new signals: a signal that was let in stays in, also after a restart and while the disk is full."""

from __future__ import annotations

import sqlite3
from array import array
from pathlib import Path

import pytest

from connector.mapping.signals.input_ids import Origin
from connector.mapping.signals.signal_guard import GuardSettings
from connector.metadata.new_signals import NewSignalGate
from connector.records import Mapped, Rows, SignalMetadata
from connector.state.state import State, approve, read_held
from tests.scripted import Clock

HOLD = GuardSettings(on_new="hold")


def admitted(signals: NewSignalGate, *inputs: str) -> list[str]:
    found = signals.admit(list(enumerate(Mapped([(input_id, 1, 1.0)]) for input_id in inputs)))
    return [sample[0] for _, part in found if isinstance(part, Mapped) for sample in part.samples]


def test_rows_are_taken_apart_where_one_of_their_signals_is_not_let_in(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.add_claims([("old", Origin("mqtt", "t", "old"))])
    signals = NewSignalGate(HOLD, state)
    let_in, held = Rows(("old",), 0), Rows(("old", "new"), 3)
    for rows in (let_in, held):
        rows.indexes, rows.times = [1, 3], [7, 8]
    held.packed = [array("d", pair).tobytes() for pair in ((1, 2), (3, 4))]
    first, *others = signals.admit([(1, let_in), (1, held)])
    assert first == (1, let_in)
    kept = {index: part.samples for index, part in others if isinstance(part, Mapped)}
    assert kept == {1: [("old", 7, 1.0)], 3: [("old", 8, 3.0)]}
    reasons = [
        (part.filtered, [reject.path for reject in part.rejects]) for _, part in others if isinstance(part, Mapped)
    ]
    assert reasons == [(3, ["new@7"]), (3, ["new@8"])]
    state.close()


def test_what_there_was_before_the_guard_is_let_in_for_ever(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.add_claims([("old", Origin("mqtt", "t", "old"))])
    assert admitted(NewSignalGate(HOLD, state), "old", "new") == ["old"]
    state.add_claims([("new", Origin("mqtt", "t", "new"))])  # held signals have their IDs, too
    again = NewSignalGate(HOLD, state)
    assert admitted(again, "old", "new") == ["old"]
    assert again.counts() == ({"": 1}, {"": 1}, 1)
    state.close()


def test_an_approval_is_seen_within_seconds_and_kept(tmp_path: Path) -> None:
    state, clock = State(tmp_path / "state.sqlite"), Clock()
    signals = NewSignalGate(HOLD, state, clock=clock)
    assert admitted(signals, "a", "b") == []
    assert read_held(tmp_path / "state.sqlite") == ["a", "b"]
    approve(tmp_path / "state.sqlite", ["a"])
    clock.now += 3
    assert admitted(signals, "a", "b") == ["a"]
    assert admitted(NewSignalGate(HOLD, state), "a", "b") == ["a"]
    state.close()


def test_up_to_the_greatest_number_also_over_restarts(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    limit = GuardSettings(max_signals=2)
    assert admitted(NewSignalGate(limit, state), "a", "b", "c") == ["a", "b"]
    assert admitted(NewSignalGate(limit, state), "c", "b") == ["b"]
    assert admitted(NewSignalGate(GuardSettings(max_signals=3), state), "c", "b") == ["c", "b"]
    state.close()


def test_what_could_not_be_written_is_written_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / "state.sqlite")
    signals = NewSignalGate(HOLD, state)

    def full(_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(state, "add_signal_statuses", full)
        assert admitted(signals, "a") == []
    assert admitted(signals, "b") == []
    assert read_held(tmp_path / "state.sqlite") == ["a", "b"]
    state.close()


def test_metadata_waits_until_its_signal_is_let_in(tmp_path: Path) -> None:
    state, clock = State(tmp_path / "state.sqlite"), Clock()
    signals = NewSignalGate(GuardSettings(max_signals=1), state, clock=clock)
    both = [("a", SignalMetadata("A")), ("b", SignalMetadata("B"))]
    assert signals.described(both) == []
    assert signals.take_described() == []
    admitted(signals, "a", "b")
    assert signals.take_described() == both[:1]
    assert signals.described(both) == both[:1]
    approve(tmp_path / "state.sqlite", ["b"])
    clock.now += 3
    admitted(signals, "a")
    assert signals.take_described() == both[1:]
    assert signals.take_described() == []
    state.close()
