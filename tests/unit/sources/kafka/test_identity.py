"""The identity of logs: the note with a position, leader epochs, and what the brokers are asked."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connector.sources.kafka.identity import (
    UNKNOWN,
    LogIdentity,
    LogRead,
    Position,
    TopicAsker,
    TopicFacts,
    read_note,
    write_note,
)
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import OwnedPartition
from tests.unit.sources.kafka.scripted_admin import ScriptedAdmin, topic_id

IDENTITIES = st.builds(LogIdentity, st.sampled_from(["", "a", "b"]), st.sampled_from(["", "c", "d"]))
SETTINGS = {"type": "kafka", "bootstrap_servers": "b:1", "topics": ["t"], "group_id": "g", "security": "plaintext"}


def asker(admin: ScriptedAdmin) -> TopicAsker:
    return TopicAsker(KafkaSection.model_validate(SETTINGS), admin.make)


def facts(asker: TopicAsker) -> dict[str, TopicFacts]:
    question = asker.ask({"t"})
    assert question is not None
    return question.answers(0.01)


@given(st.text(max_size=100), st.text(max_size=100), st.none() | st.integers(0, 10**6))
def test_a_note_is_read_as_it_was_written(topic: str, cluster: str, began: int | None) -> None:
    text = write_note(LogIdentity(topic, cluster), began)
    assert read_note(text) == (LogIdentity(topic, cluster), began)
    assert len(text.encode()) < 4096, "Kafka takes no more"


@pytest.mark.parametrize(
    "text", [None, "", "cooperative", "7", "[]", "{}", "[" * 4000, '{"topic": 1, "cluster": "c", "began": 1}', "\x00"]
)
def test_a_note_of_another_program_says_nothing(text: str | None) -> None:
    assert read_note(text) == (UNKNOWN, None)


@given(IDENTITIES, IDENTITIES)
def test_logs_differ_only_where_both_are_known(one: LogIdentity, other: LogIdentity) -> None:
    assert one.differs(other) == other.differs(one)
    assert not one.differs(one)
    assert not one.differs(UNKNOWN)
    if one.topic_id and other.topic_id:
        assert one.differs(other) == (one.topic_id != other.topic_id), "a cluster may be named anew"


def message(offset: int, epoch: int | None) -> Message:
    known = {} if epoch is None else {"leader_epoch": epoch}
    found = Message(topic="t", partition=0, offset=offset, **known)
    assert found.leader_epoch() == epoch
    return found


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=30), st.data())
def test_a_position_has_the_leader_epoch_of_the_record_before(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Each record is given by the steps of its epoch and its offset."""
    log = LogRead(Position(5, LogIdentity("x", "c"), 3, 0))
    epochs = {4: 0}
    offset, epoch = 4, 0
    batch: list[Message] = []
    for up, step in steps:
        epoch, offset = epoch + up, offset + step
        epochs[offset] = epoch
        batch.append(message(offset, epoch))
        if data.draw(st.booleans()):
            log.read(batch)
            batch = []
    if batch:
        log.read(batch)
    for at in data.draw(st.lists(st.sampled_from(sorted(epochs)), max_size=5).map(sorted)):
        position = log.position(at + 1)
        assert position == Position(at + 1, LogIdentity("x", "c"), 3, epochs[at])
        commit = log.at("t", 0, at + 1)
        assert (commit.offset, commit.leader_epoch) == (at + 1, epochs[at])
        assert Position.committed(commit) == position


def test_a_position_after_a_hole_has_no_leader_epoch() -> None:
    """The marker of a transaction may be of a later epoch: its position with the older epoch would look cut."""
    log = LogRead(Position(5, epoch=1))
    log.read([message(5, 2), message(6, 2)])
    log.stepped_over(9)
    assert log.position(7).epoch == 2
    assert log.position(9).epoch is None
    log.read([message(9, 2)])
    assert log.position(10).epoch == 2


def test_a_hole_belongs_to_the_log_of_its_partition() -> None:
    hole = OwnedPartition("t", 0, 5, (), "log").step_over(9)
    assert hole is not None
    assert (hole.first, hole.next, hole.log) == (5, 9, "log")


def test_a_position_without_a_known_epoch_has_none() -> None:
    assert LogRead(Position(5)).at("t", 0, 5).leader_epoch is None


@pytest.mark.parametrize(
    ("offset", "epoch", "continues"), [(4, 1, True), (4, 2, False), (4, 0, False), (4, None, True), (3, 2, True)]
)
def test_the_record_before_the_start_tells_whether_the_log_was_cut(
    offset: int, epoch: int | None, continues: bool
) -> None:
    assert LogRead(Position(5, epoch=1)).continues(message(offset, epoch)) == continues
    assert LogRead(Position(5)).continues(message(offset, epoch)), "nothing is known"


def test_topics_and_cluster_are_asked_for_together() -> None:
    admin = ScriptedAdmin("c9", partitions=4)
    admin.ids["t"] = 2**63 - 1
    assert facts(asker(admin)) == {"t": TopicFacts(LogIdentity(topic_id(2**63 - 1), "c9"), 4)}
    assert "/" not in topic_id(2**63 - 1)


def test_a_long_cluster_id_is_cut_wherever_it_is_compared() -> None:
    long = asker(ScriptedAdmin("x" * 5000))
    assert facts(long)["t"].identity == LogIdentity(topic_id(1), "x" * 100)


def test_what_cannot_be_known_is_said_once() -> None:
    admin = ScriptedAdmin("c9")
    admin.ids["t"] = 0
    old = asker(admin)
    with capture_logs() as said:
        assert facts(old) == facts(old) == {"t": TopicFacts(LogIdentity("", "c9"), 1)}
    (event,) = [event for event in said if event["event"] == "kafka_identity_unknown"]
    assert "Kafka gives them from version 2.8 on" in event["reason"]


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._TIMED_OUT])
def test_without_an_answer_nothing_is_known_and_rights_are_named(code: int) -> None:
    admin = ScriptedAdmin()
    admin.refuses = code
    refused = asker(admin)
    with capture_logs() as said:
        assert facts(refused) == facts(refused) == {}
    expected = ["allow DESCRIBE on the topic"] if code > 0 else []
    assert [reason for event in said for reason in expected if reason in event["reason"]] == expected
    assert len([event for event in said if event["log_level"] == "warning"]) == len(expected)


def test_who_does_not_answer_is_not_waited_for() -> None:
    admin = ScriptedAdmin()
    admin.silent = True
    silent = asker(admin)
    question = silent.ask({"t"})
    assert question is not None
    assert not question.done
    assert silent.patience > 0
    assert question.answers(0.01) == {}
    assert silent.patience == 0, "it may be a server that never answers"
    admin.silent = False
    assert facts(silent)
    assert silent.patience > 0


def test_a_committed_position_without_a_note() -> None:
    assert Position.committed(TopicPartition("t", 0, 7)) == Position(7)
