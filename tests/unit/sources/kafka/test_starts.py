"""Where reading of a partition begins, whatever the group and the log say of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from connector.sources.kafka.starts import Policy, Start, StartFinder, start_of

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


class Cluster:
    """Answers as a consumer does, of topic t; the first answers fail or are incomplete if told so."""

    def __init__(self, committed: dict[int, int], bounds: dict[int, tuple[int, int]]) -> None:
        self.positions = committed
        self.bounds = bounds
        self.failures: list[str] = []
        self.silent: list[int] = []
        """Partitions whose leader does not answer the next question."""
        self.asked: list[str] = []

    def _maybe_fail(self, call: str) -> None:
        self.asked.append(call)
        if call in self.failures:
            self.failures.remove(call)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        self._maybe_fail("committed")
        return [TopicPartition("t", p.partition, self.positions.get(p.partition, OFFSET_INVALID)) for p in partitions]

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
    cluster: Cluster, policy: Policy = "earliest", seconds: float = 2.0, **known: dict[str, int]
) -> dict[str, Start]:
    finder = StartFinder(cluster, policy, seconds)  # type: ignore[arg-type]
    return finder.find([TopicPartition("t", number) for number in cluster.bounds], **known)  # type: ignore[arg-type]


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
    assert find(cluster, taken={"t[0]": 7}) == {"t[0]": Start(7, 7), "t[1]": Start(2, 2)}


def test_a_refused_position_begins_with_the_first_record_while_it_is_the_same() -> None:
    cluster = Cluster({0: 5, 1: 5, 2: 5}, {0: (0, 9), 1: (0, 9), 2: (0, 9)})
    starts = find(cluster, refused={"t[0]": 5, "t[1]": 4, "t[2]": None})  # type: ignore[dict-item]
    assert starts == {"t[0]": Start(0, 5), "t[1]": Start(5, 5), "t[2]": Start(0, 5)}
    assert starts["t[0]"].cut


def test_an_end_before_the_position_is_looked_at_twice() -> None:
    """A leader that has just taken over may not know its end yet."""
    cluster = Cluster({0: 7}, {0: (0, 4)})
    assert find(cluster, seconds=0.2)["t[0]"] == Start(0, 7)
    assert cluster.asked == ["committed", "low", "high", "high"]
