"""The section of an MQTT source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.brokers.findings import Examination, Look
from connector.brokers.mqtt_section import MqttConnectionSection
from connector.settings import Destination, Seconds, SourceName
from connector.sources.journal.section import JOURNAL_HELP, JournalSection, with_short_form
from connector.sources.section import Address, SourceSection
from connector.sources.subscriptions import Subscription

if TYPE_CHECKING:
    from connector.ledger.source_file import SourceFile
    from connector.sources.mqtt.source import MqttSource
    from connector.sources.mqtt.tap import MqttTap


_NOT_SHARE: Final = re.compile(r"\$(share[ds]?|queue)/", re.IGNORECASE)
"""Other words for a shared subscription, of some brokers or by mistake. Other brokers grant them, and send nothing."""
_EXCLUSIVE: Final = "$exclusive/"
"""EMQX sends the messages with their topics without this prefix, and then they match no filter of ours."""


def _subscription(text: str) -> str:
    filter_ = text
    if text.startswith(_EXCLUSIVE):
        raise ValueError(f"{text!r} is an extension of EMQX, not of MQTT; write the filter without {_EXCLUSIVE}")
    if _NOT_SHARE.match(text) and not text.startswith("$share/"):
        raise ValueError(f"{text!r} is no shared subscription of MQTT; write $share/GROUP/FILTER")
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


_NO_SHARE: Final = (
    "Does the broker have shared subscriptions? With MQTT 3.1.1, a broker without them grants $share/GROUP/FILTER and "
    "sends nothing: set protocol: 5, with which such a broker says so, or subscribe without $share/GROUP/ and run one "
    "connector. Or does another member of the group take all messages?"
)

TopicFilter = Annotated[str, AfterValidator(_subscription)]


class MqttSection(MqttConnectionSection, SourceSection):
    """An MQTT broker."""

    schemes: ClassVar[Mapping[str, str]] = {
        "mqtts": "mqtts://broker.example.com",
        "mqtt": "mqtt://localhost:1883",
        "wss": "wss://broker.example.com/mqtt",
        "ws": "ws://localhost:8083/mqtt",
    }
    metric_help: ClassVar[Mapping[str, str]] = {
        "mqtt_connected": "1 while connected with all subscriptions granted",
        "mqtt_session_present": "1 if the broker had kept our session at the last connect",
        "mqtt_connections_total": "Connections tried",
        "mqtt_received_total": "Messages received from the broker, redelivered ones included",
        "mqtt_lost_sessions_total": "Connects at which the broker had forgotten our session: its queue for us was gone",
        "mqtt_stale_acks_total": "Acknowledgements dropped because their connection had ended",
        "mqtt_unwanted_total": "Messages whose topic matches no subscription or is not allowed: they are dead letters",
        "mqtt_beyond_receive_maximum_total": "Messages sent by the broker although receive_maximum were unacknowledged",
        "mqtt_protocol_errors_total": "Connections that we ended because the broker broke the protocol",
        **JOURNAL_HELP,
    }
    password_variable: ClassVar[str] = "MQTT_PASSWORD"  # noqa: S105 - the name of an environment variable

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
        description="How long the broker keeps our session and its queued messages while we are away (MQTT 5).",
    )
    receive_maximum: int = Field(
        default=4000,
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
        description="1: at least once. 0: messages that are published while we are away are lost. (2 is not safer: the "
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
                "journal: memory needs a client_id of your own: without a stable client_id the broker "
                "cannot keep our waiting messages"
            )
        if self.journal.storage == "memory" and self.qos == 0:
            raise ValueError("journal: memory with qos: 0 loses the waiting messages at a restart; use qos: 1 or disk")
        return self

    @property
    def address(self) -> str:
        """The broker's URL, without its query: there may be a token in it."""
        return str(self.url)

    @property
    def takes_retained(self) -> bool:
        """Whether the source takes retained messages: not with `retained: never`."""
        return self.retained != "never"

    def reads(self, destination: Destination) -> bool:
        """Whether a subscription takes the topic of `destination`, at the same broker."""
        if destination.protocol != "mqtt" or self.server not in destination.servers:
            return False
        return any(one.matches(destination.topic) for one in self.subscriptions())

    def subscriptions(self) -> Sequence[Subscription]:
        """The topic filters of this section, without `$share/GROUP/` in the comparison."""
        from paho.mqtt.client import topic_matches_sub  # noqa: PLC0415 - only some commands need paho

        return [
            Subscription(text, partial(topic_matches_sub, filter_), filter_.split("/"), _NO_SHARE if doubtful else "")
            for text in self.topics
            for shared in [text.startswith("$share/")]
            for filter_ in [text.split("/", 2)[2] if shared else text]
            for doubtful in [shared and self.protocol == "3.1.1"]
        ]

    def check(self) -> list[str]:
        """What is known of the broker by its host, against the settings."""
        from connector.brokers.known_mqtt import warnings_by_host  # noqa: PLC0415 - loads paho

        host = urlsplit(self.url).hostname or ""
        return warnings_by_host(host, self.topics, queue=self.broker_queue, expiry=self.session_expiry)

    def examine(self, asked: Examination) -> Look:
        """Look at the broker; joins no group, and takes no message away from anybody."""
        from connector.sources.mqtt.examine import examine  # noqa: PLC0415 - loads the library

        return examine(self, asked)

    def open(self, file: SourceFile, message_bytes: int) -> MqttSource:
        """The source: the session at the broker, with the journal of the session."""
        from connector.sources.mqtt.source import open_source  # noqa: PLC0415 - loads paho

        return open_source(self, file, message_bytes)

    def tap(self, *, from_beginning: bool) -> MqttTap:  # noqa: ARG002 - a broker keeps no beginning
        """A tap with a separate session, which ends with the tap."""
        from connector.sources.mqtt.tap import MqttTap  # noqa: PLC0415 - loads paho

        return MqttTap(self)

    @classmethod
    def settings_at(cls, address: Address) -> dict[str, object]:
        """The settings of a source at `address`; without topics, the source takes all topics of the broker.

        The scheme decides about TLS and about a websocket.
        """
        path = "" if address.path == "/" else address.path
        settings: dict[str, object] = {
            "type": "mqtt",
            "url": f"{address.scheme}://{address.host}{path}",
            "topics": list(address.topics) or ["#"],
        }
        if address.protocol is not None:
            settings["protocol"] = address.protocol
        if address.username is not None:
            settings["username"] = address.username
            if address.password is not None:
                settings["password"] = address.password
        if address.ca_file:
            settings["tls"] = {"ca_file": address.ca_file}
        return settings
