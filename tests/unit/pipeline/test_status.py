"""Replaced values: counted by topic, said for the first inputs, and handed over for the account."""

from __future__ import annotations

from typing import Any

from connector.ledger.progress import RecordLocation
from connector.packing.overwrites import Overwrite
from connector.pipeline.discoveries import Overwritten
from connector.pipeline.notices import Notices
from connector.pipeline.status import PipelineStatus

TIME = 1_790_000_000_000_000


def status(notices: Notices) -> PipelineStatus:
    """Without the parts that are not asked."""
    parts: list[Any] = [None] * 6
    return PipelineStatus({}, *parts[:3], {}, lambda: None, notices)


def overwrite(input_id: str, topic: str, after: float = 2.0) -> tuple[Overwrite, RecordLocation]:
    return Overwrite(input_id, TIME, 1.0, after, 7), RecordLocation("plant", "p", 7, topic)


def test_the_first_inputs_are_named_and_further_ones_are_one_notice() -> None:
    notices = Notices()
    found = status(notices)
    found.overwrote([overwrite(f"in{n}", "t/1") for n in range(25) for _ in range(2)])
    found.overwrote([overwrite("in0", "t/2", 9.0)])
    shown = notices.shown()
    assert notices.counts() == {"value_overwritten": 20, "more_values_overwritten": 1}
    assert (shown[0].source, shown[0].subject, shown[0].count) == ("plant", "in0", 3)
    assert (
        "input 'in0' has two values at 2026-09-21T14:13:20Z, 1 and then 2 of topic 't/1': the later one stands"
        in shown[0].text
    )
    assert "time" in shown[0].remedy
    assert (shown[-1].count, "'in24' of topic 't/1'" in shown[-1].text) == (10, True)
    assert dict(found.overwritten_by_topic) == {"t/1": 50, "t/2": 1}


def test_the_account_is_handed_over_in_parts() -> None:
    found = status(Notices())
    found.overwrote([overwrite("a", "t/1"), overwrite("b", "t/1"), overwrite("a", "t/2")])
    assert found.take_overwritten() == {"a": Overwritten("t/2", 2), "b": Overwritten("t/1", 1)}
    assert found.take_overwritten() == {}
    found.overwrote([overwrite("a", "t/1")])
    assert found.take_overwritten() == {"a": Overwritten("t/1", 1)}


def test_topics_and_inputs_are_bounded() -> None:
    found = status(Notices())
    found.overwrote([overwrite(f"in{n}", f"t/{n}") for n in range(1000)])
    assert len(found.overwritten_by_topic) == 101
    assert found.overwritten_by_topic["(others)"] == 900
    assert len(found.take_overwritten()) == 200
