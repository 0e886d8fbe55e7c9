"""Positions are stored with the identity of their log, and never in another log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import TopicPartition

from connector.ledger.account import Commit, LogPosition, SettledRange
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.identity import UNKNOWN, LogIdentity, Position
from connector.sources.kafka.member import Member
from connector.sources.kafka.positions import Positions
from connector.sources.partitions import OwnedPartition

OLD, NEW = LogIdentity("old", "c1"), LogIdentity("new", "c1")


class Stored:
    """The positions of a member with t[0], and what it gave to librdkafka."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.found: list[TopicPartition] = []
        self.assignment = Assignment()
        client = SimpleNamespace(consumer=self)
        self.positions = Positions("kafka", file, client, self.assignment, Member("kafka"))  # type: ignore[arg-type]

    def store_offsets(self, offsets: list[TopicPartition]) -> None:
        self.found += offsets

    def begin(self, identity: LogIdentity, offset: int) -> None:
        owned = OwnedPartition("t", 0, offset, (), identity.log)
        self.assignment.add([owned])
        self.assignment.assigned(owned, offset, Position(offset, identity, 4))

    def settle(self, first: int, end: int, log: str) -> None:
        ranges = [SettledRange("t[0]", first, end, end - first, 0, log)]
        self.positions.settlements.add(Commit("kafka", "t[0]", end - 1, {}), ranges)

    def stored(self) -> list[Position]:
        self.positions.settlements.flush()
        self.positions.settlements.store_positions()
        return [Position.committed(found) for found in self.found]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    file = SourceFile.open(tmp_path / "kafka.sqlite")
    yield Stored(file)
    file.close()


def test_a_position_names_its_log(stored: Stored) -> None:
    stored.begin(OLD, 5)
    stored.settle(5, 9, OLD.log)
    assert stored.stored() == [Position(9, OLD, 4)]


def test_what_is_settled_late_in_the_log_before_is_no_position_in_the_new_one(stored: Stored) -> None:
    stored.begin(OLD, 5)
    stored.settle(5, 9, OLD.log)
    stored.begin(NEW, 0)
    assert stored.stored() == []
    assert stored.positions.settlements.late == 1
    stored.settle(0, 2, NEW.log)
    assert stored.stored() == [Position(2, NEW, 4)]


def test_a_partition_that_was_given_away_has_no_position(stored: Stored) -> None:
    stored.begin(OLD, 5)
    stored.settle(5, 9, OLD.log)
    stored.assignment.remove(["t[0]"])
    assert stored.stored() == []


def test_what_was_settled_before_the_log_had_a_name_is_of_this_log(stored: Stored) -> None:
    """Settled and written, settled and not written, and under way: all are of the log that is read."""
    stored.begin(UNKNOWN, 5)
    stored.file.ledger.begin([LogPosition("t[0]", "", "", 5)])
    owned = stored.assignment.owned["t[0]"]
    for first in (5, 7, 9):
        owned.take([first, first + 1])
    for position in (6, 8):
        stored.positions.settlements.add(Commit("kafka", "t[0]", position, {}), owned.settle(position))
        if position == 6:
            stored.stored()
    stored.positions.log_found("t[0]", NEW)
    stored.positions.settlements.add(Commit("kafka", "t[0]", 10, {}), owned.settle(10))
    assert stored.stored()[-1] == Position(11, NEW, 4)
    assert stored.file.ledger.ranges("t[0]", NEW.log) == [SettledRange("t[0]", 5, 11, 6, 0, NEW.log)]
    assert stored.file.ledger.ranges("t[0]") == []
    assert stored.file.ledger.positions() == {"t[0]": LogPosition("t[0]", NEW.log, NEW.cluster, 11)}
