"""What the connector remembers beside its journals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from connector.formats.sparkplug.topic import Owner
from connector.mapping.signals.input_ids import Origin
from connector.state.state import (
    Memory,
    OverwrittenInput,
    SignalStatus,
    State,
    approve,
    read_claims,
    read_held,
    read_memory,
    read_note,
    read_overwritten,
)


def test_claims_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = State(path)
    assert state.claims() == {}
    odd = Origin("mqtt", "plant/7\n", "a\0b.ø")
    state.add_claims([("x", Origin("mqtt", "t", "")), ("y", odd)])
    state.add_claims([("x", Origin("mqtt", "t2", "v"))])
    state.close()
    again = State(path)
    assert again.claims() == {"x": Origin("mqtt", "t2", "v"), "y": odd}
    again.close()


def test_it_is_durable_at_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.add_claims([("x", Origin("mqtt", "t", ""))])
    other = State(tmp_path / "state.sqlite")
    assert list(other.claims()) == ["x"]
    other.close()
    state.close()


def test_all_or_nothing(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    with pytest.raises(UnicodeEncodeError):
        state.add_claims([("x", Origin("mqtt", "t", "")), ("y", Origin("mqtt", "\ud800", ""))])
    assert state.claims() == {}
    state.add_claims([("z", Origin("mqtt", "t", ""))])
    assert list(state.claims()) == ["z"]
    state.close()


def test_a_file_that_is_no_database_is_named_with_the_cost_of_losing_it(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_text("no database" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="no data is lost") as refused:
        State(path)
    assert str(path) in str(refused.value)


def test_notes_are_replaced_and_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = State(path)
    assert read_note(path, "packing") is None
    state.add_note("packing", 1.5, "old")
    state.add_note("packing", 2.5, "new")
    assert read_note(path, "packing") == (2.5, "new")
    state.close()


def test_an_approval_by_another_process_arrives_once_and_is_not_undone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = State(path)
    assert read_held(path) == []
    state.add_signal_statuses([("a", SignalStatus.KNOWN), ("b", SignalStatus.HELD), ("c", SignalStatus.HELD)])
    assert read_held(path) == ["b", "c"]
    assert approve(path, ["b", "a", "nobody"]) == 1
    state.add_signal_statuses([("b", SignalStatus.HELD)])  # as a connector does that has not seen the approval yet
    assert state.take_approved() == ["b"]
    assert state.take_approved() == []
    assert state.signal_statuses() == {"a": "known", "b": "known", "c": "held"}
    state.close()


@pytest.mark.parametrize("begun", [False, True], ids=["no file", "a file without tables"])
def test_a_reader_finds_nothing_before_the_connector_has_made_the_tables(tmp_path: Path, begun: bool) -> None:
    path = tmp_path / "state.sqlite"
    if begun:
        path.touch()
    assert read_note(path, "packing") is None
    assert read_held(path) == []
    assert read_claims(path) == {}
    assert read_memory(path) == Memory()


def test_what_tells_records_apart_is_a_part_of_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = State(path)
    state.add_claims([("x", Origin("mqtt", "t", "v")), ("y", Origin("kafka", "t", "v", '{"key":"a"}'))])
    assert state.claims() == {"x": Origin("mqtt", "t", "v"), "y": Origin("kafka", "t", "v", '{"key":"a"}')}
    assert read_claims(path) == state.claims()
    state.close()


def test_what_nodes_said_survives_a_restart_by_source_and_can_be_forgotten(tmp_path: Path) -> None:
    node, device = Owner("g", "n"), Owner("g", "n", "d\0ø")
    state = State(tmp_path / "state.sqlite")
    state.keep_births("mqtt", [(node, b"a"), (device, b"b\0")])
    state.keep_births("other", [(node, b"c")])
    state.keep_births("mqtt", [(node, b"newer"), (Owner("g", "unknown"), None)])
    state.close()
    state = State(tmp_path / "state.sqlite")
    assert {source: dict(said) for source, said in state.births().items()} == {
        "mqtt": {node: b"newer", device: b"b\0"},
        "other": {node: b"c"},
    }
    state.keep_births("mqtt", [(node, None), (device, None)])
    assert state.births() == {"other": [(node, b"c")]}
    state.close()


def test_the_account_of_replaced_values_is_added_up_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    assert read_overwritten(path) == {}
    state = State(path)
    assert read_overwritten(path) == {}
    state.add_overwritten([("a", "t/1", 2), ("b", "t/1", 1)], 10.0)
    state.close()
    state = State(path)
    state.add_overwritten([("b", "t/2", 5)], 20.0)
    assert read_overwritten(path) == {
        "b": OverwrittenInput("t/2", 6, 10.0, 20.0),
        "a": OverwrittenInput("t/1", 2, 10.0, 10.0),
    }
    state.add_overwritten([(f"c{n}", "t", 1) for n in range(199)], 30.0)
    found = read_overwritten(path)
    assert len(found) == 200
    assert "a" not in found, "the inputs that were added last are kept"
    assert found["b"].values == 6
    state.close()


def test_a_state_without_that_account(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    State(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE overwritten")
    connection.close()
    assert read_overwritten(path) == {}
