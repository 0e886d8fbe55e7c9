"""Looks at a Kafka cluster: names, ports, TLS, log-in, and the addresses that the brokers hand out. Changes nothing."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from connector.brokers.findings import Examination, Finding, Level, Look, advice, ok, wrong
from connector.brokers.kafka import admin_settings
from connector.brokers.kafka_probe import why_silent
from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.reach import own_files, reach

_MOST_BROKERS: Final = 8
_TURN: Final = 0.05
_LEARNED: Final = re.compile(r"([^/\s]+:\d+)/\d+: (.*)", re.DOTALL)
"""librdkafka's text about a broker whose address came from the cluster, in contrast to a bootstrap server."""
_FINAL: Final = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
_TOKEN: Final = "token"  # noqa: S105 - a word in errors
Visited = Generator[Finding, None, "tuple[AdminClient, ClusterMetadata] | None"]


def log_in(section: KafkaConnectionSection, asked: Examination) -> Visited:
    """Look at the servers and the log-in; returns a client for questions, and what the cluster says of itself."""
    sound = (yield from own_files(section.tls)) if section.security == "tls" else True
    reached = 0
    findings = _look_at_all(section, section.bootstrap_servers, asked.seconds)
    failed = [found for row in findings for found in row if found.level is Level.WRONG]
    for row in findings:
        works = not any(found.level is Level.WRONG for found in row)
        reached += works
        if works or len(failed) == len(findings):
            yield from row
    if not reached or not sound:
        return None
    for found in failed:
        if len(failed) < len(findings):  # the others are enough to begin with
            yield advice(found.subject, found.text, found.remedy)
    for warning in [] if asked.short else section.warnings:
        yield advice("TLS", warning.partition("; ")[0], warning.partition("; ")[2] or "see docs/security.md")
    errors: list[KafkaError] = []
    try:
        settings = admin_settings(section) | {"error_cb": errors.append, "socket.connection.setup.timeout.ms": 3000}
        admin = AdminClient(settings, logger=logging.Logger("librdkafka-doctor", logging.CRITICAL))
    except (KafkaException, ValueError):
        yield wrong("settings", "librdkafka refuses the settings", "`clarify-connector check` says which, and why")
        return None
    metadata = _metadata(admin, errors, asked.seconds)
    if metadata is None:
        yield _no_entry(section, errors, asked.seconds)
        return None
    who = f"as {section.sasl.username or section.sasl.client_id}" if section.sasl else "without a log-in"
    yield ok("log-in", f"the brokers let us in {who}; {len(metadata.brokers)} brokers, cluster {metadata.cluster_id}")
    if not (yield from _advertised(section, metadata, asked.seconds)):
        return None
    return admin, metadata


def writable(section: KafkaConnectionSection, topic: str, asked: Examination) -> Look:
    """Look at the cluster, and whether we may write to a topic; nothing is written."""
    entered = yield from log_in(section, asked)
    if entered is None or asked.short:
        return entered is not None
    found = entered[0].describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=asked.seconds
    )[topic]
    try:
        rights = found.result(asked.seconds + 1).authorized_operations
    except KafkaException as error:
        denied = error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        remedy = "give the user Describe, Write and Read on the topic" if denied else "correct the name, or create it"
        yield wrong("rights" if denied else "topics", f"topic {topic}: {_said(error)}", remedy)
        return False
    if rights is not None and AclOperation.WRITE not in rights:
        yield wrong("rights", f"topic {topic}: the right Write is missing", "give the user Write and Read on the topic")
        return False
    yield ok("topics", f"topic {topic} can be written")
    return True


def _look_at_all(section: KafkaConnectionSection, servers: list[str], seconds: float) -> list[list[Finding]]:
    """The findings for each server, in parallel."""
    with ThreadPoolExecutor(_MOST_BROKERS) as pool:
        return list(pool.map(lambda server: list(_look_at(section, server, seconds)), servers[:_MOST_BROKERS]))


def _look_at(section: KafkaConnectionSection, server: str, seconds: float) -> Generator[Finding, None, bool]:
    parts = urlsplit(f"//{server}")
    alone = section.model_copy(update={"bootstrap_servers": [server]})
    tls = section.tls.context if section.security == "tls" else None
    if not (yield from reach(parts.hostname or "", parts.port or 0, seconds, tls, _silence(alone, seconds))):
        return False
    if found := _silence(alone, seconds)():
        yield found
        return False
    return True


def _silence(section: KafkaConnectionSection, seconds: float) -> Callable[[], Finding | None]:
    def look() -> Finding | None:
        found = why_silent(section, seconds)
        if found is None:
            return None
        cause, _, remedy = found.partition(": ")
        return wrong("TLS" if "TLS" in cause or "certificate" in cause else "port", cause, remedy)

    return look


def _metadata(admin: AdminClient, errors: list[KafkaError], seconds: float) -> ClusterMetadata | None:
    """What the cluster says of itself; None if it says nothing in time, or refuses us, which `errors` then has."""
    answers: queue.Queue[ClusterMetadata | KafkaError] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(admin.list_topics(timeout=2 * seconds))
        except KafkaException as error:
            answers.put(error.args[0])

    # librdkafka says why it has no connection to the callback only, and goes on trying.
    threading.Thread(target=ask, name="doctor metadata", daemon=True).start()
    while not any(error.code() in _FINAL for error in errors):
        admin.poll(0)
        try:
            found = answers.get(timeout=_TURN)
        except queue.Empty:
            continue
        if not isinstance(found, KafkaError):
            return found
        errors.append(found)
        return None
    return None


def _no_entry(section: KafkaConnectionSection, errors: list[KafkaError], seconds: float) -> Finding:
    final = [error for error in errors if error.code() in _FINAL]
    text = " ".join((final or errors or [KafkaError(KafkaError._TIMED_OUT)])[0].str().split())[:300]
    if found := why_silent(section, seconds):
        cause, _, remedy = found.partition(": ")
        return wrong("log-in", cause, remedy)
    for error in errors:
        if not final and (learned := _LEARNED.search(error.str())):
            subject = "name" if error.code() == KafkaError._RESOLVE else "port"
            return _not_reached(f"{learned[1]}: {' '.join(learned[2].split())[:200]}", subject)
    sasl = section.sasl
    if sasl is not None and sasl.mechanism == "OAUTHBEARER" and (_TOKEN in text.lower() or not final):
        return wrong("log-in", f"no token: {text}", "check sasl.token_url, client_id and client_secret")
    if sasl is not None:
        return wrong(
            "log-in",
            f"the brokers refuse {sasl.username or sasl.client_id} with {sasl.mechanism}: {text}",
            "check sasl.username, sasl.password and sasl.mechanism, and the users of the brokers",
        )
    return wrong(
        "log-in", f"the brokers do not answer: {text}", "check security, sasl and the port, and the brokers' log"
    )


def _advertised(
    section: KafkaConnectionSection, metadata: ClusterMetadata, seconds: float
) -> Generator[Finding, None, bool]:
    """Look at the addresses that the brokers hand out, which all later connections use."""
    known = {_plain(server) for server in section.bootstrap_servers}
    handed_out = [f"{one.host}:{one.port}" for one in metadata.brokers.values()]
    servers = [server for server in handed_out if _plain(server) not in known]
    bad = [found for row in _look_at_all(section, servers, seconds) for found in row if found.level is Level.WRONG]
    for found in bad:
        yield _not_reached(found.text, found.subject)
    return not bad


def _not_reached(text: str, subject: str) -> Finding:
    return wrong(
        subject,
        f"the brokers hand out an address that does not work: {text}",
        "correct advertised.listeners of that broker, or see to the name and the network of this machine",
    )


def _plain(server: str) -> str:
    return server.replace("[", "").replace("]", "").lower()


def _said(error: Exception) -> str:
    detail = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    return " ".join(detail.split())[:200]
