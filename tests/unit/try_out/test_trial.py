"""A trial of a mapping in a process of its own: what it says, and that a costly mapping is ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.config.read import load_config
from connector.mapping.signals.input_ids import Origin
from connector.records import Record
from connector.state.state import State
from connector.try_out.mapping import TriedMapping
from connector.try_out.to_copy import changed_rules
from connector.try_out.trial import lines_of, mapping_texts, run_trial
from connector.try_out.trial_process import answer

FILE = """# a comment
clarify: {credentials: none.json}
sources:
  - {type: mqtt, name: plant, url: "mqtt://localhost", client_id: c, topics: ["#"]}
mapping:
  rules:
    - topic: "plant/{m}"
      input: "{m}.{field}"  # as it was

    - {topic: "#", skip: true}
include: more/*.yaml
"""
NOW_US = 1_777_615_200_000_000
LINES = lines_of([("plant", Record(f"plant/m{n % 2}", b'{"v": %d, "w": "text"}' % n, NOW_US + n)) for n in range(6)])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    (folder / "more").mkdir()
    (folder / "more" / "one.yaml").write_text('mapping:\n  rules:\n    # far below\n\n    - {topic: "never"}\n')
    (folder / "connector.yaml").write_text(FILE)
    (folder / "clarify-connector-state").mkdir()
    state = State(folder / "clarify-connector-state" / "state.sqlite")
    state.add_claims([("m0-v", Origin("plant", "plant/m0", "v"))])
    state.close()
    return folder / "connector.yaml"


def trial(file: Path, text: str) -> dict[str, Any]:
    """A trial of rule 1, in a process that has time enough on a busy machine."""
    return run_trial(file, load_config(file, without_secrets=True).mapping.digest, 1, text, LINES, seconds=60)


def contents(folder: Path) -> dict[str, bytes]:
    """What the files have; a reader of SQLite may leave an empty log beside the file."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if content and not path.endswith("-shm")}


def test_the_mapping_as_the_files_have_it(file: Path) -> None:
    texts = mapping_texts(file)
    assert [(one.number, one.file, one.line) for one in texts.rules] == [
        (1, "connector.yaml", 7),
        (2, "connector.yaml", 10),
        (3, "one.yaml", 5),
    ]
    assert texts.rules[0].text == '- topic: "plant/{m}"\n  input: "{m}.{field}"  # as it was'
    assert texts.whole is None, "the rules of another file would be lost"
    alone = file.parent / "alone.yaml"
    alone.write_text(FILE.replace("include: more/*.yaml\n", ""))
    assert (mapping_texts(alone).whole or "").startswith('mapping:\n  rules:\n    - topic: "plant/{m}"')


def test_a_comparison_of_files_finds_the_rules_of_included_files(file: Path) -> None:
    alone = file.parent / "without.yaml"
    alone.write_text(FILE.replace("include: more/*.yaml\n", ""))
    ((rule, text),) = changed_rules(TriedMapping.load(alone), TriedMapping.load(file))
    assert (rule.number, text.strip()) == (3, '- {topic: "never"}')


def test_a_trial_says_what_changes_and_changes_nothing(file: Path) -> None:
    before = contents(file.parent)
    found = trial(file, 'topic: "plant/{m}"\ninput: "{m}-{field}"\nvalues: {v: {scale: 2}}')
    comparison = found["comparison"]
    assert (found["messages"], comparison["messages_with_changes"]) == (6, 6)
    assert sorted(comparison["created"]) == ["m0-v", "m1-v"]
    assert sorted(comparison["orphaned"]) == ["m0.v", "m1.v"]
    assert found["known_already"] == 1
    assert {change["change"] for change in comparison["changes"]} == {"renamed"}
    assert comparison["tests"]
    assert "rules" not in comparison
    assert contents(file.parent) == before


def test_mistakes_have_their_line_and_a_changed_file_is_not_compared(file: Path) -> None:
    digest = load_config(file, without_secrets=True).mapping.digest
    asked = {"file": str(file), "digest": digest, "rule": 1, "text": 'topic: "plant/{m}"\nskale: 2', "lines": LINES}
    (problem,) = answer(asked)["problems"]
    assert problem["line"] == 2
    assert "no such setting" in problem["message"]
    assert "is not the mapping in use" in answer({**asked, "digest": "another"})["error"]


def test_a_mapping_without_end_is_ended(file: Path) -> None:
    bomb = "|".join(["[@,@][]"] * 40)
    assert "too long or too much memory" in trial(file, f'topic: "plant/{{m}}"\nselect: "{bomb}"')["error"]
