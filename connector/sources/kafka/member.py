"""Our membership of the group: joined or not, refused, or at its end; with librdkafka's errors and statistics.

Only this file changes the state of the membership. Others tell it what they saw:

| state | begins | ends |
|---|---|---|
| not joined | at the start; `lost`; a refusal | the group is steady, or partitions came (`joins`) |
| joined | as above | as above |
| refused: another consumer may be let in | a fatal error: a member of our name is still there | `asks_anew` |
| at its end: trying again would not help | any other fatal error; `gives_up` | never |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final

import orjson
import structlog
from confluent_kafka import KafkaError

from connector.brokers.kafka import is_fatal
from connector.sources.partitions import partition_name

# librdkafka says which error was the fatal one in its text alone.
_FENCED: Final = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_STILL_A_MEMBER: Final = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
_OTHER_ONE: Final = "is another one running with the same instance_id?"

_log = structlog.get_logger(__name__)


class Member:
    """The state of our membership, and what is wrong with the connection. Written by the polling thread, read by
    others."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._joined = False
        self._fatal: str | None = None
        self._refused: str | None = None
        self._trouble: str | None = None
        self._topics: dict[str, str] = {}
        """Topic → what is wrong with it; librdkafka says so once."""
        self._statistics = b"{}"
        self.reports = 0
        """How many statistics came."""
        self.group_count: int | None = None
        """How many partitions the group has given us, as of the last statistics; None while it rebalances."""
        self.logger = _logger(source)

    # -- the state, and what changes it -----------------------------------------------------------

    @property
    def joined(self) -> bool:
        """Whether the group has let this consumer in."""
        return self._joined

    @property
    def fatal(self) -> str | None:
        """Why trying again would not help, and what to do; None while it would."""
        return self._fatal

    @property
    def refused(self) -> str | None:
        """Why the group has not let this consumer in, though it may let another one in later; None if it has not
        refused."""
        return self._refused

    def joins(self) -> None:
        """The group has let this consumer in, or no group is needed."""
        self._joined = True

    def lost(self) -> None:
        """The group has thrown this consumer out."""
        self._joined = False

    def gives_up(self, why: str) -> None:
        """Trying again would not help."""
        self._fatal = why

    def asks_anew(self) -> None:
        """Another consumer was made: the refusal was said to the one before."""
        self._refused = None

    # -- what librdkafka says ---------------------------------------------------------------------

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """For librdkafka's configuration."""
        return {"error_cb": self._on_error, "stats_cb": self._on_statistics}

    def problems(self) -> list[str]:
        """Why the source is not ready."""
        if self._fatal:
            return [self._fatal]
        found = [self._trouble] if self._trouble else []
        found += [f"topic {topic!r}: {trouble}" for topic, trouble in list(self._topics.items())]
        if found:
            return found
        return [] if self._joined else ["has not joined the consumer group yet"]

    def works(self) -> None:
        """Records come, or partitions."""
        self._trouble = None

    def topic_works(self, topic: str) -> None:
        """Partitions of this topic are ours."""
        self._topics.pop(topic, None)

    def note(self, problem: str) -> None:
        """Something is in the way and is tried again; logged when it is new."""
        if problem != self._trouble:
            _log.warning("kafka_trouble", source=self._source, reason=problem, effect="trying again")
        self._trouble = problem

    def failed(self, error: KafkaError, topic: str | None = None) -> None:
        """An error that librdkafka reported in place of a record, or about the whole connection."""
        text = f"topic {topic!r}: {error.str()}" if topic else error.str()
        if is_fatal(error):
            self._cannot_go_on(text)
        elif topic:
            if topic not in self._topics:
                _log.error("kafka_topic_trouble", source=self._source, topic=topic, reason=error.str())
            self._topics[topic] = error.str()
        else:
            self.note(text)

    def lag(self, owned: Collection[str]) -> float:
        """Records between our position and the end of the partitions that are ours, as of the last statistics."""
        topics: dict[str, Any] = orjson.loads(self._statistics).get("topics", {})
        return float(
            sum(
                max(0, found["consumer_lag"])
                for name, topic in topics.items()
                for number, found in topic["partitions"].items()
                if partition_name(name, int(number)) in owned
            )
        )

    def _cannot_go_on(self, text: str) -> None:
        if _STILL_A_MEMBER in text:  # KIP-848: so it is until the session of a killed member ends
            self._joined = False
            self._refused = (
                "the group still has a member with our instance_id. One that was killed is a member until its session "
                f"ends, mostly for 45 s; if this lasts longer, {_OTHER_ONE}"
            )
            self.note(self._refused)
        elif _FENCED in text:
            self._fatal = f"{text}; the member cannot go on: {_OTHER_ONE}"
        else:
            self._fatal = f"{text}; the member cannot go on"

    def _on_error(self, error: KafkaError) -> None:
        self.failed(error)

    def _on_statistics(self, text: str) -> None:
        self._statistics = text.encode()
        found: dict[str, Any] = orjson.loads(self._statistics)
        group = found.get("cgrp", {})
        steady = group.get("join_state") == "steady"
        self.group_count = group.get("assignment_size") if steady else None
        self.reports += 1
        if any(broker["state"] == "UP" and broker["nodeid"] >= 0 for broker in found["brokers"].values()):
            self._trouble = None
            self._joined = steady or self._joined


class _ToStructlog(logging.Handler):
    """librdkafka's log lines, among ours."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        # errors come through error_cb too, once and for people; here they would repeat at every attempt
        _log.debug("librdkafka", source=self._source, line=record.getMessage())


def _logger(source: str) -> logging.Logger:
    logger = logging.Logger(f"librdkafka-{source}")
    logger.addHandler(_ToStructlog(source))
    return logger
