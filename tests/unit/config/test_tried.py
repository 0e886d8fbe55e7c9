"""A mapping that somebody has typed into a browser: read with its lines, and without any further file."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.config.model import Config
from connector.config.read import ConfigError, load_config
from connector.config.tried import with_mapping

FILE = """
clarify: {credentials: none.json}
sources: [{type: mqtt, name: plant, url: "mqtt://localhost", client_id: c, topics: ["#"]}]
mapping:
  unmatched: dead_letter
  rules:
    - {topic: "plant/{m}", input: "{m}.{field}"}
    - {topic: "tags/#", tags: {file: tags.csv}}
"""
LISTS = [f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 8)}]" for n in range(1, 10)]
MANY = "\n".join(["b0: &b0 [1, 2, 3]", *LISTS])


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "connector.yaml").write_text(FILE)
    return load_config(tmp_path / "connector.yaml", without_secrets=True)


def topics(config: Config) -> list[str | None]:
    return [rule.topic for rule in config.mapping.rules]


@pytest.mark.parametrize("text", ['topic: "other/#"', '- topic: "other/#"', '{"topic": "other/#"}'])
def test_a_rule_takes_the_place_of_another(config: Config, tmp_path: Path, text: str) -> None:
    changed = with_mapping(config, text, 1, tmp_path)
    assert topics(changed) == ["other/#", "tags/#"]
    assert changed.mapping.unmatched == "dead_letter"
    assert topics(config) == ["plant/{m}", "tags/#"], "what runs is as before"
    assert changed.sources == config.sources


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('x-own: &t {topic: "a$$"}\nmapping:\n  rules:\n    - *t', None),
        ('mapping: {rules: [{topic: "a$$"}]}', 2),
        ('rules: [{topic: "a$$"}]', None),
    ],
)
def test_the_whole_mapping(config: Config, tmp_path: Path, text: str, rule: int | None) -> None:
    changed = with_mapping(config, text, rule, tmp_path)
    assert (topics(changed), changed.mapping.unmatched) == (["a$"], "filter")


def test_a_file_that_is_in_use_may_be_used(config: Config, tmp_path: Path) -> None:
    assert topics(with_mapping(config, 'topic: "a"\ntags: {file: tags.csv}', 1, tmp_path))[0] == "a"


@pytest.mark.parametrize(
    ("text", "rule", "line", "field", "said"),
    [
        ('topic: "a"\nskale: 3', 2, 2, "mapping.rules[1].skale", "no such setting"),
        ('- topic: "a"\n  input: "{nothing}"', 2, None, "mapping.rules[1]", "nothing"),
        ('mapping:\n  rules:\n    - topic: "a"\n      time: {zone: Nowhere}', None, 4, "mapping.rules[0].time", "zone"),
        ('topic: "a"\ninput: "${HOME}"', 1, 2, "mapping.rules[0].input", "${…}"),
        ('topic: "a"\ninput: "${HOME:-x}"', 1, 2, "mapping.rules[0].input", "${…}"),
        ('topic: "a"\ninput: "${file:/etc/passwd}"', 1, 2, "mapping.rules[0].input", "${…}"),
        ('topic: "a"\n"${file:/etc/passwd}": 1', 1, 2, "", "${…}"),
        ("mapping: {}\ninclude: /etc/*.yaml", None, 2, "include", "only the section mapping"),
        ("mapping: {}\nsources: []", None, 2, "sources", "only the section mapping"),
        ("include: /etc/*.yaml", None, 1, "mapping.include", "no such setting"),
        ("preset_folder: /etc", None, None, "", "etc: a trial reads only"),
        ('topic: "a"\ntags: {file: /etc/passwd}', 1, None, "", "passwd: a trial reads only"),
        ('topic: "a"\nformat: {type: avro, schema_file: /etc/passwd}', 1, None, "", "passwd: a trial reads only"),
        ("preset: ../../etc", 1, None, "", "preset"),
        ("[1, 2", 1, 1, "", "not valid YAML"),
        ("just text", 1, 1, "", "write one rule"),
        ("just text", None, 1, "", "write the section"),
        ("", None, 1, "", "write the section"),
        (MANY, None, None, "", "more than"),
        ("[" * 100 + "]" * 100, None, 1, "", "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    config: Config, tmp_path: Path, text: str, rule: int | None, line: int | None, field: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_mapping(config, text, rule, tmp_path)
    problem = caught.value.problems[0]
    assert said in problem.message
    assert field in problem.field
    if line is not None:
        assert problem.line == line
    assert "root:" not in str(caught.value)
