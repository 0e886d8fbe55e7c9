"""What is said about the connection to Kafka."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs

from connector.sources.kafka.member import Member
from tests.scripted import Clock


def report(member: Member, up: Sequence[int] = (1,), state: str = "steady", **partitions: dict[str, int]) -> None:
    """Statistics of a member with these brokers and partitions 0 of these topics."""
    brokers = {str(node): {"state": "UP", "nodeid": node} for node in up}
    group = {"state": "up", "join_state": state, "assignment_size": len(partitions)}
    topics = {topic: {"partitions": {"0": {"leader": 1} | found}} for topic, found in partitions.items()}
    member.callbacks()["stats_cb"](json.dumps({"brokers": brokers, "topics": topics, "cgrp": group}))


def test_it_says_what_is_wrong_until_it_works() -> None:
    member = Member("kafka")
    assert member.problems() == ["has not joined the consumer group yet"]
    member.joins()
    assert member.problems() == []
    member.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert member.problems() == ["1/1 brokers are down"]
    member.works()
    assert member.problems() == []


def test_a_topic_that_is_not_there_stays_a_problem_until_its_partitions_are_ours() -> None:
    member = Member("kafka")
    member.joins()
    member.failed(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "Subscribed topic not available: t"), "t")
    report(member)
    (problem,) = member.problems()
    assert problem.startswith("topic 't': Subscribed topic not available: t; create the topic")
    member.topic_works("t")
    assert member.problems() == []


def fatal(code: int, *, flag: bool = False) -> KafkaError:
    """As librdkafka gives it in place of a record: the first error is in the text alone, and `fatal()` is False."""
    error = KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(code).str()}: told by the coordinator", flag)
    assert error.fatal() == flag
    return error


@pytest.mark.parametrize("flag", [True, False])
def test_a_fenced_member_cannot_go_on(flag: bool) -> None:
    member = Member("kafka")
    member.failed(fatal(KafkaError.FENCED_INSTANCE_ID, flag=flag))
    assert member.fatal is not None
    assert "same instance_id" in member.problems()[0]


def test_a_fatal_error_that_a_person_can_mend_is_a_reason_to_try_again_for_ever() -> None:
    member = Member("kafka")
    member.failed(fatal(KafkaError.UNSUPPORTED_VERSION))
    assert (member.fatal, member.for_a_person) == (None, True)
    assert "group_protocol: classic" in str(member.refused)
    member.failed(fatal(KafkaError.UNRELEASED_INSTANCE_ID))
    assert not member.for_a_person


def test_a_name_that_the_group_has_not_released_is_a_reason_to_try_again() -> None:
    member = Member("kafka")
    member.joins()
    member.failed(fatal(KafkaError.UNRELEASED_INSTANCE_ID))
    assert member.fatal is None
    assert member.refused is not None
    assert member.joined is False
    (problem,) = member.problems()
    assert "same instance_id" in problem


def test_how_many_partitions_the_group_gave_is_known_while_nothing_moves() -> None:
    member = Member("kafka")
    assert member.group_count is None
    for report, (state, known) in enumerate([("steady", 3), ("wait-unassign-call", None), ("steady", 3)], 1):
        group = {"join_state": state, "assignment_size": 3}
        member.callbacks()["stats_cb"](json.dumps({"brokers": {}, "topics": {}, "cgrp": group}))
        assert (member.group_count, member.reports) == (known, report)


def test_lag_is_that_of_our_partitions_with_what_a_transaction_holds_back() -> None:
    member = Member("kafka")
    report(
        member,
        t={"hi_offset": 15, "ls_offset": 12, "next_offset": 10, "app_offset": 9, "fetchq_cnt": 0},
        u={"hi_offset": 15, "ls_offset": 15, "next_offset": 15, "app_offset": 8, "fetchq_cnt": 2},
        other={"hi_offset": 9, "ls_offset": 9, "next_offset": 0},
        new={"hi_offset": -1001, "ls_offset": -1001, "next_offset": -1001},
    )
    assert member.waiting.lag({"t[0]"}) == 5
    assert member.waiting.lag({"t[0]", "u[0]", "new[0]", "gone[0]"}) == 5 + 7


def test_a_topic_is_well_again_with_its_next_record_and_no_other_one() -> None:
    member = Member("kafka")
    member.joins()
    for topic in ("t", "u"):
        member.failed(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), topic)
    member.works("t")
    (problem,) = member.problems()
    assert "topic 'u'" in problem
    member.topic_found("u")
    assert member.problems() == [problem], "a topic that is there may still be unreadable"
    member.works("u")
    assert member.problems() == []


def test_trouble_of_a_topic_leaves_with_its_partitions() -> None:
    member = Member("kafka")
    member.joins()
    member.failed(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "t")
    report(member, t={"hi_offset": 5, "ls_offset": 5, "next_offset": 5})
    assert "topic 't'" in member.problems()[0]
    report(member)
    assert member.problems() == []


def test_a_batch_that_cannot_be_read_leaves_with_its_partition() -> None:
    member = Member("kafka")
    member.joins()
    for number in range(2):
        member.failed(KafkaError(KafkaError._BAD_COMPRESSION), "t", f"t[{number}]")
    report(member, t={"hi_offset": 5, "ls_offset": 5, "next_offset": 5})
    (problem,) = member.problems()
    assert problem.startswith("t[0]: ")
    member.asks_anew()
    assert "batch" not in str(member.problems())


def test_an_error_of_a_fetch_from_before_a_topic_was_hidden_does_not_outlast_the_hiding() -> None:
    member = Member("kafka")
    member.joins()
    hidden = "t [0]: desired partition is no longer available (Broker: Topic authorization failed)"
    at = {"hi_offset": 5, "ls_offset": 5, "next_offset": 5}
    member.failed(KafkaError(KafkaError._UNKNOWN_PARTITION, hidden))
    member.failed(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "Fetch from broker 1 failed"), "t")
    report(member, t=at | {"leader": -1})
    assert "topic 't'" in member.problems()[0]
    report(member, t=at)
    assert member.problems() == []

    member.failed(KafkaError(KafkaError._UNKNOWN_PARTITION, hidden))
    report(member, t=at | {"leader": -1})
    member.failed(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "Fetch from broker 1 failed"), "t")
    report(member, t=at)
    report(member, t=at)
    assert "Fetch from broker 1" in member.problems()[0], "of a fetch since the topic is shown again"


def test_a_refused_commit_is_said_until_one_works() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    member.joins()
    commits = member.callbacks()["on_commit"]
    commits(KafkaError(KafkaError._NO_OFFSET), [])
    commits(KafkaError(KafkaError.NOT_COORDINATOR), [])
    assert member.problems() == [], "a coordinator that moves is no trouble yet"
    clock.now += 5
    commits(KafkaError(KafkaError.NOT_COORDINATOR), [])
    assert "does not take our positions" in member.problems()[0]
    commits(None, [TopicPartition("t", 0, 5)])
    assert member.problems() == []
    commits(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), [])
    assert "READ on the group" in member.problems()[0], "at once, since only a person can end it"
    member.joins()
    assert member.problems() == [], "after a rebalance there may be nothing to commit"


def test_trouble_of_the_group_ends_when_the_group_is_steady_and_does_not_repeat_it() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    for _ in range(10):
        member.failed(KafkaError(KafkaError.GROUP_MAX_SIZE_REACHED))
        clock.now += 5
        report(member, state="init")
        assert "the group is full" in member.problems()[0]
    clock.now += 10
    report(member)
    assert member.problems() == []


def test_a_member_of_a_group_that_rebalances_for_long_is_not_ready() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    report(member)
    clock.now += 25
    report(member, state="wait-join")
    assert member.problems() == []
    clock.now += 5
    report(member, state="wait-join")
    assert "the group rebalances" in member.problems()[0]
    report(member)
    assert member.problems() == []


def test_a_broker_of_several_that_is_down_is_told_by_what_waits_for_it() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    gone = KafkaError(KafkaError._TRANSPORT, "b:9092/2: Connect to b:9092 failed: Connection refused")
    report(member, up=(1, 2))
    member.failed(gone)
    assert member.problems() == []
    report(member, t={"leader": 2}, u={"leader": 1}, v={"leader": -1})
    assert member.problems() == [], "a leader may move"
    clock.now += 5
    report(member, t={"leader": 2}, u={"leader": 1}, v={"leader": -1})
    assert "no leader can be reached for t[0], v[0]:" in member.problems()[0]
    member.failed(gone)
    member.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN, "2/2 brokers are down"))
    assert member.problems()[0].startswith("b:9092/2: Connect to"), "the cause, not the count"
    report(member, up=(1, 2), t={"leader": 2})
    assert member.problems() == []


def test_a_transaction_that_hangs_is_told_by_its_offset_that_stands_still() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    for stable in (5, 6, 7):  # a producer that writes one transaction after the other
        report(member, t={"hi_offset": 9, "ls_offset": stable, "next_offset": stable})
        clock.now += 15
    assert member.problems() == []
    clock.now += 10
    report(member, t={"hi_offset": 19, "ls_offset": 7, "next_offset": 7})
    assert member.problems() == [], "transactions take 15 s here, so this one may take 30 s"
    clock.now += 5
    assert "a transaction of a producer does not end" in member.problems()[0]
    member.pauses(paused=True)
    assert member.problems() == [], "nobody asks the brokers while reading is paused"


def test_trouble_that_repeats_is_one_line_a_minute_whatever_numbers_it_contains() -> None:
    clock = Clock()
    member = Member("kafka", clock=clock)
    with capture_logs() as lines:
        for attempt in range(1200):  # ten minutes
            clock.now += 0.5
            text = (
                f"10.0.0.{attempt % 3}:909{attempt % 7}/bootstrap: Connect failed (after {attempt}ms in state CONNECT"
            )
            text += f", {attempt} identical error(s) suppressed)" if attempt % 2 else ")"
            member.failed(KafkaError(KafkaError._TRANSPORT, text))
            member.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN, f"{attempt}/{attempt} brokers are down"))
            member.failed(
                KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, f"Fetch from broker {attempt} failed"), "t7"
            )
            member.note(f"partition t[{attempt}] is away")
    assert sorted({line["event"]: 0 for line in lines}) == ["kafka_topic_trouble", "kafka_trouble"]
    assert len([line for line in lines if "Connect failed" in line["reason"]]) == 10
    assert len([line for line in lines if line["event"] == "kafka_topic_trouble"]) == 10
    assert len(lines) == 30
    assert lines[-1]["repeated"] == 119
