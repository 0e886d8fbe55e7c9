"""Records where the reading of partitions begins.

Reading begins at the expected position, at the position of the policy, or after a loss. The ledger gets each loss.
"""

from __future__ import annotations

import sqlite3
from collections import deque

import structlog
from confluent_kafka import TopicPartition

from connector.ledger.source_file import SourceFile
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.loss import expired_text
from connector.sources.kafka.member import Member
from connector.sources.kafka.positions import Positions
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.starts import Start
from connector.sources.partitions import OwnedPartition

_log = structlog.get_logger(__name__)


class Beginnings:
    """Records the starts of partitions, and their losses. For the thread that polls."""

    def __init__(
        self, settings: KafkaSection, file: SourceFile, assignment: Assignment, positions: Positions, member: Member
    ) -> None:
        self._settings = settings
        self._file = file
        self._assignment = assignment
        self._positions = positions
        self._member = member
        self._losses: deque[tuple[str, int, TopicPartition]] = deque()
        """(text about the loss, records lost, position where reading goes on), for losses that the ledger lacks yet."""
        self.expired = 0
        """Number of records that expired before they could be read, since the connector started."""

    def begin(self, owned: OwnedPartition, start: Start) -> None:
        """Record that the consumer now reads `owned` from `start`.

        If records between the expected position and `start` had expired, the loss is logged and noted for the ledger.
        If the group has no position and the policy is `error`, the member gives up.
        """
        self._assignment.assigned(owned, start.offset)
        if start.offset is None:
            if start.no_position:
                self._member.gives_up(
                    f"group {self._settings.group_id!r} has no position in {owned.name}, and auto_offset_reset is "
                    "error; set the group's position, or choose earliest or latest"
                )
            return
        if start.offset == start.expected:
            return
        at = TopicPartition(owned.topic, owned.number, start.offset)
        if start.expected is None:
            _log.info(
                "kafka_starts_at",
                source=self._settings.name,
                partition=owned.name,
                offset=start.offset,
                policy=self._settings.auto_offset_reset,
            )
            self._positions.begin(at)
            return
        what = (
            expired_text(owned.name, start.expected, start.offset)
            if start.lost
            else f"{owned.name}: position {start.expected} is not in the log any more: the log was cut, or the topic "
            f"made anew; reading goes on with the first record of the log, at {start.offset}"
        )
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
        self._losses.append((what, start.lost, at))
        self.note_losses()

    def note_losses(self) -> None:
        """Write the waiting losses into the ledger, and then store the positions where reading goes on.

        This order keeps a loss from being reported twice. If the ledger cannot be written, the next call tries again.
        """
        while self._losses:
            what, lost, at = self._losses[0]
            try:
                self._file.ledger.add_expired(what, lost)
            except sqlite3.Error as error:
                self._member.note(f"the ledger cannot be written: {error}")
                return
            self._losses.popleft()
            self._positions.begin(at)
