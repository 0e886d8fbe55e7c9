"""What the mapping hands out for ever is on disk before anything is sent under it, however long the disk refuses."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from connector.config.read import load_config
from connector.mapping.signals.input_ids import Origin
from connector.pipeline.discoveries import Overwritten
from connector.runtime.connector import Connector
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
