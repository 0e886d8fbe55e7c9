"""The command `silent` reads the last list of each worker, the longest silence first."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from connector.commands.cli import main
from connector.runtime.state_dir import SILENT_NOTE
from connector.state.state import State

CONFIG = """
clarify: {credentials: c.json, name: main, integrations: {plant-b: {credentials: d.json}}}
sources: [{type: mqtt, url: "mqtts://b", topics: ["#"]}]
mapping: {rules: [{topic: "p/#", expect_every: 5m}]}
state_dir: state
"""


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["silent", str(config), *options])


def note(folder: Path, more: int, *signals: tuple[str, float]) -> None:
    folder.mkdir(parents=True)
    state = State(folder / "state.sqlite")
    rows = [[input_id, "mqtt", 1, since, 300.0] for input_id, since in signals]
    state.add_note(SILENT_NOTE, 0.0, json.dumps({"signals": rows, "more": more, "gone": []}))
    state.close()


def test_the_signals_of_all_workers_are_listed(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    assert "No watched signal is silent." in run(config).stdout
    note(tmp_path / "state", 0, ("p/a", 1_790_000_060.0), ("plant-b|x\x1b[31m", 1_790_000_000.0))
    note(tmp_path / "state" / "worker-2", 7, ("p/b", 1_789_999_000.0))
    done = run(config)
    assert done.exit_code == 0
    header, *lines, last = done.stdout.splitlines()
    assert header.split() == ["since", "integration", "input", "source", "rule", "expect_every"]
    assert [line.split()[1:3] for line in lines] == [["main", "p/b"], ["plant-b", "x\\x1b[31m"], ["main", "p/a"]]
    assert lines[0].split()[0] == "2026-09-21T13:56:40Z"
    assert lines[0].endswith("5 min")
    assert last.startswith("7 more signals are silent")
    (only,) = json.loads(run(config, "--json", "--integration", "plant-b").stdout)
    assert (only["input"], only["integration"], only["expect_every"]) == ("x\x1b[31m", "plant-b", 300.0)
    config.write_text(CONFIG.replace(", expect_every: 5m", ""))
    assert "No rule has expect_every" in run(config).stdout
