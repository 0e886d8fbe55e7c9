"""Kafka brokers for tests, in order of preference: one named by KAFKA_BOOTSTRAP_SERVERS, an Apache Kafka on this
machine (Java 17, its jars fetched once by Maven), one in a container where Docker answers, and only then librdkafka's
mock cluster (a stand-in: no groups that survive it, no expiry, no security).

`python -m tests.kafka_brokers` fetches the jars and says where they are. With `--keep-classes`, it starts a Kafka and
keeps the loaded classes beside the jars.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, Self

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.brokers import REQUIRE_REAL, USED, docker_answers
from tests.kafka_security import Security
from tests.maven import fetched
from tests.ports import free_port
from tests.waiting import listens, wait_until

POM = Path(__file__).parent / "kafka" / "pom.xml"
VERSION = re.findall(r"<kafka\.version>([^<]+)<", POM.read_text())[0]
NEEDS = "needs Java 17 and Maven, or Docker"
NEEDS_JAVA = "needs Java 17 and Maven (Debian: apt-get install openjdk-17-jre-headless maven)"
HOST = "127.0.0.1"
LEFT_OUT: list[str] = []
"""The tests that were skipped because there is no Kafka for them; for the end of the test run."""

SETTINGS = {
    # One node is enough for everything that Kafka keeps for itself.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A topic that a test did not make is a mistake in the test.
    "auto.create.topics.enable": "false",
    # Groups: members may ask for short sessions, and the first one need not wait for others.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "300",
    # What has expired goes at once, so that a test can see it gone.
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "100",
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # After SIGKILL it must not wait long for its own former self's session to end.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""What every broker of ours has in server.properties; a test's own `properties` go over it."""
CLUSTER = SETTINGS | {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    # A killed node is noticed, and a leader chosen, within seconds.
    "broker.session.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}
"""What every node of a cluster has."""


class KafkaBroker(Protocol):
    """A Kafka that somebody started."""

    bootstrap: str
    real: bool

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create it and wait until every partition has a leader."""


class RealKafka:
    """One with Kafka's own admin interface."""

    bootstrap: str
    _admin: AdminClient | None = None

    def admin(self) -> AdminClient:
        """The admin client, for what is not here. One for good: a request ends with the client that made it."""
        if self._admin is None:
            self._admin = AdminClient(
                {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}
            )
        return self._admin

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
        replicas: Sequence[Sequence[int]] = (),
    ) -> None:
        """Create it and wait until every partition has a leader. `replicas` has the nodes of each partition, the leader
        first, instead of `partitions`."""
        admin = self.admin()
        partitions = len(replicas) or partitions
        topic = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        if replicas:
            topic.replica_assignment = [list(nodes) for nodes in replicas]
        admin.create_topics([topic], operation_timeout=15, request_timeout=20)[name].result(25)
        wait_until(lambda: self._led(admin, name, partitions), 15, f"topic {name} has {partitions} leaders")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Let the records before this offset be gone, as if they had expired."""
        where = TopicPartition(topic, partition, before)
        self.admin().delete_records([where], request_timeout=20)[where].result(25)

    @staticmethod
    def _led(admin: AdminClient, name: str, partitions: int) -> bool:
        found = admin.list_topics(name, timeout=10).topics[name].partitions.values()
        return sum(partition.leader >= 0 for partition in found) == partitions


class OwnKafka(RealKafka, ABC):
    """A Kafka that a `with` starts and ends."""

    @abstractmethod
    def start(self) -> Self:
        """Start, and wait until it answers."""

    @abstractmethod
    def close(self) -> None:
        """End it, and remove its folders."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class Kafka(OwnKafka):
    """An Apache Kafka process of our own, broker and controller in one, which a test may stop, kill and start again
    on the same port with the same data."""

    real = True
    host = HOST

    def __init__(
        self,
        properties: Mapping[str, str] | None = None,
        *,
        secure: bool = False,
        port: int | None = None,
        heap: int = 512,
    ) -> None:
        """`properties` go over `SETTINGS`. `secure` adds listeners with TLS and SASL: see `Security`. `heap` in MB."""
        self._java, self._jars = need_java()
        self._classes = self._jars.with_name(f"{self._jars.name}.jsa")
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-"))
        self.port = port or free_port()
        self.bootstrap = f"{HOST}:{self.port}"
        self.security = Security(self.folder) if secure else None
        self._process: subprocess.Popen[bytes] | None = None
        self._heap = heap
        self.controller = f"{HOST}:{free_port()}"
        """Where the quorum of controllers finds this node."""
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": int(self.controller.rpartition(":")[2])}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        if self.security:
            listeners |= self.security.ports
            protocols |= {name: name for name in self.security.ports}
        addresses = {name: f"{name}://{HOST}:{number}" for name, number in listeners.items()}
        self.properties = {
            "node.id": "1",
            "process.roles": "broker,controller",
            "controller.quorum.voters": f"1@{self.controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(where for name, where in addresses.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "log.dirs": str(self.folder / "data"),
            **SETTINGS,
            **(self.security.properties if self.security else {}),
            **(properties or {}),
        }
        self.config = self.folder / "server.properties"

    def start(self, *flags: str) -> Self:
        """Start, with these flags of Java, and wait until it answers."""
        self.launch(*flags)
        self.wait_listens()
        _wait_answers(self.admin())
        return self

    def launch(self, *flags: str) -> None:
        """Start, with these flags of Java, without waiting."""
        assert self._process is None, "this Kafka is running already"
        self.config.write_text("".join(f"{key}={value}\n" for key, value in self.properties.items()))
        if not (self.folder / "data").exists():
            self._format()
            self._name()
        classes = [f"-XX:SharedArchiveFile={self._classes}"] if self._classes.exists() else []
        command = [*leash(), *self._command(heap=self._heap), *(flags or classes), "kafka.Kafka", str(self.config)]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def wait_listens(self) -> None:
        """Wait until clients can connect."""
        process = self._process
        assert process is not None
        wait_until(lambda: listens(self.port) or process.poll() is not None, 100, "Kafka listens")
        assert process.poll() is None, f"Kafka ended: {self.log()[-5000:]}"
        USED["Apache Kafka on this machine"] = USED.get("Apache Kafka on this machine", 0) + 1

    def stop(self) -> None:
        """SIGTERM: it closes its logs and ends its groups' connections."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing more, as behind a cut network."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def keep_classes(self) -> None:
        """Start and stop, and keep the loaded classes: with them, a later Kafka starts in half the time."""
        half = self._classes.with_name(f"{self.folder.name}.jsa")
        self.start(f"-XX:ArchiveClassesAtExit={half}").stop()
        half.rename(self._classes)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self.security:
            self.security.close()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """What it said."""
        return (self.folder / "log.txt").read_text(errors="replace")

    def _format(self) -> None:
        """Give the data folder its cluster's name, and the users of SCRAM."""
        kept = self._jars.with_name(f"{self._jars.name}-formatted")
        if self.security is None and kept.exists():
            shutil.copytree(kept, self.folder / "data")
            return
        users = self.security.scram_users if self.security else ()
        command = [*self._command(heap=128), "kafka.tools.StorageTool", "format", "--config", str(self.config)]
        command += ["--cluster-id", "Y2xhcmlmeS1jb25uZWN0bw", *(f"--add-scram={user}" for user in users)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"Kafka's data folder could not be formatted: {done.stdout}{done.stderr}"
        if self.security is None:  # it is always the same, and takes a Java of its own: once for all tests
            mine = Path(tempfile.mkdtemp(dir=kept.parent)) / kept.name
            shutil.copytree(self.folder / "data", mine)
            if not kept.exists():
                with contextlib.suppress(OSError):  # somebody else was faster
                    mine.rename(kept)
            shutil.rmtree(mine.parent)

    def _name(self) -> None:
        """Make the data folder that of this node: what is kept for all tests is node 1's."""
        about = self.folder / "data" / "meta.properties"
        named = re.sub(r"(?m)^node\.id=.*$", f"node.id={self.properties['node.id']}", about.read_text())
        unique = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "_")
        about.write_text(re.sub(r"(?m)^directory\.id=.*$", f"directory.id={unique}", named))

    def _command(self, heap: int) -> list[str]:
        # A short life: what pays off only after minutes is left out.
        flags = [f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
        words = {"defaultLogLevel": "info", "showDateTime": "true", "dateTimeFormat": "HH:mm:ss.SSS"}
        flags += [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in words.items()]
        return [self._java, *flags, "-cp", str(self._jars / "*")]

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        if number is not signal.SIGKILL:
            process.send_signal(signal.SIGCONT)  # in case it is paused
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise


class KafkaCluster(OwnKafka):
    """Three nodes of our own (1, 2 and 3), each of them broker and controller, with the heap that three can have."""

    real = True

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        """`properties` go over those of every node."""
        self.nodes = {number: Kafka(CLUSTER | dict(properties or {}), heap=256) for number in (1, 2, 3)}
        voters = ",".join(f"{number}@{node.controller}" for number, node in self.nodes.items())
        for number, node in self.nodes.items():
            node.properties |= {"node.id": str(number), "controller.quorum.voters": voters}
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes.values())

    def start(self) -> Self:
        """Start all nodes at once, and wait until each knows the others."""
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_listens()
        wait_until(self._found_each_other, 60, "the nodes have found each other")
        return self

    def leader(self, topic: str, partition: int = 0) -> int:
        """The node that leads a partition; -1 while there is none."""
        return self._partition(topic, partition)[0]

    def in_sync(self, topic: str, partition: int = 0) -> set[int]:
        """The nodes whose copy of a partition is complete, as the cluster says."""
        return self._partition(topic, partition)[1]

    def _partition(self, topic: str, partition: int) -> tuple[int, set[int]]:
        """(leader, nodes in sync)."""
        try:
            found = self.admin().list_topics(topic, timeout=5).topics[topic].partitions[partition]
        except (KafkaException, KeyError):
            return -1, set()
        return int(found.leader), set(found.isrs)

    def _found_each_other(self) -> bool:
        try:
            return len(self.admin().list_topics(timeout=5).brokers) == len(self.nodes)
        except KafkaException:
            return False

    def close(self) -> None:
        """Kill all nodes and remove their folders."""
        for node in self.nodes.values():
            node.close()


class NamedKafka(RealKafka):
    """The cluster that KAFKA_BOOTSTRAP_SERVERS names; ours to use, not to stop."""

    real = True

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        USED[f"the Kafka at {bootstrap} (KAFKA_BOOTSTRAP_SERVERS)"] = 0  # not by us

    def close(self) -> None:
        """Nothing of ours."""


class ContainerKafka(RealKafka):
    """Apache Kafka in a container, through Testcontainers; it too may be stopped, killed and started again."""

    real = True

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        from testcontainers.core.container import DockerContainer

        self._container = DockerContainer(f"apache/kafka:{VERSION}")
        self.host = self._container.get_container_host_ip()
        self.port = free_port()
        self.bootstrap = f"{self.host}:{self.port}"
        self._started = False
        settings = {
            "node.id": "1",
            "process.roles": "broker,controller",
            "controller.quorum.voters": "1@localhost:9093",
            "controller.listener.names": "CONTROLLER",
            # The port is the same inside and outside: the broker must tell clients the outer one before it is known.
            "listeners": f"PLAINTEXT://:{self.port},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            **SETTINGS,
            **(properties or {}),
        }
        self._container.with_bind_ports(self.port, self.port)
        for name, value in settings.items():
            self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)

    def start(self) -> Self:
        """Start and wait until it answers."""
        if self._started:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._started = True
        _wait_answers(self.admin())
        USED["Apache Kafka in a container"] = USED.get("Apache Kafka in a container", 0) + 1
        return self

    def stop(self) -> None:
        """SIGTERM; its data stays."""
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        """SIGKILL; its data stays."""
        self._container.get_wrapped_container().kill()

    def log(self) -> str:
        """What it said."""
        return str(self._container.get_wrapped_container().logs().decode(errors="replace"))

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class MockKafka:
    """librdkafka's mock cluster, inside this process: a stand-in whose topics all have four partitions."""

    real = False

    def __init__(self) -> None:
        self._producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        USED["the stand-in for Kafka (librdkafka's mock cluster)"] = 1

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Being asked about a topic makes it; a test that needs another number of partitions is skipped."""
        found = len(self._producer.list_topics(name, timeout=10).topics[name].partitions)
        if partitions > found or config:
            pytest.skip(f"needs a real Kafka: the mock cluster's topics have {found} partitions and no settings")

    def close(self) -> None:
        """It ends with its producer."""
        del self._producer


# -- what there is ------------------------------------------------------------------------------------


def java_program() -> str | None:
    """A Java of at least 17 on this machine."""
    home = os.environ.get("JAVA_HOME")
    for program in (f"{home}/bin/java" if home else None, shutil.which("java")):
        if program and Path(program).exists():
            said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= 17:
                return program
    return None


def kafka_jars() -> Path | None:
    """The folder with Kafka's jars, fetched if need be; None where that takes a Maven and there is none."""
    return fetched(POM, f"kafka-{VERSION}", "copy-dependencies")


def need_java() -> tuple[str, Path]:
    """Java and the folder with Kafka's jars, or a skip with the reason; a failure where the real is required."""
    java = java_program()
    jars = kafka_jars() if java else None
    if java is None or jars is None:
        _leave_out(NEEDS_JAVA)
    return java, jars


def need_kafka(properties: Mapping[str, str] | None = None) -> Kafka | ContainerKafka:
    """A Kafka of the test's own, not started yet, which it may stop and kill; or a skip with the reason."""
    if java_program() and kafka_jars():
        return Kafka(properties)
    if not docker_answers():
        _leave_out(NEEDS)
    return ContainerKafka(properties)


def need_cluster(properties: Mapping[str, str] | None = None) -> KafkaCluster:
    """A cluster of the test's own, not started yet; or a skip with the reason."""
    need_java()
    return KafkaCluster(properties)


def need_real(kafka: KafkaBroker) -> RealKafka:
    """This Kafka, if it is one; or a skip with the reason."""
    if not isinstance(kafka, RealKafka):
        _leave_out(NEEDS)
    return kafka


def best_kafka() -> Kafka | NamedKafka | ContainerKafka | MockKafka:
    """The best Kafka to be had, started."""
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if named:
        return NamedKafka(named)
    if java_program() and kafka_jars():
        return Kafka().start()
    if docker_answers():
        return ContainerKafka().start()
    if REQUIRE_REAL:
        pytest.fail(f"REQUIRE_REAL=1, but there is no Kafka: the test {NEEDS}, or KAFKA_BOOTSTRAP_SERVERS")
    return MockKafka()


def leash() -> list[str]:
    """What makes a process end with us, however we end, where there is such a thing: half a gigabyte is too much to
    leave behind. It would already end with the thread that started it, so only the main thread may."""
    program = shutil.which("setpriv")
    if program is None or threading.current_thread() is not threading.main_thread():
        return []
    return [program, "--pdeathsig", "KILL"]


def _leave_out(reason: str) -> NoReturn:
    """Skip the test that runs, and remember it."""
    if REQUIRE_REAL:
        pytest.fail(f"REQUIRE_REAL=1, but there is no Kafka: the test {reason}")
    LEFT_OUT.append(os.environ.get("PYTEST_CURRENT_TEST", "a test").partition(" ")[0])
    pytest.skip(reason)


def _wait_answers(admin: AdminClient) -> None:
    """Until it tells who is in the cluster: it listens a little before it knows that itself."""

    def answers() -> bool:
        try:
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    wait_until(answers, 60, "Kafka answers")


def kcat_program() -> str:
    """kcat, or a skip with the reason; a failure where real components are required."""
    program = shutil.which("kcat") or shutil.which("kafkacat")
    if program is None:
        if REQUIRE_REAL:
            pytest.fail("REQUIRE_REAL=1, but there is no kcat on this machine")
        pytest.skip("needs kcat (Debian: apt-get install kcat)")
    return program


if __name__ == "__main__":
    where = kafka_jars()
    if where and "--keep-classes" in sys.argv:
        with contextlib.closing(Kafka()) as kafka:
            kafka.keep_classes()
    print(f"Apache Kafka {VERSION} is in {where}" if where else f"no Apache Kafka {VERSION} here: it takes Maven (mvn)")
    sys.exit(0 if where else 1)
