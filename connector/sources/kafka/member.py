"""The membership of the group: joined or not, refused, or at its end; with librdkafka's errors and statistics.

Only this file changes the state of the membership. Other modules report events by its methods:

| state | begins | ends |
|---|---|---|
| not joined | at first; `lost`; a refusal; 30 s of rebalancing | the group is steady, or partitions came (`joins`) |
| joined | as above | as above |
| refused: another consumer may be let in | an error that `connector.brokers.kafka_errors` sorts so | `asks_anew` |
| at its end: another attempt would not help | an error that is sorted so; `gives_up` | never |

A trouble is kept under its subject, and ends when its subject works again: the connection when a broker is up, the
group when it is steady or records come, commits with the next commit, a topic with its next record or assignment.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog
from confluent_kafka import KafkaError, TopicPartition

from connector.brokers.kafka_errors import BATCH, CONNECTION, Action, judge
from connector.sources.kafka.trouble_log import TroubleLog
from connector.sources.kafka.waiting import Waiting

_MOST_TOPICS: Final = 100
"""Topics whose trouble is told one by one: with a pattern, a broker chooses how many there are."""
_OTHER_TOPICS: Final = "(other topics)"
_CONNECTION, _GROUP, _COMMITS, _OTHER = "the connection", "the group", "commits", "other trouble"
_UNSTEADY_SECONDS: Final = 30.0
"""Seconds for which a group may rebalance until the member counts as not joined."""
_STEADY_SECONDS, _OPEN_SECONDS = 10.0, 20.0
"""Seconds after an error of the group until a steady group, or one whose coordinator answers, shows that it is over.

A coordinator that refuses a request refuses it again within these times."""
_REFUSING_SECONDS: Final = 5.0
"""Seconds for which commits may fail while the group's coordinator moves."""
_LEARNED: Final = re.compile(r"(?:GroupCoordinator: (?:\w+://)?[^/ ]+: |(?:\w+://)?[^/ ]+/(?P<id>\d+): )")
"""The beginning of an error about a broker whose address came from the brokers, not from `bootstrap_servers`."""
_GONE: Final = re.compile(r"(?P<topic>\S+) \[\d+\]: desired partition is no longer available")
"""An error about a partition of this member that librdkafka reports without its topic."""
_UNSEEN: Final = re.compile(rf"Subscribed topic not available|{_GONE.pattern}")
_SUPPRESSED: Final = re.compile(r", \d+ identical error\(s\) suppressed")
_ADVERTISED: Final = (
    "; the brokers give this address (advertised.listeners): correct it there, or make it reachable from here"
)
_NOT_STATED: Final = "certificate verify failed"
"""The words of librdkafka about every certificate that cannot be verified, whatever the reason."""

_log = structlog.get_logger(__name__)


class Member:
    """The state of the membership, and the troubles of the connection.

    The polling thread writes the state; other threads read it.
    """

    def __init__(self, source: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds of any clock that only rises."""
        self._source = source
        self._clock = clock
        self._joined = False
        self._steady_at: float | None = None
        self._reached = False
        """Whether a broker other than a bootstrap server has ever answered, so that advertised.listeners is right."""
        self._fatal: str | None = None
        self._refused: str | None = None
        self.for_a_person = False
        """Whether the refusal lasts until a person changes something."""
        self._troubles: dict[str, str] = {}
        """Subject → trouble."""
        self._group_failed_at = 0.0
        self._up: frozenset[int] = frozenset()
        """The brokers that were up at the last statistics, by their IDs, without bootstrap servers."""
        self._last_failure: str | None = None
        """The last trouble with a connection to one of several brokers."""
        self._refusing_since: float | None = None
        """Since when commits fail; None while they work."""
        self._paused = False
        self._unexplained = False
        self._explained: str | None = None
        self._topics: dict[str, str] = {}
        """Topic → the trouble of the topic; librdkafka reports a trouble only once."""
        self._batches: dict[str, str] = {}
        """Partition → why its next batch cannot be read."""
        self._unseen: set[str] = set()
        """The topics of `_topics` that the brokers do not show to us."""
        self._perhaps_unseen: set[str] = set()
        """Topics of `_unseen` until another error came, perhaps of a fetch from before; the next statistics tell."""
        self.waiting = Waiting()
        """The partitions of the last statistics."""
        self.log = TroubleLog(source, clock)
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

    @property
    def unusable(self) -> str | None:
        """The reason why this consumer gets nothing more, for people; None if the consumer may go on."""
        return self._fatal or self._refused

    @property
    def connected(self) -> bool:
        """Whether no trouble with the connection is known, so that another reason keeps the member out."""
        return self._reached and _CONNECTION not in self._troubles

    @property
    def unexplained(self) -> bool:
        """Whether there is trouble with the connection, and librdkafka does not say why."""
        return self._unexplained and _CONNECTION in self._troubles

    def joins(self) -> None:
        """Record that the group has let this consumer in, or that no group is needed."""
        self._joined = self._reached = True
        self._committed()  # a commit that was refused in a rebalance is not tried again
        self._over(_GROUP)

    def lost(self) -> None:
        """Record that the group has removed this consumer."""
        self._joined = False

    def gives_up(self, why: str) -> None:
        """Record that another attempt would not help; `why` is the reason, for people."""
        self._fatal = why

    def asks_anew(self) -> None:
        """Record that there is a new consumer: it reports again what is not over."""
        self._refused = self._steady_at = None
        self._joined = False
        self._committed()
        self._over(_OTHER)
        self._topics.clear()
        self._batches.clear()
        self._unseen.clear()
        self._perhaps_unseen.clear()
        self.waiting = Waiting()

    # -- the reports of librdkafka ----------------------------------------------------------------

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """The callbacks for errors, commits and statistics, by the names of librdkafka's configuration."""
        return {"error_cb": self._on_error, "stats_cb": self._on_statistics, "on_commit": self._on_commit}

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, for people; empty if it is ready."""
        if self._fatal:
            return [self._fatal]
        troubles = dict(self._troubles)
        if self._explained and _CONNECTION in troubles:
            troubles[_CONNECTION] = self._explained
        found = list(troubles.values())
        found += [f"topic {topic!r}: {trouble}" for topic, trouble in list(self._topics.items())]
        found += [
            text if text.startswith(f"{name}: ") else f"{name}: {text}" for name, text in list(self._batches.items())
        ]
        found += self.waiting.problems(self._clock()).values()
        if found:
            return found
        if self._joined:
            return []
        if self._steady_at is not None:
            return ["has left the consumer group, or the group rebalances; perhaps another member does not answer"]
        return ["has not joined the consumer group yet"]

    def works(self, topic: str | None = None, partition: str = "") -> None:
        """Record that the connection and the group work: partitions, or records of `topic`, have come.

        `partition` is the name of the partition that the records are of.
        """
        self.partition_works(partition)
        if self._troubles:
            self._over(_CONNECTION, _GROUP, _OTHER)
        if topic is not None and self._topics:
            self.topic_works(topic)

    def partition_works(self, partition: str) -> None:
        """Record that reading of the partition goes on: a record, or the end of its log, has come."""
        if self._batches:
            self._batches.pop(partition, None)

    def topic_works(self, topic: str) -> None:
        """Record that the topic works: this member has got partitions or records of it."""
        self._unseen.discard(topic)
        self._perhaps_unseen.discard(topic)
        self._topics.pop(topic, None)
        self._topics.pop(_OTHER_TOPICS, None)  # if they still have trouble, the next error says so

    def topic_found(self, topic: str) -> None:
        """Record that the brokers know the topic and let us see it, whoever gets its partitions."""
        if topic in self._unseen:
            self.topic_works(topic)

    def pauses(self, *, paused: bool) -> None:
        """Record whether reading is paused: then librdkafka does not learn how the logs go on."""
        self._paused = paused
        self.waiting.forget_transactions()

    def note(self, problem: str) -> None:
        """Record a temporary problem, and log it."""
        self._troubles[_OTHER] = problem
        self.log.say(_OTHER, problem)

    def explain(self, why: str | None) -> None:
        """Record why there is no connection, for people; None if nobody knows more than librdkafka."""
        self._explained = why
        if why is not None:
            self.log.say(_CONNECTION, why)

    def failed(self, error: KafkaError, topic: str | None = None, partition: str = "") -> None:
        """Record an error of librdkafka about a topic, or (without `topic`) about the whole connection.

        `partition` is the name of the partition in whose place the error came.
        """
        found = judge(error)
        if topic is None and (gone := _GONE.match(error.str())):
            topic = gone["topic"]
        if found.action is Action.EXIT:
            self._fatal = f"{found.text}; the member cannot go on"
        elif found.fatal or found.action is Action.JOIN_ANEW:
            self._joined = False
            self.for_a_person = found.action is Action.PERSON
            self._refused = found.text
            self._group_failed(found.text, found.remedy)
        elif topic and partition and found.code in BATCH and len(self._batches.keys() | {partition}) <= _MOST_TOPICS:
            self._batches[partition] = found.text
            self.log.say_of_topic(topic, found.text)
        elif topic:
            self._topic_failed(topic, found.text)
        elif found.code in CONNECTION:
            self._connection_failed(found.code, _SUPPRESSED.sub("", error.str()), found.remedy)
        else:
            self._group_failed(found.text, found.remedy)

    # -- details ----------------------------------------------------------------------------------

    def _over(self, *subjects: str) -> None:
        for subject in subjects:
            self._troubles.pop(subject, None)

    def _group_failed(self, text: str, remedy: str) -> None:
        self._troubles[_GROUP], self._group_failed_at = text, self._clock()
        self.log.say(_GROUP, text, remedy)

    def _connection_failed(self, code: int, text: str, remedy: str) -> None:
        learned = _LEARNED.match(text)
        if learned and not self._reached:
            remedy = f"{remedy}{_ADVERTISED}".removeprefix("; ")
        full = f"{text}; {remedy}" if remedy else text
        if code == KafkaError._ALL_BROKERS_DOWN:
            if _CONNECTION not in self._troubles:
                self._unexplained = self._last_failure is None
                self._troubles[_CONNECTION] = full = self._last_failure or full
                self.log.say(_CONNECTION, full)
            return
        if learned and any(node != int(learned["id"] or -1) for node in self._up):
            self._last_failure = full  # other brokers are up: what waits for this one, the statistics say
        else:
            self._unexplained = _NOT_STATED in text
            self._explained = self._explained if self._unexplained else None
            self._troubles[_CONNECTION] = full
        if self._explained is None:
            self.log.say(_CONNECTION, full, remedy)

    def _topic_failed(self, topic: str, text: str) -> None:
        if topic not in self._topics and len(self._topics) >= _MOST_TOPICS:
            topic = _OTHER_TOPICS
        self._topics[topic] = text
        if _UNSEEN.match(text):
            self._unseen.add(topic)
        elif topic in self._unseen:
            self._unseen.discard(topic)
            self._perhaps_unseen.add(topic)
        self.log.say_of_topic(topic, text)

    def _on_error(self, error: KafkaError) -> None:
        self.failed(error)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Record whether a commit in the background worked."""
        failed = error or next((found.error for found in partitions or () if found.error is not None), None)
        if failed is None:
            self._committed()
        elif failed.code() != KafkaError._NO_OFFSET:  # nothing is new
            found, now = judge(failed), self._clock()
            if self._refusing_since is None:
                self._refusing_since = now
            if found.action is Action.PERSON or now - self._refusing_since >= _REFUSING_SECONDS:
                text = f"the group does not take our positions, so a restart would read records again: {found.text}"
                self._troubles[_COMMITS] = text
                self.log.say(_COMMITS, text, found.remedy)

    def _committed(self) -> None:
        self._refusing_since = None
        self._over(_COMMITS)

    def _on_statistics(self, text: str) -> None:
        found: dict[str, Any] = orjson.loads(text)
        now = self._clock()
        group = found.get("cgrp", {})
        steady = group.get("join_state") == "steady"
        self.group_count = group.get("assignment_size") if steady else None
        self.reports += 1
        up = {broker["nodeid"] for broker in found["brokers"].values() if broker["state"] == "UP"}
        self._up = frozenset(node for node in up if node >= 0)
        if self._up:
            self._reached = True
            self._explained = self._last_failure = None
            self._over(_CONNECTION, _OTHER)
        if steady:
            self._steady_at = now
            if self._up and self._refused is None:
                self._joined = True
        elif self._steady_at is not None and now - self._steady_at >= _UNSTEADY_SECONDS:
            self._joined = False
        over = now - self._group_failed_at >= (_STEADY_SECONDS if steady else _OPEN_SECONDS)
        if over and self._refused is None and group.get("state") == "up":
            self._over(_GROUP)
        seen = self.waiting.look(found.get("topics", {}), self._up, now, reading=not self._paused)
        for topic in seen:
            self.topic_found(topic)
        self._unseen |= self._perhaps_unseen - seen
        self._perhaps_unseen.clear()
        for topic in self._topics.keys() - self._unseen - self.waiting.topics() - {_OTHER_TOPICS}:
            self.topic_works(topic)  # another member has its partitions now
        for name in self._batches.keys() - self.waiting.names():
            self.partition_works(name)  # another member has the partition now
        for kind, trouble in self.waiting.problems(now).items():
            self.log.say(kind, trouble, kind)


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
