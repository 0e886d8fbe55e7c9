"""Notices that a topic is deleted and made anew while its partitions are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException

from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.identity import LogIdentity, Question, TopicAsker, TopicFacts
from connector.sources.kafka.starts import TopicsAtStart
from connector.sources.partitions import split_partition_name

_LOOK_SECONDS: Final = 5.0
_MOST_ENDS: Final = 10_000
"""Logs whose ends are kept, also after their partitions were given away: the group may give them back."""

_log = structlog.get_logger(__name__)


class IdentityWatch:
    """Looks every 5 s whether the logs of this member's partitions are still the same. For the thread that polls.

    Nothing waits for the brokers: a call puts a question, and a later one finds the answers. First the ends of the logs
    are asked for, and then the identity: if it is still the same, the ends were those of the same log.
    """

    def __init__(
        self,
        asker: TopicAsker,
        assignment: Assignment,
        at_start: TopicsAtStart,
        log_found: Callable[[str, LogIdentity], None],
    ) -> None:
        """`log_found` is called with a partition whose log was unknown, and the identity of this log.

        `at_start` learns the logs of all topics: the group may give any of them to this member later.
        """
        self._asker = asker
        self._assignment = assignment
        self._at_start = at_start
        self._log_found = log_found
        self._next = 0.0
        self._unknown: list[str] = at_start.unknown
        """`TopicsAtStart.unknown` at the last question: further topics are asked for at once."""
        self._asked_ends: dict[str, Future[Any]] = {}
        self._question: Question | None = None
        self._ends: dict[str, tuple[LogIdentity, int]] = {}

    def end_of_log(self, name: str, identity: LogIdentity) -> int | None:
        """The offset after the last record of this log, when it was looked at last; None if it is not known."""
        known = self._ends.get(name)
        return None if known is None or known[0].differs(identity) else known[1]

    def look(self, now: float) -> None:
        """Put the next question, or take the answers; `now` is in seconds of any clock."""
        if self._question is not None:
            if self._question.done:
                self._compare(self._question.answers(0))
                self._question, self._asked_ends = None, {}
        elif self._asked_ends:
            if all(future.done() for future in self._asked_ends.values()):
                topics = {split_partition_name(name)[0] for name in self._assignment.owned}
                topics.update(self._at_start.unknown)
                self._question = self._asker.ask(topics) if topics else None
                if self._question is None:
                    self._asked_ends = {}
        elif self._assignment.owned and (now >= self._next or self._at_start.unknown is not self._unknown):
            self._next, self._unknown = now + _LOOK_SECONDS, self._at_start.unknown
            self._asked_ends = self._asker.ask_ends(self._assignment.owned)

    def _compare(self, found: dict[str, TopicFacts]) -> None:
        try:
            self._at_start.learn(found)
        except sqlite3.Error as error:
            _log.warning("kafka_topics_not_noted", reason=str(error), effect="tried again at the next look")
        for name, owned in self._assignment.owned.items():
            log = self._assignment.log(name)
            if log is None or owned.topic not in found:
                continue
            present = found[owned.topic].identity
            if log.differs(present):
                self._assignment.position_refused(name)
                continue
            if not log.log:
                self._log_found(name, present)
            end = _end(self._asked_ends.get(name))
            if end is not None:
                self._ends.pop(name, None)
                self._ends[name] = (present, end)
        for name in list(self._ends)[:-_MOST_ENDS]:
            del self._ends[name]


def _end(future: Future[Any] | None) -> int | None:
    try:
        return None if future is None else int(future.result(0).offset)
    except (KafkaException, TimeoutError):  # for example, the leader is about to change
        return None
