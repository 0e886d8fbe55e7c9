"""Facts that only the brokers know: the first and last offsets of partitions, and the retention of topics.

librdkafka's statistics have these offsets, too, but do not change while partitions are paused. A loss is most likely
during a pause, so the brokers are asked.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Final

import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from connector.brokers.kafka import admin_settings
from connector.settings import CredentialsInUse
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name, split_partition_name

_SECONDS: Final = 3.0
_RENEW_SECONDS: Final = 10.0
_STUCK: Final = (KafkaError._TIMED_OUT, KafkaError._NOENT)
"""The error codes of a client that waits for the controller, or finds no leaders of partitions."""
_log = structlog.get_logger(__name__)


def quiet_admin(section: KafkaSection, make: Callable[..., AdminClient] = AdminClient) -> AdminClient:
    """A client for questions, which logs nothing: the consumer logs the same errors. Raises KafkaException."""
    return make(admin_settings(section), logger=logging.Logger("librdkafka-questions", logging.CRITICAL))


class QuietClient:
    """A client for questions that is replaced if it seems to be stuck, at most every 10 s. For one thread.

    After an answer without rights, librdkafka may wait in vain for the controller, or find no leaders, until its next
    refresh of metadata, five minutes later.
    """

    def __init__(self, section: KafkaSection, make: Callable[..., AdminClient] = AdminClient) -> None:
        self._section = section
        self._credentials = CredentialsInUse(section)
        self._old: frozenset[str] = frozenset()
        """What has changed since the client was made."""
        self._make = make
        self._admin: AdminClient | None = None
        self._stuck = False
        self._renew_from = 0.0

    @property
    def admin(self) -> AdminClient:
        """The client for the next question. Raises KafkaException if none can be made."""
        now = time.monotonic()
        if self._stuck and now >= self._renew_from:
            self._admin, self._stuck, self._renew_from = None, False, now + _RENEW_SECONDS
        self._old = self._credentials.renewed() or self._old
        if self._admin is None or self._old:
            try:
                self._admin, self._old = quiet_admin(self._section, self._make), frozenset()
            except KafkaException:  # a certificate is in the middle of a change: the former client goes on
                if self._admin is None:
                    raise
        return self._admin

    def watch(self, *answers: Future[Any]) -> None:
        """Learn from these answers of `admin` whether the client is stuck."""
        for answer in answers:
            answer.add_done_callback(self._learn)

    def _learn(self, answer: Future[Any]) -> None:
        """May run in a thread of librdkafka: so the client is replaced later."""
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, KafkaException) and error.args[0].code() in _STUCK:
            self._stuck = True


class LogBounds:
    """The first and last offsets of partitions, as of the last answer. One thread may ask, any thread may read."""

    def __init__(self, section: KafkaSection, make: Callable[..., AdminClient] = AdminClient) -> None:
        self._section = section
        self._client = QuietClient(section, make)
        self._known: dict[str, tuple[int, int]] = {}

    def ask(self, partitions: Collection[str]) -> dict[str, tuple[int, int]]:
        """Partition → (oldest offset, offset after the last readable record), for the partitions that are known.

        If the brokers do not answer for a partition, its last known offsets are returned. May wait for the network;
        raises nothing.
        """
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
        """Returns the number of records after the positions, as of the last answer; None if a partition is unknown."""
        known = self._known
        if not positions or not positions.keys() <= known.keys():
            return None
        return float(sum(max(0, known[name][1] - at) for name, at in positions.items() if at is not None))

    def _offsets(self, partitions: Collection[str], which: OffsetSpec) -> dict[str, int]:
        if not partitions:
            return {}
        asked = self._client.admin.list_offsets(
            {TopicPartition(*split_partition_name(name)): which for name in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_SECONDS,
        )
        self._client.watch(*asked.values())
        found: dict[str, int] = {}
        until = time.monotonic() + 2 * _SECONDS
        for partition, future in asked.items():
            try:
                found[partition_name(partition.topic, partition.partition)] = future.result(
                    max(0.0, until - time.monotonic())
                ).offset
            except (KafkaException, TimeoutError) as error:  # for example, the leader is about to change
                _log.debug("kafka_bounds_unknown", source=self._section.name, reason=str(error))
        return found


_RETENTION_SECONDS: Final = 5.0
_ASK_AGAIN_SECONDS: Final = 600.0
_ASK_SOON_SECONDS: Final = 60.0
"""Seconds to the next question if the brokers did not give the retention of every topic."""


def read_retention(section: KafkaSection, topics: Collection[str]) -> dict[str, float]:
    """Topic → seconds that the topic keeps a record; infinite if the topic deletes no records by age.

    A topic is missing if the brokers give no answer or do not allow the question. The forecast for such a topic uses
    only the start of its log. Raises nothing.
    """
    if not topics:
        return {}
    found: dict[str, float] = {}
    try:
        admin = quiet_admin(section)
        asked = admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=_RETENTION_SECONDS
        )
        for resource, future in asked.items():
            found[resource.name] = _kept_for(future.result(timeout=_RETENTION_SECONDS))
    except (KafkaException, TimeoutError, KeyError, TypeError, ValueError) as error:
        _log.debug("kafka_retention_unknown", source=section.name, reason=str(error))
    return found


def _kept_for(settings: Mapping[str, ConfigEntry]) -> float:
    """Returns the seconds that a topic keeps a record; infinite if it is only compacted, or keeps records forever.

    Raises `ValueError` if the settings lack a value, `KeyError` if they lack a name.
    """
    policies, retention = settings["cleanup.policy"].value, settings["retention.ms"].value
    if policies is None or retention is None:
        raise ValueError("the brokers do not give the retention")
    return int(retention) / 1000 if "delete" in policies.split(",") and int(retention) >= 0 else math.inf


class Retention:
    """A cache of the retention of topics. The brokers are asked again after 10 minutes, or if the topics change."""

    def __init__(self, section: KafkaSection) -> None:
        self._section = section
        self._known: dict[str, float] = {}
        self._asked: frozenset[str] = frozenset()
        self._due = 0.0

    def of(self, topics: Collection[str], now: float) -> dict[str, float]:
        """Topic → seconds that the topic keeps a record, as in `read_retention`. May wait for the network."""
        if frozenset(topics) != self._asked or now >= self._due:
            self._asked = frozenset(topics)
            self._known = read_retention(self._section, topics)
            self._due = now + (_ASK_AGAIN_SECONDS if self._known.keys() >= self._asked else _ASK_SOON_SECONDS)
        return self._known
