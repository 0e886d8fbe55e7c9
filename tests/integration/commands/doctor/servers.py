"""The servers at which mistakes are staged: a Mosquitto with many listeners, a Kafka with access rules, a sandbox, and
stand-ins for what real servers cannot be made to say."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.brokers import Mosquitto
from tests.hostile.mqtt_broker import HostileBroker, Session, connack, publish, suback
from tests.kafka_brokers import Kafka
from tests.kafka_security import USER
from tests.ports import free_port
from tests.secrets_used import MQTT_PASSWORD
from tests.waiting import wait_until

READER = "reader"


class Certificates:
    """Certificates of one authority, each with a fault of its own, as files in a folder."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        now = datetime.now(UTC)
        faults = {
            "sound": ("127.0.0.1", now + timedelta(days=900)),
            "expired": ("127.0.0.1", now - timedelta(days=1)),
            "soon": ("127.0.0.1", now + timedelta(days=3)),
            "other": ("elsewhere.example.com", now + timedelta(days=900)),
        }
        self.files = {}
        for name, (host, ends) in faults.items():
            issued = authority.issue_cert(host, not_after=ends)
            self.files[name] = folder / f"{name}.pem", folder / f"{name}.key"
            issued.cert_chain_pems[0].write_to_path(self.files[name][0])
            issued.private_key_pem.write_to_path(self.files[name][1])
            for file in self.files[name]:
                file.chmod(0o644)  # Mosquitto gives up being root


class Mosquittos:
    """Name → port of a listener: `plain`, `users` (user names, and rights for `plant/#` alone), TLS for the rest."""

    def __init__(self, folder: Path, plugin: str, certificates: Certificates) -> None:
        self.ports = {name: free_port() for name in ("plain", "users", "mutual", *certificates.files)}
        folder.chmod(0o755)
        (folder / "users.json").write_text(json.dumps(_users()))
        (folder / "users.json").chmod(0o644)
        lines = ["per_listener_settings true", "sys_interval 1"]
        for name, port in self.ports.items():
            lines += [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if name == 'users' else 'true'}"]
            if name == "users":
                lines += [f"plugin {plugin}", f"plugin_opt_config_file {folder / 'users.json'}"]
            elif name != "plain":
                cert, key = certificates.files["sound" if name == "mutual" else name]
                lines += [f"certfile {cert}", f"keyfile {key}"]
            if name == "mutual":
                lines += [f"cafile {certificates.ca}", "require_certificate true"]
        self.broker = Mosquitto(settings="\n".join(lines), port=self.ports["plain"])


def _users() -> dict[str, object]:
    salt = os.urandom(12)
    hashed = hashlib.pbkdf2_hmac("sha512", MQTT_PASSWORD.encode(), salt, 101)
    reader = {
        "username": READER,
        "password": base64.b64encode(hashed).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": 101,
        "roles": [{"rolename": "reads"}],
    }
    rights = [{"acltype": "subscribePattern", "topic": topic, "allow": True} for topic in ("plant/#", "$SYS/#")]
    return {
        "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False},
        "clients": [reader],
        "roles": [{"rolename": "reads", "acls": rights}],
    }


@contextmanager
def scripted(properties: bytes = b"", version: bytes = b"", code: int = 0) -> Iterator[int]:
    """A broker of MQTT 5 that announces these properties, and grants every filter; the port."""

    def script(session: Session) -> None:
        session.wait_for(1)
        session.send(connack(session.v5, code, properties=properties))
        for number in range(1, 20):
            asked = session.wait_for(8, number)
            session.send(suback(session.v5, asked.mid, [1]))
            if version and b"$SYS/broker/version" in asked.body:
                session.send(publish(session.v5, b"$SYS/broker/version", version, qos=0))

    with HostileBroker(script) as broker:
        yield broker.port


@contextmanager
def silent() -> Iterator[int]:
    """Accepts connections, and says nothing; the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@contextmanager
def http(status: int, body: bytes, ahead: float = 0.0) -> Iterator[int]:
    """Answers every request alike, with a clock that is `ahead` (seconds); the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = body
            if b"RPC" in body and self.path.endswith("/token"):
                answer = b'{"access_token": "t", "expires_in": 60}'
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - the base's name

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


class Kafkas:
    """A Kafka with users and access rules, and topics and groups with a mistake each."""

    def __init__(self) -> None:
        lost = free_port()
        self.kafka = Kafka(secure=True)
        properties = self.kafka.properties
        for setting, host in (("listeners", "127.0.0.1"), ("advertised.listeners", "lost.invalid")):
            properties[setting] += f",LOST://{host}:{lost}"
        properties["listener.security.protocol.map"] += ",LOST:PLAINTEXT"
        self.lost = f"127.0.0.1:{lost}"
        self._stop: Callable[[], None] = lambda: None

    def stage(self) -> None:
        """Make the topics and groups."""
        kafka = self.kafka
        topics: dict[str, dict[str, str]] = {
            "plant.good": {},
            "plant.denied": {},
            "plant.seen": {},
            "plant.brief": {"retention.ms": "3600000"},
            "plant.keys": {"cleanup.policy": "compact"},
            "plant.huge": {"max.message.bytes": "200000000"},
            "plant.sync": {"min.insync.replicas": "2"},
            "plant.gone": {},
        }
        threads = [threading.Thread(target=kafka.create_topic, args=(name, 1, more)) for name, more in topics.items()]
        other = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": "taken",
                "client.id": "other-program",
                "partition.assignment.strategy": "range",
            }
        )
        kafka.admin()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        other.subscribe(["plant.good"])
        self._stop = other.close
        topic, read, deny = ResourceType.TOPIC, AclOperation.READ, AclPermissionType.DENY
        rules = [
            AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", right, permission)
            for kind, name, right, permission in [
                (topic, "plant.denied", read, deny),
                (topic, "plant.seen", read, deny),
                (topic, "plant.seen", AclOperation.DESCRIBE, AclPermissionType.ALLOW),
                (ResourceType.GROUP, "denied", read, deny),
            ]
        ]
        answers = kafka.admin().create_acls(rules)
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "log_level": 0})
        for number in range(5):
            self.produce("plant.gone", str(number))
        late = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "late"})
        late.commit(offsets=[TopicPartition("plant.gone", 0, 1)], asynchronous=False)
        late.close()
        kafka.delete_records("plant.gone", 0, 3)
        for answer in answers.values():
            answer.result(20)
        wait_until(lambda: other.poll(0.1) is not None or bool(other.assignment()), 30, "the other program is a member")

    def members(self, group: str) -> list[str]:
        """The IDs of the members of a group: a member that joins anew has another one."""
        found = self.kafka.admin().describe_consumer_groups([group])[group].result(20)
        return sorted(member.member_id for member in found.members)

    def produce(self, topic: str, value: str) -> None:
        """Write a record, and wait for it."""
        self._producer.produce(topic, value)
        self._producer.flush(20)

    def close(self) -> None:
        """End all of it."""
        self._stop()
        self.kafka.close()
