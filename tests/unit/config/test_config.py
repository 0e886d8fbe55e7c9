"""Configuration files: what is wrong, in which file, line and field, and what to do; and never a secret."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from connector.brokers.kafka_section import SaslSection
from connector.config.address import Address
from connector.config.model import Config, ObserveSection
from connector.config.otlp import OtlpSection
from connector.config.read import ConfigError, load_config, rule_lines, secret_files
from connector.dead_letters.broker_sections import KafkaLettersSection, MqttLettersSection
from connector.delivery.section import ClarifySection, DeliverySection
from connector.formats.schema.registry.section import SchemaRegistrySection
from connector.mapping.presets import Presets
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.section import SignalsSection
from connector.runtime.assembly import fingerprint
from connector.settings import TlsSection
from connector.sources.file.section import FileSection
from connector.sources.journal.section import JournalSection
from connector.sources.kafka.section import KafkaSection
from connector.sources.mqtt.section import MqttSection
from tests.schemas import KnownSchemas
from tests.secrets_used import MQTT_PASSWORD
from tests.secrets_used import SETTING as SECRET

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLES = sorted(set(CONFIG.glob("*.yaml")) - set(CONFIG.glob("*-tests.yaml")))
GOOD = """\
clarify:
  credentials: credentials.json
sources:
  - type: mqtt
    url: mqtts://broker.example.com
    topics: ["plant/#"]
"""


KAFKA = """\
clarify:
  credentials: credentials.json
sources:
  - type: kafka
    bootstrap_servers: kafka.example.com:9093
    topics: [plant]
    group_id: connector
"""
BOTH = GOOD + KAFKA.partition("sources:\n")[2]


def write(folder: Path, text: str) -> Path:
    file = folder / "connector.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, text: str, **environment: str) -> Config:
    return load_config(write(folder, text), environment)


def complaint(folder: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(folder, text, **environment)
    return str(refused.value)


# -- what is right ---------------------------------------------------------------------------------


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.sources[0].name == "mqtt"
    assert config.delivery.max_delay == 2.0
    assert config.delivery.max_frame_bytes < config.delivery.max_bytes == 8 * 1024 * 1024
    assert config.mapping.rules == []
    assert config.rules() == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_used(example: Path, tmp_path: Path) -> None:
    """Variables and secret files that it names exist; everything else is as it stands there."""
    text = example.read_text(encoding="utf-8")
    for reference in {part.partition("}")[0] for part in text.split("${file:")[1:]}:
        secret = tmp_path / "secret"
        secret.write_text("from a file\n", encoding="utf-8")
        text = text.replace(f"${{file:{reference}}}", f"${{file:{secret}}}")
    folder = shutil.copytree(example.parent / "presets", tmp_path / "presets")
    shutil.copytree(example.parent / "mapping.d", tmp_path / "mapping.d")
    config = load_config(write(tmp_path, text), EveryVariable())
    assert config.sources
    known = {"presets": Presets(folder)}
    named = (RuleSection.model_validate({"preset": name}, context=known) for name in config.mapping.presets)
    rules = [*config.mapping.rules, *named]
    registries = dict.fromkeys(config.schema_registries, KnownSchemas())
    assert len(config.rules(registries)) == sum(len(rule.sections()) for rule in rules)


class EveryVariable(dict[str, str]):
    """An environment in which every variable is set."""

    def get(self, key: str, default: Any = None) -> Any:
        return f"value of {key}".replace(" ", "-")

    def __getitem__(self, key: str) -> str:
        return str(self.get(key))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("2s", 2.0), ("1.5m", 90.0), ("1h", 3600.0), ("0.5d", 43200.0), (" 7 s ", 7.0), ("'2s'", 2.0)],
)
def test_durations(tmp_path: Path, written: str, seconds: float) -> None:
    assert load(tmp_path, GOOD + f"delivery: {{max_delay: {written}}}\n").delivery.max_delay == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [("65536B", 65536), ("100kB", 100_000), ("64KiB", 65536), ("1.5MiB", 1572864), ("1GB", 10**9), ("2 GiB", 2**31)],
)
def test_sizes(tmp_path: Path, written: str, size: int) -> None:
    assert load(tmp_path, GOOD + f"dead_letters: {{max_bytes: {written}}}\n").dead_letters.max_bytes == size


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "password").write_text(f"{MQTT_PASSWORD}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = GOOD + "    tls: {ca_file: ca.pem, cert_file: /etc/cert.pem, key_file: ~/key.pem}\n    username: u\n"
    config = load(folder, text + "    password: ${file:secrets/password}\nstate_dir: ../state\n")
    assert config.clarify.credentials == folder / "credentials.json"
    assert config.sources[0].tls.ca_file == folder / "ca.pem"
    assert config.sources[0].tls.cert_file == Path("/etc/cert.pem")
    assert config.sources[0].tls.key_file == tmp_path / "home" / "key.pem"
    assert config.state_dir.resolve() == tmp_path / "state"
    assert config.sources[0].password is not None
    assert config.sources[0].password.get_secret_value() == MQTT_PASSWORD
    monkeypatch.setenv("HOME", str(folder))
    at_home = load(tmp_path, text + "    password: ${file:~/secrets/password}\n")
    assert at_home.sources[0].password == config.sources[0].password
    assert secret_files(tmp_path / "connector.yaml") == [folder / "secrets" / "password"]
    assert Address.of("unix:~/pages.sock").path == folder / "pages.sock"


def test_references_are_filled_in(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from file\r\n", encoding="utf-8")
    text = GOOD + (
        "    username: ${USER_NAME}\n"
        f"    password: ${{file:{secret}}}\n"
        "    client_id: ${ID:-fallback}-${EMPTY:-e}-$$x-$y\n"
        "    name: ${UNSET:-}north\n"
    )
    section = load(tmp_path, text, USER_NAME="me", EMPTY="").sources[0]
    assert section.username == "me"
    assert section.password is not None
    assert section.password.get_secret_value() == "from file"
    assert section.client_id == "fallback-e-$x-$y"
    assert section.name == "north"


def test_what_a_reference_holds_is_text_and_not_yaml(tmp_path: Path) -> None:
    section = load(tmp_path, GOOD + "    username: ${U}\n    password: ${P}\n", U="{a: 1}", P="${U} #x").sources[0]
    assert section.username == "{a: 1}"
    assert section.password is not None
    assert section.password.get_secret_value() == "${U} #x"


@pytest.mark.parametrize("written", ["5", "'5'", '"5"'])
def test_the_protocol_may_be_written_as_a_number(tmp_path: Path, written: str) -> None:
    assert load(tmp_path, GOOD + f"    protocol: {written}\n").sources[0].protocol == "5"


@pytest.mark.parametrize("written", ["memory", "{storage: memory}", "\n      storage: memory\n      max_bytes: 1MiB"])
def test_the_journal_may_be_a_word_or_a_section(tmp_path: Path, written: str) -> None:
    section = load(tmp_path, GOOD + f"    client_id: me\n    journal: {written}\n").sources[0]
    assert section.journal.storage == "memory"


@pytest.mark.parametrize(
    "written", ["1971-01-01", "1971-01-01T00:00:00Z", "'1971-01-01T00:00:00'", "1971-01-01 00:00:00"]
)
def test_the_oldest_time_may_be_written_in_any_way(tmp_path: Path, written: str) -> None:
    bounds = load(tmp_path, GOOD + f"mapping: {{oldest_time: {written}, newest_time: 1h}}\n").time_bounds()
    assert (bounds.oldest_us, bounds.newest_after_arrival_us) == (365 * 86400 * 10**6, 3600 * 10**6)


@pytest.mark.parametrize(
    ("written", "url"),
    [("broker", "mqtts://broker"), ("ws://h:80/mqtt", "ws://h:80/mqtt"), ("mqtt://[::1]:1883", "mqtt://[::1]:1883")],
)
def test_addresses(tmp_path: Path, written: str, url: str) -> None:
    assert load(tmp_path, GOOD.replace("mqtts://broker.example.com", f'"{written}"')).sources[0].url == url


def test_one_mapping_can_be_merged_into_another(tmp_path: Path) -> None:
    text = GOOD + "  - &one {type: mqtt, name: b, url: b, topics: [x]}\n  - {<<: *one, name: c}\n"
    assert [section.name for section in load(tmp_path, text).sources] == ["mqtt", "b", "c"]


# -- what is wrong ---------------------------------------------------------------------------------

RULE = "mapping:\n  rules:\n    - topic: plant/{line}/#\n"

MISTAKES = [
    # text, line, field, said
    (GOOD.replace("clarify:", "clarfy:"), 1, "clarfy", "there is no such setting; did you mean clarify?"),
    (GOOD + "    topcis: [x]\n", 7, "sources[0].topcis", "did you mean topics?"),
    (GOOD + "    tls:\n      ca_fle: x\n", 8, "sources[0].tls.ca_fle", "did you mean ca_file?"),
    (
        GOOD + "    zzz: 1\n",
        7,
        "sources[0].zzz",
        "known here: broker_queue, client_id, expect_every, freshness, journal, keepalive",
    ),
    (GOOD + RULE + "      values:\n        a: {nmae: x}\n", 11, "mapping.rules[0].values.a.nmae", "did you mean name?"),
    (GOOD.replace('    topics: ["plant/#"]\n', ""), 4, "sources[0].topics", "is required but missing"),
    (GOOD.replace("  credentials: credentials.json\n", "  timeout: 20s\n"), 1, "clarify.credentials", "required"),
    (GOOD.partition("sources")[0], None, "sources", "is required but missing"),
    (GOOD.partition("sources")[0] + "sources: []\n", 3, "sources", "at least 1"),
    (GOOD.replace("type: mqtt", "type: mttq"), 4, "sources[0].type", "did you mean mqtt?"),
    (
        GOOD.replace("type: mqtt", "type: [a]"),
        4,
        "sources[0].type",
        "there is no such kind of source; known: mqtt, kafka",
    ),
    (GOOD.replace("type: mqtt", "kind: mqtt"), 4, "sources[0].type", "is required but missing"),
    (GOOD.replace("  - type: mqtt", "  - mqtt\n  - type: mqtt"), 4, "sources[0]", "must be a section"),
    (KAFKA + "    topcis: [x]\n", 8, "sources[0].topcis", "did you mean topics?"),
    (KAFKA + "    journal: disk\n", 8, "sources[0].journal", "known here: assignor, auto_offset_reset"),
    (KAFKA.replace("plant", "plant/#"), 6, "sources[0].topics[0]", "'plant/#' is no name of a Kafka topic"),
    (KAFKA.replace("plant", "^(a"), 6, "sources[0].topics[0]", "'^(a' is no regular expression"),
    (KAFKA.replace(":9093", ""), 5, "sources[0].bootstrap_servers[0]", "a server is host:port, such as kafka-1"),
    (KAFKA.replace("    group_id: connector\n", ""), 4, "sources[0].group_id", "is required but missing"),
    (KAFKA + "    tls: {ca_fle: x}\n", 8, "sources[0].tls.ca_fle", "did you mean ca_file?"),
    (KAFKA + "    sasl:\n      mechansm: PLAIN\n", 9, "sources[0].sasl.mechansm", "did you mean mechanism?"),
    (KAFKA + "    sasl: {mechanism: PLAIN, username: x}\n", 8, "sources[0].sasl", "password is missing"),
    (KAFKA + "    sasl: PLAIN\n", 8, "sources[0].sasl", "must be a section"),
    (
        KAFKA + "    librdkafka:\n      client.rack: a\n      group.id: x\n",
        10,
        'sources[0].librdkafka."group.id"',
        "has a setting of its own: use group_id",
    ),
    (
        KAFKA + "    librdkafka: {fetch.min.bytes: [1]}\n",
        8,
        'sources[0].librdkafka."fetch.min.bytes"',
        "must be a text, a number",
    ),
    (KAFKA + "    librdkafka: x\n", 8, "sources[0].librdkafka", "must be a section"),
    (BOTH.replace("group_id", "group_di"), 10, "sources[1].group_di", "did you mean group_id?"),
    (BOTH.replace("[plant]", "[a b]"), 9, "sources[1].topics[0]", "'a b' is no name of a Kafka topic"),
    (BOTH + "    qos: 1\n", 11, "sources[1].qos", "known here: assignor"),
    (GOOD + "delivery: {share: much}\n", 7, "delivery.share", "'auto'; or: Input should be a valid number"),
    (GOOD.replace("mqtts://", "http://"), 5, "sources[0].url", "use mqtts, mqtt, wss or ws"),
    (GOOD.replace("broker.example.com", "h:x"), 5, "sources[0].url", "the port is not a number"),
    (GOOD.replace("broker.example.com", "h:0"), 5, "sources[0].url", "port 0"),
    (GOOD.replace("broker.example.com", "h:99999"), 5, "sources[0].url", "the port is not a number from 1 to 65535"),
    (GOOD.replace("mqtts://broker.example.com", "'mqtts://'"), 5, "sources[0].url", "has no host"),
    (GOOD.replace("broker.example.com", "h/path"), 5, "sources[0].url", "a path belongs only to ws"),
    (GOOD.replace("broker.example.com", "'[::1'"), 5, "sources[0].url", "cannot be read as an address"),
    (GOOD.replace("plant/#", "plant/#/x"), 6, "sources[0].topics[0]", "'#' must be the whole last level"),
    (GOOD.replace("plant/#", "$queue/plant/#"), 6, "sources[0].topics[0]", "write $share/GROUP/FILTER"),
    (GOOD.replace("plant/#", "$Shared/g/plant/#"), 6, "sources[0].topics[0]", "write $share/GROUP/FILTER"),
    (GOOD.replace("plant/#", "$exclusive/plant/#"), 6, "sources[0].topics[0]", "write the filter without $exclusive/"),
    (GOOD.replace("plant/#", "plant/a+"), 6, "sources[0].topics[0]", "'+' must be a whole level"),
    (GOOD.replace("plant/#", "$share/g"), 6, "sources[0].topics[0]", "write $share/GROUP/FILTER"),
    (GOOD.replace("plant/#", ""), 6, "sources[0].topics[0]", "must not be empty"),
    (GOOD + "    keepalive: 30\n", 7, "sources[0].keepalive", "a duration needs a unit, such as 500ms"),
    (GOOD + "    keepalive: 30sec\n", 7, "sources[0].keepalive", "'30sec' is no duration; write for example"),
    (GOOD + "    keepalive: 1s\n", 7, "sources[0].keepalive", "greater than or equal to 5 s"),
    (GOOD + "    keepalive: 20h\n", 7, "sources[0].keepalive", "less than or equal to 65535 s"),
    (
        GOOD + "    journal: {max_bytes: 1B}\n",
        7,
        "sources[0].journal.max_bytes",
        "greater than or equal to 65536 bytes",
    ),
    (GOOD + "    qos: 2\n", 7, "sources[0].qos", "0 or 1"),
    (GOOD + "    protocol: 4\n", 7, "sources[0].protocol", "'5' or '3.1.1'"),
    (GOOD + "    name: a b\n", 7, "sources[0].name", "pattern"),
    (GOOD + "    name: State\n", 7, "sources[0].name", "a source cannot be named this value"),
    (GOOD + "    journal: dsk\n", 7, "sources[0].journal.storage", "'disk' or 'memory'"),
    (GOOD + "    journal: {max_bytes: 1}\n", 7, "sources[0].journal.max_bytes", "a size needs a unit, such as 512KiB"),
    (GOOD + "    journal: {max_bytes: 1Mb}\n", 7, "sources[0].journal.max_bytes", "'1Mb' is no size; write for"),
    (GOOD + "    journal: memory\n", 4, "sources[0]", "needs a client_id of your own"),
    (GOOD + "    journal: memory\n    client_id: x\n    qos: 0\n", 4, "sources[0]", "use qos: 1 or disk"),
    (GOOD + "    password: x\n", 4, "sources[0]", "password without username"),
    (GOOD + "    tls: {key_file: k.pem}\n", 7, "sources[0].tls", "key_file without cert_file"),
    (GOOD + "  - {type: mqtt, name: MQTT, url: b, topics: [x]}\n", None, "", "two sources are named"),
    (GOOD + "delivery: {max_bytes: 9MiB}\n", 7, "delivery.max_bytes", "less than or equal to 8388608"),
    (GOOD + "delivery: {max_waiting_samples: 1}\n", 7, "delivery.max_waiting_samples", "greater than or equal to 1000"),
    (GOOD + "delivery: {requests_per_second: 0}\n", 7, "delivery.requests_per_second", "greater than 0"),
    (GOOD + "delivery: {requests_per_second: .inf}\n", 7, "delivery.requests_per_second", "less than or equal to 100"),
    (GOOD + "observe: {listen: 9464}\n", 7, "observe.listen", "string"),
    (GOOD + "observe: {listen: 'localhost:99999'}\n", 7, "observe.listen", "the port 99999 is greater than 65535"),
    (GOOD + "observe: {listen: 'unix:pages.sock'}\n", 7, "observe.listen", "pattern"),
    (GOOD + f"observe: {{listen: 'unix:/{'x' * 100}'}}\n", 7, "observe.listen", "at most 100 bytes"),
    (GOOD + "observe: {hosts: ['a.example:80']}\n", 7, "observe.hosts[0]", "pattern"),
    (GOOD + "observe: {token: ''}\n", 7, "observe.token", "a token has only printable ASCII"),
    (GOOD + 'observe: {token: "two\\nlines"}\n', 7, "observe.token", "a token has only printable ASCII"),
    (
        GOOD + "observe:\n  listen: unix:/s\n  tls: {cert_file: c, key_file: k}\n",
        7,
        "observe",
        "tls is for a HOST:PORT",
    ),
    (GOOD + "observe: {tls: {cert_file: c.pem}}\n", 7, "observe.tls.key_file", "required"),
    (GOOD + "observe: {otlp: {endpoint: 'collector:4318'}}\n", 7, "observe.otlp.endpoint", "https://collector.example"),
    (GOOD + "observe: {otlp: {endpoint: 'http://u:p@c'}}\n", 7, "observe.otlp.endpoint", "use headers"),
    (GOOD + "observe: {otlp: {endpoint: 'http://c', headers: {k: ''}}}\n", 7, "observe.otlp.headers.k", "ASCII"),
    (GOOD + "observe: {otlp: {endpoint: 'http://c', tls: {ca_file: c}}}\n", 7, "observe.otlp", "use https"),
    (GOOD + "observe: {otlp: {endpoint: 'http://c', protocol: grpc}}\n", 7, "observe.otlp.protocol", "http/protobuf"),
    (GOOD + "observe: {log_level: loud}\n", 7, "observe.log_level", "'debug', 'info', 'warning' or 'error'"),
    (GOOD + "mapping: {oldest_time: soon}\n", 7, "mapping.oldest_time", "datetime"),
    (GOOD + "mapping: {rules: {topic: x}}\n", 7, "mapping.rules", "list"),
    (
        GOOD + RULE + "      input: '{lnie}'\n",
        10,
        "mapping.rules[0].input",
        "'{lnie}': {lnie} is not known here; did you mean {line}?",
    ),
    (
        GOOD + RULE + "      values:\n        a:\n          name: '{x}'\n",
        12,
        "mapping.rules[0].values.a.name",
        "'{x}': {x} is",
    ),
    (
        GOOD + RULE + "      values:\n        a.b: {path: 'x[?'}\n",
        11,
        'mapping.rules[0].values."a.b".path',
        "nor JMESPath",
    ),
    (GOOD + RULE + "      preset: kepwear\n", 10, "mapping.rules[0].preset", "did you mean kepware?"),
    (GOOD + RULE + "      preset: tasmota\n", 9, "mapping.rules[0].topic", "instead of topic, set base"),
    (GOOD + RULE + "      time: {zone: Europe/Olso}\n", 10, "mapping.rules[0].time.zone", "no IANA time zone"),
    (GOOD + RULE + "      thin:\n        windwo: 1m\n", 11, "mapping.rules[0].thin.windwo", "did you mean window?"),
    (GOOD + "mapping: {presets: [senml]}\n", 7, "mapping.presets", "name the topic, with topic"),
    (GOOD + RULE + "      format: avro\n", 10, "mapping.rules[0].format", "declare it, or add a registry"),
    (GOOD + RULE + "      labels: {'a b': x}\n", 10, "mapping.rules[0].labels.a b", "pattern"),
    (GOOD + RULE + "      labels: {a: '{x}'}\n", 10, "mapping.rules[0].labels.a", "'{x}': {x} is not known here"),
    (GOOD + RULE + "      enum_values: {10000: x}\n", 10, "mapping.rules[0].enum_values.10000", "pattern"),
    (GOOD + RULE + "      enum_values: {1: on}\n", 9, "mapping.rules[0]", "enum_values without type: enum"),
    (
        GOOD + RULE + "      values: {a: {enum_values: {1: x}}}\n",
        10,
        "mapping.rules[0].values.a",
        "enum_values without",
    ),
    (GOOD + RULE + "      time: ''\n", 10, "mapping.rules[0].time.field", "at least 1 character"),
    (GOOD + RULE.replace("line", "Line"), 9, "mapping.rules[0].topic", "names are small letters"),
    (GOOD + RULE.replace("line", "field"), 9, "mapping.rules[0].topic", "{field} has another meaning in templates"),
    (GOOD + RULE.replace("#", "#/x"), 9, "mapping.rules[0].topic", "level 3: '#' may stand only at the end"),
    (
        GOOD + "    username: ${NOT_SET}\n",
        7,
        "sources[0].username",
        "NOT_SET is not set; set the variable, or write ${NOT_SET:-",
    ),
    (GOOD + "    username: ${a b}\n", 7, "sources[0].username", "a ${…} is not understood; use ${NAME}"),
    (GOOD + "    username: ${file:/no/such/file}\n", 7, "sources[0].username", "/no/such/file cannot be read: No such"),
    (GOOD + "    username: ${file:/dev/zero}\n", 7, "sources[0].username", "is it the right file?"),
    (GOOD + "  \t- x\n", 7, "", "not valid YAML"),
    (GOOD + "a: [1\n", 8, "", "not valid YAML"),
    (GOOD + "a: *b\n", 7, "", "not valid YAML"),
    (GOOD + "    url: other\n", 7, "", "a key occurs twice"),
    (GOOD + "---\na: 1\n", 7, "", "not valid YAML"),
    (GOOD + "mapping: &m {rules: [*m]}\n", 7, "mapping.rules[0]", "must be a section"),
    (GOOD + "delivery: 5s\n", 7, "delivery", "must be a section: settings, each with a name and a value"),
    (GOOD + RULE + "      values: [a]\n", 10, "mapping.rules[0].values", "must be a section"),
    (GOOD + "mapping: " + "[" * 400 + "]" * 400 + "\n", 7, "", "nested too deeply"),
    ("", 1, "", "sections such as clarify: and sources:"),
    ("- a\n", 1, "", "sections such as clarify: and sources:"),
    ("just text", 1, "", "sections such as clarify: and sources:"),
]


@pytest.mark.parametrize(("text", "line", "field", "said"), MISTAKES, ids=lambda value: str(value)[-40:])
def test_a_mistake_is_named_with_its_line_and_field(
    tmp_path: Path, text: str, line: int | None, field: str, said: str
) -> None:
    found = complaint(tmp_path, text)
    assert said in found
    where = f"{tmp_path / 'connector.yaml'}:{line}: " if line else f"{tmp_path / 'connector.yaml'}: "
    assert any(part.startswith(where + (f"{field}:" if field else "")) for part in found.splitlines()), found


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    found = complaint(tmp_path, GOOD + "    qos: 2\n    keepalive: 1\nstate: x\n")
    assert len(found.splitlines()) == 3


def test_all_variables_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    found = complaint(tmp_path, GOOD + "    username: ${A}\n    password: ${B}-${C}\n")
    assert [name in found for name in "ABC"] == [True] * 3


@pytest.mark.parametrize("content", [b"\xff\xfe", b"clarify: \0", b"\x00"])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "connector.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"connector\.yaml"):
        load_config(file)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


# -- secrets ---------------------------------------------------------------------------------------


def test_a_secret_is_in_no_repr(tmp_path: Path) -> None:
    config = load(
        tmp_path, GOOD + "    username: me\n    password: ${P}\n    tls:\n      key_password: ${P}\n", P=SECRET
    )
    for shown in (
        repr(config),
        str(config),
        repr(config.sources[0]),
        str(config.model_dump()),
        config.model_dump_json(),
    ):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "more",
    [
        f"    password: {SECRET}\n    username: me\n    password: other\n",
        f"    password: other\n    username: me\n    password: {SECRET}\n",
        f"    password: {SECRET}\n",
        f"    password: {SECRET}\n    username: [1]\n",
        f"    password: [{SECRET}]\n    username: me\n",
        f"    password: {{a: {SECRET}}}\n    username: me\n",
        "    password: ${P}\n    usernam: me\n",
        "    tls:\n      key_password: ${P}\n      key_file: x\n",
        "    password: ${P}${NOT_SET}\n",
        f"    password: '{SECRET}\n",
        f"    password: {SECRET}: x\n",
    ],
)
def test_a_secret_is_in_no_error(tmp_path: Path, more: str) -> None:
    assert SECRET not in complaint(tmp_path, GOOD + more, P=SECRET)


@pytest.mark.parametrize(
    "more",
    [
        "    librdkafka: {sasl.password: '${P}'}\n",
        "    librdkafka: {enable.auto.commit: '${P}', isolation.level: '${P}'}\n",
        "    librdkafka: {auto.commit.interval.ms: '${P}', fetch.min.bytes: ['${P}']}\n",
        "    sasl: {mechanism: PLAIN, password: '${P}'}\n",
        "    sasl: {mechanism: OAUTHBEARER, client_id: x, client_secret: '${P}', password: '${P}', token_url: y}\n",
        "    security: plaintext\n    tls: {key_file: k, cert_file: c, key_password: '${P}'}\n",
        "    sasl: {mechanism: '${P}x', pasword: '${P}'}\n",
        "    bootstrap_servers: 'me:${P}@kafka:9093'\n",
    ],
)
def test_a_secret_for_kafka_is_in_no_error(tmp_path: Path, more: str) -> None:
    text = KAFKA.replace("    bootstrap_servers: kafka.example.com:9093\n", "") if "bootstrap" in more else KAFKA
    assert SECRET not in complaint(tmp_path, text + more, P=SECRET)


SECTIONS: dict[str, tuple[str, type[BaseModel]]] = {
    "clarify": ("clarify: {{{}}}\nsources: [{{type: mqtt, url: h, topics: [x]}}]\n", ClarifySection),
    "mqtt": ("clarify: {{credentials: c}}\nsources:\n  - {{type: mqtt, {}}}\n", MqttSection),
    "kafka": ("clarify: {{credentials: c}}\nsources:\n  - {{type: kafka, {}}}\n", KafkaSection),
    "file": ("clarify: {{credentials: c}}\nsources:\n  - {{type: file, {}}}\n", FileSection),
    "tls": (GOOD.replace("{", "{{") + "    tls: {{{}}}\n", TlsSection),
    "journal": (GOOD + "    journal: {{{}}}\n", JournalSection),
    "sasl": (KAFKA + "    sasl: {{{}}}\n", SaslSection),
    "registry": (GOOD + "schema_registries: {{main: {{{}}}}}\n", SchemaRegistrySection),
    "delivery": (GOOD + "delivery: {{{}}}\n", DeliverySection),
    "observe": (GOOD + "observe: {{{}}}\n", ObserveSection),
    "otlp": (GOOD + "observe: {{otlp: {{{}}}}}\n", OtlpSection),
    "signals": (GOOD + "signals: {{{}}}\n", SignalsSection),
    "letters": (GOOD + "dead_letters: {{{}}}\n", KafkaLettersSection),
    "letters in MQTT": (GOOD + "dead_letters: {{type: mqtt, {}}}\n", MqttLettersSection),
}
PASSWORDS = [
    SECRET,
    f"{SECRET}://x",
    f"x:{SECRET}@h",
    f"{SECRET} {{a}} '{{b}}'",
    f"*{SECRET}",
    f"&{SECRET}",
    f"!{SECRET} x",
]


def said_of(folder: Path, text: str, secret: str) -> str:
    """What is wrong with a configuration; empty if nothing is."""
    try:
        load(folder, text, P=secret)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("written", ["'${P}'", "literal", "bare", "['${P}']"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_secret_in_all_wrong_fields_is_in_no_error(tmp_path: Path, section: str, written: str) -> None:
    template, kind = SECTIONS[section]
    names = [*kind.model_fields.keys() - {"type"}, "passwrod"]
    for secret in PASSWORDS:
        value = {"literal": "'" + secret.replace("'", "''") + "'", "bare": secret}.get(written, written)
        said = said_of(tmp_path, template.format(", ".join(f"{name}: {value}" for name in names)), secret)
        assert said
        assert SECRET not in said


@pytest.mark.parametrize("section", SECTIONS)
def test_a_secret_in_a_wrong_field_is_in_no_error(tmp_path: Path, section: str) -> None:
    """Here a section's own checks of several fields are reached, too."""
    template, kind = SECTIONS[section]
    said = [said_of(tmp_path, template.format(f"{name}: 'x ${{P}}'"), SECRET) for name in kind.model_fields]
    assert any(said)
    assert SECRET not in "".join(said)


def test_a_value_that_is_no_secret_is_shown(tmp_path: Path) -> None:
    assert "'30sec' is no duration" in complaint(tmp_path, GOOD + "    keepalive: 30sec\n")
    assert "'a/#/b': '#' must be" in complaint(tmp_path, GOOD.replace("plant/#", "a/#/b"))
    assert "'a/#/b'" not in complaint(tmp_path, GOOD.replace("plant/#", "${P}"), P="a/#/b")


@pytest.mark.parametrize("part", ["?token={}", "#{}", "?a=b&c={}#x"])
def test_a_token_in_the_address_of_a_websocket_is_used_and_never_printed(tmp_path: Path, part: str) -> None:
    url = "wss://broker.example.com/mqtt" + part.format(SECRET)
    config = load(tmp_path, GOOD.replace("mqtts://broker.example.com", f"'{url}'"))
    source = config.sources[0]
    assert isinstance(source, MqttSection)
    assert source.address == "wss://broker.example.com/mqtt"
    for printed in (str(source.url), repr(source.url), f"{source.url}", repr(config), str(config)):
        assert SECRET not in printed
        assert "broker.example.com/mqtt" in printed
    assert SECRET in urlsplit(source.url).geturl()  # this is how a connection reads it


def test_user_and_password_in_the_address_for_tokens_are_refused(tmp_path: Path) -> None:
    more = "    sasl: {mechanism: OAUTHBEARER, client_id: x, client_secret: y, token_url: 'https://me:${P}@h/t'}\n"
    found = complaint(tmp_path, KAFKA + more, P=SECRET)
    assert SECRET not in found
    assert "token_url" in found


# -- files that would take for ever -----------------------------------------------------------------


def bomb(levels: int, width: int, value: str) -> str:
    lines = [f"a0: &a0 {value}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * width) + "]")
    return "\n".join(lines) + "\n"


BOMBS = {
    "a billion laughs": (bomb(12, 10, "[lol]"), "with aliases replaced, the file has more than"),
    "a billion laughs in maps": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}, d: *a{n - 1}}}\n" for n in range(1, 40)),
        "with aliases replaced, the file has more than",
    ),
    "as a key": (f"{bomb(30, 10, '[lol]')}? [*a29, *a29]\n: 1\n", "a key must be plain text"),
    "as a key, itself": (f"{bomb(30, 10, '[lol]')}? *a29\n: 1\n", "a key must be plain text"),
    "merged": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
        "required but missing",
    ),
    "deep by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [[*a{n - 1}]]\n" for n in range(1, 1000)),
        "with aliases replaced, nested too deeply",
    ),
    "within itself": ("a: &a [*a]\n", "required but missing"),
    "within itself, as a map": ("a: &a {b: {c: *a}}\n", "required but missing"),
    "deep lists": ("a: " + "[" * 100_000 + "\n", "nested too deeply"),
    "deep maps": ("a: " + "{a: " * 50_000 + "\n", "nested too deeply"),
    "deep dashes": ("- " * 50_000 + "\n", "nested too deeply"),
    "deep keys": ("? " * 50_000 + "\n", "a key must be plain text"),
    "many": ("a: [" + "1," * 31_000 + "]\n", "more than 30000 keys and values"),
    "long": ("a: " + "x" * 1_100_000 + "\n", "larger than 1024 KiB"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_would_take_for_ever_is_refused_at_once(tmp_path: Path, name: str) -> None:
    text, said = BOMBS[name]
    file = write(tmp_path, text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=said) as refused:
        load_config(file, {})
    assert time.process_time() - began < 60  # on a busy machine; alone, the slowest of them takes some seconds
    assert len(str(refused.value)) < 20_000


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    file = write(tmp_path, BOMBS["a billion laughs"][0])
    tracemalloc.start()
    with pytest.raises(ConfigError):
        load_config(file, {})
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 1024**2


def test_aliases_that_stand_for_little_are_fine(tmp_path: Path) -> None:
    text = GOOD + "    tls: &tls {ca_file: ca.pem}\n" + GOOD.partition("sources:\n")[2] + "    name: b\n    tls: *tls\n"
    config = load(tmp_path, text)
    assert [source.tls.ca_file for source in config.sources] == [tmp_path / "ca.pem"] * 2


@pytest.mark.parametrize("host", ["h", "h:x", "[::1", "h\u2100"])
def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path, host: str) -> None:
    found = complaint(tmp_path, GOOD.replace("mqtts://broker.example.com", f"'mqtts://me:{SECRET}@{host}'"))
    assert SECRET not in found
    assert "sources[0].url" in found


# -- dead letters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("{}", "sqlite"),
        ("{max_bytes: 1MiB}", "sqlite"),
        ("{type: file, path: letters}", "file"),
        ("{type: mqtt, url: broker.example.com}", "mqtt"),
        ("{type: kafka, bootstrap_servers: 'k:9092', topic: letters}", "kafka"),
    ],
)
def test_kinds_of_dead_letter_stores(tmp_path: Path, section: str, kind: str) -> None:
    assert load(tmp_path, GOOD + f"dead_letters: {section}\n").dead_letters.type == kind


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{type: nothing}", "dead_letters.type: there is no such kind of store; known: sqlite, file, mqtt, kafka"),
        (
            "{type: file, max_bytes: 1MiB}",
            "dead_letters.max_bytes: there is no such setting; did you mean max_file_bytes?",
        ),
        ("{max_files: 3}", "dead_letters.max_files: there is no such setting"),
        ("{type: kafka, topic: letters}", "dead_letters.bootstrap_servers: is required but missing"),
        ("{type: kafka, bootstrap_servers: 'k:1', topic: ^a}", "must be one topic, not a pattern"),
        (
            "{type: kafka, bootstrap_servers: 'k:1', topic: a, librdkafka: {acks: 1}}",
            "a letter counts when all replicas",
        ),
        ("{type: mqtt, url: 'mqtt://h', topic: 'a/#'}", "dead_letters.topic: "),
        ("{type: mqtt, url: 'mqtt://h', password: x}", "password without username"),
        ("{type: mqtt, url: 'http://h'}", "the scheme is not known"),
        ("{when_full: stop, max_bytes: 1MiB}", "max_bytes must be at least 32MiB"),
        ("{type: file, max_file_bytes: 2MiB, max_files: 4, when_full: stop}", "at least 32MiB"),
        ("{type: file, max_file_bytes: 64KiB}", "at least twice max_payload"),
        ("[a]", "dead_letters: must be a section"),
    ],
)
def test_dead_letter_stores_that_cannot_be_used(tmp_path: Path, section: str, said: str) -> None:
    assert said in complaint(tmp_path, GOOD + f"dead_letters: {section}\n")


@pytest.mark.parametrize(
    ("url", "topic", "comes_back"),
    [
        ("mqtts://broker.example.com", "plant/letters", True),
        ("broker.example.com:8883", "plant/letters", True),
        ("mqtts://broker.example.com", "letters", False),
        ("mqtts://other.example.com", "plant/letters", False),
        ("mqtts://broker.example.com:1884", "plant/letters", False),
    ],
)
def test_letters_must_not_come_back_as_messages(tmp_path: Path, url: str, topic: str, comes_back: bool) -> None:
    text = GOOD + f"dead_letters: {{type: mqtt, url: '{url}', topic: {topic}}}\n"
    if comes_back:
        assert "use another topic" in complaint(tmp_path, text)
    else:
        assert load(tmp_path, text).dead_letters.type == "mqtt"


def test_letters_must_not_come_back_through_a_shared_subscription(tmp_path: Path) -> None:
    text = GOOD.replace("plant/#", "$share/g/plant/#")
    text += "dead_letters: {type: mqtt, url: broker.example.com, topic: plant/letters}\n"
    assert "would come back" in complaint(tmp_path, text)


def test_letters_must_not_come_back_as_records(tmp_path: Path) -> None:
    letters = "dead_letters: {type: kafka, bootstrap_servers: 'kafka.example.com:9093', topic: plant.letters}\n"
    assert load(tmp_path, KAFKA + letters).dead_letters.type == "kafka"
    assert "would come back" in complaint(tmp_path, KAFKA.replace("[plant]", "['^plant.*']") + letters)


# -- without secrets -------------------------------------------------------------------------------


SECRETS = (
    GOOD
    + "    password: ${BROKER_PASSWORD}\n    username: ${file:/nowhere/user}\nmapping:\n  rules:\n    - topic: a/b\n"
)


def test_without_secrets_what_only_says_how_something_is_reached_may_be_missing(tmp_path: Path) -> None:
    assert "BROKER_PASSWORD is not set" in complaint(tmp_path, SECRETS)
    config = load_config(write(tmp_path, SECRETS), {}, without_secrets=True)
    assert config.mapping.rules[0].topic == "a/b"
    used = load_config(write(tmp_path, SECRETS), {"BROKER_PASSWORD": MQTT_PASSWORD}, without_secrets=True)
    assert used.sources[0].password is not None
    assert used.sources[0].password.get_secret_value() == MQTT_PASSWORD


def test_without_secrets_what_says_what_becomes_of_data_is_still_needed(tmp_path: Path) -> None:
    text = SECRETS + "      name: ${SITE} press\n"
    with pytest.raises(ConfigError) as refused:
        load_config(write(tmp_path, text), {}, without_secrets=True)
    assert "mapping.rules[0].name: the environment variable SITE is not set" in str(refused.value)


def test_without_secrets_an_error_that_comes_of_a_missing_one_names_it(tmp_path: Path) -> None:
    text = KAFKA.replace("kafka.example.com:9093", "${SERVERS}")
    with pytest.raises(ConfigError) as refused:
        load_config(write(tmp_path, text), {}, without_secrets=True)
    assert "the environment variable SERVERS is not set" in str(refused.value)


def test_each_rule_is_found_in_its_file(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + "mapping:\n  rules:\n    - topic: a\n    # b\n    - skip: true\n      topic: b\n")
    assert rule_lines(file) == [9, 11]
    assert rule_lines(write(tmp_path, GOOD)) == []
    assert rule_lines(write(tmp_path, GOOD + "mapping:\n")) == []


def test_a_folder_of_presets_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "boiler_gateway.yaml").write_text(
        "about: boilers\nbase: gw\nrules:\n  - topic: '{boiler}/state'\n    input: 'boiler/{boiler}/{field}'\n"
    )
    mapping = "mapping: {preset_folder: mine, presets: [boiler_gateway], rules: [{preset: boiler_gateway, base: x}]}\n"
    config = load(tmp_path, GOOD + mapping)
    assert [rule.pattern.text for rule in config.rules()] == ["x/{boiler}/state", "gw/{boiler}/state"]
    before = config.mapping.digest
    (tmp_path / "mine" / "boiler_gateway.yaml").write_text("rules:\n  - topic: '{boiler}/state'\n")
    assert load(tmp_path, GOOD + mapping).mapping.digest != before


def test_the_files_of_a_preset_begin_at_its_folder_and_those_of_a_rule_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path, tmp_path / "mine"):
        (folder / "tags.csv").write_text("key,unit\na,bar\n")
        (folder / "t.avsc").write_text('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}')
    (tmp_path / "mine" / "press.yaml").write_text(
        "rules:\n  - topic: '{press}/state'\n    format: {type: avro, schema_file: t.avsc}\n"
        "    tags: {file: tags.csv, key: '{field}', unknown: filter}\n    expect_every: 5m\n"
    )
    of_rule = "tags: {file: tags.csv}, format: {type: avro, schema_file: t.avsc}"
    mapping = f"mapping: {{preset_folder: mine, presets: [press], rules: [{{preset: press, base: x, {of_rule}}}]}}\n"
    config = load(tmp_path, GOOD + mapping)
    by_rule, by_preset = config.mapping.sections()
    assert by_rule.tags
    assert by_preset.tags
    assert (by_rule.tags.file, by_preset.tags.file) == (tmp_path / "tags.csv", tmp_path / "mine" / "tags.csv")
    assert (by_rule.tags.key, by_rule.tags.unknown) == ("{field}", "filter"), "the preset says the rest"
    schemas = [getattr(section.format, "schema_file", None) for section in (by_rule, by_preset)]
    assert schemas == [tmp_path / "t.avsc", tmp_path / "mine" / "t.avsc"]
    assert [rule.tags.list.file for rule in config.rules() if rule.tags] == [by_rule.tags.file, by_preset.tags.file]
    assert config.mapping.expects_signals
    before = fingerprint(config)
    (tmp_path / "mine" / "t.avsc").write_text('{"type": "record", "name": "Other", "fields": []}')
    assert fingerprint(config) != before, "a reload sees it"


@pytest.mark.parametrize(
    ("file", "text", "mapping", "words"),
    [
        (None, "", "preset_folder: nowhere", "mapping.preset_folder: there is no folder"),
        ("zigbee2mqtt.yaml", "rules: []\n", "preset_folder: mine", "there is a built-in preset of this name"),
        ("a.yaml", "rules: [\n", "preset_folder: mine, presets: [a]", "a.yaml, line 2: not valid YAML"),
        (
            "a.yaml",
            bomb(12, 10, "[lol]"),
            "preset_folder: mine, presets: [a]",
            "with aliases replaced, the file has more",
        ),
        ("a.yaml", "rules: {}\n", "preset_folder: mine, presets: [a]", "a preset has rules:, a list of rules"),
        ("a.yaml", "rule: []\nrules: [{topic: t}]\n", "preset_folder: mine, presets: [a]", "rule: there is no such"),
        ("a.yaml", "rules: [{topic: t, inptu: x}]\n", "preset_folder: mine, presets: [a]", "with preset a: inptu"),
        ("boiler.yaml", "rules: [{topic: t}]\n", "preset_folder: mine, presets: [boilr]", "did you mean boiler?"),
    ],
)
def test_presets_of_ones_own_that_cannot_be_used(
    tmp_path: Path, file: str | None, text: str, mapping: str, words: str
) -> None:
    (tmp_path / "mine").mkdir()
    if file is not None:
        (tmp_path / "mine" / file).write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, GOOD + f"mapping: {{{mapping}}}\n")
    assert words in str(refused.value)
    assert str(tmp_path / "connector.yaml") in str(refused.value)


SEVERAL = GOOD.replace(
    "sources:",
    "  timeout: 7s\n  integrations:\n    plant-a: {credentials: a.json, requests_per_second: 0.5}\n"
    "    plant-b: {credentials: b.json, timeout: 3s, max_waiting_samples: 2000}\nsources:",
)


def test_a_further_integration_takes_from_clarify_and_delivery_what_it_does_not_say(tmp_path: Path) -> None:
    rules = 'mapping: {rules: [{topic: "{site}/#", to: "{site}"}, {topic: a, to: default}]}\n'
    config = load(tmp_path, SEVERAL + rules)
    a, b = config.clarify.of("plant-a"), config.clarify.of("plant-b")
    assert (a.credentials, a.timeout, b.timeout) == (tmp_path / "a.json", 7.0, 3.0)
    rates = [config.delivery.of(found).requests_per_second for found in (None, *config.clarify.integrations.values())]
    assert rates == [1.0, 0.5, 1.0]
    assert config.delivery.of(config.clarify.integrations["plant-b"]).max_waiting_samples == 2000
    assert config.clarify.names == {"default": "", "plant-a": "plant-a", "plant-b": "plant-b"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("mapping: {rules: [{topic: x, to: plant-c}]}", "there is no integration 'plant-c'; did you mean plant-b?"),
        ("mapping: {rules: [{preset: zigbee2mqtt, to: elsewhere}]}", "Known are default, plant-a, plant-b"),
        ('mapping: {rules: [{topic: x, to: "{field}"}]}', "{field} is a part of one value"),
        ('mapping: {rules: [{topic: x, to: "{sight}"}]}', "{sight} is not known here"),
        ('mapping: {rules: [{topic: "{s}/#", to: "{s}", format: sparkplug_b}]}', "sparkplug_b needs a fixed name"),
    ],
)
def test_a_rule_for_an_integration_that_is_not_there_is_an_error(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, SEVERAL + more + "\n")
    assert said in str(error.value)


def test_an_integration_has_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name of the integration of `clarify` itself"):
        load(tmp_path, SEVERAL.replace("  timeout: 7s", "  name: plant-a"))
    with pytest.raises(ConfigError, match="integrations"):
        load(tmp_path, SEVERAL.replace("plant-a:", '"plant|a":'))
