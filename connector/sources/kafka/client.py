"""The present consumer of a source. After leaving the group, a new consumer joins the group again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException

from connector.settings import SettingsError, fresh
from connector.sources.kafka.member import Member
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import consumer_settings, refusal

GATHER_SECONDS: Final = 0.2
"""Longest time for a call of `consume`: the call returns when the batch is full or the time is over, so a longer time
would delay the messages of slow topics."""

_log = structlog.get_logger(__name__)


class ConsumerHandle:
    """Makes and closes the consumer.

    The thread that polls calls all methods. When the source is closed, a separate thread calls `leave` last.
    """

    def __init__(self, settings: KafkaSection, member: Member, make: Callable[..., Consumer]) -> None:
        """Make the first consumer with `make`. Raises SettingsError if librdkafka refuses the settings."""
        self._settings = settings
        self._member = member
        self._make = make
        self.consumer = self.make()

    def log_in_anew(self) -> None:
        """Use the present user name and password for the next log-in: of SASL PLAIN or SCRAM, the others have none."""
        sasl = self._settings.sasl
        if sasl is not None and sasl.username and sasl.password:
            self.consumer.set_sasl_credentials(fresh(sasl.username), sasl.password.get_secret_value())

    def leave(self) -> None:
        """Leave the group. Before the group is left, librdkafka calls the callbacks of the member."""
        try:
            self.consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka_leaving_failed", source=self._settings.name, reason=str(error))

    def make(self) -> Consumer:
        """Returns another consumer, which has not joined. Raises SettingsError if librdkafka refuses the settings."""
        options = consumer_settings(self._settings) | self._member.callbacks()
        try:
            return self._make(options, logger=self._member.logger)
        except KafkaException as error:
            raise SettingsError(refusal(self._settings, error)) from None
