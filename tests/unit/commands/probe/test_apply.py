"""What follows from a report is written into a configuration: only what is needed, and comments stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from connector.commands.cli import main
from connector.config.read import load_config
from connector.sandbox.cli import sandbox

TEXT = """\
# the plant in Oslo
clarify:
    credentials: credentials.json   # of the plant
sources:
    - type: mqtt
      url: "mqtts://b"
      topics: ["#"]
delivery: {max_bytes: 4MiB, max_delay: '5s'}   # small
mapping:
    rules:
        - topic: "{plc}/data"   # every PLC
          input: "{plc}"
"""
NOWHERE = {
    "apiUrl": "http://127.0.0.1:9/v1/", "integration": "cp1a5c9e3g7i2k6m0o4q",
    "credentials": {"type": "client-credentials", "clientId": "EXAMPLE", "clientSecret": "EXAMPLE"},
}  # fmt: skip
SETTINGS = {"delivery.max_bytes": "1000000B", "delivery.requests_per_second": 0.5, "clarify.timeout": "23s"}


def report(folder: Path, connector: dict[str, Any], **more: Any) -> Path:
    file = folder / "report.json"
    document = {"report": "clarify-connector probe", "version": 1, "connector": connector, "sandbox": {}}
    file.write_text(json.dumps({**document, **more}))
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(TEXT)
    return file


def run(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["probe", *map(str, arguments)], input=answer)


def test_the_settings_are_written_and_comments_and_the_rest_stay(config: Path, tmp_path: Path) -> None:
    config.chmod(0o640)
    done = run("--from", report(tmp_path, SETTINGS), "--apply", config, "--yes")
    assert done.exit_code == 0, done.output
    loaded = load_config(config, without_secrets=True)
    assert (loaded.delivery.max_bytes, loaded.delivery.requests_per_second) == (1_000_000, 0.5)
    assert (loaded.clarify.timeout, loaded.delivery.max_delay) == (23, 5)
    assert config.stat().st_mode & 0o777 == 0o640
    before, after = TEXT.splitlines(), config.read_text().splitlines()
    assert [line for line in before if line not in after] == [before[7]]
    assert "# small" in config.read_text()
    assert "+    timeout: 23s" in done.stdout
    assert list(tmp_path.glob(".*")) == []


def test_nothing_is_written_without_consent_or_need(config: Path, tmp_path: Path) -> None:
    done = run("--from", report(tmp_path, SETTINGS), "--apply", config, answer="n\n")
    assert (done.exit_code, config.read_text()) == (1, TEXT)
    assert "-delivery" in done.stdout
    larger = {"delivery.max_bytes": "5000000B", "delivery.requests_per_second": 1.5, "clarify.timeout": "15s"}
    done = run("--from", report(tmp_path, larger), "--apply", config)
    assert (done.exit_code, config.read_text()) == (0, TEXT)
    assert "nothing to change" in done.stdout


SEVERAL = """\
clarify:
    credentials: credentials.json
    name: main
    integrations:   # each plant has its own
        plant-b: {credentials: b.json, requests_per_second: 0.8}   # the old one
        plant.c:
            credentials: c.json
        1: {credentials: d.json}
"""


@pytest.mark.parametrize(
    ("name", "rates", "shared"),
    [
        ("plant-b", (1, 0.5, 1, 1), ""),
        ("plant.c", (1, 0.8, 0.5, 1), ""),
        ("1", (1, 0.8, 1, 0.5), ""),
        ("main", (0.5, 0.8, 0.5, 0.5), "delivery.requests_per_second also counts for the integrations plant.c, 1"),
    ],
)
def test_the_settings_of_one_of_several_integrations_are_written_at_its_place(
    config: Path, tmp_path: Path, name: str, rates: tuple[float, ...], shared: str
) -> None:
    config.write_text(SEVERAL + TEXT[TEXT.index("sources:") :])
    done = run("--from", report(tmp_path, SETTINGS), "--apply", config, "--yes", "--integration", name)
    assert done.exit_code == 0, done.output
    loaded = load_config(config, without_secrets=True)
    clarify, delivery = loaded.clarify, loaded.delivery
    of_each = [delivery.of(clarify.integrations.get(one)).requests_per_second for one in clarify.names]
    assert of_each == list(rates)
    found = {one: clarify.of(prefix).timeout for one, prefix in clarify.names.items()}
    assert {one for one, seconds in found.items() if seconds == 23} == (set(found) if name == "main" else {name})
    assert delivery.max_bytes == 1_000_000
    assert shared in done.stdout
    others = ", ".join(one for one in clarify.names if one != name)
    assert f"delivery.max_bytes also counts for the integrations {others}" in done.stdout
    assert ("requests_per_second also" in done.stdout) == bool(shared)
    assert "# each plant has its own" in config.read_text()
    assert "# the old one" in config.read_text()


def test_a_setting_that_the_other_integrations_do_not_need_is_not_written(config: Path, tmp_path: Path) -> None:
    config.write_text(SEVERAL + TEXT[TEXT.index("sources:") :])
    before = config.read_text()
    kept = report(tmp_path, {"delivery.requests_per_second": 0.9})
    done = run("--from", kept, "--apply", config, "--yes", "--integration", "plant-b")
    assert (done.exit_code, config.read_text()) == (0, before)
    assert "nothing to change" in done.stdout


@pytest.mark.parametrize("credentials", [True, False])
def test_one_of_several_integrations_must_be_named(config: Path, tmp_path: Path, credentials: bool) -> None:
    """Before the probe begins, too: the address of the credentials is nowhere, and the name is the error."""
    config.write_text(SEVERAL + TEXT[TEXT.index("sources:") :])
    start: list[object] = ["--from", report(tmp_path, SETTINGS)]
    if credentials:
        start = [json.dumps(NOWHERE), "--yes"]
    for more in ([], ["--integration", "plant-x"]):
        done = run(*start, "--apply", config, *more)
        assert done.exit_code == 2
        assert "main, plant-b, plant.c, 1" in done.output
        assert "--integration" in done.output
    done = run(*start, "--integration", "plant-b")
    assert (done.exit_code, "add --apply CONFIG" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("connector", "said"),
    [
        ({"delivery.max_bytes": "100B"}, "max_bytes"),
        ({"delivery.max_bytes": "lots"}, "no number"),
        ({"delivery.unknown": 1}, "has no single delivery.unknown"),
    ],
)
def test_a_setting_that_the_configuration_cannot_have_is_refused(
    config: Path, tmp_path: Path, connector: dict[str, Any], said: str
) -> None:
    done = run("--from", report(tmp_path, connector), "--apply", config, "--yes")
    assert (done.exit_code, config.read_text()) == (1, TEXT)
    assert said in done.output
    assert list(tmp_path.glob(".*")) == []


def test_a_file_that_is_no_report_is_refused(config: Path, tmp_path: Path) -> None:
    for other in ("{", "[]", '{"report": "clarify-connector probe", "version": 2}'):
        (tmp_path / "other.json").write_text(other)
        done = run("--from", tmp_path / "other.json", "--apply", config)
        assert done.exit_code == 1
        assert "other.json is no" in done.output
    assert run("--from", tmp_path / "missing.json", "--apply", config).exit_code == 1


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        (3, "is no report"),
        ({"gzip": "maybe"}, "--gzip"),
        ({"unknown": 1}, "--unknown"),
        ({"queue_seconds": 20}, "queue-seconds must not be longer"),
    ],
)
def test_the_sandbox_refuses_a_report_that_it_cannot_follow(tmp_path: Path, switches: object, said: str) -> None:
    done = CliRunner().invoke(sandbox, ["--like", str(report(tmp_path, {}, sandbox=switches))])
    assert done.exit_code == 2
    assert said in done.output


def test_bounds_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps(NOWHERE))
    for option, said in (("--max-requests", "requests may be needed"), ("--max-signals", "signals may be needed")):
        done = run(credentials, "--yes", option, 5)
        assert done.exit_code == 1
        assert said in done.output
    done = run(credentials, "--yes", "--prefix", "æ/")
    assert (done.exit_code, "--prefix" in done.output) == (2, True)
    done = run(credentials, "--dry-run", "--skip", "size")
    assert done.exit_code == 0
    assert "overwrite" in done.stdout
    assert "clarify-connector-probe/" in done.stdout
    done = run(credentials, "--yes", "--output", tmp_path / "no" / "report.json")
    assert (done.exit_code, "report.json: No such file" in done.output) == (1, True)
    done = run(credentials, "--yes", "--apply", tmp_path / "no.yaml")
    assert (done.exit_code, "no.yaml" in done.output) == (1, True)
    done = run(credentials, answer="n\n")
    assert done.exit_code == 1
    done = run(credentials, "--yes")
    assert (done.exit_code, "no token" in done.output) == (1, True)
