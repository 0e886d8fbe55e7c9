"""Included files: their rules and sources come in order, and a mistake is named with its own file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.config.read import ConfigError, ConfigFiles, load_config, rule_lines, secret_files
from connector.config.reference import json_schema

MAIN = """\
x-mqtt: &plant
  type: mqtt
  url: mqtt://localhost
  topics: [a/#]
include: mapping.d/*.yaml
clarify: {credentials: c.json}
sources:
  - {<<: *plant, name: one}
mapping:
  rules:
    - {topic: main, input: "{topic}"}
x-notes: ["${NO_VARIABLE}", anything]
"""


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "mapping.d").mkdir()
    (tmp_path / "connector.yaml").write_text(MAIN)
    write(tmp_path / "connector.yaml", "20-b", 'mapping:\n  rules:\n    - {topic: b1}\n    - {topic: b2, to: "x y"}\n')
    write(tmp_path / "connector.yaml", "10-a", "# only a rule\nmapping:\n  rules:\n    - topic: a\n")
    return tmp_path / "connector.yaml"


def write(main: Path, name: str, text: str) -> Path:
    file = main.parent / "mapping.d" / f"{name}.yaml"
    file.write_text(text)
    return file


def mistakes(main: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(main, {})
    return [line.replace(f"{main.parent}/", "") for line in caught.value.lines]


def test_rules_come_in_the_order_of_the_file_names_and_sources_too(main: Path) -> None:
    write(main, "20-b", "mapping:\n  rules:\n    - {topic: b1}\n    - {topic: b2}\n")
    secret = "${file:password.txt}"
    more = 'x-own: &own {type: mqtt, url: "mqtt://b", topics: [b]}\nsources:\n  - {<<: *own, name: two}\n'
    write(main, "30-c", f'{more}  - {{<<: *own, name: three, username: u, password: "{secret}"}}\n')
    (main.parent / "password.txt").write_text("pw")
    config = load_config(main, {})
    assert [rule.topic for rule in config.mapping.rules] == ["main", "a", "b1", "b2"]
    assert [(source.name, source.address) for source in config.sources] == [
        ("one", "mqtt://localhost"), ("two", "mqtt://b"), ("three", "mqtt://b"),
    ]  # fmt: skip
    assert secret_files(main) == [main.parent / "password.txt"]
    assert rule_lines(main) == [11, 4, 3, 4]


def test_a_mistake_is_named_with_the_file_that_has_it(main: Path) -> None:
    write(main, "20-b", "mapping:\n  rules:\n    - {topic: b1}\n    - topic: b2\n      inptu: x\n")
    (found,) = mistakes(main)
    assert found.startswith(
        "mapping.d/20-b.yaml:5: mapping.rules[1].inptu: there is no such setting; did you mean input"
    )
    write(main, "20-b", "mapping:\n  rules:\n    - {topic: b1}\n    - topic: a/#/b\n")
    assert mistakes(main)[0].startswith("mapping.d/20-b.yaml:4: mapping.rules[1].topic: ")
    write(main, "20-b", "sources:\n  - type: mqtt\n    name: two\n    url: ${NOT_SET}\n    topics: [a]\n")
    assert mistakes(main)[0].startswith("mapping.d/20-b.yaml:4: sources[0].url: the environment variable NOT_SET")
    write(main, "20-b", "mapping:\n  rules:\n    - {topic: b1\n")
    assert mistakes(main)[0].startswith("mapping.d/20-b.yaml:")
    write(main, "20-b", "mapping:\n  rules:\n    - topic: b1\n      inptu: x\n")
    main.write_text("".join(MAIN.partition("mapping:\n")[0]))
    assert mistakes(main)[0].startswith("mapping.d/20-b.yaml:4: mapping.rules[0].inptu: "), (
        "no rules in the file itself"
    )
    main.write_text(MAIN.replace("name: one", "nmae: one"))
    write(main, "20-b", "mapping: {rules: []}\n")
    assert mistakes(main)[0].startswith("connector.yaml:8: sources[0].nmae: there is no such setting")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mapping:\n  rules: []\n  unmatched: map\n", "3: mapping.unmatched: an included file has only"),
        ("\nclarify: {credentials: c}\n", "2: clarify: an included file has only"),
        ("include: more.yaml\n", "1: include: an included file has only"),
        ("sources: {type: mqtt}\n", "1: sources: must be a list"),
        ("- topic: a\n", "1: an included file has mapping.rules, sources, or both"),
    ],
)
def test_an_included_file_has_only_rules_and_sources(main: Path, text: str, said: str) -> None:
    write(main, "20-b", text)
    (found,) = mistakes(main)
    assert found.startswith(f"mapping.d/20-b.yaml:{said}")


@pytest.mark.parametrize(
    ("include", "line", "field"),
    [('"maping.d/*.yaml"', 5, "include"), ('["mapping.d/*.yaml", none.yaml]', 5, "include[1]")],
)
def test_a_pattern_that_names_no_file_is_a_mistake(main: Path, include: str, line: int, field: str) -> None:
    main.write_text(MAIN.replace("mapping.d/*.yaml", include))
    assert mistakes(main)[0].startswith(f"connector.yaml:{line}: {field}: no file has this name")


def test_all_files_are_watched_also_a_new_one(main: Path) -> None:
    files = ConfigFiles(main)
    assert [file.name for file in files()] == ["connector.yaml", "10-a.yaml", "20-b.yaml"]
    write(main, "15-x", "sources: []\n")
    assert [file.name for file in files()] == ["connector.yaml", "10-a.yaml", "15-x.yaml", "20-b.yaml"]
    main.write_text("{ not yaml")
    assert len(files()) == 4, "until the file is mended"
    main.write_text(MAIN.replace("include: mapping.d/*.yaml\n", ""))
    assert files() == [main]


def test_an_editor_accepts_names_of_the_author() -> None:
    assert json.loads(json_schema())["patternProperties"] == {"^x-": {}}
