"""The command line: what it prints, how it exits, and never a traceback for what a person can mend."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from connector import ConnectorError, __version__
from connector.commands.cli import BUG, main
from connector.config.reference import json_schema, reference
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.records import Record
from tests.secret_search import SearchedCommands
from tests.secrets_used import REGISTRY_TOKEN
from tests.secrets_used import SETTING as SECRET
from tests.unit.commands.configuration import CREDENTIALS, GOOD

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """`run` is meant to have a process of its own: it sets up logs and permissions for all of it."""
    umask = os.umask(0)
    os.umask(umask)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def cli(*arguments: str | Path) -> Result:
    return SearchedCommands().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> str:
    """What a command says that cannot do its work: an error for people, no traceback, no secret."""
    result = cli(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Error: " in result.output
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    return result.output


def test_the_version() -> None:
    result = cli("--version")
    assert (result.exit_code, result.output.strip().split()[-1]) == (0, __version__)


@pytest.mark.parametrize("command", ["run", "check", "schema", "ledger"])
def test_every_command_has_help(command: str) -> None:
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_check_says_what_it_found(config: Path) -> None:
    result = cli("check", config)
    assert result.exit_code == 0
    assert "ok: mqtt (mqtt://127.0.0.1:1)" in result.output
    assert "cp1a5c9e3g7i2k6m0o4q" in result.output
    assert SECRET not in result.output


def test_check_warns_of_a_password_in_clear_text(config: Path) -> None:
    config.write_text(GOOD.replace("topics: [x]", "topics: [x], username: me, password: p"), encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0
    assert "clear text" in result.output


def test_check_names_rules_and_subscriptions_that_never_meet(config: Path) -> None:
    rules = "mapping:\n  rules: [{topic: 'plant/+/v'}, {topic: 'plnt/#'}, {topic: '{a}/b/{c...}'}]\n"
    topics = "topics: ['plant/#', $share/g/other, 'x/+']"
    config.write_text(GOOD.replace("topics: [x]", topics) + rules, encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0
    assert "warning: rule 2 (plnt/#): no source subscribes to a matching topic" in result.output
    assert "warning: source mqtt: no rule matches a topic of '$share/g/other'" in result.output
    assert result.output.count("warning") == 2


def test_check_warns_about_a_shared_subscription_whose_signals_are_watched(config: Path) -> None:
    rules = "mapping:\n  rules: [{topic: 'a/#', expect_every: 5m}, {topic: 'b/#'}]\n"
    config.write_text(
        GOOD.replace("topics: [x]", "topics: [$share/g/a/+, $share/g/b/+, a/x]") + rules, encoding="utf-8"
    )
    result = cli("check", config)
    assert "warning: source mqtt: '$share/g/a/+' shares its messages with other members" in result.output
    assert result.output.count("warning") == 1


def test_check_beside_a_source_of_any_topic_still_names_subscriptions(config: Path) -> None:
    rules = "mapping:\n  rules: [{topic: other/x}]\n"
    (config.parent / "capture.ndjson").touch()
    file = "topics: [x]}\n  - {type: file, path: capture.ndjson, records: record}"
    config.write_text(GOOD.replace("topics: [x]}", file) + rules, encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert "warning: source mqtt: no rule matches a topic of 'x'" in result.output
    assert result.output.count("warning") == 1


KAFKA = GOOD.replace(
    '{type: mqtt, url: "mqtt://127.0.0.1:1", topics: [x]}',
    '{type: kafka, bootstrap_servers: "127.0.0.1:1,127.0.0.1:2", topics: [x], group_id: g}',
)


def test_check_of_a_kafka_source(config: Path) -> None:
    config.write_text(KAFKA, encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert "ok: kafka (127.0.0.1:1,127.0.0.1:2)" in result.output
    assert "warning" not in result.output


def test_check_compares_rules_with_topics_and_patterns_of_kafka(config: Path) -> None:
    rules = "mapping:\n  rules: [{topic: plant.a.v}, {topic: plant.x}, {topic: 'plant.{line}.v'}, {topic: 'other.+'}]\n"
    topics = "topics: ['^plant\\.[a-c]\\.v', other.a.b, other.b]"
    config.write_text(KAFKA.replace("topics: [x]", topics) + rules, encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert "warning: rule 2 (plant.x): no source subscribes to a matching topic" in result.output
    assert "warning: source kafka: no rule matches a topic of 'other.a.b'" in result.output
    assert result.output.count("warning") == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("tls: {ca_file: no.pem}", "source kafka: tls.ca_file: there is no file"),
        ("tls: {ca_file: connector.yaml}", "source kafka: tls.ca_file cannot be used as PEM"),
        (f"librdkafka: {{fetch.mn.bytes: {SECRET}}}", 'No such configuration property: "fetch.mn.bytes"'),
        (f"librdkafka: {{debug: {SECRET}}}", 'Invalid value "…" for configuration property "debug"'),
        ("librdkafka: {enable.auto.commit: false}", 'sources[0].librdkafka."enable.auto.commit": cannot be passed'),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_kafka_source_that_cannot_be_used(config: Path, command: str, more: str, said: str) -> None:
    config.write_text(KAFKA.replace("group_id: g", f"group_id: g, {more}"), encoding="utf-8")
    if command == "run" and "no file" in said:
        said = "source kafka: tls.ca_file cannot be used as PEM"
    assert said in refused(command, config)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            f"security: plaintext, sasl: {{mechanism: PLAIN, username: me, password: {SECRET}}}",
            "PLAIN over plaintext: the log-in can be read on the way",
        ),
        ("tls: {verify: false}", "tls.verify is false"),
        ("librdkafka: {linger.ms: 5}", "is a producer property and will be ignored"),
    ],
)
def test_check_warns_of_what_is_not_wise_with_kafka(config: Path, more: str, said: str) -> None:
    config.write_text(KAFKA.replace("group_id: g", f"group_id: g, {more}"), encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    [warning] = [line for line in result.output.splitlines() if line.startswith("warning: source kafka: ")]
    assert said in warning
    assert SECRET not in result.output


@pytest.mark.parametrize("command", ["run", "check", "ledger"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD.replace("clarify", "clarfy"),
            "connector.yaml:1: clarfy: there is no such setting; did you mean clarify?",
        ),
        (GOOD + "a: [", "not valid YAML"),
        ("", "sections such as clarify"),
        (GOOD + f"dead_letters: {{password: {SECRET}}}\n", "dead_letters.password: there is no such setting"),
        (GOOD.replace("topics: [x]", f"topics: [x], password: {SECRET}"), "password without username"),
    ],
)
def test_a_bad_configuration_is_one_clear_message(config: Path, command: str, text: str, said: str) -> None:
    config.write_text(text, encoding="utf-8")
    output = refused(command, config)
    assert said in output
    assert "connector.yaml" in output
    assert not (config.parent / "state").exists()


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("content", [None, "{}", "no JSON", json.dumps({**CREDENTIALS, "apiUrl": "http://far.away/"})])
def test_credentials_that_cannot_be_used(config: Path, command: str, content: str | None) -> None:
    file = config.parent / "credentials.json"
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    assert "credentials.json" in refused(command, config)


def test_check_of_schema_registries(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    registry = f"schema_registries: {{main: {{url: 'http://registry', token: {REGISTRY_TOKEN}}}}}\n"
    config.write_text(text + registry, encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert "warning: schema registry main: credentials over http" in result.output
    assert REGISTRY_TOKEN not in result.output
    more = "schema_registries: {main: {url: 'https://registry', tls: {ca_file: no.pem}}}\n"
    config.write_text(text + more, encoding="utf-8")
    assert "schema registry main: tls.ca_file: there is no file" in refused("check", config)


@pytest.mark.parametrize(
    ("observe", "warning"),
    [
        (
            "listen: 0.0.0.0:9464",
            "everybody who can reach this address can read the pages, with payloads; set token and tls",
        ),
        ("listen: '[::]:9464', tls: {cert_file: c.pem, key_file: c.pem}", "everybody who can reach this address"),
        (f"listen: pages.example:9464, token: {REGISTRY_TOKEN}", "others in the network can read the token; set tls"),
        (f"listen: 0.0.0.0:9464, token: {REGISTRY_TOKEN}, tls: {{cert_file: c.pem, key_file: c.pem}}", None),
        ("listen: 0.0.0.0:9464, token: guessed", "a token of fewer than 16 characters can be guessed"),
        ("listen: 127.0.0.1:9464", None),
        ("listen: '[::1]:9464'", None),
        ("listen: localhost:9464", None),
        ("listen: unix:/run/pages.sock", None),
    ],
)
def test_check_of_pages_that_others_can_read(config: Path, observe: str, warning: str | None) -> None:
    (config.parent / "c.pem").write_text("")
    config.write_text(GOOD.replace("listen: null", observe), encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert ("warning: observe: " in result.output) == (warning is not None)
    assert (warning or "") in result.output
    assert REGISTRY_TOKEN not in result.output
    if "c.pem" in observe:
        (config.parent / "c.pem").unlink()
        assert "observe: tls.cert_file: there is no file" in refused("check", config)


def test_check_looks_for_certificate_files(config: Path) -> None:
    text = GOOD.replace("topics: [x]", "topics: [x], tls: {ca_file: no.pem}").replace("mqtt://", "mqtts://")
    config.write_text(text, encoding="utf-8")
    assert "tls.ca_file: there is no file" in refused("check", config)


def test_run_says_which_address_is_taken(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(GOOD.replace("listen: null", f'listen: "127.0.0.1:{port}"'), encoding="utf-8")
        output = refused("run", config)
    assert f"observe.listen 127.0.0.1:{port} cannot be used" in output
    assert "choose another port" in output


def test_run_says_when_the_state_is_no_folder(config: Path) -> None:
    (config.parent / "state").write_text("in the way", encoding="utf-8")
    assert str(config.parent / "state") in refused("run", config)


@pytest.mark.parametrize("name", ["state.sqlite", "dead-letters.sqlite"])
def test_run_names_a_file_that_is_damaged(config: Path, name: str) -> None:
    (config.parent / "state").mkdir()
    (config.parent / "state" / name).write_text("no database" * 1000, encoding="utf-8")
    output = refused("run", config)
    assert name in output
    assert "move the file away" in output


def test_run_in_memory_refuses_to_forget_what_waits_on_disk(config: Path) -> None:
    (config.parent / "state").mkdir()
    file = SourceFile.open(config.parent / "state" / "mqtt.sqlite")
    file.journal.write([[Record("t", b"1", 1)]], [])
    file.close()
    config.write_text(GOOD.replace("topics: [x]", "topics: [x], client_id: me, journal: memory"), encoding="utf-8")
    assert "1 messages still wait in the journal on disk" in refused("run", config)


def test_ledger_balanced(config: Path) -> None:
    (config.parent / "state").mkdir()
    file = SourceFile.open(config.parent / "state" / "mqtt.sqlite")
    file.journal.write([[Record("t", b"1", 1)], [Record("t", b"2", 2)]], [])
    one = Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
    file.journal.write([], [Commit("mqtt", "p", 1, {"t": one})])
    file.close()
    result = cli("ledger", config)
    assert result.exit_code == 0
    assert "The ledger balances." in result.output
    as_json = cli("ledger", config, "--json")
    assert as_json.exit_code == 0
    found = json.loads(as_json.output)
    assert found["balanced"] is True
    assert found["messages"] == {
        "received": 2, "inserted": 1, "dead_lettered": 0, "filtered": 0, "superseded": 0, "waiting": 1,
    }  # fmt: skip

    file = SourceFile.open(config.parent / "state" / "mqtt.sqlite")
    file.journal.write([], [Commit("mqtt", "p", 2, {})])  # removed, but nobody says what became of it
    file.close()
    unbalanced = cli("ledger", config)
    assert unbalanced.exit_code == 1
    assert "1 are missing" in unbalanced.output
    assert json.loads(cli("ledger", config, "--json").output)["balanced"] is False
    assert cli("ledger", config, "--json").exit_code == 1


def test_ledger_says_when_a_file_cannot_be_read(config: Path) -> None:
    (config.parent / "state").mkdir()
    (config.parent / "state" / "mqtt.sqlite").write_text("no database" * 1000, encoding="utf-8")
    assert "the ledger cannot be read" in refused("ledger", config)


# -- what is generated -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "options", "content"),
    [("config/schema.json", [], json_schema), ("docs/configuration.md", ["--markdown"], reference)],
)
def test_generated_files_are_current(file: str, options: list[str], content: object) -> None:
    generated = cli("schema", *options)
    assert generated.exit_code == 0
    assert (ROOT / file).read_text(encoding="utf-8") == generated.output, (
        f"{file} is not current: clarify-connector schema {' '.join(options)} > {file}"
    )


def test_the_schema_knows_what_a_file_may_say() -> None:
    schema = json.loads(json_schema())
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["clarify", "sources"]
    assert schema["additionalProperties"] is False
    journal = schema["$defs"]["MqttSection"]["properties"]["journal"]
    assert {"disk", "memory"} <= {word for option in journal["anyOf"] for word in option.get("enum", [])}


def test_every_setting_is_explained() -> None:
    schema = json.loads(json_schema())
    table = reference()
    sections = [schema, *schema["$defs"].values()]
    for section in sections:
        assert section.get("description"), section.get("title")
        for name, field in section.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{section.get('title')}.{name}"
            assert f"| `{name}` |" in table


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give --from and --to, or --offsets"),
        (("--from", "yesterday", "--to", "2026-01-01T00:00:00Z"), "'yesterday' is no time"),
        (("--from", "2026-01-01T00:00:00", "--to", "2026-01-02T00:00:00Z"), "has no zone"),
        (("--from", "2026-01-03T00:00:00Z", "--to", "2026-01-02T00:00:00Z"), "is not before"),
        (("--offsets", "t=5"), "is not understood"),
        (("--offsets", "t[0]=5:5"), "must be before"),
        (
            ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z", "--source", "x"),
            "there is no source 'x' that can be read again",
        ),
    ],
)
def test_a_backfill_that_cannot_be_asked_for(config: Path, options: tuple[str, ...], words: str) -> None:
    kafka = "  - {type: kafka, bootstrap_servers: '127.0.0.1:1', topics: [t], group_id: g, security: plaintext}\n"
    config.write_text(GOOD.replace("sources:\n", f"sources:\n{kafka}"), encoding="utf-8")
    assert words in refused("backfill", config, *options)


# -- errors: what a person can mend, and bugs ------------------------------------------------------


def test_a_bug_is_a_traceback_and_says_where_to_report_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        local = SECRET
        raise ValueError("a value that nobody expected" + local[:0])

    monkeypatch.setattr("connector.commands.check.load_config", broken)
    result = SearchedCommands().invoke(main, ["check", str(config)])
    assert result.exit_code == BUG
    assert "Traceback (most recent call last)" in result.output
    assert "ValueError: a value that nobody expected" in result.output
    assert f"This is a bug in clarify-connector {__version__}" in result.output
    assert SECRET not in result.output


def test_what_a_person_can_mend_is_one_message(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused_(*_: object, **__: object) -> None:
        raise ConnectorError("the lamp is off; switch it on")

    monkeypatch.setattr("connector.commands.check.load_config", refused_)
    result = SearchedCommands().invoke(main, ["check", str(config)])
    assert (result.exit_code, result.output) == (1, "Error: the lamp is off; switch it on\n")


@pytest.mark.parametrize("url", [f"wss://h.example/mqtt?token={SECRET}", f"ws://h.example/#{SECRET}"])
def test_check_prints_no_token_in_the_address_of_a_websocket(config: Path, url: str) -> None:
    config.write_text(GOOD.replace("mqtt://127.0.0.1:1", url), encoding="utf-8")
    result = cli("check", config)
    assert result.exit_code == 0, result.output
    assert "://h.example/" in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize("line", ["passwrod: {}", "keepalive: {}", "qos: {}", "url: 'x:{}@h'", "protocol: {}"])
def test_check_prints_no_secret_that_stands_in_a_wrong_field(config: Path, line: str) -> None:
    config.write_text(GOOD.replace("topics: [x]", "topics: [x], " + line.format(SECRET)), encoding="utf-8")
    assert line.partition(":")[0] in refused("check", config) or line.startswith("url")
