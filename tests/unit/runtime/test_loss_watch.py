"""The watch over losses: says so once per change, in readiness and in the log."""

from __future__ import annotations

import math

import pytest

from connector.runtime.loss_watch import LossWatch
from connector.sources.loss import Horizon
from tests.scripted import Clock, ListSource


class Threatened(ListSource):
    """A source that says what the test wants."""

    said: list[Horizon] = []  # noqa: RUF012 - replaced, never changed

    def horizons(self, now: float) -> list[Horizon]:
        return self.said


def ahead(seconds: float) -> list[Horizon]:
    return [Horizon("journal", seconds, 1.0, "the journal is full")]


def test_a_loss_ahead_is_a_problem_and_logged_once_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    source = Threatened("plant")
    watch = LossWatch([source, ListSource("other")], 3600, clock=Clock())
    logged = []
    for seconds in (7200, 3000, 2000, 3700, 5000, math.inf, 6000, 100):
        source.said = [Horizon("journal", seconds, 1.0, "the journal is full")] if seconds < math.inf else []
        watch.look()
        out = capsys.readouterr().out
        logged.append("any_more" if "not_ahead" in out else "ahead" if "loss_ahead" in out else "")
        assert bool(watch.problems()) == (logged[-1] == "ahead" or (logged[-1] == "" and seconds < 5400)), seconds
    assert logged == ["", "ahead", "", "", "", "any_more", "", "ahead"]
    assert watch.problems() == ["plant: in 100 s at the present rates: the journal is full"]
    assert watch.seconds() == {("plant", "journal"): 100}


def test_a_source_that_cannot_say_is_not_asked() -> None:
    watch = LossWatch([ListSource()], 3600)
    watch.start()
    watch.look()
    assert (watch.problems(), watch.seconds()) == ([], {})
    watch.close(1)
