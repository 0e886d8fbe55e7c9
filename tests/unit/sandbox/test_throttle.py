"""The rate limit as a function of the time: who waits how long, and who times out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.throttle import Throttle


def test_one_turn_a_second_and_the_excess_waits() -> None:
    throttle = Throttle(requests_per_second=1, queue_seconds=10)
    assert [throttle.take("insert", 100.0) for _ in range(4)] == [0, 1, 2, 3]
    assert throttle.take("insert", 101.5) == 2.5


def test_a_request_that_would_wait_too_long_takes_no_turn() -> None:
    throttle = Throttle(requests_per_second=1, queue_seconds=2)
    assert [throttle.take("insert", 0.0) for _ in range(5)] == [0, 1, 2, None, None]
    assert throttle.take("insert", 1.0) == 2


def test_a_pause_earns_no_burst() -> None:
    throttle = Throttle(requests_per_second=2, queue_seconds=10)
    throttle.take("insert", 0.0)
    assert [throttle.take("insert", 60.0) for _ in range(3)] == [0, 0.5, 1]


def test_every_method_has_turns_of_its_own() -> None:
    throttle = Throttle(requests_per_second=1, queue_seconds=10)
    assert throttle.take("insert", 0.0) == 0
    assert throttle.take("save", 0.0) == 0
    assert throttle.take("insert", 0.0) == 1


def test_asking_takes_nothing() -> None:
    throttle = Throttle(requests_per_second=1, queue_seconds=10)
    assert throttle.wait("insert", 0.0) == 0
    throttle.take("insert", 0.0)
    assert throttle.wait("insert", 0.25) == 0.75
    assert throttle.wait("insert", 0.25) == 0.75


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    rate=st.floats(0.1, 10),
    queue=st.floats(0, 20),
)
def test_executions_are_never_closer_than_the_rate_and_never_later_than_the_queue(
    gaps: list[float], rate: float, queue: float
) -> None:
    throttle = Throttle(requests_per_second=rate, queue_seconds=queue)
    now, executed = 0.0, []
    for gap in gaps:
        now += gap
        wait = throttle.take("insert", now)
        if wait is not None:
            assert 0 <= wait <= queue
            executed.append(now + wait)
    assert executed
    assert all(later - earlier >= 1 / rate - 1e-6 for earlier, later in pairwise(executed))
