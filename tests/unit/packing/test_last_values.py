"""The last values of signals: of tables with waiting samples, of empty ones, and of tables that were forgotten."""

from __future__ import annotations

import pytest

from connector.packing import pending as module
from connector.packing.last_values import LastValue, LastValues, last_of
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.packing.table import RECENT_ROWS, Table
from connector.records import Mapped


def add(pending: Pending, token: int, *samples: tuple[str, int, float]) -> None:
    pending.add(token, [(0, Mapped(list(samples)))], 1.0)


def test_a_value_is_known_while_it_waits_and_after_it_was_sent() -> None:
    pending = Pending()
    assert pending.last("a") is None
    add(pending, 1, ("a", 5, 1.5), ("b", 5, 2.5))
    assert pending.last("b") == LastValue(5, 2.5)
    pending.take(plan_frame(pending, 10**6, 1.0))
    assert (pending.waiting, pending.last("a")) == (0, LastValue(5, 1.5))
    for n in range(2 * RECENT_ROWS):
        add(pending, 2 + n, ("one", n, float(n)))
    assert pending.last("one") == LastValue(2 * RECENT_ROWS - 1, 2 * RECENT_ROWS - 1.0)


def test_a_value_of_a_forgotten_table_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORGET_ABOVE", 10)
    pending = Pending()
    for n in range(50):
        add(pending, n, (f"s{n}", n, float(n)))
        pending.take(plan_frame(pending, 10**6, 1.0))
    assert len(pending.every_table()) < 20
    assert [pending.last(f"s{n}") for n in range(50)] == [LastValue(n, float(n)) for n in range(50)]
    add(pending, 99, ("s0", 99, 9.0))
    assert pending.last("s0") == LastValue(99, 9.0)


def test_signals_beyond_the_bound_are_left_out_and_said() -> None:
    def table(time_us: int, *inputs: str) -> Table:
        found = Table(inputs)
        found.append(time_us, 1, [float(time_us)] * len(inputs))
        found.take(1)
        return found

    assert list(last_of(Table(["a"]))) == []
    kept = LastValues(most=2)
    kept.note([table(1, "a", "b")])
    assert not kept.full
    kept.note([table(2, "b"), table(2, "c")])
    assert (kept.full, kept.of("c")) == (True, None)
    assert kept.items() == [("a", LastValue(1, 1.0)), ("b", LastValue(2, 2.0))]
