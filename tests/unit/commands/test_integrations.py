"""`--integration NAME`: with several integrations, commands show, and change, what is of one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connector.commands.cli import main
from connector.commands.dead_letters.selection import LetterSelection
from connector.dead_letters.letter import DeadLetter, letter_of
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import Desire, SaveInterval, wanted
from connector.records import Reason, Reject
from connector.state.state import SignalStatus, State, read_held
from tests.unit.commands.configuration import CREDENTIALS

NAMED = (
    "clarify: {credentials: credentials.json, name: main, integrations: {plant-b: {credentials: credentials-b.json}}}"
)
RULES = """
mapping:
  rules:
    - {topic: "{site}/m", to: "{site}", input: "{field}"}
"""
OTHER = "0" * 20
LINES = "".join(
    json.dumps({"topic": f"{site}/m", "payload": {"v": n}}) + "\n"
    for site, n in (("main", 1), ("plant-b", 2), ("plant-b", 3), ("nowhere", 4))
)


@pytest.fixture
def several(config: Path) -> Path:
    """The configuration with a second integration, whose credentials are there."""
    config.write_text(config.read_text().replace("clarify: {credentials: credentials.json}", NAMED) + RULES)
    (config.parent / "credentials-b.json").write_text(json.dumps({**CREDENTIALS, "integration": OTHER}))
    return config


@pytest.fixture
def state(several: Path) -> State:
    folder = several.parent / "state"
    folder.mkdir()
    return State(folder / "state.sqlite")


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("command", ["preview", "ledger", "metadata", "new-signals", "silent"])
def test_an_unknown_name_is_refused_and_the_known_names_are_said(several: Path, state: State, command: str) -> None:
    state.close()
    more = ["--input", several, "--no-clarify"] if command == "preview" else []
    refused = cli(command, several, "--integration", "plant-c", *more)
    assert (refused.exit_code, "main, plant-b" in refused.output) == (2, True), refused.output


def test_preview(several: Path) -> None:
    capture = several.parent / "capture.ndjson"
    capture.write_text(LINES)
    both = json.loads(cli("preview", several, "--input", capture, "--no-clarify", "--json").stdout)
    one = json.loads(
        cli("preview", several, "--input", capture, "--no-clarify", "--json", "--integration", "plant-b").stdout
    )
    assert {signal["input"] for signal in both["signals"]} == {"v", "plant-b|v"}
    assert {signal["input"] for signal in one["signals"]} == {"plant-b|v"}
    assert len(both["frames"]) == 2, "no frame has samples of two integrations"
    assert len(one["frames"]) == 1
    assert "unknown_integration" in {reject["reason"] for reject in both["rejects"]}


def test_a_changed_mapping(several: Path) -> None:
    capture, changed = several.parent / "capture.ndjson", several.parent / "changed.yaml"
    capture.write_text(LINES)
    changed.write_text(several.read_text().replace('input: "{field}"', 'input: "{field}", values: {v: {scale: 10}}'))
    options = ["preview", several, "--input", capture, "--compare", changed, "--no-clarify", "--json"]
    both, one = (json.loads(cli(*options, *more).stdout)["comparison"] for more in ([], ["--integration", "plant-b"]))
    assert {change["after"]["input"]: change["count"] for change in both["changes"]} == {"v": 1, "plant-b|v": 2}
    assert {change["after"]["input"]: change["count"] for change in one["changes"]} == {"plant-b|v": 2}
    assert (one["requests"], len(one["tests"])) == ({"before": 1, "after": 1}, 1)


def test_new_signals(several: Path, state: State) -> None:
    state.add_signal_statuses([(name, SignalStatus.HELD) for name in ("x", "y", "plant-b|x", "plant-b|z")])
    state.close()
    assert cli("new-signals", several, "--integration", "plant-b").output.split() == ["plant-b|x", "plant-b|z"]
    assert cli("new-signals", several, "--integration", "main").output.split() == ["x", "y"]
    assert cli("new-signals", several, "--approve", "x", "--integration", "plant-b").exit_code == 0
    assert read_held(several.parent / "state" / "state.sqlite") == ["plant-b|z", "x", "y"]


def test_metadata(several: Path, state: State) -> None:
    for integration, input_id in ((CREDENTIALS["integration"], "a"), (OTHER, "b")):
        book = MetadataBook(state, MetadataKind.SIGNAL, integration)
        book.revise([input_id], lambda _, entry: wanted(entry, Desire("d", b"{}"), 1.0, SaveInterval(60.0)))
    state.close()
    one = json.loads(cli("metadata", several, "--json", "--integration", "plant-b").stdout)["signals"]
    assert [(line["input"], line["name"]) for line in one] == [("b", "plant-b")]
    shown = cli("metadata", several).stdout
    assert "in main" in shown
    assert "in plant-b" in shown


def test_dead_letters_of_what_an_integration_refused() -> None:
    def letter(*inputs: str | None) -> DeadLetter:
        rejects = [Reject(Reason.INSERT_REJECTED, "no", None, "1", input_id, 1) for input_id in inputs]
        return letter_of("s", "p", 1, "t", rejects, None)

    main_, plant_b = LetterSelection(integration=""), LetterSelection(integration="plant-b")
    assert [s.takes(letter("plant-b|v")) for s in (main_, plant_b)] == [False, True]
    assert [s.takes(letter("v")) for s in (main_, plant_b)] == [True, False]
    both = letter("v", "plant-b|v")
    assert plant_b.takes(both)
    assert not plant_b.takes_all_of(both), "a letter that another integration refused, too, is not dropped"
    assert not plant_b.takes(letter(None)), "no integration refused it"


def test_two_names_of_one_integration_are_an_error(several: Path) -> None:
    (several.parent / "credentials-b.json").write_text(json.dumps(CREDENTIALS))
    found = cli("check", several)
    assert found.exit_code == 1
    assert "clarify.integrations.plant-b: its credentials are for the integration" in found.output
    assert "like those of main" in found.output
