"""What a new configuration changes, and what a running connector cannot change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.config.model import Config
from connector.config.read import load_config
from connector.ledger.source_file import SourceFile
from connector.runtime.assembly import ReadMapping
from connector.runtime.connector import Connector
from connector.runtime.reload import ReloadRefusedError, apply, compare
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from tests.credentials import credentials

CONFIG = """
clarify: {credentials: c.json}
sources:
  - {type: mqtt, name: a, url: "mqtt://localhost", topics: ["a/#"], username: u, password: "${SECRET}"}
  - {type: kafka, name: b, bootstrap_servers: "localhost:9092", topics: [t], group_id: g}
mapping:
  rules: [{topic: "a/#", input: "{topic}"}]
signals: {max: 10}
dead_letters: {type: sqlite}
"""
ENVIRONMENT = {"SECRET": "one-secret-text"}  # read from here, not from the machine


def loaded(tmp_path: Path, *changes: tuple[str, str], environment: dict[str, str] | None = None) -> Config:
    text = CONFIG
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = tmp_path / "connector.yaml"
    file.write_text(text)
    return load_config(file, environment or ENVIRONMENT)


EXAMPLES = sorted(
    file for file in Path("config").glob("*.yaml") if "\nclarify:" in file.read_text() and file.stem != "formats"
)


class Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def get(self, *_: object) -> str:  # type: ignore[override]
        return "x-1"

    def __missing__(self, name: str) -> str:
        return self.get(name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_file_that_did_not_change_changes_nothing(example: Path) -> None:
    before, after = (load_config(example, Anything(), without_secrets=True) for _ in range(2))
    changes = compare(before, after)
    assert not changes
    assert (changes.settings, changes.changed, changes.mapping) == ([], [], False)
    assert changes.unchanged == len(before.sources)


def test_each_difference_has_its_place_and_no_value(tmp_path: Path) -> None:
    changes = compare(
        loaded(tmp_path),
        loaded(
            tmp_path,
            ('topics: ["a/#"]', 'topics: ["c/#"]'),
            ("max: 10", "max: 20"),
            ('input: "{topic}"', 'input: "x/{topic}"'),
            ("{type: kafka, name: b", "{type: kafka, name: new"),
            ("dead_letters:", "observe: {log_level: debug, loss_warning: 2h}\ndead_letters:"),
            environment={"SECRET": "two-secret-text"},
        ),
    )
    assert changes.settings == [
        "sources.a.password", "sources.a.topics", "sources.b", "sources.new", "mapping.rules", "signals.max",
        "observe.loss_warning", "observe.log_level",
    ]  # fmt: skip
    assert [[one.name for one in some] for some in (changes.added, changes.removed, changes.changed)] == [
        ["new"], ["b"], ["a"],
    ]  # fmt: skip
    assert (changes.unchanged, changes.mapping) == (0, True)
    assert "secret" not in str(changes.as_fields()) + str(changes.lines())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("c.json", "d.json"), "clarify.credentials"),
        (("signals: {max: 10}", "signals: {max: null}"), "signals (limits"),
        (("dead_letters: {type: sqlite}", "dead_letters: {type: file}"), "dead_letters"),
        (("signals:", "workers: 2\nsignals:"), "workers"),
        (("signals:", "state_dir: other\nsignals:"), "state_dir"),
        (("signals:", "observe: {listen: null}\nsignals:"), "observe.listen"),
        (("signals:", "delivery: {max_delay: 3s}\nsignals:"), "delivery.max_delay"),
        (("mapping:\n", "mapping:\n  max_payload: 32MiB\n"), "mapping.max_payload"),
    ],
)
def test_a_change_that_needs_a_restart_refuses_everything(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    with pytest.raises(ReloadRefusedError) as caught:
        compare(loaded(tmp_path), loaded(tmp_path, change, ('topics: ["a/#"]', 'topics: ["c/#"]')))
    assert str(caught.value).startswith(named)
    assert "restart the connector" in str(caught.value)


class Failing(MqttSection):
    """A source that the disk refuses to open."""

    def open(self, file: SourceFile, message_bytes: int) -> MqttSource:
        raise OSError(28, "No space left on device")


def test_if_a_changed_source_cannot_be_opened_all_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps(credentials()))
    away = ", ".join(f'{{type: mqtt, name: {name}, url: "mqtt://127.0.0.1:1", topics: [t]}}' for name in "abc")
    file = tmp_path / "connector.yaml"
    file.write_text(f"clarify: {{credentials: credentials.json}}\nsources: [{away}]\ndelivery: {{flush_timeout: 0s}}\n")
    before = load_config(file)
    connector = Connector(before)
    connector.start()
    try:
        untouched, mapper = connector.pipeline.intakes.sources["a"], connector.mapper
        first, second, _ = before.sources
        failing = Failing.model_construct(**{**dict(second), "topics": ["other"]})
        after = before.model_copy(update={"sources": [first, failing]})
        with pytest.raises(ReloadRefusedError, match=r"sources.b cannot be opened: .*No space left"):
            apply(connector, after)
        assert connector.config is before
        sources = {source.name: source for source in connector.pipeline.status.sources()}
        assert sorted(sources) == ["a", "b", "c"]
        assert sources["a"] is untouched
        assert connector.mapper is mapper
        running = {thread.name for thread in connector.pipeline.threads() if thread.is_alive()}
        assert {"intake-a", "intake-b", "intake-c", "mqtt-b", "mqtt-c", "sender"} <= running
        apply(connector, before.model_copy(update={"sources": [first]}))
        assert list(connector.pipeline.intakes.sources) == ["a"]
        assert connector.pipeline.failure is None
    finally:
        connector.close()


def test_a_tag_list_is_read_for_the_mapper_and_is_no_change_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("key;name\nt:v;one\n")
    config = loaded(tmp_path, ("mapping:\n", "mapping:\n  tags: {file: tags.csv}\n"))
    mapper = ReadMapping(config).mapper({})
    assert [list(one.tags.tags) for one in mapper.tag_lists] == [["t:v"]]
    assert not compare(config, config)


def test_what_is_read_again_anyway_is_no_change_and_another_file_is_one(tmp_path: Path) -> None:
    """A user name, a password, the token of the pages and a header, rotated in their files."""
    names = ("user", "password", "token", "key", "other")
    changes = (
        ("username: u, ", "username: '${file:user}', "),
        ("${SECRET}", "${file:password}"),
        (
            "signals:",
            "observe: {token: '${file:token}', otlp: {endpoint: 'https://o', headers: {k: '${file:key}'}}}\nsignals:",
        ),
    )
    for name in names:
        (tmp_path / name).write_text("one-secret-text")
    before = loaded(tmp_path, *changes)
    for name in names:
        (tmp_path / name).write_text("two-secret-text")
    found = compare(before, loaded(tmp_path, *changes))
    assert (found.settings, found.changed, found.unchanged, found.mapping) == ([], [], 2, False)
    other = (changes[0][0], "username: '${file:other}', ")
    assert compare(before, loaded(tmp_path, other, *changes[1:])).settings == ["sources.a.username"]
    literal = (changes[0][0], "username: two-secret-text, ")
    assert [one.name for one in compare(before, loaded(tmp_path, literal, *changes[1:])).changed] == ["a"]
