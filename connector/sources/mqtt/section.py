"""The section of an MQTT source."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.brokers.mqtt_section import MQTT_PORTS, MqttConnectionSection
from connector.settings import Seconds, SourceName
from connector.sources.journal.section import JournalSection, with_short_form


def _subscription(text: str) -> str:
    filter_ = text
    if text.startswith("$share/"):
        parts = text.split("/", 2)
        if len(parts) < 3 or not parts[1] or not parts[2] or set(parts[1]) & set("+#"):
            raise ValueError(f"{text!r} is no shared subscription; write $share/GROUP/FILTER")
        filter_ = parts[2]
    if not filter_ or "\0" in text or len(text.encode()) > 65_535:
        raise ValueError("a topic filter must not be empty, hold a NUL, or be longer than 65535 bytes")
    levels = filter_.split("/")
    for number, level in enumerate(levels, 1):
        if "#" in level and (level != "#" or number != len(levels)):
            raise ValueError(f"{text!r}: '#' must be the whole last level")
        if "+" in level and level != "+":
            raise ValueError(f"{text!r}: '+' must be a whole level")
    return text


TopicFilter = Annotated[str, AfterValidator(_subscription)]


class MqttSection(MqttConnectionSection):
    """An MQTT broker."""

    type: Literal["mqtt"] = Field(description="This source is an MQTT broker.")
    name: SourceName = Field(
        default="mqtt", description="A name for logs, metrics, the ledger and the journal's file. Keep it."
    )
    topics: list[TopicFilter] = Field(
        min_length=1,
        description="Topic filters to subscribe to; `$share/GROUP/FILTER` for a shared subscription.",
        examples=[["plant/#"]],
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The session's name at the broker: one for each running connector, always the same. "
        "Default: made once and kept in state_dir.",
    )
    session_expiry: Seconds = Field(
        default="7d",  # type: ignore[assignment]
        ge=60,
        le=4_294_967_294,
        description="How long the broker keeps our session and what is queued in it while we are away (MQTT 5).",
    )
    receive_maximum: int = Field(
        default=1000,
        ge=1,
        le=65_535,
        description="Messages that the broker may send before we acknowledge (MQTT 5). With 3.1.1 the broker's "
        "own setting rules.",
    )
    broker_queue: int | None = Field(
        default=1000,
        ge=1,
        description="How many messages the broker queues for us while we are away: its own setting, for the forecast "
        "of a loss. Mosquitto's `max_queued_messages` is 1000 unless set. null: no bound.",
    )
    qos: Literal[0, 1] = Field(
        default=1,
        description="1: at least once. 0: what is published while we are away is lost. (2 is not safer: the "
        "protocol's exchange ends before the message is safe here.)",
    )
    retained: Literal["new", "always", "never"] = Field(
        default="new",
        description="Retained messages when subscribing: only for a subscription that is new (`new`), at every "
        "connect (`always`), or not at all (`never`).",
    )
    journal: Annotated[
        JournalSection,
        BeforeValidator(with_short_form, json_schema_input_type=JournalSection | Literal["disk", "memory"]),
    ] = Field(
        default=JournalSection(),
        description="Where messages wait: `disk` (default), `memory`, or a section with more settings.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> MqttSection:
        if self.journal.storage == "memory" and not self.client_id:
            raise ValueError(
                "journal: memory needs a client_id of your own: without a stable one the broker "
                "cannot keep what waits for us"
            )
        if self.journal.storage == "memory" and self.qos == 0:
            raise ValueError("journal: memory with qos: 0 loses what waits at every restart; use qos: 1 or disk")
        return self

    def takes(self, url: str, topic: str) -> bool:
        """Whether what is published to this topic at the broker of this address comes to us."""
        from paho.mqtt.client import topic_matches_sub  # noqa: PLC0415 - only this question needs it

        mine, other = urlsplit(self.url), urlsplit(url)
        if (mine.hostname, mine.port or MQTT_PORTS[mine.scheme]) != (
            other.hostname,
            other.port or MQTT_PORTS[other.scheme],
        ):
            return False
        filters = (text.split("/", 2)[2] if text.startswith("$share/") else text for text in self.topics)
        return any(topic_matches_sub(text, topic) for text in filters)

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.url
