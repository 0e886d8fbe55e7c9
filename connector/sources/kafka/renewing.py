"""Passwords and certificates that change while the consumer runs.

librdkafka keeps its settings. A user name and a password (SASL PLAIN, SCRAM) can be replaced in a consumer: librdkafka
uses them for its next connection, and the member stays in the group. A certificate, its password and the client secret
of OAUTHBEARER need another consumer, which joins the group again: records that are not settled are read again.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException

from connector.settings import CredentialsInUse
from connector.sources.kafka.client import ConsumerHandle
from connector.sources.kafka.member import Member
from connector.sources.kafka.rejoining import Rejoining
from connector.sources.kafka.section import KafkaSection

_LOOK_SECONDS: Final = 2.0
_LOG_IN: Final = {"sasl.username", "sasl.password"}


class Renewing:
    """Looks for changed files. Called by the thread that polls; times are seconds of any clock."""

    def __init__(self, settings: KafkaSection, client: ConsumerHandle, member: Member, rejoining: Rejoining) -> None:
        self._credentials = CredentialsInUse(settings, source=settings.name)
        self._client = client
        self._member = member
        self._rejoining = rejoining
        self._next_look = 0.0
        self._unused: frozenset[str] = frozenset()
        """What has changed, and needs another consumer, which cannot be made yet."""

    def look(self, now: float) -> None:
        """Use what has changed, every 2 s."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        changed = self._credentials.renewed()
        if changed & _LOG_IN:
            try:
                self._client.log_in_anew()
            except KafkaException as error:
                self._member.note(f"librdkafka does not take the new log-in: {error.args[0].str()}")
        more = changed - _LOG_IN
        self._unused |= more
        if more or (self._unused and self._rejoining.unusable is not None):
            self._rejoining.renew(now, sorted(self._unused))
        if self._rejoining.unusable is None:
            self._unused = frozenset()
