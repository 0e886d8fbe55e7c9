"""Partitions whose records wait for a broker or a producer, and the lag, by librdkafka's statistics. No I/O.

For the thread that polls; other threads may read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from connector.sources.partitions import partition_name

_AWAY_SECONDS: Final = 4.0
"""Seconds for which a partition may have no leader: a change of leaders takes less."""
_HANGING_SECONDS: Final = 20.0
_LONGEST_USUAL_SECONDS: Final = 120.0
"""Seconds for which a transaction may hold back records until this is a trouble: more if transactions take long, as
those of Flink do, and at most twice the time-out that producers have by default."""
_UNREAD: Final = ("none", "stopping", "stopped")
"""States of fetching of a partition that this member does not have."""


@dataclass(frozen=True, slots=True)
class _Partition:
    """A partition in the last statistics; -1 and lower stand for unknown numbers."""

    name: str
    topic: str
    leader: int
    fetched: int
    """The next offset to fetch. librdkafka steps over offsets without records, such as ends of transactions."""
    position: int
    """The next offset to hand over. While records of any partition wait in librdkafka, only the next one after the last
    record is known."""
    end: int
    """The high watermark."""
    stable: int
    """The last stable offset: where the first transaction begins that has not ended."""


class Waiting:
    """What the last statistics say about the partitions of this member; times are seconds of any clock."""

    def __init__(self) -> None:
        self._partitions: dict[str, _Partition] = {}
        self._away: dict[str, float] = {}
        """Partition → time when it was first seen without a leader that can be reached."""
        self._hanging: dict[str, tuple[int, float]] = {}
        """Partition → (last stable offset, time since when it stands still while records come after it)."""
        self._usual: dict[str, float] = {}
        """Partition → seconds that a transaction there may take, if one that ended has taken long."""

    def look(self, topics: dict[str, Any], up: AbstractSet[int], now: float, *, reading: bool) -> set[str]:
        """Take in the topics of the statistics; returns the topics of which a partition has a leader that is up.

        `up` has the IDs of the brokers that are up. If not `reading`, librdkafka does not learn how the logs go on, so
        nothing is known about transactions.
        """
        partitions = {found.name: found for found in _partitions(topics)}
        led = [found for found in partitions.values() if found.leader in up]
        away = {name: self._away.get(name, now) for name in partitions.keys() - {found.name for found in led}}
        hanging = {}
        for found in led:
            before = self._hanging.get(found.name)
            if before is not None and before[0] != found.stable:  # this transaction has ended
                usual = max(self._usual.get(found.name, _HANGING_SECONDS), 2 * (now - before[1]))
                self._usual[found.name] = min(usual, _LONGEST_USUAL_SECONDS)
            if reading and 0 <= found.stable < found.end:
                still = before is not None and before[0] == found.stable
                hanging[found.name] = before if before is not None and still else (found.stable, now)
        self._partitions, self._away, self._hanging = partitions, away, hanging
        return {found.topic for found in led}

    def topics(self) -> set[str]:
        """The topics of which this member has partitions."""
        return {found.topic for found in self._partitions.values()}

    def names(self) -> set[str]:
        """The partitions that this member has."""
        return set(self._partitions)

    def forget_transactions(self) -> None:
        """Forget what transactions hold back, as reading is paused or goes on."""
        self._hanging = {}

    def problems(self, now: float) -> dict[str, str]:
        """Kind of problem → text about the partitions whose records wait, for people."""
        found: dict[str, str] = {}
        if away := [name for name, since in list(self._away.items()) if now - since >= _AWAY_SECONDS]:
            found["no leader"] = (
                f"no leader can be reached for {some(away)}: records there wait; start the brokers that have these "
                "partitions"
            )
        hanging = [
            name
            for name, (_, since) in list(self._hanging.items())
            if now - since >= self._usual.get(name, _HANGING_SECONDS)
        ]
        if hanging:
            found["a transaction"] = (
                f"a transaction of a producer does not end, and holds back the records after it in {some(hanging)}; "
                "see whether the producer runs, and end its transaction (kafka-transactions.sh find-hanging, abort)"
            )
        return found

    def lag(self, owned: Collection[str]) -> float:
        """Number of offsets after the positions of the partitions `owned`.

        Records that an open transaction holds back count, too.
        """
        known = self._partitions
        return float(sum(max(0, found.end - found.position) for name in owned if (found := known.get(name))))

    def fetched(self, partition: str) -> int:
        """The next offset to fetch of a partition; -1 or lower if unknown."""
        found = self._partitions.get(partition)
        return -1 if found is None else found.fetched

    def waits(self, partition: str) -> bool:
        """Whether a partition cannot move before a broker or a producer does something."""
        return partition in self._away or partition in self._hanging


def some(partitions: Iterable[str]) -> str:
    """The first ten names, and the number of the others, for people."""
    names = sorted(partitions)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _partitions(topics: dict[str, Any]) -> Iterator[_Partition]:
    """The partitions that this member has. All partitions share the queue of which `fetchq_cnt` is the length."""
    for topic, view in topics.items():
        for number, partition in view["partitions"].items():
            if int(number) < 0 or partition.get("fetch_state", "active") in _UNREAD:
                continue
            end, stable = partition.get("hi_offset", -1), partition.get("ls_offset", -1)
            fetched, handed = partition.get("next_offset", -1), partition.get("app_offset", -1)
            position = fetched if partition.get("fetchq_cnt", 0) == 0 or handed < 0 else handed
            name, leader = partition_name(topic, int(number)), partition.get("leader", -1)
            yield _Partition(name, topic, leader, fetched, position if position >= 0 else end, end, stable)
