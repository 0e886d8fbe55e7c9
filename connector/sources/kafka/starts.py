"""Finds the positions where reading begins: the group's position, if there is one and the log still holds it.

The brokers are asked while librdkafka waits for the answer to an assignment. The questions are for all new partitions
at once: one request to the group's coordinator, and one or two requests to each partition's leader. If a start stays
unknown, librdkafka begins at the group's position, and reports an invalid position when it fetches.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from connector.sources.partitions import partition_name

Policy = Literal["earliest", "latest", "error"]
"""The setting `auto_offset_reset`: where a group without a position begins."""

_RETRY_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 0.1
_SECOND_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """The start of reading in one partition."""

    offset: int | None
    """The first offset to read; None if it is unknown, or if the group has no position and the policy is `error`."""
    expected: int | None = None
    """The offset where reading should go on; None if the group has no position, or if the position is unknown."""
    no_position: bool = False
    """Whether the group has no position and the policy is `error`."""

    @property
    def lost(self) -> int:
        """Number of offsets from the expected one that are not in the log any more."""
        return 0 if self.offset is None or self.expected is None else max(0, self.offset - self.expected)

    @property
    def cut(self) -> bool:
        """Whether the log was cut before the expected offset, or the topic was created again."""
        return self.offset is not None and self.expected is not None and self.offset < self.expected


def start_of(
    expected: int | None, low: int | None, high: int | None, policy: Policy, *, refused: bool = False
) -> Start:
    """Returns the start of a partition.

    `low` is the first offset of the log and `high` the offset after its last record; None if unknown. `refused` says
    that the broker refused the expected position. If a log was cut, new records may have the offsets of the removed
    ones, so the whole log is read.
    """
    if expected is None:
        if policy == "error":
            return Start(None, no_position=True)
        return Start(low if policy == "earliest" else high)
    if refused:
        return Start(low, expected)
    if low is not None and (expected < low or (high is not None and expected > high)):
        return Start(low, expected)
    return Start(expected, expected)


class StartFinder:
    """Asks the cluster where partitions begin."""

    def __init__(self, consumer: Consumer, policy: Policy, seconds: float) -> None:
        """`seconds` limits the time of one call of `find`, with all its questions, roughly."""
        self._consumer = consumer
        self._policy = policy
        self._seconds = seconds
        self.trouble: str | None = None
        """The reason of the last failed question, in the last call of `find`; None if no question failed."""

    def find(
        self,
        partitions: Collection[TopicPartition],
        taken: Mapping[str, int] | None = None,
        refused: Mapping[str, int | None] | None = None,
    ) -> dict[str, Start]:
        """Partition → its start. Waits for the network; raises nothing.

        For partitions that were read before, `taken` has the offset where reading goes on; the group's position does
        not matter for them. `refused` has positions that the broker refused; None stands for the group's position.
        """
        self.trouble = None
        taken, refused = taken or {}, refused or {}
        until = time.monotonic() + self._seconds
        names = {_name(partition): partition for partition in partitions}
        positions: dict[str, int | None] = dict(self._committed([p for n, p in names.items() if n not in taken], until))
        positions |= {name: taken[name] for name in names if name in taken}
        low = self._offsets(names.values(), OFFSET_BEGINNING, until)
        high = self._offsets(names.values(), OFFSET_END, until)
        beyond = [
            names[name]
            for name, position in positions.items()
            if position is not None and name in high and position > high[name]
        ]
        if beyond:  # a new leader may not know the end of its log at once
            time.sleep(min(_SECOND_LOOK_SECONDS, self._seconds / 4))
            high |= self._offsets(beyond, OFFSET_END, time.monotonic() + self._seconds / 4)
        starts = dict.fromkeys(names, Start(None))
        for name, expected in positions.items():
            is_refused = name in refused and refused[name] in (None, expected)
            starts[name] = start_of(expected, low.get(name), high.get(name), self._policy, refused=is_refused)
        return starts

    def _committed(self, partitions: list[TopicPartition], until: float) -> dict[str, int | None]:
        """Partition → the group's position, or None if the group has no position; missing if there was no answer."""
        found: dict[str, int | None] = {}
        while partitions:
            try:
                answers = self._consumer.committed(partitions, timeout=max(_LEAST_SECONDS, until - time.monotonic()))
            except KafkaException as error:
                self.trouble = error.args[0].str()
            else:
                for answer in answers:
                    if answer.error is None:
                        found[_name(answer)] = answer.offset if answer.offset >= 0 else None
                    else:
                        self.trouble = f"{_name(answer)}: {answer.error.str()}"
                partitions = [partition for partition in partitions if _name(partition) not in found]
            if not partitions or time.monotonic() + _RETRY_SECONDS >= until:
                break
            time.sleep(_RETRY_SECONDS)
        return found

    def _offsets(self, partitions: Collection[TopicPartition], which: int, until: float) -> dict[str, int]:
        """Partition → an offset: the first one with `which` -2, the one after the last record with -1 (KIP-79)."""
        wanted = {_name(found): TopicPartition(found.topic, found.partition, which) for found in partitions}
        offsets: dict[str, int] = {}
        while wanted:
            left = max(_LEAST_SECONDS, until - time.monotonic())
            try:
                answers = self._consumer.offsets_for_times(list(wanted.values()), timeout=left)
            except KafkaException as error:
                self.trouble = error.args[0].str()
                answers = []
            for answer in answers:
                if answer.error is None and answer.offset >= 0:
                    offsets[_name(answer)] = answer.offset
                    wanted.pop(_name(answer), None)
                elif answer.error is not None:
                    self.trouble = f"{_name(answer)}: {answer.error.str()}"
            if not wanted or time.monotonic() + _RETRY_SECONDS >= until:
                break
            time.sleep(_RETRY_SECONDS)  # a new leader does not answer at first
        return offsets


def _name(partition: TopicPartition) -> str:
    return partition_name(partition.topic, partition.partition)
