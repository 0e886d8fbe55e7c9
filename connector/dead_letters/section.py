"""The section on dead letters: where they are kept, how many, and what happens when that is full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.kafka_topics import checked_topic
from connector.brokers.mqtt_section import MqttConnectionSection
from connector.settings import Bytes, Seconds, Section

WhenFull: TypeAlias = Literal["discard_oldest", "stop"]
_LEAST_TO_STOP: Final = 32 * 1024**2
"""A store that stops when it is full has room for more than is ever written to it at once."""


class _LettersSection(Section):
    """What all kinds of stores have."""

    max_payload: Bytes = Field(
        default="512KiB",  # type: ignore[assignment]
        ge=1024,
        le=64 * 1024**2,
        description="Longer payloads, keys and headers are cut; length and SHA-256 of the payload are kept. A letter "
        "that was cut cannot be replayed.",
    )

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that it names."""
        return {}

    @property
    def warnings(self) -> list[str]:
        """What works, and is not wise."""
        return []


class SqliteLettersSection(_LettersSection):
    """An SQLite file in state_dir: the default."""

    type: Literal["sqlite"] = Field(default="sqlite", description="Kept in an SQLite file in state_dir.")
    max_bytes: Bytes = Field(
        default="256MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        description="How much is kept.",
    )
    when_full: WhenFull = Field(
        default="discard_oldest",
        description="At the bound: discard the oldest, counted and logged; or stop taking data in until there is room.",
    )

    @model_validator(mode="after")
    def _room_for_some(self) -> SqliteLettersSection:
        if self.when_full == "stop" and self.max_bytes < max(_LEAST_TO_STOP, 8 * self.max_payload):
            raise ValueError(
                "max_bytes must be at least 32MiB, and eight times max_payload, with when_full: stop: what is written "
                "at once would never fit otherwise"
            )
        return self


class FileLettersSection(_LettersSection):
    """Files of newline-delimited JSON, one letter a line: for log collectors, jq and editors."""

    type: Literal["file"] = Field(description="Kept in files of newline-delimited JSON.")
    path: Path | None = Field(
        default=None,
        description="The folder of the files. Default: `dead-letters` in state_dir.",
        examples=["/var/log/clarify-connector/dead-letters"],
    )
    max_file_bytes: Bytes = Field(
        default="32MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        description="A file that has grown to this size is closed, and a new one is begun.",
    )
    max_files: int = Field(default=8, ge=2, le=10_000, description="How many files are kept.")
    when_full: WhenFull = Field(
        default="discard_oldest",
        description="With so many files: discard the oldest, counted and logged; or stop taking data in until some are "
        "dropped, replayed, or moved away.",
    )

    @model_validator(mode="after")
    def _room_for_some(self) -> FileLettersSection:
        if self.max_file_bytes < 2 * self.max_payload:
            raise ValueError("max_file_bytes must be at least twice max_payload: a letter is one line of one file")
        if self.when_full == "stop" and self.max_file_bytes * self.max_files < _LEAST_TO_STOP:
            raise ValueError(
                "max_file_bytes times max_files must be at least 32MiB with when_full: stop: what is written at once "
                "would never fit otherwise"
            )
        return self


class MqttLettersSection(MqttConnectionSection, _LettersSection):
    """A topic of an MQTT broker: each letter is one message, as JSON. They cannot be listed or replayed from there."""

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
        """What works, and is not wise."""
        nowhere = (
            "letters in an MQTT topic cannot be listed or replayed, and a broker keeps none for which nobody has a "
            "session: see that somebody subscribes"
        )
        return [nowhere, *super().warnings]


def _one_topic(text: str) -> str:
    if text.startswith("^"):
        raise ValueError("must be one topic, not a pattern")
    return checked_topic(text)


class KafkaLettersSection(KafkaConnectionSection, _LettersSection):
    """A Kafka topic: each letter is one record, with the original bytes as its value and where it came from in its
    headers. The topic must exist; how much it keeps is its own setting."""

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


_GUARANTEES: Final = {
    "acks": "a letter counts when all replicas have it",
    "request.required.acks": "a letter counts when all replicas have it",
    "enable.idempotence": "a letter that is sent again must not come twice or out of order",
    "message.timeout.ms": "use timeout",
    "delivery.timeout.ms": "use timeout",
    "transactional.id": "letters are not written in transactions",
    "message.max.bytes": "it follows max_payload",
}


def _with_type(value: object) -> object:
    """A section without a type is the SQLite store: the only one there was once."""
    return {"type": "sqlite", **value} if isinstance(value, dict) and "type" not in value else value


DeadLettersSection: TypeAlias = Annotated[
    Annotated[
        SqliteLettersSection | FileLettersSection | MqttLettersSection | KafkaLettersSection,
        Field(discriminator="type"),
    ],
    BeforeValidator(_with_type),
]
