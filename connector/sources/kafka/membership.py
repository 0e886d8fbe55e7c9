"""Checks that this member works on exactly the partitions that the group has assigned to it. No I/O.

Three parties have a list of these partitions: the group, librdkafka's fetchers, and the connector, whose list comes
from the callbacks. The lists of librdkafka and the connector must agree whenever no callback runs. Of the group's list,
librdkafka's statistics give only the length. The statistics may be older than the last rebalance, so the length must
differ in two reports without a rebalance between them.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet


class MembershipCheck:
    """Compares the three lists; remembers a suspicion from one call to the next."""

    def __init__(self) -> None:
        self._suspected: tuple[int, int] | None = None
        """(report, rebalances) when the group's number of partitions differed for the first time."""

    def difference(
        self,
        owned: AbstractSet[str],
        assigned: AbstractSet[str],
        group_count: int | None,
        *,
        report: int,
        rebalances: int,
    ) -> str | None:
        """Returns a text about the difference, for people; None if there is no difference, or no certain one yet.

        `owned` is the connector's list, `assigned` librdkafka's. `group_count` is the number of partitions by
        statistics number `report`, or None while the group rebalances. `rebalances` counts the rebalances so far.
        """
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
