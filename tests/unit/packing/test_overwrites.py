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


def test_between_frames_of_several_rows() -> None:
    """Two devices that share an input send the same ten seconds, one after the other."""
    waiting = Pending()
    assert send(waiting, 0, *([("a", T + n, n), ("b", T + n, 0)] for n in range(10))) == []
    found = send(waiting, 10, *([("a", T + n, n if n == 3 else -n), ("b", T + n, 0)] for n in range(10)))
    assert found == [("a", n, -n, 10 + n) for n in (1, 2, 4, 5, 6, 7, 8, 9)]
    assert send(waiting, 20, [("a", T + 10, 1), ("b", T + 10, 1)]) == []


def test_rows_that_are_not_in_order() -> None:
    waiting = Pending()
    assert send(waiting, 0, [("a", T + 5, 1)], [("a", T, 2)]) == []
    assert send(waiting, 2, [("a", T + 9, 3)], [("a", T + 5, 4)], [("a", T + 5, 5)]) == [
        ("a", 1, 4, 3),
        ("a", 4, 5, 4),
    ]
    assert send(waiting, 5, [("a", T + 5, 5)]) == [], "as the last of those"


def test_only_the_last_rows_are_remembered() -> None:
    waiting = Pending()
    assert send(waiting, 0, *([("a", T + n, 1)] for n in range(100))) == []
    found = send(waiting, 100, *([("a", T + n, 2)] for n in range(100)))
    assert [token for _, _, _, token in found] == list(range(184, 200))


def test_a_message_that_comes_twice_replaces_nothing() -> None:
    waiting = Pending()
    rows = Rows(("a", "b"), 0)
    rows.indexes, rows.times, rows.packed = [0, 1], [T, T], [bytes(16)] * 2
    waiting.add(0, [(0, rows)], 0.0)
    assert list(overwrites(encode_frame(waiting.take(plan_frame(waiting, 10**6, 0.0))))) == []
    assert waiting.overwritten == []
