"""The last hour: a point every ten seconds, and no more than an hour's."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from connector.ledger.account import Counts
from connector.runtime.history import History
from tests.scripted import Clock, ListSource


class Counting(ListSource):
    def gauges(self) -> dict[str, float]:
        return {"mqtt_connected": 1.0, "mqtt_received_total": 70.0}

    def unread(self) -> int:
        return 5


def status(*sources: ListSource) -> Any:
    return SimpleNamespace(
        sources=lambda: sources,
        waiting=lambda: (3, 4),
        messages=Counts(received=60),
        samples=Counts(received=600),
        inserted_samples=Counter({"": 500, "north": 50}),
        reasons=Counter(not_utf8=2),
        requests=9,
    )


def test_a_point_has_what_came_in_waits_and_left() -> None:
    history = History(Clock(1234.0))
    history.note(status(Counting("plant")))
    (point,) = history.points()
    assert point._asdict() == {
        "at": 1230,
        "messages": 70,
        "samples": 600,
        "inserted": 550,
        "dead_letters": 2,
        "requests": 9,
        "waiting_messages": 8,
        "waiting_samples": 4,
        "by_source": {"plant": 70},
    }
    history = History(Clock(1234.0))
    history.note(status(Counting("plant"), ListSource("silent")))
    assert history.points()[0].messages == 60, "one source does not say what it received: the pipeline's count"


def test_the_history_is_bounded() -> None:
    clock = Clock(0.0)
    history = History(clock)
    for _ in range(2000):
        clock.now += 5.0
        history.note(status())
    times = [point.at for point in history.points()]
    assert times == list(range(10_000 - 3600, 10_001, 10))
