"""The staged mistakes: how each is made, and the row of `doctor` about it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.commands.doctor import machine
from tests.integration.commands.doctor.place import Place, Settings
from tests.integration.commands.doctor.servers import http, scripted, silent
from tests.kafka_security import USER
from tests.ports import free_port
from tests.secrets_used import REGISTRY_TOKEN, WRONG

Make = Callable[[Place], Settings]
REFUSED = b'{"jsonrpc": "RPC", "id": null, "error": {"code": -32602, "message": "no"}}'
"""Clarify's answer to a call with missing parameters."""


@dataclass
class Case:
    """A mistake, and what is said of it: level, subject, and words of the finding and of the remedy."""

    about: str
    name: str
    row: str
    make: Make

    @property
    def expected(self) -> list[str]:
        return self.row.split(" | ")


def on(about: str, name: str, row: str, make: Make) -> Case:
    """A mistake in any part of the configuration; `make` returns the sections that change."""
    return Case(about, name, row, make)


def mqtt(name: str, row: str, make: Make) -> Case:
    """A mistake in an MQTT source; `make` returns the source."""
    return Case("source mqtt", name, row, lambda place: {"sources": [make(place)]})


def kafka(name: str, row: str, make: Make) -> Case:
    """A mistake in a Kafka source; `make` returns the source."""
    return Case("source kafka", name, row, lambda place: {"sources": [make(place)]})


def url(text: str) -> Make:
    return lambda place: place.source() | {"url": text}


def stand_in_registry(place: Place, port: AbstractContextManager[int]) -> Settings:
    where = f"http://127.0.0.1:{place.stack.enter_context(port)}"
    return {"schema_registries": {"main": {"url": where, "token": REGISTRY_TOKEN}}}


def _wrong_token(place: Place) -> Settings:
    security = place.kafkas.kafka.security
    assert security
    sasl = {"mechanism": "OAUTHBEARER", "client_id": USER, "client_secret": WRONG, "token_url": security.tokens.url}
    return place.user() | {"sasl": sasl}


def _fault(**rule: Any) -> Make:
    def make(place: Place) -> Settings:
        place.sandbox.faults([{"kind": "status", "method": "save", **rule}])
        return {}

    return make


def _own_certificate(place: Place) -> Settings:
    cert, key = place.certificates.files["expired"]
    return place.source(
        "mutual", "mqtts", tls={"ca_file": str(place.certificates.ca), "cert_file": str(cert), "key_file": str(key)}
    )


def _no_file(place: Place) -> Settings:
    return {"sources": [{"type": "file", "path": str(place.folder / "none.ndjson"), "topic": "t"}]}


def _file_for_folder(place: Place) -> Settings:
    (place.folder / "state").write_text("")
    return {}


def _linked(place: Place) -> Settings:
    state = place.folder / "state"
    state.mkdir()
    (state / "mqtt.sqlite").symlink_to("/nowhere")
    return {}


def _not_ours(place: Place) -> Settings:
    """Only another user may write in the folder; root may everywhere, and so becomes somebody else."""
    folder = Path(place.stack.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))
    (folder / "state").mkdir()
    folder.chmod(0o755)
    if os.geteuid():
        (folder / "state").chmod(0o500)
        return {"state_dir": str(folder / "state")}
    look = machine.look_at_disk

    def as_nobody(config: Any) -> Any:
        os.seteuid(65_534)
        try:
            yield from list(look(config))
        finally:
            os.seteuid(0)

    patched = place.stack.enter_context(pytest.MonkeyPatch.context())
    patched.setattr("connector.commands.doctor.run.look_at_disk", as_nobody)
    return {"state_dir": str(folder / "state")}


def _full(place: Place) -> Settings:
    patched = place.stack.enter_context(pytest.MonkeyPatch.context())
    found = os.statvfs("/")
    values = list(found)
    values[4] = 3  # f_bavail
    patched.setattr(machine.os, "statvfs", lambda _path: os.statvfs_result(values))
    return {}


def _in_memory(place: Place) -> Settings:
    folder = place.stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
    return {"state_dir": f"{folder}/state"}


def _small(place: Place) -> Settings:
    group = place.folder / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("50000000\n")
    patched = place.stack.enter_context(pytest.MonkeyPatch.context())
    patched.setattr(machine, "ROOT", place.folder)
    return {}


def letters(topic: str) -> Make:
    def make(place: Place) -> Settings:
        there = {"bootstrap_servers": place.kafkas.kafka.bootstrap, "security": "plaintext"}
        return {"dead_letters": {"type": "kafka", "topic": topic, **there}}

    return make


# fmt: off
MISTAKES: Sequence[Case] = [
    mqtt("an unknown name", "wrong | name | nowhere.invalid is not known | DNS",
        url("mqtt://nowhere.invalid")),
    mqtt("a closed port", "wrong | port | refused | is the server running?",
        url(f"mqtt://127.0.0.1:{free_port()}")),
    mqtt("no TLS where TLS is", "wrong | TLS | speaks TLS | write mqtts://127.0.0.1",
        lambda at: at.source("sound")),
    mqtt("TLS where none is", "wrong | TLS | speaks no TLS | write mqtt://127.0.0.1",
        lambda at: at.source("plain", "mqtts")),
    mqtt("HTTP", "wrong | TLS | speaks HTTP | ws://",
        lambda at: at.source() | {"url": f"mqtt://127.0.0.1:{at.sandbox.port}"}),
    mqtt("an unknown authority", "wrong | certificate | unable to get local issuer | tls.ca_file",
        lambda at: at.source("sound", "mqtts", tls={})),
    mqtt("an expired certificate", "wrong | certificate | has expired | renew",
        lambda at: at.source("expired", "mqtts")),
    mqtt("another name", "wrong | certificate | another name than 127.0.0.1 | in the certificate",
        lambda at: at.source("other", "mqtts")),
    mqtt("a certificate that ends soon", "advice | certificate | expires on | renew it before",
        lambda at: at.source("soon", "mqtts")),
    mqtt("no certificate of ours", "wrong | log-in | closes the connection | certificate of ours",
        lambda at: at.source("mutual", "mqtts")),
    mqtt("our certificate has expired", "wrong | certificate | tls.cert_file | renew it",
        _own_certificate),
    mqtt("a wrong password", "wrong | log-in | Not authorized | check username, password",
        lambda at: at.reader(password=WRONG)),
    mqtt("no user", "wrong | log-in | Not authorized | check username, password",
        lambda at: at.source("users")),
    mqtt("a filter without rights", "wrong | topics | office/#: Not authorized | access list",
        lambda at: at.reader(topics=["office/#"])),
    mqtt("a silent port", "wrong | port | no answer to CONNECT | MQTT broker",
        lambda at: at.at(silent())),
    mqtt("no MQTT 5", "wrong | log-in | Unsupported protocol version | protocol: 3.1.1",
        lambda at: at.at(scripted(code=0x84))),
    mqtt("no shared subscriptions", "wrong | topics | no shared | without $share",
        lambda at: at.at(scripted(b"\x2a\x00"), topics=["$share/g/t"])),
    mqtt("shared, before MQTT 5", "advice | topics | 3.1.1 | protocol: 5",
        lambda at: at.source(topics=["$share/g/t"], protocol="3.1.1")),
    mqtt("no shared subscriptions, before MQTT 5", "wrong | topics | no shared | without $share",
        lambda at: at.at(scripted(b"\x2a\x00"), topics=["$share/g/t"], protocol="3.1.1")),
    mqtt("no wildcards", "wrong | topics | no wildcards | name each topic",
        lambda at: at.at(scripted(b"\x28\x00"))),
    mqtt("no sessions", "wrong | session | keeps no session | allow sessions",
        lambda at: at.at(scripted(b"\x11\x00\x00\x00\x00"))),
    mqtt("short sessions", "advice | session | 3600 s | session_expiry",
        lambda at: at.at(scripted(b"\x11\x00\x00\x0e\x10"))),
    mqtt("QoS 0 alone", "wrong | QoS | only QoS 0 | allow QoS 1",
        lambda at: at.at(scripted(b"\x24\x00"))),
    mqtt("a HiveMQ", "advice | queue | HiveMQ queues 1000 | max-queue-size",
        lambda at: at.at(scripted(b"\x21\x00\x0a"), broker_queue=None)),
    mqtt("a HiveMQ, before MQTT 5", "advice | queue | HiveMQ queues 1000 | max-queue-size",
        lambda at: at.at(scripted(b"\x21\x00\x0a"), broker_queue=None, protocol="3.1.1")),
    mqtt("a Mosquitto that hides its version", "advice | queue | Mosquitto queues 1000 | max_queued_messages",
        lambda at: at.at(scripted(b"\x21\x00\x14"), broker_queue=None)),
    mqtt("a Mosquitto with a fault", "advice | broker | 2.0.15: these versions | 2.0.19",
        lambda at: at.at(scripted(version=b"mosquitto version 2.0.15"))),
    mqtt("a queue with a bound", "advice | queue | queues 1000 messages | max_queued_messages",
        lambda at: at.source(broker_queue=None)),
    mqtt("sessions in memory", "advice | persistence | forgets all sessions | persistence true",
        lambda at: at.source()),
    kafka("an unknown name", "wrong | name | not known | DNS",
        lambda at: at.group(bootstrap_servers="nowhere.invalid:9092")),
    kafka("no TLS where TLS is", "wrong | TLS | speaks TLS | security: tls",
        lambda at: at.encrypted("SASL_SSL", security="plaintext", tls={})),
    kafka("TLS where none is", "wrong | TLS | speaks no TLS | security: plaintext",
        lambda at: at.group(security="tls")),
    kafka("an unknown authority", "wrong | certificate | unable to get local issuer | tls.ca_file",
        lambda at: at.encrypted("SASL_SSL", tls={})),
    kafka("no certificate of ours", "wrong | TLS | wants a certificate of ours | tls.cert_file",
        lambda at: at.encrypted("SSL")),
    kafka("a wrong password", "wrong | log-in | refuse alice with PLAIN | sasl.password",
        lambda at: at.user(password=WRONG)),
    kafka("an unknown user", "wrong | log-in | refuse bob | sasl.username",
        lambda at: at.user(mechanism="SCRAM-SHA-512", login="bob")),
    kafka("a wrong client secret", "wrong | log-in | no token | client_secret",
        _wrong_token),
    kafka("no log-in", "wrong | port | closes the connection | set sasl",
        lambda at: at.user() | {"sasl": None}),
    kafka("addresses that lead nowhere", "wrong | name | lost.invalid | advertised.listeners",
        lambda at: at.group(bootstrap_servers=at.kafkas.lost)),
    kafka("no such topic", "wrong | topics | plant.nothing does not exist | create the topic",
        lambda at: at.group("plant.nothing")),
    kafka("no topic of a pattern", "advice | topics | no topic matches | correct the pattern",
        lambda at: at.group("^office\\..*")),
    kafka("a topic without rights", "wrong | rights | plant.denied | give alice Describe and Read on the topic",
        lambda at: at.user("plant.denied")),
    kafka("a topic that can be seen alone", "wrong | rights | Read is missing | give alice Read on the topic",
        lambda at: at.user("plant.seen")),
    kafka("a group without rights", "wrong | rights | group denied | give alice Read on the group",
        lambda at: at.user(group_id="denied")),
    kafka("another program in the group", "advice | group | other-program | group_id of its own",
        lambda at: at.group(group_id="taken", assignor="range")),
    kafka("an eager group", "wrong | group | assigns by range | assignor: range",
        lambda at: at.group(group_id="taken")),
    kafka("expired records", "wrong | retention | 2 records have expired | retention.ms",
        lambda at: at.group("plant.gone", group_id="late")),
    kafka("a short retention", "advice | retention | 60 min | longest outage",
        lambda at: at.group("plant.brief")),
    kafka("a compacted topic", "advice | retention | compacted | cleanup.policy",
        lambda at: at.group("plant.keys")),
    kafka("too large messages", "wrong | message size | 200000000 | lower max.message.bytes",
        lambda at: at.group("plant.huge")),
    kafka("too few replicas", "wrong | replication | min.insync.replicas is 2 | start the missing",
        lambda at: at.group("plant.sync")),
    on("source file", "no such file", "wrong | file | there is no file | correct path",
        _no_file),
    on("clarify", "TLS where none is", "wrong | TLS | does not speak TLS | http://",
        lambda at: at.access(apiUrl=f"https://127.0.0.1:{at.sandbox.port}/v1/")),
    on("clarify", "a closed port", "wrong | port | refused | check the port",
        lambda at: at.access(apiUrl=f"http://127.0.0.1:{free_port()}/v1/")),
    on("clarify", "a wrong secret", "wrong | log-in | No token | create new credentials",
        lambda at: at.access(secret=WRONG)),
    on("clarify", "no credentials", "wrong | credentials | cannot be read | permissions",
        lambda at: {"clarify": {"credentials": str(at.folder / "none.json")}}),
    on("clarify", "no access", "wrong | access | no access to integration | grant",
        lambda at: at.access(integration="cp1a5c9e3g7i2k6m0o4q")),
    on("clarify", "too many requests", "advice | rate | wait 7 s | another program",
        _fault(status=429, retry_after=7)),
    on("clarify", "away", "wrong | answer | HTTP 503 | status of Clarify",
        _fault(status=503)),
    on("clarify", "another address", "wrong | answer | HTTP 404 | check apiUrl",
        lambda at: at.access(apiUrl=f"http://127.0.0.1:{at.sandbox.port}/v7/")),
    on("clarify", "a wrong clock", "wrong | clock | 3,60 | NTP",
        lambda at: at.clarify(http(200, REFUSED, ahead=-3600))),
    on("registry main", "a registry that refuses us", "wrong | log-in | HTTP 401 | token",
        lambda at: stand_in_registry(at, http(401, b"{}"))),
    on("registry main", "a registry with another path", "wrong | log-in | HTTP 404 | check url",
        lambda at: stand_in_registry(at, http(404, b"{}"))),
    on("dead letters", "no topic for dead letters", "wrong | topics | no.such | create it",
        letters("no.such")),
    on("disk", "state_dir is a file", "wrong | rights | is a file | another state_dir",
        _file_for_folder),
    on("disk", "state_dir is not ours", "wrong | rights | cannot be written | the right to write",
        _not_ours),
    on("disk", "a link in state_dir", "wrong | rights | symbolic link | put the file itself",
        _linked),
    on("disk", "a full disk", "wrong | space | 0 MiB are free | make room",
        _full),
    on("disk", "state_dir in memory", "advice | volume | in memory | on a volume",
        _in_memory),
    on("memory", "a small container", "wrong | limit | the container has 47 MiB | raise the limit",
        _small),
]
# fmt: on
