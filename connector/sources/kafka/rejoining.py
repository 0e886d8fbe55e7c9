"""Leaves the group and joins it with a new consumer.

There are four reasons: a position is not valid any more; the group, librdkafka and the connector have different lists
of partitions; the group has refused this consumer; or nothing moves, and nobody knows why.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Final

import structlog
from confluent_kafka import KafkaException

from connector.settings import SettingsError
from connector.sources.kafka.assignment import Assignment
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.group import Group
from connector.sources.kafka.member import Member
from connector.sources.kafka.membership import MembershipCheck
from connector.sources.partitions import partition_name

_REJOIN_SECONDS: Final = 30.0
"""Least seconds between two rejoins: each rejoin moves partitions between members."""
_CHECK_SECONDS: Final = 5.0
_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 5.0
_LAST_DELAY_FOR_A_PERSON: Final = 15.0
"""Seconds from a refusal to the next attempt to join."""
_PATIENCE_SECONDS: Final = 180.0
"""Seconds for which the group may refuse this consumer, if no person is known who could change that.

Brokers remove a killed member after 45 s, and after 60 s at the latest, unless group.consumer.max.session.timeout.ms
allows more.
"""
_FIRST_MEND: Final = 90.0
_LAST_MEND: Final = 600.0
"""Seconds for which nothing moves until we join anew, and seconds between the later attempts.

The first number is longer than a request to a broker may take (60 s), and than a rebalance usually takes."""

_log = structlog.get_logger(__name__)


class Rejoining:
    """Joins the group again when it is necessary. Called by the thread that polls; times are seconds of any clock."""

    def __init__(
        self,
        source: str,
        client: ConsumerHandle,
        assignment: Assignment,
        group: Group,
        member: Member,
        still_seconds: Callable[[], float],
    ) -> None:
        """`still_seconds` gives the longest time for which a partition has not moved, although records wait there."""
        self._still_seconds = still_seconds
        self._out_since: float | None = None
        self._mend_delay = _FIRST_MEND
        self._next_mend = 0.0
        self._source = source
        self._client = client
        self._assignment = assignment
        self._group = group
        self._member = member
        self._next_rejoin = 0.0
        self._check = MembershipCheck()
        self._next_check = 0.0
        self.disagreements = 0
        self.unusable: str | None = None
        """Why no other consumer can be made, and a remedy; None if the last one could be made."""
        self._refused_since: float | None = None
        self._delay = _FIRST_DELAY
        self._next_try: float | None = None

    def try_again(self, now: float) -> None:
        """Join again if the group has refused this consumer.

        If no person can change the reason of the refusals, the member gives up after 3 minutes.
        """
        if self._member.joined:
            self._refused_since = None
        refusal = self._member.refused
        if refusal is None or self._member.fatal:
            return
        if self._refused_since is None:
            self._refused_since, self._delay = now, _FIRST_DELAY
        if self._next_try is None:
            self._next_try = now + self._delay * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
            last = _LAST_DELAY_FOR_A_PERSON if self._member.for_a_person else _LAST_DELAY
            self._delay = min(2 * self._delay, last)
        elif now - self._refused_since > _PATIENCE_SECONDS and not self._member.for_a_person:
            self._member.gives_up(f"given up after {_PATIENCE_SECONDS:.0f} s: {refusal}")
        elif now >= self._next_try:
            self._next_try = None
            self._join_anew()

    def begin_anew(self, now: float) -> None:
        """Leave the group and join it again if Kafka does not have the next record of a partition any more.

        Waits until all records that were read from the partition before are settled: the new member asks for the
        position, and would read them again.
        """
        stuck = self._assignment.stuck
        if not stuck or now < self._next_rejoin or self._assignment.under_way(stuck):
            return
        self._rejoin(
            now,
            f"Kafka does not have the next record of {', '.join(sorted(stuck)[:10])} any more: records have "
            "expired, or the topic was cut or made anew; the new member asks where to go on",
        )

    def mend(self, now: float) -> None:
        """Join anew if nothing has moved for 90 s; then again after 3 minutes, up to every 10 minutes.

        Either the brokers answer and the group does not let us in, or records wait in a partition and do not come.
        """
        out = not self._member.joined and self._member.connected and self._member.refused is None
        if not out:
            self._out_since = None
        elif self._out_since is None:
            self._out_since = now
        out_seconds = 0.0 if self._out_since is None else now - self._out_since
        seconds = max(out_seconds, self._still_seconds())
        if seconds <= 0 and now >= self._next_mend:
            self._mend_delay = _FIRST_MEND
        if seconds < _FIRST_MEND or now < self._next_mend or self._member.fatal:
            return
        self._mend_delay = min(2 * self._mend_delay, _LAST_MEND)
        self._next_mend = now + self._mend_delay * (0.75 + 0.5 * random.random())  # noqa: S311 - jitter
        what = "has not let us in" if out_seconds >= _FIRST_MEND else "gives us records of a partition no more"
        self._rejoin(now, f"for {seconds:.0f} s, the group {what}")

    def verify(self, now: float) -> None:
        """Compare the lists of partitions every 5 s; if they differ, give up all partitions and join again."""
        if now < self._next_check or self._member.fatal or self._member.refused:
            return
        self._next_check = now + _CHECK_SECONDS
        owned = self._assignment.owned
        try:
            assigned = {partition_name(found.topic, found.partition) for found in self._client.consumer.assignment()}
        except KafkaException as error:
            self._member.note(f"the assigned partitions could not be asked for: {error.args[0].str()}")
            return
        wrong = self._check.difference(
            owned.keys(),
            assigned,
            self._member.group_count,
            report=self._member.reports,
            rebalances=self._group.rebalances,
        )
        if wrong is None:
            return
        self.disagreements += 1
        _log.error(
            "kafka_membership_disagrees",
            source=self._source,
            reason=wrong,
            effect="records of our partitions that are not settled are given up, and we join the group anew",
        )
        self._group.give_up(owned)
        self._rejoin(now, "the owner of the partitions is not clear")

    def renew(self, now: float, changed: Collection[str]) -> None:
        """Join the group with another consumer, because these settings have changed, which librdkafka reads once.

        If the new consumer cannot be made, this one goes on, and `unusable` says why.
        """
        if not self._member.fatal:
            self._rejoin(now, f"librdkafka keeps what it read at the start, and there is news in {', '.join(changed)}")

    def _rejoin(self, now: float, reason: str) -> None:
        """Leave the group, and join it as another member; logged with the reason."""
        self._next_rejoin = now + _REJOIN_SECONDS
        self._join_anew(reason)

    def _join_anew(self, reason: str | None = None) -> None:
        try:
            consumer = self._client.make()
        except SettingsError as error:  # for example, a file of a certificate is in the middle of a change
            self.unusable = f"{error}; a certificate file is read again before the next try"
            self._member.log.say("another consumer", self.unusable)
            return
        self.unusable = None
        if reason is not None:
            _log.warning("kafka_rejoins", source=self._source, reason=reason)
        self._client.leave()
        self._group.give_up(self._assignment.owned)
        self._client.consumer = consumer
        self._out_since = None
        self._member.asks_anew()
        self._group.subscribe()
