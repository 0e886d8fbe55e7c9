"""What must stay fast, as ratios of two works in one process: a machine that is busy disturbs both alike.

The margins are wide: only a step back by a factor fails. `make bench` shows the small steps.
"""

from __future__ import annotations

from benchmarks import short


def test_mqtt_messages_are_read_in_bulk() -> None:
    """About 25 on two busy cores; read one by one, about 3."""
    assert short.intake() >= 5


def test_a_frame_is_written_about_as_fast_as_its_lists() -> None:
    """About 3 and 2 on two busy cores."""
    assert short.dense_frame() <= 6
    assert short.sparse_frame() <= 6
