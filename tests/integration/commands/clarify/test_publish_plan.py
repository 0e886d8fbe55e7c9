"""`publish --plan` against a sandbox, after a connector has run: each status, what it sends, and what --apply does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import Result

from connector.clarify import Client, Item
from connector.commands.cli import main
from connector.sandbox.store import Store
from tests.connector_process import ConnectorProcess
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secret_search import SearchedCommands

MANY: Final = 1100
TIME: Final = 1_790_000_000
SOURCE: Final = "  - {type: file, name: plant, path: data.ndjson, records: record}"
READS: Final = {"token", "admin.selectSignals", "clarify.selectItems"}
RULES: Final = """
mapping:
  rules:
    - topic: plant/l1/{machine}
      input: "l1/{machine}"
      values: {v: {unit: UNIT}}
      publish: {name: "NAME", overwrite: OVERWRITE}
    - topic: plant/many/{machine}
      input: "many/{machine}"
      publish: MANY
    - topic: plant/sites/{machine}
      input: "sites/{machine}"
      other_values: filter
      values: {v: {}}
      labels: {site: "{payload.site}"}
      publish: SITES
delivery: {max_delay: 100ms, metadata_requests_per_second: 50}
"""

sandbox = sandbox_fixture("module", rate_limiter="off")


def rules(
    name: str = "{machine}", unit: str = "bar", overwrite: str = "unedited", many: str = "false", sites: str = "false"
) -> str:
    text = RULES.replace("NAME", name).replace("UNIT", unit).replace("OVERWRITE", overwrite)
    return text.replace("MANY", many).replace("SITES", sites)


class Plant:
    """A sandbox, and the folder of a connector that has run."""

    def __init__(self, sandbox: SandboxServer, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder

    def config(self, text: str) -> Path:
        return ConnectorProcess(self.folder, self.sandbox.credentials_path, SOURCE, text).config

    def publish(self, text: str, *args: object) -> Result:
        words = ["publish", "--plan", str(self.config(text)), *map(str, args)]
        return SearchedCommands().invoke(main, words, env={"CLARIFY_CREDENTIALS": None}, catch_exceptions=False)

    def plan(self, text: str, *args: object) -> tuple[int, dict[str, Any]]:
        """(exit status, input ID → its line); the command has sent nothing but reads."""
        before = self.sandbox.stats()["requests"]
        done = self.publish(text, "--json", *args)
        after = self.sandbox.stats()["requests"]
        assert {method for method in after if after[method] != before.get(method)} <= READS
        return done.exit_code, {line["input"]: line for line in json.loads(done.stdout)["items"]}

    def requests(self, method: str) -> int:
        return int(self.sandbox.stats()["requests"].get(method, 0))

    def edit(self, key: str, name: str) -> None:
        """A person gives an item another name."""
        with Client(self.sandbox.credentials_path, rates=None) as person:
            person.publish_signals({self.sandbox.signals()[key].id: Item(name=name)}).raise_for_error()

    def names(self) -> dict[str, object]:
        """Input ID → the name of its item."""
        with Store.open(self.sandbox.store_path, read_only=True) as store:
            items = store.items()
            return {
                key: items[signal.item].attributes["name"]
                for key, signal in store.signals().items()
                if signal.item is not None
            }


@pytest.fixture(scope="module")
def plant(sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A connector has published three signals of l1, and stored another one. A person has edited one of the three."""
    folder = tmp_path_factory.mktemp("plant")
    messages = {f"l1/{name}": {"v": 1} for name in ("press", "oven", "saw")} | {"sites/a": {"v": 1, "site": "Oslo"}}
    capture(folder / "data.ndjson", messages)
    connector = ConnectorProcess(folder, sandbox.credentials_path, SOURCE, rules())
    plant = Plant(sandbox, folder)
    for _ in range(5):  # it waits 5 s for items before it ends, and publishes the rest after the next start
        assert connector.start(ready=False).wait(120) == 0, connector.log()
        if len(plant.names()) == 3:
            break
    assert plant.names() == {"l1/press": "press", "l1/oven": "oven", "l1/saw": "saw"}, connector.log()
    plant.edit("l1/press", "The big press")
    return plant


def capture(file: Path, messages: Mapping[str, object]) -> Path:
    """Write a capture of messages, by their topics below plant/."""
    lines = (json.dumps({"topic": f"plant/{at}", "payload": said, "time": TIME}) for at, said in messages.items())
    file.write_text("\n".join(lines) + "\n")
    return file


def statuses(lines: dict[str, Any]) -> dict[str, str]:
    return {key: line["status"] for key, line in lines.items()}


# -- in this order: the last tests change items ----------------------------------------------------


def test_nothing_to_do(plant: Plant) -> None:
    status, lines = plant.plan(rules())
    assert status == 0
    assert statuses(lines) == {"l1/oven": "unchanged", "l1/press": "left_alone", "l1/saw": "unchanged"}
    assert lines["l1/press"]["reason"] == "a person or another client has changed or made the item"
    shown = plant.publish(rules())
    assert shown.stdout.splitlines()[1].startswith("left alone  l1/press")
    assert len(shown.stdout.splitlines()) == 2, "what is unchanged is only counted"
    assert "1 left alone, 2 unchanged (http://" in shown.stderr


def test_what_would_change_is_shown_with_its_attributes(plant: Plant) -> None:
    status, lines = plant.plan(rules("{field} of {machine}"))
    assert (status, lines["l1/press"]["status"]) == (2, "left_alone")
    assert lines["l1/oven"]["status"] == "changed"
    assert lines["l1/oven"]["changes"] == {"name": {"before": "oven", "after": "v of oven"}}
    shown = plant.publish(rules("{field} of {machine}"))
    assert 'name "oven" → "v of oven"' in shown.stdout
    assert "nothing was sent; --apply carries out the plan" in shown.stderr
    status, lines = plant.plan(rules(overwrite="always"))
    assert (status, lines["l1/press"]["changes"]["name"]["after"]) == (2, "press")
    assert plant.plan(rules("{field}", overwrite="never"))[0] == 0
    status, lines = plant.plan(rules(unit="mbar"))
    assert (status, lines["l1/oven"]["status"]) == (0, "waits")
    assert lines["l1/oven"]["changes"] == {"engUnit": {"before": "bar", "after": "mbar"}}


def test_what_only_a_message_can_tell_is_read_from_a_capture(plant: Plant, tmp_path: Path) -> None:
    text = rules(sites="true")
    status, lines = plant.plan(text)
    assert (status, lines["sites/a"]["status"]) == (1, "unknown")
    assert lines["sites/a"]["reason"].endswith("; name a capture of them: --input FILE")
    messages = {f"sites/{name}": {"v": 1, "site": "Oslo"} for name in ("a", "ghost")}
    status, lines = plant.plan(text, "--input", capture(tmp_path / "capture.ndjson", messages))
    assert status == 2
    assert {key: lines[key]["status"] for key in ("sites/a", "sites/ghost")} == {
        "sites/a": "new",
        "sites/ghost": "no_signal",
    }
    assert lines["sites/a"]["changes"]["labels"] == {"before": {}, "after": {"site": ["Oslo"]}}


def test_a_chosen_part(plant: Plant) -> None:
    text = rules("{field}", sites="true")
    assert statuses(plant.plan(text, "-f", "input=l1/oven")[1]) == {"l1/oven": "changed"}
    signal = plant.sandbox.signals()["l1/press"].id
    assert statuses(plant.plan(text, "--signal", signal)[1]) == {"l1/press": "left_alone"}
    assert "no signal with this ID" in plant.publish(text, "--signal", "x" * 20).stderr


def test_an_item_that_breaks_a_rule(plant: Plant) -> None:
    text = rules("{field}").replace("OVERWRITE", "never").replace("name:", f"description: {'x' * 3000}, name:", 1)
    status, lines = plant.plan(text)
    assert (status, lines["l1/oven"]["status"]) == (1, "invalid")
    assert "description" in lines["l1/oven"]["reason"]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--plan", "CONFIG", "--name", "x"], 1, "--name is not for --plan: the configuration says it"),
        (["--plan", "CONFIG", "--dry-run"], 1, "leave out --dry-run"),
        (["--plan", "CONFIG", "--nonsense"], 1, "No such option"),
        (["--plan", "CONFIG", "--as-planned", "plan.json"], 1, "--as-planned needs --apply"),
        (["--plan", "CONFIG", "--apply", "--as-planned", "CONFIG"], 1, "is no plan"),
        (["--plan", "CONFIG", "--apply", "--as-planned", "none.json"], 1, "none.json: No such file"),
        (["--plan", "none.yaml"], 1, "none.yaml"),
        (["--all", "--apply"], 2, "--apply needs --plan CONFIG"),
        (["--plan", "CONFIG", "--credentials", "none.json"], 1, "none.json"),
    ],
)
def test_mistakes_have_a_status_of_their_own(plant: Plant, args: list[str], status: int, said: str) -> None:
    config = str(plant.config(rules()))
    words = ["publish", *(config if arg == "CONFIG" else arg for arg in args)]
    done = SearchedCommands().invoke(main, words, catch_exceptions=False)
    assert (done.exit_code, said in done.stderr) == (status, True), done.stderr


def test_without_a_state_a_capture_says_which_signals_there_are(plant: Plant, tmp_path: Path) -> None:
    elsewhere = Plant(plant.sandbox, tmp_path)
    done = elsewhere.publish(rules())
    assert (done.exit_code, "name a capture of their messages: --input FILE" in done.stderr) == (1, True), done.stderr
    status, lines = elsewhere.plan(rules(), "--input", plant.folder / "data.ndjson")
    assert status == 0
    assert statuses(lines) == {"l1/oven": "unchanged", "l1/press": "left_alone", "l1/saw": "unchanged"}


def test_many_are_applied_as_planned(plant: Plant, tmp_path: Path) -> None:
    many = {f"many/m{n:04d}": {"v": n} for n in range(MANY)}
    with Client(plant.sandbox.credentials_path, rates=None) as client:
        client.insert({"times": [TIME], "series": {key: [1] for key in many}}).raise_for_error()
    args = ("--input", capture(tmp_path / "capture.ndjson", many))
    text = rules(many="true")
    reviewed = tmp_path / "plan.json"
    before = plant.sandbox.stats()["requests"]
    planned = plant.publish(text, *args, "--json")
    assert planned.exit_code == 2
    assert json.loads(planned.stdout)["counts"]["new"] == MANY
    reviewed.write_text(planned.stdout)
    done = plant.publish(text, *args, "--apply", "--as-planned", reviewed)
    assert (done.exit_code, f"{MANY} items published" in done.stderr) == (0, True), done.stderr
    assert plant.requests("admin.publishSignals") - before.get("admin.publishSignals", 0) == 3
    assert len(plant.names()) == MANY + 3
    status, lines = plant.plan(text, *args)
    assert (status, {lines[key]["status"] for key in many}) == (0, {"unchanged"})


def test_an_outdated_plan_is_not_applied_and_it_says_what_has_changed(plant: Plant, tmp_path: Path) -> None:
    text = rules("{machine}!")
    reviewed = tmp_path / "plan.json"
    reviewed.write_text(plant.publish(text, "--json").stdout)
    plant.edit("l1/oven", "The oven")
    before = plant.names()
    done = plant.publish(text, "--apply", "--as-planned", reviewed)
    assert done.exit_code == 1
    assert 'l1/oven: planned changed, name "oven!", now left alone, a person' in done.stderr
    assert "is outdated (1 differences), and nothing was applied" in done.stderr
    assert plant.names() == before
    done = plant.publish(text, "--apply", "--json")
    assert (done.exit_code, json.loads(done.stdout)["applied"]["published"]) == (0, 1)
    assert plant.names() == {**before, "l1/saw": "saw!"}
