"""A Kafka section → librdkafka's settings. What each means: librdkafka's CONFIGURATION.md."""

from __future__ import annotations

import secrets
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException

from connector.config.kafka import KafkaSection

_SESSION_SECONDS: Final = 45.0
_HEARTBEATS_A_SESSION: Final = 4


def connection_settings(section: KafkaSection) -> dict[str, Any]:
    """How to reach the cluster, and as whom."""
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join(section.bootstrap_servers),
        "client.id": section.client_id,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 5000,
        "allow.auto.create.topics": False,
        "log_level": 6,
        **_security(section),
    }
    return settings | section.librdkafka


def consumer_settings(section: KafkaSection) -> dict[str, Any]:
    """A member of the group. Positions are stored by hand; librdkafka commits the stored ones, and resets none."""
    settings = {
        "group.id": section.group_id,
        "group.protocol": section.group_protocol,
        "enable.auto.offset.store": False,
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 1000,
        "max.poll.interval.ms": round(section.max_poll_interval * 1000),
        "statistics.interval.ms": 5000,
        **_reading(section),
        **connection_settings(section),
    }
    if section.group_protocol == "classic":
        session = section.session_timeout or _SESSION_SECONDS
        settings |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": round(session * 1000),
            "heartbeat.interval.ms": round(min(3.0, session / _HEARTBEATS_A_SESSION) * 1000),
        }
    if section.instance_id:
        settings["group.instance.id"] = section.instance_id
    return settings


def problem_with(section: KafkaSection) -> str | None:
    """What librdkafka itself says against these settings; it needs no network for that."""
    try:
        Consumer(consumer_settings(section)).close()
    except KafkaException as error:
        return str(error.args[0].str())
    return None


def reader_settings(section: KafkaSection) -> dict[str, Any]:
    """A reader beside the group: it commits nothing, and its group's name is nobody's."""
    return {
        "group.id": f"{section.group_id}-backfill-{secrets.token_hex(4)}",
        "enable.auto.offset.store": False,
        "enable.auto.commit": False,
        **_reading(section),
        **connection_settings(section),
    }


def _reading(section: KafkaSection) -> dict[str, Any]:
    """Fetching, sized for a small container: the defaults prefetch 64 MiB and 100,000 records a partition."""
    return {
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "queued.max.messages.kbytes": section.prefetch // 1024,
        "queued.min.messages": 1000,
        "fetch.max.bytes": max(1024 * 1024, min(section.prefetch, 8 * 1024 * 1024)),
        "fetch.message.max.bytes": 1024 * 1024,
        "fetch.queue.backoff.ms": 100,
    }


def _security(section: KafkaSection) -> dict[str, Any]:
    tls, sasl = section.tls, section.sasl
    encrypted = section.security == "tls"
    settings: dict[str, Any] = {
        "security.protocol": ("SASL_" if sasl else "") + ("SSL" if encrypted else "PLAINTEXT"),
    }
    if encrypted:
        files = {
            "ssl.ca.location": tls.ca_file,
            "ssl.certificate.location": tls.cert_file,
            "ssl.key.location": tls.key_file or tls.cert_file,
        }
        settings |= {name: str(file) for name, file in files.items() if file}
        if tls.key_password:
            settings["ssl.key.password"] = tls.key_password.get_secret_value()
        settings["enable.ssl.certificate.verification"] = tls.verify
        settings["ssl.endpoint.identification.algorithm"] = "https" if tls.verify else "none"
    if sasl is None:
        return settings
    settings["sasl.mechanism"] = sasl.mechanism
    if sasl.mechanism == "OAUTHBEARER":
        settings["sasl.oauthbearer.method"] = "oidc"
        settings["sasl.oauthbearer.client.id"] = sasl.client_id
        settings["sasl.oauthbearer.token.endpoint.url"] = sasl.token_url
        if sasl.scope:
            settings["sasl.oauthbearer.scope"] = sasl.scope
        if sasl.client_secret:
            settings["sasl.oauthbearer.client.secret"] = sasl.client_secret.get_secret_value()
    else:
        settings["sasl.username"] = sasl.username
        if sasl.password:
            settings["sasl.password"] = sasl.password.get_secret_value()
    return settings
