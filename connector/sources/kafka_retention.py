"""How long topics keep their records: asked of the brokers, for the forecast of a loss."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]

from connector.config.kafka import KafkaSection
from connector.kafka_connection import admin_settings

_SECONDS: Final = 5.0
_ASK_AGAIN_SECONDS: Final = 600.0
_ASK_SOON_SECONDS: Final = 60.0
"""Where the brokers did not say it of every topic."""
_log = structlog.get_logger(__name__)


def read_retention(section: KafkaSection, topics: Collection[str]) -> dict[str, float]:
    """Topic → seconds that it keeps a record, infinite if it deletes nothing for its age. Without a topic where the
    brokers do not say, or do not let us ask: the forecast then goes by the start of the log alone. Raises nothing."""
    if not topics:
        return {}
    found: dict[str, float] = {}
    logger = logging.Logger("librdkafka-retention", logging.CRITICAL)  # what is in the way there is in our own log
    try:
        admin = AdminClient(admin_settings(section), logger=logger)
        asked = admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=_SECONDS
        )
        for resource, future in asked.items():
            found[resource.name] = _kept_for(future.result(timeout=_SECONDS))
    except (KafkaException, TimeoutError, KeyError, TypeError, ValueError) as error:
        _log.debug("kafka_retention_unknown", source=section.name, reason=str(error))
    return found


def _kept_for(settings: Mapping[str, ConfigEntry]) -> float:
    """A topic that is only compacted deletes nothing for its age."""
    policies, retention = settings["cleanup.policy"].value, settings["retention.ms"].value
    if policies is None or retention is None:
        raise ValueError("the brokers do not say how long")
    return int(retention) / 1000 if "delete" in policies.split(",") and int(retention) >= 0 else math.inf


class Retention:
    """The same, asked anew every now and then. May wait for the network."""

    def __init__(self, section: KafkaSection) -> None:
        self._section = section
        self._known: dict[str, float] = {}
        self._asked: frozenset[str] = frozenset()
        self._due = 0.0

    def of(self, topics: Collection[str], now: float) -> dict[str, float]:
        """Topic → seconds, as `read_retention`."""
        if frozenset(topics) != self._asked or now >= self._due:
            self._asked = frozenset(topics)
            self._known = read_retention(self._section, topics)
            self._due = now + (_ASK_AGAIN_SECONDS if self._known.keys() >= self._asked else _ASK_SOON_SECONDS)
        return self._known
