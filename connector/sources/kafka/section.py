"""The section of a Kafka source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connector.brokers.findings import Examination, Look
from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.kafka_topics import checked_topic, subscription, topic_matcher
from connector.settings import Bytes, Destination, Seconds, SourceName
from connector.sources.section import Address, SourceSection
from connector.sources.subscriptions import Subscription

if TYPE_CHECKING:
    from connector.ledger.source_file import SourceFile
    from connector.sources.kafka.range import KafkaRangeSource
    from connector.sources.kafka.source import KafkaSource
    from connector.sources.kafka.tap import KafkaTap
    from connector.sources.range import RangeAsked

_CLASSIC_SESSION_SECONDS: Final = 45.0


class KafkaSection(KafkaConnectionSection, SourceSection):
    """A Kafka cluster, read as a member of a consumer group."""

    shares_work: ClassVar[bool] = True
    can_reread: ClassVar[bool] = True
    topic_separator: ClassVar[str] = "."
    schemes: ClassVar[Mapping[str, str]] = {
        "kafka": "kafka://localhost:9092",
        "kafkas": "kafkas://kafka.example.com:9093",
    }
    metric_help: ClassVar[Mapping[str, str]] = {
        "kafka_assigned_partitions": "Partitions that the group has assigned to this member",
        "kafka_share_ratio": "The part of all partitions of the topics that this member has",
        "kafka_paused": "1 while reading is paused because there is no room",
        "kafka_lag": "Records between our position and the end of our partitions",
        "kafka_received_total": "Records read",
        "kafka_rebalances_total": "Times that partitions came or went",
        "kafka_abandoned_total": "Records given away before they were settled; the new owner reads them again",
        "kafka_late_settlements_total": "Settlements refused because their partition had been given away",
        "kafka_redelivered_total": "Records that came again after this member had settled them",
        "kafka_expired_total": "Offsets that expired before they could be read: a loss of at most so many records",
        "kafka_disagreements_total": "Times that the member read other partitions than the group had assigned",
    }
    password_variable: ClassVar[str] = "KAFKA_PASSWORD"  # noqa: S105 - the name of an environment variable

    type: Literal["kafka"] = Field(description="This source is a Kafka cluster.")
    name: SourceName = Field(default="kafka", description="A name for logs, metrics, the ledger and its file. Keep it.")
    topics: list[Annotated[str, AfterValidator(checked_topic)]] = Field(
        min_length=1,
        description="Topics, by name, or by a pattern that begins with `^` (a regular expression for the whole name, "
        "of letters, digits, `.`, `\\.`, `[a-z]`, `( )`, `|`, `*`, `+`, `?`, `{2,3}`). A new topic "
        "that matches is found within half a minute; with `group_protocol: consumer`, the brokers decide.",
        examples=[["plant.telemetry", "^machines\\..*"]],
    )
    group_id: str = Field(
        min_length=1,
        max_length=249,
        description="The consumer group. All replicas of this connector have the same group, and no other program "
        "may have it.",
    )
    instance_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._\-]{1,240}$",
        description="Static membership: a name of this replica that stays the same over restarts, such as "
        "`${HOSTNAME}` of a StatefulSet. Then a restart within session_timeout moves no partitions.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="`consumer` is the new protocol (KIP-848), for brokers from 4.0 on."
    )
    assignor: Literal["cooperative-sticky", "range", "roundrobin"] = Field(
        default="cooperative-sticky",
        description="The way in which partitions are given to members, for `group_protocol: classic`. Use `range` and "
        "`roundrobin` only while the group has members that support nothing else: they stop every member at each "
        "rebalance.",
    )
    session_timeout: Seconds | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="The group gives up a member that is silent for this time. Default: 45 s; with "
        "`group_protocol: consumer`, the brokers decide.",
    )
    max_poll_interval: Seconds = Field(
        default="5m",  # type: ignore[assignment]
        ge=1,
        le=86_400,
        description="The group gives up a member that hangs for this time. Waiting for Clarify does not count.",
    )
    drain_timeout: Seconds = Field(
        default="10s",  # type: ignore[assignment]
        ge=0,
        description="When partitions move to another member, the longest time to go on sending their samples that are "
        "under way. The new owner reads the remaining records.",
    )
    auto_offset_reset: Literal["earliest", "latest", "error"] = Field(
        default="earliest",
        description="The start of a group that begins to read a topic: the oldest record, the next new record, or an "
        "error. Partitions and topics that appear later are read from their first record. (If the records at a "
        "position have expired, this is a loss: it is reported with its range, and reading goes on with the oldest "
        "record.)",
    )
    timestamps: Literal["record", "received"] = Field(
        default="record",
        description="The time of a record without a time in its payload: the record's own timestamp (from the producer "
        "or the broker, by the topic's message.timestamp.type), or the time when the connector reads it.",
    )
    prefetch: Bytes = Field(
        default="8MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        le=1024**3,
        description="The most bytes that are fetched ahead, in all. The default is for a container of 128 MiB.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSection:
        if self.group_protocol == "consumer" and self.session_timeout is not None:
            raise ValueError(
                "with group_protocol: consumer, the brokers set the session time-out "
                "(group.consumer.session.timeout.ms); remove session_timeout"
            )
        if self.group_protocol == "consumer" and self.assignor != "cooperative-sticky":
            raise ValueError(
                "with group_protocol: consumer, the brokers assign partitions; remove assignor (group.remote.assignor "
                "in librdkafka chooses an assignor of the brokers)"
            )
        if self.group_protocol == "classic" and "group.remote.assignor" in self.librdkafka:
            raise ValueError("librdkafka: group.remote.assignor is for group_protocol: consumer; use assignor")
        if self.drain_timeout >= self.max_poll_interval:
            raise ValueError("drain_timeout must be shorter than max_poll_interval: a drain counts as hanging")
        if self.group_protocol == "classic" and self.max_poll_interval < self.session_seconds:
            raise ValueError("max_poll_interval must not be shorter than session_timeout (45 s unless set): set both")
        return self

    @property
    def session_seconds(self) -> float:
        """The session time-out of the classic protocol, in seconds."""
        return self.session_timeout or _CLASSIC_SESSION_SECONDS

    @property
    def subscription(self) -> list[str]:
        """The topics and patterns in the form that librdkafka's `subscribe` takes."""
        return [subscription(topic) for topic in self.topics]

    @cached_property
    def _matcher(self) -> re.Pattern[str]:
        return topic_matcher(self.topics)

    def matches(self, topic: str) -> bool:
        """Whether the source reads the topic."""
        return self._matcher.fullmatch(topic) is not None

    def subscriptions(self) -> Sequence[Subscription]:
        """A `Subscription` for each topic or pattern of the section."""
        return [
            Subscription(text, partial(_fits, topic_matcher([text])), None if text.startswith("^") else [text])
            for text in self.topics
        ]

    @property
    def address(self) -> str:
        """The bootstrap servers, with commas between them."""
        return ",".join(self.bootstrap_servers)

    def check(self) -> list[str]:
        """Let librdkafka check the settings; returns its warnings, for people. Raises `ValueError` if it refuses."""
        from connector.sources.kafka.settings import check_settings  # noqa: PLC0415 - loads librdkafka

        return check_settings(self)

    def for_worker(self, worker: int) -> Self:
        """Returns the section for a worker: each worker is a member of the group, with its own instance ID if any."""
        name = None if self.instance_id is None else f"{self.instance_id}-{worker}"
        return self.model_copy(update={"instance_id": name})

    def reads(self, destination: Destination) -> bool:
        """Whether the source reads the topic of `destination`, in the same cluster."""
        return (
            destination.protocol == "kafka"
            and not set(self.bootstrap_servers).isdisjoint(destination.servers)
            and self.matches(destination.topic)
        )

    def examine(self, asked: Examination) -> Look:
        """Look at the cluster; joins no group, and takes no message away from anybody."""
        from connector.sources.kafka.examine import examine  # noqa: PLC0415 - loads the library

        return examine(self, asked)

    def open(self, file: SourceFile, message_bytes: int) -> KafkaSource:  # noqa: ARG002 - brokers bound their messages
        """Returns the source that is a member of the group. Raises `SettingsError` if librdkafka refuses a setting."""
        from connector.sources.kafka.source import KafkaSource  # noqa: PLC0415 - loads librdkafka

        return KafkaSource(self, file)

    def tap(self, *, from_beginning: bool) -> KafkaTap:
        """Returns a reader outside every group, for `preview --live` and the like."""
        from connector.sources.kafka.tap import KafkaTap  # noqa: PLC0415 - loads librdkafka

        return KafkaTap(self, from_beginning=from_beginning)

    def open_range(self, file: SourceFile, asked: RangeAsked) -> KafkaRangeSource:
        """Returns a reader of a range, outside every group. Raises `RangeError`."""
        from connector.sources.kafka.range import open_range  # noqa: PLC0415 - loads librdkafka

        return open_range(self, file, asked)

    @classmethod
    def settings_at(cls, address: Address) -> dict[str, object]:
        """Returns the settings for an address: `kafka://` is without TLS, `kafkas://` with TLS. Raises `ValueError`."""
        if not address.topics:
            raise ValueError(
                "name the topics with --topics, such as --topics plant.telemetry or --topics '^plant\\..*'"
            )
        settings: dict[str, object] = {
            "type": "kafka",
            "bootstrap_servers": address.host.split(","),
            "topics": list(address.topics),
            "group_id": "clarify-connector",
        }
        if address.scheme == "kafka":
            settings["security"] = "plaintext"
        if address.username is not None:
            if address.password is None:
                raise ValueError(f"set the password in the environment variable {cls.password_variable}")
            mechanism = address.mechanism or "SCRAM-SHA-512"
            settings["sasl"] = {"mechanism": mechanism, "username": address.username, "password": address.password}
        if address.ca_file:
            settings["tls"] = {"ca_file": address.ca_file}
        return settings


def _fits(pattern: re.Pattern[str], topic: str) -> bool:
    return pattern.fullmatch(topic) is not None
