"""Stopping the demo: what a first and a second signal mean, and what waiting does about them."""

from __future__ import annotations

import os
import signal

import pytest

from connector.demo.children import DemoError
from connector.demo.run import StoppedError, StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_to_stop_and_the_second_to_hurry(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert not signals.stop.is_set()
        os.kill(os.getpid(), number)
        assert signals.stop.wait(60)
        assert not signals.hurry.is_set()
        os.kill(os.getpid(), number)
        assert signals.hurry.wait(60)
    assert signal.getsignal(number) is before


def test_waiting_ends_when_the_user_stops() -> None:
    signals = StopSignals()
    signals.stop.set()
    with pytest.raises(StoppedError):
        signals.wait_for(lambda: False, 60, "never")


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(DemoError, match="in vain: the broker listens"):
        StopSignals().wait_for(lambda: False, 0, "the broker listens")


def test_waiting_ends_when_it_is_true() -> None:
    turns = iter([False, False, True])
    StopSignals().wait_for(lambda: next(turns), 60, "soon")
