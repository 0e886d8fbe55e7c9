"""A package of somebody else's adds a source, a format and a store: installed, it works like the built-in ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.connector_process import ConnectorProcess, run_command
from tests.packages import SPOOL, installed, made_up
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

START = 1_790_000_000
SOURCES = "  - {type: spool, path: dropped, topic: plant/boiler}\n"
MORE = (
    "dead_letters: {type: letter_folder, path: letters}\n"
    "delivery: {max_delay: 100ms, requests_per_second: 50}\n"
    "mapping: {rules: [{topic: plant/boiler, format: telegram, input: '{payload.device}:{field}', time: arrival}]}\n"
)
REMEDY = "The telegram was damaged on the serial line"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip leaves it."""
    return installed(SPOOL, tmp_path_factory.mktemp("site"))


@pytest.fixture
def with_spool(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed for every process that is started."""
    monkeypatch.setenv("PYTHONPATH", str(site))


sandbox = sandbox_fixture(requests_per_second=100)


def drop(folder: Path, name: str, *lines: str) -> None:
    """A file dropped into the spool's folder, as its section asks for."""
    (folder / "dropped").mkdir(exist_ok=True)
    (folder / name).write_text("".join(line + "\n" for line in lines))
    (folder / name).rename(folder / "dropped" / name)


@pytest.mark.usefixtures("with_spool")
def test_it_runs_from_a_file_to_clarify(sandbox: SandboxServer, tmp_path: Path) -> None:
    drop(tmp_path, "1.txt", "$boiler,t=21.5*62", "$boiler,t=99.5*62", "no telegram")
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, SOURCES, MORE)
    checked = run_command("check", connector.config)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"spool ({tmp_path / 'dropped'})" in checked.stdout
    assert "warning" not in checked.stdout

    connector.start()
    drop(tmp_path, "2.txt", "$K7,t=-3,p=4.25,rpm=1480*08")
    wait_until(lambda: {"boiler:t", "K7:rpm"} <= sandbox.signals().keys(), 60, connector.log)
    wait_until(lambda: not list((tmp_path / "dropped").iterdir()), 60, connector.log)
    assert connector.metrics()['clarify_connector_spool_lines_total{source="spool"}'] == 4
    assert connector.stop() == 0, connector.log()
    assert [value for _, value in sandbox.samples("boiler:t")] == [21.5]
    assert [value for key in ("K7:t", "K7:p", "K7:rpm") for _, value in sandbox.samples(key)] == [-3, 4.25, 1480]

    status, ledger = connector.ledger()
    assert (status, ledger["messages"]["inserted"], ledger["messages"]["dead_lettered"]) == (0, 2, 2)
    listed = run_command("dead-letters", "list", connector.config, "--format", "json", "--reason", "wrong_checksum")
    (letter,) = json.loads(listed.stdout)
    shown = run_command("dead-letters", "show", connector.config, letter["id"])
    assert REMEDY in " ".join(shown.stdout.split()), shown.stdout + shown.stderr
    assert "wrong_checksum" in shown.stdout

    connector.config.write_text(
        connector.config.read_text().replace("format: telegram", "format: {type: telegram, checksum: false}")
    )
    replayed = run_command("dead-letters", "replay", connector.config, "--reason", "wrong_checksum")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert sorted(value for _, value in sandbox.samples("boiler:t")) == [21.5, 99.5]
    assert len(list((tmp_path / "letters").glob("*.json"))) == 1


@pytest.mark.usefixtures("with_spool")
def test_a_kill_in_the_middle_loses_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    for n in range(8):
        drop(tmp_path, f"{n:02}.txt", *(f"$K{n:02}{i:03},t={i}*00" for i in range(250)))
    more = MORE.replace("format: telegram", "format: {type: telegram, checksum: false}").replace(
        "50}", "5, max_bytes: 16KiB}"
    )
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, SOURCES, more).start()
    wait_until(lambda: sandbox.count_samples() > 150, 60, connector.log)
    connector.kill()
    assert list((tmp_path / "dropped").iterdir())
    connector.config.write_text(connector.config.read_text().replace("5, max_bytes: 16KiB}", "50}"))
    connector.start()
    wait_until(lambda: not list((tmp_path / "dropped").iterdir()), 120, connector.log)
    assert connector.stop() == 0, connector.log()
    assert {key: sandbox.samples(key)[-1][1] for key in sandbox.signals()} == {
        f"K{n:02}{i:03}:t": float(i) for n in range(8) for i in range(250)
    }
    assert connector.ledger()[0] == 0


@pytest.mark.usefixtures("with_spool")
def test_a_mapping_is_tried_out_with_its_format(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(f"clarify: {{credentials: none.json}}\nsources:\n{SOURCES}{MORE}")
    (tmp_path / "dropped").mkdir()
    (tmp_path / "lines.txt").write_text("$boiler,t=21.5*62\n$boiler,t=22.5*62\n")
    done = run_command(
        "preview", config, "--input", tmp_path / "lines.txt", "--topic", "plant/boiler", "--no-clarify", "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "boiler:t" in done.stdout
    assert "wrong_checksum" in done.stdout


@pytest.mark.usefixtures("with_spool")
def test_its_settings_are_in_the_schema_and_in_the_reference() -> None:
    schema = json.loads(run_command("schema").stdout)
    for name in ("SpoolSection", "TelegramSection", "LetterFolderSection"):
        assert name in schema["$defs"]
    kinds = schema["properties"]["sources"]["items"]["discriminator"]["mapping"]
    assert set(kinds) == {"mqtt", "kafka", "file", "spool"}
    reference = run_command("schema", "--markdown").stdout
    assert "## sources: spool" in reference
    assert "| `checksum` | yes/no | `true` |" in reference


@pytest.mark.usefixtures("with_spool")
def test_a_wrong_setting_is_told_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(f"clarify: {{credentials: none.json}}\nsources:\n{SOURCES.replace('path:', 'pathh:')}{MORE}")
    done = run_command("check", config)
    assert f"{config}:3: sources[0].pathh: there is no such setting; did you mean path?" in done.stderr


def test_it_passes_the_suites_as_its_authors_run_them(site: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(SPOOL, tmp_path / "spool")
    shutil.rmtree(copy / "clarify_connector_spool")  # what is installed is tested
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--basetemp", tmp_path / "t"], cwd=copy, env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "32 passed" in done.stdout


def test_the_page_quotes_the_package() -> None:
    page = (SPOOL.parents[2] / "docs" / "extending.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert toml in (SPOOL / "pyproject.toml").read_text()
    suites = next(text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Conformance" in text)
    tests = (SPOOL / "tests" / "test_conformance.py").read_text()
    assert all(test in tests for test in suites.split("\n\n\n"))


def test_without_the_package_its_kinds_are_not_known(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(f"clarify: {{credentials: none.json}}\nsources:\n{SOURCES}{MORE}")
    done = run_command("check", config)
    assert done.returncode == 1
    assert "sources[0].type: there is no such kind of source; known: mqtt, kafka, file" in done.stderr
    assert "dead_letters.type: there is no such kind of store" in done.stderr
    assert "mapping.rules[0].format.type: there is no such kind of format" in done.stderr


def test_a_broken_package_is_told_where_it_is_used_and_costs_nobody_else(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    names = {"sources": "spool", "formats": "telegram", "dead_letters": "letter_folder"}
    made_up(site, "broken_spool", "import gone", **{group: f"{n} = broken_spool:X" for group, n in names.items()})
    monkeypatch.setenv("PYTHONPATH", str(site))
    config = tmp_path / "connector.yaml"
    config.write_text(f"clarify: {{credentials: none.json}}\nsources:\n{SOURCES}{MORE}")
    done = run_command("check", config)
    why = "broken_spool:X of broken-spool 1.2 cannot be used: ModuleNotFoundError: No module named 'gone'"
    assert done.returncode == 1
    assert f"{config}:3: sources[0].type: source 'spool': {why}" in done.stderr
    assert f"dead_letters.type: store 'letter_folder': {why}" in done.stderr
    assert f"mapping.rules[0].format.type: format 'telegram': {why}" in done.stderr

    (tmp_path / "data.ndjson").write_text(json.dumps({"time": START, "v": 1}) + "\n")
    other = ConnectorProcess(tmp_path, sandbox.credentials_path, "  - {type: file, path: data.ndjson, topic: t}")
    checked = run_command("check", other.config)
    assert checked.returncode == 0, checked.stderr
    for group, name in (("source", "spool"), ("format", "telegram"), ("store", "letter_folder")):
        assert f"warning: {group} {name!r}: {why}" in checked.stdout
    assert other.start(ready=False).wait(120) == 0, other.log()
    assert sandbox.samples("t:v") == [(START * 10**6, 1.0)]
