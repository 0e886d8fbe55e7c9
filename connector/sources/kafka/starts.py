"""Finds the positions where reading begins: the group's position, if there is one and the log still holds it.

A position of another log (a topic that was made anew, or another cluster) is not valid: the new log is read from its
first record. If the group has no position, the ledger's position in the same log counts. Only a group that has not
begun to read the topic begins where the policy says: a partition that was added later is read from its first record.

The brokers are asked while librdkafka waits for the answer to an assignment. The questions are for all new partitions
at once: one or two requests to the group's coordinator, two about the identity of the topics, and one or two requests
to each partition's leader. If a start stays unknown, librdkafka begins at the group's position, and reports an invalid
position when it fetches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from connector.brokers.kafka_topics import topic_matcher
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.identity import UNKNOWN, LogIdentity, Position, TopicAsker, TopicFacts
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import partition_name, split_partition_name

Policy = Literal["earliest", "latest", "error"]
"""The setting `auto_offset_reset`: where a group without a position begins."""

_RETRY_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 0.1
_SECOND_LOOK_SECONDS: Final = 1.0
_NOWHERE: Final = Position(0)
UNKNOWN_OFFSET: Final = -1
"""The offset of a former position that this member does not know."""
_MOST_ASKED: Final = 100


@dataclass(frozen=True, slots=True)
class Start:
    """The start of reading in one partition."""

    offset: int | None
    """The first offset to read; None if it is unknown, or if the group has no position and the policy is `error`."""
    expected: int | None = None
    """The offset where reading should go on; None if the group has no position, or if the position is unknown."""
    no_position: bool = False
    """Whether the group has no position and the policy is `error`."""
    position: Position = _NOWHERE
    """The position at `offset`, with its log. If `offset` is unknown, only the log counts.

    The leader epoch is there only if the log has the offset before, too."""
    former: Position | None = None
    """The position in another log of the same name, which was read before; None if the log is the same.

    Its offset is `UNKNOWN_OFFSET` if only others have read the log before."""
    why: str = ""
    """The reason for a start without a position of the group, for people."""

    @property
    def lost(self) -> int:
        """Number of offsets from the expected one that are not in the log any more."""
        return 0 if self.offset is None or self.expected is None else max(0, self.offset - self.expected)

    @property
    def cut(self) -> bool:
        """Whether the log was cut before the expected offset, or the topic was created again."""
        return self.offset is not None and self.expected is not None and self.offset < self.expected


def start_of(
    expected: int | None, low: int | None, high: int | None, policy: Policy, *, refused: bool = False
) -> Start:
    """Returns the start of a partition.

    `low` is the first offset of the log and `high` the offset after its last record; None if unknown. `refused` says
    that the broker refused the expected position. If a log was cut, new records may have the offsets of the removed
    ones, so the whole log is read.
    """
    if expected is None:
        if policy == "error":
            return Start(None, no_position=True)
        return Start(low if policy == "earliest" else high)
    if refused:
        return Start(low, expected)
    if low is not None and (expected < low or (high is not None and expected > high)):
        return Start(low, expected)
    return Start(expected, expected)


@dataclass(frozen=True, slots=True)
class Topic:
    """What is known about a topic."""

    present: LogIdentity | None
    """The identity of its logs; None if the brokers gave no answer."""
    began: int | None
    """As `Position.began`."""
    begun: bool
    """Whether the group has begun to read the topic."""
    before: LogIdentity | None = None
    """The log that the topic had when the group began to read, if it is another one and no position is known."""


def topic_of(
    positions: Collection[Position], facts: TopicFacts | None, *, is_new: bool, before: LogIdentity | None = None
) -> Topic:
    """Returns what is known about a topic.

    `positions` has all known positions in the topic, also those of other members, and those of the ledger. `is_new`
    says that the topic did not exist when the group began to read, or had the log `before`.
    """
    present = facts.identity if facts else None
    if present and any(position.identity.differs(present) for position in positions):
        return Topic(present, 0, begun=True)
    if notes := [position.began for position in positions if position.began is not None]:
        return Topic(present, min(notes), begun=True)
    if positions:
        return Topic(present, None, begun=True)
    return Topic(present, 0 if is_new else facts.partitions if facts else None, begun=is_new, before=before)


def start_in(
    topic: Topic,
    number: int,
    group: Position | None,
    ledger: Position | None,
    log: tuple[int | None, int | None],
    policy: Policy,
    *,
    refused: bool = False,
) -> Start:
    """Returns the start of partition `number` of a topic.

    `group` is the group's position and `ledger` the one of this member's ledger; None if there is none. `log` is
    (`low`, `high`); these two, `policy` and `refused` are as in `start_of`.
    """
    low, high = log
    if group and ledger and topic.present and group.identity.differs(topic.present) and _same(ledger, topic.present):
        group = None  # committed late, by a member that had not noticed that the log is another one
    known = group or ledger
    if known and topic.present and known.identity.differs(topic.present):
        if ledger and _same(ledger, known.identity) and ledger.offset > known.offset:
            known = ledger  # the last records were settled, and not committed any more
        return replace(_at(start_of(0, low, high, policy), topic.present, topic), former=known)
    if group:
        start = start_of(group.offset, low, high, policy, refused=refused)
        before = not refused and start.offset == group.offset and low is not None and low < group.offset
        epoch = group.epoch if before else None
        return _at(start, topic.present or group.identity, topic, epoch)
    if ledger and topic.present is None:
        return _at(Start(None), ledger.identity, topic)  # whether the position is in this log cannot be told yet
    if ledger and topic.present and _same(ledger, topic.present):
        start = _at(start_of(ledger.offset, low, high, policy, refused=refused), topic.present, topic)
        return replace(start, why="the group has forgotten its position, and the ledger has one")
    if topic.before is not None:
        former = Position(UNKNOWN_OFFSET, topic.before)
        return replace(_at(start_of(0, low, high, policy), topic.present or UNKNOWN, topic), former=former)
    if topic.began is not None and number >= topic.began:
        start, why = start_of(0, low, high, policy), "the partition or the topic is new"
    elif refused or (topic.begun and topic.began is None and policy == "latest"):
        start, why = Start(low), "the group has begun to read the topic"
    else:
        start, why = start_of(None, low, high, policy), f"auto_offset_reset is {policy}"
    return replace(_at(start, topic.present or UNKNOWN, topic), why=why)


def _same(position: Position, present: LogIdentity) -> bool:
    """Whether the position is certainly in this log."""
    return bool(present.log) and position.identity.log == present.log


def _at(start: Start, identity: LogIdentity, topic: Topic, epoch: int | None = None) -> Start:
    return replace(start, position=Position(start.offset or 0, identity, topic.began, epoch))


class TopicsAtStart:
    """The topics that existed when the group began to read, by this member's ledger, each with its log.

    Any other topic is a new one, and so is a topic with another log: it was deleted and made anew.
    """

    def __init__(self, section: KafkaSection, file: SourceFile) -> None:
        """What the ledger knows of another group is forgotten. Raises sqlite3.Error."""
        self._section = section
        self._file = file
        self._entries: set[str] = set()
        """The topics and patterns of the configuration that the group has begun to read."""
        self._topics: dict[str, str] = {}
        """Topic → the name of its log, as `LogIdentity.log`; empty while it is unknown."""
        self.unknown: list[str] = []
        """Topics whose logs are unknown, at most 100 of them."""
        self._noted = False
        text = file.remembered("topics_at_start")
        kept = json.loads(text) if isinstance(text, str) else {}
        if kept.get("group") == section.group_id:
            self._entries, self._topics = set(kept["entries"]), dict(kept["topics"])
            self._find_unknown()
        else:
            file.ledger.forget_positions()
            self._keep()

    def note(self, topics: Collection[str]) -> None:
        """Note the topics of the cluster; only the first call has an effect. Raises sqlite3.Error."""
        if self._noted:
            return
        if added := set(self._section.topics) - self._entries:
            matches = topic_matcher(sorted(added)).fullmatch
            self._topics = {topic: "" for topic in topics if matches(topic)} | self._topics
            self._entries |= added
            self._keep()
        self._noted = True

    def learn(self, facts: Mapping[str, TopicFacts]) -> None:
        """Note the logs of topics whose logs were unknown. Raises sqlite3.Error."""
        found = {topic: facts[topic].identity.log for topic, log in self._topics.items() if not log and topic in facts}
        if any(found.values()):
            self._topics |= found
            self._keep()

    def is_new(self, topic: str, present: LogIdentity | None) -> bool:
        """Whether the log did not exist when the group began to read; `present` is its identity, None if unknown."""
        if not self._entries:
            return False
        if topic in self._topics:
            known = self._topics[topic]
            return bool(known and present and present.log and present.log != known)
        return topic_matcher(sorted(self._entries)).fullmatch(topic) is not None

    def before(self, topic: str, present: LogIdentity | None) -> LogIdentity | None:
        """The log that the topic had when the group began to read, if the present one is certainly another log."""
        known = self._topics.get(topic, "")
        if present is None or known == present.cluster:  # brokers that had no topic IDs then
            return None
        former = LogIdentity(known)
        return former if former.differs(LogIdentity(present.topic_id)) else None

    def _keep(self) -> None:
        kept = {"group": self._section.group_id, "entries": sorted(self._entries), "topics": self._topics}
        self._file.remember("topics_at_start", json.dumps(kept))
        self._find_unknown()

    def _find_unknown(self) -> None:
        self.unknown = list(islice((topic for topic, log in self._topics.items() if not log), _MOST_ASKED))


class StartFinder:
    """Asks the cluster where partitions begin."""

    def __init__(
        self,
        consumer: Consumer,
        policy: Policy,
        seconds: float,
        asker: TopicAsker,
        ledger: Mapping[str, Position],
        at_start: TopicsAtStart,
    ) -> None:
        """`seconds` limits the time of one call of `find`, with all its questions, roughly.

        `ledger` has the positions that the ledger keeps, by partition. `is_new` says whether a topic is new, or
        has another log than at the start.
        """
        self._consumer = consumer
        self._policy = policy
        self._seconds = seconds
        self._asker = asker
        self._ledger = ledger
        self._at_start = at_start
        self.trouble: str | None = None
        """The reason of the last failed question, in the last call of `find`; None if no question failed."""

    def find(
        self,
        partitions: Collection[TopicPartition],
        taken: Mapping[str, Position] | None = None,
        refused: Mapping[str, int | None] | None = None,
    ) -> dict[str, Start]:
        """Partition → its start. Waits for the network; raises nothing.

        For partitions that were read before, `taken` has the offset where reading goes on; the group's position does
        not matter for them. `refused` has positions that the broker refused; None stands for the group's position.
        """
        self.trouble = None
        taken, refused = taken or {}, refused or {}
        until = time.monotonic() + self._seconds
        names = {_name(partition): partition for partition in partitions}
        question = self._asker.ask({partition.topic for partition in partitions})
        positions = self._committed([p for n, p in names.items() if n not in taken], until)
        positions |= {name: taken[name] for name in names if name in taken}
        low = self._offsets(names.values(), OFFSET_BEGINNING, until)
        high = self._offsets(names.values(), OFFSET_END, until)
        beyond = [
            names[name]
            for name, position in positions.items()
            if position is not None and name in high and position.offset > high[name]
        ]
        if beyond:  # a new leader may not know the end of its log at once
            time.sleep(min(_SECOND_LOOK_SECONDS, self._seconds / 4))
            high |= self._offsets(beyond, OFFSET_END, time.monotonic() + self._seconds / 4)
        left = max(_LEAST_SECONDS, until - time.monotonic())
        needed = any(
            at is None and (name in self._ledger or self._policy != "earliest") for name, at in positions.items()
        )
        facts = question.answers(left if needed else min(left, self._asker.patience)) if question else {}
        topics = self._topics(positions, facts, until)
        starts = dict.fromkeys(names, Start(None))
        for name, group in positions.items():
            at = names[name]
            ledger, log = self._ledger.get(name), (low.get(name), high.get(name))
            is_refused = name in refused and (group is None or refused[name] in (None, group.offset))
            starts[name] = start_in(
                topics[at.topic], at.partition, group, ledger, log, self._policy, refused=is_refused
            )
        return starts

    def _topics(
        self, positions: Mapping[str, Position | None], facts: Mapping[str, TopicFacts], until: float
    ) -> dict[str, Topic]:
        """Topic → what is known about it. Where a position is missing, the group is asked for the whole topic."""
        of_topic: dict[str, list[Position]] = {}
        whole: list[TopicPartition] = []
        for name, position in positions.items():
            topic = split_partition_name(name)[0]
            found = of_topic.setdefault(topic, [])
            if position is not None:
                found.append(position)
            elif topic in facts:
                whole += [TopicPartition(topic, number) for number in range(facts[topic].partitions)]
        whole = [
            TopicPartition(*place) for place in {(at.topic, at.partition) for at in whole if _name(at) not in positions}
        ]
        for name, position in self._committed(whole, until).items():
            if position is not None:
                of_topic[split_partition_name(name)[0]].append(position)
        for name, position in self._ledger.items():
            topic = split_partition_name(name)[0]
            if topic in of_topic:
                of_topic[topic].append(position)
        return {
            topic: topic_of(
                found,
                facts.get(topic),
                is_new=self._at_start.is_new(topic, present),
                before=self._at_start.before(topic, present),
            )
            for topic, found in of_topic.items()
            for present in (facts[topic].identity if topic in facts else None,)
        }

    def _committed(self, partitions: list[TopicPartition], until: float) -> dict[str, Position | None]:
        """Partition → the group's position, or None if the group has no position; missing if there was no answer."""
        found: dict[str, Position | None] = {}
        while partitions:
            try:
                answers = self._consumer.committed(partitions, timeout=max(_LEAST_SECONDS, until - time.monotonic()))
            except KafkaException as error:
                self.trouble = error.args[0].str()
            else:
                for answer in answers:
                    if answer.error is None:
                        found[_name(answer)] = Position.committed(answer) if answer.offset >= 0 else None
                    else:
                        self.trouble = f"{_name(answer)}: {answer.error.str()}"
                partitions = [partition for partition in partitions if _name(partition) not in found]
            if not partitions or time.monotonic() + _RETRY_SECONDS >= until:
                break
            time.sleep(_RETRY_SECONDS)
        return found

    def _offsets(self, partitions: Collection[TopicPartition], which: int, until: float) -> dict[str, int]:
        """Partition → an offset: the first one with `which` -2, the one after the last record with -1 (KIP-79)."""
        wanted = {_name(found): TopicPartition(found.topic, found.partition, which) for found in partitions}
        offsets: dict[str, int] = {}
        while wanted:
            left = max(_LEAST_SECONDS, until - time.monotonic())
            try:
                answers = self._consumer.offsets_for_times(list(wanted.values()), timeout=left)
            except KafkaException as error:
                self.trouble = error.args[0].str()
                answers = []
            for answer in answers:
                if answer.error is None and answer.offset >= 0:
                    offsets[_name(answer)] = answer.offset
                    wanted.pop(_name(answer), None)
                elif answer.error is not None:
                    self.trouble = f"{_name(answer)}: {answer.error.str()}"
            if not wanted or time.monotonic() + _RETRY_SECONDS >= until:
                break
            time.sleep(_RETRY_SECONDS)  # a new leader does not answer at first
        return offsets


def _name(partition: TopicPartition) -> str:
    return partition_name(partition.topic, partition.partition)
