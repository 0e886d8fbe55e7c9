"""Looks at a Kafka source: topics, rights, the group, positions against retention. Never joins the group.

All questions are descriptions: what a topic, a group and their rights are, and which offsets exist.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Self

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from connector.brokers.findings import Examination, Finding, advice, ok, wrong
from connector.brokers.kafka_visit import log_in
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import ANSWER_BYTES
from connector.sources.loss import readable_duration

_MOST_TOPICS: Final = 200
_SHOWN: Final = 3
_IMPATIENT_SECONDS: Final = 1.0
_SHORT_RETENTION: Final = 86_400.0
_NEARLY: Final = 0.8
"""The share of the retention after which an unread record is in danger."""
_EAGER: Final = ("range", "roundrobin")
_NO_DESCRIPTION: Final = (KafkaError._TIMED_OUT, KafkaError._UNSUPPORTED_FEATURE)
_DENIED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def examine(section: KafkaSection, asked: Examination) -> Generator[Finding, None, bool]:
    """Look at the cluster; returns whether the source can read there."""
    entered = yield from log_in(section, asked)
    if entered is None or asked.short:
        return entered is not None
    admin, metadata = entered
    for warning in section.check():
        yield advice("settings", warning, "see docs/kafka.md")
    questions = _Questions(admin, asked.seconds)
    topics = yield from _topics(section, metadata, questions)
    yield from _settings(topics, len(metadata.brokers), questions, asked)
    if (yield from _group(section, questions)) and topics:
        yield from _positions(section, topics, questions)
    return bool(topics)


@dataclass(frozen=True, slots=True)
class _Topic:
    """The partitions of a topic: what both a description and the metadata say."""

    without_leader: list[int]
    replicas: int
    in_sync: int
    """The least number of replicas, and of replicas in sync, of a partition."""

    @classmethod
    def described(cls, found: Any) -> Self:
        """From a `TopicDescription`."""
        parts = found.partitions
        without = [part.id for part in parts if part.leader is None or part.leader.id < 0]
        return cls(without, min(len(part.replicas) for part in parts), min(len(part.isr) for part in parts))

    @classmethod
    def listed(cls, found: TopicMetadata) -> Self:
        """From the metadata, where the brokers describe no topics."""
        parts = found.partitions.values()
        without = [part.id for part in parts if part.leader < 0]
        return cls(without, min(len(part.replicas) for part in parts), min(len(part.isrs) for part in parts))


class _Questions:
    """The questions to the brokers, each with a time-out."""

    def __init__(self, admin: AdminClient, seconds: float) -> None:
        self.admin = admin
        self._seconds = seconds

    def about_topics(self, names: list[str]) -> dict[str, Any]:
        """Topic → its `TopicDescription`, or the KafkaError instead of it."""
        if not names:
            return {}
        asked = self.admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=self._seconds
        )
        return {name: self.answer(future) for name, future in asked.items()}

    def about_group(self, name: str) -> Any:
        asked = self.admin.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=self._seconds
        )
        return self.answer(asked[name])

    def settings(self, topics: list[str]) -> dict[str, Mapping[str, str]]:
        asked = self.admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=self._seconds
        )
        answers = {resource.name: self.answer(future) for resource, future in asked.items()}
        return {
            name: {key: entry.value or "" for key, entry in found.items()}
            for name, found in answers.items()
            if not isinstance(found, KafkaError)
        }

    def committed(self, group: str) -> dict[tuple[str, int], int] | KafkaError:
        asked = self.admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=self._seconds
        )
        found = self.answer(asked[group])
        if isinstance(found, KafkaError):
            return found
        return {(one.topic, one.partition): one.offset for one in found.topic_partitions if one.offset >= 0}

    def offsets(self, partitions: Mapping[tuple[str, int], OffsetSpec]) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        asked = self.admin.list_offsets(
            {TopicPartition(*where): which for where, which in partitions.items()}, request_timeout=self._seconds
        )
        answers = {(where.topic, where.partition): self.answer(future) for where, future in asked.items()}
        return {where: found.offset for where, found in answers.items() if not isinstance(found, KafkaError)}

    def answer(self, future: Future[Any]) -> Any:
        """The result, or the KafkaError instead of it. After a question without an answer, the next ones wait less."""
        try:
            return future.result(self._seconds + 1)
        except KafkaException as error:
            found = error.args[0]
        except TimeoutError:
            found = KafkaError(KafkaError._TIMED_OUT)
        if found.code() == KafkaError._TIMED_OUT:
            self._seconds = min(self._seconds, _IMPATIENT_SECONDS)
        return found


def _topics(
    section: KafkaSection, metadata: ClusterMetadata, questions: _Questions
) -> Generator[Finding, None, dict[str, _Topic]]:
    """Look at topics, their leaders and our rights; returns the topics that can be read."""
    plain = [topic for topic in section.topics if not topic.startswith("^")]
    found = sorted(topic for topic in metadata.topics if section.matches(topic))
    for pattern in (one for one in section.subscriptions() if one.text.startswith("^")):
        if not any(pattern.matches(topic) for topic in found):
            yield advice(
                "topics",
                f"no topic matches {pattern.text} yet",
                "correct the pattern, give the user Describe and Read on the topics, or wait for the topic",
            )
    readable: dict[str, _Topic] = {}
    for name, about in questions.about_topics(list(dict.fromkeys([*plain, *found]))[:_MOST_TOPICS]).items():
        listed = metadata.topics.get(name)
        if isinstance(about, KafkaError) and about.code() in _NO_DESCRIPTION and listed and not listed.error:
            readable[name] = _Topic.listed(listed)  # the rights stay unknown
        elif problem := _problem(section, name, about):
            yield problem
            continue
        else:
            readable[name] = _Topic.described(about)
        if without := readable[name].without_leader:
            yield wrong("topics", f"topic {name}: partitions {without[:_SHOWN]} have no leader", "start their brokers")
    if readable:
        names = ", ".join(list(readable)[:_SHOWN])
        yield ok("topics", f"{len(readable)} topics can be read: {names}{' …' if len(readable) > _SHOWN else ''}")
    return readable


def _problem(section: KafkaSection, name: str, about: Any) -> Finding | None:
    user = section.sasl.username or section.sasl.client_id if section.sasl else "the user of the connector"
    if isinstance(about, KafkaError):
        if about.code() in _DENIED:
            return wrong("rights", f"topic {name}: access is denied", f"give {user} Describe and Read on the topic")
        if about.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return wrong("topics", f"topic {name} does not exist", "correct the name, or create the topic")
        return wrong("topics", f"topic {name}: {about.str()}", "see the brokers' log")
    if _lacks_read(about):
        return wrong("rights", f"topic {name}: the right Read is missing", f"give {user} Read on the topic")
    return None


def _lacks_read(about: Any) -> bool:
    """Whether the brokers say what we may do with a topic or group, and reading is not among it."""
    rights = about.authorized_operations
    return rights is not None and AclOperation.READ not in rights


def _settings(
    topics: Mapping[str, _Topic], brokers: int, questions: _Questions, asked: Examination
) -> Iterator[Finding]:
    settings = questions.settings(list(topics)) if topics else {}
    if topics and not settings:
        yield ok("topics", "the settings of the topics are not for us to see (DescribeConfigs)")
    for name, values in settings.items():
        topic = topics[name]
        least = int(values.get("min.insync.replicas") or 1)
        if topic.in_sync < least:
            yield wrong(
                "replication",
                f"topic {name}: {topic.in_sync} replicas in sync, and min.insync.replicas is {least}: nobody can write",
                "start the missing brokers, or lower min.insync.replicas",
            )
        elif brokers > 1 and topic.replicas == 1:
            yield advice("replication", f"topic {name}: one replica, lost with its broker", "raise its replicas to 3")
        yield from _retention(name, values)
        longest = int(values.get("max.message.bytes") or 0)
        if longest > ANSWER_BYTES:
            yield wrong(
                "message size",
                f"topic {name}: max.message.bytes is {longest}, and batches above {ANSWER_BYTES} cannot be read",
                f"lower max.message.bytes to {ANSWER_BYTES} or less",
            )
        elif asked.longest_payload is not None and longest > 2 * asked.longest_payload:
            yield advice(
                "message size",
                f"topic {name}: max.message.bytes is {longest}, and mapping.max_payload {asked.longest_payload}",
                "a longer payload becomes a dead letter: raise mapping.max_payload if there are such records",
            )


def _retention(name: str, values: Mapping[str, str]) -> Iterator[Finding]:
    policy, kept = values.get("cleanup.policy", ""), int(values.get("retention.ms") or -1) / 1000
    if policy == "compact":
        yield advice(
            "retention",
            f"topic {name} is compacted: of records with one key, only the last one is kept",
            "set cleanup.policy=delete for measurements",
        )
    elif 0 <= kept < _SHORT_RETENTION:
        yield advice(
            "retention",
            f"topic {name} keeps records for {readable_duration(kept)}: an outage of more loses them",
            "raise retention.ms to the longest outage, and more",
        )


def _group(section: KafkaSection, questions: _Questions) -> Generator[Finding, None, bool]:
    about = questions.about_group(section.group_id)
    user = section.sasl.username or section.sasl.client_id if section.sasl else "the user of the connector"
    group = section.group_id
    if isinstance(about, KafkaError):
        if about.code() in _DENIED:
            yield wrong("rights", f"group {group}: access is denied", f"give {user} Read on the group")
            return False
        if about.code() == KafkaError.GROUP_ID_NOT_FOUND:
            yield ok("group", f"group {group} is new")
            return True
        if about.code() in _NO_DESCRIPTION:
            yield ok("group", f"group {group}: the brokers do not describe groups ({about.str()})")
        else:
            yield advice("group", f"group {group}: {about.str()}", "see the brokers' log")
        return False
    if _lacks_read(about):
        yield wrong("rights", f"group {group}: the right Read is missing", f"give {user} Read on the group")
        return False
    yield from _members(section, about)
    return True


def _members(section: KafkaSection, about: Any) -> Iterator[Finding]:
    group, members = section.group_id, about.members
    others = sorted({one.client_id for one in members if one.client_id != section.client_id})
    if others:
        yield advice(
            "group",
            f"group {group} has members with another client_id ({', '.join(others[:_SHOWN])})",
            "if they are no replicas of this connector, they take partitions away: give it a group_id of its own",
        )
    kind = getattr(about.type, "name", "")
    if members and kind in ("CLASSIC", "CONSUMER") and kind.lower() != section.group_protocol:
        yield wrong(
            "group",
            f"group {group} runs with the {kind.lower()} protocol, and group_protocol is {section.group_protocol}",
            f"set group_protocol: {kind.lower()}, or stop all members first",
        )
    elif (
        members
        and section.group_protocol == "classic"
        and about.partition_assignor in (*_EAGER, "cooperative-sticky")
        and about.partition_assignor != section.assignor
    ):
        yield wrong(
            "group",
            f"group {group} assigns by {about.partition_assignor}, and assignor is {section.assignor}: we get no entry",
            f"set assignor: {about.partition_assignor}, or stop all members first",
        )
    if about.state in (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING):
        yield advice("group", f"group {group} is rebalancing", "ask again; if it stays so, see the members' logs")
    elif not others:
        yield ok("group", f"group {group}: {about.state.name.lower()}, {len(members)} members")


def _positions(section: KafkaSection, topics: Mapping[str, _Topic], questions: _Questions) -> Iterator[Finding]:
    """Look at the lag, and at records that have expired or are about to."""
    committed = questions.committed(section.group_id)
    if isinstance(committed, KafkaError):
        yield advice("positions", f"the positions are not for us to see: {committed.str()}", "give Read on the group")
        return
    ours = {where: at for where, at in committed.items() if where[0] in topics}
    if not ours:
        yield ok(
            "positions",
            f"the group has read nothing yet, and begins at auto_offset_reset ({section.auto_offset_reset})",
        )
        return
    first = questions.offsets({where: OffsetSpec.earliest() for where in ours})  # type: ignore[no-untyped-call]
    last = questions.offsets({where: OffsetSpec.latest() for where in ours})  # type: ignore[no-untyped-call]
    lost = {where: first[where] - at for where, at in ours.items() if first.get(where, 0) > at}
    for (topic, partition), count in list(lost.items())[:_SHOWN]:
        yield wrong(
            "retention",
            f"topic {topic}, partition {partition}: {count} records have expired before the group read them",
            "raise retention.ms; start the connector, or find out why it does not read",
        )
    beyond = {where: at - last[where] for where, at in ours.items() if last.get(where, at) < at}
    for (topic, partition), count in list(beyond.items())[:_SHOWN]:
        yield wrong(
            "positions",
            f"topic {topic}, partition {partition}: the group is {count} records past the end: the topic was made anew",
            "the connector reads the new topic from its first record; nothing is to be done while it runs",
        )
    behind = {where: at for where, at in ours.items() if where not in lost and last.get(where, 0) > at}
    yield from _in_danger(behind, topics, questions)
    if not lost and not beyond:
        yield ok("positions", f"lag {sum(last[where] - at for where, at in behind.items())} records")


def _in_danger(
    behind: Mapping[tuple[str, int], int], topics: Mapping[str, _Topic], questions: _Questions
) -> Iterator[Finding]:
    settings = questions.settings(sorted({topic for topic, _ in behind})) if behind and topics else {}
    now_ms = time.time() * 1000
    limits: dict[tuple[str, int], OffsetSpec] = {}
    for topic, partition in behind:
        values = settings.get(topic, {})
        kept_ms = int(values.get("retention.ms") or -1)
        if kept_ms >= 0 and "delete" in values.get("cleanup.policy", ""):
            limits[topic, partition] = OffsetSpec.for_timestamp(int(now_ms - _NEARLY * kept_ms))
    for (topic, partition), offset in questions.offsets(limits).items():
        if offset < 0 or offset > behind[topic, partition]:  # -1: all records are older
            yield wrong(
                "retention",
                f"topic {topic}, partition {partition}: the next record of the group is older than 80 % of the "
                "retention, and is lost soon",
                "raise retention.ms now; start the connector, or find out why it is slow",
            )
