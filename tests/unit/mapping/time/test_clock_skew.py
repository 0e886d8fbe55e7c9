"""Offsets of whole hours, as local times are that were taken for UTC."""

from __future__ import annotations

import pytest

from connector.mapping.time.clock_skew import zone_hours

MINUTE_US = 60_000_000


@pytest.mark.parametrize(
    ("minutes", "hours"),
    [
        (120, 2),
        (-120, -2),
        (119, 2),
        (121.5, 2),
        (330, 5.5),
        (-480, -8),
        (0, None),
        (5, None),
        (100, None),
        (1000, None),
    ],
)
def test_zone_hours(minutes: float, hours: float | None) -> None:
    assert zone_hours(round(minutes * MINUTE_US)) == hours
