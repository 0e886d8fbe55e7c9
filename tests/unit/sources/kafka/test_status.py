"""What is said about the connection to Kafka."""

from __future__ import annotations

import json

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


def test_a_fenced_member_cannot_go_on() -> None:
    status = Status("kafka")
    status.failed(KafkaError(KafkaError._FATAL, "fenced", True))
    assert status.fatal is not None
    assert "same instance_id" in status.problems()[0]


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
