"""What is said about the connection to Kafka."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import KafkaError

from connector.sources.kafka.status import Status


def test_it_says_what_is_wrong_until_it_works() -> None:
    status = Status("kafka")
    assert status.problems() == ["has not joined the consumer group yet"]
    status.joined = True
    assert status.problems() == []
    status.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert status.problems() == ["1/1 brokers are down"]
    status.works()
    assert status.problems() == []


def test_a_topic_that_is_not_there_stays_a_problem_until_its_partitions_are_ours() -> None:
    status = Status("kafka")
    status.joined = True
    status.failed(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown topic"), "t")
    statistics = {"brokers": {"b": {"state": "UP", "nodeid": 1}}, "topics": {}, "cgrp": {"join_state": "steady"}}
    status.callbacks()["stats_cb"](json.dumps(statistics))
    assert status.problems() == ["topic 't': unknown topic"]
    status.topic_works("t")
    assert status.problems() == []


def fatal(code: int, *, flag: bool = False) -> KafkaError:
    """As librdkafka gives it in place of a record: the first error is in the text alone, and `fatal()` is False."""
    error = KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(code).str()}: told by the coordinator", flag)
    assert error.fatal() == flag
    return error


@pytest.mark.parametrize("flag", [True, False])
def test_a_fenced_member_cannot_go_on(flag: bool) -> None:
    status = Status("kafka")
    status.failed(fatal(KafkaError.FENCED_INSTANCE_ID, flag=flag))
    assert status.fatal is not None
    assert "same instance_id" in status.problems()[0]


def test_any_other_fatal_error_is_told_as_it_is() -> None:
    status = Status("kafka")
    status.failed(fatal(KafkaError.UNSUPPORTED_VERSION))
    assert status.fatal is not None
    assert "instance_id" not in status.fatal


def test_a_name_that_the_group_has_not_released_is_a_reason_to_try_again() -> None:
    status = Status("kafka")
    status.joined = True
    status.failed(fatal(KafkaError.UNRELEASED_INSTANCE_ID))
    assert status.fatal is None
    assert status.refused is not None
    assert status.joined is False
    (problem,) = status.problems()
    assert "same instance_id" in problem


def test_how_many_partitions_the_group_gave_is_known_while_nothing_moves() -> None:
    status = Status("kafka")
    assert status.group_count is None
    for report, (state, known) in enumerate([("steady", 3), ("wait-unassign-call", None), ("steady", 3)], 1):
        group = {"join_state": state, "assignment_size": 3}
        status.callbacks()["stats_cb"](json.dumps({"brokers": {}, "topics": {}, "cgrp": group}))
        assert (status.group_count, status.reports) == (known, report)


def test_lag_is_that_of_our_partitions() -> None:
    status = Status("kafka")
    partitions = {"0": {"consumer_lag": 5}, "1": {"consumer_lag": 7}, "2": {"consumer_lag": -1}}
    status.callbacks()["stats_cb"](json.dumps({"brokers": {}, "topics": {"t": {"partitions": partitions}}}))
    assert status.lag({"t[0]", "t[2]"}) == 5
