"""The section of a Kafka source."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.kafka_topics import checked_topic, subscription, topic_matcher
from connector.settings import Bytes, Seconds, SourceName

_CLASSIC_SESSION_SECONDS: Final = 45.0


class KafkaSection(KafkaConnectionSection):
    """A Kafka cluster, read as a member of a consumer group."""

    type: Literal["kafka"] = Field(description="This source is a Kafka cluster.")
    name: SourceName = Field(default="kafka", description="A name for logs, metrics, the ledger and its file. Keep it.")
    topics: list[Annotated[str, AfterValidator(checked_topic)]] = Field(
        min_length=1,
        description="Topics, by name, or by a pattern that begins with `^` (a regular expression for the whole name, "
        "of letters, digits, `.`, `\\.`, `[a-z]`, `( )`, `|`, `*`, `+`, `?`, `{2,3}`). A topic "
        "that is made later and fits is found within half a minute; with `group_protocol: consumer`, when brokers say.",
        examples=[["plant.telemetry", "^machines\\..*"]],
    )
    group_id: str = Field(
        min_length=1,
        max_length=249,
        description="The consumer group. All replicas of this connector have the same; nobody else has it.",
    )
    instance_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._\-]{1,240}$",
        description="Static membership: a name of this replica that stays over restarts, such as `${HOSTNAME}` of a "
        "StatefulSet. A restart within session_timeout then moves no partitions.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="`consumer` is the new protocol (KIP-848), for brokers from 4.0 on."
    )
    assignor: Literal["cooperative-sticky", "range", "roundrobin"] = Field(
        default="cooperative-sticky",
        description="How partitions are shared out, for `group_protocol: classic`. `range` and `roundrobin` only while "
        "the group still has other members that know nothing else: they stop every member at each rebalance.",
    )
    session_timeout: Seconds | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="The group gives up a member that is silent for this long. Default: 45 s; with "
        "`group_protocol: consumer` the brokers say.",
    )
    max_poll_interval: Seconds = Field(
        default="5m",  # type: ignore[assignment]
        ge=1,
        le=86_400,
        description="The group gives up a member that hangs for this long. Waiting for Clarify does not count.",
    )
    drain_timeout: Seconds = Field(
        default="10s",  # type: ignore[assignment]
        ge=0,
        description="When partitions go to another member: how long to go on sending what is under way of them. The "
        "new owner gets what is left.",
    )
    auto_offset_reset: Literal["earliest", "latest", "error"] = Field(
        default="earliest",
        description="Where a group begins that has no position yet: with the oldest record, with the next one that "
        "comes, or not at all. (A position whose data has expired is a loss: it is reported with its range, and "
        "reading goes on with the oldest record.)",
    )
    timestamps: Literal["record", "received"] = Field(
        default="record",
        description="Time of a record that has none in its payload: its own (the producer's or the broker's, as the "
        "topic's message.timestamp.type says), or when we read it.",
    )
    prefetch: Bytes = Field(
        default="8MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        le=1024**3,
        description="How much is fetched ahead, in all. The default suits a container of 128 MiB.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSection:
        if self.group_protocol == "consumer" and self.session_timeout is not None:
            raise ValueError(
                "session_timeout is the brokers' with group_protocol: consumer (group.consumer.session.timeout.ms); "
                "remove it"
            )
        if self.group_protocol == "consumer" and self.assignor != "cooperative-sticky":
            raise ValueError(
                "assignor is the brokers' with group_protocol: consumer; remove it (group.remote.assignor in "
                "librdkafka chooses one of theirs)"
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
        """The session time-out of the classic protocol."""
        return self.session_timeout or _CLASSIC_SESSION_SECONDS

    @property
    def subscription(self) -> list[str]:
        """What to subscribe to."""
        return [subscription(topic) for topic in self.topics]

    @cached_property
    def _matcher(self) -> re.Pattern[str]:
        return topic_matcher(self.topics)

    def matches(self, topic: str) -> bool:
        """Whether this topic is one of ours."""
        return self._matcher.fullmatch(topic) is not None

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return ",".join(self.bootstrap_servers)
