"""What is said about the connection to Kafka."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import KafkaError

from connector.sources.kafka.member import Member


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
    member.failed(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown topic"), "t")
    statistics = {"brokers": {"b": {"state": "UP", "nodeid": 1}}, "topics": {}, "cgrp": {"join_state": "steady"}}
    member.callbacks()["stats_cb"](json.dumps(statistics))
    assert member.problems() == ["topic 't': unknown topic"]
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


def test_any_other_fatal_error_is_told_as_it_is() -> None:
    member = Member("kafka")
    member.failed(fatal(KafkaError.UNSUPPORTED_VERSION))
    assert member.fatal is not None
    assert "instance_id" not in member.fatal


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


def test_lag_is_that_of_our_partitions() -> None:
    member = Member("kafka")
    partitions = {"0": {"consumer_lag": 5}, "1": {"consumer_lag": 7}, "2": {"consumer_lag": -1}}
    member.callbacks()["stats_cb"](json.dumps({"brokers": {}, "topics": {"t": {"partitions": partitions}}}))
    assert member.lag({"t[0]", "t[2]"}) == 5
