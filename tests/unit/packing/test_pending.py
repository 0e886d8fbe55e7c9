"""Tables get as fine as the records need, and no finer; empty tables are forgotten when they are many."""

from __future__ import annotations

import pytest

from connector.packing import pending as module
from connector.packing.frame import encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.packing.rates import RateWatch, SampleRates
from connector.records import Mapped

SECOND = 1_000_000


def add(pending: Pending, token: int, time_us: int, *inputs: str, now: float = 0.0) -> None:
    pending.add(token, enumerate([Mapped([(input_id, time_us, float(token)) for input_id in inputs])]), now)


def shapes(pending: Pending) -> list[tuple[tuple[str, ...], list[int]]]:
    return [(table.inputs, list(table.tokens)) for table in pending.tables()]


def test_inputs_that_come_together_share_a_table() -> None:
    pending = Pending()
    add(pending, 0, 1, "a", "b", "c")
    add(pending, 1, 2, "a", "b", "c")
    add(pending, 2, 2, "d")
    assert shapes(pending) == [(("a", "b", "c"), [0, 1]), (("d",), [2])]


def test_a_record_with_some_of_them_splits_the_table_and_keeps_the_order() -> None:
    pending = Pending()
    add(pending, 0, 1, "a", "b", "c")
    add(pending, 1, 2, "c", "a")
    assert shapes(pending) == [(("a", "c"), [0, 1]), (("b",), [0])]
    add(pending, 2, 3, "c", "b", "a")
    assert shapes(pending) == [(("a", "c"), [0, 1, 2]), (("b",), [0, 2])]
    assert pending.waiting == 8


def test_inputs_seen_later_have_a_table_of_their_own() -> None:
    pending = Pending()
    add(pending, 0, 1, "a")
    add(pending, 1, 2, "a", "b", "c")
    assert shapes(pending) == [(("a",), [0, 1]), (("b", "c"), [1])]


def test_a_value_that_comes_three_times_in_a_record_keeps_its_order() -> None:
    pending = Pending()
    pending.add(0, enumerate([Mapped([("a", 1, 1.0), ("a", 1, 2.0), ("a", 1, 3.0)])]), 0.0)
    (table,) = pending.tables()
    assert list(table.values) == [1.0, 2.0, 3.0]


def test_several_times_in_one_record_are_rows_of_their_own() -> None:
    pending = Pending()
    pending.add(7, enumerate([Mapped([("a", 1, 1.0), ("b", 1, 2.0), ("a", 2, 3.0), ("b", 2, 4.0)])]), 0.0)
    (table,) = pending.tables()
    assert (list(table.times), list(table.tokens), list(table.values)) == ([1, 2], [7, 7], [1.0, 2.0, 3.0, 4.0])


def test_empty_tables_are_forgotten_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORGET_ABOVE", 10)
    pending = Pending()
    for token in range(50):
        add(pending, token, 1, f"once-{token}")
    pending.take(plan_frame(pending, 10**6, 0.0))
    add(pending, 50, 1, "a")
    plan = plan_frame(pending, 10**6, 0.0)
    assert len(pending.take_row_counts()) == 1
    assert encode_frame(pending.take(plan)).samples == 1
    add(pending, 51, 2, "once-3")
    assert pending.waiting == 1


def test_arrival_times_are_kept_for_what_waits_only() -> None:
    pending = Pending()
    for token in range(1000):
        add(pending, token, token, "a", now=float(token))
        plan = plan_frame(pending, 10**6, 0.0)
        pending.take(plan)
        pending.forget_before(plan.left)
    assert len(pending._arrivals) == 0
    add(pending, 1000, 0, "a", now=1000.0)
    assert pending.oldest() == 1000.0


def test_a_bundle_ranks_where_it_was_added() -> None:
    pending = Pending()
    pending.add(-1, enumerate([Mapped([("w", 0, 9.0)])]), 0.5)
    add(pending, 10, 1, "a", now=1.0)
    pending.add(-2, enumerate([Mapped([("w", 5, 8.0)])]), 2.0)
    add(pending, 20, 2, "a", now=3.0)
    pending.add(-3, enumerate([Mapped([("w", 7, 6.0)])]), 3.5)
    assert pending.oldest() == 0.5
    order: list[int] = []
    while pending.waiting:
        plan = plan_frame(pending, 1, 4.0)  # so little that one sample goes at a time
        order += [token for block in pending.take(plan) for token in block.tokens]
        pending.forget_before(plan.left)
        assert (plan.left is None) == (pending.waiting == 0)
    assert order == [-1, 10, -2, 20, -3]
    pending.add(-4, enumerate([Mapped([("w", 8, 5.0)])]), 5.0)
    assert pending.drop(lambda token: token == -4) == {-4: 1}
    assert pending.oldest() is None


def test_how_often_signals_have_samples() -> None:
    seen: list[SampleRates] = []
    watch, pending = RateWatch(seen.append), Pending()
    token = 0
    for second in range(61):
        inputs = ["fast", *(["slow"] if second in (0, 40) else [])]
        for input_id in inputs:
            add(pending, token, second * SECOND, input_id)
            token += 1
        for n in range(3):
            add(pending, token, second * SECOND + n, "faster", "faster too")
            token += 1
        pending.take(plan_frame(pending, 10**6, 0.0))
        watch.look(pending, float(second))
    (rates,) = seen
    assert (rates.signals, rates.over_average, rates.over_burst) == (4, 3, 2)
    assert rates.fastest[0] == ("faster", pytest.approx(3, rel=0.05))
