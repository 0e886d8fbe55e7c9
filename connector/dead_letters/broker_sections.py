"""The sections of the stores of dead letters that are topics of a broker: of MQTT, and of Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connector.brokers.findings import Examination, Look
from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.kafka_topics import checked_topic
from connector.brokers.mqtt_section import MqttConnectionSection
from connector.dead_letters.section import DeadLettersSection
from connector.settings import Destination, Seconds

if TYPE_CHECKING:
    from connector.dead_letters.kafka_store import KafkaLetters
    from connector.dead_letters.mqtt_store import MqttLetters


class MqttLettersSection(MqttConnectionSection, DeadLettersSection):
    """A topic of an MQTT broker: each letter is a JSON message. The commands cannot list or replay letters there."""

    type: Literal["mqtt"] = Field(description="Published to an MQTT topic.")
    topic: str = Field(
        default="clarify-connector/dead-letters",
        min_length=1,
        pattern=r"^[^+#\x00]+$",
        description="The topic. Our own sources must not be subscribed to it.",
    )
    client_id: str | None = Field(
        default=None, min_length=1, max_length=200, description="Our name at the broker. Default: a new one each time."
    )
    timeout: Seconds = Field(
        default="10s",  # type: ignore[assignment]
        ge=1,
        le=600,
        description="How long to wait for the broker's acknowledgement before trying again.",
    )

    @property
    def warnings(self) -> list[str]:
        """Warnings, among them that nobody can read letters back from an MQTT topic."""
        nowhere = (
            "letters in an MQTT topic cannot be listed or replayed, and a broker keeps none for which nobody has a "
            "session: see that somebody subscribes"
        )
        return [nowhere, *super().warnings]

    @property
    def destination(self) -> Destination:
        """The topic, at its broker."""
        return Destination("mqtt", (self.server,), self.topic)

    @property
    def why_unreadable(self) -> str:
        """Why letters cannot be read: a broker gives a message only to clients that subscribed before it came."""
        return (
            f"the dead letters are published to the MQTT topic {self.topic!r}, and a broker gives nothing twice: they "
            "cannot be listed, shown, replayed or dropped from there. A subscriber with a session can collect them: "
            f"mosquitto_sub -q 1 -c -i letters -t '{self.topic}' >> letters.ndjson; then add --from-file "
            "letters.ndjson to list, show or replay. To use all commands, choose another store (sqlite, file, kafka)"
        )

    def for_worker(self, worker: int) -> Self:
        """The section with a client ID for this worker: two clients with one ID would disconnect each other."""
        return self.model_copy(update={"client_id": f"{self.client_id}-{worker}"}) if self.client_id else self

    def examine(self, asked: Examination) -> Look:
        """Look at the broker; nothing is published, so the right to publish stays unknown."""
        from connector.brokers.mqtt_visit import log_in  # noqa: PLC0415 - loads paho

        return log_in(self, asked)

    def open(self, folder: Path) -> MqttLetters:  # noqa: ARG002 - nothing is kept on disk
        """The store, which is a client of the broker."""
        from connector.dead_letters.mqtt_store import MqttLetters  # noqa: PLC0415 - loads paho

        return MqttLetters(self)

    def open_readable(self, folder: Path) -> None:  # noqa: ARG002 - as above
        """None: see `why_unreadable`."""
        return


def _one_topic(text: str) -> str:
    if text.startswith("^"):
        raise ValueError("must be one topic, not a pattern")
    return checked_topic(text)


class KafkaLettersSection(KafkaConnectionSection, DeadLettersSection):
    """A Kafka topic: each letter is one record.

    The value of the record is the original payload; the headers say where the payload came from. The topic must exist.
    The topic's own settings say how much it keeps.
    """

    type: Literal["kafka"] = Field(description="Written to a Kafka topic.")
    topic: Annotated[str, AfterValidator(_one_topic)] = Field(
        description="The topic. Our own sources must not read it.", examples=["plant.telemetry.dead-letters"]
    )
    timeout: Seconds = Field(
        default="10s",  # type: ignore[assignment]
        ge=1,
        le=600,
        description="How long to wait for the brokers' acknowledgement before trying again.",
    )

    @model_validator(mode="after")
    def _keeps_its_guarantees(self) -> KafkaLettersSection:
        for name in self.librdkafka:
            if name in _GUARANTEES:
                raise ValueError(f"librdkafka.{name} cannot be passed through: {_GUARANTEES[name]}")
        return self

    @property
    def destination(self) -> Destination:
        """The topic, in its cluster."""
        return Destination("kafka", tuple(self.bootstrap_servers), self.topic)

    def examine(self, asked: Examination) -> Look:
        """Look at the cluster, and at the topic and the right to write there; nothing is written."""
        from connector.brokers.kafka_visit import writable  # noqa: PLC0415 - loads librdkafka

        return writable(self, self.topic, asked)

    def open(self, folder: Path) -> KafkaLetters:  # noqa: ARG002 - nothing is kept on disk
        """The store, which can also read the topic."""
        from connector.dead_letters.kafka_store import KafkaLetters  # noqa: PLC0415 - loads librdkafka

        return KafkaLetters(self)

    def open_readable(self, folder: Path) -> KafkaLetters:
        """The store, which is the same for every folder."""
        return self.open(folder)


_GUARANTEES: Final = {
    "acks": "a letter counts when all replicas have it",
    "request.required.acks": "a letter counts when all replicas have it",
    "enable.idempotence": "a letter that is sent again must not come twice or out of order",
    "message.timeout.ms": "use timeout",
    "delivery.timeout.ms": "use timeout",
    "transactional.id": "letters are not written in transactions",
    "message.max.bytes": "it follows max_payload",
}
