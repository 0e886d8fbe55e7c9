"""Where our partitions' logs begin and end: asked of the brokers, since librdkafka's statistics stand still while the
partitions are paused, which is when something may be lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from connector.config.kafka import KafkaSection
from connector.kafka_connection import admin_settings
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
