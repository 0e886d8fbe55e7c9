"""Edge cases of `Progress`. Random schedules are in tests/property/ledger/test_progress.py."""

from __future__ import annotations

import pytest

from connector.ledger.account import Counts, Outcome, Tally, merge
from connector.ledger.progress import Progress, ProgressError
from connector.records import Chunk, Mapped, Record

ONE = Mapped(samples=[("id", 1, 1.0)])


def chunk(n: int, first: int = 1) -> Chunk:
    return Chunk("mqtt", "p", range(first, first + n), [Record("t", b"", 0) for _ in range(n)])


def test_the_same_value_cannot_be_settled_in_place_of_its_neighbour() -> None:
    """Both values are in one chunk. If only the chunk counted its values, the second one would be lost silently."""
    progress = Progress()
    token = progress.begin(chunk(2), list(enumerate([ONE, Mapped(samples=[("id", 2, 2.0)], filtered=1)])))
    progress.settle({token: 1}, Outcome.INSERTED)
    with pytest.raises(ProgressError):
        progress.settle({token: 1}, Outcome.INSERTED)
    assert progress.commits() == []
    progress.settle({token + 1: 1}, Outcome.INSERTED)
    assert [commit.position for commit in progress.commits()] == [2]


def test_a_later_chunk_waits_for_an_earlier_one() -> None:
    progress = Progress()
    first, second = (
        progress.begin(chunk(1), list(enumerate([ONE]))),
        progress.begin(chunk(1, 2), list(enumerate([ONE]))),
    )
    progress.settle({second: 1}, Outcome.INSERTED)
    assert progress.commits() == []
    progress.settle({first: 1}, Outcome.DEAD_LETTERED)
    (commit,) = progress.commits()
    assert commit.position == 2
    assert commit.tallies == {
        "t": Tally(
            messages=Counts(received=2, inserted=1, dead_lettered=1),
            samples=Counts(received=2, inserted=1, dead_lettered=1),
        )
    }


@pytest.mark.parametrize("mapped", [[], [ONE], [ONE, ONE, ONE]])
def test_results_that_do_not_fit_the_records_are_a_bug(mapped: list[Mapped]) -> None:
    with pytest.raises(ProgressError):
        Progress().begin(chunk(2), list(enumerate(mapped)))


def test_a_chunk_without_records_is_a_bug() -> None:
    with pytest.raises(ProgressError):
        Progress().begin(chunk(0), list(enumerate([])))


def test_a_record_that_became_nothing_at_all_is_a_bug() -> None:
    with pytest.raises(ProgressError):
        Progress().begin(chunk(1), list(enumerate([Mapped()])))


def test_tallies_are_merged_by_topic() -> None:
    into = {"a": Tally(messages=Counts(received=1, inserted=1))}
    merge(into, {"a": Tally(messages=Counts(received=2, filtered=2)), "b": Tally(samples=Counts(received=1))})
    assert into["a"].messages == Counts(received=3, inserted=1, filtered=2)
    assert into["b"].samples == Counts(received=1)
