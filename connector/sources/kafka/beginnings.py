"""Records where the reading of partitions begins.

Reading begins at the expected position, at the position of the policy, after a loss, or with the first record of
another log. The ledger gets each position and each loss.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import TopicPartition

from connector.ledger.account import LogPosition
from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.identity import LogIdentity, Position
from connector.sources.kafka.loss import expired_text
from connector.sources.kafka.member import Member
from connector.sources.kafka.positions import Positions
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import UNKNOWN_OFFSET, Start
from connector.sources.partitions import OwnedPartition

_log = structlog.get_logger(__name__)


class _Loss(NamedTuple):
    """A loss that the ledger lacks yet."""

    what: str
    """For people."""
    records: int
    """The number of records that are certainly lost."""
    whole_log: bool
    """Whether the records were deleted together with their log; else they had expired."""
    at: TopicPartition
    """The position where reading goes on."""


EndOfLog = Callable[[str, LogIdentity], int | None]
"""(partition, identity) → the offset after the last record of this log, when it was looked at last; None if unknown."""


class Beginnings:
    """Records the starts of partitions, and their losses. For the thread that polls."""

    def __init__(
        self,
        settings: KafkaSection,
        file: SourceFile,
        assignment: Assignment,
        positions: Positions,
        member: Member,
        end_of_log: EndOfLog,
    ) -> None:
        self._settings = settings
        self._file = file
        self._assignment = assignment
        self._positions = positions
        self._member = member
        self._end_of_log = end_of_log
        self._losses: deque[_Loss] = deque()
        self.expired = 0
        """Number of records that were deleted before they could be read, since the connector started."""

    def begin_all(self, starts: Sequence[tuple[OwnedPartition, Start]]) -> None:
        """Record that the consumer now reads each partition from its start.

        If records between the expected position and the start had expired, or the log is another one, the loss is
        logged and noted for the ledger. If the group has no position and the policy is `error`, the member gives up.
        """
        if not starts:
            return
        self._positions.settlements.flush()  # what is settled in a log before must not move the positions kept now
        for owned, start in starts:
            self._begin(owned, start)
        kept = [
            LogPosition(owned.name, start.position.identity.log, start.position.identity.cluster, start.offset)
            for owned, start in starts
            if start.offset is not None
        ]
        try:
            self._file.ledger.begin(kept)
        except sqlite3.Error as error:
            self._member.note(f"the ledger cannot be written: {error}")

    def _begin(self, owned: OwnedPartition, start: Start) -> None:
        self._assignment.assigned(owned, start.offset, start.position)
        if start.offset is None:
            if start.no_position:
                self._member.gives_up(
                    f"group {self._settings.group_id!r} has no position in {owned.name}, and auto_offset_reset is "
                    "error; set the group's position, or choose earliest or latest"
                )
            return
        at = TopicPartition(owned.topic, owned.number, start.offset)
        if start.former is not None:
            self._log_replaced(owned, start.former, start.position.identity, at)
        if start.lost or start.cut:
            self._expired(owned, start, at)
        elif start.why:
            _log.info(
                "kafka_starts_at",
                source=self._settings.name,
                partition=owned.name,
                offset=start.offset,
                reason=start.why,
            )
            self._positions.begin(at)

    def _expired(self, owned: OwnedPartition, start: Start, at: TopicPartition) -> None:
        """Report that the log does not have the expected position any more."""
        what = _told(owned.name, start)
        self.expired += start.lost
        _log.error(
            "kafka_data_expired",
            source=self._settings.name,
            partition=owned.name,
            first_lost=start.expected,
            next_available=start.offset,
            detail=what,
            remedy="lengthen the topic's retention, or have more replicas read it",
        )
        self._losses.append(_Loss(what, start.lost, False, at))
        self.note_losses()

    def _log_replaced(self, owned: OwnedPartition, former: Position, present: LogIdentity, at: TopicPartition) -> None:
        """Report that a partition is in another log now, and what is known about the log before."""
        end = self._end_of_log(owned.name, former.identity)
        is_known = former.offset != UNKNOWN_OFFSET
        unread = 0 if end is None or not is_known else max(0, end - former.offset)
        read = f"the log before was read up to offset {former.offset}"
        if not is_known:
            read, rest = "other members have read the log before", "how far they came is not known here"
        elif end is None:
            rest = "whether it had later records is not known"
        elif unread:
            rest = f"at least the {unread} offsets from there to before {end} were not read and are lost"
        else:
            rest = "this was its end when it was looked at last"
        what = (
            f"{owned.name}: {_replaced(former.identity, present)}; reading begins with the first record of the new "
            f"log, at {at.offset}; {read}: {rest}"
        )
        self.expired += unread
        _log.error(
            "kafka_log_replaced",
            source=self._settings.name,
            partition=owned.name,
            detail=what,
            remedy="stop the connector, or let it read to the end, before a topic is deleted",
        )
        self._losses.append(_Loss(what, unread, True, at))
        self.note_losses()

    def note_losses(self) -> None:
        """Write the waiting losses into the ledger, and then store the positions where reading goes on.

        This order keeps a loss from being reported twice. If the ledger cannot be written, the next call tries again.
        """
        while self._losses:
            loss = self._losses[0]
            add = self._file.ledger.add_unread if loss.whole_log else self._file.ledger.add_expired
            try:
                add(loss.what, loss.records)
            except sqlite3.Error as error:
                self._member.note(f"the ledger cannot be written: {error}")
                return
            self._losses.popleft()
            self._positions.begin(loss.at)


def _told(name: str, start: Start) -> str:
    """What became of the expected position of a partition, for people."""
    first, after = start.expected, start.offset
    if start.lost and first is not None and after is not None:
        return expired_text(name, first, after)
    if start.position.identity.topic_id:
        why = "the log was cut, as by an unclean leader election"
    else:
        why = "the log was cut, or the topic made anew"
    return (
        f"{name}: position {first} is not in the log any more: {why}; reading goes on with the first record of the "
        f"log, at {after}"
    )


def _replaced(former: LogIdentity, present: LogIdentity) -> str:
    """Why the log is another one, for people."""
    if former.cluster and present.cluster and former.cluster != present.cluster:
        return f"another cluster answers here: cluster ID {present.cluster}, before {former.cluster}"
    return f"the topic was deleted and made anew: topic ID {present.topic_id}, before {former.topic_id}"
