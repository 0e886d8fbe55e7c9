"""The section of a Kafka source."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from connector.config.tls import TlsSection
from connector.config.values import Bytes, Seconds, Section, SourceName

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._\-]{1,249}")
_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_OWN_SETTING: Final = "has a setting of its own: {}"
_REFUSED: Final = {
    # librdkafka's setting: why it cannot be passed through
    "enable.auto.offset.store": "positions are stored when their data is settled; otherwise data is lost at a crash",
    "enable.auto.commit": "stored positions are committed in the background; without, all is delivered again",
    "auto.offset.reset": _OWN_SETTING.format("auto_offset_reset. An expired position is always reported"),
    "isolation.level": "read_committed is set; read_uncommitted would deliver what a producer has taken back",
    "check.crcs": "it is on; without, damaged records would be taken for data",
    "enable.partition.eof": "the source does not use it",
    "allow.auto.create.topics": "a topic whose name is mistyped must be an error, not a new topic",
    "group.id": _OWN_SETTING.format("group_id"),
    "group.instance.id": _OWN_SETTING.format("instance_id"),
    "group.protocol": _OWN_SETTING.format("group_protocol"),
    "group.remote.assignor": "the assignor is the group's own; set it at the broker",
    "partition.assignment.strategy": "cooperative-sticky is set; eager ones would stop every member at each rebalance",
    "session.timeout.ms": _OWN_SETTING.format("session_timeout"),
    "max.poll.interval.ms": _OWN_SETTING.format("max_poll_interval"),
    "bootstrap.servers": _OWN_SETTING.format("bootstrap_servers"),
    "metadata.broker.list": _OWN_SETTING.format("bootstrap_servers"),
    "client.id": _OWN_SETTING.format("client_id"),
    "queued.max.messages.kbytes": _OWN_SETTING.format("prefetch"),
    "security.protocol": _OWN_SETTING.format("security, tls and sasl"),
    "sasl.mechanism": _OWN_SETTING.format("sasl.mechanism"),
    "sasl.mechanisms": _OWN_SETTING.format("sasl.mechanism"),
    "sasl.username": _OWN_SETTING.format("sasl.username"),
    "sasl.password": _OWN_SETTING.format("sasl.password"),
    "sasl.oauthbearer.client.id": _OWN_SETTING.format("sasl.client_id"),
    "sasl.oauthbearer.client.secret": _OWN_SETTING.format("sasl.client_secret"),
    "sasl.oauthbearer.token.endpoint.url": _OWN_SETTING.format("sasl.token_url"),
    "sasl.oauthbearer.scope": _OWN_SETTING.format("sasl.scope"),
    "enable.sasl.oauthbearer.unsecure.jwt": "an unsigned token proves nothing",
    "ssl.ca.location": _OWN_SETTING.format("tls.ca_file"),
    "ssl.certificate.location": _OWN_SETTING.format("tls.cert_file"),
    "ssl.key.location": _OWN_SETTING.format("tls.key_file"),
    "ssl.key.password": _OWN_SETTING.format("tls.key_password"),
    "enable.ssl.certificate.verification": _OWN_SETTING.format("tls.verify"),
    "ssl.endpoint.identification.algorithm": _OWN_SETTING.format("tls.verify"),
    "plugin.library.paths": "foreign code is not loaded into the connector",
    "statistics.interval.ms": "the metrics come from these statistics",
    "auto.commit.interval.ms": "it is 1 s: the longer, the more is delivered twice after a crash",
    "test.mock.num.brokers": "a broker inside the consumer is for tests of librdkafka",
}


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _server(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if "/" in text or "@" in text or not parts.hostname or not port:
        raise ValueError("a server is host:port, such as kafka-1.example.com:9093")
    return text


def _topic(text: str) -> str:
    if text.startswith("^"):
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"the pattern {text!r} is no regular expression: {error}") from None
    elif not _TOPIC.fullmatch(text) or text in (".", ".."):
        raise ValueError(
            f"{text!r} is no name of a Kafka topic (letters, digits, '.', '_' and '-', up to 249); a pattern begins "
            "with '^' and is a regular expression"
        )
    return text


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
        description="Token endpoint (OIDC client credentials), for OAUTHBEARER.",
        examples=["https://login.example.com/oauth2/token"],
    )
    scope: str | None = Field(default=None, description="Scope to ask for, for OAUTHBEARER.")

    @model_validator(mode="after")
    def _complete(self) -> SaslSection:
        ours = (
            ("client_id", "client_secret", "token_url") if self.mechanism == "OAUTHBEARER" else ("username", "password")
        )
        for name in ours:
            if not getattr(self, name):
                raise ValueError(f"{self.mechanism} needs {' and '.join(ours)}; {name} is missing")
        for name in ("username", "password", "client_id", "client_secret", "token_url", "scope"):
            known = (*ours, "scope") if self.mechanism == "OAUTHBEARER" else ours
            if name not in known and getattr(self, name):
                raise ValueError(f"{name} is not used by {self.mechanism}; remove it")
        if self.token_url:
            url = urlsplit(self.token_url)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOCAL_HOSTS):
                raise ValueError("token_url must begin with https://: the client secret travels to it")
        return self


class KafkaSection(Section):
    """A Kafka cluster, read as a member of a consumer group."""

    type: Literal["kafka"] = Field(description="This source is a Kafka cluster.")
    name: SourceName = Field(default="kafka", description="A name for logs, metrics, the ledger and its file. Keep it.")
    bootstrap_servers: Annotated[
        list[Annotated[str, AfterValidator(_server)]],
        BeforeValidator(_servers, json_schema_input_type=list[str] | str),
    ] = Field(min_length=1, description="Servers to begin with: a list, or text with commas.", examples=["kafka:9093"])
    topics: list[Annotated[str, AfterValidator(_topic)]] = Field(
        min_length=1,
        description="Topics, by name, or by a pattern that begins with `^` (a regular expression for the whole name).",
        examples=[["plant.telemetry", "^machines\\..*"]],
    )
    group_id: str = Field(
        min_length=1,
        max_length=249,
        description="The consumer group. All replicas of this connector have the same; nobody else has it.",
    )
    instance_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=249,
        description="Static membership: a name of this replica that stays over restarts, such as `${HOSTNAME}` of a "
        "StatefulSet. A restart within session_timeout then moves no partitions.",
    )
    client_id: str = Field(default="clarify-connector", min_length=1, description="Our name in the brokers' logs.")
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="`consumer` is the new protocol (KIP-848), for brokers from 4.0 on."
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
        le=2 * 1024**3,
        description="How much is fetched ahead, in all. The default suits a container of 128 MiB.",
    )
    librdkafka: dict[str, str | int | float | bool] = Field(
        default={},
        description="Further settings of librdkafka, by their own names. Those that would break a guarantee are "
        "refused.",
        examples=[{"fetch.min.bytes": 100_000}],
    )

    @field_validator("librdkafka")
    @classmethod
    def _harmless(cls, value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        for name in value:
            if name in _REFUSED:
                raise ValueError(f"{name} cannot be passed through: {_REFUSED[name]}")
            if name.endswith("_cb"):
                raise ValueError(f"{name} cannot be passed through: it is a function")
            if name.startswith(("ssl.", "sasl.")) and any(part in name for part in ("password", "secret", "pem")):
                raise ValueError(f"{name} cannot be passed through: a secret needs a setting that hides it")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSection:
        if self.group_protocol == "consumer" and self.session_timeout is not None:
            raise ValueError(
                "session_timeout is the brokers' with group_protocol: consumer (group.consumer.session.timeout.ms); "
                "remove it"
            )
        if self.drain_timeout >= self.max_poll_interval:
            raise ValueError("drain_timeout must be shorter than max_poll_interval: a drain counts as hanging")
        if self.group_protocol == "classic" and self.max_poll_interval < (self.session_timeout or 45):
            raise ValueError("max_poll_interval must not be shorter than session_timeout (45 s unless set): set both")
        if self.security == "plaintext" and self.tls != TlsSection():
            raise ValueError("tls settings with security: plaintext; remove one of the two")
        return self

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(topic if topic.startswith("^") else re.escape(topic)) for topic in self.topics]

    def matches(self, topic: str) -> bool:
        """Whether this topic is one of ours."""
        return any(pattern.fullmatch(topic) for pattern in self._patterns)

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
        if self.sasl and self.security == "plaintext":
            return [f"{self.sasl.mechanism} over plaintext: the log-in can be read on the way; use security: tls"]
        return []
