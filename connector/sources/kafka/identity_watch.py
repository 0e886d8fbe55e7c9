"""Notices that a topic is deleted and made anew while its partitions are read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException

from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.identity import LogIdentity, Question, TopicAsker, TopicFacts
from connector.sources.partitions import split_partition_name

_LOOK_SECONDS: Final = 5.0
_MOST_ENDS: Final = 10_000
"""Logs whose ends are kept, also after their partitions were given away: the group may give them back."""


class IdentityWatch:
    """Looks every 5 s whether the logs of this member's partitions are still the same. For the thread that polls.

    Nothing waits for the brokers: a call puts a question, and a later one finds the answers. First the ends of the logs
    are asked for, and then the identity: if it is still the same, the ends were those of the same log.
    """

    def __init__(
        self, asker: TopicAsker, assignment: Assignment, log_found: Callable[[str, LogIdentity], None]
    ) -> None:
        """`log_found` is called with a partition whose log was unknown, and the identity of this log."""
        self._asker = asker
        self._assignment = assignment
        self._log_found = log_found
        self._next = 0.0
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
                self._question = self._asker.ask(topics) if topics else None
                if self._question is None:
                    self._asked_ends = {}
        elif now >= self._next and self._assignment.owned:
            self._next = now + _LOOK_SECONDS
            self._asked_ends = self._asker.ask_ends(self._assignment.owned)

    def _compare(self, found: dict[str, TopicFacts]) -> None:
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
