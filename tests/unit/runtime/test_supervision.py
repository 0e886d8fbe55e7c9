"""When a thread counts as standing still, and what is said of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from connector.runtime.supervision import Supervision
from connector.threads.watched import STILL_SECONDS, WatchedThread, moves
from tests.waiting import wait_until


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def thread_that(work: Callable[[], None], clock: Clock, name: str = "worker") -> Iterator[WatchedThread]:
    thread = WatchedThread(name, "", work, clock=clock)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def waiting_thread(clock: Clock, within: float = STILL_SECONDS) -> Iterator[tuple[WatchedThread, threading.Event]]:
    """A thread that waits for the event, says that it moves, and ends after a second one."""
    go, moved = threading.Event(), threading.Event()

    def work() -> None:
        moves(within)
        moved.set()
        go.wait(10)
        moves()
        moved.set()
        end.wait(10)

    end = threading.Event()
    with thread_that(work, clock) as thread:
        moved.wait(10)
        moved.clear()

        def on() -> None:
            go.set()
            assert moved.wait(10)

        thread.go_on = on  # type: ignore[attr-defined]
        yield thread, go
        go.set()
        end.set()


def look(supervision: Supervision, clock: Clock, seconds: float) -> list[str]:
    """What is wrong after so many seconds with a look every half second."""
    for _ in range(round(seconds * 2)):
        clock.now += 0.5
        supervision.look()
    return supervision.problems()


def test_a_thread_that_does_not_move_in_time_is_a_problem_until_it_moves(clock: Clock) -> None:
    with waiting_thread(clock) as (thread, _):
        supervision = Supervision(lambda: [thread], clock)
        assert look(supervision, clock, STILL_SECONDS) == []
        (problem,) = look(supervision, clock, 2)
        assert "the thread worker has not moved for 122 s" in problem
        thread.go_on()  # type: ignore[attr-defined]
        assert look(supervision, clock, 1) == []


def test_a_long_step_that_was_announced_is_no_problem(clock: Clock) -> None:
    with waiting_thread(clock, within=600) as (thread, _):
        supervision = Supervision(lambda: [thread], clock)
        assert look(supervision, clock, 599) == []
        assert look(supervision, clock, 3) != []


def test_after_a_stop_of_the_whole_process_threads_have_time_to_move(clock: Clock) -> None:
    with waiting_thread(clock) as (thread, _):
        supervision = Supervision(lambda: [thread], clock)
        supervision.look()
        clock.now += 10_000  # SIGSTOP, or a suspended virtual machine
        supervision.look()
        assert supervision.problems() == []
        thread.go_on()  # type: ignore[attr-defined]
        assert look(supervision, clock, 2) == []


def test_without_a_look_the_main_thread_stands_still(clock: Clock) -> None:
    supervision = Supervision(list, clock)
    assert supervision.problems() == [], "it has not begun"
    supervision.look()
    clock.now += 31
    (problem,) = supervision.problems()
    assert "the main thread has not checked the others for 31 s" in problem
    supervision.pause()
    assert supervision.problems() == [], "it has ended"


def test_where_a_thread_stands_is_said_without_values(clock: Clock) -> None:
    with waiting_thread(clock) as (thread, _):
        where = wait_until(lambda: "work" in thread.where() and thread.where(), 10, "the place")
        assert "test_supervision.py" in where
        assert "wait" in where
    assert thread.where() == ""


def test_a_thread_that_ended_unexpectedly_stays_a_problem(clock: Clock) -> None:
    def work() -> None:
        raise MemoryError("no memory")

    with thread_that(work, clock) as thread:
        supervision = Supervision(lambda: [thread], clock)
        wait_until(lambda: look(supervision, clock, 1), 10, "the problem")
    (problem,) = supervision.problems()
    assert "the thread worker ended" in problem
    assert "no memory" in problem


def test_a_thread_that_ended_as_asked_is_no_problem(clock: Clock) -> None:
    with thread_that(lambda: None, clock) as thread:
        pass
    assert look(Supervision(lambda: [thread], clock), clock, 500) == []


def test_moving_in_a_thread_that_nobody_watches_does_nothing() -> None:
    moves()


def test_a_thread_that_ended_without_a_word_is_a_problem(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory, a thread may end before its first line."""
    monkeypatch.setattr(WatchedThread, "run", lambda _thread: None)
    with thread_that(lambda: None, clock) as thread:
        pass
    (problem,) = look(Supervision(lambda: [thread], clock), clock, 1)
    assert "the thread worker ended without an error" in problem
