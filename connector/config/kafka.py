"""The section of a Kafka source."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from connector.config.kafka_topics import checked_topic, subscription, topic_matcher
from connector.config.librdkafka import Setting, checked_settings
from connector.config.tls import TlsSection
from connector.config.values import Bytes, Seconds, Section, SourceName

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_EXTENSION: Final = re.compile(r"[A-Za-z]+")
_CLASSIC_SESSION_SECONDS: Final = 45.0


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _server(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not set(text).isdisjoint("/@?# \t,") or not parts.hostname or not port:
        raise ValueError("a server is host:port, such as kafka-1.example.com:9093")
    return text


BootstrapServers = Annotated[
    list[Annotated[str, AfterValidator(_server)]],
    BeforeValidator(_servers, json_schema_input_type=list[str] | str),
]


class SaslSection(Section):
    """How to log in to Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(description="SASL mechanism.")
    username: str | None = Field(default=None, description="User, for PLAIN and SCRAM.")
    password: SecretStr | None = Field(
        default=None, description="Password, for PLAIN and SCRAM. Use `${ENV}` or `${file:/run/secrets/…}`."
    )
    client_id: str | None = Field(default=None, description="Client ID at the token endpoint, for OAUTHBEARER.")
    client_secret: SecretStr | None = Field(default=None, description="Client secret, for OAUTHBEARER.")
    token_url: str | None = Field(
        default=None,
        description="Token endpoint (OIDC client credentials), for OAUTHBEARER. Its certificate is checked against the "
        "system's authorities; another one's PEM file: `https.ca.location` in `librdkafka`.",
        examples=["https://login.example.com/oauth2/token"],
    )
    scope: str | None = Field(default=None, description="Scope to ask for, for OAUTHBEARER.")
    extensions: dict[str, str] = Field(
        default={},
        description="What is told to the broker with the token, for OAUTHBEARER.",
        examples=[{"logicalCluster": "lkc-1234"}],
    )

    @model_validator(mode="after")
    def _complete(self) -> SaslSection:
        ours = (
            ("client_id", "client_secret", "token_url") if self.mechanism == "OAUTHBEARER" else ("username", "password")
        )
        for name in ours:
            if not getattr(self, name):
                raise ValueError(f"{self.mechanism} needs {' and '.join(ours)}; {name} is missing")
        known = ("mechanism", *ours, *(("scope", "extensions") if self.mechanism == "OAUTHBEARER" else ()))
        for name in type(self).model_fields:
            if name not in known and getattr(self, name):
                raise ValueError(f"{name} is not used by {self.mechanism}; remove it")
        for name, value in self.extensions.items():
            if not _EXTENSION.fullmatch(name) or name == "auth" or "," in value:
                raise ValueError("extensions: a name is of letters and not auth, a value without commas")
        if self.token_url:
            url = urlsplit(self.token_url)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOCAL_HOSTS):
                raise ValueError("token_url must begin with https://: the client secret travels to it")
        return self


class KafkaSection(Section):
    """A Kafka cluster, read as a member of a consumer group."""

    type: Literal["kafka"] = Field(description="This source is a Kafka cluster.")
    name: SourceName = Field(default="kafka", description="A name for logs, metrics, the ledger and its file. Keep it.")
    bootstrap_servers: BootstrapServers = Field(
        min_length=1, description="Servers to begin with: a list, or text with commas.", examples=["kafka:9093"]
    )
    topics: list[Annotated[str, AfterValidator(checked_topic)]] = Field(
        min_length=1,
        description="Topics, by name, or by a pattern that begins with `^` (a regular expression for the whole name, "
        "of letters, digits, `.`, `\\.`, `[a-z]`, `( )`, `|`, `*`, `+`, `?`, `{2,3}`).",
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
    client_id: str = Field(default="clarify-connector", min_length=1, description="Our name in the brokers' logs.")
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
    security: Literal["tls", "plaintext"] = Field(
        default="tls", description="`plaintext` lets anybody in between read and change everything."
    )
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for `security: tls`.")
    sasl: SaslSection | None = Field(default=None, description="How to log in.")
    prefetch: Bytes = Field(
        default="8MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        le=1024**3,
        description="How much is fetched ahead, in all. The default suits a container of 128 MiB.",
    )
    librdkafka: Annotated[dict[str, Setting], BeforeValidator(checked_settings)] = Field(
        default={},
        repr=False,
        description="Further settings of librdkafka, by their own names. Those that would break a guarantee are "
        "refused.",
        examples=[{"fetch.min.bytes": 100_000}],
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
        if self.security == "plaintext" and self.tls != TlsSection():
            raise ValueError("tls settings with security: plaintext; remove one of the two")
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

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that it names."""
        return self.tls.files

    @property
    def warnings(self) -> list[str]:
        """What works, and is not wise."""
        found = []
        if self.sasl and self.security == "plaintext":
            found.append(f"{self.sasl.mechanism} over plaintext: the log-in can be read on the way; use security: tls")
        if self.security == "tls" and not self.tls.verify:
            found.append("tls.verify is false: anybody in between can read and change everything")
        return found
