"""Errors as the real client and a real Kafka make them: said with the cause and the remedy, and over when they are."""

from __future__ import annotations

import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
import trustme
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from structlog.testing import capture_logs

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.broker_sections import KafkaLettersSection
from connector.dead_letters.kafka_store import KafkaLetters
from connector.dead_letters.store import DeadLettersError
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.settings import Referenced
from connector.sources.kafka.broker_facts import LogBounds
from connector.sources.kafka.identity import TopicAsker
from connector.sources.kafka.range import RangeFinder
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.source import KafkaSource
from connector.sources.range import RangeError
from connector.sources.source import SourceFailedError
from tests.integration.kafka_topics import produce
from tests.kafka_brokers import Kafka, need_java
from tests.kafka_security import PASSWORD, USER
from tests.ports import free_port
from tests.scripted import Clock, ScriptedHandover
from tests.secrets_used import WRONG, fresh
from tests.waiting import wait_until

PROTOCOLS = ["classic", "consumer"]
SOON = {"topic.metadata.refresh.interval.ms": 500}
GROUP, TOPIC = ResourceType.GROUP, ResourceType.TOPIC


class Cluster:
    """A broker that gives rights and keeps groups small, and a second one that may go; the first coordinates groups."""

    def __init__(self) -> None:
        need_java()
        small = {"group.max.size": "2", "group.consumer.max.size": "2", "broker.session.timeout.ms": "1500"}
        small |= {"listener.name.sasl_plaintext.scram-sha-256.connections.max.reauth.ms": "2000"}
        small |= {"group.consumer.session.timeout.ms": "3000"}
        self.first = Kafka({"allow.everyone.if.no.acl.found": "false", **small}, secure=True)
        self.lost = f"127.0.0.1:{free_port()}"
        """A listener that gives another address to clients, where nobody is."""
        mine = self.first.properties
        mine["listeners"] += f",LOST://{self.lost}"
        mine["advertised.listeners"] += ",LOST://kafka.invalid:9092"
        mine["listener.security.protocol.map"] += ",LOST:PLAINTEXT"
        self.second = Kafka()
        self.second.properties |= {
            "node.id": "2",
            "process.roles": "broker",
            "listeners": f"PLAINTEXT://{self.second.bootstrap}",
            "controller.quorum.voters": mine["controller.quorum.voters"],
        }

    def start(self) -> None:
        self.first.start()
        self.first.create_topic("first")
        reader = Consumer({"bootstrap.servers": self.first.bootstrap, "group.id": "first", "log_level": 0})
        reader.subscribe(["first"])
        wait_until(lambda: reader.poll(0.1) is None and reader.assignment(), 30, "the first one coordinates groups")
        reader.close()
        data = self.second.folder / "data"
        data.mkdir()
        (data / "meta.properties").write_text("version=1\nnode.id=2\ncluster.id=Y2xhcmlmeS1jb25uZWN0bw\n")
        self.second.start()

    def close(self) -> None:
        self.second.close()
        self.first.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def kafka(cluster: Cluster) -> Kafka:
    return cluster.first


def create(kafka: Kafka, topic: str, *leaders: int) -> None:
    """Create a topic with a partition for each of these brokers."""
    new = NewTopic(topic, len(leaders), replica_assignment=[[leader] for leader in leaders])
    kafka.admin().create_topics([new], operation_timeout=15, request_timeout=20)[topic].result(25)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    create(kafka, name, 1)
    return name


class Driven:
    """A source that is polled by hand, and settles at once what it reads; its clock is moved by hand, too."""

    def __init__(self, folder: Path, bootstrap: str, topics: list[str], **settings: Any) -> None:
        self.clock = Clock()
        defaults: dict[str, Any] = {"group_id": topics[0], "security": "plaintext", "librdkafka": SOON}
        section = {"type": "kafka", "bootstrap_servers": bootstrap, "topics": topics} | defaults | settings
        if section.get("group_protocol", "classic") == "classic":
            section |= {"session_timeout": "2s"}
        self.consumers: list[Consumer] = []
        self.source = KafkaSource(
            KafkaSection.model_validate(section),
            SourceFile.open(folder / f"{uuid.uuid4()}.sqlite"),
            clock=self.clock,
            consumer=self._make,
        )
        self.read = 0
        self.source.start(ScriptedHandover())

    def _make(self, settings: dict[str, Any], **more: Any) -> Consumer:
        self.consumers.append(Consumer(settings | {"statistics.interval.ms": 500}, **more))
        return self.consumers[-1]

    def poll(self, seconds: float = 0.0) -> None:
        """`seconds` pass on its clock."""
        self.clock.now += seconds
        chunk = self.source.poll(0.1)
        if chunk is not None:
            self.read += len(chunk.positions)
            counts = Counts(received=len(chunk.positions), inserted=len(chunk.positions))
            topic = chunk.partition.partition("[")[0]
            self.source.commit(Commit("kafka", chunk.partition, chunk.positions[-1], {topic: Tally(counts, counts)}))

    def until(self, condition: Callable[[], object], seconds: float = 0.1) -> None:
        """Poll until the condition holds; `seconds` pass on its clock at each poll."""

        def polled() -> object:
            self.poll(seconds)
            return condition()

        wait_until(polled, 60, lambda: f"{self.source.problems()}", every=0)

    def until_said(self, *words: str, seconds: float = 0.1) -> None:
        """Poll until the words are in one of its problems."""
        self.until(lambda: any(all(word in text for word in words) for text in self.source.problems()), seconds)

    def until_well(self, seconds: float = 0.1) -> None:
        self.until(lambda: not self.source.problems(), seconds)

    def close(self) -> None:
        self.source.stop_reading()
        self.source.close(10)


Drive = Callable[..., Driven]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    made: list[Driven] = []

    def driven(bootstrap: str, topics: list[str], **settings: Any) -> Driven:
        made.append(Driven(tmp_path, bootstrap, topics, **settings))
        return made[-1]

    yield driven
    for found in made:
        found.close()


class Other:
    """A plain member of a group."""

    def __init__(self, kafka: Kafka, group: str, protocol: str, **settings: Any) -> None:
        plain = {"bootstrap.servers": kafka.bootstrap, "group.id": group, "group.protocol": protocol, "log_level": 0}
        self.consumer = Consumer(plain | settings)
        self.consumer.subscribe([group])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.consumer.poll(0.1)
        self.consumer.close()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(20)


def members(kafka: Kafka, group: str) -> int:
    return len(kafka.admin().describe_consumer_groups([group], request_timeout=10)[group].result(10).members)


# -- the group -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_group_is_said_and_entered_when_there_is_room(
    kafka: Kafka, topic: str, drive: Drive, protocol: str
) -> None:
    produce(kafka.bootstrap, topic, [b"1"])
    others = [Other(kafka, topic, protocol), Other(kafka, topic, protocol)]
    try:
        wait_until(lambda: members(kafka, topic) == 2, 30, "both are members")
        member = drive(kafka.bootstrap, [topic], group_protocol=protocol)
        member.until_said("the group is full", "group.max.size")
        member.until(lambda: member.clock.now > 1400, seconds=50)  # longer than the patience with a killed member
        assert "the group is full" in member.source.problems()[0]
    finally:
        for other in others:
            other.leave()
    member.until_well(seconds=1)


def test_members_with_another_assignor_are_said(kafka: Kafka, topic: str, drive: Drive) -> None:
    other = Other(kafka, topic, "classic", **{"partition.assignment.strategy": "range"})
    try:
        wait_until(lambda: members(kafka, topic) == 1, 30, "the other one is a member")
        member = drive(kafka.bootstrap, [topic])
        member.until_said("another assignor", "group_id of its own")
    finally:
        other.leave()
    member.until_well()


def test_of_two_with_one_instance_id_the_first_ends_and_says_why(kafka: Kafka, topic: str, drive: Drive) -> None:
    first = drive(kafka.bootstrap, [topic], instance_id="one")
    first.until_well()
    second = drive(kafka.bootstrap, [topic], instance_id="one")
    second.until_well()
    with pytest.raises(SourceFailedError, match="another one running with the same instance_id"):
        first.until(lambda: False)


def test_of_two_with_one_instance_id_and_the_new_protocol_the_second_says_why(
    kafka: Kafka, topic: str, drive: Drive
) -> None:
    first = drive(kafka.bootstrap, [topic], instance_id="one", group_protocol="consumer")
    first.until_well()
    second = drive(kafka.bootstrap, [topic], instance_id="one", group_protocol="consumer")
    second.until_said("same instance_id")
    with pytest.raises(SourceFailedError, match="given up after 180 s"):
        second.until(lambda: False, seconds=20)
    first.poll()
    assert first.source.problems() == []


def test_brokers_without_the_new_protocol_are_said(drive: Drive) -> None:
    with Kafka({"group.coordinator.rebalance.protocols": "classic"}) as old:
        old.create_topic("old")
        drive(old.bootstrap, ["old"], group_protocol="consumer").until_said("set group_protocol: classic")


# -- rights and topics -----------------------------------------------------------------------------


def rule(kafka: Kafka, kind: ResourceType, name: str, operation: AclOperation, user: str = USER) -> None:
    """Give a user a right."""
    given = AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
    kafka.admin().create_acls([given])[given].result(20)


def forbid(kafka: Kafka, kind: ResourceType, name: str) -> None:
    """Take all rights of our user."""
    taken = AclBindingFilter(
        kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ANY, AclPermissionType.ANY
    )
    kafka.admin().delete_acls([taken])[taken].result(20)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rights_that_come_later_and_go_and_come_again(kafka: Kafka, topic: str, drive: Drive, protocol: str) -> None:
    assert kafka.security
    sasl = {"mechanism": "PLAIN", "username": USER, "password": PASSWORD}
    member = drive(kafka.security.bootstrap("SASL_PLAINTEXT"), [topic], group_protocol=protocol, sasl=sasl)
    member.until_said("READ on the group")
    rule(kafka, GROUP, topic, AclOperation.READ)
    member.until_said("DESCRIBE and READ on the topic")
    rule(kafka, TOPIC, topic, AclOperation.READ)
    produce(kafka.bootstrap, topic, [b"1"])
    member.until(lambda: member.read == 1 and not member.source.problems(), seconds=1)
    forbid(kafka, TOPIC, topic)
    member.until_said("DESCRIBE and READ on the topic")
    reports = member.source._member.reports
    member.until(lambda: member.source._member.reports > reports + 2)
    assert "DESCRIBE and READ on the topic" in str(member.source.problems())
    rule(kafka, TOPIC, topic, AclOperation.READ)
    member.until_well(seconds=1)
    produce(kafka.bootstrap, topic, [b"2"])
    member.until(lambda: member.read >= 2 and not member.source.problems(), seconds=1)
    forbid(kafka, GROUP, topic)
    produce(kafka.bootstrap, topic, [b"3"])
    member.until_said("READ on the group")
    rule(kafka, GROUP, topic, AclOperation.READ)
    member.until(lambda: member.read >= 3 and not member.source.problems(), seconds=1)


def test_a_question_that_was_refused_is_answered_soon_after_the_rights_came(kafka: Kafka, topic: str) -> None:
    """A client that was refused finds no leaders until it refreshes its metadata, after five minutes."""
    assert kafka.security
    sasl = {"mechanism": "PLAIN", "username": USER, "password": PASSWORD}
    defaults = {"type": "kafka", "topics": [topic], "group_id": topic, "security": "plaintext", "sasl": sasl}
    section = KafkaSection.model_validate(defaults | {"bootstrap_servers": kafka.security.bootstrap("SASL_PLAINTEXT")})
    bounds, asker, name = LogBounds(section), TopicAsker(section), f"{topic}[0]"

    def end() -> int | None:
        try:
            return int(asker.ask_ends({name})[name].result(10).offset)
        except KafkaException:
            return None

    assert bounds.ask({name}) == {}
    assert end() is None
    rule(kafka, TOPIC, topic, AclOperation.DESCRIBE)
    wait_until(lambda: bounds.ask({name}) == {name: (0, 0)} and end() == 0, 45, "answers", every=0.5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_topic_that_is_made_later_is_no_problem_any_more_whoever_reads_it(
    kafka: Kafka, topic: str, drive: Drive, protocol: str
) -> None:
    later = f"{topic}-later"
    members = [drive(kafka.bootstrap, [topic, later], group_protocol=protocol) for _ in range(2)]
    if protocol == "classic":  # with the new protocol, the brokers say nothing about it
        members[0].until_said(later, "create the topic")
        members[1].until_said(later, "create the topic")
    create(kafka, later, 1)

    def well() -> bool:
        members[1].poll(0.1)
        owned = [member.source.gauges()["kafka_assigned_partitions"] for member in members]
        return owned == [1, 1] and not any(member.source.problems() for member in members)

    members[0].until(well)


# -- records that wait -----------------------------------------------------------------------------


def test_a_transaction_that_hangs_is_said_and_counted(kafka: Kafka, topic: str, drive: Drive) -> None:
    member = drive(kafka.bootstrap, [topic])
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"1")
    producer.flush(20)
    produce(kafka.bootstrap, topic, [b"2"] * 4)
    member.until(lambda: member.source.gauges()["kafka_lag"] == 5)
    member.until_said("transaction of a producer does not end", f"{topic}[0]", seconds=1)
    assert member.source.gauges()["kafka_lag"] == 5
    producer.abort_transaction(20)
    member.until(lambda: member.read == 4)
    member.until_well()
    member.until(lambda: member.source.gauges()["kafka_lag"] == 0)
    until = member.clock.now + 60
    while member.clock.now < until:  # the log ends with the marks of the transaction, which are no records
        member.poll(10)
        member.source.horizons(member.clock.now)
        assert member.source.problems() == []
    assert member.source.gauges()["kafka_lag"] == 0


def test_a_partition_without_a_leader_is_said_until_it_has_one(cluster: Cluster, topic: str, drive: Drive) -> None:
    kafka, away = cluster.first, f"{topic}-away"
    create(kafka, away, 1, 2)
    member = drive(kafka.bootstrap, [away])
    member.until(lambda: member.source.gauges()["kafka_assigned_partitions"] == 2)
    member.until_well()
    cluster.second.kill()
    try:
        member.until_said("no leader can be reached", f"{away}[1]", seconds=1)
        assert f"{away}[0]" not in str(member.source.problems())
        produce(kafka.bootstrap, away, [b"1"])
        member.until(lambda: member.read == 1)
    finally:
        cluster.second.start()
    member.until_well()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_that_stands_still_is_said_and_counted_and_read_by_joining_anew(
    kafka: Kafka, topic: str, drive: Drive, protocol: str
) -> None:
    member = drive(kafka.bootstrap, [topic], group_protocol=protocol)
    member.until(lambda: member.source.gauges()["kafka_assigned_partitions"] == 1)
    member.until_well()
    member.consumers[0].pause([TopicPartition(topic, 0)])  # it fetches no more, and reports nothing
    produce(kafka.bootstrap, topic, [b"1"] * 5)
    began = member.clock.now

    def looked() -> bool:
        member.source.horizons(member.clock.now)
        return True

    member.until(lambda: looked() and "although 5 wait" in str(member.source.problems()), seconds=5)
    assert member.clock.now - began < 40
    assert member.source.gauges()["kafka_lag"] == 5
    member.until(lambda: looked() and member.read == 5, seconds=5)
    assert 90 < member.clock.now - began < 180
    member.until(lambda: looked() and not member.source.problems(), seconds=5)
    assert len(member.consumers) == 2


# -- passwords and certificates that change --------------------------------------------------------


def test_a_password_that_changes_is_read_again_and_the_member_stays(
    kafka: Kafka, topic: str, drive: Drive, tmp_path: Path
) -> None:
    assert kafka.security
    rule(kafka, GROUP, topic, AclOperation.READ)
    rule(kafka, TOPIC, topic, AclOperation.READ)
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    password = Referenced.of(PASSWORD, "sasl.password", file.read_text)
    sasl = {"mechanism": "SCRAM-SHA-256", "username": USER, "password": password}
    member = drive(kafka.security.bootstrap("SASL_PLAINTEXT"), [topic], sasl=sasl)
    sent, done = 0, threading.Event()

    def load() -> None:
        nonlocal sent
        while not done.is_set():
            produce(kafka.bootstrap, topic, [b"1"] * 10)
            sent += 10

    thread = threading.Thread(target=load)
    thread.start()
    member.until(lambda: member.read > 10 and not member.source.problems(), seconds=1)
    other = fresh("kafka-password")
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    altered = UserScramCredentialUpsertion(USER, scram, other.encode())
    kafka.admin().alter_user_scram_credentials([altered])[USER].result(20)
    member.until_said("check the log-in", "read again before the next try", seconds=1)  # it logs in again every 2 s
    with capture_logs() as log:
        file.write_text(other)
        before = sent
        member.until(lambda: member.read > before and not member.source.problems(), seconds=1)
    done.set()
    thread.join()
    member.until(lambda: member.read == sent, seconds=1)
    reloaded = [line for line in log if line["event"] == "credentials_reloaded"]
    assert [(line["source"], line["settings"]) for line in reloaded] == [("kafka", ["sasl.password"])]
    assert other not in str(log)
    assert len(member.consumers) == 1


def test_a_store_of_dead_letters_logs_in_with_the_mended_password(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    assert kafka.security
    rule(kafka, TOPIC, topic, AclOperation.WRITE)
    file = tmp_path / "password"
    file.write_text(WRONG)
    password = Referenced.of(WRONG, "dead_letters.sasl.password", file.read_text)
    store = KafkaLetters(
        KafkaLettersSection.model_validate(
            {
                "type": "kafka",
                "bootstrap_servers": kafka.security.bootstrap("SASL_PLAINTEXT"),
                "security": "plaintext",
                "topic": topic,
                "timeout": "1s",
                "sasl": {"mechanism": "SCRAM-SHA-512", "username": USER, "password": password},
            }
        )
    )

    def added() -> bool:
        try:
            store.add([a_letter(1)])
        except DeadLettersError:
            return False
        return True

    assert not added()
    file.write_text(PASSWORD)
    wait_until(added, 60, lambda: str(store.problems()))
    assert not store.problems()
    store.close()


def test_a_certificate_that_changes_gets_another_consumer_as_soon_as_its_files_fit_together(
    kafka: Kafka, topic: str, drive: Drive, tmp_path: Path
) -> None:
    assert kafka.security
    rule(kafka, GROUP, topic, AclOperation.READ, user="*")
    rule(kafka, TOPIC, topic, AclOperation.READ, user="*")
    cert_file, key_file = kafka.security.another_certificate(tmp_path / "ours")
    tls = {"ca_file": kafka.security.ca_file, "cert_file": cert_file, "key_file": key_file}
    member = drive(kafka.security.bootstrap("SSL"), [topic], security="tls", tls=tls)
    produce(kafka.bootstrap, topic, [b"1"])
    member.until(lambda: member.read == 1 and not member.source.problems(), seconds=1)
    new_cert, new_key = kafka.security.another_certificate(tmp_path / "new")
    new_cert.replace(cert_file)
    member.until_said("cannot be used", "read again before the next try", seconds=1)
    produce(kafka.bootstrap, topic, [b"2"])
    member.until(lambda: member.read == 2)  # the consumer goes on
    assert len(member.consumers) == 1
    new_key.replace(key_file)
    member.until(lambda: len(member.consumers) == 2, seconds=1)
    produce(kafka.bootstrap, topic, [b"3"])
    member.until(lambda: member.read == 3 and not member.source.problems(), seconds=1)
    member.until_well(seconds=1)


# -- connections -----------------------------------------------------------------------------------


def silent_tls(certificate: trustme.LeafCert) -> str:
    """Where somebody speaks TLS with this certificate, and hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server = create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
                context.wrap_socket(client, server_side=True).close()
            except OSError:  # a handshake that fails is what this server is for
                continue

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_what_is_wrong_with_a_connection_is_said_with_the_remedy_once_a_minute(
    cluster: Cluster, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = cluster.first.security
    assert security
    authority = trustme.CA()
    ca_file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(ca_file)
    day = timedelta(days=1)
    now = datetime.now(UTC)
    expired = authority.issue_cert("127.0.0.1", not_before=now - 2 * day, not_after=now - day)
    named = authority.issue_cert("kafka.example.com")
    tls: dict[str, Any] = {"security": "tls", "tls": {"ca_file": security.ca_file}}
    ours: dict[str, Any] = {"security": "tls", "tls": {"ca_file": ca_file}}
    sasl = {"mechanism": "PLAIN", "username": USER, "password": PASSWORD}
    situations: list[tuple[str, dict[str, Any], str]] = [
        (cluster.first.bootstrap, tls, "set security: plaintext"),
        (security.bootstrap("SASL_SSL"), {}, "set security: tls"),
        (security.bootstrap("SASL_PLAINTEXT"), {}, "wants a log-in; set sasl"),
        (security.bootstrap("SSL"), tls, "set tls.cert_file"),
        (security.bootstrap("SASL_SSL"), ours, "name the authority that signed it in tls.ca_file"),
        (cluster.first.bootstrap, {"sasl": sasl}, "remove sasl"),
        (silent_tls(expired), ours, "it has expired; renew the server's certificate"),
        (silent_tls(named), ours, "for another name than 127.0.0.1"),
        (cluster.lost, {}, "advertised.listeners"),
        ("kafka.invalid:9092", {}, "the host name is not known"),
    ]
    with capture_logs() as lines:
        members = [(drive(where, ["t"], **settings), words) for where, settings, words in situations]

        def unsaid() -> list[str]:
            for member, _ in members:
                member.poll()
                member.source.horizons(member.clock.now)
            return [words for member, words in members if words not in str(member.source.problems())]

        wait_until(lambda: not unsaid(), 60, unsaid, every=0)
        said = [line["reason"] for line in lines if line["event"] == "kafka_trouble"]
        for _ in range(2):  # two seconds, with forty attempts to connect
            assert unsaid() == []
        later = [line["reason"] for line in lines if line["event"] == "kafka_trouble"][len(said) :]
    assert later == [], "no minute has passed on their clocks"
    assert len(said) <= 3 * len(situations)
    monkeypatch.setattr("connector.sources.kafka.range._QUERY_SECONDS", 1.0)
    where, settings, words = situations[1]
    section = {"type": "kafka", "bootstrap_servers": where, "topics": ["t"], "group_id": "g", "security": "plaintext"}
    finder = RangeFinder(KafkaSection.model_validate(section | settings))
    with pytest.raises(RangeError, match=words):
        finder.partitions()
    finder.close()
