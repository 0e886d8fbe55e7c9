"""Whether what we work on is what the group gave us. No I/O.

Three parties keep a list of our partitions: the group, librdkafka's fetchers, and we, as its callbacks told us. The
last two must agree whenever no callback runs. The group's is seen in librdkafka's statistics only, and as a number;
these are older than they look, so it has to differ in two reports with no rebalance in between.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet


class MembershipCheck:
    """Compares them, every now and then."""

    def __init__(self) -> None:
        self._suspected: tuple[int, int] | None = None
        """(report, rebalances) at which the group's number differed for the first time."""

    def difference(
        self,
        owned: AbstractSet[str],
        assigned: AbstractSet[str],
        group_count: int | None,
        *,
        report: int,
        rebalances: int,
    ) -> str | None:
        """What does not agree, for people; None if nothing is wrong, or not for certain yet. `assigned` is
        librdkafka's list, `group_count` the group's number in statistics number `report`, None while it rebalances."""
        if foreign := sorted(assigned - owned):
            return f"librdkafka reads {', '.join(foreign[:10])}, which the group did not give us"
        if missing := sorted(owned - assigned):
            return f"librdkafka does not read {', '.join(missing[:10])}, which the group gave us"
        if group_count is None or group_count == len(owned):
            self._suspected = None
            return None
        if self._suspected is None or self._suspected[1] != rebalances:
            self._suspected = (report, rebalances)
            return None
        if self._suspected[0] == report:
            return None
        self._suspected = None
        return f"the group has given us {group_count} partitions, and we work on {len(owned)}"
