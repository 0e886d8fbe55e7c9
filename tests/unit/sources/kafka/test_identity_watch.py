"""A topic that is made anew while it is read is noticed within seconds, without waiting for the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from confluent_kafka import Message

from connector.records import Chunk, Record
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.identity import UNKNOWN, LogIdentity, Position, TopicAsker, TopicFacts
from connector.sources.kafka.identity_watch import IdentityWatch
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import TopicsAtStart
from connector.sources.partitions import OwnedPartition
from tests.unit.sources.kafka.scripted_admin import ScriptedAdmin, topic_id

SETTINGS = {"type": "kafka", "bootstrap_servers": "b:1", "topics": ["t"], "group_id": "g", "security": "plaintext"}
HERE = LogIdentity(topic_id(1), "c1")


class ScriptedTopics:
    """The topics at the start: `unknown` are those whose logs are unknown."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.learned: list[str] = []

    def learn(self, facts: Mapping[str, TopicFacts]) -> None:
        self.learned += facts


class Watched:
    """A member with t[0] from 5 on, in a log with this identity."""

    def __init__(self, identity: LogIdentity = HERE) -> None:
        self.admin = ScriptedAdmin()
        self.assignment = Assignment()
        owned = OwnedPartition("t", 0, 5, (), identity.log)
        self.assignment.add([owned])
        self.assignment.assigned(owned, 5, Position(5, identity))
        asker = TopicAsker(KafkaSection.model_validate(SETTINGS), self.admin.make)
        self.at_start = ScriptedTopics()
        at_start = cast(TopicsAtStart, self.at_start)
        self.watch = IdentityWatch(asker, self.assignment, at_start, self.assignment.log_found)
        self.now = 100.0

    def take(self, offset: int) -> None:
        message = Message(topic="t", partition=0, offset=offset)
        chunk = Chunk("kafka", "t[0]", [offset], [Record("t", b"", 1)])
        self.assignment.take(self.assignment.owned["t[0]"], [offset], chunk, [message])

    def look(self, seconds: float = 6.0) -> None:
        """Look every quarter of a second for so long."""
        for _ in range(round(4 * seconds)):
            self.watch.look(self.now)
            self.now += 0.25


def test_a_topic_that_is_made_anew_is_stuck_until_it_begins_again() -> None:
    watched = Watched()
    watched.admin.ends["t"] = 12
    watched.look()
    assert watched.assignment.stuck == set()
    watched.admin.ids["t"], watched.admin.ends["t"] = 2, 30
    watched.look()
    assert watched.assignment.stuck == {"t[0]"}
    assert watched.assignment.refused == {"t[0]": 5}
    watched.take(5)
    assert not watched.assignment.is_ready, "the record is of the new log, and that is read from its first record"
    assert not watched.assignment.under_way(["t[0]"]), "nothing new keeps it from beginning again"
    assert watched.watch.end_of_log("t[0]", HERE) == 12, "the end of the log before"
    assert watched.watch.end_of_log("t[0]", LogIdentity(topic_id(2), "c1")) is None


def test_the_logs_of_topics_that_other_members_read_are_learned() -> None:
    watched = Watched()
    watched.at_start.unknown = ["other"]
    watched.look()
    assert set(watched.at_start.learned) == {"t", "other"}


def test_another_cluster_is_another_log_where_there_are_no_topic_ids() -> None:
    watched = Watched(LogIdentity("", "c1"))
    watched.admin.ids["t"] = 0
    watched.look()
    assert watched.assignment.stuck == set()
    watched.admin.cluster = "c2"
    watched.look()
    assert watched.assignment.stuck == {"t[0]"}


def test_a_log_that_was_unknown_is_known_from_the_first_answer_on() -> None:
    watched = Watched(UNKNOWN)
    watched.look()
    assert watched.assignment.log("t[0]") == HERE
    assert watched.assignment.owned["t[0]"].log == HERE.log
    watched.admin.ids["t"] = 2
    watched.look()
    assert watched.assignment.stuck == {"t[0]"}


@pytest.mark.parametrize("trouble", ["silent", "refuses"])
def test_without_an_answer_nothing_changes(trouble: str) -> None:
    watched = Watched()
    setattr(watched.admin, trouble, True)
    watched.admin.ids["t"] = 2
    watched.look()
    assert watched.assignment.stuck == set()
    assert watched.watch.end_of_log("t[0]", HERE) is None


def test_the_brokers_are_asked_every_five_seconds_and_only_about_partitions_of_this_member() -> None:
    watched = Watched()
    watched.look(50)
    assert 9 <= watched.admin.asked <= 11
    watched.assignment.remove(["t[0]"])
    watched.look(50)
    assert watched.admin.asked <= 11
