"""Down-sampling: windows close once, with all of their values, and nothing is settled before."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest

from connector.mapping.thinning.thinning import Aggregate, Thinning
from connector.mapping.thinning.windows import Windows, aggregate
from connector.records import Mapped, Part, Rows

S = 1_000_000
MINUTE = Thinning(window_us=60 * S, by="mean")
START = 1_790_000_040 * S
"""A multiple of a minute."""


def windows(how: Thinning = MINUTE, done: dict[str, int] | None = None) -> Windows:
    return Windows({"a": how, "b": how}, done or {})


def samples(*found: tuple[str, int, float]) -> list[Part]:
    """A record for each sample: seconds after START."""
    return [(i, Mapped([(input_id, START + second * S, value)])) for i, (input_id, second, value) in enumerate(found)]


def test_a_window_closes_when_its_signal_goes_on() -> None:
    w = windows()
    _, late, closed = w.take(10, samples(("a", 0, 1), ("a", 59, 3), ("b", 30, 7)), 0.0)
    assert (late, closed, w.held) == (Counter(), [], 3)
    rest, _, closed = w.take(20, samples(("a", 60, 5)), 0.0)
    assert rest == [(0, Mapped())]
    (one,) = closed
    assert (one.input_id, one.start_us, one.end_us, one.value) == ("a", START, START + 60 * S, 2)
    assert (one.tokens, one.last) == (Counter({10: 1, 11: 1}), 11)
    assert w.held == 2


def test_a_window_waits_for_late_values_and_then_takes_no_more() -> None:
    w = windows(Thinning(window_us=60 * S, by="mean", wait_us=10 * S))
    assert w.take(1, samples(("a", 0, 1), ("a", 65, 5), ("a", 59, 3)), 0.0)[1:] == (Counter(), [])
    (one,) = w.take(4, samples(("a", 70, 6)), 0.0)[2]
    assert one.value == 2
    _, late, closed = w.take(5, samples(("a", 58, 9)), 0.0)
    assert (late, closed, w.late) == (Counter({5: 1}), [], 1)


def test_a_window_whose_signal_falls_silent_closes_by_the_clock() -> None:
    w = windows(Thinning(window_us=60 * S, wait_us=10 * S))
    w.take(1, samples(("a", 20, 1)), 100.0)
    assert w.due(100.0 + 49.9) == []
    (one,) = w.due(100.0 + 50.1)
    assert one.value == 1
    assert w.due(1e9) == []


def test_windows_that_were_done_before_a_restart_take_nothing_more() -> None:
    w = windows(done={"a": START + 60 * S})
    _, late, _ = w.take(1, samples(("a", 59, 1), ("a", 60, 2), ("b", 0, 3)), 0.0)
    assert late == Counter({1: 1})
    assert sorted((one.input_id, one.value) for one in w.end()) == [("a", 2), ("b", 3)]
    assert w.done("a") == START + 120 * S


def test_what_is_not_down_sampled_goes_on() -> None:
    w = Windows({"a": MINUTE, "c": Thinning(change_only=True)}, {})
    mapped = [Mapped([("a", START, 1), ("c", START, 2), ("d", START, 3)], [], 5)]
    rows = Rows(("d", "e"), 0)
    rest, _, _ = w.take(1, [*enumerate(mapped), (1, rows)], 0.0)
    assert rest == [(0, Mapped([("c", START, 2), ("d", START, 3)])), (1, rows)]


def test_forgotten_values_leave_their_windows() -> None:
    w = windows()
    w.take(1, samples(("a", 0, 1), ("a", 1, 5), ("b", 0, 1)), 0.0)
    assert w.forget(lambda token: token in (1, 3)) == Counter({1: 1, 3: 1})
    assert [(one.input_id, one.value, one.tokens) for one in w.end()] == [("a", 5, Counter({2: 1}))]
    w.reopen("a", START)
    assert w.take(9, samples(("a", 0, 4)), 0.0)[1] == Counter()


@pytest.mark.parametrize(("by", "wanted"), [("last", 2), ("mean", 3), ("min", 2), ("max", 4)])
def test_what_stands_for_a_window(by: Aggregate, wanted: float) -> None:
    assert aggregate(by, array("q", [3, 1, 2, 2]), array("d", [2, 3, 9, 4])) == wanted


def test_the_mean_of_large_numbers_is_one() -> None:
    assert aggregate("mean", array("q", [1, 2, 3]), array("d", [1.7e308] * 3)) == pytest.approx(1.7e308)
