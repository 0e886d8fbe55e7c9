"""The membership of the group: joined or not, refused, or at its end; with librdkafka's errors and statistics.

Only this file changes the state of the membership. Other modules report events by its methods:

| state | begins | ends |
|---|---|---|
| not joined | at the start; `lost`; a refusal | the group is steady, or partitions came (`joins`) |
| joined | as above | as above |
| refused: another consumer may be let in | a fatal error: a member with our instance ID still exists | `asks_anew` |
| at its end: another attempt would not help | any other fatal error; `gives_up` | never |
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

# Only the text of a fatal error names the error behind it.
_FENCED: Final = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_STILL_A_MEMBER: Final = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
_MOST_TOPICS: Final = 100
"""Topics whose trouble is told one by one: with a pattern, a broker chooses how many there are."""
_OTHER_TOPICS: Final = "(other topics)"
_OTHER_ONE: Final = "is another one running with the same instance_id?"

_log = structlog.get_logger(__name__)


class Member:
    """The state of the membership, and the problems of the connection.

    The polling thread writes the state; other threads read it.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._joined = False
        self._fatal: str | None = None
        self._refused: str | None = None
        self._trouble: str | None = None
        self._topics: dict[str, str] = {}
        """Topic → the problem of the topic; librdkafka reports a problem only once."""
        self._statistics = b"{}"
        self.reports = 0
        """Number of statistics that librdkafka has reported."""
        self.group_count: int | None = None
        """Number of partitions that the group has assigned, by the last statistics; None while the group rebalances."""
        self.logger = _logger(source)

    # -- the state, and its changes ---------------------------------------------------------------

    @property
    def joined(self) -> bool:
        """Whether the group has let this consumer in."""
        return self._joined

    @property
    def fatal(self) -> str | None:
        """The reason why another attempt to join would not help, and the remedy; None if an attempt may help."""
        return self._fatal

    @property
    def refused(self) -> str | None:
        """The reason why the group has refused this consumer; None if the group has not refused.

        The group may accept another consumer later.
        """
        return self._refused

    def joins(self) -> None:
        """Record that the group has let this consumer in, or that no group is needed."""
        self._joined = True

    def lost(self) -> None:
        """Record that the group has removed this consumer."""
        self._joined = False

    def gives_up(self, why: str) -> None:
        """Record that another attempt would not help; `why` is the reason, for people."""
        self._fatal = why

    def asks_anew(self) -> None:
        """Record that there is a new consumer: a refusal was for the consumer before."""
        self._refused = None

    # -- the reports of librdkafka ----------------------------------------------------------------

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """The callbacks for errors and statistics, by the names of librdkafka's configuration."""
        return {"error_cb": self._on_error, "stats_cb": self._on_statistics}

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, for people; empty if it is ready."""
        if self._fatal:
            return [self._fatal]
        found = [self._trouble] if self._trouble else []
        found += [f"topic {topic!r}: {trouble}" for topic, trouble in list(self._topics.items())]
        if found:
            return found
        return [] if self._joined else ["has not joined the consumer group yet"]

    def works(self) -> None:
        """Record that the connection works: records or partitions have come."""
        self._trouble = None

    def topic_works(self, topic: str) -> None:
        """Record that the topic works: this member has got partitions of it."""
        self._topics.pop(topic, None)
        self._topics.pop(_OTHER_TOPICS, None)  # if they still have trouble, the next error says so

    def note(self, problem: str) -> None:
        """Record a temporary problem. A problem other than the last one is logged."""
        if problem != self._trouble:
            _log.warning("kafka_trouble", source=self._source, reason=problem, effect="trying again")
        self._trouble = problem

    def failed(self, error: KafkaError, topic: str | None = None) -> None:
        """Record an error of librdkafka about a topic, or (without `topic`) about the whole connection."""
        text = f"topic {topic!r}: {error.str()}" if topic else error.str()
        if is_fatal(error):
            self._cannot_go_on(text)
        elif topic:
            if topic not in self._topics and len(self._topics) >= _MOST_TOPICS:
                topic = _OTHER_TOPICS
            if topic not in self._topics:
                _log.error("kafka_topic_trouble", source=self._source, topic=topic, reason=error.str())
            self._topics[topic] = error.str()
        else:
            self.note(text)

    def lag(self, owned: Collection[str]) -> float:
        """Number of records after the positions of the partitions `owned`, as of the last statistics."""
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
        if _STILL_A_MEMBER in text:  # KIP-848: a killed member stays in the group until its session ends
            self._joined = False
            self._refused = (
                "the group still has a member with our instance_id. A killed member stays in the group until its "
                f"session ends, mostly for 45 s; if this lasts longer, {_OTHER_ONE}"
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
    """Writes librdkafka's log lines into the connector's log, at level debug."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        # errors come through error_cb, too, only once and for people; these log lines repeat them at every attempt
        _log.debug("librdkafka", source=self._source, line=record.getMessage())


def _logger(source: str) -> logging.Logger:
    logger = logging.Logger(f"librdkafka-{source}")
    logger.addHandler(_ToStructlog(source))
    return logger
