"""What a Kafka section becomes for librdkafka, and that librdkafka itself takes it; no network."""

from __future__ import annotations

import itertools
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from connector.brokers.kafka import admin_settings
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import check_settings, consumer_settings, reader_settings
from tests.secrets_used import SETTING as SECRET

LEAST: dict[str, Any] = {"type": "kafka", "bootstrap_servers": "kafka:9093", "topics": ["plant"], "group_id": "g"}
PLAIN = {"mechanism": "PLAIN", "username": "me", "password": SECRET}
OAUTH = {
    "mechanism": "OAUTHBEARER",
    "client_id": "me",
    "client_secret": SECRET,
    "token_url": "https://login.example.com/token",
    "scope": "kafka",
    "extensions": {"logicalCluster": "lkc-1", "pool": "b"},
}
LOGINS: tuple[dict[str, Any] | None, ...] = (
    None,
    PLAIN,
    {**PLAIN, "mechanism": "SCRAM-SHA-256"},
    {**PLAIN, "mechanism": "SCRAM-SHA-512"},
    OAUTH,
)


def section(**more: Any) -> KafkaSection:
    return KafkaSection.model_validate(LEAST | more)


def complaint(**more: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        section(**more)
    assert SECRET not in str(refused.value).partition("input_value")[0]
    return " / ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in refused.value.errors())


# -- librdkafka takes what is made -----------------------------------------------------------------


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
@pytest.mark.parametrize("instance_id", [None, "connector-0"])
@pytest.mark.parametrize("security", ["tls", "plaintext"])
@pytest.mark.parametrize("sasl", LOGINS, ids=lambda login: login["mechanism"] if login else "no login")
def test_every_combination_is_taken(
    group_protocol: str, instance_id: str | None, security: str, sasl: dict[str, Any] | None
) -> None:
    found = section(group_protocol=group_protocol, instance_id=instance_id, security=security, sasl=sasl)
    assert check_settings(found) == []


@pytest.mark.parametrize("assignor", ["cooperative-sticky", "range", "roundrobin"])
@pytest.mark.parametrize(
    "times",
    [{}, {"session_timeout": "1s"}, {"session_timeout": "5m"}, {"max_poll_interval": "45s"}, {"drain_timeout": "299s"}],
)
def test_every_assignor_and_time_is_taken(assignor: str, times: dict[str, str]) -> None:
    assert check_settings(section(assignor=assignor, **times)) == []


@pytest.mark.parametrize("prefetch", ["64KiB", "8MiB", "1GiB"])
def test_every_prefetch_is_taken(prefetch: str) -> None:
    assert check_settings(section(prefetch=prefetch)) == []


def test_certificates_are_taken(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("client.example.com")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    files = {"ca_file": tmp_path / "ca.pem", "cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}
    for tls in (files, {"cert_file": tmp_path / "both.pem"}, {**files, "verify": False}):
        assert check_settings(section(tls=tls)) == []
    (tmp_path / "bad.pem").write_text("no certificate", encoding="utf-8")
    for name in ("ca_file", "cert_file", "key_file"):
        with pytest.raises(ValueError, match=rf"source kafka: tls\.{name} cannot be used"):
            check_settings(section(tls={**files, name: tmp_path / "bad.pem"}))


@pytest.mark.parametrize("sasl", [PLAIN, OAUTH])
def test_the_check_connects_to_nobody(sasl: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        token = {"token_url": f"http://{address}/token"} if "token_url" in sasl else {}
        check_settings(section(bootstrap_servers=address, security="plaintext", sasl=sasl | token))
        listening.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
def test_readers_and_admins_are_taken(group_protocol: str) -> None:
    found = section(
        group_protocol=group_protocol,
        instance_id="connector-0",
        sasl=PLAIN,
        librdkafka={"socket.timeout.ms": 70_000, "fetch.min.bytes": 10}
        | ({"group.remote.assignor": "uniform"} if group_protocol == "consumer" else {}),
    )
    reader, admin = reader_settings(found), admin_settings(found)
    for settings in (reader, admin):
        assert settings["socket.timeout.ms"] == 70_000
        del settings["bootstrap.servers"]
    Consumer(reader).close()
    AdminClient(admin)
    assert reader["enable.auto.commit"] is False
    assert reader["group.id"] != reader_settings(found)["group.id"]
    assert reader["auto.offset.reset"] == "error"
    assert reader["fetch.min.bytes"] == 10
    assert not {"group.instance.id", "group.protocol", "group.remote.assignor"} & set(reader)
    assert not {"group.id", "fetch.min.bytes", "enable.auto.commit"} & set(admin)


# -- what is made ----------------------------------------------------------------------------------


def test_positions_are_never_ahead_of_the_data_and_never_reset() -> None:
    for found in (section(), section(group_protocol="consumer"), section(auto_offset_reset="latest")):
        settings = consumer_settings(found)
        assert settings["enable.auto.offset.store"] is False
        assert settings["enable.auto.commit"] is True
        assert settings["auto.offset.reset"] == "error"
        assert settings["isolation.level"] == "read_committed"
        assert settings["allow.auto.create.topics"] is False


def test_the_new_protocol_leaves_to_the_brokers_what_is_theirs() -> None:
    theirs = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}
    assert theirs <= set(consumer_settings(section()))
    new = consumer_settings(section(group_protocol="consumer", instance_id="a"))
    assert not theirs & set(new)
    assert (new["group.protocol"], new["group.instance.id"]) == ("consumer", "a")


def test_times_and_sizes() -> None:
    settings = consumer_settings(section(session_timeout="6s", max_poll_interval="1m", prefetch="4MiB"))
    assert settings["session.timeout.ms"] == 6000
    assert settings["heartbeat.interval.ms"] == 1500
    assert settings["max.poll.interval.ms"] == 60_000
    assert settings["queued.max.messages.kbytes"] == 4096
    assert settings["fetch.max.bytes"] == 4 * 1024**2
    usual = consumer_settings(section())
    assert (usual["session.timeout.ms"], usual["heartbeat.interval.ms"]) == (45_000, 3000)
    assert usual["fetch.max.bytes"] == 8 * 1024**2


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "SSL"),
        ({"security": "plaintext"}, "PLAINTEXT"),
        ({"sasl": PLAIN}, "SASL_SSL"),
        ({"sasl": PLAIN, "security": "plaintext"}, "SASL_PLAINTEXT"),
    ],
)
def test_tls_is_on_until_plaintext_is_said(more: dict[str, Any], expected: str) -> None:
    for settings in (
        consumer_settings(section(**more)),
        reader_settings(section(**more)),
        admin_settings(section(**more)),
    ):
        assert settings["security.protocol"] == expected
    assert admin_settings(section())["ssl.endpoint.identification.algorithm"] == "https"
    assert admin_settings(section())["enable.ssl.certificate.verification"] is True


def test_a_token_is_asked_for_with_all_that_was_given() -> None:
    settings = consumer_settings(section(sasl=OAUTH))
    assert settings["sasl.oauthbearer.method"] == "oidc"
    assert settings["sasl.oauthbearer.extensions"] == "logicalCluster=lkc-1,pool=b"
    assert settings["sasl.oauthbearer.scope"] == "kafka"
    assert settings["sasl.oauthbearer.client.secret"] == SECRET


# -- what is passed through ------------------------------------------------------------------------


def test_other_settings_are_passed_through() -> None:
    passed = {
        "fetch.wait.max.ms": 250,
        "client.rack": "a",
        "socket.nagle.disable": True,
        "auto.commit.interval.ms": 500,
        "isolation.level": "read_committed",
        "check.crcs": True,
        "ssl.cipher.suites": "DEFAULT",
        "max.partition.fetch.bytes": 2_000_000,
    }
    found = section(librdkafka=passed)
    assert check_settings(found) == []
    assert consumer_settings(found).items() >= passed.items()


def test_every_setting_of_ours_is_made_by_us_alone() -> None:
    """Whatever we give to librdkafka for a guarantee cannot be changed by what is passed through."""
    harmless = {
        "socket.keepalive.enable", "reconnect.backoff.max.ms", "log_level", "queued.min.messages", "fetch.max.bytes",
        "fetch.message.max.bytes", "fetch.queue.backoff.ms", "auto.commit.interval.ms",
        "topic.metadata.refresh.interval.ms", "receive.message.max.bytes", "socket.connection.setup.timeout.ms",
    }  # fmt: skip
    made: set[str] = set()
    for sasl, group_protocol in itertools.product(LOGINS, ("classic", "consumer")):
        tls = {"ca_file": "ca", "cert_file": "c", "key_file": "k", "key_password": SECRET}
        made |= set(consumer_settings(section(sasl=sasl, group_protocol=group_protocol, instance_id="a", tls=tls)))
    for name in sorted(made - harmless):
        assert f"librdkafka.{name}: " in complaint(librdkafka={name: "other"}), name


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("enable.auto.commit", False, "cannot be passed through: stored positions are committed"),
        ("enable.auto.offset.store", True, "a crash loses data"),
        ("auto.offset.reset", "latest", "use auto_offset_reset"),
        ("group.id", "x", "use group_id"),
        ("bootstrap.servers", "x", "use bootstrap_servers"),
        ("metadata.broker.list", "x", "use bootstrap_servers"),
        ("sasl.password", SECRET, "use sasl.password"),
        ("sasl.mechanisms", "PLAIN", "use sasl.mechanism"),
        ("sasl.kerberos.keytab", "x", "use security, tls and sasl"),
        ("ssl.key.pem", SECRET, "use security, tls and sasl"),
        ("ssl.keystore.password", SECRET, "use security, tls and sasl"),
        ("enable.ssl.certificate.verification", False, "use tls.verify"),
        ("partition.assignment.strategy", "range", "use assignor"),
        ("queued.max.messages.kbytes", 1, "use prefetch"),
        ("isolation.level", "read_uncommitted", "records that a producer has taken back"),
        ("check.crcs", False, "damaged records"),
        ("allow.auto.create.topics", True, "mistyped"),
        ("plugin.library.paths", "x", "foreign code"),
        ("test.mock.num.brokers", 3, "for tests of librdkafka"),
        ("statistics.interval.ms", 0, "the metrics come from"),
        ("rebalance_cb", "x", "the value is a function"),
        ("auto.commit.interval.ms", 3_600_000, "must be from 100 to 10000"),
        ("auto.commit.interval.ms", "soon", "must be from 100 to 10000"),
        ("fetch.min.bytes", None, "must be a text, a number, true or false"),
        ("fetch.min.bytes", [SECRET], "must be a text, a number, true or false"),
        ("group.remote.assignor", "uniform", "is for group_protocol: consumer"),
    ],
)
def test_what_breaks_a_guarantee_is_refused_with_its_reason(setting: str, value: Any, said: str) -> None:
    found = complaint(librdkafka={setting: value})
    assert said in found
    assert setting in found


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        ({"fetch.min.byte": SECRET}, 'No such configuration property: "fetch.min.byte"'),
        ({"fetch.min.bytes": SECRET}, 'Invalid value for configuration property "fetch.min.bytes"'),
        ({"fetch.min.bytes": -5}, "outside allowed range"),
        ({"debug": SECRET}, 'Invalid value "…"'),
        ({"client.dns.lookup": SECRET}, 'Invalid value "…"'),
        ({"message.max.bytes": 100_000_000}, "`fetch.max.bytes` must be >="),
        ({"default.topic": "x"}, "No such configuration property"),
    ],
)
def test_what_librdkafka_refuses_is_said_without_the_value(passed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        check_settings(section(librdkafka=passed))
    assert "librdkafka refuses the settings" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_what_librdkafka_warns_of() -> None:
    [warning] = check_settings(section(librdkafka={"linger.ms": 5}))
    assert "is a producer property and will be ignored" in warning


def test_what_is_passed_through_is_in_no_repr() -> None:
    assert SECRET not in repr(section(librdkafka={"client.rack": SECRET}))


# -- the section -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "servers"),
    [
        ("a:9092", ["a:9092"]),
        ("a:9092, b.example.com:9093", ["a:9092", "b.example.com:9093"]),
        (["[::1]:9092", "10.0.0.1:1"], ["[::1]:9092", "10.0.0.1:1"]),
    ],
)
def test_servers(written: Any, servers: list[str]) -> None:
    assert section(bootstrap_servers=written).bootstrap_servers == servers


@pytest.mark.parametrize(
    "written",
    ["a", "a:", "a:x", "a:0", "a:65536", ":9092", "", "a:1,", "SSL://a:9092", "u@a:1", ["a: 1"], ["a:1,b:2"], []],
)
def test_servers_that_are_none(written: Any) -> None:
    assert "bootstrap_servers" in complaint(bootstrap_servers=written)


@pytest.mark.parametrize("topic", ["a", "A.b_c-9", "x" * 249, "^a", r"^plant\..*", "^(a|b)[0-9]{1,3}$", "^[^_].+"])
def test_topics(topic: str) -> None:
    assert section(topics=[topic]).topics == [topic]


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "ä", "x" * 250, "a*", "plant/#"])
def test_names_that_no_topic_has(topic: str) -> None:
    assert "is no name of a Kafka topic" in complaint(topics=[topic])


@pytest.mark.parametrize("topic", ["^(", "^[", "^*", "^a**", "^[b-a]", "^a{3,2}"])
def test_patterns_that_are_none(topic: str) -> None:
    assert "is no regular expression" in complaint(topics=[topic])


@pytest.mark.parametrize(
    "topic",
    [r"^\d", r"^\w", "^(?:a)", "^(?=a)", "^a+?", "^a++", "^[[:digit:]]", r"^[\.]", r"^(a)\1", "^a{", "^{}", "^ä"],
)
def test_patterns_that_not_everybody_reads_alike(topic: str) -> None:
    assert "topics.0" in complaint(topics=[topic])


@pytest.mark.parametrize(
    ("topics", "taken", "left"),
    [
        (["plant"], ["plant"], ["plants", "xplant"]),
        (["a.b"], ["a.b"], ["axb"]),
        (["^plant"], ["plant"], ["plants", "plant.a", "xplant"]),
        ([r"^plant\..*", "b"], ["plant.", "plant.a", "b"], ["plant", "plants", "bb"]),
        (["^a|b"], ["a", "b"], ["ab", "ax", "xb"]),
        (["^[a-c]x?$"], ["a", "cx"], ["d", "cxx"]),
    ],
)
def test_a_pattern_means_the_whole_name(topics: list[str], taken: list[str], left: list[str]) -> None:
    found = section(topics=topics)
    assert [name for name in taken + left if found.matches(name)] == taken
    for name in taken + left:  # librdkafka searches where the pattern begins with ^, and takes names as they stand
        asked = any(re.search(each, name) if each.startswith("^") else each == name for each in found.subscription)
        assert asked == (name in taken)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"group_id": ""}, "group_id"),
        ({"instance_id": "a b"}, "instance_id"),
        ({"session_timeout": "10m"}, "max_poll_interval must not be shorter than session_timeout"),
        ({"max_poll_interval": "30s"}, "max_poll_interval must not be shorter than session_timeout"),
        ({"drain_timeout": "5m"}, "drain_timeout must be shorter than max_poll_interval"),
        ({"group_protocol": "consumer", "session_timeout": "30s"}, "the brokers set the session time-out"),
        ({"group_protocol": "consumer", "assignor": "range"}, "the brokers assign partitions"),
        ({"security": "plaintext", "tls": {"ca_file": "x"}}, "tls settings with security: plaintext"),
        ({"security": "none"}, "'tls' or 'plaintext'"),
        ({"sasl": {"mechanism": "PLAIN", "username": "me"}}, "password is missing"),
        ({"sasl": {**PLAIN, "password": ""}}, "password is missing"),
        ({"sasl": {**PLAIN, "scope": "x"}}, "scope is not used by PLAIN"),
        ({"sasl": {**PLAIN, "extensions": {"a": "b"}}}, "extensions is not used by PLAIN"),
        ({"sasl": {**OAUTH, "client_secret": None}}, "client_secret is missing"),
        ({"sasl": {**OAUTH, "password": SECRET}}, "password is not used by OAUTHBEARER"),
        ({"sasl": {**OAUTH, "token_url": "http://far.example.com/token"}}, "token_url must begin with https://"),
        ({"sasl": {**OAUTH, "extensions": {"auth": "x"}}}, "extensions: a name"),
        ({"sasl": {**OAUTH, "extensions": {"a": "x,b=y"}}}, "extensions: a name"),
        ({"sasl": {"mechanism": "GSSAPI"}}, "sasl.mechanism"),
    ],
)
def test_settings_that_contradict_each_other(more: dict[str, Any], said: str) -> None:
    assert said in complaint(**more)


def test_what_is_warned_of() -> None:
    assert section(sasl=PLAIN).warnings == []
    [warning] = section(sasl=PLAIN, security="plaintext").warnings
    assert "PLAIN over plaintext" in warning
    [warning] = section(tls={"verify": False}).warnings
    assert "tls.verify" in warning


@pytest.mark.parametrize("prefetch", ["64KiB", "8MiB", "1GiB"])
def test_a_broker_cannot_send_more_than_was_bounded(prefetch: str) -> None:
    """librdkafka wants an answer to be longer than a fetch, and refuses the settings otherwise."""
    for settings in (consumer_settings(section(prefetch=prefetch)), reader_settings(section(prefetch=prefetch))):
        assert settings["receive.message.max.bytes"] == 100_000_000
        assert settings["fetch.max.bytes"] + 512 <= settings["receive.message.max.bytes"]
        assert settings["fetch.message.max.bytes"] <= settings["fetch.max.bytes"]
        assert settings["queued.max.messages.kbytes"] <= 1024 * 1024
    assert check_settings(section(prefetch=prefetch)) == []
