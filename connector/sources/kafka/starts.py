"""Where reading of a partition begins: the group's position, if it has one and the log still holds it.

Asked while librdkafka waits for our answer to an assignment, for all new partitions at once: one request to the
group's coordinator and one or two to each partition's leader. What cannot be found out is left to librdkafka, which
reports a position that is not valid when it fetches from there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from connector.sources.partitions import partition_name

Policy = Literal["earliest", "latest", "error"]
"""Where a group begins that has no position: `auto_offset_reset`."""

_RETRY_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 0.1
_SECOND_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading of one partition begins."""

    offset: int | None
    """None if that could not be found out, or if there is no position and the policy wants one."""
    expected: int | None = None
    """Where it was to go on; None if the group has no position, or that could not be found out."""
    no_position: bool = False
    """The group has none, and the policy is `error`."""

    @property
    def lost(self) -> int:
        """Offsets that were wanted and are not in the log any more."""
        return 0 if self.offset is None or self.expected is None else max(0, self.offset - self.expected)

    @property
    def cut(self) -> bool:
        """The log was cut before the position, or the topic made anew."""
        return self.offset is not None and self.expected is not None and self.offset < self.expected


def start_of(
    expected: int | None, low: int | None, high: int | None, policy: Policy, *, refused: bool = False
) -> Start:
    """`low` and `high` are the first offset of the log and the one after its last, None if not known; `refused` says
    that the broker refused the expected position. What was cut off a log may have been written anew since, so all of
    it is read then."""
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
        """All questions of one call of `find` together take at most about `seconds`."""
        self._consumer = consumer
        self._policy = policy
        self._seconds = seconds
        self.trouble: str | None = None
        """Why something could not be found out, the last time."""

    def find(
        self,
        partitions: Collection[TopicPartition],
        taken: Mapping[str, int] | None = None,
        refused: Mapping[str, int | None] | None = None,
    ) -> dict[str, Start]:
        """Partition → its start. `taken` says where reading goes on in those that were read before, whatever the group
        knows; `refused`, which position the broker refused (None: the group's, whichever that is)."""
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
        if beyond:  # a leader that has just taken over may not know its end at once
            time.sleep(min(_SECOND_LOOK_SECONDS, self._seconds / 4))
            high |= self._offsets(beyond, OFFSET_END, time.monotonic() + self._seconds / 4)
        starts = dict.fromkeys(names, Start(None))
        for name, expected in positions.items():
            is_refused = name in refused and refused[name] in (None, expected)
            starts[name] = start_of(expected, low.get(name), high.get(name), self._policy, refused=is_refused)
        return starts

    def _committed(self, partitions: list[TopicPartition], until: float) -> dict[str, int | None]:
        """The group's positions, None where it has none; partitions that it could not say it of are missing."""
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
        """Kafka takes two numbers for times: -2 is the first offset there is, -1 the one after the last (KIP-79)."""
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
            time.sleep(_RETRY_SECONDS)  # a leader that has just taken over does not answer at first
        return offsets


def _name(partition: TopicPartition) -> str:
    return partition_name(partition.topic, partition.partition)
