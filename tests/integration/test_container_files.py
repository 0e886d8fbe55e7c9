"""The examples in config/ and the files in docker/ are what they say, as far as that can be seen without an engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import trustme
from confluent_kafka import Producer
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from ruamel.yaml import YAML

from connector.commands.cli import main
from connector.config.model import Config
from connector.config.read import load_config
from connector.observe.http import ObserveServer, json_page
from connector.records import Record
from connector.runtime.assembly import build_mapper
from connector.sandbox.cli import sandbox
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.kafka_brokers import VERSION, Kafka, need_java
from tests.ports import free_port
from tests.sandbox_server import SandboxServer
from tests.secret_search import SearchedCommands
from tests.secrets_used import CLARIFY_SECRET
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
MAPPING_TESTS = sorted((ROOT / "config").glob("*-tests.yaml"))
EXAMPLES = [
    *sorted(set((ROOT / "config").glob("*.yaml")) - set(MAPPING_TESTS)),
    DOCKER / "config.yaml",
    DOCKER / "config.kafka.yaml",
]
ENVIRONMENT = {
    "MQTT_PASSWORD": "one",
    "NORTH_PASSWORD": "two",
    "SOUTH_PASSWORD": "three",
    "MEMBER": "1",
    "HOSTNAME": "connector-0",
    "KAFKA_PASSWORD": "four",
    "SERVICE_API_KEY": "five",
    "SERVICE_API_SECRET": "six",
    "SCHEMA_REGISTRY_PASSWORD": "seven",
}
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("connector.example.com")
CREDENTIALS = {
    "integration": "c0000000000000000000",
    "credentials": {"type": "basic-auth", "clientId": "user", "clientSecret": CLARIFY_SECRET},
}
CONFIG_PATH = "/etc/clarify-connector/config.yaml"
STATE_PATH = "/var/lib/clarify-connector"


# -- config/ ------------------------------------------------------------------------------------------


def on_this_machine(example: Path, folder: Path) -> Path:
    """A copy of the example in `folder`, with all absolute paths below `folder` and the files in place."""
    text = re.sub(r"(?<=[ :])/(etc|run|tmp|var)/", rf"{folder}/\1/", example.read_text())
    copy = folder / example.name
    copy.write_text(text)
    for beside in ("presets", "mapping.d"):
        shutil.copytree(ROOT / "config" / beside, folder / beside, dirs_exist_ok=True)
    shutil.copy(ROOT / "config" / "tags.csv", folder)
    # Only on their way to the sandbox may credentials travel in clear text.
    url = "http://sandbox:8090/v1/" if "/run/sandbox/" in text else "https://clarify.example/v1/"
    files = {Path(found) for found in re.findall(rf"{re.escape(str(folder))}/(?:etc|run)/[\w./-]+", text)}
    for file in files | {folder / "clarify-credentials.json"}:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content_of(file.name, url))
    return copy


def content_of(name: str, url: str) -> str:
    """Something that a file of this name may hold."""
    if "credentials" in name:
        integration = "c" + hashlib.sha256(name.encode()).hexdigest()[:19]  # no two files are of one integration
        return json.dumps(CREDENTIALS | {"apiUrl": url, "integration": integration})
    if not name.endswith((".pem", ".crt", ".key")):
        return "content"
    if "key" in name:
        return CERTIFICATE.private_key_pem.bytes().decode()
    if "ca" in name:
        return AUTHORITY.cert_pem.bytes().decode()
    return CERTIFICATE.cert_chain_pems[0].bytes().decode()


def loaded(name: str, folder: Path) -> Config:
    return load_config(on_this_machine(ROOT / "config" / name, folder), ENVIRONMENT)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_passes_the_check(example: Path, tmp_path: Path) -> None:
    copy = on_this_machine(example, tmp_path)
    done = SearchedCommands(env=dict(ENVIRONMENT)).invoke(main, ["check", str(copy)])
    assert done.exit_code == 0, done.output
    assert ": ok: " in done.output


def test_the_list_of_examples_is_complete() -> None:
    links = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", (ROOT / "config" / "README.md").read_text(), re.MULTILINE)
    assert sorted((ROOT / "config" / link).resolve() for link in links) == sorted([*EXAMPLES, *MAPPING_TESTS])


def test_secrets_come_from_environment_and_files(tmp_path: Path) -> None:
    for example in EXAMPLES:
        written = re.findall(r"^\s*(?:key_)?password: *(\S+)", example.read_text(), re.MULTILINE)
        assert all(value.startswith("${") for value in written), example
    office, plant = loaded("mqtt-tls.yaml", tmp_path).sources
    assert office.username == "clarify-connector"
    assert office.password is not None
    assert office.password.get_secret_value() == "one"
    assert plant.password is not None
    assert plant.password.get_secret_value() == "content"
    assert plant.tls.key_file == tmp_path / "run/secrets/connector.key"


def test_the_mapping_example_makes_what_it_says(tmp_path: Path) -> None:
    mapper = build_mapper(loaded("mapping-rules.yaml", tmp_path), {})

    def inputs(topic: str, payload: bytes) -> list[str]:
        return [sample[0] for sample in mapper.map("plant", Record(topic, payload, 1_780_000_000_000_000)).samples]

    written = re.search(r"\{\"ts\".*\}", (ROOT / "config" / "mapping-rules.yaml").read_text())
    assert written
    assert inputs("plant/line1/press/telemetry", written[0].encode()) == [
        "line1/press/pressure",
        "line1/press/state",
        "line1/press/motor.rpm",
    ]
    found = dict(mapper.discovered)
    assert found["line1/press/pressure"].unit == "bar"
    assert found["line1/press/motor.rpm"].name == "press motor speed"
    assert dict(found["line1/press/state"].enum_values) == {"0": "stopped", "1": "running", "2": "fault"}
    assert mapper.map("plant", Record("plant/line1/press/debug", b"1", 0)).skipped
    assert inputs("energy/m7/power", b"12.5") == ["energy/m7/power"]
    assert inputs("energy/m7/details", b'{"voltage": 231, "new": 1}') == ["energy/m7/voltage"]
    assert inputs("energy/gw1/water/w1", b"3") == inputs("energy/gw2/water/w1", b"4") == ["energy/water/w1"]
    assert mapper.map("plant", Record("plant/elsewhere", b"1", 0)).rejects[0].reason == "no_rule"


def test_a_preset_of_ones_own_makes_what_it_says(tmp_path: Path) -> None:
    mapper = build_mapper(loaded("preset-folder.yaml", tmp_path), {})
    about = re.search(r"\{\"state.*\}", (ROOT / "config" / "presets" / "boiler_gateway.yaml").read_text())
    assert about

    def samples(topic: str) -> list[tuple[str, int, float]]:
        return mapper.map("mqtt", Record(topic, about[0].encode(), 1_780_000_009_000_000)).samples

    at = 1_780_000_000_000_000
    assert samples("gw/b1/state") == [("b1/t", at, 81.5), ("b1/p", at, 4.1), ("b1/burner", at, 1.0)]
    assert [sample[1:] for sample in samples("hall2/b2/state")] == [(at, 81.5), (at, 4.1), (at, 1.0)]
    assert mapper.map("mqtt", Record("gw/b1/debug", b"x", at)).skipped
    found = dict(mapper.discovered)
    assert found["b1/t"].unit == "°C"
    assert dict(found["b2/t"].labels) == {"boiler": ("b2",), "hall": ("2",)}


def test_several_brokers_with_the_same_topics_stay_apart(tmp_path: Path) -> None:
    mapper = build_mapper(loaded("several-brokers.yaml", tmp_path), {})
    record = Record("plant/line1/press", b'{"pressure": 4.2}', 1_780_000_000_000_000)
    ids = [mapper.map(source, record).samples[0][0] for source in ("north", "south")]
    assert ids == ["north/line1/press/pressure", "south/line1/press/pressure"]


def test_the_tuning_example_writes_the_defaults_where_it_does_not_say_otherwise(tmp_path: Path) -> None:
    config = loaded("tuning.yaml", tmp_path)
    text = (ROOT / "config" / "tuning.yaml").read_text()
    plain = Config.model_validate(
        {
            "clarify": {"credentials": "x"},
            "sources": [{"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["plant/#"]}],
        }
    )
    differing = {
        f"{section}.{field}"
        for section in ("mapping", "delivery", "dead_letters", "observe")
        for field in type(getattr(config, section)).model_fields
        if getattr(getattr(config, section), field) != getattr(getattr(plain, section), field)
    }
    assert differing == {
        "mapping.oldest_time",
        "mapping.newest_time",
        "delivery.max_delay",
        "delivery.metadata_interval",
        "observe.listen",
        "observe.log_format",
    }
    same = {"type", "name", "url", "topics", "keepalive", "session_expiry", "receive_maximum"}
    assert config.sources[0].model_dump(include=same) == plain.sources[0].model_dump(include=same)
    assert config.clarify.timeout == plain.clarify.timeout
    of_the_source = {"broker_queue", "journal.max_bytes"}
    assert len(differing) + len(of_the_source) == len(re.findall(r"not the default", text, re.IGNORECASE))


# -- docker/Dockerfile --------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, as (word, rest), with comments and line continuations resolved."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in whole.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def last_stage() -> list[tuple[str, str]]:
    found = dockerfile()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def rest_of(word: str, stage: list[tuple[str, str]]) -> str:
    (rest,) = [rest for found, rest in stage if found == word]
    return rest


def test_the_image_runs_as_nobody_special_and_only_from_its_volume() -> None:
    stage = last_stage()
    user, _, group = rest_of("USER", stage).partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    after = stage[stage.index(("USER", f"{user}:{group}")) :]
    assert not [rest for word, rest in after if word in ("RUN", "COPY", "ADD")]
    made, compiled = [rest for word, rest in stage if word == "RUN"]
    assert f"clarify:x:{user}:{group}:" in made
    assert f"chown {user}:{group} {STATE_PATH}" in made
    assert "import connector.commands.run" in compiled  # what it uses of Python's library is compiled then
    assert json.loads(rest_of("VOLUME", stage)) == [STATE_PATH]
    assert rest_of("STOPSIGNAL", stage) == "SIGTERM"


def test_the_image_starts_and_checks_commands_that_exist() -> None:
    stage = last_stage()
    entry = json.loads(rest_of("ENTRYPOINT", stage))
    command = json.loads(rest_of("CMD", stage))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry == ["clarify-connector"]
    assert entry[0] in scripts
    assert command == ["run", CONFIG_PATH]
    check = rest_of("HEALTHCHECK", stage).partition("CMD ")[2]
    assert json.loads(check) == ["clarify-connector", "health", CONFIG_PATH]
    assert {"run", "health"} <= set(main.list_commands(click.Context(main)))


def test_the_dockerfile_names_no_host_and_no_secret() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert "://" not in text
    assert not re.search(r"index-url|find-links|trusted-host|proxy=", text)
    images = [rest for word, rest in dockerfile() if word == "FROM"]
    assert {image.partition(" ")[0] for image in images} == {"${BASE}"}
    (base,) = [rest for word, rest in dockerfile() if word == "ARG" and rest.startswith("BASE=")]
    assert "/" not in base


def test_the_image_installs_only_what_the_lock_files_say() -> None:
    installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip" in rest]
    assert all("--require-hashes" in rest or "--no-index" in rest for rest in installs)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = extras["sandbox"] + extras["json-schema"] + extras["otlp"]
    extra = sorted(re.match(r"[\w-]+", name)[0] for name in wanted)  # type: ignore[index]
    named = re.search(r"--requirement requirements\.lock ([\w -]+?) &&", installs[0])
    assert named
    assert sorted(named[1].split()) == extra
    for name in (*extra, "hatchling"):
        assert re.search(rf"^{name}==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE), name


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        source
        for word, rest in dockerfile()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert list(ROOT.glob(source)), source
        assert source.partition("/")[0] in kept, source
    assert {source.partition("/")[0] for source in sources} == kept


# -- docker/compose.yaml, docker/compose.kafka.yaml ---------------------------------------------------

COMPOSE = {
    # file: (the connector's configuration, its services, where the connector finds the broker)
    "compose.yaml": ("config.yaml", {"broker", "sandbox", "connector"}, "mqtt://broker:1883"),
    "compose.kafka.yaml": ("config.kafka.yaml", {"broker", "topics", "sandbox", "connector"}, "broker:9092"),
}


def compose(name: str) -> dict[str, Any]:
    document = YAML(typ="safe").load((DOCKER / name).read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_gives_nobody_rights_and_opens_nothing_to_the_network(name: str) -> None:
    services = compose(name)["services"]
    assert set(services) == COMPOSE[name][1]
    for service_name, service in services.items():
        assert service["read_only"] is True, service_name
        assert service["cap_drop"] == ["ALL"], service_name
        assert "no-new-privileges:true" in service["security_opt"], service_name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), service_name
        assert "privileged" not in service, service_name


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_mounts_what_the_image_and_the_configuration_expect(name: str) -> None:
    document = compose(name)
    mounts: dict[str, dict[str, str]] = {}
    for service_name, service in document["services"].items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            mounts.setdefault(service_name, {})[target] = source
            assert (DOCKER / source).exists() if source.startswith(".") else source in document["volumes"], volume
    config_name, _, address = COMPOSE[name]
    assert mounts["connector"][CONFIG_PATH] == f"./{config_name}"
    config = load_config(DOCKER / config_name, {})
    assert str(config.state_dir) == STATE_PATH
    assert mounts["connector"][STATE_PATH] == "state"
    # The credentials that the sandbox writes are those that the connector reads, through the same volume.
    command = document["services"]["sandbox"]["command"]
    options = sandbox.make_context("sandbox", command[1:]).params
    assert command[0] == "sandbox"
    assert mounts["sandbox"][str(options["credentials_out"].parent)] == "sandbox"
    assert mounts["connector"][str(config.clarify.credentials.parent)] == "sandbox"
    assert config.clarify.credentials.name == options["credentials_out"].name
    assert options["public_url"].startswith("http://sandbox:" + options["listen"].rpartition(":")[2])
    assert config.clarify.allow_insecure
    assert config.sources[0].address.startswith(address)
    assert config.observe.listen == "0.0.0.0:9464"


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_waits_only_for_what_there_is(name: str) -> None:
    services = compose(name)["services"]
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other], other
            else:  # one that ends by itself and is not started again after a success
                assert wanted["condition"] == "service_completed_successfully"
                assert services[other]["restart"] in ("no", "on-failure"), other


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_lets_the_connector_send_what_it_has_before_it_is_killed(name: str) -> None:
    grace = compose(name)["services"]["connector"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > load_config(DOCKER / COMPOSE[name][0], {}).delivery.flush_timeout + 5


def test_the_kafka_of_compose_serves_the_connector_of_compose(tmp_path: Path) -> None:
    """Its settings through the image's own start program, its topic, and the configuration beside it."""
    services = compose("compose.kafka.yaml")["services"]
    config = (DOCKER / "config.kafka.yaml").read_text()
    assert services["broker"]["image"] == f"apache/kafka:{VERSION}", "the Kafka of the tests is another one"
    topic = dict(word.removeprefix("--").split("=") for word in services["topics"]["command"] if "=" in word)
    assert topic["bootstrap-server"] in services["broker"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    kafka = Kafka()
    places = {
        "broker:9092": kafka.bootstrap,
        "://:9092": f"://{kafka.bootstrap}",
        "localhost:9093": f"127.0.0.1:{free_port()}",
        "127.0.0.1:9094": (computer := f"127.0.0.1:{free_port()}"),
        "://:9094": f"://{computer}",
        "/var/lib/kafka/data": str(tmp_path / "formatted"),
    }
    kafka.properties = kafka_properties(services["broker"]["environment"], places, tmp_path)
    kafka.properties["log.dirs"] = str(kafka.folder / "data")
    with kafka, SandboxServer() as clarify:
        kafka.create_topic(topic["topic"], int(topic["partitions"]))
        for written, here in (
            ("broker:9092", computer),
            ("/run/sandbox/credentials.json", str(clarify.credentials_path)),
            (STATE_PATH, str(tmp_path / "state")),
        ):
            assert written in config
            config = config.replace(written, here)
        with ConnectorProcess(tmp_path, clarify.credentials_path, "") as process:
            process.config.write_text(config.replace("0.0.0.0:9464", f"127.0.0.1:{process.observe_port}"))
            process.start()
            producer = Producer({"bootstrap.servers": computer})
            producer.produce(topic["topic"], b'{"pressure": 4.2}')
            assert producer.flush(20) == 0
            wait_until(lambda: clarify.count_samples() == 1, 30, "the measurement is in Clarify")
            assert process.stop() == 0, process.log()


def kafka_properties(environment: dict[str, str], places: dict[str, str], folder: Path) -> dict[str, str]:
    """What the image's start program makes of its environment, with `places` replaced by others of this machine."""
    for written, here in places.items():
        assert any(written in value for value in environment.values()), written
        environment = {name: value.replace(written, here) for name, value in environment.items()}
    java, jars = need_java()
    folders = {option: folder / option.strip("-") for option in ("-D", "-M", "-F")}
    for made in folders.values():
        made.mkdir()
    command = [java, "-cp", str(jars / "*"), "kafka.docker.KafkaDockerWrapper", "setup"]
    command += [word for option, made in folders.items() for word in (option, str(made))]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folders["-F"] / "server.properties").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines if line)}


# -- docker/mosquitto.conf ----------------------------------------------------------------------------


def test_the_broker_keeps_what_waits_over_a_restart() -> None:
    """More than its default of 1000 messages, for a client that is away while the broker stops and starts."""
    broker = Mosquitto()
    text = (DOCKER / "mosquitto.conf").read_text()
    text = text.replace("listener 1883\n", f"listener {broker.port} 127.0.0.1\n")
    text = text.replace("/mosquitto/data/", f"{broker.folder}/")
    assert str(broker.port) in text
    assert str(broker.folder) in text
    broker.config.write_text(text + ("user root\n" if os.getuid() == 0 else ""))
    with broker:
        reader(broker.port, lambda client: client.subscribe("plant/#", qos=1), until=lambda got, subscribed: subscribed)
        writer = Client(CallbackAPIVersion.VERSION2)
        writer.connect("127.0.0.1", broker.port)
        writer.loop_start()
        published = [writer.publish("plant/x", str(number), qos=1) for number in range(3000)]
        for message in published:
            message.wait_for_publish(20)
        writer.disconnect()
        writer.loop_stop()
        broker.stop()
        broker.start()
        received = reader(broker.port, lambda client: None, until=lambda got, subscribed: len(got) >= 3000)
    assert [int(payload) for payload in received] == list(range(3000))


def reader(port: int, connected: Callable[[Client], object], until: Callable[[list[bytes], bool], bool]) -> list[bytes]:
    """Join the session `reader`, and leave it when `until(payloads, subscribed)`; the payloads."""
    got: list[bytes] = []
    subscribed: list[object] = []

    def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        got.append(message.payload)

    client = Client(CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False)
    client.on_connect = lambda client, *_: connected(client)
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.on_message = on_message
    assert client.connect("127.0.0.1", port) == MQTTErrorCode.MQTT_ERR_SUCCESS
    client.loop_start()
    wait_until(lambda: until(got, bool(subscribed)), 20, "the reader has what it waits for")
    client.disconnect()
    client.loop_stop()
    return got


# -- the health check ---------------------------------------------------------------------------------


def health(config: Path, *options: str) -> tuple[int, str]:
    """(exit status, output) of `clarify-connector health`."""
    done = SearchedCommands().invoke(main, ["health", str(config), *options])
    return done.exit_code, done.output.strip()


def test_health_says_what_is_in_the_way_and_fails_only_when_a_restart_can_help(tmp_path: Path) -> None:
    with SandboxServer() as clarify, Mosquitto() as broker:
        source = f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{broker.port}", topics: ["plant/#"]}}'
        with ConnectorProcess(tmp_path, clarify.credentials_path, source) as process:
            status, text = health(process.config)
            assert status == 1
            assert "is the connector running?" in text
            process.start()
            assert health(process.config) == health(process.config, "--ready") == (0, "alive, ready")
            broker.stop()
            wait_until(lambda: process.readiness()[0] == 503, 20, "the connector notices that the broker is away")
            status, text = health(process.config)
            assert status == 0
            assert text.startswith("alive, not ready: plant: ")
            assert health(process.config, "--ready")[0] == 1
            assert process.stop() == 0


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (json_page(503, {"alive": False, "failure": "the journal is damaged"}), "failed: the journal is damaged"),
        ((200, "text/html", b"<html>"), "is not a connector"),
        (json_page(200, ["something else"]), "is not a connector"),
    ],
)
def test_health_fails_for_a_connector_that_failed_and_for_a_stranger(
    tmp_path: Path, page: tuple[int, str, bytes], expected: str
) -> None:
    server = ObserveServer("127.0.0.1:0", {"/healthz": lambda: page, "/readyz": lambda: page})
    server.start()
    try:
        config = tmp_path / "connector.yaml"
        config.write_text(
            "clarify: {credentials: x.json}\nsources: [{type: mqtt, url: 'mqtt://localhost', topics: ['#']}]\n"
            f"observe: {{listen: '0.0.0.0:{server.port}'}}\n"
        )
        status, text = health(config)
    finally:
        server.close()
    assert status == 1
    assert expected in text


def test_health_without_an_address_says_so(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(
        "clarify: {credentials: x.json}\nsources: [{type: mqtt, url: 'mqtt://localhost', topics: ['#']}]\n"
        "observe: {listen: null}\n"
    )
    status, text = health(config)
    assert status == 1
    assert "observe.listen is null" in text
