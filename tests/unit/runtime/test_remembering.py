"""What the mapping hands out for ever is on disk before anything is sent under it, however long the disk refuses."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from connector.config.read import load_config
from connector.conformance.dead_letters import a_letter
from connector.delivery.load import PackingAccount
from connector.mapping.signals.input_ids import Origin
from connector.pipeline.discoveries import Overwritten
from connector.runtime.connector import Connector
from connector.runtime.ledger import as_table, read_ledger
from connector.state.state import State, read_overwritten
from tests.credentials import credentials
from tests.recorded_disk import Recording
from tests.waiting import wait_until

SECONDS = 20.0
CONFIG = """
clarify: {credentials: credentials.json}
sources: [{type: mqtt, url: "mqtt://127.0.0.1:1", topics: [x]}]
state_dir: state
"""


@pytest.mark.parametrize("what", ["claims", "states"])
def test_it_goes_on_trying_until_it_is_written(what: str, tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps(credentials()))
    (tmp_path / "connector.yaml").write_text(CONFIG)
    folder = tmp_path / "state"
    folder.mkdir()
    recording = Recording(folder)
    with recording.running():
        connector = Connector(load_config(tmp_path / "connector.yaml"))
        recording.fail(10**9, full=True)
        returned = threading.Event()

        def tell() -> None:
            if what == "claims":
                connector.remembering.claimed([("a", Origin("mqtt", "t", "x"))])
            else:
                connector.remembering.learned([("a", "on", 1)])
            returned.set()

        thread = threading.Thread(target=tell)
        thread.start()
        wait_until(lambda: recording.failures > 1, SECONDS, "it was tried twice", every=0.01)
        assert not returned.is_set()
        recording.fail(0)
        assert returned.wait(60)
        thread.join(60)
        connector.close()
        state = State(folder / "state.sqlite")
        assert (state.claims(), state.learned_states()) == (
            ({"a": Origin("mqtt", "t", "x")}, {}) if what == "claims" else ({}, {"a": {"on": 1}})
        )
        state.close()


def test_replaced_values_wait_in_memory_while_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps(credentials()))
    (tmp_path / "connector.yaml").write_text(CONFIG)
    folder = tmp_path / "state"
    folder.mkdir()
    recording = Recording(folder)
    with recording.running():
        connector = Connector(load_config(tmp_path / "connector.yaml"))
        recording.fail(10**9, full=True)
        connector.remembering.overwritten({"a": Overwritten("t/1", 2), "b": Overwritten("t/1", 1)})
        recording.fail(0)
        connector.remembering.overwritten({"a": Overwritten("t/2", 3)})
        connector.remembering.overwritten({"b": Overwritten("t/1", 1)})
        connector.close()
    found = read_overwritten(folder / "state.sqlite")
    assert {name: (one.topic, one.values) for name, one in found.items()} == {"a": ("t/2", 5), "b": ("t/1", 2)}


def test_discarded_letters_are_told_without_a_red_readiness_and_stay_in_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps(credentials()))
    (tmp_path / "connector.yaml").write_text(CONFIG + "dead_letters: {max_bytes: 64KiB}\n")
    config = load_config(tmp_path / "connector.yaml")
    lost = 0
    for start in range(2):
        connector = Connector(config)
        connector.carrying.look()
        assert connector.notices() == [], "those of an earlier run are in the ledger alone"
        for i in range(10):
            connector.dead_letters.add([a_letter(10 * start + i, bytes(10_000))])
            connector.carrying.look()
        (notice,) = connector.notices()
        discarded = connector.dead_letters.usage().discarded
        assert (notice.kind, notice.count) == ("dead_letters_discarded", discarded - lost)
        assert f"{discarded - lost} dead letters" in notice.text
        assert not [problem for problem in connector.problems() if "dead letters" in problem]
        lost = discarded
        connector.close()
    found = read_ledger(config)
    assert (found.discarded, found.as_json()["dead_letters_discarded"]) == (lost, lost)
    assert f"dead letters: {lost} were discarded" in as_table(found)


def test_an_account_of_packing_is_written_when_it_has_changed(tmp_path: Path) -> None:
    """Also while no frame is made."""
    (tmp_path / "credentials.json").write_text(json.dumps(credentials()))
    (tmp_path / "connector.yaml").write_text(CONFIG)
    connector = Connector(load_config(tmp_path / "connector.yaml"))
    written: list[tuple[str, float, str]] = []
    connector.state.add_note = lambda *note: written.append(note)  # type: ignore[method-assign]
    account = PackingAccount(1, 2, 3, 4, 0, 0.0, 5.0, 6.0, 7.0, 0.0)
    for inflow in (5.0, 5.0, 0.0, 0.0):
        connector.pipeline.status.packing = lambda _, now=inflow: replace(account, inflow=now)  # type: ignore[method-assign, misc]
        connector.pipeline._account_due = 0.0
        connector.carrying.look()
    assert [json.loads(text)["inflow"] for _, _, text in written] == [5.0, 0.0]
    connector.close()
