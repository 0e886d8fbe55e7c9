"""What is settled of a partition: exactly what was taken, in ranges without overlap, whatever the order of things."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.ledger.account import SettledRange
from connector.sources.partitions import OwnedPartition


@given(st.data(), st.integers(0, 50), st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), max_size=12))
def test_ranges_cover_what_was_settled_and_nothing_else(
    data: st.DataObject, start: int, chunks: list[list[int]]
) -> None:
    """Each chunk is given by the steps between its offsets: more than 1 is a hole, as transactions leave them."""
    owned = OwnedPartition("t", 0, start)
    offset = start - 1
    taken: list[list[int]] = []
    found: list[SettledRange] = []
    lost: set[int] = set()
    for steps in chunks:
        if data.draw(st.integers(0, 9)) == 0:  # what comes next had expired
            lost |= set(range(offset + 1, offset + 6))
            offset += 5
            owned.begin_at(offset + 1)
        positions = []
        for step in steps:
            offset += step
            positions.append(offset)
        owned.take(positions)
        taken.append(positions)
        if data.draw(st.booleans()):
            upto = data.draw(st.integers(0, len(taken) - 1))
            found += owned.settle(taken[upto][-1])
    found += owned.settle(offset)
    assert not owned.under_way
    covered = [position for part in found for position in range(part.first, part.next)]
    assert len(covered) == len(set(covered)), "no overlap"
    everything = [position for positions in taken for position in positions]
    assert set(everything) <= set(covered)
    assert not lost & set(covered), "what was lost is not settled"
    assert sum(part.records for part in found) == len(everything)
    assert owned.settle(offset) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6), st.integers(0, 60), st.integers(1, 30))
def test_what_came_before_is_known_again(spans: list[tuple[int, int]], start: int, n: int) -> None:
    covered = sorted(
        (SettledRange("t[0]", first, first + size, size) for first, size in spans), key=lambda part: part.first
    )
    owned = OwnedPartition("t", 0, start, covered)
    owned.take(range(start, start + n))
    (settled,) = owned.settle(start + n - 1)
    before = {position for part in covered for position in range(part.first, part.next)}
    assert settled.redelivered == len(before & set(range(start, start + n)))


def test_a_log_that_begins_again_is_settled_only_with_its_own_records() -> None:
    """The offsets of another log, or of one that was cut, are lower than those of records that are under way."""
    owned = OwnedPartition("t", 0, 5)
    owned.take([5, 6])
    owned.begin_at(0)
    owned.take([0, 1])
    assert owned.settle(6) == [SettledRange("t[0]", 5, 7, 2)]
    assert owned.under_way
    assert owned.settle(1) == [SettledRange("t[0]", 0, 2, 2)]
