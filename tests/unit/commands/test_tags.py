"""`clarify-connector tags`: the list to fill in, from a capture; what was filled in stays; `check` reads the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connector.commands.cli import main
from connector.config.read import load_config
from tests.credentials import credentials

EXAMPLE = Path(__file__).parents[3] / "config" / "tags.yaml"
RULE = """\
mapping:
  rules:
    - topic: "{plc}/data"
      iterate: values
      item_name: id
      values: {v: {unit: "{item.u|}"}}
      other_values: filter
      input: "{plc}:{item}"
      tags: {file: tags.csv, key: "{plc}/{item}", unknown: filter}
"""


def capture(folder: Path, *names: str) -> Path:
    values = [{"id": name, "v": number + 0.5, "u": "bar"} for number, name in enumerate(names)]
    file = folder / "capture.ndjson"
    file.write_text(json.dumps({"topic": "p1/data", "payload": {"values": values}}) + "\n")
    return file


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["tags", str(config), *options])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(
        'clarify: {credentials: credentials.json}\nsources: [{type: mqtt, url: "mqtts://b", topics: ["#"]}]\n' + RULE
    )
    return tmp_path


def test_a_list_is_written_and_extended_and_what_was_filled_in_stays(folder: Path) -> None:
    config, tags = folder / "c.yaml", folder / "tags.csv"
    done = run(config, "--from", str(capture(folder, "a", "öl", "bad\x00")))
    assert (done.exit_code, tags.stat().st_mode & 0o777) == (0, 0o600)
    assert "2 keys added, 0 were there" in done.stderr
    assert "left out: 1 keys that are empty or not printable, such as 'p1/bad" in done.stderr
    lines = tags.read_bytes().decode("utf-8-sig").split("\r\n")
    assert lines[1].split(";") == ["p1/a", *[""] * 10, "p1/data", "0.5", "", "bar"]
    tags.write_bytes(b"key,name\np1/\xf6l,Tank\n")
    tags.chmod(0o644)
    (folder / "link.csv").symlink_to("tags.csv")
    config.write_text(config.read_text().replace("tags.csv", "link.csv"))
    done = run(config, "--from", str(capture(folder, "b", "öl", "c")), "--separator", "tab")
    assert tags.read_bytes() == b"key,name\np1/\xf6l,Tank\np1/b,\np1/c,\n"
    assert (tags.stat().st_mode & 0o777, (folder / "link.csv").is_symlink()) == (0o644, True)
    done = run(config, "--from", str(capture(folder, "b")))
    assert "0 keys added, 3 were there" in done.stderr
    assert "no message had 2 of these keys, such as 'p1/öl'" in done.stderr
    assert list(folder.glob(".*")) == []


def test_a_bad_list_is_not_touched(folder: Path) -> None:
    (folder / "tags.csv").write_text("key;name\na;b\na;c\n")
    done = run(folder / "c.yaml", "--from", str(capture(folder, "a")))
    assert done.exit_code == 1
    assert f"{folder / 'tags.csv'}:3: column A (key): 'a' is on line 2, too" in done.stderr
    assert (folder / "tags.csv").read_text() == "key;name\na;b\na;c\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "choose the messages"),
        (["--from", "capture.ndjson", "--live", "1s"], "choose the messages"),
        (["--live", "1s", "--topic", "t"], "--topic needs --from"),
        (["--from", "capture.ndjson", "--from-beginning"], "--from-beginning needs --live"),
    ],
)
def test_options_that_do_not_fit(folder: Path, options: list[str], error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    capture(folder, "a")
    monkeypatch.chdir(folder)
    done = run(folder / "c.yaml", *options)
    assert (done.exit_code, error in done.stderr) == (2, True)


def test_without_a_list_or_messages_nothing_is_written(folder: Path) -> None:
    empty = folder / "empty.ndjson"
    empty.touch()
    assert "no message came" in run(folder / "c.yaml", "--from", str(empty)).stderr
    config = folder / "c.yaml"
    config.write_text(config.read_text().partition("      tags:")[0])
    assert "has no tag list; write tags:" in run(config, "--from", str(capture(folder, "a"))).stderr
    assert not (folder / "tags.csv").exists()


def test_preview_tells_of_unknown_and_unused_rows(folder: Path) -> None:
    (folder / "tags.csv").write_text("key;name\np1/a;Level\np1/typo;x\n")
    options = ["preview", str(folder / "c.yaml"), "--input", str(capture(folder, "a", "b")), "--no-clarify", "--json"]
    found = json.loads(CliRunner().invoke(main, options).stdout)
    assert [signal["metadata"]["name"] for signal in found["signals"]] == ["Level"]
    assert [notice["message"] for notice in found["notices"]] == [
        "keys of the data that are not in tags.csv: 1, such as 'p1/b'; their values are not stored",
        "rows of tags.csv that no record has used: 1 of 2, such as 'p1/typo'",
    ]


def test_check_reads_the_list(folder: Path) -> None:
    (folder / "credentials.json").write_text(json.dumps(credentials()))
    check = ["check", str(folder / "c.yaml")]
    missing = CliRunner().invoke(main, check)
    assert f"{folder / 'tags.csv'}: there is no such file; clarify-connector tags CONFIG --from" in missing.stderr
    (folder / "tags.csv").write_bytes(b"key;remark;scale\np1/a;\xe4;0,5\n")
    done = CliRunner().invoke(main, check)
    assert done.exit_code == 0, done.output
    assert f"{folder / 'tags.csv'}: 1 tags (CSV with ;, cp1252, decimal comma)" in done.stdout
    assert "was read as cp1252" in done.stdout
    assert "not read, since they are no attributes: 'remark'" in done.stdout
    (folder / "tags.csv").write_bytes(b"key;scale\np1/a;x\n")
    assert f"{folder / 'tags.csv'}:2: column B (scale): 'x' is no number" in CliRunner().invoke(main, check).stderr


def test_the_path_of_a_list_starts_at_the_configuration(folder: Path) -> None:
    config = folder / "c.yaml"
    mapping = "mapping: {tags: {file: a.csv}, rules: [{preset: tasmota, tags: {file: b.csv}}, {topic: t}]}"
    config.write_text(config.read_text().partition("mapping:")[0] + mapping)
    rules = load_config(config).rules()
    assert {rule.tags.list.file for rule in rules if rule.tags} == {folder / "a.csv", folder / "b.csv"}
    assert all(rule.tags for rule in rules if not rule.skip)


def test_the_path_of_a_list_stays_when_kubernetes_changes_the_config_map(folder: Path) -> None:
    (folder / "tags.csv").touch()
    version = folder / "mounted" / "..2026_05_01"
    version.mkdir(parents=True)
    (version.parent / "..data").symlink_to(version.name)
    for name in ("c.yaml", "tags.csv"):
        (folder / name).rename(version / name)
        (version.parent / name).symlink_to(f"..data/{name}")
    (rule,) = load_config(version.parent / "c.yaml").rules()
    assert rule.tags is not None
    assert rule.tags.list.file == version.parent / "tags.csv"


def test_the_example_names_and_scales_its_message(tmp_path: Path) -> None:
    values = [{"id": "TT101", "v": 215}, {"id": "XV7", "v": "OPEN"}, {"id": "SPARE", "v": 1}]
    file = tmp_path / "capture.ndjson"
    file.write_text(json.dumps({"topic": "plant/plc1/data", "payload": {"values": values}}) + "\n")
    options = ["preview", str(EXAMPLE), "--input", str(file), "--no-clarify", "--json"]
    found = json.loads(CliRunner().invoke(main, options).stdout)
    signals = {one["input"]: (one["metadata"]["name"], one["last_value"]) for one in found["signals"]}
    assert signals == {"plc1/TT101": ("Feed temperature", 21.5), "plc1/XV7": ("Inlet valve", 1)}
    assert found["notices"] == []
