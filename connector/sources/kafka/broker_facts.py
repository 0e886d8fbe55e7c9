"""Where our partitions' logs begin and end: asked of the brokers, since librdkafka's statistics stand still while the
partitions are paused, which is when something may be lost."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from connector.brokers.kafka import admin_settings
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name, split_partition_name

_SECONDS: Final = 3.0
_log = structlog.get_logger(__name__)


class LogBounds:
    """The last that is known. One thread asks, any may read."""

    def __init__(self, section: KafkaSection, make: Callable[..., AdminClient] = AdminClient) -> None:
        self._section = section
        self._make = make
        self._admin: AdminClient | None = None
        self._known: dict[str, tuple[int, int]] = {}

    def ask(self, partitions: Collection[str]) -> dict[str, tuple[int, int]]:
        """Partition → (its oldest offset, the one after the last that can be read), of these; what the brokers do not
        say now, as it was the last time. May wait for the network; raises nothing."""
        known = {name: bounds for name, bounds in self._known.items() if name in partitions}
        try:
            low = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
            high = self._offsets(low, OffsetSpec.latest())  # type: ignore[no-untyped-call]
            known |= {name: (low[name], high[name]) for name in low.keys() & high.keys()}
        except KafkaException as error:
            _log.debug("kafka_bounds_unknown", source=self._section.name, reason=str(error))
        self._known = known
        return known

    def lag(self, positions: Mapping[str, int | None]) -> float | None:
        """Records behind these positions, as of the last answer; None if one of the partitions is not known."""
        known = self._known
        if not positions or not positions.keys() <= known.keys():
            return None
        return float(sum(max(0, known[name][1] - at) for name, at in positions.items() if at is not None))

    def _offsets(self, partitions: Collection[str], which: OffsetSpec) -> dict[str, int]:
        if not partitions:
            return {}
        if self._admin is None:
            quiet = logging.Logger("librdkafka-bounds", logging.CRITICAL)  # our own log says what is in the way
            self._admin = self._make(admin_settings(self._section), logger=quiet)
        asked = self._admin.list_offsets(
            {TopicPartition(*split_partition_name(name)): which for name in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_SECONDS,
        )
        found: dict[str, int] = {}
        until = time.monotonic() + 2 * _SECONDS
        for partition, future in asked.items():
            try:
                found[partition_name(partition.topic, partition.partition)] = future.result(
                    max(0.0, until - time.monotonic())
                ).offset
            except (KafkaException, TimeoutError) as error:  # such as a leader that is about to change
                _log.debug("kafka_bounds_unknown", source=self._section.name, reason=str(error))
        return found


_RETENTION_SECONDS: Final = 5.0
_ASK_AGAIN_SECONDS: Final = 600.0
_ASK_SOON_SECONDS: Final = 60.0
"""Where the brokers did not say it of every topic."""


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
            [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=_RETENTION_SECONDS
        )
        for resource, future in asked.items():
            found[resource.name] = _kept_for(future.result(timeout=_RETENTION_SECONDS))
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
