"""Makes librdkafka's settings from a Kafka section. librdkafka's CONFIGURATION.md explains each setting."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException

from connector.brokers.kafka import admin_settings
from connector.settings import SettingsError
from connector.sources.kafka.section import KafkaSection

_HEARTBEATS_A_SESSION: Final = 4
_FETCH_BYTES: Final = 1024 * 1024
ANSWER_BYTES: Final = 100_000_000
"""The longest answer of a broker, and the most bytes for unpacking a batch of zstd: librdkafka tries buffers that grow
by three. A batch of more can be neither read nor passed over. (librdkafka has no such bound for gzip, LZ4 and Snappy.)
"""
_OURS: Final = {
    "ssl.ca.location": "tls.ca_file",
    "ssl.certificate.location": "tls.cert_file",
    "ssl.key.location": "tls.key_file",
}
_NO_FILE_ERROR: Final = re.compile(r"(ssl\.\w+\.location) failed: (.*)", re.DOTALL)
_NO_NETWORK: Final = "No `bootstrap.servers` configured"


def consumer_settings(section: KafkaSection) -> dict[str, Any]:
    """The settings of a member of the group.

    The connector stores the positions. librdkafka commits the stored positions, and never resets a position.
    """
    settings = {
        "group.id": section.group_id,
        "group.protocol": section.group_protocol,
        "enable.auto.offset.store": False,
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 1000,
        "max.poll.interval.ms": round(section.max_poll_interval * 1000),
        "statistics.interval.ms": 5000,
        **_reading(),
        "enable.partition.eof": True,  # the end may be after the last record: markers of transactions
        **_prefetch(section),
        **admin_settings(section),
    }
    if section.group_protocol == "classic":  # with the new protocol the brokers decide, and librdkafka refuses these
        session = section.session_seconds
        settings |= {
            "partition.assignment.strategy": section.assignor,
            "session.timeout.ms": round(session * 1000),
            "heartbeat.interval.ms": round(min(3.0, session / _HEARTBEATS_A_SESSION) * 1000),
        }
    if section.instance_id:
        settings["group.instance.id"] = section.instance_id
    return settings | section.librdkafka


def reader_settings(section: KafkaSection) -> dict[str, Any]:
    """The settings of a reader outside the group. The reader commits nothing, and its group has no other member."""
    settings = {
        "group.id": f"{section.group_id}-backfill-{secrets.token_hex(4)}",
        "enable.auto.offset.store": False,
        "enable.auto.commit": False,
        **_reading(),
        **_prefetch(section),
        **admin_settings(section),
    }
    passed = {name: value for name, value in section.librdkafka.items() if not name.startswith("group.")}
    return settings | passed


def check_settings(section: KafkaSection) -> list[str]:
    """librdkafka's own warnings about the settings. No connection is opened.

    Raises SettingsError, which is a ValueError, if librdkafka refuses the settings.
    """
    settings = consumer_settings(section)
    del settings["bootstrap.servers"]  # the consumer would connect
    if section.sasl and section.sasl.mechanism == "OAUTHBEARER":  # the consumer would ask for a token
        settings["security.protocol"] = settings["security.protocol"].removeprefix("SASL_")
        settings = {name: value for name, value in settings.items() if not name.startswith("sasl.")}
    kept = _Kept()
    logger = logging.Logger("librdkafka-check")
    logger.addHandler(kept)
    try:
        consumer = Consumer(settings, logger=logger)
        consumer.poll(0)  # hands the log lines to the logger
        consumer.close()
    except (KafkaException, TypeError, ValueError) as error:
        raise SettingsError(refusal(section, error)) from None
    return [hidden(section, line.partition(": ")[2]) for line in kept.lines if _NO_NETWORK not in line]


def refusal(section: KafkaSection, error: Exception) -> str:
    """The reason why a client could not be made, as text for people, without the values under `librdkafka`."""
    detail = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    detail = " ".join(detail.split()).removeprefix("Failed to create consumer: ")
    if found := _NO_FILE_ERROR.fullmatch(detail):
        return f"source {section.name}: {_OURS.get(found[1], found[1])} cannot be used as PEM: {found[2]}"
    return f"source {section.name}: librdkafka refuses the settings: {hidden(section, detail)}"


def hidden(section: KafkaSection, text: str) -> str:
    """The text without the values under `librdkafka`, because somebody may have put a secret under a wrong name."""
    for value in section.librdkafka.values():
        if isinstance(value, str) and value:
            text = text.replace(f'"{value}"', '"…"')
    return text


class _Kept(logging.Handler):
    """Keeps librdkafka's warnings about the configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("CONFWARN"):
            self.lines.append(text)


def _reading() -> dict[str, Any]:
    return {
        "auto.offset.reset": "error",  # a reset because data has expired is a loss: the source reports it
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": False,
        "topic.metadata.refresh.interval.ms": 30_000,  # the time until a new topic of a pattern is seen
    }


def _prefetch(section: KafkaSection) -> dict[str, Any]:
    """The settings of fetching in a small container; the defaults prefetch 64 MiB and 100,000 records a partition."""
    return {
        "queued.max.messages.kbytes": section.prefetch // 1024,
        "queued.min.messages": 1000,
        "fetch.max.bytes": max(_FETCH_BYTES, min(section.prefetch, 8 * _FETCH_BYTES)),
        "fetch.message.max.bytes": _FETCH_BYTES,
        "fetch.queue.backoff.ms": 10,
        "receive.message.max.bytes": ANSWER_BYTES,
    }
