"""The identity of a log: the topic ID and the cluster. A topic that was deleted and made anew is another log.

A position is valid in one log only, and the name of a topic does not say which log it is. So the identity is committed
together with each position, as a note in the position's metadata: any member of the group can compare it. The ledger
has the identity, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from connector.ledger.account import LogPosition
from connector.sources.kafka.broker_facts import QuietClient
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name, split_partition_name

_REQUEST_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 2.0
_NO_ID: Final = str(Uuid(0, 0))
_REFUSED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_AS_KAFKA: Final = str.maketrans("+/", "-_")
"""librdkafka writes topic IDs with two other characters than Kafka's own tools."""
_LONGEST: Final = 100
"""The most characters of a cluster ID that count: Kafka keeps at most 4,096 bytes with a position."""

_log = structlog.get_logger(__name__)


class LogIdentity(NamedTuple):
    """The identity of the logs of one topic."""

    topic_id: str = ""
    """Empty if it is unknown: brokers before Kafka 2.8 have no topic IDs."""
    cluster: str = ""
    """The cluster ID; empty if it is unknown."""

    @property
    def log(self) -> str:
        """The name of the log in the ledger: the topic ID, or else the cluster ID; empty if both are unknown."""
        return self.topic_id or self.cluster

    def differs(self, other: LogIdentity) -> bool:
        """Whether the two are certainly different logs."""
        if self.topic_id and other.topic_id:
            return self.topic_id != other.topic_id
        return bool(self.cluster and other.cluster) and self.cluster != other.cluster


UNKNOWN: Final = LogIdentity()


class Position(NamedTuple):
    """A position, with the log where it is valid."""

    offset: int
    identity: LogIdentity = UNKNOWN
    began: int | None = None
    """Number of partitions of the topic when the group began to read it; None if it is unknown.

    A partition with this number or a higher one was added later."""
    epoch: int | None = None
    """The leader epoch of the record before the position; None if it is unknown."""

    @classmethod
    def kept(cls, found: LogPosition) -> Position:
        """The position that the ledger keeps."""
        return cls(found.next, LogIdentity("" if found.log == found.cluster else found.log, found.cluster))

    @classmethod
    def committed(cls, found: TopicPartition) -> Position:
        """The position that a group has committed, with its note."""
        identity, began = read_note(found.metadata)
        return cls(found.offset, identity, began, found.leader_epoch)


def write_note(identity: LogIdentity, began: int | None) -> str:
    """The note for the metadata of a committed position."""
    return json.dumps({"topic": identity.topic_id, "cluster": identity.cluster, "began": began})


def read_note(text: str | None) -> tuple[LogIdentity, int | None]:
    """(identity, `Position.began`) of a note. Both are unknown if another program has written the metadata."""
    try:
        found = json.loads(text or "")
        topic_id, cluster, began = found["topic"], found["cluster"], found["began"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return UNKNOWN, None
    if not isinstance(topic_id, str) or not isinstance(cluster, str) or not isinstance(began, int | None):
        return UNKNOWN, None
    return LogIdentity(topic_id, cluster), began


class LogRead:
    """The log of a partition of this member, with the leader epochs of the records that were read."""

    def __init__(self, start: Position) -> None:
        """`start` is the position where reading begins."""
        self.identity = start.identity
        self.began = start.began
        self._before = None if start.epoch is None else (start.offset - 1, start.epoch)
        self._epochs: list[tuple[int, int | None]] = [] if self._before is None else [self._before]
        """(offset of a record, its leader epoch), where the epoch changes."""

    def continues(self, message: Message) -> bool:
        """Whether the log may have been the same up to this message.

        False if it is the message before the start, with another leader epoch: then the log was cut before the start,
        and other records have come in place of those that were read.
        """
        found = (message.offset(), message.leader_epoch())
        return self._before is None or found[1] is None or found[0] != self._before[0] or found == self._before

    def read(self, messages: Sequence[Message]) -> None:
        """Note the leader epochs of messages that were read."""
        last = self._epochs[-1][1] if self._epochs else None
        if messages[-1].leader_epoch() in (None, last):
            return
        for message in messages:
            epoch = message.leader_epoch()
            if epoch is not None and epoch != last:
                self._epochs.append((message.offset() or 0, epoch))
                last = epoch

    def stepped_over(self, end: int) -> None:
        """Note that there is no record right before `end`: the leader epoch there is unknown."""
        self._epochs.append((end - 1, None))

    def position(self, offset: int) -> Position:
        """The position at `offset` of this log."""
        while len(self._epochs) > 1 and self._epochs[1][0] < offset:
            del self._epochs[0]
        known = self._epochs and self._epochs[0][0] < offset
        return Position(offset, self.identity, self.began, self._epochs[0][1] if known else None)

    def at(self, topic: str, number: int, offset: int) -> TopicPartition:
        """A position to commit, with its note and the leader epoch of the record before it."""
        note, epoch = write_note(self.identity, self.began), self.position(offset).epoch
        if epoch is None:
            return TopicPartition(topic, number, offset, note)
        return TopicPartition(topic, number, offset, note, epoch)


class TopicFacts(NamedTuple):
    """What the brokers say about a topic."""

    identity: LogIdentity
    partitions: int
    """Number of its partitions."""


class Question:
    """A question about topics that is under way."""

    def __init__(
        self,
        cluster: Future[Any],
        topics: dict[str, Future[Any]],
        trouble: Callable[[str], None],
        answered: Callable[[bool], None],
    ) -> None:
        """`trouble` is called with the reason of each answer that is missing for good.

        `answered` is called at each attempt to take the answers, with whether any answer came.
        """
        self._cluster = cluster
        self._topics = topics
        self._trouble = trouble
        self._answered = answered

    @property
    def done(self) -> bool:
        """Whether all answers are there."""
        return self._cluster.done() and all(future.done() for future in self._topics.values())

    def answers(self, seconds: float) -> dict[str, TopicFacts]:
        """Topic → the facts, for topics with an answer. Waits at most `seconds` for the answers; raises nothing."""
        until = time.monotonic() + seconds
        described = self._result(self._cluster, until)
        cluster = "" if described is None else str(described.cluster_id or "")[:_LONGEST]
        found: dict[str, TopicFacts] = {}
        for topic, future in self._topics.items():
            answer = self._result(future, until)
            if answer is None:
                continue
            topic_id = str(answer.topic_id)
            topic_id = "" if topic_id == _NO_ID else topic_id.translate(_AS_KAFKA)
            if not topic_id:
                self._trouble("the brokers give no topic IDs; Kafka gives them from version 2.8 on")
                if described is None:  # a log without any identity cannot be compared
                    continue
            found[topic] = TopicFacts(LogIdentity(topic_id, cluster), len(answer.partitions))
        self._answered(bool(found))
        return found

    def _result(self, future: Future[Any], until: float) -> Any:
        try:
            return future.result(max(0.0, until - time.monotonic()))
        except KafkaException as error:
            if error.args[0].code() in _REFUSED:
                self._trouble(f"{error.args[0].str()}; allow DESCRIBE on the topic to the connector")
        except TimeoutError:
            pass  # the identity stays unknown until the next question
        return None


class TopicAsker:
    """Asks the brokers for the identity of topics, with a client of its own. For the thread that polls."""

    def __init__(self, section: KafkaSection, make: Callable[..., AdminClient] = AdminClient) -> None:
        self._section = section
        self._client = QuietClient(section, make)
        self._said = False
        self._unanswered = False

    @property
    def patience(self) -> float:
        """Seconds to wait for answers that are not necessary: the identity may also be compared a little later.

        Some servers never answer. Then only the first assignment of partitions waits.
        """
        return 0.0 if self._unanswered else _PATIENCE_SECONDS

    def ask(self, topics: Collection[str]) -> Question | None:
        """Ask about topics, without waiting; None if the question could not be put."""
        try:
            admin = self._client.admin
            cluster = admin.describe_cluster(request_timeout=_REQUEST_SECONDS)
            asked = admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            _log.debug("kafka_identity_unknown", source=self._section.name, reason=str(error))
            return None
        self._client.watch(cluster, *asked.values())
        return Question(cluster, asked, self._say_unknown, self._note_answers)

    def _note_answers(self, any_came: bool) -> None:
        self._unanswered = not any_came

    def _say_unknown(self, reason: str) -> None:
        """Log once that topics cannot be told apart."""
        if not self._said:
            self._said = True
            _log.warning(
                "kafka_identity_unknown",
                source=self._section.name,
                reason=reason,
                effect="a topic that is deleted and made anew is noticed only if its log is shorter than our position",
            )

    def ask_ends(self, partitions: Collection[str]) -> dict[str, Future[Any]]:
        """Partition → the future of its last offset, without waiting; empty if the question could not be put."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        try:
            asked = self._client.admin.list_offsets(
                {TopicPartition(*split_partition_name(name)): latest for name in partitions},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_REQUEST_SECONDS,
            )
        except KafkaException as error:
            _log.debug("kafka_identity_unknown", source=self._section.name, reason=str(error))
            return {}
        self._client.watch(*asked.values())
        return {partition_name(where.topic, where.partition): future for where, future in asked.items()}
