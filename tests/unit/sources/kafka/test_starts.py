"""Where reading of a partition begins, whatever the group and the log say of it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.ledger.account import LogPosition
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.identity import UNKNOWN, LogIdentity, Position, TopicAsker, TopicFacts, write_note
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import (
    UNKNOWN_OFFSET,
    Policy,
    Start,
    StartFinder,
    TopicsAtStart,
    start_in,
    start_of,
    topic_of,
)
from tests.unit.sources.kafka.scripted_admin import ScriptedAdmin, topic_id

OFFSETS = st.integers(0, 50)
POLICIES = st.sampled_from(["earliest", "latest", "error"])


@given(OFFSETS, OFFSETS, OFFSETS, POLICIES, st.booleans())
def test_nothing_is_left_out_in_silence(low: int, size: int, expected: int, policy: Policy, refused: bool) -> None:
    high = low + size
    start = start_of(expected, low, high, policy, refused=refused)
    assert start.offset is not None
    assert low <= start.offset <= high
    if start.offset > expected:
        assert start.lost == low - expected, "all of what is left out is a loss"
    elif start.offset < expected:
        assert start.cut
        assert start.offset == low
    else:
        assert (start.lost, start.cut) == (0, False)


@given(st.none() | OFFSETS, OFFSETS, POLICIES)
def test_a_position_that_may_be_valid_is_kept(low: int | None, expected: int, policy: Policy) -> None:
    """While the log's bounds are not known, the broker will say whether it is."""
    start = start_of(expected, low, None, policy)
    assert start.offset == (low if low is not None and low > expected else expected)


@pytest.mark.parametrize(("policy", "offset"), [("earliest", 3), ("latest", 9), ("error", None)])
def test_a_group_without_a_position_begins_where_the_policy_says(policy: Policy, offset: int | None) -> None:
    start = start_of(None, 3, 9, policy)
    assert start.offset == offset
    assert start.no_position == (policy == "error")
    assert (start.lost, start.cut) == (0, False)


def test_what_is_not_known_is_not_guessed() -> None:
    assert start_of(None, None, None, "earliest").offset is None
    assert start_of(None, 3, None, "latest").offset is None
    assert start_of(5, None, None, "earliest", refused=True).offset is None


HERE = LogIdentity(topic_id(1), "c1")
"""What the brokers say of topic t."""
ANEW = LogIdentity(topic_id(2), "c1")


def at(offset: int, identity: LogIdentity = HERE, began: int | None = None, epoch: int | None = None) -> Position:
    return Position(offset, identity, began, epoch)


# -- a topic that is made anew, partitions that are added, positions that expire: nothing is left out in silence ------


class Model:
    """A topic whose partitions are written, made anew and added while a group reads it, sometimes.

    What the group keeps may go away. The model knows which record was never read.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.identity = 1
        self.logs = [[0, 0], [0, 0]]
        """The first offset and the end of each partition."""
        self.wanted: list[int | None] = [None, None]
        """The first offset of each partition that has to be read or reported; None before the group has begun."""
        self.done = [0, 0]
        """The offset up to which each partition was read or reported, by any member."""
        self.group: dict[int, Position] = {}
        self.ledgers: list[dict[int, Position]] = [{}, {}]
        """What each of two members keeps."""
        self.begun = False

    def write(self, number: int, records: int) -> None:
        self.logs[number % len(self.logs)][1] += records

    def expire(self, number: int, records: int) -> None:
        log = self.logs[number % len(self.logs)]
        log[0] = min(log[1], log[0] + records)

    def anew(self) -> None:
        self.identity += 1
        self.logs = [[0, 0] for _ in self.logs]
        self.wanted = [0 if self.begun else None] * len(self.logs)
        self.done = [0] * len(self.logs)
        self.group = {}  # the brokers delete the positions together with the topic

    def anew_while_a_member_commits(self) -> None:
        kept = dict(self.group)
        self.anew()
        self.group = kept

    def add_partition(self) -> None:
        self.logs.append([0, 0])
        self.wanted.append(0 if self.begun else None)
        self.done.append(0)

    def positions_expire(self) -> None:
        self.group = {}

    def read(self, member: int, records: int) -> None:
        """A member begins, and reads so many records of each partition."""
        mine = self.ledgers[member]
        if not self.group and not mine:  # nobody knows any more that the group has begun
            self.wanted = [None] * len(self.logs)
        present = LogIdentity(topic_id(self.identity), "c1")
        positions = [*self.group.values(), *mine.values()]
        topic = topic_of(positions, TopicFacts(present, len(self.logs)), is_new=False)
        for number, (low, high) in enumerate(self.logs):
            group, ledger, wanted = self.group.get(number), mine.get(number), self.wanted[number]
            start = start_in(topic, number, group, ledger, (low, high), self.policy)
            if start.no_position:
                assert wanted is None, "what the group has begun has a position"
                continue
            assert start.offset is not None
            assert low <= start.offset <= high
            if wanted is not None:
                left_out = start.offset - max(wanted, self.done[number])
                assert left_out <= start.lost, "what is left out is reported"
            read_to = min(high, start.offset + records)
            self.wanted[number] = self.done[number] = max(read_to, self.done[number])
            self.group[number] = mine[number] = start.position._replace(offset=read_to)
        self.begun = self.begun or bool(self.group)


WRITES = st.tuples(st.sampled_from(["write", "write", "write", "expire"]), st.integers(0, 3), st.integers(1, 9))
READS = st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 9))
CHANGES = st.tuples(st.sampled_from(["anew", "anew_while_a_member_commits", "add_partition", "positions_expire"]))
ROUNDS = st.tuples(WRITES, READS, CHANGES | READS, WRITES)


@settings(max_examples=200)
@given(POLICIES, st.lists(ROUNDS, min_size=1, max_size=6))
def test_nothing_is_left_out_in_silence_whatever_becomes_of_the_topic(
    policy: Policy, rounds: list[tuple[tuple[str, *tuple[int, ...]], ...]]
) -> None:
    model = Model(policy)
    for name, *numbers in chain(*rounds):
        getattr(model, name)(*numbers)
    model.read(0, 100)


@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
@pytest.mark.parametrize("kept_by_group", [True, False])
def test_a_topic_that_was_made_anew_is_read_from_its_first_record(policy: Policy, kept_by_group: bool) -> None:
    old = at(10, HERE, 2)
    topic = topic_of([old], TopicFacts(ANEW, 2), is_new=False)
    start = start_in(topic, 0, old if kept_by_group else None, None if kept_by_group else old, (0, 30), policy)
    assert (start.offset, start.former, start.lost, start.cut) == (0, old, 0, False)
    assert start.position == at(0, ANEW, 0)


def test_the_old_log_was_read_as_far_as_the_ledger_says() -> None:
    group, ledger = at(10), at(13)
    start = start_in(topic_of([group, ledger], TopicFacts(ANEW, 1), is_new=False), 0, group, ledger, (0, 30), "latest")
    assert start.former == ledger


def test_a_position_of_the_old_log_that_is_committed_late_does_not_count() -> None:
    """This member has begun to read the new log, and knows how far."""
    old, new = at(10, HERE), at(20, ANEW)
    start = start_in(topic_of([old, new], TopicFacts(ANEW, 2), is_new=False), 0, old, new, (0, 30), "latest")
    assert (start.offset, start.expected, start.former) == (20, 20, None)


def test_what_had_expired_of_the_new_log_is_a_loss() -> None:
    start = start_in(topic_of([at(10)], TopicFacts(ANEW, 1), is_new=False), 0, at(10), None, (4, 30), "latest")
    assert (start.offset, start.lost, start.former) == (4, 4, at(10))


def test_another_cluster_is_noticed_without_topic_ids() -> None:
    old, new = LogIdentity("", "c1"), LogIdentity("", "c2")
    assert start_in(
        topic_of([at(5, old)], TopicFacts(new, 1), is_new=False), 0, at(5, old), None, (0, 9), "latest"
    ) == (Start(0, 0, position=at(0, new, 0), former=at(5, old)))


@pytest.mark.parametrize("unknown", [None, UNKNOWN, LogIdentity("", "c1")])
def test_what_is_not_known_of_a_log_does_not_make_it_another_one(unknown: LogIdentity | None) -> None:
    facts = TopicFacts(unknown, 1) if unknown is not None else None
    start = start_in(topic_of([at(5)], facts, is_new=False), 0, at(5), None, (0, 9), "latest")
    assert (start.offset, start.former) == (5, None)


def test_a_position_of_the_ledger_counts_only_in_a_log_that_is_certainly_the_same() -> None:
    same = start_in(topic_of([at(5)], TopicFacts(HERE, 1), is_new=False), 0, None, at(5), (2, 9), "latest")
    assert (same.offset, same.lost) == (5, 0)
    nameless = LogIdentity()
    (kept, facts) = (at(5, nameless), TopicFacts(nameless, 1))
    assert start_in(topic_of([kept], facts, is_new=False), 0, None, kept, (2, 9), "latest").offset == 2
    assert start_in(topic_of([kept], None, is_new=False), 0, None, kept, (2, 9), "latest").offset is None, "ask again"


@pytest.mark.parametrize(
    ("policy", "began", "number", "offset"),
    [
        ("latest", 2, 2, 3),  # added later
        ("latest", 2, 1, 9),  # it was there when the group began, and nobody has begun it
        ("latest", None, 1, 3),  # another program has begun: nobody knows what it has read
        ("error", 2, 2, 3),
        ("error", 2, 1, None),
        ("error", None, 1, None),
        ("earliest", 2, 1, 3),
    ],
)
def test_a_partition_without_a_position_in_a_topic_that_the_group_reads(
    policy: Policy, began: int | None, number: int, offset: int | None
) -> None:
    topic = topic_of([at(5, began=began)], TopicFacts(HERE, 3), is_new=False)
    assert start_in(topic, number, None, None, (3, 9), policy).offset == offset


@pytest.mark.parametrize(("is_new", "offset"), [(True, 3), (False, 9)])
def test_a_topic_that_appears_later_is_read_from_its_first_record(is_new: bool, offset: int) -> None:
    topic = topic_of([], TopicFacts(HERE, 3), is_new=is_new)
    start = start_in(topic, 0, None, None, (3, 9), "latest")
    assert (start.offset, start.position.began) == (offset, 0 if is_new else 3)


def test_a_topic_that_only_others_have_read_is_known_to_be_another_one() -> None:
    """The group's positions go with a topic that is deleted: only what was learned at the start tells its log."""
    topic = topic_of([], TopicFacts(ANEW, 1), is_new=True, before=HERE)
    start = start_in(topic, 0, None, None, (0, 9), "latest")
    assert (start.offset, start.position.identity, start.former) == (0, ANEW, Position(UNKNOWN_OFFSET, HERE))
    first = start_in(
        topic_of([at(4, ANEW)], TopicFacts(ANEW, 1), is_new=True, before=HERE), 0, at(4, ANEW), None, (0, 9), "latest"
    )
    assert (first.offset, first.former) == (4, None), "a member has begun the new log, and has said it"


def test_a_partition_that_was_being_read_does_not_begin_at_the_end() -> None:
    """Its position was refused, and the group has forgotten it since."""
    topic = topic_of([], TopicFacts(HERE, 3), is_new=False)
    assert start_in(topic, 0, None, None, (3, 9), "latest", refused=True).offset == 3


def section(topics: list[str], group: str = "g") -> KafkaSection:
    text = {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": topics, "group_id": group}
    return KafkaSection.model_validate(text | {"security": "plaintext"})


def test_the_log_that_a_topic_had_at_the_start(tmp_path: Path) -> None:
    topics = TopicsAtStart(section(["a", "b"]), SourceFile.open(tmp_path / "kafka.sqlite"))
    topics.note(["a", "b"])
    assert topics.before("a", ANEW) is None, "its log is unknown"
    old = LogIdentity("A" * 22, "c")
    topics.learn({"a": TopicFacts(old, 1), "b": TopicFacts(LogIdentity("", "c"), 1)})
    new = LogIdentity("B" * 22, "c")
    assert topics.before("a", new) == LogIdentity(old.topic_id)
    assert (topics.before("a", old), topics.before("a", None), topics.before("b", new)) == (None, None, None)


def test_the_topics_that_were_there_at_the_start_are_kept_for_the_group(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "kafka.sqlite")
    first = TopicsAtStart(section(["a", "^b.*"]), file)
    assert not first.is_new("b2", None), "nothing is known yet"
    first.note(["b1", "c"])
    assert [topic for topic in ("a", "b1", "b2", "c") if first.is_new(topic, None)] == ["a", "b2"]
    file.ledger.begin([LogPosition("a[0]", "x", "c1", 7)])
    second = TopicsAtStart(section(["a", "^b.*", "c"]), file)
    assert second.is_new("b2", None), "before anything is asked"
    second.note(["a", "b1", "b2", "c"])
    assert [topic for topic in ("a", "b1", "b2", "c") if second.is_new(topic, None)] == ["a", "b2"], (
        "c is a new setting"
    )
    assert file.ledger.positions() == {"a[0]": LogPosition("a[0]", "x", "c1", 7)}
    other = TopicsAtStart(section(["a", "^b.*"], "another group"), file)
    other.note(["a", "b1", "b2"])
    assert not any(other.is_new(topic, None) for topic in ("a", "b1", "b2"))
    assert file.ledger.positions() == {}, "they were positions of the group before"
    file.close()


def test_a_topic_with_another_log_than_at_the_start_is_new(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "kafka.sqlite")
    first = TopicsAtStart(section(["a", "b"]), file)
    first.note(["a", "b"])
    assert first.unknown == ["a", "b"]
    first.learn({"a": TopicFacts(HERE, 1), "other": TopicFacts(HERE, 1)})
    assert first.unknown == ["b"]
    first.learn({"a": TopicFacts(ANEW, 1)})
    again = TopicsAtStart(section(["a", "b"]), file)
    for kept in (first, again):
        assert kept.is_new("a", ANEW)
        assert not kept.is_new("a", HERE)
        assert not kept.is_new("a", None), "perhaps it is the same"
        assert not kept.is_new("b", ANEW), "nobody knows which log it was"
    file.close()


# -- what is asked --------------------------------------------------------------------------------


class Cluster:
    """Answers as a consumer does, of topic t; the first answers fail or are incomplete if told so."""

    def __init__(self, committed: dict[int, int], bounds: dict[int, tuple[int, int]]) -> None:
        self.positions = committed
        self.bounds = bounds
        self.failures: list[str] = []
        self.silent: list[int] = []
        """Partitions whose leader does not answer the next question."""
        self.asked: list[str] = []
        self.note = ""

    def _maybe_fail(self, call: str) -> None:
        self.asked.append(call)
        if call in self.failures:
            self.failures.remove(call)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        self._maybe_fail("committed")
        return [
            TopicPartition("t", p.partition, self.positions.get(p.partition, OFFSET_INVALID), self.note)
            for p in partitions
        ]

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        which = "low" if partitions[0].offset == OFFSET_BEGINNING else "high"
        self._maybe_fail(which)
        silent, self.silent = self.silent, []
        return [
            TopicPartition(
                "t", p.partition, OFFSET_INVALID if p.partition in silent else self.bounds[p.partition][which == "high"]
            )
            for p in partitions
        ]


def find(
    cluster: Cluster,
    policy: Policy = "earliest",
    seconds: float = 2.0,
    ledger: dict[str, Position] | None = None,
    partitions: int | None = None,
    **known: Any,
) -> dict[str, Start]:
    """The starts, without what is known about the logs."""
    admin = ScriptedAdmin(partitions=partitions or len(cluster.bounds))
    asker = TopicAsker(section(["t"]), admin.make)
    at_start = SimpleNamespace(is_new=lambda *_: False, before=lambda *_: None)
    finder = StartFinder(cluster, policy, seconds, asker, ledger or {}, at_start)  # type: ignore[arg-type]
    found = finder.find([TopicPartition("t", number) for number in cluster.bounds], **known)
    return {name: Start(start.offset, start.expected, start.no_position) for name, start in found.items()}


def test_all_partitions_are_asked_for_together() -> None:
    cluster = Cluster({0: 5, 1: 2}, dict.fromkeys(range(100), (3, 9)))
    starts = find(cluster)
    assert starts["t[0]"] == Start(5, 5)
    assert starts["t[1]"] == Start(3, 2)
    assert starts["t[2]"] == Start(3)
    assert len(starts) == 100
    assert cluster.asked == ["committed", "low", "high"]


def test_questions_are_asked_again_and_only_what_was_not_answered() -> None:
    cluster = Cluster({0: 5}, {0: (3, 9), 1: (0, 4)})
    cluster.failures = ["committed", "high"]
    cluster.silent = [1]
    assert find(cluster) == {"t[0]": Start(5, 5), "t[1]": Start(0)}
    assert cluster.asked == ["committed", "committed", "low", "low", "high", "high"]


def test_a_group_that_does_not_answer_leaves_the_start_open() -> None:
    cluster = Cluster({0: 5}, {0: (3, 9)})
    cluster.failures = ["committed"] * 100
    assert find(cluster, "latest", 0.1) == {"t[0]": Start(None)}


def test_a_position_that_could_not_be_read_is_not_taken_for_none() -> None:
    cluster = Cluster({}, {0: (3, 9)})
    error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    denied = SimpleNamespace(topic="t", partition=0, offset=OFFSET_INVALID, error=error)
    cluster.committed = lambda partitions, timeout: [denied]  # type: ignore[method-assign]
    assert find(cluster, "latest", 0.1) == {"t[0]": Start(None)}


def test_where_reading_had_got_to_counts_more_than_what_the_group_knows() -> None:
    cluster = Cluster({0: 2, 1: 2}, {0: (3, 9), 1: (0, 9)})
    assert find(cluster, taken={"t[0]": at(7)}) == {"t[0]": Start(7, 7), "t[1]": Start(2, 2)}


def test_a_refused_position_begins_with_the_first_record_while_it_is_the_same() -> None:
    cluster = Cluster({0: 5, 1: 5, 2: 5}, {0: (0, 9), 1: (0, 9), 2: (0, 9)})
    starts = find(cluster, refused={"t[0]": 5, "t[1]": 4, "t[2]": None})
    assert starts == {"t[0]": Start(0, 5), "t[1]": Start(5, 5), "t[2]": Start(0, 5)}
    assert starts["t[0]"].cut


def test_an_end_before_the_position_is_looked_at_twice() -> None:
    """A leader that has just taken over may not know its end yet."""
    cluster = Cluster({0: 7}, {0: (0, 4)})
    assert find(cluster, seconds=0.2)["t[0]"] == Start(0, 7)
    assert cluster.asked == ["committed", "low", "high", "high"]


def test_where_a_position_is_missing_the_group_is_asked_for_the_whole_topic() -> None:
    """Other members have partition 3 and 4: the group has begun to read the topic, with five partitions."""
    cluster = Cluster({3: 5, 4: 5}, {1: (3, 9), 6: (3, 9)})
    cluster.note = write_note(HERE, 5)
    assert find(cluster, "latest", partitions=7) == {"t[1]": Start(9), "t[6]": Start(3, 0)}
    assert cluster.asked == ["committed", "low", "high", "committed"]


def test_the_ledger_helps_where_the_group_has_forgotten() -> None:
    cluster = Cluster({}, {0: (3, 9), 1: (3, 9)})
    assert find(cluster, "latest", ledger={"t[0]": at(7)}) == {"t[0]": Start(7, 7), "t[1]": Start(3)}
