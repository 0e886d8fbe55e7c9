"""The last values of signals: from frames, within bounds, the longest silence first."""

from __future__ import annotations

from array import array

from connector.packing.frame import RowBlock
from connector.pipeline.signals import LastValue, LastValues


def block(inputs: tuple[str, ...], rows: dict[int, tuple[float, ...]]) -> RowBlock:
    values = array("d", [value for row in rows.values() for value in row])
    return RowBlock(inputs, array("q", rows), array("q", range(len(rows))), values)


def test_the_last_row_of_a_frame_counts() -> None:
    last = LastValues()
    last.note([block(("a", "b"), {1: (1.0, 2.0), 5: (3.0, 4.0)}), block(("c",), {2: (9.0,)}), block(("d",), {})], 100.0)
    last.note([block(("b",), {7: (8.0,)})], 110.0)
    assert last.of("a") == LastValue(5, 3.0, 100.0)
    assert last.of("b") == LastValue(7, 8.0, 110.0)
    assert last.of("d") is None
    assert [name for name, _ in last.silent(2)] == ["a", "c"]
    assert last.silent(9)[-1] == ("b", LastValue(7, 8.0, 110.0))


def test_signals_beyond_the_bound_are_left_out_and_said() -> None:
    last = LastValues(most=2)
    last.note([block(("a", "b"), {1: (1.0, 2.0)})], 1.0)
    assert not last.full
    last.note([block(("b", "c"), {2: (3.0, 4.0)})], 2.0)
    assert (len(last), last.full, last.of("c")) == (2, True, None)
    assert last.of("b") == LastValue(2, 3.0, 2.0)
