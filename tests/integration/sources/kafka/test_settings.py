"""The settings at a real Kafka: every way to log in, what a pattern takes, and every assignor."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from connector.brokers.kafka import admin_settings
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import consumer_settings
from connector.sources.kafka.source import KafkaSource
from tests.integration.kafka_topics import produce, read
from tests.kafka_brokers import Kafka, KafkaBroker, need_java
from tests.kafka_security import MECHANISMS, PASSWORD, USER, Security
from tests.scripted import ScriptedHandover
from tests.secrets_used import WRONG
from tests.waiting import wait_until


def section(bootstrap: str, topics: list[str], **more: Any) -> KafkaSection:
    return KafkaSection.model_validate(
        {"type": "kafka", "bootstrap_servers": bootstrap, "topics": topics, "group_id": f"g-{uuid.uuid4()}", **more}
    )


# -- logging in ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure_kafka() -> Iterator[Kafka]:
    need_java()
    with Kafka(secure=True) as kafka:
        kafka.create_topic("plant")
        yield kafka


@pytest.fixture
def secure(secure_kafka: Kafka) -> Security:
    assert secure_kafka.security is not None
    return secure_kafka.security


def lets_in(topic: str, settings: dict[str, str]) -> bool:
    try:
        Producer({**settings, "log_level": 0}).list_topics(topic, timeout=3)
    except KafkaException:
        return False
    return True


def login(mechanism: str, security: Security, secret: str = PASSWORD) -> dict[str, str]:
    if mechanism == "OAUTHBEARER":
        url = security.tokens.url
        return {"mechanism": mechanism, "client_id": USER, "client_secret": secret, "token_url": url, "scope": "kafka"}
    return {"mechanism": mechanism, "username": USER, "password": secret}


def test_a_certificate_lets_us_in(secure: Security) -> None:
    tls = {"ca_file": secure.ca_file, "cert_file": secure.cert_file, "key_file": secure.key_file}
    found = section(secure.bootstrap("SSL"), ["plant"], tls=tls)
    assert "plant" in AdminClient(admin_settings(found)).list_topics(timeout=20).topics


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_every_mechanism_lets_us_in(secure: Security, mechanism: str, listener: str) -> None:
    how = {"tls": {"ca_file": secure.ca_file}} if listener == "SASL_SSL" else {"security": "plaintext"}
    found = section(secure.bootstrap(listener), ["plant"], sasl=login(mechanism, secure), **how)
    assert "plant" in AdminClient(admin_settings(found)).list_topics(timeout=20).topics
    consumer = Consumer(consumer_settings(found))
    try:
        assigned = threading.Event()
        consumer.subscribe(found.subscription, on_assign=lambda *_: assigned.set())
        wait_until(lambda: consumer.poll(0.1) is None and assigned.is_set(), 20, "a member of the group")
    finally:
        consumer.close()


def test_the_secure_listeners_let_in_whom_they_should(secure_kafka: Kafka) -> None:
    """The Kafka that these tests rely on is one: also to those that it should not let in."""
    kafka, security = secure_kafka, secure_kafka.security
    assert security
    topic = "guarded"
    kafka.create_topic(topic)
    produce(kafka.bootstrap, topic, [b"4.2"])
    for listener in ("SASL_SSL", "SASL_PLAINTEXT"):
        for mechanism in MECHANISMS:
            assert read(security.client(listener, mechanism), topic, 1) == [b"4.2"], (listener, mechanism)
    assert security.tokens.given >= 2
    assert read(security.client("SSL"), topic, 1) == [b"4.2"]
    # And not the others.
    trusted = security.client("SASL_SSL")
    without_certificate = security.client("SSL")
    for name in ("ssl.certificate.location", "ssl.key.location"):
        del without_certificate[name]
    others = (
        trusted | {"sasl.password": WRONG},
        trusted | {"sasl.mechanism": "PLAIN", "sasl.password": WRONG},
        security.client("SASL_SSL", "OAUTHBEARER") | {"sasl.oauthbearer.client.secret": WRONG},
        {name: value for name, value in trusted.items() if name != "ssl.ca.location"},
        without_certificate,
    )
    with ThreadPoolExecutor() as pool:  # each tries until its time is over
        assert list(pool.map(partial(lets_in, topic), others)) == [False] * len(others)
    # A rule that forbids is obeyed.
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.READ,
        AclPermissionType.DENY,
    )
    kafka.admin().create_acls([rule])[rule].result(20)
    client = Producer(trusted)
    wait_until(lambda: client.list_topics(topic, timeout=10).topics[topic].error, 20, "alice may not see the topic")
    error = client.list_topics(topic, timeout=10).topics[topic].error
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


# -- patterns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
def test_a_pattern_takes_whole_names(kafka: KafkaBroker, group_protocol: str) -> None:
    if group_protocol == "consumer" and not kafka.real:
        pytest.skip("the mock cluster knows no patterns with the new protocol")
    start = f"p{uuid.uuid4().hex[:8]}"
    names = [f"{start}.{rest}" for rest in ("a", "b7", "b7x", "c")] + [f"x{start}.a"]
    for name in names:
        kafka.create_topic(name)
    pattern = rf"^{start}\.(a|b[0-9])"
    found = section(kafka.bootstrap, [pattern], security="plaintext", group_protocol=group_protocol)
    consumer = Consumer(consumer_settings(found))
    taken: set[str] = set()
    try:
        consumer.subscribe(found.subscription, on_assign=lambda _, new: taken.update(each.topic for each in new))
        wait_until(lambda: consumer.poll(0.1) is not None or bool(taken), 20, "an assignment")
    finally:
        consumer.close()
    assert sorted(taken) == [name for name in names if found.matches(name)] == names[:2]


# -- assignors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("assignor", ["cooperative-sticky", "range", "roundrobin"])
def test_a_new_group_finds_its_positions_with_every_assignor(kafka: KafkaBroker, tmp_path: Path, assignor: str) -> None:
    """Several partitions have no position at first: finding each must not disturb the others."""
    topics = [f"t{number}-{uuid.uuid4()}" for number in range(3)]
    for topic in topics:
        kafka.create_topic(topic)
        produce(kafka.bootstrap, topic, [b"1"])
    found = section(kafka.bootstrap, topics, security="plaintext", assignor=assignor)
    read: list[str] = []

    def run(folder: str, *enough: int) -> None:
        (tmp_path / folder).mkdir()
        source = KafkaSource(found, SourceFile.open(tmp_path / folder / "kafka.sqlite"))
        source.start(ScriptedHandover())

        def has_read(count: int) -> bool:
            chunk = source.poll(0.1)
            if chunk is not None:
                read.append(chunk.partition)
                counts = Counts(received=len(chunk.positions), inserted=len(chunk.positions))
                topic = chunk.partition.partition("[")[0]
                source.commit(Commit("kafka", chunk.partition, chunk.positions[-1], {topic: Tally(counts, counts)}))
            return len(read) >= count

        try:
            for count in enough:
                wait_until(partial(has_read, count), 20, f"{count} chunks", every=0)
                if count != enough[-1]:
                    for topic in topics:
                        produce(kafka.bootstrap, topic, [b"1"])
        finally:
            source.stop_reading()
            source.close(10)

    run("first", 3, 6)
    assert sorted({name.partition("[")[0] for name in read}) == sorted(topics)
    assert len(read) == 6
    produce(kafka.bootstrap, topics[0], [b"1"])
    run("second", 7)
    assert len(read) == 7  # what was settled does not come again
