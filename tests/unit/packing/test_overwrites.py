"""Values that other values of one input and time replaced: seen where they differ, in a frame and between two."""

from __future__ import annotations

from connector.packing.frame import encode_frame
from connector.packing.overwrites import overwrites
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped, Rows, Sample

T = 1_790_000_000_000_000


def send(waiting: Pending, token: int, *records: list[Sample]) -> list[tuple[str, float, float, int]]:
    """The overwrites that these records make, once they are sent."""
    for index, samples in enumerate(records):
        waiting.add(token + index, [(0, Mapped(samples))], 0.0)
    frame = encode_frame(waiting.take(plan_frame(waiting, 10**6, 0.0)))
    found, waiting.overwritten = [*waiting.overwritten, *overwrites(frame)], []
    return [(one.input_id, one.before, one.after, one.token) for one in found]


def test_in_one_frame() -> None:
    found = send(Pending(), 5, [("a", T, 1)], [("a", T, 2)], [("a", T, 2)], [("a", T + 1, 3)], [("a", T, 4)])
    assert found == [("a", 1, 2, 6), ("a", 2, 4, 9)]


def test_between_frames() -> None:
    waiting = Pending()
    assert send(waiting, 0, [("a", T, 1), ("b", T, 1)]) == []
    assert send(waiting, 1, [("a", T, 1), ("b", T, 7)]) == [("b", 1, 7, 1)]
    assert send(waiting, 2, [("a", T + 1, 1), ("b", T + 1, 8)]) == []


def test_a_message_that_comes_twice_replaces_nothing() -> None:
    waiting = Pending()
    rows = Rows(("a", "b"), 0)
    rows.indexes, rows.times, rows.packed = [0, 1], [T, T], [bytes(16)] * 2
    waiting.add(0, [(0, rows)], 0.0)
    assert list(overwrites(encode_frame(waiting.take(plan_frame(waiting, 10**6, 0.0))))) == []
    assert waiting.overwritten == []
