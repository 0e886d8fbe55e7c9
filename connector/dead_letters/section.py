"""The section on dead letters: where they are kept, how many, and what happens when that is full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.kafka_topics import checked_topic
from connector.brokers.mqtt_section import MqttConnectionSection
from connector.settings import Bytes, Destination, Seconds, Section

if TYPE_CHECKING:
    from connector.dead_letters.file_store import FileLetters
    from connector.dead_letters.kafka_store import KafkaLetters
    from connector.dead_letters.mqtt_store import MqttLetters
    from connector.dead_letters.sqlite_store import SqliteLetters
    from connector.dead_letters.store import DeadLetterStore, ReadableStore

WhenFull: TypeAlias = Literal["discard_oldest", "stop"]
SQLITE_FILE: Final = "dead-letters.sqlite"
FILES_FOLDER: Final = "dead-letters"
"""Where letters are kept in `state_dir`, unless the section says something else."""
_LEAST_TO_STOP: Final = 32 * 1024**2
"""A store that stops when it is full has room for more than is ever written to it at once."""


class DeadLettersSection(Section):
    """What the sections of all kinds of stores have.

    A kind of store is a subclass: its fields are the settings, its methods say what the rest of the connector asks of a
    kind. Methods import the kind's libraries themselves, so that only a store that is used loads them.
    """

    type: str = Field(description="The kind of store.")

    max_payload: Bytes = Field(
        default="512KiB",  # type: ignore[assignment]
        ge=1024,
        le=64 * 1024**2,
        description="Longer payloads, keys and headers are cut; length and SHA-256 of the payload are kept. A letter "
        "that was cut cannot be replayed.",
    )

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that the section names, by their setting: `check` looks whether they exist."""
        return {}

    @property
    def warnings(self) -> list[str]:
        """What works with these settings, and is not wise."""
        return []

    @property
    def destination(self) -> Destination | None:
        """Where letters are published, if a source could read them there."""
        return None

    @property
    def why_unreadable(self) -> str | None:
        """Why letters cannot be read from the store, with a remedy for people; None if they can be."""
        return None

    def for_worker(self, worker: int) -> Self:
        """The section as worker number `worker`, counted from 1, uses it."""
        del worker
        return self

    def open(self, folder: Path) -> DeadLetterStore:
        """The store; no network yet. `folder` is the `state_dir`. Raises OSError, ValueError or sqlite3.Error."""
        raise NotImplementedError

    def open_readable(self, folder: Path) -> ReadableStore | None:
        """The store of the connector, or worker, whose state is in this folder; None where it keeps nothing there yet,
        or nothing that can be read. Raises as `open`."""
        raise NotImplementedError


class SqliteLettersSection(DeadLettersSection):
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

    def open(self, folder: Path) -> SqliteLetters:
        """The file in this folder."""
        from connector.dead_letters.sqlite_store import SqliteLetters  # noqa: PLC0415 - loaded where it is used

        return SqliteLetters(folder / SQLITE_FILE, self.max_bytes, self.when_full)

    def open_readable(self, folder: Path) -> SqliteLetters | None:
        """The file, if it is there."""
        return self.open(folder) if (folder / SQLITE_FILE).exists() else None


class FileLettersSection(DeadLettersSection):
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

    def open(self, folder: Path) -> FileLetters:
        """The folder of files."""
        from connector.dead_letters.file_store import FileLetters  # noqa: PLC0415 - loaded where it is used

        return FileLetters(self.path or folder / FILES_FOLDER, self.max_file_bytes, self.max_files, self.when_full)

    def open_readable(self, folder: Path) -> FileLetters | None:
        """The folder, if it is there."""
        return self.open(folder) if (self.path or folder / FILES_FOLDER).is_dir() else None


class MqttLettersSection(MqttConnectionSection, DeadLettersSection):
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

    @property
    def destination(self) -> Destination:
        """The topic, at its broker."""
        return Destination("mqtt", (self.server,), self.topic)

    @property
    def why_unreadable(self) -> str:
        """A broker gives a message only to who is subscribed when it comes."""
        return (
            f"the dead letters are published to the MQTT topic {self.topic!r}, and a broker gives nothing twice: they "
            "cannot be listed, shown, replayed or dropped from there. A subscriber with a session can collect them: "
            f"mosquitto_sub -q 1 -c -i letters -t '{self.topic}' >> letters.ndjson; then add --from-file "
            "letters.ndjson to list, show or replay. To have all of it here, use another store (sqlite, file, kafka)"
        )

    def for_worker(self, worker: int) -> Self:
        """Two clients with one name would push each other out."""
        return self.model_copy(update={"client_id": f"{self.client_id}-{worker}"}) if self.client_id else self

    def open(self, folder: Path) -> MqttLetters:  # noqa: ARG002 - nothing is kept on disk
        """The client at the broker."""
        from connector.dead_letters.mqtt_store import MqttLetters  # noqa: PLC0415 - loads paho

        return MqttLetters(self)

    def open_readable(self, folder: Path) -> None:  # noqa: ARG002 - as above
        """Nothing: see `why_unreadable`."""
        return


def _one_topic(text: str) -> str:
    if text.startswith("^"):
        raise ValueError("must be one topic, not a pattern")
    return checked_topic(text)


class KafkaLettersSection(KafkaConnectionSection, DeadLettersSection):
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

    @property
    def destination(self) -> Destination:
        """The topic, in its cluster."""
        return Destination("kafka", tuple(self.bootstrap_servers), self.topic)

    def open(self, folder: Path) -> KafkaLetters:  # noqa: ARG002 - nothing is kept on disk
        """The producer, which can also read the topic."""
        from connector.dead_letters.kafka_store import KafkaLetters  # noqa: PLC0415 - loads librdkafka

        return KafkaLetters(self)

    def open_readable(self, folder: Path) -> KafkaLetters:
        """The topic is there for everybody."""
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
