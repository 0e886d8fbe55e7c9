"""What was consumed becomes chunks of one partition each, and nothing of it goes unnoticed."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaError, Message

from connector.ledger.account import Commit, SettledRange
from connector.records import Record, TimeKind
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.intake import PartitionSorter
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.partitions import OwnedPartition

SETTINGS = {"type": "kafka", "bootstrap_servers": "127.0.0.1:1", "topics": ["t"], "group_id": "g"}
NOW = int(time.time())
CREATED = 1
"""Kafka's number for a time that the producer set."""


class Taken:
    """An intake with the partitions t[0] and t[1], from 10 on."""

    def __init__(self) -> None:
        section = KafkaSection.model_validate(SETTINGS | {"security": "plaintext"})
        self.member = Member("kafka")
        self.member.joins()
        self.assignment = Assignment()
        self.stepped_over: list[SettledRange] = []
        self.assignment.add(OwnedPartition("t", number, 10) for number in range(2))
        self.intake = PartitionSorter(section, self.assignment, self.member, self.stepped_over.append)

    def take(self, *messages: Message) -> dict[str, list[tuple[int, bytes | None]]]:
        """Partition → (offset, payload) of what is ready after this."""
        self.intake.take(list(messages))
        chunks = list(iter(self.assignment.give_out, None))
        assert len({chunk.partition for chunk in chunks}) == len(chunks)
        return {
            chunk.partition: list(
                zip(chunk.positions, (record.payload for record in chunk.records), strict=True),
            )
            for chunk in chunks
        }


@pytest.fixture
def taken() -> Taken:
    return Taken()


def message(number: int, offset: int) -> Message:
    return Message(topic="t", partition=number, offset=offset, value=b"%d" % offset, timestamp=(CREATED, 7))


def error(code: int, number: int = 0, offset: int = 0, reason: str | None = None) -> Message:
    return Message(topic="t", partition=number, offset=offset, error=KafkaError(code, reason))


def end(number: int, offset: int) -> Message:
    return error(KafkaError._PARTITION_EOF, number, offset)


def test_the_messages_of_one_partition_are_one_chunk(taken: Taken) -> None:
    assert taken.take(*(message(0, offset) for offset in range(10, 14))) == {
        "t[0]": [(offset, b"%d" % offset) for offset in range(10, 14)]
    }
    assert taken.intake.received == 4
    assert taken.assignment.owned["t[0]"].next_taken == 14


@pytest.mark.parametrize(
    ("time_ms", "seconds"),
    [(7, 0.007), (0, 0), (-5, None), (-(2**63), None), (2**63 - 1, NOW), (NOW * 10**9, NOW)],
    ids=["7 ms", "0", "-5 ms", "least", "most", "nanoseconds"],
)
def test_how_old_a_record_is_follows_from_no_nonsense(taken: Taken, time_ms: int, seconds: float | None) -> None:
    """An absurd time must not look like a loss that is near, nor like one that never comes."""
    taken.take(Message(topic="t", partition=0, offset=10, value=b"1", timestamp=(CREATED, time_ms)))
    found = taken.intake.record_times.get("t[0]")
    assert found == seconds or (seconds == NOW and found is not None and NOW <= found <= time.time())


def test_partitions_that_come_mixed_are_told_apart_in_their_order(taken: Taken) -> None:
    mixed = [message(1, 10), message(0, 10), message(1, 11), message(0, 12), message(1, 14)]
    assert taken.take(*mixed) == {
        "t[1]": [(10, b"10"), (11, b"11"), (14, b"14")],
        "t[0]": [(10, b"10"), (12, b"12")],
    }


def test_errors_among_records_are_taken_note_of_and_the_records_too(taken: Taken) -> None:
    found = taken.take(
        message(0, 10),
        error(KafkaError._AUTO_OFFSET_RESET, 1),
        error(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        message(0, 11),
    )
    assert found == {"t[0]": [(10, b"10"), (11, b"11")]}
    assert taken.assignment.stuck == {"t[1]"}
    assert taken.assignment.refused == {"t[1]": 10}
    assert "topic 't'" in taken.member.problems()[0]


def test_positions_between_the_last_record_and_the_end_are_settled_with_it(taken: Taken) -> None:
    """Whatever the order in which one batch has the records and the end."""
    taken.take(end(0, 14), message(0, 10), message(0, 12))
    assert taken.assignment.next_positions() == {"t[0]": 14, "t[1]": 10}
    assert taken.stepped_over == []
    assert taken.assignment.settle(Commit("kafka", "t[0]", 12, {})) == [SettledRange("t[0]", 10, 14, 2)]
    taken.take(end(0, 14), end(0, 16), end(2, 3))
    assert taken.stepped_over == [SettledRange("t[0]", 14, 16, 0)]
    taken.take(message(0, 16), message(0, 17), end(0, 17))
    assert taken.assignment.settle(Commit("kafka", "t[0]", 17, {})) == [SettledRange("t[0]", 16, 18, 2)]


def test_an_end_says_nothing_about_a_position_that_was_refused(taken: Taken) -> None:
    taken.take(error(KafkaError._AUTO_OFFSET_RESET), end(0, 14))
    assert (taken.stepped_over, taken.assignment.next_positions()["t[0]"]) == ([], 10)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        (1, "t[0]: the batch at offset 12 is damaged; librdkafka: Decompression (codec 0x1)"),
        (4, "t[0]: the batch at offset 12 cannot be unpacked: it is too large, or damaged. Set receive.message.max"),
    ],
)
def test_a_batch_that_cannot_be_unpacked_is_named_with_the_remedy(taken: Taken, codec: int, said: str) -> None:
    text = f"Decompression (codec 0x{codec}) of message at 12 of 9 bytes failed: Local: Invalid compressed data"
    taken.take(error(KafkaError._BAD_COMPRESSION, 0, 12, text))
    (problem,) = taken.member.problems()
    assert said in problem


@pytest.mark.parametrize("over", [message(0, 10), end(0, 14)])
@pytest.mark.parametrize("code", [KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG])
def test_a_batch_that_cannot_be_read_is_a_problem_until_its_own_partition_moves(
    taken: Taken, code: int, over: Message
) -> None:
    taken.take(error(code, 0, 10))
    (problem,) = taken.member.problems()
    assert problem.startswith("t[0]: ")
    taken.take(message(1, 10), end(1, 11))
    assert taken.member.problems() == [problem], "a record of another partition says nothing about this one"
    taken.take(over)
    assert taken.member.problems() == []


def test_errors_alone_give_no_chunk(taken: Taken) -> None:
    assert taken.take(error(KafkaError._AUTO_OFFSET_RESET)) == {}
    assert taken.assignment.stuck == {"t[0]"}


def test_what_was_taken_before_or_is_not_ours_is_left_out(taken: Taken) -> None:
    assert taken.take(message(0, 8), message(0, 9), message(2, 5), message(0, 10)) == {"t[0]": [(10, b"10")]}
    assert taken.intake.unowned == 1
    assert taken.take(message(0, 9), message(0, 10)) == {}


def test_a_record_has_the_time_key_and_headers_of_its_message(taken: Taken) -> None:
    taken.intake.take(
        [
            Message(
                topic="t", partition=0, offset=10, value=b"v", key=b"k", timestamp=(CREATED, 7), headers=[("a", b"b")]
            )
        ]
    )
    (chunk,) = iter(taken.assignment.give_out, None)
    (record,) = chunk.records
    received_us = record.received_us
    assert record == Record("t", b"v", 7000, b"k", (("a", "b"),), False, TimeKind.CREATED, received_us)
    assert received_us > 7000
    assert taken.intake.record_times == {"t[0]": 0.007}
