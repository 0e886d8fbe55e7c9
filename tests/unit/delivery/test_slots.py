"""Rate slots, on a clock that the tests move by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from connector.delivery.slots import Slots
from tests.scripted import Abort, Clock


@pytest.mark.parametrize("per_second", [0.2, 1.0, 100.0])
def test_slots_are_never_closer_than_the_rate_allows(per_second: float) -> None:
    clock = Clock()
    slots = Slots(per_second, Abort(clock), clock)
    taken = []
    for work in (0.0, 0.3, 0.0, 2.0, 20.0, 0.0, 0.0):
        assert slots.wait()
        taken.append(clock.now)
        clock.now += work
    gaps = [later - earlier for earlier, later in pairwise(taken)]
    assert all(gap >= 1 / per_second for gap in gaps)
    assert taken[0] == 1000.0, "the first one is free"


def test_time_that_went_by_is_not_saved_up() -> None:
    clock = Clock()
    slots = Slots(1.0, Abort(clock), clock)
    slots.wait()
    clock.now += 100
    slots.wait()
    before = clock.now
    slots.wait()
    assert clock.now - before >= 1.0


def test_a_rate_that_changes_counts_in_the_wait_under_way() -> None:
    clock = Clock()
    rate = 0.01
    slots = Slots(lambda: rate, Abort(clock), clock)
    assert slots.wait()
    clock.now += 5.0
    rate = 1.0
    before = clock.now
    assert slots.wait()
    assert clock.now == before, "at the new rate the slot is long due"
    rate = 0.1
    assert slots.wait()
    assert clock.now - before == pytest.approx(10.0, abs=0.1)


def test_a_wait_is_not_slept_through_when_the_rate_rises() -> None:
    clock = Clock()
    slots = Slots(lambda: 0.01 if clock.now < 1003.0 else 1.0, Abort(clock), clock)
    assert slots.wait()
    assert slots.wait()
    assert clock.now < 1005.0


def test_an_abort_ends_the_wait_for_a_slot() -> None:
    clock = Clock()
    slots = Slots(1.0, Abort(clock, in_wait=1), clock)
    assert slots.wait()
    assert not slots.wait()


def test_after_an_abort_there_are_no_slots() -> None:
    clock = Clock()
    abort = Abort(clock)
    abort.set()
    assert not Slots(1.0, abort, clock).wait()
    assert not Slots(1.0, abort, clock).pause(5.0)


def test_a_pause_waits_without_taking_a_slot() -> None:
    clock = Clock()
    slots = Slots(1.0, Abort(clock), clock)
    assert slots.pause(5.0)
    assert clock.now == 1005.0
    assert slots.wait()
    assert clock.now == 1005.0
