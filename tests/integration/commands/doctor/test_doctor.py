"""The doctor names staged mistakes with their remedies, and says nothing against what is well."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from connector.commands.cli import main
from connector.commands.doctor import cli
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.tap import MqttTap
from connector.sources.tap import TapError
from tests.brokers import REQUIRE_REAL, need_mosquitto
from tests.connector_process import ConnectorProcess
from tests.integration.commands.doctor.mistakes import MISTAKES, Case, letters, stand_in_registry
from tests.integration.commands.doctor.place import Place
from tests.integration.commands.doctor.servers import Certificates, Kafkas, Mosquittos, http, silent
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secret_search import SearchedCommands
from tests.secrets_used import WRONG
from tests.waiting import wait_until

_MESSAGES = 30


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    need_mosquitto()
    plugins = [str(file) for file in Path("/usr/lib").glob("*-linux-gnu/mosquitto_dynamic_security.so")]
    if not plugins:
        (pytest.fail if REQUIRE_REAL else pytest.skip)(
            "needs Mosquitto's plugin for dynamic security (Debian: mosquitto)"
        )
    kafkas = Kafkas()
    with ExitStack() as stack:
        stack.callback(kafkas.close)
        starting = threading.Thread(target=kafkas.kafka.start)
        starting.start()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))  # Mosquitto must reach it
        certificates = Certificates(folder)
        mqtt = Mosquittos(folder, plugins[0], certificates)
        stack.enter_context(mqtt.broker)
        sandbox = stack.enter_context(SandboxServer(rate_limiter="off"))
        starting.join(120)
        kafkas.stage()
        yield Place(mqtt, kafkas, sandbox, certificates)


@pytest.fixture
def here(place: Place, tmp_path: Path) -> Iterator[Place]:
    place.folder = tmp_path
    with ExitStack() as stack:
        place.stack = stack
        yield place
        place.sandbox.clear_faults()


def asked(file: Path, *options: str) -> Result:
    return SearchedCommands().invoke(main, ["doctor", str(file), *options])


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.about}: {case.name}") for case in MISTAKES])
def test_a_mistake_is_named_with_its_remedy(here: Place, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name == "a silent port":  # in all other cases, something answers
        monkeypatch.setattr(cli, "SECONDS", 0.3)
    result = asked(here.whole(case.make(here)), "--json")
    rows = json.loads(result.stdout)
    level, what, finding, remedy = case.expected
    found = [
        row
        for row in rows
        if (row["about"], row["level"], row["what"]) == (case.about, level, what)
        and finding in row["finding"]
        and remedy in row["remedy"]
    ]
    assert len(found) == 1, json.dumps([row for row in rows if row["level"] != "ok"], indent=1)
    assert result.exit_code == (1 if level == "wrong" else 0), rows
    unrelated = [row for row in rows if row["level"] == "wrong" and row["about"] != case.about]
    assert unrelated == [], "one mistake, and nothing else is blamed"


def test_nothing_is_wrong_where_all_is_well(here: Place) -> None:
    sources = [
        here.reader(name="a"),
        here.source("sound", "mqtts", name="b"),
        here.user(name="c"),
        here.encrypted("SASL_SSL", name="d", sasl=here.user()["sasl"]),
    ]
    registry = stand_in_registry(here, http(200, b'["AVRO"]'))
    result = asked(here.whole({"sources": sources, **registry, **letters("plant.brief")(here)}), "--json")
    assert [row for row in json.loads(result.stdout) if row["level"] == "wrong"] == []
    assert result.exit_code == 0


def test_each_integration_is_looked_at_by_its_own_name(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "SECONDS", 0.5)
    found = here.sandbox.credentials()

    def changed(name: str, **change: Any) -> dict[str, Any]:
        file = here.folder / f"{name}-credentials.json"
        file.write_text(json.dumps(found | change))
        return {"credentials": str(file)}

    quiet = f"http://127.0.0.1:{here.stack.enter_context(silent())}/v1/"
    other = here.stack.enter_context(SandboxServer(rate_limiter="off"))
    integrations = {
        "sound": {"credentials": str(other.credentials_path), "requests_per_second": 5},
        "twice": changed("twice"),
        "strange": changed("strange", integration="cp1a5c9e3g7i2k6m0o4q"),
        "none": {"credentials": str(here.folder / "none.json")},
        "quiet": changed("quiet", apiUrl=quiet, integration="cp1a5c9e3g7i2k6m0o40"),
    }
    clarify = {"credentials": str(here.sandbox.credentials_path), "name": "main", "integrations": integrations}
    rules = [{"topic": "plant/a", "publish": True, "to": "sound"}, {"topic": "plant/#"}]
    result = asked(here.whole({"clarify": clarify, "mapping": {"rules": rules}}), "--json")
    assert result.exit_code == 1
    rows = [
        (row["about"].partition(" "), row["level"], row["what"], row["finding"]) for row in json.loads(result.stdout)
    ]
    said = [(name, level, what, text) for (part, _, name), level, what, text in rows if part == "clarify"]
    wrongs = {(name, what) for name, level, what, _ in said if level == "wrong"}
    assert wrongs == {("twice", "credentials"), ("strange", "access"), ("none", "credentials"), ("quiet", "answer")}
    assert {name for name, level, what, _ in said if (level, what) == ("ok", "clock")} == {"main", "sound", "twice"}
    assert [(name, text) for name, _, what, text in said if text.startswith("admin:")] == [("sound", "admin: granted")]
    assert any(text.endswith("like those of main") for _, _, _, text in said)
    assert [text.partition(" is ")[0] for _, level, what, text in said if (level, what) == ("advice", "rate")] == [
        "clarify.integrations.sound.requests_per_second"
    ]


def test_the_table_has_a_remedy_and_a_count(here: Place) -> None:
    result = asked(here.whole({"sources": [here.reader(password=WRONG)]}))
    assert result.exit_code == 1
    assert "wrong   source mqtt" in result.stdout
    assert "→ check username, password and the broker's access list" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 wrong, ")


def test_a_file_that_cannot_be_read_has_its_own_status(tmp_path: Path) -> None:
    file = tmp_path / "connector.yaml"
    file.write_text("sources: []\n")
    result = asked(file)
    assert result.exit_code == 2
    assert "clarify" in result.stderr


def test_check_network_is_the_short_form(here: Place) -> None:
    file = here.whole({"sources": [here.reader(topics=["office/#"])]})
    assert SearchedCommands().invoke(main, ["check", str(file), "--network"]).exit_code == 0
    file = here.whole({"sources": [here.reader(password=WRONG)]})
    result = SearchedCommands().invoke(main, ["check", str(file), "--network"])
    assert result.exit_code == 1
    assert "error: source mqtt: the broker refused the connection" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("where", "scheme", "remedy"),
    [("sound", "mqtt", "write mqtts://127.0.0.1"), ("plain", "mqtts", "write mqtt://127.0.0.1")],
)
def test_the_source_itself_names_the_other_scheme(here: Place, where: str, scheme: str, remedy: str) -> None:
    tap = MqttTap(MqttSection.model_validate(here.source(where, scheme)))
    tap.start()
    try:
        with pytest.raises(TapError, match=remedy):
            wait_until(lambda: bool(tap.poll(0.1)), 20, "the source says why")
    finally:
        tap.close()


def test_a_running_connector_is_not_disturbed(here: Place) -> None:
    """Its lock, its session and its group stay, and every message and record comes to it and not to the doctor."""
    shared = here.source(topics=["$share/g/plant/#"], client_id="the-connector", receive_maximum=10)
    sources = yaml.safe_dump([shared, here.group(group_id="ours")])
    connector = ConnectorProcess(
        here.folder, here.sandbox.credentials_path, sources, "delivery: {max_delay: 100ms, requests_per_second: 10}"
    )
    before = here.sandbox.count_samples()
    try:
        connector.start()
        members = here.kafkas.members("ours")
        with Publisher(here.mqtt.ports["plain"]) as publisher:
            for number in range(_MESSAGES):
                publisher.publish("plant/a")
                here.kafkas.produce("plant.good", f'{{"ts": {1_700_000_000 + number}, "value": {number}}}')
                if number % 10 == 0:
                    result = asked(connector.config, "--json")
                    assert result.exit_code == 0, result.stdout
        found = [row["finding"] for row in json.loads(result.stdout) if row["about"] == "connector"]
        assert found == [
            f"a connector runs with this state_dir (process {connector.pid})",
            "alive, ready; no loss is ahead",
        ]
        assert here.kafkas.members("ours") == members, "nobody joined or left"
        wait_until(lambda: here.sandbox.count_samples() - before == 2 * _MESSAGES, 60, "all of it is in Clarify")
        assert here.mqtt.broker.has("the-connector")
        assert connector.stop() == 0
    finally:
        connector.kill()
